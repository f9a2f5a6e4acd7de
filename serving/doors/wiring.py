"""What a queue step means where it is real: its address, the group that reads it, and what becomes of failures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ...errors import GraphError, near
from ...queues.address import BACKENDS
from ...queues.base import Settings
from ..graph.flow import FlowStep
from ..graph.step import QueueStep
from .ladder import Policy

POLICY = tuple(one.name for one in fields(Policy))
STREAM = ("group", "kafka_brokers", "kafka_bootstrap_servers", "access_key", "dead_letters", "dead_letter",
          "retention_bytes", "options", "secrets", "content_type")  # fmt: skip
NUCLIO = ("seek_to", "seekTo", "max_workers", "maxWorkers", "num_workers", "numWorkers", "ack_window_size", "name", "kind",
          "explicit_ack_mode", "explicitAckMode", "worker_allocation_mode", "workerAllocationMode", "attributes",
          "extra_attributes", "polling_interval_ms", "read_batch_size", "partitions", "annotations",
          "worker_termination_timeout", "workerTerminationTimeout", "session_timeout", "heartbeat_interval")  # fmt: skip
"""What ``trigger_args`` may hold for the trigger of a deployed function; it means nothing elsewhere."""
SECRET_OPTIONS = ("access_key", "sasl_plain_password", "ssl_password")
DEAD_LETTERS = "-dead-letters"

GetSecret = Callable[[str], str | None]


@dataclass(frozen=True, slots=True)
class Wire:
    """One stream of a function.

    :param name: the queue step's, from the root of the graph
    :param url: its address
    :param group: who reads it; ``""`` where nobody does
    :param dead_letters: the address for what fails
    :param content_type: of messages that name none
    """

    name: str
    url: str
    group: str = ""
    settings: Settings = field(default_factory=Settings)
    policy: Policy = field(default_factory=Policy)
    dead_letters: str = ""
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Wiring:
    """Makes wires for one function.

    :param function: the function's name
    :param current: the child function that runs here; ``""`` is the parent, ``"*"`` all in one
    :param folder: where queues without an address are, as embedded logs; ``None``: they are in memory
    :param secret: gives a secret by its name
    """

    function: str
    current: str = "*"
    folder: Path | None = None
    secret: GetSecret = lambda name: None

    def of_step(self, step: QueueStep, *, readers: int = 1) -> Wire:
        """The wire of a queue step.

        :param readers: how many functions read it; each has a group of its own
        :raises GraphError: a setting is unknown, or not what it should be
        """
        where = f"queue '{step.full_name}'"
        settings = {**step.trigger_args, **step.backend, **step.options.given()}
        check_settings(settings, where)
        group = settings.get("group")
        if group and readers > 1:
            group = f"{group}-{self.current}" if self.current not in ("", "*") else group
        return self.wire(
            step.full_name,
            step.path or step.full_name.replace("/", "."),
            {**settings, "group": group},
            where=where,
            partitions=step.shards,
            retention_hours=step.retention_in_hours,
        )

    def wire(
        self,
        name: str,
        path: str,
        settings: Mapping[str, Any],
        *,
        where: str,
        partitions: int | None = None,
        retention_hours: float | None = None,
    ) -> Wire:
        """The wire for an address and its settings."""
        url = self.address(path, settings)
        policy = {key: settings[key] for key in POLICY if settings.get(key) is not None}
        seek = settings.get("seek_to") or settings.get("seekTo")
        if seek in ("earliest", "latest"):
            policy.setdefault("start", seek)
        options = dict(settings.get("options") or {})
        if settings.get("access_key"):
            options["access_key"] = settings["access_key"]
        for option, secret in (settings.get("secrets") or {}).items():
            value = self.secret(secret)
            if value is None:
                raise GraphError(f"{where}: there is no secret '{secret}' for its option '{option}'; see with_secrets()")
            options[option] = value
        return Wire(
            name,
            url,
            str(settings.get("group") or self.default_group),
            Settings(
                partitions=partitions,
                retention_seconds=None if retention_hours is None else retention_hours * 3600,
                retention_bytes=settings.get("retention_bytes"),
                options=options,
            ),
            Policy.of(policy, where=where),
            self.address(settings.get("dead_letters") or settings.get("dead_letter") or url + DEAD_LETTERS, settings),
            settings.get("content_type"),
        )

    @property
    def default_group(self) -> str:
        """The group of the function that runs here."""
        name = self.function if self.current in ("", "*") else f"{self.function}-{self.current}"
        return f"{name}-consumer-group"

    def address(self, path: str, settings: Mapping[str, Any]) -> str:
        """A full address; a bare path is a topic of the Kafka brokers that are named, or else an embedded log."""
        if "://" in path:
            scheme = path.partition("://")[0]
            if scheme not in BACKENDS:
                raise GraphError(f"'{path}': there are no queues '{scheme}://'{near(scheme, BACKENDS)}")
            return path
        brokers = settings.get("kafka_brokers") or settings.get("kafka_bootstrap_servers")
        topic = re.sub(r"[^A-Za-z0-9._-]+", ".", path).strip(".")
        if brokers:
            listed = brokers if isinstance(brokers, str) else ",".join(brokers)
            return f"kafka://{listed}/{topic}"
        if self.folder is None:
            return f"memory://{self.function}.{topic}"
        return f"log://{(self.folder / topic).absolute()}"


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Refuse settings that no stream has, and secrets written in the clear.

    :raises GraphError: says which
    """
    known = (*POLICY, *STREAM, *NUCLIO)
    for name, value in settings.items():
        if name not in known:
            raise GraphError(f"{where} has no setting '{name}'{near(name, known)}")
        if name in ("options", "secrets") and not isinstance(value, Mapping):
            raise GraphError(f"{where}: {name}= is a mapping, not {type(value).__name__}")
    for name in SECRET_OPTIONS:
        if name in (settings.get("options") or {}):
            raise GraphError(
                f"{where}: '{name}' must not stand in the graph; name a secret: secrets={{'{name}': 'NAME'}}"
            )


def readers_of(flow: FlowStep) -> dict[str, set[str]]:
    """Which functions read each queue of a flow, by the queue step's full name; ``""`` is the parent."""
    found: dict[str, set[str]] = {}
    for step in flow.steps.values():
        if isinstance(step, FlowStep):
            found |= readers_of(step)
        elif isinstance(step, QueueStep):
            after = (other for other in flow.steps.values() if step.name in other.after)
            found[step.full_name] = {other.function or flow.function or "" for other in after}
    return found
