"""``millrace queue list`` and ``show``: what topics there are, and what is in one."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from .command import Command
from .queue_options import add_json, add_url, opened, settings
from .table import counted, print_table

if TYPE_CHECKING:
    from ...queues.tools import TopicState

LIST_EXAMPLE = """\
  millrace queue list                          what `millrace up` made here
  millrace queue list log:///var/lib/millrace
  millrace queue list kafka://localhost:9092
"""
LIST_URL = (
    "where the topics are: log:///directory (or the path alone), kafka://brokers or v3io://host/container/folder "
    "(default: %(default)s)"
)
HERE = ".millrace/streams"  # where `millrace up` has the queues without an address
SHOW_EXAMPLE = """\
  millrace queue show log:///var/lib/millrace/orders
  millrace queue show kafka://localhost:9092/orders --json | jq '.groups[].total_lag'
"""


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Where to look."""
    add_url(parser, url_help=LIST_URL, default=HERE)
    add_json(parser, "a list of addresses")


def list_queues(options: argparse.Namespace) -> int:
    """Print the address of each topic."""
    import asyncio  # noqa: PLC0415 - for start-up

    from ...queues.address import list_topics  # noqa: PLC0415

    found = asyncio.run(list_topics(options.url, settings(options)))
    if options.json:
        print(json.dumps(found))
    else:
        print("\n".join(found) if found else f"there are no topics in {options.url}")
    return 0


def add_show_arguments(parser: argparse.ArgumentParser) -> None:
    """Which topic."""
    add_url(parser)
    add_json(parser, "everything")


def show(options: argparse.Namespace) -> int:
    """Print the partitions and the groups."""
    import asyncio  # noqa: PLC0415 - for start-up

    state = asyncio.run(_state(options))
    if options.json:
        print(json.dumps(_plain(state)))
    else:
        _print(state)
    return 0


async def _state(options: argparse.Namespace) -> TopicState:
    from ...queues.tools import describe  # noqa: PLC0415 - for start-up

    async with await opened(options) as queue:
        return await describe(queue)


def _plain(state: TopicState) -> dict[str, Any]:
    groups = [
        {
            "group": one.group,
            "members": one.members,
            "total_lag": sum(one.lag.values()),
            "partitions": [
                {
                    "partition": partition,
                    "committed": one.commits[partition].watermark if partition in one.commits else None,
                    "lag": lag,
                }
                for partition, lag in one.lag.items()
            ],
        }
        for one in state.groups or ()
    ]
    partitions = [
        {"partition": one.partition, "begin": one.begin, "end": one.end, "messages": one.end - one.begin}
        for one in state.partitions
    ]
    return {"url": state.url, "partitions": partitions, "groups": None if state.groups is None else groups}


def _print(state: TopicState) -> None:
    print(f"{state.url}: {counted(sum(one.end - one.begin for one in state.partitions), 'message')}\n")
    rows = [(one.partition, one.begin, one.end, one.end - one.begin) for one in state.partitions]
    print_table(("partition", "begin", "end", "messages"), rows)
    print()
    if not state.groups:
        print("groups: this kind of queue does not tell" if state.groups is None else "groups: none has committed yet")
        return
    print_table(
        ("group", "members", "partition", "committed", "lag"),
        [
            (
                group.group,
                "-" if group.members is None else group.members,
                partition,
                group.commits[partition].watermark if partition in group.commits else "-",
                lag,
            )
            for group in state.groups
            for partition, lag in sorted(group.lag.items())
        ],
    )


LIST_PURPOSE = "the topics in a directory, a cluster or a container"
LIST = Command("list", LIST_PURPOSE, LIST_EXAMPLE, add_list_arguments, list_queues)
SHOW = Command("show", "partitions, messages, and groups with their lag", SHOW_EXAMPLE, add_show_arguments, show)
