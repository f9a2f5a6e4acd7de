"""What starts a deployed function: requests, the messages of a stream, the clock; as Nuclio describes them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import SpecError, near
from .streams import Stream

HTTP_WORKERS = 8
MAX_BODY_BYTES = 64 * 1024 * 1024
"""What ``millrace serve`` takes; Nuclio's own limit is 4 MiB."""
KINDS = ("http", "kafka-cluster", "v3ioStream", "cron", "rabbit-mq", "nats", "mqtt", "kinesis", "pubsub", "eventhub",
         "v3ioItemPoller", "kickstart", "stream", "log")  # fmt: skip
ALIASES = {"kafka": "kafka-cluster", "v3io": "v3ioStream", "v3io-stream": "v3ioStream"}
STREAM_KINDS = ("kafka-cluster", "v3ioStream", "stream", "log")
WORKERS = ("num_workers", "numWorkers", "max_workers", "maxWorkers")
PASSWORD_IN_URL = re.compile(r"://[^/@\s]*:(?!\$\{)[^/@\s]+@")
"""But not ``${NAME}``, the name of a variable."""
PASSWORDS = ("sasl_pass", "sasl_password", "password", "access_key", "accessKey", "pass")


@dataclass(frozen=True, kw_only=True)
class StreamTrigger:
    """A queue that the function reads.

    :param group: the consumer group
    :param workers: processes per replica; ``None``: as many as the partitions need
    :param start: where a new group begins, ``earliest`` or ``latest``
    :param attributes: further attributes of Nuclio's trigger
    :param delivery: how its messages are dealt with, where the graph does not say: retries, ordering, dead letters
    """

    stream: Stream
    group: str
    workers: int | None = None
    start: str = "earliest"
    attributes: Mapping[str, Any] = field(default_factory=dict)
    delivery: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The trigger's name: the queue's."""
        return self.stream.name.replace("/", "-")

    def workers_of(self, replicas: int) -> int:
        """The processes per replica, so that all replicas together have one for each partition."""
        return self.workers or math.ceil(self.stream.partitions / max(replicas, 1))


def stream_trigger(stream: Stream, settings: Mapping[str, Any], *, group: str) -> StreamTrigger:
    """The trigger of a queue.

    :param settings: of the queue step, under MLRun's names
    :raises SpecError: one can not be, or holds a password
    """
    what = f"queue '{stream.name}'"
    extra = {**(settings.get("attributes") or {}), **(settings.get("extra_attributes") or {})}
    refuse_passwords({**settings, **extra}, what)
    workers = next((settings[name] for name in WORKERS if settings.get(name) is not None), None)
    if workers is not None:
        _check_workers(workers, what)
    start = str(settings.get("start") or settings.get("seek_to") or settings.get("seekTo") or "earliest").lower()
    if start not in ("earliest", "latest"):
        raise SpecError(f"{what}: start={start!r} is neither 'earliest' nor 'latest'")
    window = settings.get("ack_window_size")
    return StreamTrigger(
        stream=stream, group=group, workers=workers, start=start,
        attributes={**({"ackWindowSize": window} if window else {}), **extra},
    )  # fmt: skip


def read_triggers(triggers: Mapping[str, Any], *, function: str) -> dict[str, dict[str, Any]]:
    """The triggers that a user declared, by name, with Nuclio's names for their kinds.

    :raises SpecError: a kind is unknown, there are two of ``http``, or one holds a password
    """
    found: dict[str, dict[str, Any]] = {}
    for name, given in triggers.items():
        what = f"function '{function}', trigger '{name}'"
        if not isinstance(given, Mapping):
            raise SpecError(f"{what}: it must be a mapping with its kind, not {given!r:.60}")
        kind = ALIASES.get(str(given.get("kind")), str(given.get("kind")))
        if kind not in KINDS:
            raise SpecError(f"{what}: there is no kind '{given.get('kind')}'{near(kind, [*KINDS, *ALIASES])}")
        refuse_passwords({**given, **(given.get("attributes") or {})}, what)
        plain = {key: one for key, one in given.items() if one is not None and key not in ("name", "maxWorkers")}
        workers = given.get("numWorkers") or given.get("maxWorkers")
        if workers is not None:
            _check_workers(workers, what)
        found[name] = plain | {"kind": kind} | ({"numWorkers": workers} if workers else {})
    http = [name for name, one in found.items() if one["kind"] == "http"]
    if len(http) > 1:
        raise SpecError(f"function '{function}': the triggers {' and '.join(http)} are both http; Nuclio takes one")
    return found


def _check_workers(workers: Any, what: str) -> None:
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise SpecError(f"{what}: num_workers={workers!r} must be a whole number of 1 or more")


def refuse_passwords(values: Mapping[str, Any], what: str) -> None:
    """Refuse a password that stands in what is to be written.

    :raises SpecError: there is one
    """
    sasl = values.get("sasl") if isinstance(values.get("sasl"), Mapping) else {}
    for name, value in [*values.items(), *(sasl or {}).items()]:
        if name == "url" and isinstance(value, str) and PASSWORD_IN_URL.search(value):
            raise SpecError(f"{what}: the url holds a password, which is never written; leave it out of the url")
        if name in PASSWORDS and isinstance(value, str) and value and value != "$generate":
            raise SpecError(
                f"{what}: {name} is the value of a secret, which is never written; mount a Kubernetes Secret and name "
                "its folder with the attribute secretPath"
            )
