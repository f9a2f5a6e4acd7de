"""``millrace queue``: looks at topics and repairs them. Each action is in a file of its own."""

from __future__ import annotations

from .command import command_of
from .queue_look import LIST, SHOW
from .queue_purge import PURGE
from .queue_replay import REPLAY
from .queue_tail import TAIL

EXAMPLE = """\
  millrace queue list log:///var/lib/millrace
  millrace queue show log:///var/lib/millrace/orders
  millrace queue tail kafka://localhost:9092/orders --from 15m
"""

COMMAND = command_of("queue", "look at topics, replay and delete messages", EXAMPLE, [LIST, SHOW, TAIL, REPLAY, PURGE])
