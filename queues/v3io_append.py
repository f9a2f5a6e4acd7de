"""Appending to one shard: in order, one request at a time, each record until the platform has said that it has it.

A request whose answer was lost may have been done. Before its records are sent again, the shard is read from where it
was known to end, and those that are there are not sent twice. What remains: a request that is still on its way while we
look, and is done after. The protocol has no means against that; such a record comes twice.

When the platform takes some records of a request and refuses others for now, only those are sent again, in their order;
they then stand behind the later ones of that request. The protocol has no means against that either.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import MillraceError, QueueFull, Unavailable
from .message import Message
from .v3io_client import Refused, Stream
from .v3io_options import Options
from .v3io_records import encode
from .v3io_retry import Backoff
from .v3io_shards import Shards

log = logging.getLogger(__name__)

MOST_RECORDS = 1_000
MOST_BYTES = 9_500_000  # of the 10 MB that a request may have
RECORD_BYTES = 160  # what a record takes beside its data
LOOKED_AT = 100_000
# ShardIDOutOfRangeException and InvalidArgumentException: the same record would be refused again
HOPELESS = ("-201326594", "-201326592")


class Ticket:
    """One call of append: it is over when each of its messages is written or given up."""

    def __init__(self, count: int) -> None:
        self.written: list[Message | None] = [None] * count
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._left = count
        self._error: MillraceError | None = None

    def settle(self, index: int, outcome: Message | MillraceError) -> None:
        """A message is written, or it is not going to be."""
        if isinstance(outcome, Message):
            self.written[index] = outcome
        else:
            self._error = self._error or outcome
        self._left -= 1
        if self._left == 0 and not self.done.done():
            if self._error is None:
                self.done.set_result(None)
            else:
                self.done.set_exception(self._error)


@dataclass(slots=True)
class Entry:
    """A message that waits to be written."""

    message: Message
    ticket: Ticket
    index: int
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """About how many bytes of a request it takes."""
        return RECORD_BYTES + (len(self.record["data"]) + 2) // 3 * 4

    @property
    def identity(self) -> tuple[bytes, bytes]:
        """By which it is found again: the stamp tells it from its equals, and the data makes sure."""
        return self.record["client_info"], self.record["data"]


class Lane:
    """The writer of one shard.

    :param on_settled: called with the number of messages that wait no more, and how many of them were written
    """

    def __init__(self, stream: Stream, shard: int, options: Options, on_settled: Callable[[int, int], None]) -> None:
        self._stream, self._shard, self._options = stream, shard, options
        self._shards = Shards(stream)
        self._on_settled = on_settled
        self._sender = int.from_bytes(os.urandom(4), "big")
        self._numbers = itertools.count()
        self._waiting: deque[Entry] = deque()
        self._known_end: int | None = None
        self._task: asyncio.Task[None] | None = None

    def add(self, entry: Entry) -> None:
        """Write a message after those that were added before it."""
        number = next(self._numbers)
        entry.record = encode(entry.message, sender=self._sender, number=number, plain=self._options.plain)
        self._waiting.append(entry)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def drain(self) -> None:
        """Wait until nothing waits."""
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while self._waiting:
            entries = self._take()
            try:
                await self._deliver(entries)
            except Exception as error:  # a bug here must not leave callers waiting for ever
                log.exception("%s: shard %d: appending broke", self._stream.url, self._shard)
                self._give_up(entries, Unavailable(f"{self._stream.url}: appending broke: {error!r}"))

    def _take(self) -> list[Entry]:
        """The next request's records."""
        entries = [self._waiting.popleft()]
        size = entries[0].size
        while self._waiting and len(entries) < MOST_RECORDS and size + self._waiting[0].size <= MOST_BYTES:
            size += self._waiting[0].size
            entries.append(self._waiting.popleft())
        return entries

    async def _deliver(self, entries: list[Entry]) -> None:
        """Write records, trying again what may be tried again."""
        backoff, is_doubtful = Backoff(self._options.retry_timeout_seconds), False
        while entries:
            try:
                entries = await self._missing(entries, is_doubtful)
                if not entries:
                    return
                is_doubtful = True
                results = await self._stream.put(self._shard, [entry.record for entry in entries])
                is_doubtful = False
                entries, problem = self._settle(entries, results)
            except Unavailable as error:
                problem = str(error)
            except (Refused, QueueFull) as error:
                await self._divide(entries, error)
                return
            if entries and not await backoff.wait():
                self._give_up(entries, self._failure(len(entries), problem, is_doubtful))
                return

    async def _missing(self, entries: list[Entry], is_doubtful: bool) -> list[Entry]:
        """Those of some records that the shard does not have yet."""
        if self._known_end is None:
            self._known_end = await self._shards.end(self._shard)
        if not is_doubtful:
            return entries
        wanted = {entry.identity for entry in entries}
        found: dict[tuple[bytes, bytes], int] = {}
        async for record in self._shards.since(self._shard, self._known_end, most=LOOKED_AT):
            if (record.info, record.data) in wanted:
                found[record.info, record.data] = record.offset
        return self._settle(entries, [(found.get(entry.identity), "it is not there") for entry in entries])[0]

    def _settle(self, entries: list[Entry], results: Sequence[tuple[int | None, str]]) -> tuple[list[Entry], str]:
        """Finish what was written or never will be; answers what is left, and the reason."""
        left, problem, over, written = [], "", 0, 0
        for entry, (offset, reason) in zip(entries, results, strict=True):
            if offset is not None:
                self._known_end = max(self._known_end or 0, offset + 1)
                entry.ticket.settle(entry.index, replace(entry.message, partition=self._shard, offset=offset))
                over, written = over + 1, written + 1
            elif reason.startswith(HOPELESS):
                message = f"{self._stream.url}: shard {self._shard} refuses a message: {reason}"
                entry.ticket.settle(entry.index, Refused(message, code=400))
                over += 1
            else:
                left.append(entry)
                problem = reason
        self._on_settled(over, written)
        return left, problem

    async def _divide(self, entries: list[Entry], error: Refused | QueueFull) -> None:
        """A request was refused: find out which record is the reason, so that the others are written."""
        is_about_records = isinstance(error, Refused) and error.code in (400, 413)
        if not is_about_records:
            self._give_up(entries, error)
            return
        if len(entries) == 1:
            size = len(entries[0].record["data"])
            text = f"{error}; the message has {size:,} bytes, and v3io takes 1 or 2 MB at most, by its version"
            self._give_up(entries, Refused(text, code=400))
            return
        half = len(entries) // 2
        await self._deliver(entries[:half])
        await self._deliver(entries[half:])

    def _give_up(self, entries: list[Entry], error: MillraceError) -> None:
        for entry in entries:
            if entry.ticket.written[entry.index] is None:
                entry.ticket.settle(entry.index, error)
        self._on_settled(len(entries), 0)

    def _failure(self, count: int, problem: str, is_doubtful: bool) -> Unavailable:
        fate = "may have been written or not" if is_doubtful else "were not written"
        return Unavailable(
            f"{self._stream.url}: {count} messages for shard {self._shard} {fate} after "
            f"{self._options.retry_timeout_seconds:g} s of trying (option retry_timeout_seconds): {problem}"
        )
