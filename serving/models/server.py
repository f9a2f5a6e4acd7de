"""V2ModelServer: the base class of models."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import isawaitable
from pathlib import Path
from typing import Any

from ...errors import (
    BadRequest,
    InvalidInput,
    MethodNotAllowed,
    MillraceError,
    ModelNotReady,
    OperationNotFound,
    StepError,
)
from ...steps.base import is_async
from ..engine.context import GraphContext
from ..engine.event import Event, Response
from .dialect import PLAIN, Asked, checked_body, read_request, write_plain, write_tensors
from .match import INFER_OPERATIONS, own_rest
from .schema import Declared, check_inputs, rows_by_feature
from .tracking import Tracker

DICT_OPERATIONS = ("infer_dict", "predict_dict")
BUILT_IN = (*INFER_OPERATIONS, *DICT_OPERATIONS, "explain")
NO_INPUTS = (str, int, float, bool, type(None))
HOOKS = ("preprocess", "validate", "predict", "explain", "postprocess")


class V2ModelServer:
    """A model behind ``/v2/models/<name>/…``. A subclass gives :meth:`load` and :meth:`predict`.

    Every method may be ``async def``. ``op_<name>(event)`` adds the operation ``<name>``.

    :param model_path: a file, or a folder, for :meth:`get_model`
    :param model: a loaded model; then nothing is loaded
    :param inputs: what the model declares of its inputs: a list of ``{"name", "datatype", "shape"}``; requests are
        checked against it, and get 422 where they do not fit
    :param outputs: the same for its outputs; names them in tensor answers
    :param features: the features of a row in order, for ``infer_dict``
    :ivar model: the loaded model
    :ivar ready: whether it can serve
    :ivar name: the model's name, and `version` its version, from the route's key ``name:version``

    >>> class Doubler(V2ModelServer):
    ...     def load(self):
    ...         self.model = 2
    ...     def predict(self, body):
    ...         return [self.model * x for x in body["inputs"]]
    """

    def __init__(
        self,
        context: GraphContext | None = None,
        name: str | None = None,
        model_path: str | None = None,
        model: Any = None,
        protocol: str | None = None,
        input_path: str | None = None,
        result_path: str | None = None,
        shard_by_endpoint: bool | None = None,
        inputs: Declared | None = None,
        outputs: Declared | None = None,
        features: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.context = context or GraphContext()
        self.key = name or type(self).__name__
        self.name, _, self.version = self.key.partition(":")
        self.protocol = protocol or "v2"
        self.model_path = model_path
        self.model = model
        self.ready = model is not None
        self.error: str | None = None
        self.inputs: Declared = inputs or []
        self.outputs: Declared = outputs or []
        self.features: list[str] = features or []
        self.metrics: dict[str, Any] = {}
        self._params = kwargs
        self._ready_made = self.ready
        self._prepare()

    def _prepare(self) -> None:
        """Decide once which hooks there are and whether any of them is async."""
        base = V2ModelServer
        self._operations: dict[str, Callable[..., Any]] = {
            name.removeprefix("op_"): getattr(self, name) for name in dir(type(self)) if name.startswith("op_")
        }
        self._own = {hook: getattr(type(self), hook) is not getattr(base, hook) for hook in HOOKS}
        self._awaited = {hook: is_async(getattr(self, hook)) for hook in HOOKS}
        asynchronous = any(self._awaited.values()) or any(is_async(one) for one in self._operations.values())
        self._tracker = Tracker(self.context, self)
        self._prepares = self._own["preprocess"] or self._own["validate"]
        if asynchronous and type(self).do_event is V2ModelServer.do_event:
            self.do_event = self._do_event_async  # type: ignore[method-assign, assignment]

    # -- what a subclass gives -----------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the model, once, before the first request."""
        raise NotImplementedError(f"{type(self).__name__} needs a method load(self), or model=")

    def predict(self, request: dict[str, Any]) -> Any:
        """The outputs for ``request["inputs"]``: a list or array with one item a row.

        :param request: ``inputs`` is the list as sent; one array where the request is a tensor; a dict of arrays by
            name where it is several
        """
        raise NotImplementedError(f"{type(self).__name__} needs a method predict(self, request)")

    def explain(self, request: dict[str, Any]) -> Any:
        """The explanation for ``request["inputs"]``."""
        raise OperationNotFound("explain", model=self.name, known=self.operations)

    def preprocess(self, request: dict[str, Any], operation: str) -> dict[str, Any]:
        """The request as the model wants it; an exception is the client's fault (422)."""
        return request

    def validate(self, request: dict[str, Any], operation: str) -> dict[str, Any]:
        """The request, if it is right; an exception is the client's fault (422)."""
        return request

    def postprocess(self, response: Any) -> Any:
        """The answer as the client wants it."""
        return response

    def logged_results(self, request: dict[str, Any], response: dict[str, Any], op: str) -> tuple[Any, Any]:
        """The inputs and outputs that a tracking record holds; ``(None, None)`` stands for what was sent."""
        return None, None

    # -- what it may ask -----------------------------------------------------------------------------------------

    def get_param(self, key: str, default: Any = None) -> Any:
        """A parameter of the model, else of the function, else `default`."""
        return self._params[key] if key in self._params else self.context.get_param(key, default)

    def set_metric(self, name: str, value: Any) -> None:
        """Set a metric that tracking records carry."""
        self.metrics[name] = value

    def get_model(self, suffix: str = "") -> tuple[str, dict[str, str]]:
        """The model's file, and the other files of its folder by name.

        :param suffix: the end of the file's name, such as ``".pkl"``; needed where a folder holds several files
        :raises ModelNotReady: there is no such file
        """
        if not self.model_path:
            raise ModelNotReady(self.name, reason="it has no model_path")
        if "://" in self.model_path and not self.model_path.startswith("file://"):
            found = self.context.get_store_resource(self.model_path)
            return (found, {}) if isinstance(found, str) else found
        path = Path(self.model_path.removeprefix("file://"))
        if path.is_file():
            return str(path), {}
        files = sorted(one for one in path.iterdir() if one.is_file()) if path.is_dir() else []
        matching = [one for one in files if one.name.endswith(suffix)]
        if len(matching) != 1:
            what = f"{len(matching)} files *{suffix}" if path.is_dir() else "no file"
            raise ModelNotReady(self.name, reason=f"there is {what} at model_path {str(path)!r}")
        return str(matching[0]), {one.name: str(one) for one in files if one != matching[0]}

    @property
    def operations(self) -> list[str]:
        """The names of the operations."""
        return [*BUILT_IN, *self._operations, "ready"]

    # -- loading -------------------------------------------------------------------------------------------------

    def post_init(self, mode: str = "sync", **_: Any) -> None:
        """Load the model: now, or in a thread where the function's ``load_mode`` is ``"async"``."""
        if self._ready_made or self.ready:
            self.ready = True
        elif self.context.load_mode == "async" and mode != "process":
            threading.Thread(target=self._load_in_background, name=f"load-{self.name}", daemon=True).start()
        else:
            self._load()

    def _load(self) -> None:
        try:
            if is_async(self.load):
                _run_in_thread(self.load)
            else:
                self.load()
        except MillraceError:
            raise
        except Exception as error:
            raise StepError(f"failed to load model '{self.key}': {type(error).__name__}: {error}", step=self.key) from error
        self.ready = True

    def _load_in_background(self) -> None:
        try:
            self._load()
        except Exception as error:
            self.error = str(error)
            self.context.logger.error("%s", error)

    # -- serving -------------------------------------------------------------------------------------------------

    def do_event(self, event: Event) -> Event:
        """Serve one request: the operation is what the path says behind the model's name."""
        op = self._operation(event)
        if op in BUILT_IN and event.method != "GET":
            event.body = self._infer(event, op)
        else:
            event.body = self._other(event, op)
        return event

    async def _do_event_async(self, event: Event) -> Event:
        op = self._operation(event)
        if op in BUILT_IN and event.method != "GET":
            event.body = await self._infer_async(event, op)
        else:
            body = self._other(event, op)
            event.body = await body if isawaitable(body) else body
        return event

    def _operation(self, event: Event) -> str:
        rest = event._rest if event._rest is not None else own_rest(event.path, self.name)
        if rest:
            return rest[0] if len(rest) == 1 else "/".join(rest)
        if event.method == "GET":
            return ""
        body = event.body
        if event.path == "/" and body.__class__ is dict:
            return body.get("operation") or "infer"
        return "infer"

    def _other(self, event: Event, op: str) -> Any:
        """What is not an inference: metadata, readiness, the model's own operations."""
        if op == "ready":
            return Response(body={"name": self.name, "ready": self.ready}, status_code=200 if self.ready else 503)
        if op == "":
            found = {"name": self.name, "platform": "millrace", "inputs": self.inputs, "outputs": self.outputs}
            return found | ({"version": self.version, "versions": [self.version]} if self.version else {})
        if op in BUILT_IN:
            raise MethodNotAllowed(f"model '{self.name}': '{op}' takes POST")
        if op not in self._operations:
            raise OperationNotFound(op, model=self.name, known=self.operations)
        self._must_be_ready()
        return self._operations[op](event)

    def _must_be_ready(self) -> None:
        if not self.ready:
            raise ModelNotReady(self.name, reason=self.error or "it is still loading")

    # -- inference: the same steps twice, since a plain one must not pay for awaiting -------------------------------

    def _infer(self, event: Event, op: str) -> Any:
        request, asked = self._read(event.body)
        if self._prepares:
            try:
                request = self.preprocess(request, op)
                self._check(request, op)
                request = self.validate(request, op)
            except Exception as error:
                raise self._refused(error) from error
        else:
            self._check(request, op)
        started = time.perf_counter() if self._tracker.is_on else 0.0
        try:
            outputs = self.explain(request) if op == "explain" else self.predict(request)
        except Exception as error:
            self._track_failure(event, request, op, error)
            raise
        answer = self._answer(event, request, asked, outputs, op)
        if self._own["postprocess"]:
            answer = self._answered(event, asked, self.postprocess(answer))
        self._track(event, request, answer, outputs, op, started)
        return answer

    async def _infer_async(self, event: Event, op: str) -> Any:
        request, asked = self._read(event.body)
        try:
            request = await self._call("preprocess", request, op)
            self._check(request, op)
            request = await self._call("validate", request, op)
        except Exception as error:
            raise self._refused(error) from error
        started = time.perf_counter()
        try:
            outputs = await self._call("explain" if op == "explain" else "predict", request)
        except Exception as error:
            self._track_failure(event, request, op, error)
            raise
        answer = self._answer(event, request, asked, outputs, op)
        if self._own["postprocess"]:
            answer = self._answered(event, asked, await self._call("postprocess", answer))
        self._track(event, request, answer, outputs, op, started)
        return answer

    async def _call(self, hook: str, *args: Any) -> Any:
        result = getattr(self, hook)(*args)
        return await result if self._awaited[hook] else result

    def _read(self, body: Any) -> tuple[dict[str, Any], Asked]:
        if not self.ready:
            self._must_be_ready()
        return read_request(checked_body(body, model=self.name))

    def _refused(self, error: Exception) -> MillraceError:
        """What preprocess and validate raise is the client's fault."""
        if isinstance(error, MillraceError):
            return error
        return InvalidInput(f"model '{self.name}': {type(error).__name__}: {error}")

    def _check(self, request: Any, op: str) -> None:
        if request.__class__ is not dict and (not isinstance(request, dict) or "inputs" not in request):
            raise InvalidInput(f"model '{self.name}': expected key 'inputs' in the request body")
        inputs = request["inputs"]
        if op in DICT_OPERATIONS:
            if not self.features:
                raise BadRequest(f"model '{self.name}' has no features= to order the rows of {op} by")
            request["inputs"] = inputs = rows_by_feature(inputs, self.features, model=self.name)
        if inputs.__class__ is list:
            if not inputs:
                raise InvalidInput(f"model '{self.name}': 'inputs' is empty")
        elif isinstance(inputs, NO_INPUTS) or (isinstance(inputs, dict) and not _arrays(inputs)):
            kind = type(inputs).__name__
            raise InvalidInput(f"model '{self.name}': expected 'inputs' to be a list, not {kind}")
        if self.inputs:
            check_inputs(inputs, self.inputs, model=self.name)

    def _answer(self, event: Event, request: dict[str, Any], asked: Asked, outputs: Any, op: str) -> Any:
        if asked is not PLAIN and not self._own["postprocess"]:
            return write_tensors(self.name, self.version, event, outputs, asked, declared=self.outputs)
        event_id = request.get("id") or event.id
        return write_plain(self.name, self.version, event_id, outputs, timestamp=op != "explain")

    def _answered(self, event: Event, asked: Asked, answer: Any) -> Any:
        """What postprocess made, in tensors where they were asked for."""
        if asked is PLAIN or not isinstance(answer, dict) or "outputs" not in answer:
            return answer
        return write_tensors(self.name, self.version, event, answer["outputs"], asked, declared=self.outputs)

    def _track(self, event: Event, request: dict[str, Any], answer: Any, outputs: Any, op: str, started: float) -> None:
        if not self._tracker.is_on:
            return
        response = answer if isinstance(answer, dict) else {"outputs": outputs}
        logged_inputs, logged_outputs = self.logged_results(request, response, op)
        inputs = request["inputs"] if logged_inputs is None else logged_inputs
        shown = outputs if logged_outputs is None else logged_outputs
        seconds = time.perf_counter() - started
        self._tracker.record(op, request.get("id") or event.id, inputs, shown, seconds, self.metrics)

    def _track_failure(self, event: Event, request: dict[str, Any], op: str, error: Exception) -> None:
        if self._tracker.is_on:
            self._tracker.failure(op, request.get("id") or event.id, request.get("inputs"), error)


def _run_in_thread(load: Callable[..., Any]) -> None:
    """Run an async load to its end, whether or not this thread has a running loop."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(load())).result()


def _arrays(inputs: dict[str, Any]) -> bool:
    return bool(inputs) and all(hasattr(value, "dtype") for value in inputs.values())
