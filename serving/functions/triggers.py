"""What feeds a function's graph besides HTTP: the streams and the clocks that its triggers declare."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ...errors import GraphError, near
from ..engine.clock import SystemClock

if TYPE_CHECKING:
    from ..doors.cron import Cron
    from ..doors.wiring import Wire, Wiring

logger = logging.getLogger("millrace.stream")

DEFAULT_PORT = 8080
HTTP_KINDS = ("http",)
STREAM_KINDS = ("stream", "kafka", "kafka-cluster", "v3io", "v3ioStream", "v3io-stream", "log")
CRON_KINDS = ("cron",)
NUCLIO_KINDS = ("rabbit-mq", "nats", "mqtt", "kinesis", "pubsub", "eventhub", "v3ioItemPoller", "kickstart")
"""What Nuclio alone can read."""
KINDS = (*HTTP_KINDS, *STREAM_KINDS, *CRON_KINDS)
PLACES = ("topics", "topic", "path", "url")
GROUPS = ("consumerGroup", "consumer_group", "group")
ELSEWHERE = (
    "accessKey", "ackWindowSize", "annotations", "balanceStrategy", "certificates", "channelBufferSize",
    "consumerBufferSize", "explicitAckMode", "extra_attributes", "fetchDefault", "fetchMax", "fetchMin",
    "heartbeatInterval", "logLevel", "maxProcessingTime", "maxWaitHandlerDuringRebalance", "maxWorkers", "numWorkers",
    "partitions", "password", "pollingIntervalMs", "readBatchSize", "rebalanceRetryBackoff", "rebalanceRetryMax",
    "rebalanceTimeout", "recordBatchFetchInterval", "recordBatchSizeChan", "requiredAcks", "retryBackoff", "sasl",
    "secret", "secretPath", "sequenceNumberCommitInterval", "sessionTimeout", "tls", "username", "version",
    "waitExplicitAckDuringRebalanceTimeout", "workerAllocationMode", "workerAvailabilityTimeoutMilliseconds",
    "workerTerminationTimeout",
)  # fmt: skip
"""What Nuclio's triggers of streams have, which says how a deployed function runs, and means nothing here."""
LOGINS = ("accessKey",)
"""What of these says how to log in; ``sasl`` and ``tls`` have become options, see :mod:`.logins`."""
CRON = ("interval", "schedule", "body", "headers", "path", "method")


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger, of whichever notation.

    :param kind: ``http``, ``stream`` or ``cron``
    :param settings: its own settings and Nuclio's ``attributes``, in one
    """

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """What errors call it."""
        return f"trigger '{self.name}'"


def triggers_of(declared: Mapping[str, Any]) -> list[Trigger]:
    """The triggers that a function declares and has not disabled; those that Nuclio alone can read are left out.

    :raises GraphError: a kind is unknown here

    >>> triggers_of({"every": {"kind": "cron", "attributes": {"interval": "5s"}}})
    [Trigger(name='every', kind='cron', settings={'interval': '5s'})]
    """
    found = []
    for name, spec in declared.items():
        values = dict(spec)
        kind = values.pop("kind", "")
        if kind not in (*KINDS, *NUCLIO_KINDS):
            raise GraphError(f"trigger '{name}': kind={kind!r} is none of {', '.join(KINDS)}{near(str(kind), KINDS)}")
        if values.pop("disabled", False) or kind in NUCLIO_KINDS:
            continue
        values |= dict(values.pop("attributes", None) or {})
        values.pop("name", None)
        plain = "http" if kind in HTTP_KINDS else "cron" if kind in CRON_KINDS else "stream"
        found.append(Trigger(name, plain, {key: value for key, value in values.items() if value is not None}))
    return found


def http_port(declared: Mapping[str, Any]) -> int | None:
    """The port of a function's HTTP trigger: 0, a free one, where it names none; ``None`` without such a trigger.

    :raises GraphError: it is no port

    >>> http_port({"web": {"kind": "http", "port": 8090}})
    8090
    """
    for trigger in triggers_of(declared):
        if trigger.kind == "http":
            port = trigger.settings.get("port") or 0
            if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 65536:
                raise GraphError(f"{trigger.where}: port={port!r} is no port")
            return port
    return None


def port_to_serve(declared: Mapping[str, Any], port: int | None) -> int:
    """The port of a function that is served: the one that is asked for, that of its HTTP trigger, or 8080."""
    return port if port is not None else http_port(declared) or DEFAULT_PORT


def cron_triggers(declared: Mapping[str, Any]) -> list[Cron]:
    """The clocks that send events to a function.

    :raises GraphError: one has a setting that there is not, or is never due

    >>> cron_triggers({"tick": {"kind": "cron", "interval": "10s", "body": {"x": 1}}})[0].body
    {'x': 1}
    """
    return [_cron(trigger) for trigger in triggers_of(declared) if trigger.kind == "cron"]


def _cron(trigger: Trigger) -> Cron:
    from ..doors.cron import Cron  # noqa: PLC0415 - for start-up: few functions have clocks

    settings = {key: value for key, value in trigger.settings.items() if key not in ELSEWHERE and key != "event"}
    settings |= trigger.settings.get("event") or {}
    for name in settings:
        if name not in CRON:
            raise GraphError(f"{trigger.where} has no setting '{name}'{near(name, (*CRON, 'event'))}")
    cron = Cron(name=trigger.name, **settings)
    cron.times(SystemClock())
    return cron


def stream_triggers(declared: Mapping[str, Any], wiring: Wiring) -> list[Wire]:
    """The streams that feed a function's graph from outside.

    :raises GraphError: one names no stream, or has a setting that there is not
    """
    for name, spec in declared.items():
        if spec.get("kind") in NUCLIO_KINDS:
            logger.warning("trigger '%s' does nothing here: Nuclio alone can read %s", name, spec["kind"])
    return [wire for trigger in triggers_of(declared) if trigger.kind == "stream" for wire in _wires(trigger, wiring)]


def _wires(trigger: Trigger, wiring: Wiring) -> list[Wire]:
    from ..doors.wiring import START  # noqa: PLC0415 - for start-up: few functions have streams

    settings = dict(trigger.settings)
    for name in [name for name in settings if name in ELSEWHERE]:
        if name in LOGINS:
            logger.warning("%s: %s= is for a deployed function; here use options= and secrets=", trigger.where, name)
        del settings[name]
    paths = _paths(settings)
    if not paths:
        raise GraphError(f"{trigger.where}: say which stream: url='log:///…', or topics= and brokers=")
    group = _first(settings, GROUPS)
    brokers = _first(settings, ("brokers", "kafka_brokers", "kafka_bootstrap_servers"))
    start = _first(settings, ("initialOffset", *START))
    shards, retention = settings.pop("shards", None), settings.pop("retention_in_hours", None)
    given = {**settings, "group": group, "kafka_brokers": brokers, "seek_to": start}
    return [
        wiring.wire(
            trigger.name, path, given, where=trigger.where, partitions=shards, retention_hours=retention
        )
        for path in paths
    ]  # fmt: skip


def _paths(settings: dict[str, Any]) -> list[str]:
    """The addresses or topics that a trigger names, taken out of its settings."""
    container, path = settings.pop("containerName", None), settings.pop("streamPath", None)
    if container and path:
        host = str(settings.pop("url", "")).rstrip("/")
        scheme = "v3io+http" if host.startswith("http://") else "v3io"
        return [f"{scheme}://{host.partition('://')[2]}/{container}/{str(path).strip('/')}"]
    found = _first(settings, PLACES) or []
    return [found] if isinstance(found, str) else list(found)


def _first(settings: dict[str, Any], names: tuple[str, ...]) -> Any:
    """The first of several names that is given; all are taken out."""
    values = [settings.pop(name, None) for name in names]
    return next((value for value in values if value), None)
