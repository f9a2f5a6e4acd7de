"""One function that is deployed, as plain data: all that the files of every target are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import SpecError
from .target import Target
from .trigger import StreamTrigger

SPEC_FILE = "function-spec.yaml"
SPEC_VARIABLE, FUNCTION_VARIABLE = "MILLRACE_FUNCTION_SPEC", "MILLRACE_CURRENT_FUNCTION"
TRUST_VARIABLE = "MILLRACE_TRUSTED"
DRAIN_VARIABLE = "MILLRACE_DRAIN_SECONDS"
MOST_REPLICAS = 4
"""Of a function that reads a stream, where nothing is said; MLRun's number."""
READINESS_SECONDS = 120

Files = dict[str, str | Path]
"""Files to write, by relative path: their text, or the file to copy."""


@dataclass(frozen=True, kw_only=True)
class Unit:
    """A deployable function: the parent, or a child that runs its part of the graph.

    :param name: what it is called; a child's name begins with its parent's
    :param child: the name that the graph's steps have in ``function=``; empty for the parent
    :param spec: the function's own spec as YAML text, with its part of the graph
    :param files: its code and models, by path in its folder
    :param requirements: what ``pip`` installs, Millrace among them
    :param env: environment variables, and `secrets` those that come from a Kubernetes Secret: ``"secret-name/key"``
    :param streams: the queues that it reads, and the streams that feed its graph from outside
    :param written: the addresses that it writes to
    :param triggers: those that the user declared, in Nuclio's form; streams are among `streams` instead
    :param commands: shell commands that build its image
    :param placement: further settings of Kubernetes' pods, such as ``nodeSelector``
    :param trusted: its spec holds pickled objects, which it may load
    :param after: the names of functions that are deployed before it, since they read what it writes
    """

    name: str
    target: Target
    spec: str
    child: str = ""
    project: str = ""
    tag: str = ""
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str | Path] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    streams: tuple[StreamTrigger, ...] = ()
    written: tuple[str, ...] = ()
    triggers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    replicas: int | None = None
    min_replicas: int | None = None
    max_replicas: int | None = None
    image: str | None = None
    base_image: str | None = None
    commands: tuple[str, ...] = ()
    nuclio_runtime: str | None = None
    readiness_seconds: int = READINESS_SECONDS
    service_type: str | None = None
    disable_default_http_trigger: bool | None = None
    placement: Mapping[str, Any] = field(default_factory=dict)
    trusted: bool = False
    after: tuple[str, ...] = ()

    @property
    def is_parent(self) -> bool:
        """Whether it is the function itself, which the requests come to."""
        return not self.child

    @property
    def full_name(self) -> str:
        """Its name among the functions of all projects, as MLRun writes it: ``project-name-tag``."""
        return self._named(self.name)

    @property
    def whole(self) -> str:
        """The full name of the function that it is a child of, or its own."""
        return self._named(self.name.removesuffix(f"-{self.child}") if self.child else self.name)

    def _named(self, name: str) -> str:
        tag = "" if self.tag in ("", "latest") else self.tag
        return "-".join(part for part in (self.project, name, tag) if part)

    @property
    def python(self) -> str:
        """The Python version that runs it, as ``3.11``."""
        own = self.nuclio_runtime if self.target.name == "nuclio" else None
        return (own or self.target.python).removeprefix("python:")

    @property
    def spec_file(self) -> str:
        """The path of its spec in its image."""
        return f"{self.target.folder}/{SPEC_FILE}"

    @property
    def http(self) -> Mapping[str, Any] | None:
        """Its trigger for requests, in Nuclio's form; ``None``, as for a child, where only streams come."""
        declared = next((one for one in self.triggers.values() if one["kind"] == "http"), None)
        if declared is not None:
            return declared
        return None if self.child or self.disable_default_http_trigger else {"kind": "http"}

    @property
    def replica_range(self) -> tuple[int, int]:
        """The fewest and the most replicas.

        A reader of a stream needs no more than the stream has partitions. One that reads v3io has a fixed number:
        Nuclio divides the shards by it.

        :raises SpecError: the numbers that were given contradict each other
        """
        for name in ("replicas", "min_replicas", "max_replicas"):
            number = getattr(self, name)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
                raise SpecError(f"function '{self.name}': {name}={number!r} is no whole number")
        low, high = self._asked_range()
        if low < 0 or high < max(low, 1):
            raise SpecError(
                f"function '{self.name}': min_replicas={low} and max_replicas={high} can not be; the second is 1 or "
                "more, and not less than the first"
            )
        return low, high

    def _asked_range(self) -> tuple[int, int]:
        if self.replicas is not None:
            return self.replicas, self.replicas
        low, high = self.min_replicas, self.max_replicas
        most = min(max((one.stream.partitions for one in self.streams), default=1), MOST_REPLICAS)
        if any(not one.stream.is_kafka for one in self.streams):
            fixed = high if high is not None else low if low is not None else most
            return (low if low is not None else fixed), fixed
        low = 1 if low is None else low
        return low, max(low, most) if high is None else high
