"""What feeds a function besides HTTP: the streams and the clocks that its triggers declare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import GraphError, near
from ..doors.wiring import Wire, Wiring, check_settings

HTTP_KINDS = ("http",)
STREAM_KINDS = ("stream", "kafka", "kafka-cluster", "v3io", "v3ioStream", "log")
CRON_KINDS = ("cron",)
KINDS = (*HTTP_KINDS, *STREAM_KINDS, *CRON_KINDS)


@dataclass(frozen=True, slots=True)
class Trigger:
    """One trigger, of whichever notation.

    :param kind: ``http``, ``stream`` or ``cron``
    :param settings: its own settings and Nuclio's ``attributes``, in one
    """

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


def triggers_of(declared: Mapping[str, Any]) -> list[Trigger]:
    """The triggers that a function declares.

    :raises GraphError: a kind is unknown

    >>> triggers_of({"every": {"kind": "cron", "attributes": {"interval": "5s"}}})
    [Trigger(name='every', kind='cron', settings={'interval': '5s'})]
    """
    found = []
    for name, spec in declared.items():
        values = dict(spec) if isinstance(spec, Mapping) else dict(getattr(spec, "to_dict", lambda: vars(spec))())
        kind = values.pop("kind", "")
        if kind not in KINDS:
            raise GraphError(f"trigger '{name}': kind={kind!r} is none of {', '.join(KINDS)}{near(str(kind), KINDS)}")
        values |= dict(values.pop("attributes", None) or {})
        values.pop("name", None)
        plain = "http" if kind in HTTP_KINDS else "cron" if kind in CRON_KINDS else "stream"
        found.append(Trigger(name, plain, values))
    return found


def stream_triggers(declared: Mapping[str, Any], wiring: Wiring) -> list[Wire]:
    """The streams that feed a function's graph from outside."""
    return [wire for trigger in triggers_of(declared) if trigger.kind == "stream" for wire in _wires(trigger, wiring)]


def _wires(trigger: Trigger, wiring: Wiring) -> list[Wire]:
    settings = dict(trigger.settings)
    where = f"trigger '{trigger.name}'"
    group = settings.pop("consumerGroup", None) or settings.pop("consumer_group", None) or settings.pop("group", None)
    brokers = settings.pop("brokers", None) or settings.get("kafka_brokers")
    paths = next(filter(None, [settings.pop(name, None) for name in ("topics", "topic", "path", "url")]), None)
    start = settings.pop("initialOffset", None)
    shards = settings.pop("shards", None)
    retention = settings.pop("retention_in_hours", None)
    container, stream_path = settings.pop("containerName", None), settings.pop("streamPath", None)
    if not paths and container and stream_path:
        paths = f"v3io:///{container}/{stream_path.strip('/')}"
    if not paths:
        raise GraphError(f"{where}: say which stream: url='log:///…', or topics= and brokers=")
    if start in ("earliest", "latest"):
        settings["start"] = start
    # Names like maxWorkers are Nuclio's: they say how a deployed function runs, and nothing here.
    settings = {name: value for name, value in settings.items() if name.islower()}
    check_settings(settings, where)
    listed = [paths] if isinstance(paths, str) else list(paths)
    given = {**settings, "group": group, "kafka_brokers": brokers}
    return [
        wiring.wire(trigger.name, path, given, where=where, partitions=shards, retention_hours=retention)
        for path in listed
    ]
