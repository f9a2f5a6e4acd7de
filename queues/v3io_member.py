"""One member of a group: it says that it is alive, and finds out who is not and what it is given."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Mapping

from ..errors import MillraceError, Unavailable
from .log_group import Group
from .v3io_options import Options
from .v3io_state import GroupState, Seen

log = logging.getLogger(__name__)


class Watch:
    """Who is alive, judged by the own clock alone: whose number has not changed for so long is not.

    >>> watch = Watch(lease_timeout_seconds=10.0)
    >>> [watch.dead({"a": number, "b": 1}, now=4.0 * number) for number in range(1, 5)]
    [set(), set(), set(), {'b'}]
    """

    def __init__(self, *, lease_timeout_seconds: float) -> None:
        self._lease_timeout_seconds = lease_timeout_seconds
        self._changed: dict[str, tuple[int, float]] = {}
        self._looked: float | None = None

    def dead(self, beats: Mapping[str, int], *, now: float) -> set[str]:
        """The members that are dead. Who has not looked for long itself begins anew: all may have been held up."""
        is_late = self._looked is not None and now - self._looked > self._lease_timeout_seconds / 2
        self._looked = now
        self._changed = {
            member: kept if (kept := self._changed.get(member)) and kept[0] == beat and not is_late else (beat, now)
            for member, beat in beats.items()
        }
        return {member for member, (_, since) in self._changed.items() if now - since >= self._lease_timeout_seconds}


class Member:
    """Keeps a membership alive on a task of its own, from :meth:`join` to :meth:`leave`.

    :ivar group: the group as it was last seen
    :ivar version: grows when the group is another one
    :ivar changed: set when that happens
    :ivar failure: why the membership can not be kept, when the platform refuses
    """

    def __init__(self, state: GroupState, options: Options, *, name: str) -> None:
        self.id = uuid.uuid4().hex[:16]
        self.group: Group | None = None
        self.version = 0
        self.changed = asyncio.Event()
        self.failure: MillraceError | None = None
        self._state, self._options, self._name = state, options, name
        self._watch = Watch(lease_timeout_seconds=options.lease_timeout_seconds)
        self._number = 0
        self._alive_at = time.monotonic()
        self._task: asyncio.Task[None] | None = None

    @property
    def has_lapsed(self) -> bool:
        """Whether it could not say for so long that it is alive that others may have its partitions."""
        return time.monotonic() - self._alive_at >= self._options.lease_timeout_seconds

    async def join(self) -> None:
        """Be one of the group."""
        await self.renew()
        self._task = asyncio.get_running_loop().create_task(self._keep())

    async def renew(self) -> None:
        """Say that it is alive, and divide the partitions among those who are."""
        self._number += 1
        asked_at = time.monotonic()
        if self._task is not None:  # in the first one the join itself tells
            await self._state.beat(self.id, self._number)
        seen = await self._state.change(self._divide)
        if self.has_lapsed:
            self.changed.set()
        self._alive_at = asked_at
        self._note(seen)

    def _divide(self, seen: Seen) -> None:
        group = seen.group
        others = {member: seen.beats.get(member, 0) for member in group.members if member != self.id}
        for member in self._watch.dead(others, now=time.monotonic()):
            log.warning("group '%s': member %s is silent; its partitions go to others", self._name, member)
            group.remove(member)
        if self.id not in group.members:
            group.members.append(self.id)
        group.divide(now=time.time(), handover_seconds=self._options.handover_timeout_seconds)

    async def release(self, epochs: dict[int, int]) -> None:
        """Give partitions up, named with the epochs in which they were held."""

        def give(seen: Seen) -> None:
            seen.group.release(self.id, epochs)
            seen.group.divide(now=time.time(), handover_seconds=self._options.handover_timeout_seconds)

        self._note(await self._state.change(give))

    async def leave(self) -> None:
        """Be no member any more; the others have its partitions at once."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

        def go(seen: Seen) -> None:
            seen.group.remove(self.id)
            seen.group.divide(now=time.time(), handover_seconds=self._options.handover_timeout_seconds)

        try:
            await asyncio.wait_for(self._state.change(go), self._options.lease_timeout_seconds)
        except (TimeoutError, Unavailable) as error:
            log.warning("group '%s': could not take leave, its lease will end by itself: %r", self._name, error)

    async def _keep(self) -> None:
        """Renew, again and again. No answer is no reason to stop: the membership lapses, and comes back."""
        while True:
            await asyncio.sleep(self._options.heartbeat_seconds)
            try:
                await self.renew()
            except Unavailable as error:
                log.warning("group '%s': no heartbeat: %s", self._name, error)
            except MillraceError as error:
                self.failure = error
                self.changed.set()
                return

    def _note(self, seen: Seen) -> None:
        if self.group is None or seen.group.text != self.group.text:
            self.group = seen.group
            self.version += 1
            self.changed.set()
