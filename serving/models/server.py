"""V2ModelServer: the base class of models."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from .awaiting import awaiting, settled
from .dialect import Asked, check_request, id_of, read_request, write_plain, write_tensors
from .match import INFER_OPERATIONS, own_rest
from .model_files import find_model
from .schema import Declared, check_declaration, check_inputs, check_names, rows_by_feature
from .tracking import Tracker

DICT_OPERATIONS = ("infer_dict", "predict_dict")
BUILT_IN = (*INFER_OPERATIONS, *DICT_OPERATIONS, "explain")
POSTED = ("POST", "PUT", "", None)
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
    :param shard_by_endpoint: does nothing here
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
        self.name = name or type(self).__name__
        self.protocol = protocol or "v2"
        self.model_path = model_path
        self.model = model
        self.ready = model is not None
        self.error: str | None = None
        self.inputs: Declared = check_declaration(inputs or [], model=self.key)
        self.outputs: Declared = check_declaration(outputs or [], model=self.key)
        self.features: list[str] = list(features or [])
        self.metrics: dict[str, Any] = {}
        self.labels: dict[str, str] = {}
        self._params = kwargs
        self._tracker = Tracker(self)
        self._prepare()

    @property
    def name(self) -> str:
        """The model's name; set to ``name:version`` it sets both."""
        return self._name

    @name.setter
    def name(self, key: str) -> None:
        self.key = key
        self._name, _, self.version = key.partition(":")

    def _prepare(self) -> None:
        """Decide once which hooks there are and whether any of them is async."""
        base, own = V2ModelServer, type(self)
        self._operations: dict[str, Callable[..., Any]] = {
            name.removeprefix("op_"): getattr(self, name) for name in dir(own) if name.startswith("op_")
        }
        self._prepares = own.validate is not base.validate or own.preprocess is not base.preprocess
        self._postprocesses = own.postprocess is not base.postprocess
        self.logs_results = own.logged_results is not base.logged_results
        hooks = [getattr(self, hook) for hook in HOOKS]
        self._awaits = any(is_async(one) for one in (*hooks, *self._operations.values()))
        if self._awaits and not is_async(own.do_event):
            do_event = self._do_event_async if own.do_event is base.do_event else awaiting(self.do_event)
            self.do_event = do_event  # type: ignore[method-assign]

    # -- what a subclass gives -----------------------------------------------------------------------------------

    def load(self) -> None:
        """Load the model, once, before the first request."""
        if self.model is None:
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
        """The request, if it is right; an exception is the client's fault (422).

        The base class wants ``inputs`` that are not empty. What the model declares of its inputs is checked afterwards.
        """
        return check_request(request, model=self._name)

    def postprocess(self, response: Any) -> Any:
        """The answer as the client wants it."""
        return response

    def logged_results(self, request: dict[str, Any], response: dict[str, Any], op: str) -> tuple[Any, Any]:
        """The inputs and outputs that a tracking record holds; ``(None, None)`` stands for what was sent.

        It gets copies: nothing that it does changes the answer.
        """
        return None, None

    # -- what it may ask -----------------------------------------------------------------------------------------

    def get_param(self, key: str, default: Any = None) -> Any:
        """A parameter of the model, else of the function, else `default`."""
        return self._params[key] if key in self._params else self.context.get_param(key, default)

    def set_metric(self, name: str, value: Any) -> None:
        """Set a metric that tracking records carry."""
        self.metrics[name] = value

    def get_model(self, suffix: str = "") -> tuple[str, dict[str, Any]]:
        """The model's file, and the other files of its folder by name.

        :param suffix: the end of the file's name, such as ``".pkl"``; needed where a folder holds several files
        :raises ModelNotReady: there is no such file, or there are several
        """
        return find_model(self.model_path, suffix, model=self.key, context=self.context)

    @property
    def operations(self) -> list[str]:
        """The names of the operations that the model has."""
        by_feature = DICT_OPERATIONS if self.features else ()
        explain = ("explain",) if type(self).explain is not V2ModelServer.explain else ()
        return [*INFER_OPERATIONS, *by_feature, *explain, *self._operations, "ready"]

    # -- loading -------------------------------------------------------------------------------------------------

    def post_init(self, mode: str = "sync", **_: Any) -> None:
        """Load the model: now, or in a thread where the function's ``load_mode`` is ``"async"``."""
        if self.ready:
            return
        if self.context.load_mode == "async" and mode != "process":
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
            text = f"failed to load model '{self.key}': {type(error).__name__}: {error}"
            raise StepError(text, step=self.key) from error
        self.ready = True

    def _load_in_background(self) -> None:
        try:
            self._load()
        except Exception as error:
            self.error = self.context.secrets.mask(str(error))
            self.context.logger.exception("model '%s' is not ready", self.key)

    # -- serving -------------------------------------------------------------------------------------------------

    def do_event(self, event: Event) -> Any:
        """Serve one request: the operation is what the path says behind the model's name."""
        if self._awaits:
            return self._do_event_async(event)  # whoever calls super().do_event() awaits it
        rest = event._rest
        op = rest[0] if rest is not None and len(rest) == 1 else self._operation(event)
        if op in BUILT_IN and event.method in POSTED:
            event.body = self._infer(event, op)
        else:
            event.body = self._other(event, op)
        return event

    async def _do_event_async(self, event: Event) -> Event:
        op = self._operation(event)
        if op in BUILT_IN and event.method in POSTED:
            event.body = await self._infer_async(event, op)
        else:
            event.body = await settled(self._other(event, op))
        return event

    def _operation(self, event: Event) -> str:
        rest = event._rest
        if rest is None:
            rest = own_rest(event.path, self.name)
        if rest:
            return rest[0] if len(rest) == 1 else "/".join(rest)
        if event.method == "GET":
            return ""
        if event.path != "/" or not isinstance(event.body, dict):
            return "infer"
        op = event.body.get("operation")
        if op is not None and not isinstance(op, str):
            raise BadRequest(f"model '{self.name}': 'operation' must be the name of one")
        return op or "infer"

    def _other(self, event: Event, op: str) -> Any:
        """What is not an inference: metadata, readiness, the model's own operations."""
        if op == "ready":
            return Response(body={"name": self.name, "ready": self.ready}, status_code=200 if self.ready else 503)
        if op == "":
            found = {"name": self.name, "platform": "millrace", "inputs": self.inputs, "outputs": self.outputs}
            return found | ({"version": self.version, "versions": [self.version]} if self.version else {})
        if op in BUILT_IN:
            raise MethodNotAllowed(
                f"model '{self.name}': '{op}' takes POST, not {event.method}", allowed=("POST", "PUT")
            )
        if op not in self._operations:
            raise OperationNotFound(op, model=self.name, known=self.operations)
        self._must_be_ready()
        return self._operations[op](event)

    def _must_be_ready(self) -> None:
        if not self.ready:
            raise ModelNotReady(self.name, reason=self.error or "it is still loading")

    # -- inference: the same steps twice, since a plain one must not pay for awaiting ------------------------------
    # What preprocess and validate raise is the client's fault, whatever it is.

    def _infer(self, event: Event, op: str) -> Any:
        if not self.ready:
            self._must_be_ready()
        request, asked = read_request(event.body)
        if self.inputs or op in DICT_OPERATIONS:
            request = self._arranged(event.body, request, asked, op)
        is_tracked = self.context.tracking_sink is not None
        started = self.context.clock.now() if is_tracked else 0.0
        if self._prepares or self.inputs or not asked.is_checked:
            request = self._checked(request, op)
        try:
            outputs = self.explain(request) if op == "explain" else self.predict(request)
            answer = self._answer(event, asked, outputs, op)
            if self._postprocesses:
                answer = self._in_dialect(event, asked, self.postprocess(answer))
        except Exception as error:
            if is_tracked:
                self._tracker.failed(op, id_of(event), request, error)
            raise
        if is_tracked:
            seconds = self.context.clock.now() - started
            self._tracker.answered(op, id_of(event), request, answer, outputs, seconds)
        return answer

    def _checked(self, request: Any, op: str) -> Any:
        """The request as the model's hooks make it, if it is right."""
        try:
            if self._prepares:
                request = self.validate(self.preprocess(request, op), op)
            else:
                check_request(request, model=self._name)
            self._check_schema(request)
        except MillraceError:
            raise
        except Exception as error:
            raise InvalidInput(f"model '{self.name}': {type(error).__name__}: {error}") from error
        return request

    async def _infer_async(self, event: Event, op: str) -> Any:
        self._must_be_ready()
        request, asked = read_request(event.body)
        request = self._arranged(event.body, request, asked, op)
        tracker = self._tracker
        started = self.context.clock.now()
        try:
            request = await settled(self.preprocess(request, op))
            request = await settled(self.validate(request, op))
            self._check_schema(request)
        except MillraceError:
            raise
        except Exception as error:
            raise InvalidInput(f"model '{self.name}': {type(error).__name__}: {error}") from error
        try:
            outputs = await settled(self.explain(request) if op == "explain" else self.predict(request))
            answer = self._answer(event, asked, outputs, op)
            if self._postprocesses:
                answer = self._in_dialect(event, asked, await settled(self.postprocess(answer)))
        except Exception as error:
            if tracker.is_on:
                tracker.failed(op, id_of(event), request, error)
            raise
        if tracker.is_on:
            seconds = self.context.clock.now() - started
            tracker.answered(op, id_of(event), request, answer, outputs, seconds)
        return answer

    def _arranged(self, body: Any, request: Any, asked: Asked, op: str) -> Any:
        """The request as the model declares its inputs: under their names, and rows by feature in their order."""
        if asked.tensors and len(self.inputs) == len(body["inputs"]) == 1 and not self._prepares:
            check_names([body["inputs"][0]["name"]], self.inputs, model=self.name)
        if op in DICT_OPERATIONS:
            if not self.features:
                raise BadRequest(f"model '{self.name}' has no features= to order the rows of {op} by")
            if not isinstance(request, dict) or "inputs" not in request:
                check_request(request, model=self.name)
            request = {**request, "inputs": rows_by_feature(request["inputs"], self.features, model=self.name)}
        return request

    def _check_schema(self, request: Any) -> None:
        if self.inputs:
            check_inputs(check_request(request, model=self.name)["inputs"], self.inputs, model=self.name)

    def _answer(self, event: Event, asked: Asked, outputs: Any, op: str) -> Any:
        if isinstance(outputs, Response):
            return outputs
        if not asked.tensors or self._postprocesses:
            return write_plain(self._name, self.version, id_of(event), outputs, op != "explain")
        return write_tensors(self.name, self.version, id_of(event), outputs, asked, declared=self.outputs)

    def _in_dialect(self, event: Event, asked: Asked, answer: Any) -> Any:
        """What postprocess made, in tensors where they were asked for."""
        if not asked.tensors or not isinstance(answer, dict) or "outputs" not in answer:
            return answer
        outputs = answer["outputs"]
        return write_tensors(self.name, self.version, id_of(event), outputs, asked, declared=self.outputs)


def _run_in_thread(load: Callable[..., Any]) -> None:
    """Run an async load to its end, whether or not this thread has a running loop."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(load())).result()
