"""Streams and clocks that feed a deployed function from outside its graph, and the secrets that open streams."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...errors import SpecError
from ..deploy.cut import queues
from ..deploy.streams import Stream, reachable, settings_of
from ..deploy.target import Target
from ..deploy.trigger import WORKERS, StreamTrigger
from ..doors.wiring import POLICY, Wiring
from .triggers import cron_triggers, stream_triggers

IN_TRIGGERS = ("brokers", "topics", "consumerGroup", "initialOffset", "containerName", "streamPath", "seekTo", "shards",
               "workerAllocationMode")  # fmt: skip
"""Attributes that a trigger gets anyway."""
DELIVERY = ({*POLICY, "content_type", "dead_letters", "dead_letter"} - {"start"})
"""Settings that go into the function's spec as they are."""


def outside_streams(declared: Mapping[str, Any], function: str, child: str, target: Target) -> list[StreamTrigger]:
    """The streams that a function's own triggers read.

    :param declared: triggers of streams, in whichever notation
    :param child: the child function that declares them; empty for the parent
    :raises GraphError: a trigger names no stream
    :raises SpecError: the target can not reach it
    """
    found = []
    for name, given in declared.items():
        attributes = given.get("attributes") or {}
        # Secrets come to the place where the function runs, so that each is taken to exist.
        wires = stream_triggers({name: dict(given)}, Wiring(function, child or "*", secret=lambda name: ""))
        for number, wire in enumerate(wires):
            url = reachable(wire.url, f"trigger '{name}'", target)
            stream = Stream(
                name=name if len(wires) == 1 else f"{name}-{number + 1}", url=url,
                partitions=wire.settings.partitions or 1, options=given.get("options") or {},
                secrets=given.get("secrets") or {},
            )  # fmt: skip
            workers = next((given[key] for key in WORKERS if given.get(key)), None)
            extra = {key: one for key, one in attributes.items() if key not in IN_TRIGGERS and one is not None}
            start = str(attributes.get("seekTo") or wire.policy.start)
            refuse_exactly_once(wire.policy.exactly_once, f"trigger '{name}'", target)
            delivery = {key: one for key, one in {**given, **attributes}.items() if key in DELIVERY and one is not None}
            found.append(
                StreamTrigger(
                    stream=stream, group=wire.group, workers=workers, start=start, attributes=extra, delivery=delivery
                )
            )
    return found


def refuse_exactly_once(is_wanted: bool, what: str, target: Target) -> None:
    """Nuclio reads and commits by itself.

    :raises SpecError: messages are to count once, and the target can not do that
    """
    if is_wanted and target.name == "nuclio":
        raise SpecError(
            f"{what}: exactly_once=True does not hold in Nuclio, which reads and commits by itself; leave it out, and "
            "messages come at least once, or deploy the function with the target kubernetes"
        )


def clocks(declared: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Cron triggers in Nuclio's form, whichever they were written in.

    :raises GraphError: one has no time, or two

    >>> clocks({"tick": {"kind": "cron", "interval": "10s", "body": {"x": 1}}})["tick"]["attributes"]
    {'interval': '10s', 'event': {'body': '{"x": 1}'}}
    """
    found = {}
    for cron in cron_triggers(declared):
        body = cron.body if isinstance(cron.body, str) or cron.body is None else json.dumps(cron.body)
        event = {
            **({"body": body} if body is not None else {}),
            **({"headers": dict(cron.headers)} if cron.headers else {}),
            **({"path": cron.path} if cron.path != "/" else {}),
            **({"method": cron.method} if cron.method != "POST" else {}),
        }
        time = {"interval": cron.interval} if cron.interval is not None else {"schedule": str(cron.schedule)}
        found[cron.name] = {"kind": "cron", "attributes": {**time, **({"event": event} if event else {})}}
    return found


def triggers_to_read(streams: list[StreamTrigger]) -> dict[str, dict[str, Any]]:
    """The triggers for the function's own spec, from which it knows what it reads."""
    return {
        one.name: {**one.delivery, "kind": "stream", "url": one.stream.url, "group": one.group, "start": one.start,
                   "shards": one.stream.partitions, **_login(one.stream)}
        for one in streams
    }  # fmt: skip


def _login(stream: Stream) -> dict[str, Any]:
    given = {"options": dict(stream.options), "secrets": dict(stream.secrets)}
    return {name: one for name, one in given.items() if one}


def needs_v3io_key(graph: Mapping[str, Any], outside: list[StreamTrigger]) -> bool:
    """Whether a stream of v3io is opened with the access key of the environment."""
    keyless = [queue["path"] for _, queue, _ in queues(graph)
               if "access_key" not in (settings_of(queue).get("secrets") or ())]  # fmt: skip
    return any(url.startswith("v3io") for url in (*keyless, *(one.stream.url for one in outside)))


def secrets_of_streams(graph: Mapping[str, Any], outside: list[StreamTrigger]) -> list[str]:
    """The names of the secrets that are options of a graph's queues, and of the streams that feed it from outside."""
    found = [name for _, queue, _ in queues(graph) for name in (settings_of(queue).get("secrets") or {}).values()]
    found += [name for one in outside for name in one.stream.secrets.values()]
    return list(dict.fromkeys(found))
