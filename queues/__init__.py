"""Messages and the streams that carry them."""

from .memory import MemoryQueue
from .message import Message

__all__ = ["MemoryQueue", "Message"]
