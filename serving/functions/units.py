"""From a function to what is deployed: a unit for the parent, and one for each child that runs part of the graph."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import GraphError, SpecError
from ..deploy.names import LONGEST_PROJECT, check_image, check_keys, check_labels, check_name, check_variables
from ..deploy.streams import EXTRAS, reachable
from ..deploy.target import Target
from ..deploy.trigger import STREAM_KINDS, StreamTrigger, read_triggers
from ..deploy.unit import READINESS_SECONDS, Unit
from ..graph.catching import catcher_places
from ..graph.checks import raise_first
from .check import function_problems
from .spec import FunctionSpec
from .text import dump_yaml
from .unit_code import Code
from .unit_graph import Part, dotted_names, holds_pickles, parts_of, place_catchers, take_models
from .unit_pickles import modules_in
from .unit_requirements import check_commands, check_imports, check_requirements, millrace_requirement, without
from .unit_secrets import deployed_sources, secrets_of
from .unit_streams import clocks, needs_v3io_key, outside_streams, secrets_of_streams, triggers_to_read

if TYPE_CHECKING:
    from .function import ServingFunction

LARGEST_SPEC_BYTES = 1_000_000
"""A ConfigMap, like everything that Kubernetes keeps, has at most 1 MiB."""
AT_RUN_TIME = ("parameters", "load_mode", "default_class", "default_content_type", "error_stream", "tracking_stream",
               "sampling_percentage", "data_hosts", "graph_initializer")  # fmt: skip
STREAMS = ("error_stream", "tracking_stream")
IN_PODS = ("node_name", "node_selector", "affinity", "tolerations", "priority_class_name", "service_account",
           "security_context", "image_pull_secret", "volumes", "volume_mounts")  # fmt: skip
INHERITED = ("image_pull_secret", "service_account", "security_context")
"""What a child has from its parent, unless it says otherwise; resources and nodes are each function's own."""


def units_of(function: ServingFunction, target: Target, *, pickle: bool = False) -> list[Unit]:
    """What is deployed of a function, in the order to deploy: who reads a queue before who writes it, the parent last.

    Everything that can be known to be wrong is found here, before a file is written or a request is sent.

    :param pickle: write objects that do not import by name as cloudpickle, which the deployed function loads
    :raises GraphError: the graph is wrong, or a step's class is in no file
    :raises SpecError: something can not be deployed there: a name, a queue, a secret, the code, a model
    """
    for name in function.spec.functions:
        check_name(name, what="child function's")
    if function.metadata.project:
        check_name(function.metadata.project, what="project", longest=LONGEST_PROJECT)
    raise_first(function_problems(function, []))
    values = _plain(function, pickle=pickle)
    spec = values["spec"]
    place_catchers(spec["graph"], catcher_places(function.graph))
    for name in STREAMS:
        if spec.get(name):
            spec[name] = reachable(spec[name], f"the {name.replace('_', ' ')}", target)
    parts = parts_of(spec["graph"], list(function.spec.functions), name=function.name, target=target)
    units: list[Unit] = []
    for part in parts:
        after = tuple(one.full_name for one in units if {each.stream.url for each in one.streams} & set(part.writes))
        units.append(_Maker(function, values, target, part).unit(after if part.child else _all(units)))
    return units


def _check(unit: Unit) -> None:
    """Refuse what the target refuses of a unit."""
    check_name(unit.full_name if unit.target.name == "nuclio" else unit.name, what="function")
    check_labels(unit.labels, function=unit.name)
    check_keys(unit.annotations, what="annotation", function=unit.name)
    check_keys(unit.placement.get("node_selector", {}), what="node selector", function=unit.name)
    check_variables([*unit.env, *unit.secrets], function=unit.name)
    if unit.base_image is not None:
        check_image(unit.base_image)
    check_requirements(unit.requirements[1:], function=unit.name)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if unit.trusted and unit.python != here:
        raise SpecError(
            f"function '{unit.name}' holds objects that were pickled by Python {here}, and Python {unit.python} can "
            f"not read their code; export with the Python that it runs on, or give python='{here}' (--python)"
        )
    if unit.readiness_seconds < 1:
        raise SpecError(f"function '{unit.name}': readiness_timeout={unit.readiness_seconds} must be 1 second or more")
    _ = unit.replica_range


def _all(units: list[Unit]) -> tuple[str, ...]:
    return tuple(one.full_name for one in units)


def _plain(function: ServingFunction, *, pickle: bool) -> dict[str, Any]:
    try:
        return function.to_dict(pickle=pickle)
    except GraphError as error:
        if not pickle and "pickle=True" in str(error):
            error.add_note("an export takes pickle=True, too (--pickle)")
        raise


class _Maker:
    """Makes the unit of one part of a function's graph."""

    def __init__(self, function: ServingFunction, values: dict[str, Any], target: Target, part: Part) -> None:
        self.function, self.values, self.target, self.part = function, values, target, part
        self.parent = function.spec
        self.child = function.spec.functions.get(part.child)
        self.own: FunctionSpec = self.child.spec if self.child is not None else self.parent
        declared = read_triggers(self.own.triggers, function=part.name)
        self.triggers = {name: one for name, one in declared.items() if one["kind"] not in STREAM_KINDS}
        outside = {name: self.own.triggers[name] for name in declared if name not in self.triggers}
        self.clocks = clocks({name: one for name, one in self.own.triggers.items() if one["kind"] == "cron"})
        self.triggers |= self.clocks
        self.outside: list[StreamTrigger] = outside_streams(outside, function.name, part.child, target)

    def unit(self, after: tuple[str, ...]) -> Unit:
        """The unit; what is wrong with it is an error."""
        own, part, target = self.own, self.part, self.target
        metadata = (self.child or self.function).metadata
        code = Code(target.version)
        places = self._take_code(code)
        models = take_models(part.graph, target.folder)
        base_image = own.build.base_image or own.image or self.parent.build.base_image or self.parent.image
        commands = (*self.parent.build.commands, *(own.build.commands if self.child else ()))
        requirements = self._requirements()
        if base_image is None and not commands:
            pickled = {module: f"'{file}'" for file in models.values() if isinstance(file, Path)
                       for module in sorted(modules_in(file))}  # fmt: skip
            check_imports({**pickled, **code.imports}, code.own, requirements, function=part.name)
        spec = self._spec(places)
        unit = Unit(
            name=part.name, target=target, spec=self._text(spec), child=part.child,
            project=self.function.metadata.project, tag=self.function.metadata.tag, description=own.description,
            labels=dict(metadata.labels), annotations=dict(metadata.annotations), files=code.files | models,
            requirements=requirements, secrets=self._secrets(),
            env={name: str(value) for name, value in (self.parent.env | own.env).items()},
            streams=(*part.reads, *self.outside), written=tuple(dict.fromkeys(part.writes)),
            triggers=self.triggers, resources=own.resources, replicas=own.replicas,
            min_replicas=own.min_replicas, max_replicas=own.max_replicas,
            image=own.image or self.parent.image, base_image=base_image,
            commands=check_commands(commands, function=part.name),
            nuclio_runtime=own.nuclio_runtime or self.parent.nuclio_runtime,
            readiness_seconds=own.readiness_timeout or READINESS_SECONDS, service_type=own.service_type,
            disable_default_http_trigger=own.disable_default_http_trigger, placement=self._placement(),
            trusted=holds_pickles(spec), after=after,
        )  # fmt: skip
        _check(unit)
        return unit

    def _take_code(self, code: Code) -> dict[str, str]:
        """Put the code files into the unit; where they are, by the function that they belong to."""
        places = {}
        if self.parent.filename:
            places[""] = code.add(self.parent.filename)
        for name in self._functions():
            filename = self.function.spec.functions[name].spec.filename
            if filename:
                places[name] = code.add(filename, child=name)
        for path, name in dotted_names(self.part.graph):
            code.add_named(name, who=f"step '{path}'" if path else "the graph")
        return places

    def _functions(self) -> list[str]:
        """The child functions that this part of the graph knows."""
        return [name for name in self.function.spec.functions if name in {self.part.child, *self.part.functions}]

    def _requirements(self) -> tuple[str, ...]:
        spec = self.values["spec"]
        urls = [*self._urls(), *(spec[name] for name in STREAMS if spec.get(name))]
        extras = {EXTRAS[scheme] for url in urls if (scheme := url.partition("://")[0]) in EXTRAS}
        extras |= {"cron" for name in self._clocks_inside() if "schedule" in self.clocks[name]["attributes"]}
        own = [one for name in self._functions() for one in self.function.spec.functions[name].spec.build.requirements]
        users = [*without(self.parent.build.requirements, own), *own]
        return tuple(dict.fromkeys([millrace_requirement(extras, wheel=self.target.wheel), *users]))

    def _urls(self) -> list[str]:
        return [*self.part.writes, *(one.stream.url for one in (*self.part.reads, *self.outside))]

    def _secrets(self) -> dict[str, str]:
        of_streams = secrets_of_streams(self.part.graph, self.outside)
        uses_v3io = needs_v3io_key(self.part.graph, self.outside)
        name = self.part.name
        found = secrets_of(self.parent, self.target, function=name, uses_v3io=uses_v3io, others=of_streams)
        return found | (secrets_of(self.own, self.target, function=name) if self.child is not None else {})

    def _placement(self) -> Mapping[str, Any]:
        found = {name: getattr(self.own, name) for name in IN_PODS}
        found |= {name: found[name] or getattr(self.parent, name) for name in INHERITED}
        return {name: value for name, value in found.items() if value}

    def _spec(self, places: Mapping[str, str]) -> dict[str, Any]:
        """The function's own spec: what it needs when it runs, and nothing of other functions."""
        whole = self.values["spec"]
        spec = {key: whole[key] for key in AT_RUN_TIME if key in whole}
        if "" in places:
            spec["filename"] = places[""]
        spec["graph"] = self.part.graph
        children: dict[str, dict[str, Any]] = {
            name: {"kind": "serving", "metadata": {"name": name},
                   "spec": {"filename": places[name]} if name in places else {}}
            for name in self._functions()
        }  # fmt: skip
        sources = deployed_sources(whole.get("secret_sources") or [])
        triggers = triggers_to_read(self.outside) | {name: self.clocks[name] for name in self._clocks_inside()}
        if triggers:
            owner = children[self.part.child]["spec"] if self.part.child else spec
            owner["triggers"] = triggers
        spec |= {"functions": children} if children else {}
        spec |= {"secret_sources": sources} if sources else {}
        metadata = {"name": self.function.name}
        if self.function.metadata.project:
            metadata["project"] = self.function.metadata.project
        verbose = {"verbose": True} if self.function.verbose else {}
        return {"kind": self.values["kind"], "metadata": metadata, "spec": spec, **verbose}

    def _clocks_inside(self) -> list[str]:
        """The clocks that run in the function itself: Nuclio has its own, and Kubernetes those with a schedule."""
        return [] if self.target.name == "nuclio" else [
            name for name, one in self.clocks.items()
            if self.target.name != "kubernetes" or "interval" in one["attributes"]
        ]  # fmt: skip

    def _text(self, spec: dict[str, Any]) -> str:
        text = dump_yaml(spec)
        is_kept_by_kubernetes = self.target.name in ("nuclio", "kubernetes")
        if is_kept_by_kubernetes and len(text.encode()) > LARGEST_SPEC_BYTES:
            what = "pickled objects" if holds_pickles(spec) else "arguments of its steps"
            raise SpecError(
                f"function '{self.part.name}': its spec has {len(text.encode()):,} bytes, and Kubernetes keeps at most "
                f"{LARGEST_SPEC_BYTES:,}; move the {what} into files, such as a model at model_path="
            )
        return text


