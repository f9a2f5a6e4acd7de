"""Logins of Kafka in MLRun's and Nuclio's words, as the options that the queues have; passwords become secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import GraphError, near
from .step import QueueStep

USER, PASSWORD, MECHANISM, PROTOCOL = (
    "sasl_plain_username", "sasl_plain_password", "sasl_mechanism", "security_protocol",
)  # fmt: skip
FLAT = {
    "sasl_user": USER, "sasl_username": USER, USER: USER,
    "sasl_pass": PASSWORD, "sasl_password": PASSWORD, PASSWORD: PASSWORD,
    MECHANISM: MECHANISM, PROTOCOL: PROTOCOL,
}  # fmt: skip
"""Names in ``trigger_args``; each may begin with ``kafka_``, too."""
SASL = {"user": USER, "password": PASSWORD, "mechanism": MECHANISM}
SASL_KEYS, TLS_KEYS = ("enable", "handshake", *SASL), ("enable",)


def kafka_login(
    settings: Mapping[str, Any], *, where: str, is_trigger: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What settings say of a login, as options of a Kafka queue, and the settings without it.

    :param where: whose they are, for errors
    :param is_trigger: they are Nuclio's too, which keeps ``sasl`` and ``tls``, but for the password
    :raises GraphError: they say what Millrace's queues do not have

    >>> kafka_login({"sasl_user": "ann", "sasl_pass": "pw", "group": "g"}, where="queue 'q'")[0]
    {'sasl_plain_username': 'ann', 'sasl_plain_password': 'pw', 'security_protocol': 'SASL_PLAINTEXT', \
'sasl_mechanism': 'PLAIN'}
    """
    rest, found = dict(settings), {}
    sasl, tls = (_nested(rest, name, () if is_trigger else known, where)
                 for name, known in (("sasl", SASL_KEYS), ("tls", TLS_KEYS)))  # fmt: skip
    if is_trigger:
        nuclios = {"sasl": {name: one for name, one in sasl.items() if name != "password"}, "tls": dict(tls)}
        rest |= {name: one for name, one in nuclios.items() if one}
    if sasl.get("enable", True):
        found = {SASL[name]: value for name, value in sasl.items() if name in SASL and value}
    for name in settings:
        option = FLAT.get(name.removeprefix("kafka_"))
        if option is not None:
            value = rest.pop(name)
            found |= {option: value} if value else {}
    is_encrypted = bool(tls.get("enable", bool(tls)))
    logs_in = USER in found or PASSWORD in found or MECHANISM in found
    if logs_in or is_encrypted:
        found.setdefault(PROTOCOL, f"{'SASL_' if logs_in else ''}{'SSL' if is_encrypted else 'PLAINTEXT'}")
    if logs_in:
        found.setdefault(MECHANISM, "PLAIN")
    return found, rest


def _nested(settings: dict[str, Any], name: str, known: tuple[str, ...], where: str) -> Mapping[str, Any]:
    """A mapping among the settings, taken out of them.

    :param known: its keys that there may be; empty: any
    """
    given = settings.pop(name, None) or {}
    if not isinstance(given, Mapping):
        raise GraphError(f"{where}: {name}= is a mapping, such as {{'enable': True}}")
    for key in given if known else ():
        if key not in known:
            raise GraphError(
                f"{where}: {name} has no '{key}' here{near(str(key), known)}; give the Kafka client's own options with "
                "options={…}"
            )
    return given


def secret_name(stream: str) -> str:
    """The name of the secret with a stream's password.

    >>> secret_name("flow/new-orders")
    'FLOW_NEW_ORDERS_SASL_PASSWORD'
    """
    return re.sub(r"\W+", "_", stream).strip("_").upper() + "_SASL_PASSWORD"


def merged(
    login: Mapping[str, Any], settings: Mapping[str, Any], stream: str
) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """The options and the named secrets of a stream with a login, and the password, if there is one.

    :param settings: of the stream; what its ``options`` and ``secrets`` say is right
    """
    options = {**{name: one for name, one in login.items() if name != PASSWORD}, **(settings.get("options") or {})}
    secrets = dict(settings.get("secrets") or {})
    password = login.get(PASSWORD) if PASSWORD not in secrets else None
    if password is not None:
        secrets[PASSWORD] = secret_name(stream)
    return options, secrets, password


def queue_login(step: QueueStep) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """The settings of a queue step with its login as options, and the values of secrets, by name.

    >>> step = QueueStep(name="orders", trigger_args={"sasl_user": "ann", "sasl_pass": "pw"})
    >>> queue_login(step)[0]["backend"]["secrets"], queue_login(step)[1]
    ({'sasl_plain_password': 'ORDERS_SASL_PASSWORD'}, {'ORDERS_SASL_PASSWORD': 'pw'})
    """
    where, name = f"queue '{step.full_name}'", step.full_name
    first, trigger_args = kafka_login(step.trigger_args, where=where)
    second, backend = kafka_login(step.backend, where=where)
    login = {**first, **second}
    if not login:
        return {"trigger_args": trigger_args, "backend": backend}, {}
    both = {key: {**(trigger_args.pop(key, None) or {}), **(backend.get(key) or {})} for key in ("options", "secrets")}
    options, secrets, password = merged(login, both, name)
    backend |= {"options": options} | ({"secrets": secrets} if secrets else {})
    values = {secrets[PASSWORD]: password} if password is not None else {}
    return {"trigger_args": trigger_args, "backend": backend}, values
