"""Steps that ask HTTP servers: one request for an event, or one for every item of its body."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from ..deferred import asyncio, orjson
from ..errors import BadStepArguments, InvalidInput, StepTimeout, UpstreamError, a_kind
from .expressions import compile_expression

if TYPE_CHECKING:
    import aiohttp

DEFAULT_RETRIES = 6
DEFAULT_BACKOFF_SECONDS = 0.1
LONGEST_BACKOFF_SECONDS = 30.0
DEFAULT_TIMEOUT_SECONDS = 60.0
DEFAULT_IN_FLIGHT = 8
PATH = "$path"

Expression = str | Callable[[Any], Any] | None


class RemoteFailed(UpstreamError):
    """A server answered with an error status, which the caller of the graph gets too where it is the request's fault.

    :param upstream_status: the status that came; 4xx, 503 and 504 are passed on, any other becomes 502
    """

    def __init__(self, step: str, url: str, upstream_status: int, text: str) -> None:
        super().__init__(f"step '{step}': {url} answered {upstream_status}: {text:.300}")
        self.upstream_status = upstream_status
        passed_on = 400 <= upstream_status < 500 or upstream_status in (503, 504)
        self.status = upstream_status if passed_on else 502


class RemoteStep:
    """Send the body to an HTTP server; its answer is the new body.

    Connection faults, 429 and 5xx answers are tried again. TLS certificates are verified. Headers of the event are not
    passed on; its id and path are, as ``MLRUN-EVENT-ID`` and ``MLRUN-EVENT-PATH``.

    :param url: the address
    :param subpath: appended to it; ``"$path"`` is the event's own path
    :param method: default: the event's, else POST
    :param headers: sent with every request
    :param url_expression: an expression of ``event`` (the body) that gives the address
    :param body_expression: the same for what is sent
    :param headers_expression: the same for further headers
    :param return_json: parse the answer as JSON; otherwise it is bytes
    :param retries: how often to try again; default 6, and 0 is never
    :param backoff_factor: seconds before the first retry, which double; default 0.1
    :param timeout: seconds for one try; default 60

    >>> import millrace
    >>> function = millrace.new_function("front")
    >>> ask = RemoteStep("http://127.0.0.1:1/predict", retries=0)  # where no server is
    >>> _ = function.set_topology("flow").to(ask, name="ask").respond()
    >>> with function.to_mock_server() as server:
    ...     server.test(body={"inputs": [5]}, silent=True).status_code
    502
    """

    def __init__(
        self,
        url: str | None = None,
        subpath: str | None = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        url_expression: Expression = None,
        body_expression: Expression = None,
        return_json: bool = True,
        max_in_flight: int | None = None,
        retries: int | None = None,
        backoff_factor: float | None = None,
        timeout: float | None = None,
        headers_expression: Expression = None,
        name: str | None = None,
        context: Any = None,
    ) -> None:
        self.name = name or type(self).__name__
        if (url is None) == (url_expression is None):
            raise BadStepArguments(f"step '{self.name}': give either url= or url_expression=")
        if url is not None and not url.startswith(("http://", "https://")):
            raise BadStepArguments(f"step '{self.name}': url={url!r:.100} must begin with http:// or https://")
        self.url = url
        self.subpath = subpath or ""
        self.method = method
        self.headers = dict(headers or {})
        self.return_json = return_json
        self.retries = self._at_least(0, retries, DEFAULT_RETRIES, "retries", int)
        self.backoff_seconds = self._at_least(0, backoff_factor, DEFAULT_BACKOFF_SECONDS, "backoff_factor", float)
        self.timeout_seconds = self._at_least(0.001, timeout, DEFAULT_TIMEOUT_SECONDS, "timeout", float)
        self._url_of = _compiled(url_expression, self.name)
        self._body_of = _compiled(body_expression, self.name)
        self._headers_of = _compiled(headers_expression, self.name)
        self.max_in_flight = self._at_least(1, max_in_flight, DEFAULT_IN_FLIGHT, "max_in_flight", int)
        self._lines: dict[asyncio.AbstractEventLoop, _Line] = {}

    def _at_least(self, least: float, value: Any, default: Any, name: str, kind: type[int | float]) -> Any:
        if value is None:
            return default
        kinds = (int,) if kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds) or not value >= least:
            what = "whole number" if kind is int else "number"
            raise BadStepArguments(f"step '{self.name}': {name}={value!r:.60} must be a {what} of {least} or more")
        return value

    async def do_event(self, event: Any) -> Any:
        """Ask the server."""
        event.body = await self._ask(event, event.body)
        return event

    async def aclose(self) -> None:
        """Close the connections that were opened on the running loop."""
        line = self._lines.pop(asyncio.get_running_loop(), None)
        if line is not None:
            await line.close()

    def __getstate__(self) -> dict[str, Any]:
        """What a copy of the step has, or one that is deployed: all but the connections."""
        return {**vars(self), "_lines": {}}

    @property
    def _line(self) -> _Line:
        """What is open on the running loop; a step may serve several servers, each with a loop of its own."""
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        if line is None:
            for ended in [one for one in list(self._lines) if one.is_closed()]:
                self._lines.pop(ended, None)
            line = self._lines[loop] = _Line(self.max_in_flight, self.timeout_seconds)
        return line

    async def _ask(self, event: Any, body: Any) -> Any:
        method = (self.method or event.method or "POST").upper()
        url = self._address(event, body)
        headers = {"MLRUN-EVENT-ID": event.id, "MLRUN-EVENT-PATH": event.path, **self.headers}
        if self._headers_of is not None:
            headers |= self._headers_of(body)
        headers = {name: str(value) for name, value in headers.items()}
        payload = None
        if method not in ("GET", "HEAD"):
            payload = self._payload(self._body_of(body) if self._body_of else body, headers)
        async with self._line.turns:
            content = await self._try(method, url, headers, payload)
        return self._parsed(content, url)

    def _address(self, event: Any, body: Any) -> str:
        url = str(self._url_of(body) if self._url_of is not None else self.url)
        subpath = event.path if self.subpath == PATH else self.subpath
        return f"{url.rstrip('/')}/{subpath.lstrip('/')}" if subpath else url

    def _payload(self, body: Any, headers: dict[str, str]) -> bytes | None:
        if body is None or isinstance(body, bytes):
            return body
        if isinstance(body, str):
            return body.encode()
        if not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = "application/json"
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)

    async def _try(self, method: str, url: str, headers: dict[str, str], payload: bytes | None) -> bytes:
        for attempt in range(self.retries):
            try:
                return await self._once(method, url, headers, payload)
            except (UpstreamError, StepTimeout) as error:
                if error.status < 500 and error.status != 429:
                    raise
                longest = min(self.backoff_seconds * 2**attempt, LONGEST_BACKOFF_SECONDS)
                await asyncio.sleep(longest * random.uniform(0.5, 1.0))
        return await self._once(method, url, headers, payload)

    async def _once(self, method: str, url: str, headers: dict[str, str], payload: bytes | None) -> bytes:
        import aiohttp  # noqa: PLC0415 - takes a tenth of a second, and few graphs ask servers

        session = await self._line.session()
        try:
            async with session.request(method, url, headers=headers, data=payload) as answer:
                content = await answer.read()
                if answer.status >= 400:
                    raise RemoteFailed(self.name, url, answer.status, content.decode(errors="replace"))
        except TimeoutError as error:
            raise StepTimeout(
                f"step '{self.name}': {url} did not answer within {self.timeout_seconds:g} s (timeout=)"
            ) from error
        except aiohttp.ClientError as error:
            if isinstance(error, aiohttp.InvalidURL) and not isinstance(error, aiohttp.RedirectClientError):
                text = f"step '{self.name}': {url!r:.100} is no address of a server, such as http://host/path"
                raise ValueError(text) from error
            reason = str(error) or type(error).__name__
            raise UpstreamError(f"step '{self.name}': {url} could not be asked: {reason}") from error
        return content

    def _parsed(self, content: bytes, url: str) -> Any:
        if not self.return_json:
            return content
        if not content:
            return None
        try:
            return orjson.loads(content)
        except ValueError as error:
            raise UpstreamError(
                f"step '{self.name}': the answer of {url} is not JSON; return_json=False takes bytes"
            ) from error


class BatchHttpRequests(RemoteStep):
    """Make one request for every item of the body, a list, at the same time; the new body is the list of the answers.

    A request that fails fails the event. The parameters are those of :class:`RemoteStep`, whose expressions see the
    item.

    :param max_in_flight: how many requests are made at a time; default 8

    >>> import millrace
    >>> function = millrace.new_function("front")
    >>> ask = BatchHttpRequests("http://127.0.0.1:1/predict", retries=0)  # where no server is
    >>> _ = function.set_topology("flow").to(ask, name="ask").respond()
    >>> with function.to_mock_server() as server:
    ...     server.test(body=[]), server.test(body=[5, 6], silent=True).status_code
    ([], 502)
    """

    async def do_event(self, event: Any) -> Any:
        """Ask for every item; the answers come in the order of the items."""
        if not isinstance(event.body, (list, tuple)):
            raise InvalidInput(f"step '{self.name}' takes a list, not {a_kind(event.body)}")
        tasks = [asyncio.ensure_future(self._ask(event, item)) for item in event.body]
        try:
            event.body = list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            raise
        return event


def _compiled(expression: Expression, step: str) -> Callable[[Any], Any] | None:
    if expression is None or callable(expression):
        return expression
    text = expression if expression.startswith("(") else f"({expression})"
    return compile_expression(text, step=step)


class _Line:
    """What a step has open on one event loop: a session, made when it is first used, and turns to use it."""

    def __init__(self, max_in_flight: int, timeout_seconds: float) -> None:
        self.turns = asyncio.Semaphore(max_in_flight)
        self._timeout_seconds = timeout_seconds
        self._session: aiohttp.ClientSession | None = None

    async def session(self) -> aiohttp.ClientSession:
        """The open session."""
        if self._session is None:
            lease = _lease(self._timeout_seconds)
            self._session = await anext(lease)
            _leases[self._session] = lease
        return self._session

    async def close(self) -> None:
        """Close the session, if there is one."""
        session, self._session = self._session, None
        if session in _leases:
            await _leases[session].aclose()


_leases: dict[aiohttp.ClientSession, AsyncGenerator[aiohttp.ClientSession, None]] = {}
"""What keeps each open session. Nothing else of a server that was forgotten may be alive when its loop ends."""


async def _lease(timeout_seconds: float) -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Keep a session open until this generator is closed: by its step, else by the loop, which closes all when it ends.

    A finalizer of the step could not do that: it runs in any thread, and often after the loop.
    """
    import aiohttp  # noqa: PLC0415 - as above

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(timeout_seconds)) as session:
        try:
            yield session
        finally:
            del _leases[session]
