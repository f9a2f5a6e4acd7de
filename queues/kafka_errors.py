"""What can go wrong with Kafka, in one set of words for both clients."""

from __future__ import annotations

from typing import Literal

from ..errors import Conflict, InvalidInput, MillraceError, QueueFull, Unavailable, UpstreamError
from .kafka_address import KafkaAddress
from .kafka_options import KafkaOptions

Kind = Literal["unreachable", "unconfirmed", "login", "forbidden", "missing", "too_large", "full", "members", "moved", "other"]


class KafkaFault(Exception):
    """What a client's error means.

    :param kind: the situation; ``moved`` is a commit that came after its partition had gone to another member
    :param detail: the client's own words
    """

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


def explained(fault: KafkaFault, address: KafkaAddress, options: KafkaOptions) -> MillraceError:
    """The error for the user: the situation, the place and the way out."""
    url, detail = address.url, options.masked(fault.detail)
    mechanism = options.of_client.get("sasl_mechanism") or options.of_client.get("security_protocol") or "PLAINTEXT"
    match fault.kind:
        case "unreachable":
            return Unavailable(
                f"{url}: no broker answers at {address.servers} within {options.connect_timeout_seconds:g} s: is the cluster "
                f"running, the address right, and security_protocol what that port speaks? ({detail})"
            )
        case "unconfirmed":
            seconds = options.of_client["delivery_timeout_ms"] / 1000
            return Unavailable(
                f"{url}: the brokers at {address.servers} did not confirm a message within {seconds:g} s; it may be there "
                f"or not, append it again; the option delivery_timeout_ms sets the time ({detail})"
            )
        case "login":
            return UpstreamError(
                f"{url}: the broker refused the login ({mechanism}, {options.user}): check sasl_mechanism, "
                f"sasl_plain_username and sasl_plain_password, or the certificates ({detail})"
            )
        case "forbidden":
            return UpstreamError(f"{url}: {options.user} may not do that: grant it in the cluster's ACLs ({detail})")
        case "missing":
            return UpstreamError(f"{url}: the topic is gone or has no such partition: open the queue again ({detail})")
        case "too_large":
            return InvalidInput(
                f"{url}: a message is larger than the topic takes: make it smaller, or raise the topic's max.message.bytes "
                f"and the option max_request_size ({detail})"
            )
        case "full":
            return QueueFull(f"{url}: the client's buffer is full: append less at a time ({detail})")
        case "members":
            return Conflict(f"{url}: the group has members, so nobody else sets how far it is: stop them first ({detail})")
        case "moved" | "other":
            return UpstreamError(f"{url}: {detail}")
