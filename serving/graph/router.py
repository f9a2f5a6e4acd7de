"""The router node: one step that chooses among, or asks all of, its routes."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import BadStepArguments, GraphError, UnknownStep, a_kind, near
from .options import OPTION_NAMES, StepOptions
from .step import VIEWS, Step, TaskStep, warn_inert

if TYPE_CHECKING:
    import graphviz

logger = logging.getLogger("millrace.graph")
REMOTE, REMOTE_CLASS = "$remote", "millrace.steps.RemoteStep"


@dataclass(kw_only=True, eq=False, repr=False)
class RouterStep(TaskStep):
    """A router with its routes; a route is a task, another router or a flow.

    >>> router = RouterStep(name="models")
    >>> _ = router.add_route("m1", class_name="MyModel", model_path="m1.pkl")
    >>> list(router)
    ['m1']
    """

    kind: ClassVar[str] = "router"

    routes: dict[str, Step] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, route in self.routes.items():
            route.name = route.name or key

    def _summary(self) -> str:
        return ", ".join(part for part in (super()._summary(), f"routes={list(self.routes)}") if part)

    @property
    def _called(self) -> str:
        """How errors name it: the router that is the whole graph may have no name."""
        return f"router '{self.name}'" if self.name else "the router"

    def add_route(
        self,
        key: str,
        route: Step | None = None,
        class_name: Any = None,
        handler: Any = None,
        function: str | None = None,
        creation_strategy: Any = None,
        options: StepOptions | None = None,
        full_event: bool | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        **class_args: Any,
    ) -> Step:
        """Add a route and return it; a known key is replaced, and the log says so.

        :param key: the route's name; for models ``name`` or ``name:version``
        :param route: a finished step (task, router or flow); otherwise one is made of class or handler

        >>> router = RouterStep(name="prices")
        >>> router.add_route("net", handler="(event / 1.2)").name, list(router)
        ('net', ['net'])
        """
        warn_inert(creation_strategy=creation_strategy)
        if route is None:
            if class_name is None and handler is None:
                raise GraphError(f"{self._called}, route '{key}': give route=, class_name= or handler=")
            route = make_route(class_name, handler, class_args, where=f"{self._called}, route '{key}'")
        elif class_args or class_name is not None or handler is not None:
            raise GraphError(f"{self._called}, route '{key}': route= is complete, it takes no further arguments")
        settings = {"function": function, "full_event": full_event, "input_path": input_path,
                    "result_path": result_path, "options": options}  # fmt: skip
        for name, value in settings.items():
            if value is not None:
                setattr(route, name, value)
        if key in self.routes:
            logger.warning("%s: route '%s' is replaced", self._called, key)
        return self.put(key, route)

    def put(self, key: str, route: Step) -> Step:
        """Set the route of a key."""
        if not isinstance(key, str) or not key or "/" in key:
            raise GraphError(f"{self._called}: a route's key is a text without '/', not {key!r}")
        if not isinstance(route, Step):
            raise GraphError(
                f"{self._called}, route '{key}': route= is a step, not {a_kind(route)}; "
                "a class, or its name, is given as class_name="
            )
        if route.parent is not None:
            raise GraphError(f"{self._called}, route '{key}': step '{route.full_name}' is already in a flow")
        route.name = key
        self.routes[key] = route
        return route

    def clear_children(self, keys: list[str] | None = None) -> None:
        """Remove the routes of these keys, or all."""
        for key in list(self.routes) if keys is None else keys:
            del self[key]

    def child(self, name: str) -> Step:
        """The route of this key."""
        if name not in self.routes:
            raise UnknownStep(name, graph=f"router '{self.full_name}'", role="the path", known=self.routes)
        return self.routes[name]

    def plot(self, filename: str | None = None, format: str | None = None, **attributes: Any) -> graphviz.Digraph:
        """Draw the graph; see :func:`millrace.serving.graph.draw.plot`."""
        drawing: graphviz.Digraph = VIEWS["plot"](self, filename, format, **attributes)
        return drawing

    def to_mermaid(self) -> str:
        """The graph in the text language of Mermaid, which many editors and wikis draw."""
        text: str = VIEWS["to_mermaid"](self)
        return text

    def __getitem__(self, key: str) -> Step:
        if key not in self.routes:
            raise KeyError(f"{self._called} has no route '{key}'{near(key, self.routes)}")
        return self.routes[key]

    def __delitem__(self, key: str) -> None:
        _ = self[key]
        del self.routes[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.routes)

    def __len__(self) -> int:
        return len(self.routes)

    def __contains__(self, key: object) -> bool:
        return key in self.routes


def make_route(class_name: Any, handler: Any, class_args: dict[str, Any], *, where: str) -> Step:
    """A route of a class or handler; ``"*Name"`` makes a nested router."""
    if not isinstance(class_name, Step):
        return make_task(class_name, handler, class_args, where=where)
    if class_args or handler is not None:
        raise GraphError(f"{where} is complete, it takes no handler or further arguments")
    return class_name


def make_task(class_name: Any, handler: Any, class_args: dict[str, Any], *, where: str) -> TaskStep:
    """A task, or for ``"*Name"`` and for classes and objects that are routers a router; without a name.

    :param where: how errors name the step
    """
    if inspect.isroutine(class_name) and handler is None:
        class_name, handler = None, class_name
    if class_name is not None and not isinstance(class_name, (str, type)):
        _refuse_arguments(class_name, class_args, where)
    if isinstance(class_name, str) and class_name.startswith("*"):
        return RouterStep(class_name=class_name[1:] or None, handler=handler, class_args=class_args)
    if isinstance(class_name, str):
        class_name = REMOTE_CLASS if class_name == REMOTE else class_name
    elif getattr(class_name, "step_kind", None) == RouterStep.kind:
        return RouterStep(class_name=class_name, handler=handler, class_args=class_args)
    return TaskStep(class_name=class_name, handler=handler, class_args=class_args)


def _refuse_arguments(made: Any, class_args: dict[str, Any], where: str) -> None:
    """An object that is made already takes no arguments; the engine's options are none."""
    for name in class_args:
        if name not in OPTION_NAMES:
            raise BadStepArguments(
                f"{where}: the {type(made).__name__} is made already, it takes no '{name}'; "
                "give the class instead, or give the argument where the object is made"
            )
