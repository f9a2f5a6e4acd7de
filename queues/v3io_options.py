"""Where a v3io stream is, and the settings of its queue."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from ..errors import GraphError, SecretNotFound, near
from .shown import shown

SCHEMES = {"v3io": "https", "v3io+http": "http"}


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of a v3io queue; all of them can be given as options.

    :param access_key: opens the platform; default: ``V3IO_ACCESS_KEY`` of the environment
    :param endpoint: of addresses without a host, like ``https://webapi.example.com``; default: ``V3IO_API``
    :param verify_tls: whether the platform's certificate is checked
    :param ca_file: certificates to check it with, in PEM
    :param poll_seconds: how long a consumer waits before it asks a shard again that had nothing
    :param idle_poll_seconds: to what that grows while there is nothing; v3io tells nobody of new messages
    :param fetch_messages: how many messages a consumer asks a shard for, and holds of it
    :param buffer_messages: how many messages wait in this process to be appended
    :param connect_timeout_seconds: how long to wait for a platform that has not answered yet, when a queue is opened
    :param request_timeout_seconds: how long a request may take
    :param retry_timeout_seconds: how long a request that failed is tried again
    :param lease_timeout_seconds: a consumer that was silent for so long is taken for dead
    :param heartbeat_seconds: how often one says that it is alive, and looks who else is
    :param handover_timeout_seconds: how long a living one has to give a partition up
    :param plain: append bare values for readers that know no headers; keys choose the shard and are not kept

    >>> Options.parse({"verify": False})
    Traceback (most recent call last):
    ...
    millrace.errors.GraphError: a v3io queue has no option 'verify'; did you mean 'verify_tls'?
    """

    access_key: str = field(default="", repr=False)
    endpoint: str = ""
    verify_tls: bool = True
    ca_file: str = ""
    poll_seconds: float = 0.05
    idle_poll_seconds: float = 0.25
    fetch_messages: int = 500
    buffer_messages: int = 10_000
    connect_timeout_seconds: float = 5.0
    request_timeout_seconds: float = 30.0
    retry_timeout_seconds: float = 60.0
    lease_timeout_seconds: float = 10.0
    heartbeat_seconds: float = 2.0
    handover_timeout_seconds: float = 30.0
    plain: bool = False

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """The options of a queue.

        :raises GraphError: there is no such option, or two contradict each other
        """
        names = [item.name for item in fields(cls)]
        for name in values:
            if name not in names:
                raise GraphError(f"a v3io queue has no option '{name}'{near(name, names) or f'; it has {names}'}")
        options = cls(**values)
        if options.heartbeat_seconds > options.lease_timeout_seconds / 2:
            raise GraphError(
                f"heartbeat_seconds={options.heartbeat_seconds:g} is more than half of lease_timeout_seconds="
                f"{options.lease_timeout_seconds:g}: a consumer would be taken for dead; shorten the first"
            )
        return options

    def key(self, url: str) -> str:
        """The access key.

        :raises SecretNotFound: there is none
        """
        key = self.access_key or os.environ.get("V3IO_ACCESS_KEY", "")
        if not key:
            raise SecretNotFound(
                f"{url}: no access key: set V3IO_ACCESS_KEY in the environment, or give the option access_key"
            )
        return key


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stream is.

    :param endpoint: the platform's web API
    :param container: the data container
    :param path: of the stream in it

    >>> Place.parse("v3io://webapi.example.com/projects/orders/in", Options())
    Place(endpoint='https://webapi.example.com', container='projects', path='orders/in')
    >>> Place.parse("v3io:///projects/orders", Options(endpoint="http://127.0.0.1:8081"))
    Place(endpoint='http://127.0.0.1:8081', container='projects', path='orders')
    """

    endpoint: str
    container: str
    path: str

    @classmethod
    def parse(cls, url: str, options: Options, *, is_folder: bool = False) -> Self:
        """The place that an address names: ``v3io://`` is HTTPS and ``v3io+http://`` is not encrypted.

        :param is_folder: whether it is where streams are, which may be the container itself
        :raises GraphError: the address is not complete, or holds a password
        """
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise GraphError(f"'{shown(url)}' is no address of a v3io stream; write v3io://host/container/path")
        if "@" in parts.netloc:
            raise GraphError(
                f"'{shown(url)}': an address holds no credentials, as it is written into logs: "
                "set V3IO_ACCESS_KEY in the environment, or give the option access_key"
            )
        if parts.query or parts.fragment:
            raise GraphError(f"'{shown(url)}': write ? as %3F and # as %23 in a path; settings are given as options")
        container, _, path = unquote(parts.path).strip("/").partition("/")
        if not container or not (path.strip("/") or is_folder):
            raise GraphError(f"'{shown(url)}' is no address of a stream; write v3io://host/container/path")
        return cls(_endpoint(url, parts.scheme, parts.netloc, options), container, path.strip("/"))


def _endpoint(url: str, scheme: str, host: str, options: Options) -> str:
    if host:
        return f"{SCHEMES[scheme]}://{host}"
    endpoint = (options.endpoint or os.environ.get("V3IO_API", "")).rstrip("/")
    if not endpoint:
        raise GraphError(
            f"'{url}' names no host: write v3io://host/container/path, set V3IO_API in the environment, "
            "or give the option endpoint"
        )
    if "@" in endpoint:
        raise GraphError(f"'{shown(endpoint)}': an endpoint holds no credentials: give the option access_key")
    return endpoint if "://" in endpoint else f"https://{endpoint}"
