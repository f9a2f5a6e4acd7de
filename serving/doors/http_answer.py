"""From a graph's answer to what goes out: a status, headers and bytes; and the bytes of a head."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import NamedTuple

from ..engine.event import Response
from ..engine.messages import JSON, dumps

SERVER = "millrace"
WITHOUT_BODY = (204, 205, 304)
# https://www.rfc-editor.org/rfc/rfc9110#section-5.5 and #section-5.6.2
_TOKEN = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_CHARSET = re.compile(r"""charset\s*=\s*["']?([^\s;"']+)""", re.IGNORECASE)
_FORBIDDEN = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# The door sets these itself.
_OWN_HEADERS = ("connection", "content-length", "content-type", "date", "keep-alive", "server", "transfer-encoding")
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Answer(NamedTuple):
    """An answer that can be sent as it is.

    :param content_type: ``None`` where there is no body
    """

    status: int
    content_type: str | None
    headers: dict[str, str]
    body: bytes


def to_answer(response: Response) -> Answer:
    """A response, checked: what a step put into it must not break the protocol.

    :raises ValueError: its status is none, or a header has characters that a header can not have

    >>> to_answer(Response(body="é", status_code=404))
    Answer(status=404, content_type='text/plain; charset=utf-8', headers={}, body=b'\\xc3\\xa9')
    """
    status, body, content_type = response.status_code, response.body, response.content_type
    if not isinstance(status, int) or not 200 <= status <= 599:
        raise ValueError(f"{status!r} is no status of an answer; it is a number from 200 to 599")
    headers = {}
    for name, value in response.headers.items():
        text = _checked(str(name), str(value))
        if name.lower() == "content-type":
            content_type = text
        elif name.lower() not in _OWN_HEADERS:
            headers[str(name)] = text
    if body is None or status in WITHOUT_BODY:
        return Answer(status, None, headers, b"")
    if isinstance(body, str):
        charset = _CHARSET.search(content_type)
        body = _encoded(body, charset[1] if charset else "utf-8")
        if charset is None and content_type.startswith("text/"):
            content_type += "; charset=utf-8"
    return Answer(status, _checked("Content-Type", content_type), headers, bytes(body))


def _encoded(text: str, charset: str) -> bytes:
    try:
        return text.encode(charset)
    except (LookupError, UnicodeEncodeError) as error:
        raise ValueError(f"the answer can not be written in the charset {charset!r} that it names: {error}") from error


def _checked(name: str, value: str) -> str:
    if not _TOKEN.fullmatch(name) or _FORBIDDEN.search(value):
        raise ValueError(f"the header {name!r}: {value!r:.100} has characters that no header may have")
    return value


class Heads:
    """Makes the heads of answers; their date is made once a second.

    >>> heads = Heads(now=lambda: 0)
    >>> heads.of_json(2).decode().splitlines()[:3]
    ['HTTP/1.1 200 OK', 'Server: millrace', 'Date: Thu, 01 Jan 1970 00:00:00 GMT']
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._second = -1
        self._common = ""
        self._json = b""

    def of_json(self, length: int) -> bytes:
        """The head of the usual answer: 200, JSON, keep alive."""
        second = int(self._now())
        if second != self._second:
            self._renew(second)
        return b"%b%d\r\n\r\n" % (self._json, length)

    def of(self, answer: Answer, *, is_last: bool = False) -> bytes:
        """The head of any answer.

        :param is_last: the connection is closed after it
        """
        second = int(self._now())
        if second != self._second:
            self._renew(second)
        lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}{self._common}"]
        if answer.content_type is not None:
            lines.append(f"Content-Type: {answer.content_type}")
        if answer.status not in WITHOUT_BODY or answer.status == 205:
            lines.append(f"Content-Length: {len(answer.body)}")
        lines += [f"{name}: {value}" for name, value in answer.headers.items()]
        if is_last:
            lines.append("Connection: close")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")

    def _renew(self, second: int) -> None:
        self._second = second
        self._common = f"\r\nServer: {SERVER}\r\nDate: {formatdate(second, usegmt=True)}"
        self._json = f"HTTP/1.1 200 OK{self._common}\r\nContent-Type: {JSON}\r\nContent-Length: ".encode()


def json_answer(status: int, body: object) -> Answer:
    """An answer in JSON."""
    return Answer(status, JSON, {}, dumps(body))
