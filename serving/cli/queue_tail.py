"""``millrace queue tail``: the last messages of a topic, and those that come."""

from __future__ import annotations

import argparse
import base64
import json
from typing import TYPE_CHECKING, Any

from .command import Command, at_least
from .queue_options import add_json, add_partition, add_url, opened, place
from .table import moment, printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ...queues.base import Queue
    from ...queues.message import Message

EXAMPLE = """\
  millrace queue tail log:///var/lib/millrace/orders                        the last 10, then what comes
  millrace queue tail kafka://localhost:9092/orders --from 15m --no-follow  the last quarter of an hour
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to begin and when to end."""
    add_url(parser)
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("-n", "--last", type=at_least(0), default=10, metavar="N",
        help="begin with the last N (default: 10)")  # fmt: skip
    begin.add_argument("--from", type=place, dest="start", metavar="PLACE",
        help="begin at earliest, latest, an offset, a time (2026-01-31T09:30) or an age (15m)")  # fmt: skip
    add_partition(parser)
    parser.add_argument("--no-follow", action="store_true", help="end at the present end, instead of waiting for more")
    add_json(parser, "a line for each message")


def run(options: argparse.Namespace) -> int:
    """Print messages until Ctrl-C, or the end."""
    import asyncio  # noqa: PLC0415 - for start-up

    asyncio.run(_tail(options))
    return 0


async def _tail(options: argparse.Namespace) -> None:
    write = _as_json if options.json else _as_text
    async with await opened(options) as queue:
        async for message in _messages(queue, options):
            print(write(message), flush=True)


async def _messages(queue: Queue, options: argparse.Namespace) -> AsyncIterator[Message]:
    from ...queues import places, tail  # noqa: PLC0415 - for start-up

    partitions = places.chosen(queue, options.partition)
    if options.start is None:
        last, offsets = await tail.last_messages(queue, options.last, partitions)
        for message in last:
            yield message
    else:
        offsets = await places.offsets_at(queue, options.start, partitions)
        ends = await queue.end_offsets()
        async for message in tail.until(queue, offsets):
            yield message
        offsets = {partition: max(offset, ends[partition]) for partition, offset in offsets.items()}
    if not options.no_follow:
        async for message in tail.follow(queue, offsets):
            yield message


def _as_text(message: Message) -> str:
    key = "" if message.key is None else f"  key={printable(_text(message.key))}"
    value = printable(_text(message.value))
    return f"{moment(message.timestamp)}  {message.partition}:{message.offset}{key}  {value}"


def _text(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


def _as_json(message: Message) -> str:
    fields: dict[str, Any] = {
        "partition": message.partition,
        "offset": message.offset,
        "timestamp": message.timestamp,
        **_field("key", message.key),
        "headers": message.headers,
        **_field("value", message.value),
    }
    return json.dumps(fields)


def _field(name: str, data: bytes | None) -> dict[str, str | None]:
    """Text as it is, other bytes as base64 under another name."""
    if data is None:
        return {name: None}
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(data).decode()}


TAIL = Command("tail", "the last messages, then those that come", EXAMPLE, add_arguments, run)
