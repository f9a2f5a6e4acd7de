"""What a picture of a graph shows: nodes, groups of nodes and edges; :mod:`.draw` and :mod:`.mermaid` write it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from .checks import start_steps
from .flow import FlowStep
from .router import RouterStep
from .step import QueueStep, Step, TaskStep

DETAIL_LENGTH = 32
DEFAULT_ROUTER = "ModelRouter"


@dataclass(eq=False)
class Node:
    """One step, drawn as one shape.

    :param key: unique: the step's path, percent-encoded; or, for what is no step, a word after ``%``
    :param detail: the class, function or address behind the name
    """

    key: str
    label: str
    kind: Literal["start", "task", "router", "queue", "any"] = "task"
    detail: str = ""
    responder: bool = False
    catcher: bool = False

    @property
    def entry(self) -> Node:
        """The node that an arrow to this one points at."""
        return self

    @property
    def exit(self) -> Node:
        """The node that an arrow from this one begins at."""
        return self


@dataclass(eq=False)
class Group:
    """Steps in a frame: a child function, a router with its routes, or a nested flow.

    :param starts: where events come in
    :param ends: where they go out
    """

    key: str
    label: str
    kind: Literal["function", "router", "flow"]
    members: list[Node | Group] = field(default_factory=list)
    starts: list[Node | Group] = field(default_factory=list)
    ends: list[Node | Group] = field(default_factory=list)

    @property
    def entry(self) -> Node:
        """The node in it that an arrow to the group points at, where one must be named."""
        return self.starts[0].entry

    @property
    def exit(self) -> Node:
        """The node in it, in the middle, that an arrow out of the group begins at."""
        return self.ends[len(self.ends) // 2].exit


@dataclass(frozen=True, eq=False)
class Edge:
    """An arrow: to the next step, to a route, to the step that catches errors, or back around a cycle."""

    source: Node | Group
    target: Node | Group
    kind: Literal["next", "route", "error", "cycle"] = "next"
    label: str = ""


@dataclass
class Picture:
    """All there is to draw of a graph."""

    name: str
    members: list[Node | Group] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)


def picture_of(root: FlowStep | RouterStep) -> Picture:
    """What to draw of a graph. It need not be valid: what a step names and nobody has is left out.

    >>> graph = FlowStep()
    >>> _ = graph.to(name="strip", handler="(event.strip())").respond()
    >>> [(edge.source.label, edge.target.label) for edge in picture_of(graph).edges]
    [('start', 'strip')]
    """
    picture = Picture(root.name or root.kind)
    start = Node("%start", "start", "start")
    picture.members.append(start)
    if isinstance(root, RouterStep):
        name = root.name or "router"
        router = _router(picture, root, quote(name, safe=" "), name, catcher=False)
        router.entry.responder = True
        picture.members.append(router)
        starts: list[Node | Group] = [router]
    else:
        starts = _flow(picture, root, "", picture.members)[0]
    picture.edges[:0] = [Edge(start, _inlet(one)) for one in starts]
    return picture


def _flow(
    picture: Picture, flow: FlowStep, prefix: str, members: list[Node | Group]
) -> tuple[list[Node | Group], list[Node | Group]]:
    """Draw the steps of a flow among `members`; returns those that it starts and ends with."""
    parts: dict[str, Node | Group] = {}
    functions: dict[str, Group] = {}
    catchers = flow.catchers
    for name, step in flow.steps.items():
        key = f"{prefix}{quote(name, safe=' ')}"
        parts[name] = part = _step(picture, step, key, name, catcher=name in catchers)
        if step.function in (None, "", "*") or isinstance(step, QueueStep):
            members.append(part)
            continue
        label = f"function {step.function}"
        if label not in functions:
            functions[label] = Group(f"{prefix}%{label}", label, "function")
            members.append(functions[label])
        functions[label].members.append(part)
    followed: set[str] = set()
    for name, step in flow.steps.items():
        followed.update(step.after)
        picture.edges.extend(_edges(flow, name, step, parts))
    if flow.on_error in parts:
        anything = Node(f"{prefix}%any", "any step", "any")
        members.append(anything)
        picture.edges.append(Edge(anything, _inlet(parts[flow.on_error]), "error"))
    ends = [part for name, part in parts.items() if name not in followed and name not in catchers]
    return [parts[name] for name in start_steps(flow)], ends or list(parts.values())


def _edges(flow: FlowStep, name: str, step: Step, parts: dict[str, Node | Group]) -> Iterator[Edge]:
    here = parts[name]
    for before in step.after:
        if before in parts:
            yield Edge(parts[before], _inlet(here))
    if step.on_error in parts:
        yield Edge(here, _inlet(parts[step.on_error]), "error")
    for later in step.cycle_from:
        if later in parts:
            limit = flow.steps[later].max_iterations or flow.max_iterations
            label = f"at most {limit} times" if limit else "again"
            own = later == name  # of a group too: no arrow can go from a frame to itself
            yield Edge(here.exit if own else parts[later], here.entry if own else _inlet(here), "cycle", label)


def _inlet(part: Node | Group) -> Node | Group:
    """What an arrow to a part points at: of a router, the router itself and not its frame."""
    return part.entry if isinstance(part, Group) and part.kind == "router" else part


def _step(picture: Picture, step: Step, key: str, label: str, *, catcher: bool) -> Node | Group:
    if isinstance(step, RouterStep):
        return _router(picture, step, key, label, catcher=catcher)
    if isinstance(step, FlowStep):
        group = Group(key, label, "flow")
        group.starts, group.ends = _flow(picture, step, f"{key}/", group.members)
        if not group.members:
            group.members.append(Node(f"{key}/%empty", "no steps", "any"))
        group.starts = group.starts or group.members[:1]
        group.ends = group.ends or group.members[-1:]
        return group
    if isinstance(step, QueueStep):
        detail = re.sub(r"//[^/@]*@", "//", step.path or "")
        return Node(key, label, "queue", _shortened(detail))
    return Node(key, label, "task", _detail(step, label), step.responder, catcher)


def _router(picture: Picture, step: RouterStep, key: str, label: str, *, catcher: bool) -> Group:
    group = Group(key, "routes" if label == "router" else f"{label}: routes", "router")
    router = Node(key, label, "router", _detail(step, label) or DEFAULT_ROUTER, step.responder, catcher)
    group.members.append(router)
    for name, route in step.routes.items():
        part = _step(picture, route, f"{key}/{quote(name, safe=' ')}", name, catcher=False)
        if isinstance(part, Node) and route.function:
            part.detail = f"{part.detail} in {route.function}".lstrip()
        group.members.append(part)
        picture.edges.append(Edge(router, _inlet(part), "route"))
    group.starts, group.ends = [router], group.members[1:] or [router]
    return group


def _detail(step: Step, label: str) -> str:
    """The class or function that a step runs, where its name does not say so already."""
    if not isinstance(step, TaskStep):
        return ""
    names = [_name_of(one) for one in (step.class_name, step.handler) if one is not None]
    text = ".".join(names)
    return "" if text == label else _shortened(text)


def _name_of(value: Any) -> str:
    if isinstance(value, str):
        return value if value.startswith("(") else value.split(".")[-1]
    return str(getattr(value, "__name__", type(value).__name__))


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= DETAIL_LENGTH else f"{text[: DETAIL_LENGTH - 1]}…"


def style_of(node: Node) -> str:
    """The name of the style that a node is drawn in."""
    return "responder" if node.responder else "catcher" if node.catcher else node.kind
