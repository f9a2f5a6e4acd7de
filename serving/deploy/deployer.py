"""Deploying functions to a dashboard: children before parents, independent ones at the same time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from ...errors import MillraceError, near
from .dashboard import Answer, Dashboard
from .dashboard_access import DashboardAccess
from .dashboard_errors import DashboardFailed, DeployError, FunctionNotFound
from .deployer_function import Deployed, DeployOptions, FunctionDeployment, described, former_parts
from .deployer_progress import Progress, Write
from .deployer_unit import Deployable, check_names, in_order

R = TypeVar("R")


def deploy(
    units: Sequence[Deployable],
    access: DashboardAccess,
    *,
    project: str,
    options: DeployOptions | None = None,
    progress: Progress | None = None,
) -> list[Deployed]:
    """Deploy functions and wait until they are ready; those that have not changed are left alone.

    Names, the dashboard's address and the credentials are checked before anything is handed in. The project is made
    where it is missing.

    :raises SpecError: the name of the project, or of a function, is not allowed
    :raises DashboardUnreachable: also :class:`.NotADashboard`, :class:`.CredentialsRefused`
    :raises DeployFailed: the first function that is not ready; what waits for it is not handed in
    """
    ordered = in_order(units)
    check_names(project, [unit.name for unit in ordered])
    configs = {unit.name: unit.prepared(project=project) for unit in ordered}
    run = _Run(ordered, configs, project, options or DeployOptions(), progress or Progress())
    return run_async(run.through(access))


class _Run:
    """One call of :func:`deploy`."""

    def __init__(
        self, units: list[Deployable], configs: Mapping[str, Any], project: str, options: DeployOptions,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.units = units
        self.configs = configs
        self.project = project
        self.options = options
        self.progress = progress

    async def through(self, access: DashboardAccess) -> list[Deployed]:
        async with Dashboard(access) as dashboard:
            if self.project not in await dashboard.projects():
                await self._make_project(dashboard)
            turns = asyncio.Semaphore(self.options.builds_at_a_time)
            tasks: dict[str, asyncio.Task[Deployed | None]] = {}
            for unit in self.units:
                before = [tasks[name] for name in unit.after]
                tasks[unit.name] = asyncio.create_task(self._one(dashboard, unit, before, turns))
            # Those that are on their way are watched to their end, so that what is said of them is true.
            outcomes = await asyncio.gather(*tasks.values(), return_exceptions=True)
            failures = [one for one in outcomes if isinstance(one, BaseException)]
            if failures:
                raise self._told(failures, [name for name, one in zip(tasks, outcomes, strict=True) if one is None])
            await self._tell_of_former(dashboard)
        return [one for one in outcomes if isinstance(one, Deployed)]

    async def _tell_of_former(self, dashboard: Dashboard) -> None:
        """Tell of children that are not part of their function any more: they go on reading what they read."""
        try:
            found = await dashboard.functions(self.project)
        except DeployError as error:
            self.progress.say(self.project, f"former children were not looked for: {error}")
            return
        for name in former_parts(found, self.configs):
            self.progress.say(name, f"is no part of its function any more, and runs on; `millrace undeploy {name}`")

    async def _make_project(self, dashboard: Dashboard) -> None:
        await dashboard.create_project(self.project)
        self.progress.say(f"project {self.project}", "created")

    async def _one(
        self, dashboard: Dashboard, unit: Deployable, before: list[asyncio.Task[Deployed | None]],
        turns: asyncio.Semaphore,
    ) -> Deployed | None:  # fmt: skip
        outcomes = await asyncio.gather(*before, return_exceptions=True)
        if not all(isinstance(one, Deployed) for one in outcomes):
            return None
        async with turns:
            deployment = FunctionDeployment(dashboard, self.configs[unit.name], project=self.project,
                                            options=self.options, progress=self.progress)  # fmt: skip
            return await deployment.run()

    def _told(self, failures: list[BaseException], left_out: list[str]) -> BaseException:
        first, *others = failures
        for other in others:
            first.add_note(f"also: {other}")
        if left_out:
            first.add_note(f"not deployed, since they need it: {', '.join(left_out)}")
        return first


# -- what is deployed ------------------------------------------------------------------------------------------------


def status(names: Iterable[str], access: DashboardAccess) -> list[Deployed]:
    """How functions are, in the order of their names given; ``"missing"`` is a state, too."""

    async def asked() -> list[Deployed]:
        async with Dashboard(access) as dashboard:
            await dashboard.projects()
            found = await asyncio.gather(*(dashboard.function(name) for name in names))
        return [described(name, one, dashboard_url=access.url) for name, one in zip(names, found, strict=True)]

    names = list(names)
    return run_async(asked())


def undeploy(
    names: Sequence[str], access: DashboardAccess, *, is_forced: bool = False, write: Write | None = None
) -> list[str]:
    """Remove functions one after the other, in the reverse of the order they were deployed in; gives those there were.

    :param names: in the order of deploying: children first
    :param is_forced: also one that is being deployed
    """

    async def removed() -> list[str]:
        gone = []
        async with Dashboard(access) as dashboard:
            await dashboard.projects()
            for name in reversed(names):
                was_there = await dashboard.delete_function(name, in_any_state=is_forced)
                gone += [name] if was_there else []
                if write is not None:
                    write(f"{name}: {'removed' if was_there else 'is not there'}")
        return gone

    return run_async(removed())


def logs(
    name: str,
    access: DashboardAccess,
    write: Write,
    *,
    is_followed: bool = False,
    since_seconds: float | None = None,
    tail_lines: int | None = None,
) -> int:
    """Write what the replicas of a function logged, line by line; gives the number of replicas.

    :param is_followed: go on with what comes, until interrupted
    :raises FunctionNotFound: there is no such function
    """

    async def copied() -> int:
        async with Dashboard(access) as dashboard:
            await _found(dashboard, name)
            replicas = await dashboard.replicas(name)
            streams = (
                _copy(
                    dashboard.logs(name, one, is_followed=is_followed, since_seconds=since_seconds,
                                   tail_lines=tail_lines),
                    write, f"{one}: " if len(replicas) > 1 else "",
                )
                for one in replicas
            )  # fmt: skip
            if is_followed:
                await asyncio.gather(*streams)
            else:
                for stream in streams:
                    await stream
        return len(replicas)

    return run_async(copied())


async def _copy(lines: AsyncIterator[str], write: Write, head: str) -> None:
    async for line in lines:
        write(f"{head}{line}")


def invoke(
    name: str,
    access: DashboardAccess,
    *,
    path: str = "/",
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    via: str = "dashboard",
    timeout_seconds: float = 60.0,
) -> Answer:
    """Ask a deployed function; its answer, whatever the status.

    :param via: ``"dashboard"``, or whose address: ``"external"`` or ``"internal"``, which are asked without the
        dashboard's credentials
    :raises FunctionNotFound: there is no such function
    """

    async def asked() -> Answer:
        async with Dashboard(access, timeout_seconds=timeout_seconds + 5) as dashboard:
            found = described(name, await _found(dashboard, name), dashboard_url=access.url)
            url = None if via == "dashboard" else next(iter(getattr(found, via)), None)
            if via != "dashboard" and url is None:
                raise MillraceError(f"function '{name}' has no {via} address; ask through the dashboard")
            return await dashboard.invoke(name, path, method=method, headers=headers or {}, body=body, url=url,
                                          timeout_seconds=timeout_seconds)  # fmt: skip

    return run_async(asked())


async def _found(dashboard: Dashboard, name: str) -> dict[str, Any]:
    known = await dashboard.projects()
    found = await dashboard.function(name)
    if found is None:
        try:
            known = await dashboard.functions()
        except DashboardFailed:
            known = {}
        raise FunctionNotFound(name, address=dashboard.access.url, near=near(name, known))
    return found


def run_async(work: Coroutine[Any, Any, R]) -> R:
    """Run to the end from plain code, also where a loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    return _in_thread(lambda: asyncio.run(work))


def _in_thread(call: Callable[[], R]) -> R:
    result: list[R] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            result.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="millrace-deploy", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return result[0]
