"""What the commands on queues have in common: the address, the backend's options, and opening it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...queues.log_address import log_address
from .command import UsageError

if TYPE_CHECKING:
    from ...queues.base import Queue, Settings
    from ...queues.places import Place

URL_HELP = "log:///directory/topic (or the path alone), kafka://brokers/topic or v3io://host/container/path"


def address(text: str) -> str:
    """The type of addresses; a path without a scheme is a place of the embedded log.

    >>> address("kafka://localhost:9092/orders"), address("/var/lib/millrace/orders")
    ('kafka://localhost:9092/orders', 'log:///var/lib/millrace/orders')
    """
    return text if "://" in text else log_address(Path(text))


def add_url(parser: argparse.ArgumentParser, *, url_help: str = URL_HELP, default: str | None = None) -> None:
    """Add the address of a queue, and its options; with a default it may be left out."""
    parser.add_argument("url", metavar="URL", type=address, help=url_help, nargs="?" if default else None,
        default=default)  # fmt: skip
    parser.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", dest="backend_options",
        help="an option of the backend, like client=kafka-python; NAME=@FILE takes a secret from a file",
    )  # fmt: skip


def add_partition(parser: argparse.ArgumentParser) -> None:
    """Add the choice of one partition."""
    parser.add_argument("--partition", type=int, metavar="N", help="only this partition (default: all)")


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the choice of JSON."""
    parser.add_argument("--json", action="store_true", help=f"{what} as JSON, for scripts")


def place(text: str) -> Place:
    """The type of options that are places in a topic."""
    from ...queues.places import Place  # noqa: PLC0415 - for start-up

    try:
        return Place.parse(text)
    except Exception as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def settings(options: argparse.Namespace, url: str | None = None) -> Settings:
    """How to open an address: it must exist, and the backend's options are for addresses of the same kind."""
    from ...queues.base import Settings  # noqa: PLC0415 - for start-up

    scheme, given = options.url.partition("://")[0], url or options.url
    if given.startswith("memory://"):
        raise UsageError(
            f"'{given}' is in the memory of one process, and no other sees it: in the program, use server.queue(name)"
        )
    same = given.partition("://")[0] == scheme
    return Settings(must_exist=True, options=_values(options.backend_options) if same else {})


def _values(texts: list[str]) -> dict[str, Any]:
    """NAME=VALUE pairs; values are JSON where they can be, otherwise text."""
    values: dict[str, Any] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise UsageError(f"--option takes NAME=VALUE, not '{text}'")
        values[name] = Path(value[1:]).read_text(encoding="utf-8").strip() if value.startswith("@") else _value(value)
    return values


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


async def opened(options: argparse.Namespace, url: str | None = None) -> Queue:
    """The queue of the command line's address, or of another one; it must exist."""
    from ...queues.address import open_queue  # noqa: PLC0415 - for start-up

    return await open_queue(url or options.url, settings(options, url))
