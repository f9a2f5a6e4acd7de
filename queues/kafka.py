"""``kafka://host:9092,host2:9092/topic``: topics of an Apache Kafka cluster.

confluent-kafka is taken when it is installed, otherwise kafka-python; ``options={"client": …}`` says which.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from urllib.parse import urlsplit

from ..errors import MissingDependency
from .base import Queue, Settings
from .kafka_address import KafkaAddress, parse_address
from .kafka_client import Client
from .kafka_errors import KafkaFault, explained
from .kafka_options import KafkaOptions
from .kafka_queue import KafkaQueue
from .shown import shown

PACKAGES = {"confluent-kafka": ("confluent_kafka", "confluent"), "kafka-python": ("kafka", "kafka")}


def at(url: str, settings: Settings) -> Queue:
    """The queue of an address, not open yet.

    :raises GraphError: the address or an option is wrong
    :raises MissingDependency: no client is installed, or not the one that the options name

    >>> at("kafka://broker/orders", Settings())
    KafkaQueue('kafka://broker:9092/orders')
    """
    return KafkaQueue(url, settings, _client(KafkaOptions.parse(settings.options).client, url))


async def list_topics(url: str, settings: Settings) -> list[str]:
    """The addresses of the topics of a cluster, without those that Kafka keeps for itself; of a topic's own that.

    :param url: ``kafka://host:9092,host2:9092``
    :raises Unavailable: no broker answers
    :raises UpstreamError: the broker refused the login
    """
    topic = urlsplit(url).path.strip("/")
    address = parse_address(url if topic else f"{url.rstrip('/')}/any")
    cluster = replace(address, topic="")
    options = KafkaOptions.parse(settings.options)
    try:
        names = await asyncio.to_thread(_topics, _client(options.client, url)(cluster, options))
    except KafkaFault as fault:
        raise explained(fault, cluster, options) from fault
    return [f"kafka://{address.servers}/{name}" for name in sorted(names) if not topic or name == address.topic]


def _topics(client: Client) -> list[str]:
    cluster = client.cluster()
    try:
        return cluster.topics()
    finally:
        cluster.close()


def _client(name: str, url: str) -> Callable[[KafkaAddress, KafkaOptions], Client]:
    wanted = [name] if name else list(PACKAGES)
    for package in wanted:
        module, _ = PACKAGES[package]
        if find_spec(module) is not None:
            return _made(package)
    package = wanted[-1]
    raise MissingDependency(package, extra=PACKAGES[package][1], purpose=f"the queue {shown(url)}")


def _made(package: str) -> Callable[[KafkaAddress, KafkaOptions], Client]:
    if package == "confluent-kafka":
        from .kafka_confluent_client import ConfluentClient  # noqa: PLC0415 - only what is installed can be imported

        return ConfluentClient
    from .kafka_python_client import PythonClient  # noqa: PLC0415

    return PythonClient
