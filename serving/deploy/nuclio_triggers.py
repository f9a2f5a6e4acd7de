"""The triggers of a Nuclio function: requests, the queues that it reads, and what its user declared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import SpecError
from .kafka_login import KafkaLogin
from .trigger import HTTP_WORKERS, MAX_BODY_BYTES, STREAM_KINDS, StreamTrigger
from .unit import Unit

TERMINATION_TIMEOUT = "30s"
"""How long Nuclio lets a worker finish its events when its partitions go to another, or it is stopped."""
DRAIN_SECONDS = 20
"""How long the worker takes at most; then it has to close. Kubernetes gives the pod 30 s for all of it."""


def triggers_of(unit: Unit) -> dict[str, dict[str, Any]]:
    """The triggers by name.

    :raises SpecError: Nuclio would refuse them, or two have one name
    """
    found: dict[str, dict[str, Any]] = {}
    if unit.http is not None:
        found["http"] = _http(unit)
    low, high = unit.replica_range
    for stream in unit.streams:
        made = _kafka(stream, high) if stream.stream.is_kafka else _v3io(stream, high)
        _check_attributes(stream, made["attributes"], unit)
        _add(found, stream.name, made, unit)
    for name, trigger in unit.triggers.items():
        if trigger["kind"] != "http":
            _add(found, name, {"workerTerminationTimeout": TERMINATION_TIMEOUT, **trigger}, unit)
    if any(one["kind"] == "v3ioStream" for one in found.values()) and low != high:
        raise SpecError(
            f"function '{unit.name}' reads a v3io stream and has min_replicas={low} and max_replicas={high}; Nuclio "
            "divides its shards by a fixed number: set replicas="
        )
    return found


def _check_attributes(trigger: StreamTrigger, attributes: Mapping[str, Any], unit: Unit) -> None:
    """Refuse attributes with which the worker would end as soon as it starts."""
    what = f"function '{unit.name}', queue '{trigger.stream.name}'"
    mode = attributes["workerAllocationMode"]
    if mode != "static":
        raise SpecError(
            f"{what}: with workerAllocationMode='{mode}' Nuclio takes no acknowledgements; "
            "leave it out, and it is 'static'"
        )
    folder = str(attributes.get("secretPath") or "").rstrip("/")
    mounted = [str(one.get("mountPath", "")).rstrip("/") for one in unit.placement.get("volume_mounts", ())]
    if folder and not any(folder == one or folder.startswith(f"{one}/") for one in mounted):
        raise SpecError(
            f"{what}: secretPath='{folder}', and nothing is mounted there in this function; give its own spec.volumes "
            "and spec.volume_mounts, which a child does not have from its parent"
        )


def _add(found: dict[str, dict[str, Any]], name: str, trigger: dict[str, Any], unit: Unit) -> None:
    if name in found:
        raise SpecError(f"function '{unit.name}': two triggers are called '{name}'; rename one, or its queue")
    found[name] = trigger


def _http(unit: Unit) -> dict[str, Any]:
    given = dict(unit.http or {})
    attributes = {"maxRequestBodySize": MAX_BODY_BYTES, **(given.get("attributes") or {})}
    return {
        "workerTerminationTimeout": TERMINATION_TIMEOUT, **given,
        "kind": "http", "numWorkers": given.get("numWorkers") or HTTP_WORKERS, "attributes": attributes,
    }  # fmt: skip


def _stream(trigger: StreamTrigger, kind: str, replicas: int) -> dict[str, Any]:
    # Only what the function has acknowledged itself is committed, which Nuclio does with static allocation alone.
    return {
        "kind": kind,
        "numWorkers": trigger.workers_of(replicas),
        "explicitAckMode": "explicitOnly",
        "workerTerminationTimeout": TERMINATION_TIMEOUT,
    }


def _kafka(trigger: StreamTrigger, replicas: int) -> dict[str, Any]:
    attributes = {
        "brokers": trigger.stream.brokers,
        "topics": [trigger.stream.topic],
        "consumerGroup": trigger.group,
        "initialOffset": trigger.start,
        "workerAllocationMode": "static",
        **KafkaLogin.of(trigger.stream).in_nuclio(trigger.stream, trigger.attributes),
        **trigger.attributes,
    }
    return _stream(trigger, STREAM_KINDS[0], replicas) | {"attributes": attributes}


def _v3io(trigger: StreamTrigger, replicas: int) -> dict[str, Any]:
    place = trigger.stream.place
    attributes = {
        "containerName": place.container,
        "streamPath": place.path,
        "consumerGroup": trigger.group.replace("-", "_"),  # v3io takes no hyphens in it
        "seekTo": trigger.start,
        "workerAllocationMode": "static",
        **trigger.attributes,
    }
    # "$generate" is Nuclio's word for the access key in its own environment.
    return _stream(trigger, STREAM_KINDS[1], replicas) | {
        "url": place.endpoint, "password": "$generate", "attributes": attributes,
    }  # fmt: skip
