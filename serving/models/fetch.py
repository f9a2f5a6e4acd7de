"""Reading the file that a request's ``data_url`` names; off unless the function lists the hosts that it trusts."""

from __future__ import annotations

import asyncio
from io import BytesIO
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ...errors import BodyTooLarge, Forbidden, UpstreamError

MAX_BYTES = 64 * 1024 * 1024
TIMEOUT_SECONDS = 30


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: it could lead to a host that is not listed."""

    def redirect_request(self, *_: object) -> None:  # type: ignore[override]
        return None


def check_url(url: object, hosts: tuple[str, ...]) -> str:
    """The address, if it is http(s) on a listed host (``"host"`` or ``"host:port"``).

    >>> check_url("https://images.example/cat.png", ("images.example",))
    'https://images.example/cat.png'
    """
    if not hosts:
        raise Forbidden("data_url is off; the function turns it on with function.spec.data_hosts = ['host', …]")
    parts = urlsplit(url) if isinstance(url, str) else None
    if parts is None or parts.scheme not in ("http", "https") or not ({parts.hostname, parts.netloc} & set(hosts)):
        raise Forbidden(f"data_url must be an http(s) address on one of: {', '.join(hosts)}")
    return parts.geturl()


async def fetch(url: str) -> BytesIO:
    """The file at an address that was checked."""
    return await asyncio.to_thread(_read, url)


def _read(url: str) -> BytesIO:
    opener = build_opener(_NoRedirect)
    try:
        with opener.open(Request(url), timeout=TIMEOUT_SECONDS) as answer:
            found: bytes = answer.read(MAX_BYTES + 1)
    except (URLError, OSError) as error:
        raise UpstreamError(f"data_url could not be read: {error}") from error
    if len(found) > MAX_BYTES:
        raise BodyTooLarge(MAX_BYTES)
    return BytesIO(found)
