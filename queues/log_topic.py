"""What a process has open of one topic, shared by its queues: the store, its writer and the upkeep."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from .doorbell import Ringer
from .log_groups import GroupSession, Timing
from .log_layout import Layout, Topic
from .log_session import LogSession
from .log_shared import Shared
from .log_store import MAP_BYTES, Durability, Store
from .log_writer import Writer

RETENTION_EVERY_SECONDS = 5.0
GROUPS_MAP_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class TopicOptions:
    """The settings that all queues of a process on one topic have in common.

    :param durability: ``fsync`` | ``metasync`` | ``none``
    :param map_bytes: how large the topic may grow on the disk
    :param retention_every_seconds: how often a writer deletes what is not to stay
    """

    durability: Durability = "fsync"
    map_bytes: int = MAP_BYTES
    retention_every_seconds: float = RETENTION_EVERY_SECONDS


class TopicLog:
    """A topic's messages: its layout and the thread that appends to it."""

    def __init__(self, path: Path, wanted: Topic, options: TopicOptions) -> None:
        store = Store(path, map_bytes=options.map_bytes, durability=options.durability)
        self.layout = Layout(store, wanted)
        self._ringer = Ringer(path / "bells")
        self.writer = Writer(
            store, lambda txn: LogSession(txn, self.layout), written=self._written, make_room=self._make_room
        )
        self.writer.now_and_then(self._upkeep, options.retention_every_seconds)

    def _written(self, session: LogSession) -> None:
        if session.appended:
            self._ringer.ring()

    def _upkeep(self) -> None:
        self.layout.store.check_readers()
        topic = self.layout.store.read(self.layout.load)
        if topic is not None and (topic.retention_seconds is not None or topic.retention_bytes is not None):
            while self.writer.perform(lambda session: session.expire(time.time())) and not self.writer.is_wanted:
                continue

    def _make_room(self) -> bool:
        """Delete what retention lets go, now; in a full map that takes a few pages more."""
        if not self.layout.store.read(lambda txn: LogSession(txn, self.layout).has_expired(time.time())):
            return False
        self.layout.store.make_room()
        return self.writer.perform(lambda session: session.expire(time.time())) > 0

    def close(self) -> None:
        """Write what is waiting and close the store."""
        self.writer.close()
        self._ringer.close()


class TopicGroups:
    """A topic's groups: how far they are, who has what, and the heartbeats of this process's members."""

    def __init__(self, path: Path, partitions: int, timing: Timing, durability: Durability) -> None:
        weaker: Durability = "none" if durability == "none" else "metasync"  # a lost commit repeats and loses nothing
        self.store = Store(path / "groups", map_bytes=GROUPS_MAP_BYTES, durability=weaker)
        self.table = self.store.table("groups")
        self.timing = timing
        self._ringer = Ringer(path / "bells")
        self._members: set[tuple[str, str]] = set()
        self.writer = Writer(
            self.store, lambda txn: GroupSession(txn, self.table, partitions, timing), written=self._written
        )
        self.writer.now_and_then(self._renew, timing.lease_seconds / 3)

    def _written(self, session: GroupSession) -> None:
        if session.divided:
            self._ringer.ring()

    def _renew(self) -> None:
        """Heartbeats, from the writer's thread: a blocked event loop loses no lease."""
        members = sorted(self._members)
        if members:
            self.writer.perform(lambda session: session.renew_all(members))

    async def join(self, name: str, member: str) -> None:
        """Become a member, and stay one."""
        await self.writer.submit(lambda session: session.renew(name, member))
        self._members.add((name, member))

    async def leave(self, name: str, member: str) -> None:
        """Be a member no more."""
        self._members.discard((name, member))
        await self.writer.submit(lambda session: session.leave(name, member))

    def close(self) -> None:
        """Write what is waiting and close the store."""
        self.writer.close()
        self._ringer.close()


logs = Shared[TopicLog]()
groups = Shared[TopicGroups]()
