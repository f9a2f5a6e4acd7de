"""The streams between deployed functions: their addresses, made complete, and whether the target can reach them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ...errors import SpecError
from ...queues.address import BACKENDS
from ...queues.kafka_address import parse_address
from ...queues.v3io_options import Options, Place
from ..doors.wiring import DEAD_LETTERS, Wiring, check_settings
from .target import COMPOSE_KAFKA, Target

LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]", "::1")
EXTRAS = {"kafka": "confluent", "v3io": "v3io", "v3io+http": "v3io"}
"""What brings the client of an address; of the two for Kafka the quick one."""
V3IO_KEY = "V3IO_ACCESS_KEY"
LOGIN = ("sasl_", "ssl_", "security_protocol")


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A stream that has an address.

    :param name: of the queue step, with the names of the flows around it
    :param partitions: how many it has, as far as the graph says
    :param options: its backend's options, and `secrets` the names of the secrets that are options
    """

    name: str
    url: str
    partitions: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        """The kind of its address: ``kafka``, ``v3io``…"""
        return self.url.partition("://")[0]

    @property
    def is_kafka(self) -> bool:
        """Whether it is a topic of Kafka."""
        return self.scheme == "kafka"

    @property
    def brokers(self) -> list[str]:
        """The Kafka brokers to ask first."""
        return parse_address(self.url).servers.split(",")

    @property
    def topic(self) -> str:
        """The Kafka topic."""
        return parse_address(self.url).topic

    @property
    def place(self) -> Place:
        """Where a v3io stream is; without a host it is on the platform that the function runs on."""
        return Place.parse(self.url, Options(endpoint="http://v3io-webapi:8081"))


def settings_of(queue: Mapping[str, Any]) -> dict[str, Any]:
    """All settings of a queue step, wherever they stand."""
    return {**(queue.get("trigger_args") or {}), **(queue.get("backend") or {})}


def complete(queue: Mapping[str, Any], name: str, target: Target) -> dict[str, Any]:
    """A queue step with complete addresses: its own, and that of its dead letters if it names one.

    A consumer group in the address becomes a setting.

    :param queue: the step as plain data
    :raises GraphError: a setting is unknown, or holds the value of a secret
    :raises SpecError: it has no address, or the target can not reach it
    """
    what, settings = f"queue '{name}'", settings_of(queue)
    check_settings(settings, what)
    path = queue.get("path") or name.replace("/", ".")
    found = {**queue, "path": reachable(path, what, target, settings=settings)}
    backend = dict(queue.get("backend") or {})
    group = parse_qs(urlsplit(path).query).get("group")
    if group and not settings.get("group"):
        backend["group"] = group[0]
    for key in ("dead_letters", "dead_letter"):
        if settings.get(key):
            own = f"{target.name} to know the dead letters of {what}"
            backend[key] = reachable(settings[key], own, target, settings=settings, beside=found["path"])
    found |= {"backend": backend} if backend else {}
    if found["path"].startswith(f"{COMPOSE_KAFKA}/"):
        found |= {key: _without_login(found[key]) for key in ("backend", "trigger_args") if key in found}
    return found


def _without_login(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a queue for the Kafka that compose brings, which asks for no login."""
    kept = {name: one for name, one in (settings.get("options") or {}).items() if not name.startswith(LOGIN)}
    return {name: one for name, one in {**settings, "options": kept, "secrets": None}.items() if one}


def stream_of(queue: Mapping[str, Any], name: str) -> Stream:
    """The stream of a queue step that is complete."""
    settings = settings_of(queue)
    return Stream(
        name=name, url=queue["path"], partitions=queue.get("shards") or 1, options=settings.get("options") or {},
        secrets=settings.get("secrets") or {},
    )  # fmt: skip


def dead_letters_of(queue: Mapping[str, Any]) -> str:
    """Where what a queue's readers can not do goes to."""
    settings = settings_of(queue)
    return str(settings.get("dead_letters") or settings.get("dead_letter") or queue["path"] + DEAD_LETTERS)


def reachable(
    path: str, what: str, target: Target, *, settings: Mapping[str, Any] | None = None, beside: str | None = None
) -> str:
    """The complete address of a stream, which the target reaches.

    :param path: an address, or a name where the settings, or else the target, have their streams
    :param what: how errors name the stream
    :param beside: the address of a stream next to which a mere name is
    :raises SpecError: it has no address, is on one machine only, or is not of the form of its kind
    """
    wiring = Wiring("", secret=lambda name: None)
    url = wiring.address(path, settings or {})
    if "://" not in path and url.startswith("memory://"):
        base = beside.rpartition("/")[0] if beside else target.default_streams
        if base is None:
            raise SpecError(
                f"{what} has no address that {target.name} knows: give path='kafka://broker:9092/{path}', or say where "
                "all streams are with streams='kafka://broker:9092' (--streams)"
            )
        url = f"{base.rstrip('/')}/{url.rpartition('/')[2].lstrip('.')}"
    scheme = url.partition("://")[0]
    if scheme in ("memory", "log") and not (scheme == "log" and target.name == "docker"):
        where = "inside one process" if scheme == "memory" else "on one machine"
        raise SpecError(
            f"{what}: '{url}' is {where}, and the functions of {target.name} are on several; "
            "give it an address kafka://broker:9092/topic or v3io://host/container/path"
        )
    if scheme not in BACKENDS:
        raise SpecError(f"{what}: there are no streams '{scheme}://'; there are {', '.join(BACKENDS)}")
    if scheme == "kafka":
        return _kafka(url, what, target)
    return _v3io(url, what, target) if scheme in EXTRAS else url


def _kafka(url: str, what: str, target: Target) -> str:
    """An address of Kafka; that of a machine's own broker becomes the one that compose brings."""
    address = parse_address(url)
    if target.name == "compose" and target.streams is None:
        return f"{target.default_streams}/{address.topic}"
    local = [one for one in address.servers.split(",") if one.rpartition(":")[0] in LOCAL_HOSTS]
    if local and target.name != "docker":
        raise SpecError(
            f"{what}: '{local[0]}' is the container itself when it runs on {target.name}; name the broker as it "
            "is seen from there, such as kafka://kafka.kafka.svc:9092/topic"
        )
    return address.url


def _v3io(url: str, what: str, target: Target) -> str:
    if not urlsplit(url).netloc and target.name != "nuclio":
        host = "has no host, which is right on the platform itself and nowhere else"
        raise SpecError(f"{what}: '{url}' {host}; write v3io://webapi.my-platform.com/container/path")
    Place.parse(url, Options(endpoint="http://v3io-webapi:8081"))
    return url


def group_of(queue: Mapping[str, Any], *, function: str, child: str, readers: int) -> str:
    """The consumer group with which a function reads a queue, as everywhere else where it is real.

    :param function: the name of the parent function
    :param readers: how many functions read the queue; each has a group of its own

    >>> group_of({"backend": {"group": "bills"}}, function="orders", child="audit", readers=2)
    'bills-audit'
    >>> group_of({}, function="orders", child="audit", readers=2)
    'orders-audit-consumer-group'
    """
    said = settings_of(queue).get("group")
    if said:
        return f"{said}-{child}" if readers > 1 and child else str(said)
    return Wiring(function, child or "*").default_group
