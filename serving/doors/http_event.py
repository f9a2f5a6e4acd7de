"""From a request that has been read to an event."""

from __future__ import annotations

from typing import Any

import orjson
from multidict import CIMultiDict, CIMultiDictProxy, istr

from ...errors import BadRequest
from ..engine.messages import JSON
from ..models.headers import BINARY_HEADER
from .front import EVENT_ID_HEADER, EVENT_PATH_HEADER, parse_body
from .http_request import HTTP, RequestEvent, split_target

# Looked up in every request; an istr is compared without being folded to one case each time.
_CONTENT_TYPE, _BINARY = istr("Content-Type"), istr(BINARY_HEADER)
_EVENT_ID, _EVENT_PATH = istr(EVENT_ID_HEADER), istr(EVENT_PATH_HEADER)

Headers = CIMultiDict[str] | CIMultiDictProxy[str]


def make_event(method: str, target: str, headers: Headers, raw: bytes) -> RequestEvent:
    """The event for a request.

    :param target: the request target as it came: path and query
    :param raw: the body, decompressed
    :raises BadRequest: the body is not what its headers say, or the event's id is no text
    :raises InvalidInput: a binary tensor in it is not what the JSON says

    >>> event = make_event("GET", "/items/a%20b?size=3&size=4", CIMultiDict(), b"")
    >>> event.path, event.query_string, event.fields
    ('/items/a b', 'size=3&size=4', {'size': '4'})
    """
    content_type = headers.get(_CONTENT_TYPE)
    if _BINARY in headers:
        body = _tensors(raw, headers[_BINARY])
    elif raw and content_type == JSON:
        try:
            body = orjson.loads(raw)
        except ValueError:
            body = parse_body(raw, content_type)  # says what is wrong with it
    else:
        body = parse_raw(raw, content_type)
    if target[:1] == "/" and not ("?" in target or "%" in target or "#" in target):
        path, query = target, ""  # nearly always
    else:
        path, query = split_target(target)
    # A copy, because the original can be neither changed nor pickled.
    named: Any = headers.copy()
    event_id = headers.get(_EVENT_ID)
    if event_id is not None and not event_id.isascii():
        raise BadRequest(f"the header {EVENT_ID_HEADER} holds bytes that are no ASCII; leave it out for an id of ours")
    event = RequestEvent(body, content_type, named, method, path, event_id, HTTP)
    if query:
        event.query_string = query
    if _EVENT_PATH in headers and path == "/":
        event.path = headers[_EVENT_PATH]
    return event


def _tensors(raw: bytes, length: str) -> Any:
    from .binary_body import parse_binary  # noqa: PLC0415 - numpy is loaded for tensors only

    return parse_binary(raw, length)


def parse_raw(raw: bytes, content_type: str | None) -> Any:
    """The body by its content type. No body is ``None``, unless the type says text or bytes.

    >>> parse_raw(b'{"x": 1}', None), parse_raw(b"", None), parse_raw(b"", "text/plain")
    ({'x': 1}, None, '')
    """
    return parse_body(raw, content_type) if raw or content_type else None
