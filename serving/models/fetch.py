"""Reading the file that a request's ``data_url`` names; off unless the function lists the hosts that it trusts."""

from __future__ import annotations

import asyncio
from http.client import HTTPException
from io import BytesIO
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ...errors import BodyTooLarge, Forbidden, UpstreamError

MAX_BYTES = 64 * 1024 * 1024
TIMEOUT_SECONDS = 30


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect: it could lead to a host that is not listed."""

    def redirect_request(self, *_: object) -> None:
        return None


def check_url(url: object, hosts: tuple[str, ...]) -> str:
    """The address, if it is http(s) on a listed host (``"host"``, which is any port of it, or ``"host:port"``).

    :raises Forbidden: it is not, no host is listed, or it carries a user name or password

    >>> check_url("https://images.example/cat.png", ("images.example",))
    'https://images.example/cat.png'
    """
    if not hosts:
        raise Forbidden("data_url is off; the function turns it on with function.spec.data_hosts = ['host', …]")
    parts = _split(url)
    if parts is None or parts.scheme not in ("http", "https") or not _is_listed(parts, hosts):
        raise Forbidden(f"data_url must be an http(s) address on one of: {', '.join(hosts)}")
    if "@" in parts.netloc:
        raise Forbidden("data_url must not carry a user name or password")
    return parts.geturl()


def _split(url: object) -> SplitResult | None:
    if not isinstance(url, str) or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        return parts if parts.port != 0 else None
    except ValueError:
        return None


def _is_listed(parts: SplitResult, hosts: tuple[str, ...]) -> bool:
    host = parts.hostname or ""
    names = {host, f"[{host}]"} if ":" in host else {host}
    if parts.port is not None:
        names |= {f"{name}:{parts.port}" for name in names}
    return bool(names & {one.lower() for one in hosts})


async def fetch(url: str) -> BytesIO:
    """The file at an address that was checked."""
    return await asyncio.to_thread(_read, url)


def _read(url: str) -> BytesIO:
    opener = build_opener(_NoRedirect)
    try:
        with opener.open(Request(url), timeout=TIMEOUT_SECONDS) as answer:
            found: bytes = answer.read(MAX_BYTES + 1)
    except HTTPError as error:
        error.close()  # it holds the connection
        raise UpstreamError(f"data_url could not be read: {error}") from error
    except (URLError, OSError, HTTPException, ValueError) as error:
        raise UpstreamError(f"data_url could not be read: {error}") from error
    if len(found) > MAX_BYTES:
        raise BodyTooLarge(MAX_BYTES)
    return BytesIO(found)
