"""Passwords that a user gave with a stream, kept where a function has its other secrets, and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..doors.queue_steps import queue_steps
from ..graph.logins import PASSWORD, kafka_login, merged, queue_login

if TYPE_CHECKING:
    from .spec import FunctionSpec

KAFKA = ("kafka", "kafka-cluster", "stream")


def keep_logins(spec: FunctionSpec) -> None:
    """Turn the logins of a function's streams, in MLRun's and Nuclio's words, into options and inline secrets.

    Afterwards no password stands in the graph or in a trigger. To do it again changes nothing.

    :raises GraphError: a login says what Millrace's queues do not have
    """
    for step in queue_steps(spec.graph) if spec.graph is not None else ():
        settings, values = queue_login(step)
        step.trigger_args, step.backend = settings["trigger_args"], settings["backend"]
        _keep(spec, values)
    for one in (spec, *(child.spec for child in spec.functions.values())):
        for name, trigger in one.triggers.items():
            if trigger.get("kind") in KAFKA:
                one.triggers[name], values = trigger_login(name, trigger)
                _keep(spec, values)


def _keep(spec: FunctionSpec, values: Mapping[str, str]) -> None:
    if values:
        spec.secrets.add("inline", values)


def trigger_login(name: str, trigger: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A trigger with its login as options too, and the values of secrets, by name.

    What Nuclio itself reads, ``sasl`` and ``tls``, stays where it is, without the password.
    """
    where, attributes = f"trigger '{name}'", dict(trigger.get("attributes") or {})
    mine = {key: one for key, one in trigger.items() if key != "attributes"}
    first, plain = kafka_login(mine, where=where, is_trigger=True)
    second, attributes = kafka_login(attributes, where=where, is_trigger=True)
    login = {**first, **second}
    if not login:
        return dict(trigger), {}
    options, secrets, password = merged(login, plain, name)
    found = plain | {"options": options} | ({"secrets": secrets} if secrets else {})
    found |= {"attributes": attributes} if attributes else {}
    return found, {secrets[PASSWORD]: password} if password is not None else {}
