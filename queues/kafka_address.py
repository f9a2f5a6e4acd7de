"""Where a Kafka topic is: ``kafka://host:9092,host2:9092/topic?group=name``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import GraphError, near
from .shown import shown

PORT = 9092
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")  # org.apache.kafka.common.internals.Topic


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """A topic of a cluster.

    :param servers: the brokers to ask first, as ``host:port,host:port``
    :param topic: its name
    :param group: the consumer group that the address names; ``None`` if it names none
    """

    servers: str
    topic: str
    group: str | None = None

    @property
    def url(self) -> str:
        """The address without the group."""
        return f"kafka://{self.servers}/{self.topic}"


def parse_address(url: str) -> KafkaAddress:
    """The parts of an address.

    >>> parse_address("kafka://one,two:9093/orders?group=bills")
    KafkaAddress(servers='one:9092,two:9093', topic='orders', group='bills')

    :raises GraphError: it is not of this form, or holds a user name or password
    """
    parts = urlsplit(url)
    form = "write kafka://host:9092,host2:9092/topic, with ?group=name if need be"
    if "@" in parts.netloc + parts.path:
        raise GraphError(
            f"'{shown(url)}': an address holds no user name or password, as it is written into logs: give them as "
            "the options sasl_plain_username and sasl_plain_password, from secrets"
        )
    servers = [_server(server, url, form) for server in parts.netloc.split(",") if server]
    topic = unquote(parts.path.strip("/"))
    if parts.scheme != "kafka" or not servers:
        raise GraphError(f"'{shown(url)}' is no address of a Kafka topic: {form}")
    if not TOPIC.fullmatch(topic) or topic in (".", ".."):
        raise GraphError(
            f"'{shown(url)}': '{topic}' can not be the name of a topic, which has 1 to 249 of the characters "
            "A-Z a-z 0-9 . _ -"
        )
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name in query:
        if name != "group":
            hint = near(name, ["group"])
            place = f"kafka://{parts.netloc}/{topic}"
            raise GraphError(f"{place}: the address has an unknown part '{name}='{hint}; options go into the settings")
    return KafkaAddress(",".join(servers), topic, query.get("group") or None)


def _server(server: str, url: str, form: str) -> str:
    host, _, port = server.rpartition(":") if ":" in server.rpartition("]")[2] else (server, "", str(PORT))
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise GraphError(f"'{shown(url)}': '{server}' is no host and port: {form}")
    return f"{host}:{port}"
