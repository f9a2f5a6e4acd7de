"""Routers of models: the URL says which route gets the event."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from functools import cached_property
from io import BytesIO
from typing import Any

import orjson

from ...errors import BadRequest, MethodNotAllowed, ModelNotFound, RouteNotFound, a_kind
from ...steps.base import is_async
from ..engine.context import GraphContext
from ..engine.event import Event
from ..engine.route import Route
from .awaiting import awaiting, settled
from .fetch import check_url, fetch
from .match import METADATA_PATHS, PREFIX, VERSIONS, route_key, split_path

HEALTH_PREFIX = "/v2/health"
EXTENSIONS = ["binary_tensor_data", "classification"]
MOST_WAYS = 1000
"""Paths whose way is remembered."""
HOOKS = ("parse_event", "preprocess", "postprocess", "handle", "_handle_event")


class BaseModelRouter:
    """What all routers share. A custom router overrides :meth:`handle`, or only :meth:`preprocess` and the like.

    Each of these may be ``async def``.

    :param routes: the compiled routes by key; ``await``-ing a route's result is needed where ``route.is_async``. A
        router that is made without them gets them when the graph is compiled
    :param url_prefix: what the paths of models begin with

    >>> class ByLanguage(BaseModelRouter):
    ...     def handle(self, event):
    ...         return self.routes[event.body.get("language", "en")].run(event)
    >>> import millrace
    >>> function = millrace.new_function("greetings")
    >>> router = function.set_topology("router", ByLanguage)
    >>> _ = router.add_route("en", handler="('hello')"), router.add_route("fr", handler="('bonjour')")
    >>> function.to_mock_server().test(body={"language": "fr"})
    'bonjour'
    """

    step_kind = "router"

    def __init__(
        self,
        context: GraphContext | None = None,
        name: str | None = None,
        routes: dict[str, Route] | None = None,
        protocol: str | None = None,
        url_prefix: str | None = None,
        health_prefix: str | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.context = context or GraphContext()
        self.name = name or type(self).__name__
        self.protocol = protocol or "v2"
        self.url_prefix = (url_prefix or PREFIX).rstrip("/")
        self.health_prefix = (health_prefix or HEALTH_PREFIX).rstrip("/")
        self._params = kwargs
        self._routes: dict[str, Route] = {}
        self._prepare()
        if routes is not None:
            self.routes = routes

    @property
    def routes(self) -> dict[str, Route]:
        """The compiled routes by key."""
        return self._routes

    @routes.setter
    def routes(self, routes: dict[str, Route]) -> None:
        self._routes = routes
        self.routes_known()
        self._prepare()

    def routes_known(self) -> None:
        """Called when the routes are set; a subclass checks here what depends on them."""

    def _prepare(self) -> None:
        """Decide once which hooks there are and whether any of them, or a route, is async."""
        base, own = BaseModelRouter, type(self)
        self._parses = own.parse_event is not base.parse_event
        self._before = own.preprocess is not base.preprocess
        self._after = own.postprocess is not base.postprocess
        self._ways: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._route: Callable[[Event], Any] = (
            self.handle if own._handle_event is base._handle_event else self._handle_event
        )
        with contextlib.suppress(AttributeError):
            del self.do_event  # vars(self) would find it too, and make every later look at the router slower
        self._awaits = self.is_async
        if self._awaits and not is_async(own.do_event):
            do_event = self._do_event_async if own.do_event is base.do_event else awaiting(self.do_event)
            self.do_event = do_event  # type: ignore[method-assign]

    @property
    def is_async(self) -> bool:
        """Whether the router awaits: a route or a method is async, or files are fetched for requests."""
        return (
            bool(self.context.data_hosts)
            or any(route.is_async for route in self._routes.values())
            or any(is_async(getattr(self, hook)) for hook in HOOKS)
        )

    @property
    def path_to_try(self) -> str | None:
        """The path of a request that shows what the router is for; ``None`` where it knows none."""
        return None

    @property
    def declared_inputs(self) -> list[dict[str, Any]]:
        """What the first of its models that declares its inputs declares."""
        declared = (getattr(route.target, "inputs", None) for route in self._routes.values())
        return next((one for one in declared if isinstance(one, list) and one), [])

    def get_param(self, key: str, default: Any = None) -> Any:
        """A parameter of the router, else of the function, else `default`."""
        return self._params[key] if key in self._params else self.context.get_param(key, default)

    # -- what a subclass may give --------------------------------------------------------------------------------

    def preprocess(self, event: Event) -> Event:
        """The event before anything else is done with it."""
        return event

    def parse_event(self, event: Event) -> dict[str, Any]:
        """The body as a dict: JSON text is parsed, an image becomes ``{"inputs": [BytesIO]}``.

        :raises BadRequest: it is no JSON object
        """
        body = event.body
        if isinstance(body, (bytes, bytearray, memoryview)) and (event.content_type or "").startswith("image/"):
            return {"inputs": [BytesIO(bytes(body))]}
        if isinstance(body, (str, bytes, bytearray, memoryview)):
            try:
                body = orjson.loads(body) if body else {}
            except ValueError as error:
                raise BadRequest(f"the body is not JSON: {error}") from error
        if not isinstance(body, dict):
            raise BadRequest(f"the body must be a JSON object with 'inputs', not {a_kind(body)}")
        return body

    def postprocess(self, event: Event) -> Event:
        """The event with its answer as its body."""
        return event

    def get_metadata(self) -> dict[str, Any]:
        """The answer to ``/`` and ``/v2/health``."""
        return {"name": type(self).__name__, "version": self.protocol, "extensions": EXTENSIONS}

    def handle(self, event: Event) -> Event | Awaitable[Event]:
        """Route the event; the answer is the event with its new body, or an awaitable of it."""
        raise NotImplementedError(f"{type(self).__name__} needs a method handle(self, event)")

    def _handle_event(self, event: Event) -> Any:
        """The name of :meth:`handle` in MLRun; a custom router may override it too."""
        return self.handle(event)

    # -- the way through: the same steps twice, since a plain router must not pay for awaiting -----------------------

    def do_event(self, event: Event) -> Any:
        """Serve one event. Its path stays whole for the steps that follow."""
        if self._awaits:
            return self._do_event_async(event)  # whoever calls super() awaits it
        if self._before:
            event = self.preprocess(event)
        body = event.body
        if body.__class__ is not dict or self._parses:
            body = event.body = self.parse_event(event) if self._is_parsed(event) else body
        if isinstance(body, dict) and "data_url" in body:
            check_url(body["data_url"], self.context.data_hosts)
        if event.method == "GET" and self._asks_for_metadata(event.path):
            event.body = self.get_metadata()
        else:
            rest, route = event._rest, self._route
            event = route(event)
            event._rest = rest
        return self.postprocess(event) if self._after else event

    async def _do_event_async(self, event: Event) -> Event:
        event = await settled(self.preprocess(event))
        if event.body.__class__ is not dict or self._parses:
            event.body = await settled(self.parse_event(event)) if self._is_parsed(event) else event.body
        if isinstance(event.body, dict) and "data_url" in event.body:
            url = check_url(event.body["data_url"], self.context.data_hosts)
            others = {name: value for name, value in event.body.items() if name != "data_url"}
            event.body = {**others, "inputs": [await fetch(url)]}
        if event.method == "GET" and self._asks_for_metadata(event.path):
            event.body = self.get_metadata()
        else:
            rest = event._rest
            event = await settled(self._route(event))
            event._rest = rest
        served: Event = await settled(self.postprocess(event))
        return served

    def _is_parsed(self, event: Event) -> bool:
        return event.body is not None and event.method != "GET"

    def _asks_for_metadata(self, path: str) -> bool:
        return path in METADATA_PATHS or path == self.health_prefix or path.startswith(f"{self.health_prefix}/")

    def rest(self, event: Event) -> tuple[str, ...]:
        """The segments of the path that are left for this router."""
        if event._rest is not None:
            return event._rest
        rest = split_path(event.path, self.url_prefix)
        if rest is not None:
            return rest
        if event.path in ("", "/"):
            return ()
        if self._asks_for_metadata(event.path):
            raise MethodNotAllowed(f"'{event.path}' takes GET, not {event.method}", allowed=("GET", "HEAD"))
        raise RouteNotFound(f"there is no path '{event.path}'; paths of models begin with {self.url_prefix}/")


class ModelRouter(BaseModelRouter):
    """Sends an event to the model that its URL names: ``/v2/models/<name>[/versions/<v>][/<operation>]``.

    A post to ``/`` goes to the model named by ``body["model"]``, else to the first one. ``GET /v2/models`` lists the
    models. A route may be a router or a flow: ``/v2/models/<router>/<model>/infer``.

    >>> import millrace
    >>> function = millrace.new_function("models", kind="serving")
    >>> _ = function.set_topology("router").add_route("double", handler=lambda body: {"outputs": body["inputs"] * 2})
    >>> function.to_mock_server().test("/v2/models/double/infer", {"inputs": [5]})
    {'outputs': [5, 5]}
    """

    @property
    def path_to_try(self) -> str | None:
        """The path of its first model."""
        key = next(iter(self._routes), None)
        if key is None:
            return None
        name, _, version = key.partition(":")
        path = f"{self.url_prefix}/{name}/{VERSIONS}/{version}" if version else f"{self.url_prefix}/{name}"
        inner = self._routes[key].target
        if isinstance(inner, BaseModelRouter):
            return inner.path_to_try and f"{path}{inner.path_to_try.removeprefix(inner.url_prefix)}"
        return f"{path}/infer"

    @cached_property
    def _is_by_path(self) -> bool:
        """Whether a path of a model always leads the same way; a subclass may look at more than the path."""
        own = type(self)
        return own.match is ModelRouter.match and own.rest is BaseModelRouter.rest

    def match(self, rest: tuple[str, ...], body: Any) -> tuple[str, tuple[str, ...]]:
        """The key of the route for the segments of a path, and the segments behind it. Pure.

        :raises ModelNotFound: there is no such route
        """
        if rest:
            key, rest = route_key(rest)
        else:
            key = self._named(body)
        if key not in self._routes:
            raise ModelNotFound(key, known=self._routes)
        return key, rest

    def _named(self, body: Any) -> str:
        named = body.get("model") if isinstance(body, dict) else None
        if named is None:
            return next(iter(self.routes), "")
        if not isinstance(named, str):
            raise BadRequest("'model' must be the name of a model")
        return named

    def handle(self, event: Event) -> Event | Awaitable[Event]:
        """Send the event to its route."""
        way = self._ways.get(event.path) if event._rest is None else None
        if way is not None and (route := self._routes.get(way[0])) is not None:
            event._rest = way[1]
            return route.run(event)
        return self._find(event)

    def _find(self, event: Event) -> Event | Awaitable[Event]:
        path = event.path if event._rest is None and self._is_by_path else None
        rest = self.rest(event)
        if not rest and event.method == "GET":
            event.body = {"models": list(self.routes)}
            return event
        key, event._rest = self.match(rest, event.body)
        if rest and path is not None and len(self._ways) < MOST_WAYS:
            self._ways[path] = key, event._rest
        return self._routes[key].run(event)
