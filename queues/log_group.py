"""Who has which partition of a group: plain data and the rules that divide it. Knows no storage and no clock.

A partition has one owner at a time. When it is to go to another member, its owner is asked first, by a deadline on its
lease; it goes when the owner has released it, or when the deadline is over. Each new owner has a higher epoch, so what
a former owner says later is known to be old.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Self

import orjson


@dataclass(slots=True)
class Lease:
    """The state of one partition.

    :param owner: the member that reads it
    :param epoch: how often it has changed hands
    :param deadline: until when its owner was asked to give it up; ``None`` when it may keep it
    """

    owner: str | None = None
    epoch: int = 0
    deadline: float | None = None


@dataclass(slots=True)
class Group:
    """The members of a group and what each has.

    >>> group = Group.of(4)
    >>> for member in ("a", "b"):
    ...     group.members.append(member)
    ...     group.divide(now=0.0, handover_seconds=30.0)
    >>> group.owned("a"), group.owned("b"), [lease.deadline for lease in group.leases]
    ([0, 1, 2, 3], [], [None, None, 30.0, 30.0])
    >>> group.release("a", {2: 1, 3: 1})
    >>> group.divide(now=1.0, handover_seconds=30.0)
    >>> group.owned("a"), group.owned("b")
    ([0, 1], [2, 3])
    """

    members: list[str] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)

    @classmethod
    def of(cls, partitions: int) -> Self:
        """A group without members."""
        return cls([], [Lease() for _ in range(partitions)])

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """A group as :attr:`text` gave it."""
        values = orjson.loads(text)
        return cls(values["members"], [Lease(**lease) for lease in values["leases"]])

    @property
    def text(self) -> bytes:
        """The group for the store."""
        return orjson.dumps(asdict(self))

    def owned(self, member: str) -> list[int]:
        """The partitions of a member."""
        return [partition for partition, lease in enumerate(self.leases) if lease.owner == member]

    def holds(self, member: str, partition: int, epoch: int) -> bool:
        """Whether a member has a partition still, and has not lost it meanwhile."""
        lease = self.leases[partition]
        return lease.owner == member and lease.epoch == epoch

    def remove(self, member: str) -> None:
        """A member has left or is dead; its partitions are free."""
        if member in self.members:
            self.members.remove(member)
        for lease in self.leases:
            if lease.owner == member:
                lease.owner, lease.deadline = None, None

    def release(self, member: str, epochs: dict[int, int]) -> None:
        """A member gives partitions up, named with the epochs in which it had them."""
        for partition, epoch in epochs.items():
            if self.holds(member, partition, epoch):
                self.leases[partition].owner, self.leases[partition].deadline = None, None

    def divide(self, *, now: float, handover_seconds: float) -> None:
        """Divide the partitions evenly; who has some keeps as many of them as it may.

        :param handover_seconds: how long an owner has to give a partition up
        """
        self._free_overdue(now)
        quotas = self._quotas()
        self._ask_back(quotas, now + handover_seconds)
        counts = Counter(lease.owner for lease in self.leases)
        for lease in self.leases:
            if lease.owner is None and quotas:
                member = max(quotas, key=lambda name: (quotas[name] - counts[name], name))
                if quotas[member] > counts[member]:
                    lease.owner, lease.epoch, lease.deadline = member, lease.epoch + 1, None
                    counts[member] += 1

    def _free_overdue(self, now: float) -> None:
        for lease in self.leases:
            if lease.deadline is not None and lease.deadline <= now:
                lease.owner, lease.deadline = None, None

    def _quotas(self) -> dict[str, int]:
        """How many partitions each member may have: those with the most keep the odd ones."""
        if not self.members:
            return {}
        share, odd = divmod(len(self.leases), len(self.members))
        counts = Counter(lease.owner for lease in self.leases)
        ordered = sorted(self.members, key=lambda name: (-counts[name], self.members.index(name)))
        return {name: share + (place < odd) for place, name in enumerate(ordered)}

    def _ask_back(self, quotas: dict[str, int], deadline: float) -> None:
        """Set deadlines on what members have beyond their quota, and take back those that are needed no more."""
        kept: Counter[str] = Counter()
        for lease in self.leases:
            if lease.owner is None:
                continue
            kept[lease.owner] += 1
            if kept[lease.owner] <= quotas.get(lease.owner, 0):
                lease.deadline = None
            elif lease.deadline is None:
                lease.deadline = deadline
