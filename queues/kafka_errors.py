"""What can go wrong with Kafka, in one set of words for both clients."""

from __future__ import annotations

from typing import Literal

from ..errors import Conflict, GraphError, InvalidInput, MillraceError, QueueFull, Unavailable, UpstreamError
from .kafka_address import KafkaAddress
from .kafka_options import KafkaOptions

Kind = Literal[
    "unreachable", "unconfirmed", "login", "option", "forbidden", "missing", "too_large", "full", "members", "moved",
    "fenced", "closed", "exists", "no_group", "other",
]  # fmt: skip


class KafkaFault(Exception):
    """What a client's error means.

    :param kind: the situation; ``moved`` is a commit that came after its partition had gone to another member
    :param detail: the client's own words
    """

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


# For each kind the class of the error and its text; every text ends with the client's own words.
ERRORS: dict[Kind, tuple[type[MillraceError], str]] = {
    "unreachable": (
        Unavailable,
        "no broker answers at {servers} within {connect_seconds:g} s: is the cluster running, the address right, and "
        "security_protocol what that port speaks?",
    ),
    "unconfirmed": (
        Unavailable,
        "the brokers at {servers} did not confirm a message within {delivery_seconds:g} s; it may be there or not, "
        "append it again; the option delivery_timeout_ms sets the time",
    ),
    "login": (
        UpstreamError,
        "the broker refused the login ({mechanism}, {user}): check sasl_mechanism, sasl_plain_username and "
        "sasl_plain_password, or the certificates",
    ),
    "option": (GraphError, "the client refuses an option"),
    "forbidden": (UpstreamError, "{user} may not do that: grant it in the cluster's ACLs"),
    "missing": (UpstreamError, "the topic is gone or has no such partition: open the queue again"),
    "too_large": (
        InvalidInput,
        "a message is larger than the topic takes: make it smaller, or raise the topic's max.message.bytes and the "
        "option max_request_size",
    ),
    "full": (QueueFull, "the client's buffer is full: append less at a time"),
    "members": (Conflict, "the group has members, so nobody else sets how far it is: stop them first"),
    "moved": (UpstreamError, "the partition has gone to another member of the group"),
    "fenced": (
        Conflict,
        "another producer has begun with the same transactional_id, or the broker ended the transaction after "
        "transaction_timeout_ms: give each process an id of its own, or handle less in one transaction",
    ),
    "closed": (Unavailable, "the queue was closed before this was handed over: nothing of it was written"),
    "exists": (Conflict, "the topic exists already"),
    "no_group": (UpstreamError, "there is no such group"),
    "other": (UpstreamError, "the client failed"),
}


def explained(fault: KafkaFault, address: KafkaAddress, options: KafkaOptions) -> MillraceError:
    """The error for the user: the situation, the place and the way out."""
    kind, text = ERRORS[fault.kind]
    fault.detail = options.masked(fault.detail)
    fault.args = (fault.detail,)  # it stays the cause of the error, in tracebacks
    of_client = options.of_client
    situation = text.format(
        servers=address.servers,
        connect_seconds=options.connect_timeout_seconds,
        delivery_seconds=of_client["delivery_timeout_ms"] / 1000,
        mechanism=of_client.get("sasl_mechanism") or of_client.get("security_protocol") or "PLAINTEXT",
        user=options.user,
    )
    return kind(f"{address.url}: {situation} ({fault.detail})")
