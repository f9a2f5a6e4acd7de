"""A double of a Nuclio dashboard: its REST API over real HTTP on this machine, with states and faults to order.

It does what the dashboard's Go source does with requests, headers, statuses and versions. It builds nothing: a function
goes through the states that a test wrote for it, one with every GET; the last one stays.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

BUILDS = ("waitingForBuild", "building", "waitingForResourceConfiguration", "ready")
IN_PROGRESS = ("waitingForBuild", "building", "waitingForResourceConfiguration", "configuringResources")
PROJECT_LABEL = "nuclio.io/project-name"


@dataclass
class State:
    """One state that a function goes through.

    :param log: messages that the build log has gained by then
    """

    name: str
    log: Sequence[str] = ()
    message: str = ""


@dataclass
class Asked:
    """A request that came; the body is parsed where it is JSON."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class Function:
    metadata: dict[str, Any]
    spec: dict[str, Any]
    states: list[State]
    version: int = 1
    log: list[str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """What a GET shows; the next one shows the next state."""
        state = self.states[0]
        self.log += state.log
        if len(self.states) > 1:
            self.states.pop(0)
        logs = [{"time": 1000.0 * n, "level": "info", "message": text, "name": "deployer"}
                for n, text in enumerate(self.log)]  # fmt: skip
        name = self.metadata["name"]
        status = {"state": state.name, "message": state.message, "logs": logs, "httpPort": 0,
                  "internalInvocationUrls": [f"nuclio-{name}.nuclio.svc.cluster.local:8080"]}  # fmt: skip
        metadata = {**self.metadata, "resourceVersion": str(self.version)}
        return {"metadata": metadata, "spec": self.spec, "status": status}


class DashboardDouble:
    """The double, in a thread of its own; a context manager.

    :param password: of user ``"me"``; without one, anybody may ask
    :param token: a bearer token that lets in, too
    """

    def __init__(self, *, password: str | None = None, token: str | None = None) -> None:
        self.asked: list[Asked] = []
        self.projects: dict[str, Any] = {}
        self.functions: dict[str, Function] = {}
        self.scripts: dict[str, list[list[State]]] = {}
        self.faults: list[tuple[str, int | str]] = []
        self.replicas: dict[str, dict[str, str]] = {}
        self.external: dict[str, list[str]] = {}
        self.invoked: list[Asked] = []
        self.answer: tuple[int, str, bytes] = (200, "application/json", b'{"ok": true}')
        self.most_in_progress = 0
        self.url = ""
        self._allowed = {f"Bearer {token}"} if token else set()
        if password is not None:
            self._allowed.add(f"Basic {base64.b64encode(f'me:{password}'.encode()).decode()}")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    # -- what tests order ----------------------------------------------------------------------------------------

    def script(self, name: str, *states: State | str) -> None:
        """The states of a function after it is handed in the next time."""
        listed = [one if isinstance(one, State) else State(one) for one in states]
        self.scripts.setdefault(name, []).append(listed)

    def fail(self, call: str, how: int | str, times: int = 1) -> None:
        """Answer the next calls like ``"POST /api/functions"`` with a status; ``"drop"`` breaks the connection before
        they are done, ``"drop after"`` when they are, ``"hang"`` gives no answer, ``"page"`` one for people. A call
        that ends with ``$`` is that path alone, not what begins so.
        """
        self.faults += [(call, how)] * times

    def put(self, name: str, *states: State | str, project: str = "demo") -> Function:
        """A function that is there already."""
        function = Function({"name": name, "labels": {PROJECT_LABEL: project}}, {}, [])
        function.states = [one if isinstance(one, State) else State(one) for one in states]
        self.functions[name] = function
        return function

    def calls(self, prefix: str = "") -> list[str]:
        """The calls that came, in order, which begin so."""
        return [one.call for one in self.asked if one.call.startswith(prefix)]

    def handed_in(self) -> list[str]:
        """The names of the functions that POST and PUT brought, in order."""
        return [one.body["metadata"]["name"] for one in self.asked
                if one.method in ("POST", "PUT") and one.path.startswith("/api/functions")]  # fmt: skip

    # -- the server ----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(middlewares=[self._guarded], client_max_size=16 << 20)
        add = app.router.add_route
        add("GET", "/api/projects", self._list_projects)
        add("POST", "/api/projects", self._create_project)
        add("GET", "/api/functions", self._list_functions)
        add("POST", "/api/functions", self._create)
        add("DELETE", "/api/functions", self._delete)
        add("GET", "/api/functions/{name}", self._get)
        add("PUT", "/api/functions/{name}", self._update)
        add("GET", "/api/functions/{name}/replicas", self._list_replicas)
        add("GET", "/api/functions/{name}/logs/{replica}", self._logs)
        add("*", "/api/function_invocations/{path:.*}", self._invoke)
        add("*", "/direct/{path:.*}", self._invoke)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Any) -> web.StreamResponse:
        raw = await request.read()
        is_json = request.path.startswith(("/api/projects", "/api/functions/")) or request.path == "/api/functions"
        asked = Asked(request.method, request.path, dict(request.headers), json.loads(raw) if raw and is_json else raw)
        self.asked.append(asked)
        is_open = not self._allowed or request.path.startswith("/direct")
        if not is_open and request.headers.get("Authorization") not in self._allowed:
            return error(401, "Unauthorized")
        fault = next((one for one in self.faults if f"{asked.call}$".startswith(one[0])), None)
        if fault is not None:
            self.faults.remove(fault)
            if fault[1] == "hang":
                await asyncio.sleep(30)
            if fault[1] == "page":
                return web.Response(text="<html>Please log in</html>", content_type="text/html")
            if isinstance(fault[1], int):
                return error(fault[1], f"ordered to fail with {fault[1]}")
        answer = await handler(request) if fault is None or fault[1] == "drop after" else None
        if fault is not None:
            request.transport.abort()
        return answer or error(500, "dropped")

    # -- projects ------------------------------------------------------------------------------------------------

    async def _list_projects(self, request: web.Request) -> web.Response:
        return web.json_response(self.projects)

    async def _create_project(self, request: web.Request) -> web.Response:
        name = (await request.json())["metadata"]["name"]
        if name in self.projects:
            return error(409, "Project already exists")
        self.projects[name] = {"metadata": {"name": name}, "spec": {}}
        return web.json_response(self.projects[name], status=201)

    # -- functions -----------------------------------------------------------------------------------------------

    async def _list_functions(self, request: web.Request) -> web.Response:
        return web.json_response({name: one.shown() for name, one in self.functions.items()})

    async def _get(self, request: web.Request) -> web.Response:
        function = self.functions.get(request.match_info["name"])
        if function is None:
            return error(404, "Function not found")
        now = sum(one.states[0].name in IN_PROGRESS for one in self.functions.values())
        self.most_in_progress = max(self.most_in_progress, now)
        shown = function.shown()
        shown["status"]["externalInvocationUrls"] = self.external.get(request.match_info["name"], [])
        return web.json_response(shown)

    async def _create(self, request: web.Request) -> web.Response:
        body = (await request.json())
        if body["metadata"]["name"] in self.functions:
            return error(409, "Cannot create two functions with the same name")
        return self._stored(request, body, version=1)

    async def _update(self, request: web.Request) -> web.Response:
        body, there = (await request.json()), self.functions.get(request.match_info["name"])
        if there is not None and there.states[0].name in IN_PROGRESS:
            return error(412, "Function is currently being provisioned and cannot be updated")
        version = body["metadata"].pop("resourceVersion", "")
        if there is not None and version and version != str(there.version):
            return error(409, "Function resource version is stale")
        return self._stored(request, body, version=there.version + 1 if there is not None else 1)

    def _stored(self, request: web.Request, body: Any, *, version: int) -> web.Response:
        metadata, spec = body["metadata"], body["spec"]
        metadata.setdefault("labels", {})[PROJECT_LABEL] = request.headers["x-nuclio-project-name"]
        if metadata["labels"][PROJECT_LABEL] not in self.projects:
            return error(412, "Project does not exist")
        scripts = self.scripts.get(metadata["name"])
        states = scripts.pop(0) if scripts else [State(name) for name in BUILDS]
        self.functions[metadata["name"]] = Function(metadata, spec, states, version)
        return web.Response(status=202)

    async def _delete(self, request: web.Request) -> web.Response:
        name = (await request.json())["metadata"]["name"]
        function = self.functions.get(name)
        if function is None:
            return error(404, "Function not found")
        is_forced = request.headers.get("x-nuclio-delete-function-ignore-state-validation") == "true"
        if function.states[0].name in IN_PROGRESS and not is_forced:
            return error(412, "Function is currently being provisioned and cannot be deleted")
        del self.functions[name]
        return web.Response(status=204)

    # -- running functions ---------------------------------------------------------------------------------------

    async def _list_replicas(self, request: web.Request) -> web.Response:
        return web.json_response({"names": list(self.replicas.get(request.match_info["name"], {}))})

    async def _logs(self, request: web.Request) -> web.Response:
        text = self.replicas[request.match_info["name"]].get(request.match_info["replica"])
        if text is None:
            return error(400, "replica does not belong to function")
        lines = text.splitlines(keepends=True)
        return web.Response(text="".join(lines[-int(request.query.get("tailLines", len(lines))) :]))

    async def _invoke(self, request: web.Request) -> web.Response:
        asked = Asked(request.method, request.path, dict(request.headers), await request.read())
        self.invoked.append(asked)
        status, content_type, body = self.answer
        return web.Response(status=status, body=body, content_type=content_type)


def error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text, "errorStackTrace": f"Error - {text}"}, status=status)
