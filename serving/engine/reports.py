"""What becomes of errors: who gets which text, the error stream, and the list of what no caller got."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - what ends first was registered last, and executors shall end after us
import logging
import threading
from collections import deque

from ...errors import MillraceError, StepError, words
from .context import ContextLogger, GraphContext
from .event import Event
from .unit import StepInfo

KEPT_ERRORS = 1_000


class Reports:
    """Describes the errors of one engine, and tells those who should know.

    :ivar errors: what failed after its answer was given, newest last
    """

    def __init__(self, context: GraphContext) -> None:
        self.context = context
        self.errors: deque[Exception] = deque(maxlen=KEPT_ERRORS)
        self._logger = ContextLogger(logging.getLogger("millrace.engine"), context.secrets)

    def described(self, event: Event, error: Exception) -> Exception:
        """The error that a caller gets: one of ours as it is, any other as a StepError that names the step."""
        info = event._failed
        where = f"step '{info.path}' of {info.graph}" if info is not None else "the graph"
        if isinstance(error, MillraceError):
            _note(error, f"in {where}, event {event.id}")
            return error
        text = self.context.secrets.mask(f"{where} failed: {type(error).__name__}: {words(error)}")
        described = StepError(text, step=info.path if info is not None else "", event_id=event.id)
        described.__cause__ = error
        return described

    def report(self, event: Event, error: Exception, info: StepInfo | None) -> Exception:
        """Tell of an error that no caller gets: the log, the error stream and :attr:`errors`."""
        described = self.described(event, error)
        if self.context.error_sink is None and not _is_program_ending(error):
            self._logger.error("%s (event %s)", described, event.id, exc_info=error if self.context.verbose else None)
        self.keep(event, described)
        return described

    def keep(self, event: Event, error: Exception) -> None:
        """Keep an error that was told already, and write it to the error stream."""
        self.errors.append(error)
        self.push(event, error)

    def push(self, event: Event, error: Exception) -> None:
        """Write an error to the error stream, where there is one."""
        if self.context.error_sink is None:
            return
        source = event._failed.path if event._failed is not None else None
        try:
            self.context.push_error(event, words(error), source)
        except Exception:
            self._logger.exception("an error of event %s could not be written to the error stream: %s", event.id, error)


def _is_program_ending(error: Exception) -> bool:
    """Whether a step failed because Python takes no new work: the program ends with events inside, and may."""
    return _ending.is_set() and isinstance(error, RuntimeError) and "cannot schedule new futures" in str(error)


_ending = threading.Event()
# Executors refuse work before ``atexit`` functions run; this runs before they do (it is what concurrent.futures uses).
getattr(threading, "_register_atexit", atexit.register)(_ending.set)


def _note(error: Exception, text: str) -> None:
    """Add a note in the place of the one before, for an exception that is raised again and again is one object."""
    notes = getattr(error, "__notes__", [])
    error.__notes__ = [note for note in notes if not note.startswith("in ")] + [text]
