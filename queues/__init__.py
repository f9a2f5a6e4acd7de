"""Messages and the streams that carry them.

Names are imported when they are first used, so that a step or a door that needs one does not pay for all::

    async with await millrace.queues.open_queue("log:///var/lib/millrace/orders") as queue:
        await queue.append([millrace.queues.Message(b"{}", key=b"customer-7")])
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .address import list_topics, open_queue, queue_at
    from .base import Commit, Consumer, NotOffered, Queue, Settings, TopicGone, TopicNotFound
    from .memory import MemoryQueue
    from .message import Message

_PLACES = {
    "list_topics": ".address", "open_queue": ".address", "queue_at": ".address",
    "Commit": ".base", "Consumer": ".base", "NotOffered": ".base", "Queue": ".base", "Settings": ".base",
    "TopicGone": ".base", "TopicNotFound": ".base",
    "MemoryQueue": ".memory",
    "Message": ".message",
}  # fmt: skip

__all__ = [
    "Commit", "Consumer", "MemoryQueue", "Message", "NotOffered", "Queue", "Settings", "TopicGone", "TopicNotFound",
    "list_topics", "open_queue", "queue_at",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        from ..errors import near  # noqa: PLC0415 - for start-up: only when a name is wrong

        raise AttributeError(f"module 'millrace.queues' has no attribute '{name}'{near(name, __all__)}")
    value = getattr(importlib.import_module(_PLACES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
