"""Reading shards: from offsets to locations, and from locations to messages.

An offset is a sequence number. They begin at 1, grow, and may have gaps; a shard exists from its first record on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from .message import Message
from .v3io_client import Batch, Record, Refused, Stream
from .v3io_records import decode

FIRST = 1
MOST_ATTEMPTS = 10_000
CLOCKS_SECONDS = 10.0
LAST_NUMBER = "__last_sequence_num"  # a system attribute of shards


class Shards:
    """The shards of a stream, for reading."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._next: dict[int, tuple[int, str]] = {}

    async def begin(self, shard: int) -> int:
        """The oldest offset; the end when there is none."""
        end = await self.end(shard)  # asked first, so that a record that comes meanwhile is not passed over
        first = await self._first(shard, await self.stream.seek(shard, "EARLIEST"))
        return end if first is None else first.offset

    async def end(self, shard: int) -> int:
        """The offset that comes next, as far as is known: the next number."""
        item = await self.stream.item(str(shard), names=(LAST_NUMBER,))
        if item is None:  # no record yet
            return FIRST
        if LAST_NUMBER in item:
            return int(item[LAST_NUMBER]) + 1
        if await self._first(shard, await self.stream.seek(shard, "EARLIEST")) is None:
            return FIRST
        raise Refused(f"{self.stream.url}: shard {shard} does not tell its {LAST_NUMBER}", code=404)

    async def at_time(self, shard: int, timestamp: float) -> int:
        """The first offset whose message is not older than a time; the end if none is.

        The platform finds records by their arrival. A message arrives after it was made, by clocks that differ by
        less than :data:`CLOCKS_SECONDS`; so the search begins there.
        """
        end = await self.end(shard)
        location = await self.stream.seek(shard, "TIME", timestamp=max(0.0, timestamp - CLOCKS_SECONDS))
        while location is not None:
            batch = await self.stream.get(shard, location, 1_000)
            for record in batch.records if batch else []:
                if decode(record, shard).timestamp >= timestamp:
                    return record.offset
            location = batch.location if batch and batch.records else None
        return end

    async def read(self, shard: int, offset: int, limit: int) -> list[Message]:
        """Messages from an offset on, without waiting."""
        kept = self._next.get(shard)
        location = kept[1] if kept and kept[0] == offset else await self.locate(shard, offset)
        batch = await self._after(shard, location, offset, limit)
        if batch is None:  # what was there is gone
            batch = await self._after(shard, await self.stream.seek(shard, "EARLIEST"), offset, limit)
        if batch is None:
            return []
        messages = [decode(record, shard) for record in batch.records]
        self._next[shard] = (messages[-1].offset + 1 if messages else offset, batch.location)
        return messages

    async def locate(self, shard: int, offset: int) -> str | None:
        """A location at an offset or before it, with nothing from the offset on left out.

        ``None`` when the shard has had no record yet.
        """
        if offset <= FIRST:
            return await self.stream.seek(shard, "EARLIEST")
        location = await self.stream.seek(shard, "SEQUENCE", sequence=offset)
        if location is not None:
            return location
        latest = await self.stream.seek(shard, "LATEST")
        if await self.end(shard) <= offset:  # asked after the location was taken: nothing lies between
            return latest
        return await self._before(shard, offset)

    async def _before(self, shard: int, offset: int) -> str | None:
        """A location before an offset whose number was never given, or whose record is gone."""
        earliest = await self.stream.seek(shard, "EARLIEST")
        first = await self._first(shard, earliest)
        if first is None or first.offset >= offset:
            return earliest
        step = 1
        while offset - step > first.offset:
            location = await self.stream.seek(shard, "SEQUENCE", sequence=offset - step)
            if location is not None:
                return location
            step *= 2
        return earliest

    async def since(self, shard: int, offset: int, *, most: int) -> AsyncIterator[Record]:
        """Records from an offset to the end, at most so many."""
        location = await self.locate(shard, offset)
        while location is not None and most > 0:
            batch = await self.stream.get(shard, location, min(most, 1_000))
            if batch is None or not batch.records:
                return
            for record in batch.records:
                yield record
            most -= len(batch.records)
            location = batch.location

    async def _after(self, shard: int, location: str | None, offset: int, limit: int) -> Batch | None:
        """The first records at an offset or after it."""
        for _ in range(MOST_ATTEMPTS):
            batch = None if location is None else await self.stream.get(shard, location, limit)
            if batch is None:
                return None
            records = [record for record in batch.records if record.offset >= offset]
            if records or not batch.behind:
                return Batch(records, batch.location, batch.behind)
            location = batch.location
        return None

    async def _first(self, shard: int, location: str | None) -> Record | None:
        batch = await self._after(shard, location, 0, 1)
        return batch.records[0] if batch and batch.records else None
