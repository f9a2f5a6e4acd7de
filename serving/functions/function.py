"""The function: a deployable unit that holds a graph, its code, parameters and secrets."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from ...errors import GraphError, near
from ..doors.mock import MockServer
from ..engine.clock import Clock
from ..graph.checks import raise_first
from ..graph.flow import FlowStep
from ..graph.options import StepOptions
from ..graph.router import RouterStep
from ..graph.step import Step, warn_inert
from .arguments import known_arguments
from .caller import caller_namespace, listed_sources
from .check import function_problems
from .deployable import DeployableFunction
from .described import YAML, check_kind
from .fingerprint import fingerprint
from .runtime import make_engine
from .spec import FunctionSpec, Graph

if TYPE_CHECKING:
    from ..doors.http import HttpSettings

TOPOLOGIES = ("router", "flow")
FLOW_SETTINGS = ("engine", "exist_ok", "allow_cyclic", "max_iterations", "max_in_flight")


class ServingFunction(DeployableFunction):
    """A function with a graph; made by :func:`new_function`, :func:`code_to_function` or :func:`import_function`.

    >>> function = ServingFunction("adder")
    >>> function.set_topology("flow").to(name="add", handler="(event + 1)").respond().name
    'add'
    >>> function.to_mock_server().test(body=1)
    2
    """

    def __init__(self, name: str = "function", *, spec: FunctionSpec | None = None) -> None:
        super().__init__(name, spec=spec)
        self._mock: MockServer | None = None
        self._mocked = ""

    # -- the graph -----------------------------------------------------------------------------------------------

    @overload
    def set_topology(
        self, topology: Literal["flow"], class_name: None = None, engine: Literal["sync", "async"] | None = None,
        exist_ok: bool = False, allow_cyclic: bool | None = None, max_iterations: int | None = None,
        max_in_flight: int | None = None,
    ) -> FlowStep: ...  # fmt: skip
    @overload
    def set_topology(
        self, topology: Literal["router"] | None = None, class_name: Any = None,
        engine: Literal["sync", "async"] | None = None, exist_ok: bool = False, allow_cyclic: bool | None = None,
        max_iterations: int | None = None, max_in_flight: int | None = None, **class_args: Any,
    ) -> RouterStep: ...  # fmt: skip
    def set_topology(
        self,
        topology: str | None = None,
        class_name: Any = None,
        engine: Literal["sync", "async"] | None = None,
        exist_ok: bool = False,
        allow_cyclic: bool | None = None,
        max_iterations: int | None = None,
        max_in_flight: int | None = None,
        **class_args: Any,
    ) -> Graph:
        """Begin the graph: a ``"router"`` (the default) or a ``"flow"``.

        :param class_name: the router's class; default: :class:`ModelRouter`
        :param engine: of a flow: ``"async"`` (the default) or ``"sync"``
        :param exist_ok: begin a new graph where there is one
        :param max_iterations: how often an event may come to a step of a cycle; default 100
        :param max_in_flight: how many events the function takes at a time; default 1,000

        >>> ServingFunction("shop").set_topology("flow", engine="async")
        FlowStep('shop', steps=[])
        """
        if self.spec.graph is not None and not exist_ok:
            raise GraphError(f"function '{self.name}' has a graph already; exist_ok=True begins a new one")
        topology = topology or "router"
        if topology == "flow":
            if class_name is not None or class_args:
                what = next(iter(class_args), "class_name")
                hint = near(what, FLOW_SETTINGS) or "; set_topology('router', …) does"
                raise GraphError(f"function '{self.name}': a flow takes no '{what}'{hint}")
            self.spec.graph = FlowStep(
                name=self.name, engine=engine or "async", allow_cyclic=allow_cyclic, max_iterations=max_iterations,
                max_in_flight=max_in_flight,
            )  # fmt: skip
        elif topology == "router":
            if allow_cyclic:
                raise GraphError("a router has no cycles; allow_cyclic= is for set_topology('flow')")
            warn_inert(engine=engine, max_iterations=max_iterations)
            options = StepOptions(max_in_flight=max_in_flight)
            self.spec.graph = RouterStep(class_name=class_name, class_args=class_args, options=options)
        else:
            raise GraphError(f"unsupported topology '{topology}', use 'router' or 'flow'{near(topology, TOPOLOGIES)}")
        return self.spec.graph

    @property
    def graph(self) -> Graph:
        """The graph; an error that says what to do where there is none."""
        if self.spec.graph is None:
            raise GraphError(
                f"function '{self.name}': no models or steps were set, use function.set_topology() and add steps"
            )
        return self.spec.graph

    def add_model(
        self,
        key: str,
        model_path: str | None = None,
        class_name: Any = None,
        model_url: str | None = None,
        handler: Any = None,
        router_step: str | None = None,
        child_function: str | None = None,
        creation_strategy: Any = None,
        outputs: Any = None,
        options: StepOptions | None = None,
        **class_args: Any,
    ) -> Step:
        """Add a model to the graph's router and return its route; a known key is replaced.

        :param key: ``"name"`` or ``"name:version"``
        :param model_path: file or folder of the model, given to the class
        :param class_name: the model's class, its name, or an initialised object
        :param model_url: the model runs behind this URL instead
        :param router_step: which router, where a flow has several
        :param outputs: what the model declares of its outputs, or only their names; given to the class

        >>> from millrace.serving import V2ModelServer
        >>> class Times(V2ModelServer):
        ...     def predict(self, body):
        ...         return [self.model * value for value in body["inputs"]]
        >>> function = ServingFunction("models")
        >>> _ = function.add_model("twice", class_name=Times, model=2)
        >>> function.to_mock_server().test("/v2/models/twice/infer", {"inputs": [1, 2]})["outputs"]
        [2, 4]
        """
        warn_inert(creation_strategy=creation_strategy)
        router = self._router(router_step)
        if model_url is not None:
            class_args |= {"url": model_url}
            return router.add_route(key, None, "$remote", None, child_function, options=options, **class_args)
        class_name = class_name or self.spec.default_class
        if class_name is None and handler is None:
            raise GraphError(f"model '{key}': give class_name= (or set function.spec.default_class)")
        if model_path is not None:
            class_args["model_path"] = str(model_path)
        if outputs is not None:
            class_args["outputs"] = [{"name": one} if isinstance(one, str) else one for one in outputs]
        return router.add_route(key, None, class_name, handler, child_function, options=options, **class_args)

    def _router(self, name: str | None) -> RouterStep:
        graph = self.spec.graph if self.spec.graph is not None else self.set_topology()
        if isinstance(graph, RouterStep):
            return graph
        if name is not None:
            step = graph.path_to_step(name)
            if not isinstance(step, RouterStep):
                raise GraphError(f"step '{name}' is no router")
            return step
        routers = graph.routers()
        if len(routers) != 1:
            what = "contains no router" if not routers else f"has {len(routers)} routers"
            raise GraphError(f"the graph {what}; say which with router_step=, or add one with graph.add_step('*', …)")
        return routers[0]

    def add_route(self, key: str, class_name: Any = None, **arguments: Any) -> Step:
        """Add a route to the graph's router; the arguments are those of :meth:`RouterStep.add_route`."""
        return self._router(None).add_route(key, class_name=class_name, **arguments)

    def remove_states(self, keys: list[str]) -> None:
        """Remove these steps or routes."""
        self.graph.clear_children(keys)

    @known_arguments
    def add_child_function(
        self,
        name: str,
        url: str | None = None,
        image: str | None = None,
        requirements: list[str] | None = None,
        kind: str | None = None,
    ) -> ServingFunction:
        """Add a function that runs the steps which name it with ``function=``, and return it.

        :param url: its code: a ``.py`` file, a notebook, or a function's YAML file
        :param image: its container image
        :param requirements: packages that it needs

        >>> function = ServingFunction("shop")
        >>> orders = function.set_topology("flow").to(">>", "orders", path="shop/orders")
        >>> _ = orders.to(name="bill", handler="(event)", function="billing")
        >>> function.add_child_function("billing", requirements=["numpy"]).name
        'billing'
        """
        check_kind(kind)
        is_yaml = url is not None and Path(url).suffix in YAML
        child = ServingFunction.from_file(str(url)) if is_yaml else ServingFunction(name)
        child.metadata.name = name
        child.spec.filename = child.spec.filename if is_yaml or url is None else str(url)
        child.spec.image = image or child.spec.image
        child.spec.build.requirements += requirements or []
        self.spec.functions[name] = child
        return child

    def plot(self, filename: str | None = None, format: str | None = None, **attributes: str) -> Any:
        """Draw the graph; see :func:`millrace.serving.graph.draw.plot`."""
        from ..graph.draw import plot  # noqa: PLC0415 - only when asked for

        return plot(self.graph, filename, format, **attributes)

    # -- running -------------------------------------------------------------------------------------------------

    def validate(self, namespace: Any = None) -> None:
        """Check the graph, the names in it and the parameters of its classes; no step is made.

        Raises the first fault, with the others as notes.

        :param namespace: as of :meth:`to_mock_server`

        >>> function = ServingFunction("shop")
        >>> _ = function.set_topology("flow").to("storey.Filter", name="large", _fun="(event > 1)").respond()
        >>> function.validate()
        Traceback (most recent call last):
        ...
        millrace.errors.BadStepArguments: step 'large': Filter has no parameter '_fun'; did you mean '_fn'?
        """
        faults = function_problems(self, listed_sources(namespace) if namespace is not None else caller_namespace())
        raise_first(faults)

    @known_arguments
    def to_mock_server(
        self,
        namespace: Any = None,
        current_function: str = "*",
        track_models: bool | None = None,
        workdir: str | None = None,
        stream_profile: Any = None,
        *,
        clock: Clock | None = None,
        verbose: bool | None = None,
        streams: Literal["memory", "real"] = "memory",
        streams_path: str | None = None,
    ) -> MockServer:
        """The graph behind a mock server in this process.

        :param namespace: a dict, a module or a list of them with classes and functions; default: the caller's
        :param current_function: run only the steps of this child function; ``"*"`` runs all, in one process
        :param workdir: put this folder on the import path
        :param clock: the time for batches, joins and retries; see :class:`FakeClock`
        :param streams: ``"memory"`` never leaves the process; ``"real"`` uses the addresses of the queue steps
        :param streams_path: with ``"real"``: the folder for queues without an address; default: they are in memory
        """
        warn_inert(track_models=track_models, stream_profile=stream_profile)
        if workdir is not None and workdir not in sys.path:
            sys.path.insert(0, str(Path(workdir)))
        sources = listed_sources(namespace) if namespace is not None else caller_namespace()
        if streams not in ("memory", "real"):
            raise GraphError(f"streams={streams!r} is neither 'memory' nor 'real'")
        at = None
        if streams == "real":
            from .real import StreamsAt  # noqa: PLC0415 - for start-up: what reads streams is much

            at = StreamsAt(Path(streams_path) if streams_path else None)
        engine, opened = make_engine(
            self, sources, current_function=current_function, clock=clock, verbose=verbose, is_mock=True,
            streams_at=at,
        )  # fmt: skip
        return MockServer(engine, opened, default_content_type=self.spec.default_content_type)

    def serve(
        self,
        host: str = "127.0.0.1",
        port: int | None = None,
        *,
        namespace: Any = None,
        settings: HttpSettings | None = None,
        max_in_flight: int | None = None,
    ) -> int:
        """Serve over HTTP until SIGTERM or SIGINT, then drain; gives the exit code. From a shell: ``millrace serve``.

        :param port: 0 takes a free one; default: that of the function's ``http`` trigger, or 8080
        :param namespace: as of :meth:`to_mock_server`
        :param settings: limits and times; see :class:`millrace.serving.doors.http.HttpSettings`
        """
        from ..doors.http import HttpServer, HttpSettings  # noqa: PLC0415 - aiohttp takes a tenth of a second
        from ..doors.http_run import run  # noqa: PLC0415
        from .example import command_to_try  # noqa: PLC0415
        from .real import StreamsAt  # noqa: PLC0415
        from .triggers import port_to_serve  # noqa: PLC0415

        sources = listed_sources(namespace) if namespace is not None else caller_namespace()
        engine, streams = make_engine(self, sources, max_in_flight=max_in_flight, streams_at=StreamsAt())
        port = port_to_serve(self.spec.triggers, port)
        settings = replace(settings or HttpSettings(), host=host, port=port)

        def announce(server: HttpServer) -> None:
            print(f"serving {self.name} on {server.url}", flush=True)
            if command := command_to_try(engine, server.url):
                print(f"try: {command}", flush=True)

        return run(engine, streams, settings=settings, on_ready=announce)

    @known_arguments
    def invoke(
        self,
        path: str = "/",
        body: Any = None,
        method: str | None = None,
        headers: Any = None,
        force_external_address: bool | None = None,
        auth_info: Any = None,
        mock: bool | None = None,
    ) -> Any:
        """Ask the function where :meth:`deploy` put it; before that, a mock server of its own, made anew when the
        function has changed.

        :param force_external_address: ask the deployed function at its external address, not through the dashboard
        :param mock: ``True`` asks the mock server anyway, ``False`` the deployed function

        >>> function = ServingFunction("double")
        >>> _ = function.set_topology("flow").to(name="double", handler="(event * 2)").respond()
        >>> function.invoke(body=21)
        42
        """
        warn_inert(auth_info=auth_info)
        if mock is False or (mock is None and self._place is not None):
            return self._ask_deployed(path, body, method, headers, is_direct=bool(force_external_address))
        present = fingerprint([self.metadata, self.spec])
        if self._mock is None or self._mocked != present:
            if self._mock is not None:
                self._mock.close()
            self._mock, self._mocked = self.to_mock_server(namespace=caller_namespace()), present
        return self._mock.test(path, body, method or "", headers)
