"""Events of requests, whether they came over HTTP or were made by hand: path, query, headers, trigger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ..engine.event import Event, MockTrigger

HTTP = MockTrigger("http", "http")


class RequestEvent(Event):
    """An event that came in a request.

    :ivar query_string: what stands behind the ``?`` of the URL, as it came

    >>> event = RequestEvent(path="/items")
    >>> event.query_string = "size=3&size=4"
    >>> event.fields
    {'size': '4'}
    """

    __slots__ = ()
    query_string = ""

    @property
    def fields(self) -> dict[str, str]:
        """The parameters in the query string by name; of several with one name, the last."""
        return dict(parse_qsl(self.query_string, keep_blank_values=True))


def split_target(target: str) -> tuple[str, str]:
    """The decoded path and the raw query of a request target.

    >>> split_target("/a%20b?x=%20"), split_target("http://host:80/a?b"), split_target("*")
    (('/a b', 'x=%20'), ('/a', 'b'), ('*', ''))
    """
    if not target.startswith("/") and "://" in target:
        parts = urlsplit(target)
        return unquote(parts.path) or "/", parts.query
    path, _, query = target.partition("?")
    if "#" in target:
        path, query = path.partition("#")[0], query.partition("#")[0]
    return (unquote(path) if "%" in path else path), query


def named_in_any_case(headers: Mapping[str, str] | None) -> Any:
    """Headers that are found in any case and keep the names as they came; ``None`` where there are none."""
    if not headers:
        return None
    from multidict import CIMultiDict  # noqa: PLC0415 - only for events with headers: a notebook need not wait for it

    return CIMultiDict(headers)
