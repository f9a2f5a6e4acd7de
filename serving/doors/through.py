"""Messages straight through a graph that is one segment: nothing is made for them unless they fail."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Any

from ...queues.message import Message
from ..engine.engine import Engine
from ..engine.event import Event
from ..engine.lean import Scratch
from ..engine.messages import body_of
from ..engine.unit import Segment
from .ladder import undecodable
from .share import Run, Share


class Through:
    """Runs messages through one segment.

    :param content_type: of messages that name none
    :param make_event: the event of a message, for one that fails
    """

    def __init__(
        self, engine: Engine, segment: Segment, content_type: str | None, make_event: Callable[[Message], Event]
    ) -> None:
        self._engine = engine
        self._segment = segment
        self._content_type = content_type
        self._make_event = make_event
        self._scratch: Any = Scratch()

    def run_all(
        self, share: Share, messages: list[Message], position: int, over_at: float
    ) -> tuple[int, int, Run | None]:
        """Run messages of a share that is clear, up to the first that does not go well at once.

        :param position: of the first message in the list
        :param over_at: no more are begun then, in seconds of ``time.monotonic``
        :return: the position behind the last message that was looked at, how many went well, and the run that did not
        """
        expected, done, partition, failed = share.marks.position, 0, share.partition, None
        for message in islice(messages, position, None):
            if message.partition != partition or monotonic() > over_at:
                break
            position += 1
            if message.offset < expected:
                continue
            run = self.run(message)
            if run is not DONE:
                failed = run
                break
            expected = message.offset + 1
            done += 1
        share.marks.pass_to(expected)
        return position, done, failed

    def run(self, message: Message) -> Run:
        """Run a message; :data:`DONE` when it went well."""
        scratch = self._scratch
        try:
            body = body_of(message, self._content_type)
        except ValueError as error:
            return ended(undecodable(message, self._content_type, error))
        try:
            self._segment.run(self._engine, scratch, body)
        except Exception as error:
            run = Run()
            self._engine.feed_failed(scratch.failed_in(self._make_event(message)), error, run)
            return run
        return DONE


def ended(error: BaseException | None) -> Run:
    """A run that is over."""
    run = Run()
    run.end(error)
    return run


DONE = ended(None)
"""The run of every message that went well at once."""
