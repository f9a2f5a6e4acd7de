"""The context: what a step may ask of the function it runs in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import GraphError
from .clock import Clock, SystemClock
from .event import Event, MockTrigger, Response
from .secrets import Secrets

if TYPE_CHECKING:
    from collections.abc import Mapping


class ContextLogger(logging.LoggerAdapter[logging.Logger]):
    """A logger that takes fields by keyword, as in ``context.logger.info("loaded", model="m1")``."""

    def __init__(self, logger: logging.Logger, secrets: Secrets) -> None:
        super().__init__(logger, {})
        self._secrets = secrets
        if _FINISH not in logger.filters:
            logger.addFilter(_FINISH)

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Put the fields behind the text; known secrets are masked."""
        known = {key: kwargs.pop(key) for key in list(kwargs) if key in _LOGGING_ARGUMENTS}
        fields = "".join(f" {key}={value!r}" for key, value in kwargs.items())
        extra = {**(known.get("extra") or {}), _FIELDS: fields, _SECRETS: self._secrets}
        return msg, known | {"extra": extra}

    def info_with(self, message: str, *args: Any, **fields: Any) -> None:
        """The same as ``info`` with fields."""
        self.info(message, *args, **fields)

    def debug_with(self, message: str, *args: Any, **fields: Any) -> None:
        """The same as ``debug`` with fields."""
        self.debug(message, *args, **fields)

    def error_with(self, message: str, *args: Any, **fields: Any) -> None:
        """The same as ``error`` with fields."""
        self.error(message, *args, **fields)

    def warn_with(self, message: str, *args: Any, **fields: Any) -> None:
        """The same as ``warning`` with fields."""
        self.warning(message, *args, **fields)


_LOGGING_ARGUMENTS = ("exc_info", "stack_info", "stacklevel", "extra")


_FIELDS, _SECRETS = "millrace_fields", "millrace_secrets"
_TRACEBACKS = logging.Formatter()


class _Finish(logging.Filter):
    """Puts a record's fields behind its text and masks the secrets of the function that wrote it."""

    def filter(self, record: logging.LogRecord) -> bool:
        secrets = getattr(record, _SECRETS, None)
        if secrets is not None:
            record.msg, record.args = secrets.mask(record.getMessage() + getattr(record, _FIELDS)), ()
            if record.exc_info:
                record.exc_text = secrets.mask(_TRACEBACKS.formatException(record.exc_info))
        return True


_FINISH = _Finish()


class GraphContext:
    """What steps get as ``context``.

    :param parameters: the function's parameters
    :param secrets: where its secrets are
    :param current_function: the name of the child function that runs here; ``"*"`` in a mock server

    >>> context = GraphContext(parameters={"threshold": 3})
    >>> context.get_param("threshold"), context.get_param("other", 1)
    (3, 1)
    """

    Response: ClassVar[type[Response]] = Response

    def __init__(
        self,
        *,
        name: str = "function",
        parameters: Mapping[str, Any] | None = None,
        secrets: Secrets | None = None,
        current_function: str = "*",
        is_mock: bool = False,
        verbose: bool = False,
        clock: Clock | None = None,
        trigger: str = "",
        worker_id: int = 0,
    ) -> None:
        self.name = name
        self.parameters: dict[str, Any] = dict(parameters or {})
        self.secrets = secrets or Secrets()
        self.current_function = current_function
        self.is_mock = is_mock
        self.verbose = verbose
        self.clock: Clock = clock or SystemClock()
        self.trigger = trigger
        self.worker_id = worker_id
        self.stores: dict[str, Callable[[str], Any]] = {}
        self.error_sink: Callable[[dict[str, Any]], None] | None = None
        self.tracking_sink: Callable[[dict[str, Any]], None] | None = None
        self.sampling_percentage: float = 100
        self.metrics: dict[str, Any] = {}
        self.load_mode: str | None = None
        self.data_hosts: tuple[str, ...] = ()
        self.root: Any = None
        self.server: Any = None
        self.logger = ContextLogger(logging.getLogger(f"millrace.function.{name}"), self.secrets)

    def get_param(self, key: str, default: Any = None) -> Any:
        """A parameter of the function, or `default`.

        >>> GraphContext(parameters={"currency": "EUR"}).get_param("currency")
        'EUR'
        """
        return self.parameters.get(key, default)

    def get_secret(self, key: str, default: Any = None) -> Any:
        """A secret: given inline, from declared files and environment names, ``MILLRACE_SECRET_<KEY>``, or a file of
        that name under ``MILLRACE_SECRETS_PATH``; else `default`."""
        return self.secrets.get(key, default)

    def push_error(self, event: Event, message: str, source: str | None = None, **details: Any) -> None:
        """Write a record to the function's error stream; without one, to the log."""
        import socket  # noqa: PLC0415 - for start-up: only when something failed

        record = {
            "function_uri": self.name,
            "worker": self.worker_id,
            "host": socket.gethostname(),
            "source": source,
            "event": {"id": event.id, "body": event.body},
            "message": self.secrets.mask(message),
            "args": details,
        }
        if self.error_sink is not None:
            self.error_sink(record)
        else:
            self.logger.error("step %s: %s (event %s)", source, record["message"], event.id)

    def add_store(self, scheme: str, open_resource: Callable[[str], Any]) -> None:
        """Serve ``get_store_resource("<scheme>://…")`` by a function of the address."""
        self.stores[scheme] = open_resource

    def get_store_resource(self, uri: str, use_cache: bool = True) -> Any:
        """A resource of a store (a model, a table, a feature vector) by its address.

        Which schemes there are is said by :meth:`add_store`. With `use_cache` a resource is opened once.
        """
        scheme, separator, _ = uri.partition("://")
        opener = self.stores.get(scheme if separator else "")
        if opener is None:
            known = ", ".join(f"{name}://" for name in self.stores) or "none"
            raise GraphError(f"no store serves {uri!r} (known: {known}); register one with context.add_store()")
        if not use_cache:
            return opener(uri)
        cache: dict[str, Any] = self.__dict__.setdefault("_opened", {})
        if uri not in cache:
            cache[uri] = opener(uri)
        return cache[uri]

    def __reduce__(self) -> tuple[Any, ...]:
        # What belongs to this process stays in it: the sinks of errors and tracking records, opened stores, the clock.
        state = {
            "name": self.name, "parameters": self.parameters, "secrets": self.secrets,
            "current_function": self.current_function, "is_mock": self.is_mock, "verbose": self.verbose,
        }  # fmt: skip
        return _rebuilt, (state,)


def _rebuilt(state: dict[str, Any]) -> GraphContext:
    return GraphContext(**state)


__all__ = ["ContextLogger", "GraphContext", "MockTrigger"]
