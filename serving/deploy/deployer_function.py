"""One function on its way to a dashboard: handed in unless it is there already, then watched until it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from ..engine.clock import sleep
from .dashboard import TRANSIENT, Dashboard
from .dashboard_errors import (
    LOG_TAIL_LINES,
    ConnectionDropped,
    DashboardFailed,
    DashboardUnreachable,
    DeployError,
    DeployFailed,
    OtherFunction,
    OtherProject,
)
from .deployer_progress import Progress, log_lines, plain
from .deployer_unit import HASH, PART_LABEL, PROJECT_LABEL, hash_of

Change = Literal["created", "updated", "unchanged"]
DONE = ("ready", "scaledToZero")
FAILED = ("error", "unhealthy", "imported")
HAND_IN_ATTEMPTS = 5
FIRST_BACKOFF_SECONDS = 0.25
WHY = {
    "unhealthy": "it was built, and its container does not run: look at `millrace logs`",
    "imported": "the dashboard only stored it: is it annotated with skip-deploy?",
}


@dataclass(frozen=True)
class DeployOptions:
    """How to deploy.

    :param is_forced: deploy what has not changed, too
    :param timeout_seconds: for one function, from handing it in until it is ready
    :param poll_seconds: how often to ask how far a function is
    :param builds_at_a_time: functions that are built at the same time
    """

    is_forced: bool = False
    timeout_seconds: float = 900.0
    poll_seconds: float = 1.0
    builds_at_a_time: int = 4


@dataclass(frozen=True)
class Deployed:
    """A function in a dashboard.

    :param state: as Nuclio calls it: ``"ready"``, ``"building"``, ``"error"``…; ``"missing"`` where there is none
    :param change: what deploying it did
    :param external: addresses that can be asked from outside
    :param internal: addresses within the cluster
    """

    name: str
    state: str
    change: Change | None = None
    external: list[str] = field(default_factory=list)
    internal: list[str] = field(default_factory=list)
    message: str = ""

    @property
    def address(self) -> str:
        """Its first address, an external one where there is any; may be empty."""
        return next(iter([*self.external, *self.internal]), "")


class FunctionDeployment:
    """Deploys one function.

    :param config: the prepared configuration; see :meth:`.deployer_unit.Deployable.prepared`
    """

    def __init__(
        self, dashboard: Dashboard, config: Mapping[str, Any], *, project: str, options: DeployOptions,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.name = str(config["metadata"]["name"])
        self._dashboard = dashboard
        self._config = config
        self._hash = config["metadata"]["annotations"][HASH]
        self._project = project
        self._options = options
        self._progress = progress
        self._deadline = dashboard.clock.now() + options.timeout_seconds

    async def run(self) -> Deployed:
        """Hand the function in, and wait until it is ready.

        :raises DeployFailed: it is not ready, with the reason and the end of its build log
        """
        found = await self._dashboard.function(self.name)
        change: Change = "created" if found is None else "updated"
        if found is not None and self._is_ours(found) and _state(found) in DONE and not self._options.is_forced:
            self._progress.say(self.name, "unchanged")
            return described(self.name, found, dashboard_url=self._dashboard.access.url, change="unchanged")
        await self._hand_in(found)
        ready = await self._wait()
        return described(self.name, ready, dashboard_url=self._dashboard.access.url, change=change)

    # -- handing in ----------------------------------------------------------------------------------------------

    async def _hand_in(self, found: dict[str, Any] | None) -> None:
        before = found
        for attempt in range(HAND_IN_ATTEMPTS):
            if found is not None:
                self._check_project(found)
                if self._is_ours(found) and (_is_on_the_way(found) or (attempt and self._has_arrived(found, before))):
                    return  # with an attempt whose answer was lost, or by somebody else
            try:
                if found is None:
                    await self._dashboard.create_function(self._config, project=self._project)
                else:
                    await self._dashboard.update_function(self._upon(found), project=self._project)
                return
            except (ConnectionDropped, DashboardUnreachable, DashboardFailed) as error:
                if attempt + 1 == HAND_IN_ATTEMPTS or self._dashboard.clock.now() >= self._deadline:
                    raise
                await self._make_way(error, attempt)
            found = await self._dashboard.function(self.name)

    async def _make_way(self, error: DeployError, attempt: int) -> None:
        """See to it that another attempt makes sense, or raise the error."""
        status = error.upstream_status if isinstance(error, DashboardFailed) else 0
        if status == 412:  # it is being deployed, or its project went away
            found = await self._dashboard.function(self.name)
            if found is not None and _is_on_the_way(found):
                await self._until_settled()
            elif self._project not in await self._dashboard.projects():
                await self._dashboard.create_project(self._project)
            else:
                raise error
        elif status == 0 or status in TRANSIENT:
            await sleep(self._dashboard.clock, FIRST_BACKOFF_SECONDS * 2**attempt)
        elif status != 409:  # with 409 somebody was faster: look again what is there
            raise error

    def _has_arrived(self, found: Mapping[str, Any], before: Mapping[str, Any] | None) -> bool:
        return before is None or not self._is_ours(before) or _version(found) != _version(before)

    def _upon(self, found: Mapping[str, Any]) -> dict[str, Any]:
        """The configuration as a change of what is there."""
        metadata = dict(self._config["metadata"])
        if version := _version(found):
            metadata["resourceVersion"] = version
        return {"metadata": metadata, "spec": self._config["spec"]}

    def _check_project(self, found: Mapping[str, Any]) -> None:
        other = ((found.get("metadata") or {}).get("labels") or {}).get(PROJECT_LABEL)
        if other and other != self._project:
            raise OtherProject(self.name, project=self._project, other=other)
        mine, theirs = _whole(self._config), _whole(found)
        if mine and theirs and mine != theirs:
            raise OtherFunction(self.name, whole=mine, other=theirs)

    def _is_ours(self, found: Mapping[str, Any]) -> bool:
        return hash_of(found) == str(self._hash)

    # -- waiting -------------------------------------------------------------------------------------------------

    async def _until_settled(self) -> None:
        self._progress.say(self.name, "waits for another deployment of it to end")
        while True:
            found = await self._dashboard.function(self.name)
            if found is None or not _is_on_the_way(found):
                return
            await self._pause(found)

    async def _wait(self) -> dict[str, Any]:
        while True:
            found = await self._dashboard.function(self.name)
            if found is None:
                raise DeployFailed(self.name, state="missing", reason="somebody removed it while it was being deployed")
            self._progress.tell(self.name, found.get("status") or {})
            state = _state(found)
            if state in DONE:
                return found
            if state in FAILED:
                raise self._failure(found, state)
            await self._pause(found)

    async def _pause(self, found: Mapping[str, Any]) -> None:
        if self._dashboard.clock.now() >= self._deadline:
            reason = (
                f"it is not ready after {self._options.timeout_seconds:g} s; it goes on without us: see "
                "`millrace status`, or wait longer with --timeout-seconds"
            )
            raise DeployFailed(self.name, state=_state(found), reason=reason, log=self._log(found))
        await sleep(self._dashboard.clock, self._options.poll_seconds)

    def _failure(self, found: Mapping[str, Any], state: str) -> DeployFailed:
        # The message is the reason, and behind it often the whole output of the build.
        first, *rest = plain(self._progress.mask(_message(found))) or [WHY.get(state, "no reason given")]
        return DeployFailed(self.name, state=state, reason=first, log=[*self._log(found), *rest[-LOG_TAIL_LINES:]])

    def _log(self, found: Mapping[str, Any]) -> list[str]:
        return [self._progress.mask(line) for line in log_lines(found.get("status") or {})[-LOG_TAIL_LINES:]]


def former_parts(found: Mapping[str, Any], configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The names of functions that were deployed with these earlier, as children that are not among them any more.

    :param found: all functions of the project
    :param configs: what was deployed now, by name
    """
    wholes = {whole for one in configs.values() if (whole := _whole(one)) in configs}
    return sorted(name for name, one in found.items()
                  if name not in configs and isinstance(one, Mapping) and _whole(one) in wholes)  # fmt: skip


def _whole(config: Mapping[str, Any]) -> str | None:
    """The name of the function that one is a child of, or is itself."""
    return ((config.get("metadata") or {}).get("labels") or {}).get(PART_LABEL)


def described(
    name: str, found: Mapping[str, Any] | None, *, dashboard_url: str, change: Change | None = None
) -> Deployed:
    """What a dashboard says about a function.

    >>> described("hello", None, dashboard_url="http://localhost:8070").state
    'missing'
    """
    if found is None:
        return Deployed(name, "missing")
    status = found.get("status") or {}
    external = [_url(one) for one in status.get("externalInvocationUrls") or ()]
    if not external and status.get("httpPort"):
        host = urlsplit(dashboard_url).hostname or "localhost"
        external = [f"http://{f'[{host}]' if ':' in host else host}:{status['httpPort']}"]
    internal = [_url(one) for one in status.get("internalInvocationUrls") or ()]
    return Deployed(name, _state(found), change, external, internal, _message(found))


def _url(address: str) -> str:
    return address if "://" in address else f"http://{address}"


def _version(found: Mapping[str, Any]) -> str:
    return str((found.get("metadata") or {}).get("resourceVersion") or "")


def _state(found: Mapping[str, Any]) -> str:
    return str((found.get("status") or {}).get("state") or "unknown")


def _message(found: Mapping[str, Any]) -> str:
    return str((found.get("status") or {}).get("message") or "")


def _is_on_the_way(found: Mapping[str, Any]) -> bool:
    return _state(found) not in (*DONE, *FAILED, "unknown", "")
