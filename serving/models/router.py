"""Routers of models: the URL says which route gets the event."""

from __future__ import annotations

from collections.abc import Awaitable
from inspect import isawaitable
from io import BytesIO
from typing import Any

import orjson

from ...errors import BadRequest, ModelNotFound, RouteNotFound
from ..engine.context import GraphContext
from ..engine.event import Event
from ..engine.route import Route
from .fetch import check_url, fetch
from .match import METADATA_PATHS, PREFIX, route_key, split_path

HEALTH_PREFIX = "/v2/health"
EXTENSIONS = ["binary_tensor_data"]


class BaseModelRouter:
    """What all routers share. A custom router overrides :meth:`handle`, or only :meth:`preprocess` and the like.

    :param routes: the compiled routes by key; ``await``-ing a route's result is needed where ``route.is_async``
    :param url_prefix: what the paths of models begin with
    """

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
        self.routes = routes or {}
        self.protocol = protocol or "v2"
        self.url_prefix = (url_prefix or PREFIX).rstrip("/")
        self.health_prefix = (health_prefix or HEALTH_PREFIX).rstrip("/")
        self._params = kwargs
        base = BaseModelRouter
        self._parses = type(self).parse_event is not base.parse_event
        self._before = type(self).preprocess is not base.preprocess
        self._after = type(self).postprocess is not base.postprocess
        if self.is_async and type(self).do_event is base.do_event:
            self.do_event = self._do_event_async  # type: ignore[method-assign, assignment]

    @property
    def is_async(self) -> bool:
        """Whether the router awaits: a route is async, or files are fetched for requests."""
        return bool(self.context.data_hosts) or any(route.is_async for route in self.routes.values())

    def get_param(self, key: str, default: Any = None) -> Any:
        """A parameter of the router, else of the function, else `default`."""
        return self._params[key] if key in self._params else self.context.get_param(key, default)

    # -- what a subclass may give --------------------------------------------------------------------------------

    def parse_event(self, event: Event) -> Event:
        """Make the body a dict: JSON text is parsed, an image becomes ``{"inputs": [BytesIO]}``."""
        body = event.body
        if isinstance(body, dict) or body is None:
            return event
        if isinstance(body, (str, bytes, bytearray, memoryview)):
            if (event.content_type or "").startswith("image/") and not isinstance(body, str):
                event.body = {"inputs": [BytesIO(bytes(body))]}
                return event
            try:
                event.body = orjson.loads(body) if body else {}
            except ValueError as error:
                raise BadRequest(f"the body is not JSON: {error}") from error
        if not isinstance(event.body, dict):
            raise BadRequest(f"the body must be a JSON object with 'inputs', not a {type(event.body).__name__}")
        return event

    def preprocess(self, event: Event) -> Event:
        """The event before it is routed."""
        return event

    def postprocess(self, response: Any) -> Any:
        """The body of the answer."""
        return response

    def get_metadata(self) -> dict[str, Any]:
        """The answer to ``/`` and ``/v2/health``."""
        return {"name": type(self).__name__, "version": self.protocol, "extensions": EXTENSIONS}

    def handle(self, event: Event) -> Event | Awaitable[Event]:
        """Route the event; the answer is the event with its new body, or an awaitable of it."""
        raise NotImplementedError(f"{type(self).__name__} needs a method handle(self, event)")

    # -- the way through -----------------------------------------------------------------------------------------

    def do_event(self, event: Event) -> Any:
        """Serve one event."""
        body = event.body
        if body.__class__ is not dict or self._parses:
            event = self.parse_event(event)
            body = event.body or {}
        if "data_url" in body:
            check_url(body["data_url"], self.context.data_hosts)
        if self._before:
            event = self.preprocess(event)
        told = self.told(event)
        if told is not None:
            event.body = told
            return event
        event = self.handle(event)  # type: ignore[assignment]
        if self._after:
            event.body = self.postprocess(event.body)
        return event

    async def _do_event_async(self, event: Event) -> Event:
        event = self.parse_event(event)
        body = event.body or {}
        if "data_url" in body:
            url = check_url(body["data_url"], self.context.data_hosts)
            event.body = {**{k: v for k, v in body.items() if k != "data_url"}, "inputs": [await fetch(url)]}
        if self._before:
            event = self.preprocess(event)
        told = self.told(event)
        if told is not None:
            event.body = told
            return event
        handled = self.handle(event)
        if isawaitable(handled):
            handled = await handled
        if self._after:
            handled.body = self.postprocess(handled.body)
        return handled

    def told(self, event: Event) -> Any:
        """What the router itself answers: its metadata; ``None`` for what its routes do."""
        path, method = event.path, event.method
        if path.startswith(self.health_prefix) or (method == "GET" and path in METADATA_PATHS):
            return self.get_metadata()
        return None

    def rest(self, event: Event) -> tuple[str, ...]:
        """The segments of the path that are left for this router."""
        if event._rest is not None:
            return event._rest
        rest = split_path(event.path, self.url_prefix)
        if rest is None:
            if event.path in METADATA_PATHS:
                return ()
            raise RouteNotFound(f"there is no path '{event.path}'; paths of models begin with {self.url_prefix}/")
        return rest


class ModelRouter(BaseModelRouter):
    """Sends an event to the model that its URL names: ``/v2/models/<name>[/versions/<v>][/<operation>]``.

    A post to ``/`` goes to the model named by ``body["model"]``, else to the first one. ``GET /v2/models`` lists the
    models. A route may be a router or a flow: ``/v2/models/<router>/<model>/infer``.
    """

    def match(self, rest: tuple[str, ...], body: Any) -> tuple[str, tuple[str, ...]]:
        """The key of the route for the segments of a path, and the segments behind it. Pure.

        :raises ModelNotFound: there is no such route
        """
        if rest:
            key, rest = route_key(rest)
        else:
            named = body.get("model") if isinstance(body, dict) else None
            key = named or next(iter(self.routes))
        if key not in self.routes:
            raise ModelNotFound(str(key), known=self.routes)
        return key, rest

    def handle(self, event: Event) -> Event | Awaitable[Event]:
        """Send the event to its route."""
        rest = self.rest(event)
        if not rest and event.method == "GET":
            event.body = {"models": list(self.routes)}
            return event
        key, event._rest = self.match(rest, event.body)
        return self.routes[key].run(event)

