"""What comes into a graph and what goes out: Event, Response, and what stands for a trigger."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .completion import Completion
    from .stream import StreamAnswer
    from .unit import StepInfo

_BYTES = tuple(f"{value:02x}" for value in range(256))


def _counted_ids() -> Iterator[str]:
    """Twenty random digits and twelve that count. Nothing of it is Python, so that threads never get the same one."""
    return map("".join, itertools.product((os.urandom(10).hex(),), *[_BYTES] * 6))


_ids = _counted_ids()


def new_id() -> str:
    """An id of 32 hex digits, unique among processes by 80 random bits and within one by a counter.

    >>> len(new_id()), new_id() != new_id()
    (32, True)
    """
    return next(_ids)


def _renew_ids() -> None:
    global _ids
    _ids = _counted_ids()


os.register_at_fork(after_in_child=_renew_ids)


class MockTrigger:
    """Where an event came from: the trigger's kind (``http``, ``kafka-cluster``, …) and name.

    >>> MockEvent(trigger=MockTrigger(kind="kafka-cluster", name="orders")).trigger.kind
    'kafka-cluster'
    """

    __slots__ = ("kind", "name")

    def __init__(self, kind: str = "", name: str = "") -> None:
        self.kind = kind
        self.name = name

    def __repr__(self) -> str:
        return f"MockTrigger(kind={self.kind!r}, name={self.name!r})"


_NO_TRIGGER = MockTrigger()


class Event:
    """One event on its way through a graph.

    A step sees the body; with ``full_event=True`` it gets this object and returns it. Further attributes may be set.
    The id and the time are made when they are read.

    :param body: the payload; in a graph anything, at a door what the content type says
    :param content_type: of the body
    :param headers: names as they came
    :param method: HTTP method
    :param path: the URL's path
    :param event_id: default: a new id of 32 hex digits
    :param trigger: where the event came from
    :param offset: its place in the stream it came from
    :param time: when it happened; default: now, in UTC, when first read

    >>> event = Event({"x": 1}, path="/v2/models/m/infer")
    >>> event.body, event.path, len(event.id)
    ({'x': 1}, '/v2/models/m/infer', 32)
    """

    __slots__ = (
        "__dict__", "_completion", "_failed", "_id", "_rest", "_rounds", "_stream", "_time", "body", "content_type",
        "error", "headers", "key", "method", "offset", "origin_state", "path", "trigger",
    )  # fmt: skip

    _id: str | None
    _time: datetime | None
    _completion: Completion | None
    _failed: StepInfo | None
    _stream: StreamAnswer | None
    _rounds: dict[str, int] | None
    _rest: tuple[str, ...] | None

    def __init__(
        self,
        body: Any = None,
        content_type: str | None = None,
        headers: dict[str, Any] | None = None,
        method: str | None = None,
        path: str | None = None,
        event_id: str | None = None,
        trigger: Any = None,
        offset: int = 0,
        time: datetime | None = None,
        key: Any = "",
    ) -> None:
        self.body = body
        self.content_type = content_type
        self.headers: Any = {} if headers is None else headers
        self.method = method
        self.path = path or "/"
        self.key = key
        self.trigger: Any = _NO_TRIGGER if trigger is None else trigger
        self.offset = offset
        self.error: Any = None
        self.origin_state: str | None = None
        self._id = event_id
        self._time = time
        self._completion = None
        self._failed = None
        self._stream = None
        self._rounds = None
        self._rest = None

    @property
    def id(self) -> str:
        """The event's id; set by the caller's ``MLRUN-EVENT-ID`` or ``event_id=``, else made now."""
        if self._id is None:
            self._id = next(_ids)
        return self._id

    @id.setter
    def id(self, value: str) -> None:
        self._id = value

    @property
    def time(self) -> datetime:
        """When the event happened."""
        if self._time is None:
            self._time = datetime.now(UTC)
        return self._time

    @time.setter
    def time(self, value: datetime) -> None:
        self._time = value

    @property
    def timestamp(self) -> datetime:
        """The same as `time`, under the name that stream events have."""
        return self.time

    def fork(self, body: Any) -> Event:
        """A branch of this event: the same id, headers and completion, with another body."""
        branch = Event.__new__(type(self))
        for name in _COPIED:
            setattr(branch, name, getattr(self, name))
        branch._id, branch._time = self.id, self._time
        branch.body = body
        if self._rounds is not None:
            branch._rounds = dict(self._rounds)
        if self.__dict__:
            branch.__dict__.update(self.__dict__)
        return branch

    def adopt(self, other: Event) -> None:
        """Become what a step returned in this event's place; the completion stays."""
        for name in _PUBLIC:
            setattr(self, name, getattr(other, name))
        if other._id is not None:
            self._id = other._id
        if other._time is not None:
            self._time = other._time
        self.__dict__.update(other.__dict__)

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: getattr(self, name) for name in (*_PUBLIC, "_rest") if name != "error"}
        return _rebuilt, (type(self), state, self.id, self._time, self.__dict__)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self._id!r}, path={self.path!r}, body={self.body!r:.200})"


_PUBLIC = ("body", "content_type", "error", "headers", "key", "method", "offset", "origin_state", "path", "trigger")
_COPIED = (*_PUBLIC, "_completion", "_failed", "_stream", "_rounds", "_rest")


def _rebuilt(cls: type[Event], state: dict[str, Any], event_id: str, time: datetime | None, extra: Any) -> Event:
    event = cls(event_id=event_id, time=time)
    for name, value in state.items():
        setattr(event, name, value)
    event.__dict__.update(extra)
    return event


class MockEvent(Event):
    """An event made by hand, for tests; the parameters are those of :class:`Event`.

    >>> def tagged(event):
    ...     event.body["path"] = event.path
    ...     return event
    >>> tagged(MockEvent(body={"inputs": [5]}, path="/v2/models/m1/infer")).body
    {'inputs': [5], 'path': '/v2/models/m1/infer'}
    """

    __slots__ = ()


class Response:
    """An answer with a status and headers of its own; what a step returns to choose them.

    :param headers: names and values
    :param body: text, bytes, or anything that JSON can say
    :param content_type: default: ``text/plain`` for text and bytes, else ``application/json``
    :param status_code: HTTP status, from 200 to 599

    >>> Response(body="no such user", status_code=404).status_code
    404
    """

    __slots__ = ("body", "content_type", "headers", "status_code")

    def __init__(
        self,
        headers: dict[str, str] | None = None,
        body: Any = None,
        content_type: str | None = None,
        status_code: int = 200,
    ) -> None:
        self.headers = headers or {}
        self.body = body
        self.content_type = content_type or ("text/plain" if isinstance(body, (str, bytes)) else "application/json")
        self.status_code = status_code

    def __repr__(self) -> str:
        return f"Response(status_code={self.status_code}, content_type={self.content_type!r}, body={self.body!r:.200})"
