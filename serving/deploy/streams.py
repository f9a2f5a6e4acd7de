"""The streams between deployed functions: their addresses, made complete, and whether the target can reach them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from ...errors import SpecError
from ...queues.address import BACKENDS
from ...queues.kafka_address import parse_address
from ...queues.v3io_options import Options, Place
from .target import Target

LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "[::1]", "::1")
EXTRAS = {"kafka": "confluent", "v3io": "v3io", "v3io+http": "v3io"}
"""What brings the client of an address; of the two for Kafka the quick one."""
V3IO_VARIABLE, V3IO_KEY = "V3IO_API", "V3IO_ACCESS_KEY"


@dataclass(frozen=True, kw_only=True)
class Stream:
    """A stream that has an address.

    :param name: of the queue step, with the names of the flows around it
    :param partitions: how many it has, as far as the graph says
    """

    name: str
    url: str
    partitions: int = 1

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


def stream_of(queue: Mapping[str, Any], name: str, target: Target, *, function: str) -> Stream:
    """The stream of a queue step, with a complete address.

    :param queue: the step as plain data
    :param function: the name of the function, which names streams that have no path
    :raises SpecError: it has no address, or the target can not reach it
    """
    what = f"queue '{name}'"
    backend, path = queue.get("backend") or {}, queue.get("path")
    if backend.get("access_key"):
        raise SpecError(
            f"{what}: access_key= is the value of a secret, which is never written; leave it out, and use "
            f"function.set_env_from_secret('{V3IO_KEY}', 'secret-name', 'key')"
        )
    brokers = backend.get("kafka_brokers") or backend.get("kafka_bootstrap_servers")
    base = f"kafka://{','.join(brokers) if isinstance(brokers, list) else brokers}" if brokers else None
    own = path or f"{function}-{name.replace('/', '.')}"
    url = reachable(own, what, target, base=base)
    return Stream(name=name, url=url, partitions=queue.get("shards") or 1)


def reachable(path: str, what: str, target: Target, *, base: str | None = None) -> str:
    """The complete address of a stream, which the target reaches.

    :param path: an address, or a name at `base` or the target's own streams
    :param what: how errors name the stream
    :raises SpecError: it has no address, is on one machine only, or is not of the form of its kind
    """
    if "://" not in path:
        base = base or target.default_streams
        if base is None:
            raise SpecError(
                f"{what} has no address that {target.name} knows: give path='kafka://broker:9092/{path}', or say where "
                "all streams are with streams='kafka://broker:9092' (--streams)"
            )
        path = f"{base.rstrip('/')}/{path.strip('/')}"
    scheme = path.partition("://")[0]
    if scheme in ("memory", "log") and not (scheme == "log" and target.name == "docker"):
        where = "inside one process" if scheme == "memory" else "on one machine"
        raise SpecError(
            f"{what}: '{path}' is {where}, and the functions of {target.name} are on several; "
            "give it an address kafka://broker:9092/topic or v3io://host/container/path"
        )
    if scheme not in BACKENDS:
        raise SpecError(f"{what}: there are no streams '{scheme}://'; there are {', '.join(BACKENDS)}")
    if scheme == "kafka":
        return _kafka(path, what, target)
    return _v3io(path, what, target) if scheme in EXTRAS else path


def _kafka(url: str, what: str, target: Target) -> str:
    """An address of Kafka; that of a machine's own broker becomes the one that compose brings."""
    address = parse_address(url)
    if target.name == "compose" and target.streams is None:
        return f"{target.default_streams}/{address.topic}"
    local = [one for one in address.servers.split(",") if one.rpartition(":")[0] in LOCAL_HOSTS]
    if local and target.name != "docker":
        raise SpecError(
            f"{what}: '{local[0]}' is the container itself when it runs on {target.name}; name the broker as it is seen "
            "from there, such as kafka://kafka.kafka.svc:9092/topic"
        )
    return address.url


def _v3io(url: str, what: str, target: Target) -> str:
    if not urlsplit(url).netloc and target.name != "nuclio":
        host = "has no host, which is right on the platform itself and nowhere else"
        raise SpecError(f"{what}: '{url}' {host}; write v3io://webapi.my-platform.com/container/path")
    Place.parse(url, Options(endpoint="http://v3io-webapi:8081"))
    return url


def group_of(queue: Mapping[str, Any], path: str, *, function: str, is_v3io: bool) -> str:
    """The consumer group with which a function reads a queue: what the queue says, else after the function.

    >>> group_of({}, "kafka://b:9092/t?group=bills", function="orders-enrich", is_v3io=False)
    'bills'
    >>> group_of({}, "v3io:///bigdata/s", function="orders-enrich", is_v3io=True)
    'orders_enrich_consumer_group'
    """
    settings = queue.get("trigger_args") or {}
    said = settings.get("group") or settings.get("consumer_group") or (queue.get("backend") or {}).get("group")
    in_address = re.search(r"[?&]group=([^&]+)", path)
    group = said or (in_address[1] if in_address else None) or f"{function}-consumer-group"
    return group.replace("-", "_") if is_v3io else str(group)
