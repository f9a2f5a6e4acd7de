"""The groups of a topic in their own store, so that a full or a busy log hinders no commit and no heartbeat.

Keys: ``g <group>`` -> members and leases; ``h <group> 0 <member>`` -> when it was last alive;
``c <group> 0 <partition>`` -> how far the group is. Times are of the monotonic clock, which all processes of a machine
share and nobody sets; one that lies in the future is from before a restart of the machine.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from .base import Commit
from .log_group import Group
from .log_store import Table, Transaction

ALIVE = struct.Struct("<d")
PARTITION = struct.Struct(">I")
WATERMARK = struct.Struct("<Q")
LONGEST_NAME = 400


@dataclass(frozen=True, slots=True)
class Timing:
    """How long members may be silent.

    :param lease_seconds: a member that was silent for so long is taken for dead
    :param handover_seconds: how long a living one has to give a partition up
    """

    lease_seconds: float = 10.0
    handover_seconds: float = 30.0


class GroupSession:
    """What the jobs of one transaction on the groups work on. All methods take the group's name first.

    :param partitions: of the topic
    """

    def __init__(
        self,
        txn: Transaction,
        table: Table,
        partitions: int,
        timing: Timing,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._txn = txn
        self._table = table
        self._partitions = partitions
        self._timing = timing
        self._now = clock()
        self.divided = False

    def renew(self, name: str, member: str) -> None:
        """A member is alive: it joins when it is none (yet, or any more), and finds out who is not alive.

        One that was silent for long itself judges nobody: what held it up may have held up all (a stopped machine).
        """
        silent = self._silent_seconds(name, member)
        may_judge = silent is None or silent < self._timing.lease_seconds / 2
        self._txn.put(alive_key(name, member), ALIVE.pack(self._now), db=self._table)
        group = self.load(name)
        if member not in group.members:
            group.members.append(member)
        for other in list(group.members) if may_judge else []:
            silent = self._silent_seconds(name, other)
            if silent is None or silent >= self._timing.lease_seconds:
                self._remove(name, group, other)
        self._store(name, group)

    def renew_all(self, members: Iterable[tuple[str, str]]) -> None:
        """Members, each given with its group, are alive."""
        for name, member in members:
            self.renew(name, member)

    def leave(self, name: str, member: str) -> None:
        """A member is gone; the others have its partitions at once."""
        group = self.load(name)
        self._remove(name, group, member)
        self._store(name, group)

    def release(self, name: str, member: str, epochs: dict[int, int]) -> None:
        """A member gives partitions up."""
        group = self.load(name)
        group.release(member, epochs)
        self._store(name, group)

    def commit(self, name: str, member: str, commits: Mapping[int, tuple[int, Commit]]) -> None:
        """A member's commits, given as (epoch, commit); those for partitions that it has lost are left out."""
        group = self.load(name)
        for partition, (epoch, commit) in commits.items():
            if group.holds(member, partition, epoch):
                self.set_commit(name, partition, commit)

    def set_commits(self, name: str, commits: Mapping[int, Commit]) -> None:
        """How far a group is, whoever says so."""
        for partition, commit in commits.items():
            self.set_commit(name, partition, commit)

    def set_commit(self, name: str, partition: int, commit: Commit) -> None:
        """How far a group is, whoever says so."""
        value = WATERMARK.pack(commit.watermark) + commit.metadata.encode()
        self._txn.put(commit_key(name, partition), value, db=self._table)

    def begin_at(self, name: str, positions: Mapping[int, int]) -> None:
        """Commit positions for the partitions that the group never committed."""
        for partition, position in positions.items():
            if self._txn.get(commit_key(name, partition), db=self._table) is None:
                self.set_commit(name, partition, Commit(position))

    def load(self, name: str) -> Group:
        """The group as it is."""
        text = self._txn.get(group_key(name), db=self._table)
        return Group.parse(text) if text else Group.of(self._partitions)

    def _silent_seconds(self, name: str, member: str) -> float | None:
        """How long a member has said nothing; ``None`` if it never did, or before the machine was started."""
        kept = self._txn.get(alive_key(name, member), db=self._table)
        silent: float = self._now - ALIVE.unpack(kept)[0] if kept else -1.0
        return silent if silent >= 0 else None

    def _remove(self, name: str, group: Group, member: str) -> None:
        group.remove(member)
        self._txn.delete(alive_key(name, member), db=self._table)

    def _store(self, name: str, group: Group) -> None:
        group.divide(now=self._now, handover_seconds=self._timing.handover_seconds)
        text = group.text
        if text != self._txn.get(group_key(name), db=self._table):
            self._txn.put(group_key(name), text, db=self._table)
            self.divided = True

    def finish(self) -> None:
        """Nothing is left to write."""


def read_commits(txn: Transaction, table: Table, name: str) -> dict[int, Commit]:
    """How far a group is."""
    commits = {}
    prefix = commit_key(name, 0)[: -PARTITION.size]
    with txn.cursor(table) as cursor:
        if cursor.set_range(prefix):
            for key, value in cursor.iternext():
                if not key.startswith(prefix) or len(key) != len(prefix) + PARTITION.size:
                    break
                (watermark,) = WATERMARK.unpack_from(value)
                partition = PARTITION.unpack_from(key, len(prefix))[0]
                commits[partition] = Commit.parse(watermark, value[WATERMARK.size :].decode())
    return commits


def live_members(txn: Transaction, table: Table, name: str, lease_seconds: float) -> list[str]:
    """The members of a group that were alive within their lease."""
    text = txn.get(group_key(name), db=table)
    alive = []
    for member in Group.parse(text).members if text else []:
        kept = txn.get(alive_key(name, member), db=table)
        if kept is not None and 0 <= time.monotonic() - ALIVE.unpack(kept)[0] < lease_seconds:
            alive.append(member)
    return alive


def group_names(txn: Transaction, table: Table) -> list[str]:
    """All groups that ever had a member or a commit."""
    names: dict[str, None] = {}
    with txn.cursor(table) as cursor:
        for key in cursor.iternext(keys=True, values=False):
            if key[:1] in b"gc":
                names[key[1:].split(b"\0")[0].decode()] = None
    return sorted(names)


def check_name(name: str) -> str:
    """The name of a group, when it can be one.

    :raises ValueError: it is empty, too long or has a zero byte
    """
    if not name or "\0" in name or len(name.encode()) > LONGEST_NAME:
        raise ValueError(f"a group's name has 1 to {LONGEST_NAME} bytes and no zero byte, this one is {name!r}")
    return name


def group_key(name: str) -> bytes:
    """Where a group's members and leases are."""
    return b"g" + name.encode()


def alive_key(name: str, member: str) -> bytes:
    """Where a member says that it is alive."""
    return b"h" + name.encode() + b"\0" + member.encode()


def commit_key(name: str, partition: int) -> bytes:
    """Where a group's commit for a partition is."""
    return b"c" + name.encode() + b"\0" + PARTITION.pack(partition)
