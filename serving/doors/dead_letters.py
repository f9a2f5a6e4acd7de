"""Dead letters: messages that could not be handled, kept with the reason and where they came from."""

from __future__ import annotations

from dataclasses import replace

from ...errors import StepError
from ...queues.message import Message

PREFIX = "x-"
ERROR_TYPE, ERROR_TEXT, STEP, ATTEMPTS = "x-error-type", "x-error-msg", "x-step", "x-attempts"
ORIGIN, ORIGIN_PARTITION, ORIGIN_OFFSET = "x-origin", "x-origin-partition", "x-origin-offset"
ADDED = (ERROR_TYPE, ERROR_TEXT, STEP, ATTEMPTS, ORIGIN, ORIGIN_PARTITION, ORIGIN_OFFSET)


def dead_letter(message: Message, error: BaseException, *, origin: str, attempts: int) -> Message:
    """The dead letter for a message: its value, key and headers, with the reason, the step, the attempts, the origin.

    >>> letter = dead_letter(Message(b"x", offset=7, partition=1), ValueError("bad"), origin="log:///t/q", attempts=3)
    >>> letter.value, letter.headers["x-error-type"], letter.headers["x-origin-offset"]
    (b'x', 'ValueError', '7')
    """
    cause = error.__cause__ if isinstance(error, StepError) and error.__cause__ is not None else error
    headers = {
        **message.headers,
        ERROR_TYPE: type(cause).__name__,
        ERROR_TEXT: str(error)[:1000],
        STEP: error.step if isinstance(error, StepError) else "",
        ATTEMPTS: str(attempts),
        ORIGIN: origin,
        ORIGIN_PARTITION: str(message.partition),
        ORIGIN_OFFSET: str(message.offset),
    }
    return replace(message, headers=headers, partition=-1, offset=-1)


def original(letter: Message) -> Message:
    """The message that a dead letter was, to be sent again."""
    headers = {name: value for name, value in letter.headers.items() if name not in ADDED}
    return replace(letter, headers=headers, partition=-1, offset=-1)
