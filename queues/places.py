"""Places in a topic as a person says them: earliest, latest, an offset, a time, or so long ago."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self

from ..errors import BadRequest
from .base import Queue

AGO = re.compile(r"(\d+(?:\.\d+)?)(s|m|h|d)")
UNITS_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
FORMS = "earliest, latest, an offset (120), a time (2026-01-31T09:30, or with a zone: …T09:30Z) or an age (15m, 2h, 1d)"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in every partition of a topic.

    :param kind: what it is
    :param value: the offset, or the time in seconds since the epoch

    >>> Place.parse("120"), Place.parse("2m", now=1_000.0)
    (Place(kind='offset', value=120), Place(kind='time', value=880.0))
    >>> Place.parse("1970-01-01T00:01:40Z").value
    100.0
    """

    kind: Literal["earliest", "latest", "offset", "time"]
    value: float = 0

    @classmethod
    def parse(cls, text: str, *, now: float | None = None) -> Self:
        """The place that a text names.

        :param now: what ages count from, in seconds since the epoch; default: the present
        :raises BadRequest: it names none
        """
        if text == "earliest":
            return cls("earliest")
        if text == "latest":
            return cls("latest")
        if text.isdecimal():
            return cls("offset", int(text))
        if age := AGO.fullmatch(text):
            return cls("time", (time.time() if now is None else now) - float(age[1]) * UNITS_SECONDS[age[2]])
        try:
            return cls("time", datetime.fromisoformat(text).timestamp())
        except (ValueError, OverflowError, OSError):
            raise BadRequest(f"'{text}' is no place in a topic; places are {FORMS}") from None


async def offsets_at(queue: Queue, place: Place, partitions: Iterable[int]) -> dict[int, int]:
    """The offsets of a place, each within what its partition has.

    :raises BadRequest: an offset is to be that of several partitions
    """
    wanted = list(partitions)
    begin, end = await queue.begin_offsets(), await queue.end_offsets()
    if place.kind == "earliest":
        return {partition: begin[partition] for partition in wanted}
    if place.kind == "latest":
        return {partition: end[partition] for partition in wanted}
    if place.kind == "time":
        return {partition: await queue.offset_at(partition, place.value) for partition in wanted}
    if len(wanted) > 1:
        raise BadRequest(
            f"{queue.url} has {len(wanted)} partitions, and an offset is one of a single partition: "
            "say which with --partition, or name a time"
        )
    return {partition: min(max(begin[partition], int(place.value)), end[partition]) for partition in wanted}


def chosen(queue: Queue, partition: int | None) -> list[int]:
    """One partition, or all of them.

    :raises BadRequest: there is no such partition
    """
    if partition is None:
        return list(range(queue.partitions))
    if not 0 <= partition < queue.partitions:
        raise BadRequest(f"{queue.url} has the partitions 0 to {queue.partitions - 1}, not {partition}")
    return [partition]


def count(first: Mapping[int, int], last: Mapping[int, int]) -> int:
    """How many offsets lie between two places.

    >>> count({0: 5, 1: 2}, {0: 8, 1: 2})
    3
    """
    return sum(max(0, last[partition] - offset) for partition, offset in first.items())
