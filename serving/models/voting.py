"""VotingEnsemble: several models answer, one answer comes out: a vote over classes, or a mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import BadStepArguments, ModelNotFound, StepError, near
from ..engine.event import Event, Response
from .dialect import PLAIN, Asked, checked_body, read_request, write_plain, write_tensors
from .match import INFER_OPERATIONS, route_key
from .parallel import ParallelRun

VOTE_TYPES = ("classification", "regression")
ENSEMBLE = "VotingEnsemble"
ASKED_OF_ALL = (*INFER_OPERATIONS, "explain")


class VotingEnsemble(ParallelRun):
    """Asks all its models and answers with their (weighted) majority or mean.

    ``/v2/models/infer`` and ``/v2/models/<ensemble>/infer`` ask all; ``/v2/models/<model>/infer`` asks one.

    :param vote_type: ``"classification"`` (labels of any type), ``"regression"`` (the mean), or ``None``: by the
        outputs of each request; any float makes it a regression
    :param weights: a weight for each model by name; they are normalised. Default: equal
    :param quorum: how many models must answer; the answer then says in ``parameters`` who ``voted`` and who ``failed``
    :param format_response_with_col_name_flag: outputs are ``{prediction_col_name: [...]}``, of the models and the answer

    >>> vote([["a", "b"], ["a", "c"], ["b", "c"]], np.ones(3) / 3)
    ['a', 'c']
    """

    def __init__(
        self,
        *args: Any,
        vote_type: str | None = None,
        weights: Mapping[str, float] | None = None,
        executor_type: str | None = None,
        format_response_with_col_name_flag: bool = False,
        prediction_col_name: str = "prediction",
        shard_by_endpoint: bool | None = None,
        outputs: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, executor_type=executor_type, **kwargs)
        if vote_type is not None and vote_type not in VOTE_TYPES:
            raise BadStepArguments(f"vote_type='{vote_type}' is none of {', '.join(VOTE_TYPES)}")
        self.vote_type = vote_type
        self.column = prediction_col_name if format_response_with_col_name_flag else None
        self.outputs = outputs or []
        self.weights = self._normalised(weights)
        self._own_logic = type(self).logic is not VotingEnsemble.logic

    def _normalised(self, weights: Mapping[str, float] | None) -> dict[str, float]:
        if weights is None:
            return {name: 1 / len(self.routes) for name in self.routes} if self.routes else {}
        for name in weights:
            if name not in self.routes:
                raise BadStepArguments(f"weights= names '{name}', which is no model of it{near(name, self.routes)}")
        values = {name: float(weights.get(name, 0)) for name in self.routes}
        total = sum(values.values())
        if min(values.values()) < 0 or not total > 0 or not np.isfinite(total):
            raise BadStepArguments(f"weights={dict(weights)} must be 0 or more, and one of them more than 0")
        return {name: value / total for name, value in values.items()}

    def logic(self, predictions: list[list[Any]], weights: list[float]) -> list[Any]:
        """The outcome for each row; override it for another way to decide.

        :param predictions: for each row, the predictions of the models
        :param weights: of the models, in the same order; they sum to 1
        """
        by_model = [list(column) for column in zip(*predictions, strict=True)]
        outcome: list[Any] = _decide(by_model, np.asarray(weights), self.vote_type).tolist()
        return outcome

    async def handle(self, event: Event) -> Event:  # type: ignore[override]
        """Ask one model or all, as the path says."""
        rest = self.rest(event)
        op = self._asked_of_all(rest)
        if op is None:
            return await self._ask_one(event, rest)
        if event.method == "GET":
            event.body = self._told(rest, op)
            return event
        event.body = await self._vote(event, op)
        return event

    def _asked_of_all(self, rest: tuple[str, ...]) -> str | None:
        """The operation, where the path names the ensemble; ``None`` where it names one of its models."""
        if rest and rest[0] in (self.name, ENSEMBLE) and rest[0] not in self.routes:
            rest = rest[1:]
        if not rest:
            return ""
        return rest[0] if len(rest) == 1 and rest[0] in (*ASKED_OF_ALL, "ready") and rest[0] not in self.routes else None

    async def _ask_one(self, event: Event, rest: tuple[str, ...]) -> Event:
        key, left = route_key(rest)
        if key not in self.routes:
            raise ModelNotFound(key, known=[*self.routes, self.name])
        event._rest = left
        route = self.routes[key]
        if self._pool is not None and not route.is_async:
            answered: Event = await self._pool.run(route.run, event)
            return answered
        answer = route.run(event)
        return answer if isinstance(answer, Event) else await answer

    def _told(self, rest: tuple[str, ...], op: str) -> Any:
        if op == "ready":
            waiting = [name for name, route in self.routes.items() if getattr(route.target, "ready", True) is False]
            return Response(body={"name": self.name, "ready": not waiting}, status_code=503 if waiting else 200)
        if not rest:
            return {"models": [*self.routes, self.name], "weights": self.weights}
        return {"name": self.name, "platform": "millrace", "inputs": [], "outputs": self.outputs}

    async def _vote(self, event: Event, op: str) -> Any:
        request, asked = read_request(checked_body(event.body, model=self.name))
        event.body = request
        event._rest = (op or "infer",)
        results, failures = await self.ask_all(event)
        outputs = [self._outputs_of(name, result) for name, result in results.items()]
        weights = np.asarray([self.weights[name] for name in results])
        weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(outputs), 1 / len(outputs))
        decided = self._decided(outputs, weights)
        voters = {"voted": list(results), "failed": list(failures)} if failures else {}
        return self._written(event, request, asked, decided, voters)

    def _outputs_of(self, name: str, result: Any) -> Any:
        if not isinstance(result, dict) or "outputs" not in result:
            raise StepError(f"model '{name}' of ensemble '{self.name}' gave no 'outputs'", step=self.name)
        outputs = result["outputs"]
        if self.column is None:
            return outputs
        if not isinstance(outputs, dict) or self.column not in outputs:
            raise StepError(f"model '{name}' of ensemble '{self.name}' gave no outputs['{self.column}']", step=self.name)
        return outputs[self.column]

    def _decided(self, outputs: list[Any], weights: np.ndarray[Any, Any]) -> Any:
        lengths = {len(one) if hasattr(one, "__len__") else -1 for one in outputs}
        if len(lengths) > 1 or -1 in lengths:
            raise StepError(
                f"the models of ensemble '{self.name}' gave different numbers of outputs: "
                f"{', '.join(str(n) for n in sorted(lengths))}", step=self.name,
            )  # fmt: skip
        if self._own_logic:
            rows = [list(row) for row in zip(*(_listed(one) for one in outputs), strict=True)]
            return self.logic(rows, weights.tolist())
        return _decide(outputs, weights, self.vote_type)

    def _written(
        self, event: Event, request: dict[str, Any], asked: Asked, decided: Any, voters: dict[str, list[str]]
    ) -> Any:
        if asked is not PLAIN:
            texts = {key: ",".join(names) for key, names in voters.items()}
            return write_tensors(self.name, "", event, decided, asked, declared=self.outputs, parameters=texts)
        outputs = _listed(decided)
        answer = write_plain(
            self.name, "", request.get("id") or event.id, {self.column: outputs} if self.column else outputs
        )
        return answer | ({"parameters": voters} if voters else {})


def vote(outputs: list[Any], weights: np.ndarray[Any, Any]) -> list[Any]:
    """The weighted majority at each place; among equals the smallest label wins, or the first where they do not sort.

    :param outputs: for each model, its labels: lists or arrays of the same shape
    :param weights: of the models
    """
    decided: list[Any] = _majority(outputs, weights).tolist()
    return decided


def _decide(outputs: list[Any], weights: np.ndarray[Any, Any], vote_type: str | None) -> np.ndarray[Any, Any]:
    arrays = [np.asarray(one) for one in outputs]
    if len({array.shape for array in arrays}) > 1:
        raise StepError(f"models gave outputs of different shapes: {[list(a.shape) for a in arrays]}", step="vote")
    numeric = all(array.dtype.kind in "iufb" for array in arrays)
    regression = vote_type == "regression" or (vote_type is None and any(array.dtype.kind == "f" for array in arrays))
    if regression:
        if not numeric:
            raise StepError("a mean needs numbers; the models gave other outputs", step="vote")
        return np.tensordot(weights, np.stack(arrays).astype(np.float64), axes=1)
    return _majority(outputs, weights)


def _majority(outputs: list[Any], weights: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    arrays = [np.asarray(one) for one in outputs]
    shape = arrays[0].shape
    if all(array.dtype.kind in "iub" for array in arrays) and len({array.dtype.kind for array in arrays}) == 1:
        stacked = np.stack(arrays)
        labels, codes = np.unique(stacked, return_inverse=True)
    else:
        labels, codes = _coded([_flat(one) for one in outputs])
    codes = codes.reshape(len(arrays), -1)
    places = np.arange(codes.shape[1])
    scores = np.zeros((codes.shape[1], len(labels)))
    for model, weight in zip(codes, weights, strict=True):
        scores[places, model] += weight
    best = (scores >= scores.max(axis=1, keepdims=True) - 1e-12).argmax(axis=1) if len(places) else codes[0]
    decided: np.ndarray[Any, Any] = labels[best].reshape(shape)
    return decided


def _flat(output: Any) -> list[Any]:
    array = np.asarray(output, dtype=object)
    return [value.item() if isinstance(value, np.generic) else value for value in array.ravel()]


def _coded(columns: list[list[Any]]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Labels of any hashable type, sorted where they sort, and the place of each output among them."""
    found = list(dict.fromkeys(value for column in columns for value in column))
    try:
        found = sorted(found)
    except TypeError:
        found = list(found)
    place = {value: index for index, value in enumerate(found)}
    labels = np.empty(len(found), dtype=object)
    labels[:] = found
    return labels, np.asarray([[place[value] for value in column] for column in columns])


def _listed(outputs: Any) -> list[Any]:
    if isinstance(outputs, np.ndarray):
        listed: list[Any] = outputs.tolist()
        return listed
    return list(outputs)
