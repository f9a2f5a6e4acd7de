"""The calls that deploy a function, ask it where it is deployed, and remove it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from ...errors import MillraceError
from ..graph.step import warn_inert
from .arguments import known_arguments
from .described import Described

if TYPE_CHECKING:
    from ..deploy.dashboard_access import DashboardAccess
    from ..deploy.deployer_function import Deployed
    from .deployment import Place
    from .function import ServingFunction


class DeployableFunction(Described):
    """A function's metadata and spec, with the calls for where it is deployed."""

    _place: Place | None = None

    @known_arguments
    def deploy(
        self,
        project: str = "",
        tag: str = "",
        verbose: bool | None = None,
        auth_info: Any = None,
        builder_env: Any = None,
        force_build: bool = False,
        *,
        dashboard: str | DashboardAccess | None = None,
        via: str = "dashboard",
        namespace: str | None = None,
        env: Mapping[str, str] | None = None,
        pickle: bool = False,
        python: str | None = None,
        streams: str | None = None,
        secret: str | None = None,
        wheel: str | None = None,
        timeout_seconds: float = 900.0,
        poll_seconds: float = 1.0,
    ) -> str:
        """Deploy the function and its children as Nuclio functions, wait until they are ready, and return its address.

        What has not changed is left alone. Everything that can be wrong before is checked before anything is handed in.

        :param project: made where it is missing; default: the function's own, else ``"default"``
        :param verbose: also tell the lines of the build logs
        :param force_build: deploy what has not changed, too
        :param dashboard: its address, or all that :class:`~millrace.serving.deploy.dashboard_access.DashboardAccess`
            holds; default: ``NUCLIO_DASHBOARD_URL``, the configuration file, or ``http://localhost:8070``
        :param via: ``"dashboard"``, or ``"nuctl"`` where that program is installed
        :param env: environment variables, beside those of the function
        :param pickle: write objects that do not import by name as cloudpickle
        :param python: as of :meth:`export`, like `streams`, `secret` and `wheel`
        :param timeout_seconds: for one function
        :raises DeployError: no dashboard, wrong credentials, or a function that did not become ready
        :raises SpecError: a name, a queue or the code can not be deployed
        """
        from ..deploy.deployer_function import DeployOptions  # noqa: PLC0415 - for start-up
        from .deployment import Place, access_of, deploy_units, deployables  # noqa: PLC0415

        warn_inert(auth_info=auth_info, builder_env=builder_env)
        function = cast("ServingFunction", self)
        self.metadata.project = project or self.metadata.project
        self.metadata.tag = tag or self.metadata.tag
        units = deployables(function, env=env, pickle=pickle, python=python, streams=streams, secret=secret,
                            wheel=wheel)  # fmt: skip
        access = access_of(dashboard, namespace=namespace)
        options = DeployOptions(is_forced=force_build, timeout_seconds=timeout_seconds, poll_seconds=poll_seconds)
        done = deploy_units(function, units, access, via=via, options=options,
                            is_detailed=self.verbose if verbose is None else verbose)  # fmt: skip
        self._place = Place(tuple(unit.name for unit in units), access, via)
        return next(one.address for one in done if one.name == units[-1].name)

    def status(self, *, dashboard: str | DashboardAccess | None = None) -> list[Deployed]:
        """How the function and its children are where they are deployed, children first.

        :param dashboard: default: the one that it was deployed to, else as of :meth:`deploy`
        """
        place = self._deployed_to(dashboard)
        if place.via == "nuctl":
            from ..deploy.nuctl import status_with_nuctl  # noqa: PLC0415 - only where it is asked for

            return status_with_nuctl(place.names, namespace=place.access.namespace)
        from ..deploy.deployer import status  # noqa: PLC0415 - aiohttp takes a tenth of a second

        return status(place.names, place.access)

    def logs(
        self, *, tail_lines: int | None = None, since_seconds: float | None = None,
        dashboard: str | DashboardAccess | None = None,
    ) -> list[str]:  # fmt: skip
        """The lines that the function's replicas logged; those of a child: ``millrace logs CHILD``.

        :param tail_lines: of each replica, the last ones only
        :param since_seconds: only so young ones
        """
        from ..deploy.deployer import logs  # noqa: PLC0415 - aiohttp takes a tenth of a second

        place = self._without_nuctl(self._deployed_to(dashboard), "logs")
        lines: list[str] = []
        logs(place.names[-1], place.access, lines.append, tail_lines=tail_lines, since_seconds=since_seconds)
        return lines

    def undeploy(self, *, force: bool = False, dashboard: str | DashboardAccess | None = None) -> list[str]:
        """Remove the function, then its children; gives the names of those there were.

        :param force: also one that is being deployed
        """
        place = self._deployed_to(dashboard)
        self._place = None
        if place.via == "nuctl":
            from ..deploy.nuctl import undeploy_with_nuctl  # noqa: PLC0415 - only where it is asked for

            return undeploy_with_nuctl(place.names, namespace=place.access.namespace)
        from ..deploy.deployer import undeploy  # noqa: PLC0415 - aiohttp takes a tenth of a second

        return undeploy(place.names, place.access, is_forced=force)

    def _deployed_to(self, dashboard: str | DashboardAccess | None) -> Place:
        from .deployment import Place, access_of, names_of  # noqa: PLC0415 - for start-up

        if dashboard is None and self._place is not None:
            return self._place
        return Place(names_of(cast("ServingFunction", self)), access_of(dashboard))

    def _ask_deployed(self, path: str, body: Any, method: str | None, headers: Any, *, is_direct: bool) -> Any:
        """Ask the function where it is deployed, through the dashboard or at its own address."""
        from .deployment import ask  # noqa: PLC0415 - for start-up

        place = self._without_nuctl(self._deployed_to(None), "invoke")
        return ask(place.names[-1], place.access, path, body, method, headers,
                   via="external" if is_direct else "dashboard")  # fmt: skip

    def _without_nuctl(self, place: Place, call: str) -> Place:
        if place.via != "nuctl":
            return place
        name = place.names[-1]
        raise MillraceError(
            f"function '{name}' was deployed with nuctl, and {call}() asks a dashboard: use `nuctl` itself, or ask the "
            "function at its address (status() tells it)"
        )
