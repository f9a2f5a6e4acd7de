"""What ``Settings.options`` may hold for Kafka: Millrace's own options and the clients', under one set of names.

The clients' options have kafka-python's names; :data:`CLIENT` says what confluent-kafka calls each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, Self

from ..errors import GraphError, near

Role = Literal["connection", "producer", "consumer", "transaction"]
SECRETS = frozenset({"sasl_plain_password", "ssl_password"})


@dataclass(frozen=True, slots=True)
class ClientOption:
    """An option that is handed to the client.

    :param role: which of its parts take it
    :param confluent: its name in confluent-kafka; ``None`` if that has none
    """

    role: Role
    confluent: str | None


def _named(role: Role, names: str) -> dict[str, ClientOption]:
    """Options whose name in confluent-kafka is the same with dots."""
    return {name: ClientOption(role, name.replace("_", ".")) for name in names.split()}


CLIENT: Mapping[str, ClientOption] = MappingProxyType(
    {
        **_named("connection", "security_protocol sasl_mechanism sasl_kerberos_service_name client_id client_rack"),
        **_named("connection", "request_timeout_ms retry_backoff_ms reconnect_backoff_ms reconnect_backoff_max_ms"),
        **_named("connection", "metadata_max_age_ms connections_max_idle_ms client_dns_lookup"),
        "sasl_plain_username": ClientOption("connection", "sasl.username"),
        "sasl_plain_password": ClientOption("connection", "sasl.password"),
        "sasl_oauth_token_provider": ClientOption("connection", "oauth_cb"),
        "sasl_kerberos_domain_name": ClientOption("connection", None),
        "ssl_cafile": ClientOption("connection", "ssl.ca.location"),
        "ssl_certfile": ClientOption("connection", "ssl.certificate.location"),
        "ssl_keyfile": ClientOption("connection", "ssl.key.location"),
        "ssl_password": ClientOption("connection", "ssl.key.password"),
        "ssl_crlfile": ClientOption("connection", "ssl.crl.location"),
        "ssl_ciphers": ClientOption("connection", "ssl.cipher.suites"),
        "ssl_check_hostname": ClientOption("connection", "ssl.endpoint.identification.algorithm"),
        "ssl_context": ClientOption("connection", None),
        "api_version": ClientOption("connection", None),
        **_named("producer", "compression_type linger_ms delivery_timeout_ms batch_size"),
        **_named("transaction", "transaction_timeout_ms"),
        "max_request_size": ClientOption("producer", "message.max.bytes"),
        **_named("consumer", "session_timeout_ms heartbeat_interval_ms max_poll_interval_ms group_instance_id"),
        **_named("consumer", "fetch_min_bytes fetch_max_bytes isolation_level"),
        "fetch_max_wait_ms": ClientOption("consumer", "fetch.wait.max.ms"),
        "max_partition_fetch_bytes": ClientOption("consumer", "max.partition.fetch.bytes"),
        "check_crcs": ClientOption("consumer", "check.crcs"),
    }
)
# What differs from the clients' defaults, and why.
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "client_id": "millrace",
        "linger_ms": 0,  # an event waits for its confirmation; what comes while one batch is under way makes the next
        "batch_size": 131_072,  # 16 kB is less than one append of a queue step may hold
        "delivery_timeout_ms": 60_000,
        "fetch_max_wait_ms": 100,  # a partition that is resumed joins the next fetch
        "heartbeat_interval_ms": 3_000,
        "session_timeout_ms": 45_000,
        "max_poll_interval_ms": 300_000,
        "isolation_level": "read_committed",
        "transaction_timeout_ms": 30_000,  # whoever takes over from a killed process waits for the end of its last one
    }
)


@dataclass(frozen=True, slots=True)
class KafkaOptions:
    """The options of a Kafka queue.

    :param client: ``confluent-kafka`` or ``kafka-python``; default: the first of them that is installed
    :param replication_factor: of a topic that is made; default: the cluster's
    :param connect_timeout_seconds: how long to wait for a broker when the queue is opened, and for its answers
    :param drain_timeout_seconds: how long ``on_revoked`` may take before the partitions go all the same
    :param buffer_messages: how many messages may wait for confirmation, and how many a consumer reads ahead
    :param buffer_bytes: how many bytes of them
    :param transactional_id: what this process writes in transactions under, if it has a name of its own that it keeps
        when it starts again; what it left unfinished is ended at once then, not after `transaction_timeout_ms`
    :param of_client: what the client gets, by kafka-python's names
    """

    client: Literal["", "confluent-kafka", "kafka-python"] = ""
    replication_factor: int = -1
    connect_timeout_seconds: float = 10.0
    drain_timeout_seconds: float = 30.0
    buffer_messages: int = 10_000
    buffer_bytes: int = 67_108_864
    transactional_id: str = ""
    of_client: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, options: Mapping[str, Any]) -> Self:
        """Options as a user gave them.

        :raises GraphError: one is unknown, or its value can not be
        """
        own = {option.name for option in fields(cls)} - {"of_client"}
        for name in options:
            if name not in own and name not in CLIENT:
                known = [*own, *CLIENT]
                listed = ", ".join(sorted(known))
                raise GraphError(f"kafka://: there is no option '{name}'{near(name, known)}; there are {listed}")
        mine = {name: value for name, value in options.items() if name in own}
        theirs = {**DEFAULTS, **{name: value for name, value in options.items() if name in CLIENT}}
        parsed = cls(**mine, of_client=theirs)
        _check(parsed, mine)
        return parsed

    def of(self, *roles: Role) -> dict[str, Any]:
        """What one part of the client gets, by kafka-python's names."""
        return {name: value for name, value in self.of_client.items() if CLIENT[name].role in roles}

    @property
    def user(self) -> str:
        """Who logs in, for messages."""
        name = self.of_client.get("sasl_plain_username")
        return f"user '{name}'" if name else "no user"

    def masked(self, text: str) -> str:
        """A text of the client, without the passwords it may repeat."""
        for name in SECRETS & self.of_client.keys():
            text = text.replace(str(self.of_client[name]), "***")
        return text


def _check(options: KafkaOptions, given: Mapping[str, Any]) -> None:
    if options.client not in ("", "confluent-kafka", "kafka-python"):
        raise GraphError(f"kafka://: the option client is 'confluent-kafka' or 'kafka-python', not {options.client!r}")
    if not isinstance(options.transactional_id, str):
        raise GraphError(f"kafka://: the option transactional_id is a text, not {options.transactional_id!r}")
    for name, value in given.items():
        if name not in ("client", "transactional_id") and not (isinstance(value, int | float) and value > 0):
            raise GraphError(f"kafka://: the option {name} is a number above 0, not {value!r}")
    session, interval = options.of_client["session_timeout_ms"], options.of_client["max_poll_interval_ms"]
    if interval < session:
        raise GraphError(
            f"kafka://: max_poll_interval_ms ({interval}) is less than session_timeout_ms ({session}): "
            "raise the one or lower the other"
        )
