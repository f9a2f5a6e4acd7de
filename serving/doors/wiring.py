"""What a queue step means where it is real: its address, the group that reads it, and what becomes of failures."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ...errors import GraphError, near
from ...queues.address import BACKENDS
from ...queues.base import Settings
from ...queues.kafka_address import parse_address
from ...queues.log_address import log_address
from ..graph.step import QueueStep
from .ladder import Policy

POLICY = tuple(one.name for one in fields(Policy))
STREAM = ("group", "kafka_brokers", "kafka_bootstrap_servers", "access_key", "dead_letters", "dead_letter",
          "retention_bytes", "options", "secrets", "content_type")  # fmt: skip
NUCLIO = ("seek_to", "seekTo", "initial_offset", "consumer_group", "max_workers", "maxWorkers", "num_workers",
          "numWorkers", "ack_window_size", "name", "kind", "explicit_ack_mode", "explicitAckMode",
          "worker_allocation_mode", "workerAllocationMode", "work_allocation_mode", "attributes", "extra_attributes",
          "polling_interval_ms", "read_batch_size", "partitions", "annotations", "worker_termination_timeout",
          "workerTerminationTimeout", "session_timeout", "heartbeat_interval")  # fmt: skip
"""What ``trigger_args`` may hold for the trigger of a deployed function; but for the group and the start it means
nothing elsewhere."""
START = ("seek_to", "seekTo", "initial_offset")
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
    :param is_private: it is in the memory of this process, under a name that nobody else was told
    """

    name: str
    url: str
    group: str = ""
    settings: Settings = field(default_factory=Settings)
    policy: Policy = field(default_factory=Policy)
    dead_letters: str = ""
    content_type: str | None = None
    is_private: bool = False


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
        settings = {**step.trigger_args, **step.backend, **step.options.given()}
        return self.wire(
            step.full_name, step.path or step.full_name.replace("/", "."), settings, where=f"queue '{step.full_name}'",
            partitions=step.shards, retention_hours=step.retention_in_hours, readers=readers,
        )  # fmt: skip

    def wire(
        self,
        name: str,
        path: str,
        settings: Mapping[str, Any],
        *,
        where: str,
        partitions: int | None = None,
        retention_hours: float | None = None,
        readers: int = 1,
    ) -> Wire:
        """The wire for an address and its settings.

        :param where: whose they are, for errors
        :raises GraphError: a setting is unknown, or not what it should be
        """
        check_settings(settings, where)
        _check_number(retention_hours, float, f"{where}: retention_in_hours")
        for number, called in ((partitions, "shards"), (settings.get("retention_bytes"), "retention_bytes")):
            _check_number(number, int, f"{where}: {called}")
        url, group_there = _without_group(self.address(path, settings, where))
        group = settings.get("group") or settings.get("consumer_group") or group_there
        if group and readers > 1 and self.current not in ("", "*"):
            group = f"{group}-{self.current}"
        kept = Settings(
            partitions=partitions,
            retention_seconds=None if retention_hours is None else retention_hours * 3600,
            retention_bytes=settings.get("retention_bytes"),
            options=self._options(settings, where),
        )
        policy = Policy.of(_policy(settings, where), where=where)
        if policy.exactly_once and "://" in path and not url.startswith("kafka://"):
            raise GraphError(f"{where}: exactly_once=True needs a topic of Kafka, and {url} is none: leave it out")
        return Wire(
            name, url, str(group or self.default_group), kept, policy,
            self._dead_letters(url, settings, where, is_placed="://" in path), settings.get("content_type"),
            "://" not in path and url.startswith("memory://"),
        )  # fmt: skip

    def _dead_letters(self, url: str, settings: Mapping[str, Any], where: str, *, is_placed: bool) -> str:
        """Where what fails goes to; a mere name is beside the stream.

        :param is_placed: the stream's own address is complete
        """
        name = settings.get("dead_letters") or settings.get("dead_letter")
        if not name:
            return url.rstrip("/") + DEAD_LETTERS
        if is_placed and "://" not in name:
            return f"{url.rstrip('/').rpartition('/')[0]}/{name.strip('/')}"
        return self.address(name, settings, where)

    def _options(self, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
        """The backend's options, with the secrets among them."""
        options = dict(settings.get("options") or {})
        for option, name in (settings.get("secrets") or {}).items():
            value = self.secret(name)
            if value is None:
                raise GraphError(f"{where}: there is no secret '{name}' for its option '{option}'; see with_secrets()")
            options[option] = value
        return options

    @property
    def default_group(self) -> str:
        """The group of the function that runs here."""
        name = self.function if self.current in ("", "*") else f"{self.function}-{self.current}"
        return f"{name}-consumer-group"

    def address(self, path: str, settings: Mapping[str, Any], where: str = "") -> str:
        """A full address; a bare path is a topic of the Kafka brokers that are named, or else an embedded log.

        :raises GraphError: no queues have such addresses
        """
        if "://" in path:
            scheme = path.partition("://")[0]
            if scheme not in BACKENDS:
                whose = f"{where}: " if where else ""
                raise GraphError(f"{whose}'{path}': there are no queues '{scheme}://'{near(scheme, BACKENDS)}")
            return path
        brokers = settings.get("kafka_brokers") or settings.get("kafka_bootstrap_servers")
        if brokers:
            listed = brokers if isinstance(brokers, str) else ",".join(brokers)
            topic = re.sub(r"[^A-Za-z0-9._-]+", ".", path).strip(".")
            return f"kafka://{listed}/{topic}"
        topic = _topic(path)
        if self.folder is None:
            return f"memory://{self.function}.{topic}"
        return log_address(self.folder / topic)


def _topic(path: str) -> str:
    """The topic of a bare path: a name of one folder, and another one for each path.

    >>> _topic("shop/orders"), _topic("a b"), _topic("a.b")
    ('shop.orders', 'a.b-c8687a08', 'a.b')
    """
    plain = path.strip("/").replace("/", ".")
    clean = re.sub(r"[^\w.-]+", ".", plain).strip(".")
    if clean == plain:
        return clean
    return f"{clean}-{hashlib.sha256(path.encode()).hexdigest()[:8]}".lstrip("-")


def check_settings(settings: Mapping[str, Any], where: str) -> None:
    """Refuse settings that no stream has, and secrets written in the clear.

    :raises GraphError: says which

    >>> check_settings({"retires": 3}, "queue 'orders'")
    Traceback (most recent call last):
    ...
    millrace.errors.GraphError: queue 'orders' has no setting 'retires'; did you mean 'retries'?
    """
    known = (*POLICY, *STREAM, *NUCLIO)
    for name, value in settings.items():
        if name not in known:
            raise GraphError(f"{where} has no setting '{name}'{near(name, known)}")
        if name in _KINDS and value is not None and not isinstance(value, _KINDS[name]):
            raise GraphError(f"{where}: {name}={value!r:.60} is no {_WORDS[_KINDS[name]]}")
    for name in (*(settings.get("options") or {}), *(("access_key",) if settings.get("access_key") else ())):
        if name in SECRET_OPTIONS:
            raise GraphError(
                f"{where}: '{name}' must not stand in the graph, which is written into files; declare a secret with "
                f"with_secrets() and name it: secrets={{'{name}': 'NAME'}}"
            )


_KINDS: dict[str, type | tuple[type, ...]] = {
    "options": Mapping, "secrets": Mapping, "group": str, "consumer_group": str, "dead_letters": str,
    "dead_letter": str, "content_type": str, "kafka_brokers": (str, list, tuple),
    "kafka_bootstrap_servers": (str, list, tuple),
}  # fmt: skip
_WORDS: dict[Any, str] = {Mapping: "mapping", str: "text", (str, list, tuple): "text or list of texts"}


def _policy(settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings that say how a stream is consumed; its start under one of its several names."""
    found = {key: settings[key] for key in POLICY if settings.get(key) is not None}
    for name in START:
        start = settings.get(name)
        if start is None:
            continue
        if str(start).lower() not in ("earliest", "latest"):
            raise GraphError(f"{where}: {name}={start!r} is neither 'earliest' nor 'latest'")
        found.setdefault("start", str(start).lower())
    return found


def _check_number(value: Any, kind: type, what: str) -> None:
    kinds = (int, float) if kind is float else (int,)
    if value is not None and (isinstance(value, bool) or not isinstance(value, kinds) or value <= 0):
        raise GraphError(f"{what}={value!r} must be a{' whole' if kind is int else ''} number over 0")


def _without_group(url: str) -> tuple[str, str | None]:
    """An address and the consumer group in it, which Kafka's may have; checked as far as can be without a broker."""
    if not url.startswith("kafka://"):
        return url, None
    address = parse_address(url)
    return address.url, address.group
