"""The graph of a deployed function as plain data: complete addresses, cut, and what of it lies on this machine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import SpecError
from ..deploy.cut import cut, first_functions, queues, readers, runs, with_sources
from ..deploy.streams import complete, dead_letters_of, group_of, settings_of, stream_of
from ..deploy.target import Target
from ..deploy.trigger import StreamTrigger, stream_trigger
from ..deploy.unit import Files
from .unit_code import model_files
from .unit_streams import refuse_exactly_once

DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


@dataclass
class Part:
    """The part of the graph that one function runs.

    :param child: the child function; empty for the parent
    :param reads: the queues that it reads
    :param writes: the addresses that it writes to
    """

    child: str
    name: str
    graph: dict[str, Any]
    reads: list[StreamTrigger]
    writes: list[str]

    @property
    def functions(self) -> list[str]:
        """The child functions in whose code its steps are looked up."""
        return list(dict.fromkeys(step["function"] for _, step in steps(self.graph) if step.get("function")))


def parts_of(graph: dict[str, Any], children: list[str], *, name: str, target: Target) -> list[Part]:
    """The graph of a function in its parts, each with its queues; in the order to deploy, the parent last.

    What reads a queue comes before what writes it, so that nothing is written that nobody waits for.

    :param graph: of the whole function; the addresses of its queues are made complete
    :param children: the names of the child functions
    :param name: the name of the function
    :raises SpecError: a queue can not be reached, a child function runs nothing
    """
    complete_addresses(graph, target)
    used = {step["function"] for _, step in steps(graph) if step.get("function")}
    running = []
    for child in children:
        if child not in used:
            raise SpecError(
                f"child function '{child}' runs no step: give a step behind a queue function='{child}', or leave the "
                "child out"
            )
        if runs_somewhere(graph, child):
            running.append(child)
    return _in_order(_part(graph, "", name), [_part(graph, child, name) for child in running])


def runs_somewhere(graph: Mapping[str, Any], child: str) -> bool:
    """Whether a step of a graph runs in a child function."""
    return any(runs(one, child) for one in (graph.get("steps") or {}).values() if one.get("kind") != "queue")


def place_catchers(graph: dict[str, Any], places: Mapping[str, str]) -> None:
    """Write into catchers in which functions they run, so that each function gets those that it needs.

    :param places: by the names from the root on
    """
    for path, step in steps(graph):
        if path in places:
            step["function"] = places[path]


def complete_addresses(graph: dict[str, Any], target: Target) -> None:
    """Write complete addresses into the queue steps of a graph."""
    for path, queue, flow in list(queues(graph)):
        for before in queue.get("after", []):
            if flow["steps"].get(before, {}).get("kind") == "queue":
                raise SpecError(
                    f"queue '{path}' follows the queue '{before}', and no function carries messages from one to the "
                    "other; put a step with function= between them"
                )
        refuse_exactly_once(bool(settings_of(queue).get("exactly_once")), f"queue '{path}'", target)
        queue |= complete(queue, path, target)


def _part(graph: dict[str, Any], child: str, function: str) -> Part:
    """The part of one function; its queues are told with which group it reads them."""
    every = {path: len(_reading(flow, path)) for path, _, flow in queues(graph)}
    own, reads, writes = cut(graph, child), [], []
    for path, queue, flow in queues(own):
        following = readers(flow, path.rpartition("/")[2])
        if following:
            group = group_of(queue, function=function, child=child, readers=every[path])
            queue["backend"] = {**(queue.get("backend") or {}), "group": group}
            reads.append(stream_trigger(stream_of(queue, path), settings_of(queue), group=group))
            writes.append(dead_letters_of(queue))
        if not following or queue.get("after"):
            writes.append(queue["path"])
    whole = with_sources(own, graph, child)
    return Part(child, f"{function}-{child}" if child else function, whole, reads, writes)


def _reading(flow: Mapping[str, Any], path: str) -> set[str]:
    """The functions that read a queue of a flow."""
    around = flow.get("function") or ""
    following = readers(flow, path.rpartition("/")[2])
    return {name for one in following for name in first_functions(flow["steps"][one], around)}


def _in_order(parent: Part, children: list[Part]) -> list[Part]:
    """Readers first; where functions write to each other in a circle, as they were added."""
    done: list[Part] = []
    open_: list[Part] = []

    def visit(part: Part) -> None:
        if part in done or part in open_:
            return
        open_.append(part)
        for other in children:
            if other is not part and {one.stream.url for one in other.reads} & set(part.writes):
                visit(other)
        done.append(part)

    for part in children:
        visit(part)
    return [*done, parent]


def take_models(graph: dict[str, Any], folder: str) -> Files:
    """The models of a graph that lie on this machine; its steps are told where these are in the image.

    :param folder: the function's folder there
    """
    found: Files = {}
    for path, step in steps(graph):
        arguments = step.get("class_args") or {}
        model_path = arguments.get("model_path")
        if isinstance(model_path, str) and model_path:
            files, place = model_files(model_path, step=path, folder=folder)
            step["class_args"] = {**arguments, "model_path": place}
            found |= files
    return found


def steps(graph: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All steps and routes of a graph, with the names from the root on."""
    for name, step in {**(graph.get("steps") or {}), **(graph.get("routes") or {})}.items():
        yield f"{path}{name}", step
        yield from steps(step, f"{path}{name}/")


def dotted_names(graph: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The names of classes and functions in modules that a graph's steps have, each with the step's own.

    >>> list(dotted_names({"steps": {"a": {"class_name": "shop.Price"}, "b": {"handler": "(event.x)"}}}))
    [('a', 'shop.Price')]
    """
    for path, step in [("", dict(graph)), *steps(graph)]:
        for key in ("class_name", "handler"):
            name = step.get(key)
            if isinstance(name, str) and DOTTED.fullmatch(name):
                yield path, name


def holds_pickles(value: Any) -> bool:
    """Whether plain data holds a pickled object."""
    if isinstance(value, Mapping):
        return "$pickle" in value or any(holds_pickles(one) for one in value.values())
    return isinstance(value, list) and any(holds_pickles(one) for one in value)
