"""Records of what models were asked and answered, for monitoring."""

from __future__ import annotations

import random
import socket
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson

from ..engine.copying import copy_body
from ..engine.messages import dumps

if TYPE_CHECKING:
    from ..engine.context import GraphContext
    from .server import V2ModelServer


class Tracker:
    """Writes a record of every request to the function's tracking stream, or of a sample of them.

    The stream gets plain data of its own: what a client is answered never changes because of it, nor because the stream
    fails; that is logged.
    """

    def __init__(self, model: V2ModelServer) -> None:
        self._model = model
        self._host = ""

    @property
    def _context(self) -> GraphContext:
        return self._model.context  # an initialised model gets its context when the graph is compiled

    @property
    def is_on(self) -> bool:
        """Whether anybody wants the records."""
        return self._context.tracking_sink is not None

    def answered(self, op: str, answer_id: Any, request: Any, answer: Any, outputs: Any, seconds: float) -> None:
        """Write what was asked and answered.

        :param request: the request as the model got it
        :param answer: the answer after ``postprocess``
        :param outputs: what the model gave
        :param seconds: how long that took
        """
        if not self._is_sampled():
            return
        try:
            inputs, shown = self._logged(request, answer, outputs, op)
        except Exception:
            self._context.logger.exception("model '%s': logged_results failed", self._model.name)
            return
        self._write(
            {"op": op, "request": {"id": answer_id, "inputs": inputs}, "resp": {"outputs": shown},
             "microsec": round(seconds * 1e6), "metrics": dict(self._model.metrics)}
        )  # fmt: skip

    def failed(self, op: str, answer_id: Any, request: Any, error: Exception) -> None:
        """Write what was asked and how it failed; failures are never left out by sampling."""
        told = self._context.secrets.mask(f"{type(error).__name__}: {error}")
        self._write({"op": op, "request": {"id": answer_id, "inputs": _inputs_of(request)}, "error": told})

    def _is_sampled(self) -> bool:
        percentage = self._context.sampling_percentage
        return percentage >= 100 or random.uniform(0, 100) < percentage

    def _logged(self, request: Any, answer: Any, outputs: Any, op: str) -> tuple[Any, Any]:
        inputs = _inputs_of(request)
        shown = answer["outputs"] if isinstance(answer, dict) and "outputs" in answer else outputs
        model = self._model
        if not model.logs_results:
            return inputs, shown
        response = answer if isinstance(answer, dict) else {"outputs": outputs}
        own_inputs, own_outputs = model.logged_results(copy_body(request), copy_body(response), op)
        return inputs if own_inputs is None else own_inputs, shown if own_outputs is None else own_outputs

    def _write(self, record: dict[str, Any]) -> None:
        context, model = self._context, self._model
        sink = context.tracking_sink
        if sink is None:
            return
        self._host = self._host or socket.gethostname()
        base = {
            "class": type(model).__name__, "worker": context.worker_id, "model": model.name, "version": model.version,
            "host": self._host, "function_uri": context.name, "when": str(datetime.now(UTC)),
            "sampling_percentage": context.sampling_percentage,
        }  # fmt: skip
        labels = {"labels": dict(model.labels)} if model.labels else {}
        try:
            sink(plain({**base, **labels, **record}))
        except Exception:
            context.logger.exception("model '%s': a tracking record could not be written", model.name)


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """The record in what JSON can say: arrays as lists, and the text of what else there is.

    >>> plain({"inputs": {1, 2}})
    {'inputs': '{1, 2}'}
    """
    try:
        written = dumps(record)
    except TypeError:
        written = dumps(_spelled(record))
    found: dict[str, Any] = orjson.loads(written)
    return found


def _spelled(value: Any) -> Any:
    """JSON text can not say everything that a model can be asked in the same process, an open image for instance."""
    if isinstance(value, dict):
        return {str(key): _spelled(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_spelled(one) for one in value]
    try:
        dumps(value)
    except TypeError:
        return repr(value)
    return value


def _inputs_of(request: Any) -> Any:
    return request.get("inputs") if isinstance(request, dict) else request
