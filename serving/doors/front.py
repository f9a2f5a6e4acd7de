"""What every door does before and after the graph: bodies in, health, errors and answers out."""

from __future__ import annotations

from collections.abc import Mapping
from encodings import normalize_encoding
from encodings.aliases import aliases
from typing import Any

from ...deferred import orjson
from ...errors import BadRequest, MethodNotAllowed, MillraceError, a_kind, status_of, words
from ...steps.base import DROPPED
from ..engine.engine import Engine
from ..engine.event import Event, Response
from ..engine.messages import JSON, dumps
from ..models.headers import BINARY_HEADER

EVENT_ID_HEADER, EVENT_PATH_HEADER = "MLRUN-EVENT-ID", "MLRUN-EVENT-PATH"
HEALTH = "/v2/health/"
BYTE_LIKE = (bytes, bytearray, memoryview)
_BINARY = BINARY_HEADER.lower()
_SCALARS = frozenset((str, int, float, bool, type(None)))
JSON_TYPES = ("json", JSON)
# Not all that Python can decode: idna and punycode take a time that grows with the square of the body, and each name
# that it looks up in vain stays in memory.
_CHARSETS = frozenset((*aliases, *aliases.values(), "koi8_u", "utf_8_sig"))
FORM = "application/x-www-form-urlencoded"


def parse_body(body: Any, content_type: str | None) -> Any:
    """A text or bytes body as what its content type says; JSON where it says nothing.

    A body without a content type that is no JSON stays as it is; one that claims to be JSON and is not is a
    :class:`~millrace.errors.BadRequest`. ``curl -d`` sends JSON as a form unless it is told otherwise, so a form
    that is JSON is taken as JSON.

    >>> parse_body('{"x": 1}', None), parse_body("plain", None), parse_body("5", "text/plain")
    ({'x': 1}, 'plain', '5')
    >>> parse_body(b'{"x": 1}', FORM), parse_body(b"x=1", FORM)
    ({'x': 1}, b'x=1')
    """
    if not isinstance(body, (str, *BYTE_LIKE)):
        return body
    if content_type == JSON and body:
        return _json(body)
    kind = content_type.partition(";")[0].strip().lower() if content_type else ""
    if kind in ("", FORM):
        return _json_or_as_it_is(body)
    if kind not in JSON_TYPES and not kind.endswith("+json"):
        return _text(body, content_type or "") if kind.startswith("text/") and isinstance(body, bytes) else body
    return _json(body) if body else None


def _json(body: str | bytes | bytearray | memoryview) -> Any:
    try:
        return orjson.loads(body)
    except ValueError as error:
        raise BadRequest(f"the body is not JSON: {error}") from error


def read_body(body: Any, content_type: str | None, headers: Mapping[str, str] | None) -> Any:
    """A text or bytes body as its headers say: with binary tensors, or as :func:`parse_body` reads it.

    :raises BadRequest: it is not what they say
    """
    for name, value in headers.items() if headers else ():
        if name.lower() == _BINARY and not isinstance(body, str):
            from .binary_body import parse_binary  # noqa: PLC0415 - numpy is loaded for tensors only

            return parse_binary(bytes(body), value)
    return parse_body(body, content_type)


def _json_or_as_it_is(body: str | bytes | bytearray | memoryview) -> Any:
    try:
        return orjson.loads(body)
    except ValueError:
        return body


def _text(body: bytes, content_type: str) -> str:
    charset = content_type.lower().partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
    if normalize_encoding(charset) not in _CHARSETS:
        raise BadRequest(f"the body's charset {charset!r:.60} is not known")
    try:
        return body.decode(charset)
    except (UnicodeError, LookupError) as error:
        raise BadRequest(f"the body is not text in {charset}: {error}") from error


def health(engine: Engine, path: str) -> tuple[int, dict[str, Any]] | None:
    """The status and answer of ``/v2/health/live`` and ``/v2/health/ready``; ``None`` for any other path."""
    what = path[len(HEALTH) :].rstrip("/")
    if what == "live":
        return 200, {"live": True}
    if what == "ready":
        waiting = engine.not_ready()
        if waiting or engine.draining:
            return 503, {"ready": False, "waiting": waiting}
        return 200, {"ready": True}
    return None


def error_answer(engine: Engine, error: BaseException, *, verbose: bool = False) -> tuple[int, dict[str, Any]]:
    """The status and the JSON of an error: one clear sentence; with `verbose` the traceback too."""
    text = engine.context.secrets.mask(words(error) or type(error).__name__)
    answer: dict[str, Any] = {"error": text}
    if verbose:
        import traceback  # noqa: PLC0415 - only then

        lines = "".join(traceback.format_exception(error)).encode(errors="backslashreplace").decode()
        answer["traceback"] = engine.context.secrets.mask(lines)
    return status_of(error), answer


def plain(answer: Any) -> Any:
    """The answer as a client has it after parsing its JSON: lists where it holds arrays.

    >>> import numpy as np
    >>> plain({"outputs": np.array([1, 2])})
    {'outputs': [1, 2]}
    """
    return orjson.loads(dumps(answer)) if _holds_array(answer) else answer


def _holds_array(value: Any) -> bool:
    kind = value.__class__
    if kind is dict:
        for one in value.values():  # noqa: SIM110 - any() with a generator takes twice as long, for every answer
            if one.__class__ not in _SCALARS and _holds_array(one):
                return True
        return False
    if kind is list:  # of one kind, as a rule
        return bool(value) and value[0].__class__ not in _SCALARS and _holds_array(value[0])
    return kind not in _SCALARS and hasattr(value, "dtype") and hasattr(value, "tolist")


def to_response(engine: Engine, answer: Any) -> Response:
    """A graph's answer as a response: JSON for anything but text and bytes, 204 for a dropped event, 202 for an id."""
    if answer is DROPPED:
        return Response(status_code=204, content_type=JSON)
    if isinstance(answer, Response):
        if not isinstance(answer.body, (str, *BYTE_LIKE, type(None))):
            return Response(answer.headers, dumps(answer.body), JSON, answer.status_code)
        return answer
    if isinstance(answer, (str, *BYTE_LIKE)):
        return Response(body=answer if isinstance(answer, str) else bytes(answer))
    status = 200 if engine.plan.answers else 202
    return Response(body=dumps(answer), content_type=JSON, status_code=status)


def unsendable(answer: Any, error: Exception) -> str:
    """What is said of a graph's answer that JSON can not say."""
    kind = a_kind(answer.body if isinstance(answer, Response) else answer)
    is_endless = isinstance(error, RecursionError) or "ecursion" in str(error)  # orjson has no class for it
    why = "it holds itself, or is nested too deep" if is_endless else str(error)
    return (
        f"the graph's answer, {kind}, can not be sent as JSON ({why}); let the last step return what JSON can say, "
        "arrays, text, bytes or a Response"
    )


def error_response(engine: Engine, error: BaseException) -> Response:
    """An error as a response, with ``Retry-After`` where a later try may help, ``Allow`` where the method is wrong."""
    status, answer = error_answer(engine, error, verbose=engine.context.verbose)
    wait = error.retry_after_seconds if isinstance(error, MillraceError) else None
    headers = {"Retry-After": f"{max(1, round(wait))}"} if wait is not None else {}
    if isinstance(error, MethodNotAllowed) and error.allowed:
        headers["Allow"] = ", ".join(error.allowed)
    return Response(headers, dumps(answer), JSON, status)


def with_event_headers(event: Event, headers: Any) -> Event:
    """Take the event's id from the header that MLRun's clients send, and its path where the URL has none.

    A path in the URL decides: gateways grant access by it.
    """
    for name, value in headers.items():
        upper = name.upper()
        if upper == EVENT_ID_HEADER:
            event.id = value
        elif upper == EVENT_PATH_HEADER and event.path == "/":
            event.path = value
    return event
