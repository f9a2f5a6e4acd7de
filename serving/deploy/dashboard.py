"""The REST API of a Nuclio dashboard: projects, functions, their replicas, logs and invocations."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import quote

import aiohttp
import orjson

from ..engine.clock import Clock, SystemClock, sleep
from .dashboard_access import DashboardAccess
from .dashboard_errors import (
    ConnectionDropped,
    CredentialsRefused,
    DashboardFailed,
    DashboardUnreachable,
    DeployError,
    NotADashboard,
)

CONNECT_SECONDS = 10.0
LOOK_SECONDS = 30.0
"""For an answer that only tells what is there."""
TRANSIENT = (429, 500, 502, 503, 504)
FIRST_BACKOFF_SECONDS = 0.25
LONGEST_BACKOFF_SECONDS = 8.0


@dataclass(frozen=True)
class Answer:
    """What came back: ``status``, ``headers`` and ``body`` (bytes)."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body parsed, or ``None`` where it is no JSON."""
        try:
            return orjson.loads(self.body)
        except ValueError:
            return None

    def reason(self) -> str:
        """The dashboard's own words about what is wrong."""
        parsed = self.json()
        said = parsed.get("error") if isinstance(parsed, dict) else None
        return str(said or self.body[:300].decode(errors="replace")).strip()


class Dashboard:
    """A client for one dashboard; an async context manager. What may be asked twice is asked again when the connection
    breaks or the dashboard answers 5xx.

    :param timeout_seconds: for one answer; a dashboard takes up to a minute to accept a function
    :param retries: how often to ask again; the pauses double from 0.25 s to 8 s
    """

    def __init__(
        self, access: DashboardAccess, *, timeout_seconds: float = 90.0, retries: int = 5, clock: Clock | None = None
    ) -> None:
        self.access = access
        self.clock = clock or SystemClock()
        self._timeout_seconds = timeout_seconds
        self._retries = retries
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        authorization = self.access.authorization
        headers = {"Authorization": authorization} if authorization else {}
        connector = aiohttp.TCPConnector(ssl=_trusted(self.access))
        self._session = aiohttp.ClientSession(headers=headers, connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- projects ------------------------------------------------------------------------------------------------

    async def projects(self) -> dict[str, Any]:
        """The projects by name. The first call to make: it tells whether this is a dashboard and lets us in.

        :raises DashboardUnreachable: nothing answers
        :raises NotADashboard: something else answers
        :raises CredentialsRefused: 401 or 403
        """
        try:
            answer = await self._ask("GET", "/api/projects", call="list projects", headers=self._in("project"),
                                     first=True)  # fmt: skip
        except DashboardFailed as error:
            if error.upstream_status in (404, 405):
                self._other("it has no /api/projects")
            raise
        found = answer.json()
        if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
            self._other(f"it lists projects as {answer.body[:80].decode(errors='replace')!r}")
        return dict(found)

    async def create_project(self, name: str) -> None:
        """Make a project; that it exists already is no error."""
        body = {"metadata": {"name": name, **self._namespace()}, "spec": {}}
        try:
            await self._ask("POST", "/api/projects", call=f"create project '{name}'", json=body)
        except DashboardFailed as error:
            if error.upstream_status != 409:
                raise

    # -- functions -----------------------------------------------------------------------------------------------

    async def functions(self, project: str | None = None) -> dict[str, Any]:
        """All functions by name, each ``{metadata, spec, status}``; those of one project when it is named."""
        headers = self._in("function") | ({"x-nuclio-project-name": project} if project else {})
        found = (await self._ask("GET", "/api/functions", call="list functions", headers=headers)).json()
        return found if isinstance(found, dict) else {}

    async def function(self, name: str) -> dict[str, Any] | None:
        """One function, ``{metadata, spec, status}``, or ``None`` where there is none.

        :raises NotADashboard: something else answers, such as a page to log in
        """
        try:
            answer = await self._ask("GET", _path(name), call=f"show function '{name}'", headers=self._in("function"))
        except DashboardFailed as error:
            if error.upstream_status == 404:
                return None
            raise
        found = answer.json()
        parts = found.values() if isinstance(found, dict) else ()
        if not found or not all(isinstance(one, dict) for one in parts if one is not None):
            self._other(f"it shows function '{name}' as {answer.body[:80].decode(errors='replace')!r}")
        return dict(found)

    async def create_function(self, config: Mapping[str, Any], *, project: str) -> None:
        """Hand in a new function; it is accepted when this returns, and built afterwards.

        :raises DashboardFailed: 409 where the name exists, 412 where the project is missing
        :raises ConnectionDropped: it may have been accepted
        """
        name = config["metadata"]["name"]
        await self._ask("POST", "/api/functions", call=f"create function '{name}'", json=self._placed(config),
                        headers=self._in("function") | {"x-nuclio-project-name": project}, again=False)  # fmt: skip

    async def update_function(self, config: Mapping[str, Any], *, project: str) -> None:
        """Hand in a function again; it is accepted when this returns, and built afterwards.

        :raises DashboardFailed: 409 where its resourceVersion is old, 412 while it is being deployed
        :raises ConnectionDropped: it may have been accepted
        """
        name = config["metadata"]["name"]
        await self._ask("PUT", _path(name), call=f"update function '{name}'", json=self._placed(config),
                        headers=self._in("function") | {"x-nuclio-project-name": project}, again=False)  # fmt: skip

    async def delete_function(self, name: str, *, in_any_state: bool = False) -> bool:
        """Remove a function; whether there was one.

        :param in_any_state: also while it is being deployed
        """
        headers = self._in("function")
        if in_any_state:
            headers["x-nuclio-delete-function-ignore-state-validation"] = "true"
        body = {"metadata": {"name": name, **self._namespace()}}
        try:
            await self._ask("DELETE", "/api/functions", call=f"delete function '{name}'", json=body, headers=headers)
        except DashboardFailed as error:
            if error.upstream_status == 404:
                return False
            raise
        return True

    # -- running functions ---------------------------------------------------------------------------------------

    async def replicas(self, name: str) -> list[str]:
        """The names of a function's replicas."""
        call = f"list the replicas of function '{name}'"
        answer = await self._ask("GET", f"{_path(name)}/replicas", call=call, headers=self._in("function"))
        found = answer.json()
        found = found.get("replicas", found) if isinstance(found, dict) else {}
        return [str(one) for one in (found.get("names") if isinstance(found, dict) else None) or ()]

    async def logs(
        self, name: str, replica: str, *, is_followed: bool = False, since_seconds: float | None = None,
        tail_lines: int | None = None,
    ) -> AsyncIterator[str]:  # fmt: skip
        """The lines that a replica logged.

        :param is_followed: go on with those that come
        """
        query = {"follow": "true" if is_followed else "false"}
        if since_seconds is not None:
            query["since"] = f"{since_seconds:g}s"
        if tail_lines is not None:
            query["tailLines"] = str(tail_lines)
        call = f"read the log of '{replica}'"
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
        try:
            async with self._opened().get(
                f"{self.access.url}{_path(name)}/logs/{quote(replica, safe='')}", params=query,
                headers=self._in("function"), timeout=timeout, allow_redirects=False,
            ) as answer:  # fmt: skip
                if answer.status != 200:
                    self._refuse(Answer(answer.status, answer.headers, await answer.read()), call)
                async for line in answer.content:
                    yield line.decode(errors="replace").rstrip("\r\n")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionDropped(self.access.url, call=call, reason=_said(error)) from error

    async def invoke(
        self, name: str, path: str, *, method: str, headers: Mapping[str, str], body: bytes | None,
        url: str | None = None, timeout_seconds: float = 60.0,
    ) -> Answer:  # fmt: skip
        """Ask a function; its answer, whatever the status.

        :param url: its own address, which gets no credentials; default: through the dashboard
        """
        sent = dict(headers)
        if url is None:
            sent |= self._in("function") | {
                "x-nuclio-function-name": name, "x-nuclio-path": path,
                "x-nuclio-invoke-timeout": f"{timeout_seconds:g}s",
            }  # fmt: skip
            return await self._once(method, f"{self.access.url}/api/function_invocations/", f"invoke '{name}'",
                                    headers=sent, data=body)  # fmt: skip
        # a session of its own: that of the dashboard would send the dashboard's credentials
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(timeout_seconds)) as session:
            try:
                address = f"{url.rstrip('/')}/{path.lstrip('/')}"
                async with session.request(method, address, headers=sent, data=body,
                                           skip_auto_headers=("Content-Type",)) as answer:  # fmt: skip
                    return Answer(answer.status, answer.headers, await answer.read())
            except (aiohttp.ClientError, TimeoutError) as error:
                raise DeployError(f"function '{name}' does not answer at {url}: {_said(error)}") from error

    # -- how it is asked -----------------------------------------------------------------------------------------

    async def _ask(
        self, method: str, path: str, *, call: str, json: Any = None, headers: Mapping[str, str] | None = None,
        again: bool = True, first: bool = False,
    ) -> Answer:  # fmt: skip
        data = None if json is None else orjson.dumps(json)
        sent = {**(headers or {}), **({"Content-Type": "application/json"} if data is not None else {})}
        attempts = 1 + (self._retries if again else 0)
        for attempt in range(attempts):
            is_last = attempt + 1 == attempts
            try:
                answer = await self._once(method, f"{self.access.url}{path}", call, headers=sent, data=data)
            except DashboardUnreachable:
                # At the first call it is the address that is wrong; later the dashboard may be starting again.
                if first or is_last:
                    raise
            except ConnectionDropped as error:
                if first and isinstance(error.__cause__, TimeoutError):
                    raise DashboardUnreachable(
                        self.access.url, source=self.access.source, reason="it accepts connections and gives no answer"
                    ) from error
                if is_last:
                    raise
            else:
                if is_last or answer.status not in TRANSIENT:
                    self._refuse(answer, call)
                    return answer
            await sleep(self.clock, min(FIRST_BACKOFF_SECONDS * 2**attempt, LONGEST_BACKOFF_SECONDS))
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self, method: str, url: str, call: str, *, headers: Mapping[str, str], data: bytes | None
    ) -> Answer:
        is_look = method == "GET" and "/function_invocations/" not in url
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=CONNECT_SECONDS,
            sock_read=min(LOOK_SECONDS, self._timeout_seconds) if is_look else self._timeout_seconds,
        )  # fmt: skip
        try:
            async with self._opened().request(
                method, url, headers=headers, data=data, allow_redirects=False, timeout=timeout,
                skip_auto_headers=("Content-Type",),
            ) as answer:  # fmt: skip
                return Answer(answer.status, answer.headers, await answer.read())
        except aiohttp.ClientConnectorError as error:
            raise DashboardUnreachable(self.access.url, source=self.access.source, reason=_said(error)) from error
        except aiohttp.ConnectionTimeoutError as error:
            reason = f"no connection within {CONNECT_SECONDS:g} s"
            raise DashboardUnreachable(self.access.url, source=self.access.source, reason=reason) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionDropped(self.access.url, call=call, reason=_said(error)) from error

    def _refuse(self, answer: Answer, call: str) -> None:
        """Raise what an error status means."""
        if answer.status in (401, 403):
            raise CredentialsRefused(self.access.url, upstream_status=answer.status, identity=self.access.identity,
                                     call=call, reason=answer.reason() if answer.json() else "")  # fmt: skip
        if 300 <= answer.status < 400:
            where = answer.headers.get("Location", "elsewhere").partition("?")[0]
            self._other(f"it sends to {where} ({answer.status}), perhaps to log in")
        if answer.status >= 400:
            raise DashboardFailed(call, upstream_status=answer.status, reason=answer.reason())

    def _other(self, said: str) -> NoReturn:
        raise NotADashboard(self.access.url, source=self.access.source, answer=said)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise DeployError("the dashboard's client is closed; use it in `async with`")
        return self._session

    def _namespace(self) -> dict[str, str]:
        return {"namespace": self.access.namespace} if self.access.namespace else {}

    def _in(self, what: str) -> dict[str, str]:
        return {f"x-nuclio-{what}-namespace": self.access.namespace} if self.access.namespace else {}

    def _placed(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return {"metadata": {**config["metadata"], **self._namespace()}, "spec": config["spec"]}


def _path(name: str) -> str:
    return f"/api/functions/{quote(name, safe='')}"


def _said(error: BaseException) -> str:
    """The reason without what surrounds it; an aiohttp error names host and port, and never the headers."""
    if isinstance(error, TimeoutError) and not str(error):
        return "no answer in time"
    cause = getattr(error, "os_error", None)
    return str(getattr(cause, "strerror", None) or cause or error or type(error).__name__)


def _trusted(access: DashboardAccess) -> ssl.SSLContext | bool:
    if access.ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=access.ca_file)
    except OSError as error:
        raise DeployError(f"the certificates in '{access.ca_file}' can not be read: {error}") from error

