"""VotingEnsemble: several models answer, one answer comes out: a vote over classes, or a mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import BadStepArguments, InvalidInput, MethodNotAllowed, ModelNotFound, StepError, a_kind, near
from ..engine.event import Event, Response
from .awaiting import settled
from .dialect import check_request, id_of, read_request, write_plain, write_tensors
from .match import route_key
from .parallel import ParallelRun
from .schema import check_declaration
from .server import BUILT_IN, DICT_OPERATIONS, POSTED
from .votes import VoteType, decide

ENSEMBLE = "VotingEnsemble"


class VotingEnsemble(ParallelRun):
    """Asks all its models and answers with their (weighted) majority or mean.

    ``/v2/models/infer`` and ``/v2/models/<ensemble>/infer`` ask all; ``/v2/models/<model>/infer`` asks one.

    :param vote_type: ``"classification"`` (labels of any type), ``"regression"`` (the mean), or ``None``: by the
        outputs of each request; any float makes it a regression
    :param weights: a weight for each model by name, 0 where there is none; they are normalised. Default: equal
    :param quorum: how many models must answer; the answer then says in ``parameters`` who ``voted`` and who ``failed``
    :param format_response_with_col_name_flag: outputs are ``{prediction_col_name: [...]}``, both of the models and of
        the answer
    :param outputs: what the ensemble declares of its outputs; names them in tensor answers
    :param shard_by_endpoint: does nothing here

    >>> import millrace
    >>> function = millrace.new_function("pets", kind="serving")
    >>> router = function.set_topology("router", "VotingEnsemble")
    >>> for name, label in {"a": "cat", "b": "cat", "c": "dog"}.items():
    ...     _ = router.add_route(name, handler=lambda body, label=label: {"outputs": [label]})
    >>> with function.to_mock_server() as server:
    ...     server.test("/v2/models/infer", {"inputs": [0]})["outputs"]
    ['cat']
    """

    def __init__(
        self,
        *args: Any,
        vote_type: str | None = None,
        weights: Mapping[str, float] | None = None,
        executor_type: str | None = None,
        format_response_with_col_name_flag: bool = False,
        prediction_col_name: str | None = None,
        shard_by_endpoint: bool | None = None,
        outputs: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        if vote_type is not None and vote_type not in get_args(VoteType):
            raise BadStepArguments(f"vote_type='{vote_type}' is none of {', '.join(get_args(VoteType))}")
        self.vote_type = cast("VoteType | None", vote_type)
        self.column = (prediction_col_name or "prediction") if format_response_with_col_name_flag else None
        self.weights: dict[str, float] = {}
        self._given_weights = weights
        self._decides = type(self).logic is not VotingEnsemble.logic
        super().__init__(*args, executor_type=executor_type, **kwargs)
        self.outputs = check_declaration(outputs or [], model=self.name)

    def routes_known(self) -> None:
        """Normalise the weights, and refuse those that name no model."""
        super().routes_known()
        self.weights = self._normalised(self._given_weights)

    @property
    def path_to_try(self) -> str:
        """All models are asked by the ensemble's own name."""
        return f"{self.url_prefix}/{self.name}/infer"

    def _normalised(self, weights: Mapping[str, float] | None) -> dict[str, float]:
        if weights is None:
            return {name: 1 / len(self.routes) for name in self.routes}
        for name in weights:
            if name not in self.routes:
                raise BadStepArguments(f"weights= names '{name}', which is no model of it{near(name, self.routes)}")
        values = {name: float(weights.get(name, 0)) for name in self.routes}
        total = sum(values.values())
        if min(values.values()) < 0 or not 0 < total < float("inf"):
            raise BadStepArguments(f"weights={dict(weights)} must be 0 or more, and one of them more than 0")
        return {name: value / total for name, value in values.items()}

    def logic(self, predictions: list[list[Any]], weights: list[float]) -> Any:
        """The outcome for each row; override it for another way to decide. May be ``async def``.

        :param predictions: for each row, the predictions of the models
        :param weights: of the models, in the same order; they sum to 1
        """
        by_model = [list(column) for column in zip(*predictions, strict=True)]
        return decide(by_model, np.asarray(weights), self.vote_type).tolist()

    async def handle(self, event: Event) -> Event:
        """Ask one model or all, as the path says."""
        rest = self.rest(event)
        op = self._asked_of_all(rest, event.method)
        if op is None:
            return await self._ask_one(event, rest)
        if op in BUILT_IN and event.method in POSTED:
            event.body = await self._vote(event, op)
        elif op in BUILT_IN:
            raise MethodNotAllowed(
                f"ensemble '{self.name}': '{op}' takes POST, not {event.method}", allowed=("POST", "PUT")
            )
        else:
            event.body = self._told(op, is_named=bool(rest) or event._rest is not None)
        return event

    def _asked_of_all(self, rest: tuple[str, ...], method: str | None) -> str | None:
        """The operation, where the path names the ensemble; ``None`` where it names one of its models."""
        if rest and rest[0] in (self.name, ENSEMBLE) and rest[0] not in self.routes:
            rest = rest[1:]
        if not rest:
            return "" if method == "GET" else "infer"
        asked_of_all = len(rest) == 1 and rest[0] not in self.routes and rest[0] in (*BUILT_IN, "ready")
        return rest[0] if asked_of_all else None

    async def _ask_one(self, event: Event, rest: tuple[str, ...]) -> Event:
        named = rest[1:] if len(rest) > 1 and rest[0] in (self.name, ENSEMBLE) and rest[0] not in self.routes else rest
        key, left = route_key(named)
        if key not in self.routes:
            raise ModelNotFound(key, known=[*self.routes, self.name])
        event._rest = left
        return await self._run(self.routes[key], event)

    def _told(self, op: str, *, is_named: bool) -> Any:
        if op == "ready":
            waiting = [name for name, route in self.routes.items() if getattr(route.target, "ready", True) is False]
            return Response(body={"name": self.name, "ready": not waiting}, status_code=503 if waiting else 200)
        members = {"models": [*self.routes, self.name], "weights": self.weights}
        if not is_named:
            return members
        declared = {"inputs": self.declared_inputs, "outputs": self.outputs}
        return {"name": self.name, "platform": "millrace", **declared, **members}

    # -- voting --------------------------------------------------------------------------------------------------

    async def _vote(self, event: Event, op: str) -> Any:
        answer_id = id_of(event)
        request, asked = read_request(event.body)
        # Rows as dicts are put in order by each model, which knows its features.
        event.body = request if op in DICT_OPERATIONS else check_request(request, model=self.name)
        event._rest = (op,)
        try:
            results, failures = await self.ask_all(event)
        except InvalidInput as error:
            raise InvalidInput(f"ensemble '{self.name}': {error}") from error
        outputs = [self._outputs_of(name, result) for name, result in results.items()]
        weights = np.asarray([self.weights[name] for name in results])
        weights = weights / weights.sum() if weights.sum() > 0 else np.full(len(outputs), 1 / len(outputs))
        decided = await self._decided(list(results), outputs, weights)
        voters = {"voted": list(results), "failed": list(failures)} if failures else {}
        if asked.tensors:
            texts = {key: ",".join(names) for key, names in voters.items()}
            return write_tensors(self.name, "", answer_id, decided, asked, declared=self.outputs, parameters=texts)
        listed = decided.tolist() if isinstance(decided, np.ndarray) else decided
        answer = write_plain(self.name, "", answer_id, {self.column: listed} if self.column else listed)
        return answer | ({"parameters": voters} if voters else {})

    def _outputs_of(self, name: str, result: Any) -> Any:
        place = f"model '{name}' of ensemble '{self.name}'"
        if not isinstance(result, dict) or "outputs" not in result:
            raise StepError(f"{place} gave no 'outputs'", step=self.name)
        outputs = result["outputs"]
        if self.column is not None:
            if not isinstance(outputs, dict) or self.column not in outputs:
                raise StepError(f"{place} gave no outputs['{self.column}']", step=self.name)
            outputs = outputs[self.column]
        if isinstance(outputs, (str, bytes, dict)) or not hasattr(outputs, "__len__"):
            raise StepError(f"{place} gave {a_kind(outputs)}, not a list of outputs", step=self.name)
        return outputs

    async def _decided(self, names: list[str], outputs: list[Any], weights: NDArray[np.float64]) -> Any:
        lengths = dict(zip(names, map(len, outputs), strict=True))
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"'{name}' {length}" for name, length in lengths.items())
            text = f"the models of ensemble '{self.name}' gave different numbers of outputs: {told}"
            raise StepError(text, step=self.name)
        if self._decides:
            rows = [list(row) for row in zip(*map(_listed, outputs), strict=True)]
            return await settled(self.logic(rows, weights.tolist()))
        try:
            return decide(outputs, weights, self.vote_type)
        except ValueError as error:
            raise StepError(f"ensemble '{self.name}': {error}", step=self.name) from error


def _listed(outputs: Any) -> list[Any]:
    listed: list[Any] = outputs.tolist() if isinstance(outputs, np.ndarray) else list(outputs)
    return listed
