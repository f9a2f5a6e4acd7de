"""What Millrace keeps about a group: items beside the shards, changed only by who has seen their latest state.

- ``<group>-millrace``: members and leases as JSON (``state``), a number that grows with each change (``stamp``), and a
  number for each member that grows while it lives (``beat_<member>``)
- ``<group>-millrace-<shard>``: ``watermark`` and ``done`` of a shard, and ``lease``, the epoch of its owner. A new
  owner writes its epoch before it reads the rest, so a former one can commit no more.

Conditions are of the two forms that nuclio's groups use on the platform, ``not(exists(a))`` and ``(a == 1)``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from ..errors import Conflict, Unavailable
from .base import Commit
from .log_group import Group
from .v3io_client import Stream
from .v3io_retry import Backoff

BEAT = "beat_"
LONGEST_NAME = 200
MOST_REFUSALS = 10


@dataclass(frozen=True, slots=True)
class Seen:
    """A group as it was read.

    :param stamp: 0 when there is none yet
    :param beats: a number for each member, that grows while it lives
    """

    group: Group
    stamp: int = 0
    beats: Mapping[str, int] = field(default_factory=dict)


def written(group: str) -> str:
    """A group's name for the name of an item.

    >>> [written(name) for name in ("orders", "a b", "a~20b")]
    ['orders', 'a~20b', 'a~7E20b']
    """
    return quote(group, safe="").replace("~", "%7E").replace("%", "~")


def group_of(item: str) -> str | None:
    """The group that an item beside the shards is about; ``None`` for other items.

    >>> [group_of(name) for name in ("0", "orders-millrace", "a~20b-millrace-3")]
    [None, 'orders', 'a b']
    """
    found = re.fullmatch(r"(.+)-millrace(?:-\d+)?", item)
    return unquote(found[1].replace("~", "%")) if found else None


class GroupState:
    """The items of one group.

    :param partitions: of the stream
    :param retry_timeout_seconds: how long a change is tried against those of others
    """

    def __init__(self, stream: Stream, group: str, partitions: int, *, retry_timeout_seconds: float) -> None:
        if not group or len(group) > LONGEST_NAME:
            raise ValueError(f"a group's name has 1 to {LONGEST_NAME} characters, this one is {group!r}")
        self._stream, self._partitions, self._retry_timeout_seconds = stream, partitions, retry_timeout_seconds
        self._name = group
        self._key = f"{written(group)}-millrace"

    async def load(self) -> Seen:
        """The group as it is."""
        return self._seen(await self._stream.item(self._key))

    def _seen(self, item: Mapping[str, Any] | None) -> Seen:
        if not item or "stamp" not in item:
            return Seen(Group.of(self._partitions))
        beats = {name.removeprefix(BEAT): int(beat) for name, beat in item.items() if name.startswith(BEAT)}
        return Seen(Group.parse(str(item["state"]).encode()), int(item["stamp"]), beats)

    async def beat(self, member: str, number: int) -> None:
        """Say that a member is alive."""
        await self._stream.update_item(self._key, {BEAT + member: number})

    async def change(self, modify: Callable[[Seen], None]) -> Seen:
        """Change the group, against nobody's change; `modify` may be called often, and must bear that.

        :raises Unavailable: others changed it all the time
        """
        backoff = Backoff(self._retry_timeout_seconds)
        problem = "its item is changed by others all the time"
        refused: Counter[int] = Counter()
        while True:
            seen = await self.load()
            before = seen.group.text
            modify(seen)
            if seen.group.text == before and seen.stamp:
                return seen
            try:
                if await self._replace(seen):
                    return Seen(seen.group, seen.stamp + 1, seen.beats)
                refused[seen.stamp] += 1
            except Unavailable as error:  # it may have been done: what is read next tells
                problem = str(error)
            if refused[seen.stamp] >= MOST_REFUSALS:
                problem = "the platform takes no conditional writes, although nobody else writes"
            if refused[seen.stamp] >= MOST_REFUSALS or not await backoff.wait():
                raise Unavailable(f"{self._stream.url}: group '{self._name}' could not be changed: {problem}")

    async def _replace(self, seen: Seen) -> bool:
        """Write the group as a whole, which forgets the beats of those who are gone."""
        beats = {BEAT + member: seen.beats.get(member, 0) for member in seen.group.members}
        attributes = {"stamp": seen.stamp + 1, "state": seen.group.text.decode(), **beats}
        condition = f"(stamp == {seen.stamp})" if seen.stamp else "not(exists(stamp))"
        return await self._stream.replace_item(self._key, attributes, condition=condition)

    async def take_over(self, shard: int, epoch: int) -> tuple[bool, Commit | None]:
        """Let none of a lower epoch commit any more; answers whether this epoch is the latest, and the commit.

        :raises Unavailable: it could not be written
        """
        backoff = Backoff(self._retry_timeout_seconds)
        while True:
            item = await self._stream.item(self._commit_key(shard)) or {}
            present = int(item.get("lease", 0))
            if present >= epoch:
                return present == epoch, self._commit(item)
            condition = f"(lease == {present})" if "lease" in item else "not(exists(lease))"
            try:
                if await self._stream.replace_item(
                    self._commit_key(shard), {**_kept(item), "lease": epoch}, condition=condition
                ):
                    return True, self._commit(item)
            except Unavailable:  # what is read next tells whether it was done
                pass
            if not await backoff.wait():
                raise Unavailable(f"{self._stream.url}: group '{self._name}': shard {shard} could not be taken over")

    async def commit(self, shard: int, epoch: int, commit: Commit) -> bool:
        """Set how far the group is; answers whether `epoch` is the latest, otherwise nothing was done.

        :raises Unavailable: it could not be written
        """
        backoff = Backoff(self._retry_timeout_seconds)
        key, attributes = self._commit_key(shard), {**_attributes(commit), "lease": epoch}
        while True:
            try:
                if await self._stream.replace_item(key, attributes, condition=f"(lease == {epoch})"):
                    return True
                item = await self._stream.item(key) or {}
                if item.get("lease") != epoch:
                    return False
                problem = Unavailable(f"{self._stream.url}: group '{self._name}': shard {shard} takes no commit")
            except Unavailable as error:
                problem = error
            if not await backoff.wait():
                raise problem

    async def commits(self, shards: int) -> dict[int, Commit]:
        """How far the group is."""
        found = {}
        for shard in range(shards):
            commit = self._commit(await self._stream.item(self._commit_key(shard)) or {})
            if commit is not None:
                found[shard] = commit
        return found

    async def set_commit(self, shard: int, commit: Commit) -> None:
        """Set how far the group is, from outside.

        :raises Conflict: a member takes it over meanwhile
        """
        item = await self._stream.item(self._commit_key(shard)) or {}
        condition = f"(lease == {item['lease']})" if "lease" in item else "not(exists(lease))"
        attributes = {**_attributes(commit), "lease": int(item.get("lease", 0))}
        if not await self._stream.replace_item(self._commit_key(shard), attributes, condition=condition):
            raise Conflict(
                f"{self._stream.url}: group '{self._name}' took shard {shard} over meanwhile: stop its members first"
            )

    def _commit(self, item: Mapping[str, Any]) -> Commit | None:
        return Commit.parse(int(item["watermark"]), item.get("done")) if "watermark" in item else None

    def _commit_key(self, shard: int) -> str:
        return f"{self._key}-{shard}"


def _attributes(commit: Commit) -> dict[str, int | str]:
    """A commit as attributes; without an empty one, which the platform need not take."""
    metadata = commit.metadata
    return {"watermark": commit.watermark, **({"done": metadata} if metadata else {})}


def _kept(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("watermark", "done") if name in item}
