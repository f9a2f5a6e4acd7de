"""VotingEnsemble: votes and means against scikit-learn and plain Python, and its URLs."""

import threading
from collections import defaultdict
from fractions import Fraction
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import VotingClassifier, VotingRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import millrace
from millrace.errors import BadStepArguments
from millrace.serving import V2ModelServer, VotingEnsemble

ENSEMBLE = "mlrun.serving.VotingEnsemble"


class Gives(V2ModelServer):
    """Answers with its model, whatever is asked; raises it when it is an exception."""

    def predict(self, request):
        if isinstance(self.model, Exception):
            raise self.model
        return self.model

    explain = predict


class Predicts(V2ModelServer):
    """A model of scikit-learn."""

    def predict(self, request):
        return self.model.predict(np.asarray(request["inputs"])).tolist()


def served(models: dict[str, Any], class_name: Any = ENSEMBLE, server: Any = Gives, **arguments: Any) -> Any:
    """An ensemble of models by name."""
    function = millrace.new_function("ensemble", kind="serving")
    function.set_topology("router", class_name, **arguments)
    for name, model in models.items():
        function.add_model(name, class_name=server, model=model)
    return function.to_mock_server()


def decided(*results: Any, **arguments: Any) -> Any:
    """What models that give these results decide together."""
    models = {f"m{i}": result for i, result in enumerate(results)}
    with served(models, executor_type="array", **arguments) as server:
        return server.test("/v2/models/infer", {"inputs": [0]})["outputs"]


# -- against scikit-learn ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [1, 2, 3], [5, 1, 1], [2, 0, 1]])
def test_a_vote_agrees_with_scikit_learns_hard_voting(weights):
    rows, species = load_iris(return_X_y=True)
    models = [LogisticRegression(max_iter=500), KNeighborsClassifier(1), DecisionTreeClassifier(max_depth=1)]
    named = [(f"m{i}", model) for i, model in enumerate(models)]
    theirs = VotingClassifier(named, voting="hard", weights=weights).fit(rows[::2], species[::2])
    ours = dict(zip((name for name, _ in named), theirs.estimators_, strict=True))
    given = None if weights is None else dict(zip(ours, weights, strict=True))
    with served(ours, server=Predicts, weights=given) as server:
        assert server.test("/v2/models/infer", {"inputs": rows.tolist()})["outputs"] == theirs.predict(rows).tolist()


@pytest.mark.parametrize("weights", [None, [1, 3]])
def test_a_mean_agrees_with_scikit_learns_voting_regressor(weights):
    rows, progression = load_diabetes(return_X_y=True)
    named = [("m0", LinearRegression()), ("m1", DecisionTreeRegressor(max_depth=3))]
    theirs = VotingRegressor(named, weights=weights).fit(rows, progression)
    ours = dict(zip(("m0", "m1"), theirs.estimators_, strict=True))
    given = None if weights is None else dict(zip(ours, weights, strict=True))
    with served(ours, server=Predicts, weights=given) as server:
        outputs = server.test("/v2/models/infer", {"inputs": rows.tolist()})["outputs"]
    np.testing.assert_allclose(outputs, theirs.predict(rows))


# -- against plain Python ----------------------------------------------------------------------------------------


def winner(labels: list[Any], weights: list[int]) -> Any:
    """The label with the largest sum of weights; among equals the smallest, or the first where they do not sort."""
    scores: dict[Any, int] = defaultdict(int)
    for label, weight in zip(labels, weights, strict=True):
        scores[label] += weight
    best = [label for label in scores if scores[label] == max(scores.values())]
    try:
        return min(best)
    except TypeError:
        return best[0]


SORTED = (
    st.integers(-(2**40), 2**40), st.sampled_from([-3, -1, 0, 2**70]), st.booleans(), st.text(max_size=3),
    st.sampled_from(["a", "b", "B"]),
)  # fmt: skip


@st.composite
def votes(draw: Any, labels: Any) -> tuple[list[list[Any]], list[int]]:
    """The outputs of some models and their weights."""
    models, rows = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    column = st.lists(labels, min_size=rows, max_size=rows)
    weights = draw(st.lists(st.integers(0, 9), min_size=models, max_size=models).filter(any))
    return [draw(column) for _ in range(models)], weights


@settings(max_examples=80, deadline=None)
@given(st.one_of([votes(labels) for labels in SORTED]))
def test_the_majority_is_the_label_with_the_largest_weight(drawn):
    columns, weights = drawn
    expected = [winner(list(row), weights) for row in zip(*columns, strict=True)]
    named = {f"m{i}": weight for i, weight in enumerate(weights)}
    assert decided(*columns, weights=named, vote_type="classification") == expected


@settings(max_examples=40, deadline=None)
@given(votes(st.sampled_from([None, "a", 7, -1, True])))
def test_labels_of_several_types_are_counted_too(drawn):
    columns, weights = drawn
    found = decided(*columns, weights={f"m{i}": weight for i, weight in enumerate(weights)})
    for place, row in enumerate(zip(*columns, strict=True)):
        scores: dict[Any, int] = defaultdict(int)
        for label, weight in zip(row, weights, strict=True):
            scores[label] += weight
        assert scores[found[place]] == max(scores.values())


NUMBERS = st.floats(-1e6, 1e6) | st.integers(-1000, 1000)


@settings(max_examples=60, deadline=None)
@given(votes(NUMBERS))
def test_the_mean_is_weighted_by_the_normalised_weights(drawn):
    columns, weights = drawn
    named = {f"m{i}": weight for i, weight in enumerate(weights)}
    expected = [
        float(sum(Fraction(x) * w for x, w in zip(row, weights, strict=True)) / sum(weights))
        for row in zip(*columns, strict=True)
    ]
    np.testing.assert_allclose(decided(*columns, weights=named, vote_type="regression"), expected, rtol=1e-9, atol=1e-6)


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        (([10.0], [30.0]), [20.0]),
        (([10.5], [31.5]), [21.0]),
        (([10], [30]), [10]),
        (([1, 2], [1.0, 4.0]), [1.0, 3.0]),
        (([True], [False], [True]), [True]),
        (([[1, 5], [2, 6]], [[1, 7], [3, 6]], [[2, 7], [3, 9]]), [[1, 7], [3, 6]]),
        (([[1.0, 2.0]], [[3.0, 6.0]]), [[2.0, 4.0]]),
        (([["a", "b"]], [["a", "c"]], [["d", "c"]]), [["a", "c"]]),
        ((np.array([1, 2]), np.array([1, 3]), [4, 3]), [1, 3]),
        (([], []), []),
        (([-1], [-1], [5]), [-1]),
    ],
)
def test_each_request_is_decided_by_the_types_of_its_outputs(results, expected):
    found = decided(*results)
    assert found == expected
    assert [type(one) for one in found] == [type(one) for one in expected]


def test_one_request_may_be_a_mean_and_the_next_a_vote():
    class Follows(V2ModelServer):
        def predict(self, request):
            return [x * self.model for x in request["inputs"]]

    with served({"one": 1, "three": 3}, server=Follows) as server:
        answers = [server.test("/v2/models/infer", {"inputs": [x]})["outputs"] for x in (10.0, 10, 10.5)]
    assert answers == [[20.0], [10], [21.0]]


# -- weights and arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"weights": {"m3": 1}}, "names 'm3'"),
        ({"weights": {"m0": -1, "m1": 2}}, "0 or more"),
        ({"weights": {"m0": 0, "m1": 0}}, "more than 0"),
        ({"weights": {"m0": float("nan"), "m1": 1}}, "0 or more"),
        ({"weights": {"m0": float("inf"), "m1": 1}}, "0 or more"),
        ({"weights": {"m0": "heavy", "m1": 1}}, "could not be made"),
        ({"vote_type": "mean"}, "classification, regression"),
    ],
)
def test_weights_and_vote_types_that_make_no_sense_are_refused(arguments, text):
    with pytest.raises(BadStepArguments, match=text):
        decided([1], [2], **arguments)


def test_weights_are_normalised_and_a_model_without_one_has_none():
    with served({"a": [1.0], "b": [3.0], "c": [100.0]}, weights={"a": 2, "b": 6}) as server:
        assert server.test("/v2/models/", method="GET")["weights"] == {"a": 0.25, "b": 0.75, "c": 0.0}
        assert server.test("/v2/models/infer", {"inputs": [0]})["outputs"] == [2.5]


def test_ties_are_not_decided_by_rounding():
    # 0.1 + 0.2 > 0.3 in floats
    assert decided([2], [2], [1], weights={"m0": 0.1, "m1": 0.2, "m2": 0.3}) == [1]


# -- members -----------------------------------------------------------------------------------------------------


def test_all_members_run_at_the_same_time():
    barrier = threading.Barrier(3)

    class Meets(V2ModelServer):
        def predict(self, request):
            barrier.wait(20)
            return [1]

    with served({"a": 1, "b": 1, "c": 1}, server=Meets) as server:
        assert server.test("/v2/models/infer", {"inputs": [0]})["outputs"] == [1]


def test_each_member_has_inputs_of_its_own():
    class Spoils(V2ModelServer):
        def predict(self, request):
            request["inputs"][0][0] += 1
            return [request["inputs"][0][0]]

    with served({"a": 1, "b": 1, "c": 1}, server=Spoils) as server:
        assert server.test("/v2/models/infer", {"inputs": [[1]]})["outputs"] == [2]
        data = {"name": "x", "shape": [1, 1], "datatype": "INT64", "data": [1]}
        assert list(server.test("/v2/models/infer", {"inputs": [data]})["outputs"][0]["data"]) == [2]


def status(server: Any, path: str = "/v2/models/infer", body: Any = None) -> tuple[int, Any]:
    response = server.test(path, {"inputs": [0]} if body is None else body, silent=True, get_body=False)
    return response.status_code, orjson.loads(response.body)


def test_a_member_that_fails_is_an_error_that_names_it():
    with served({"good": [1], "bad": LookupError("gone")}) as server:
        found, answer = status(server)
        assert (found, answer["error"]) == (500, "step 'router/bad' of graph 'ensemble' failed: LookupError: gone")
        assert status(server, "/v2/models/good/infer")[1]["outputs"] == [1]


def test_a_quorum_answers_and_says_who_voted():
    models = {"a": [1.0], "bad": LookupError("gone"), "b": [3.0]}
    with served(models, quorum=2, weights={"a": 1, "bad": 2, "b": 3}) as server:
        answer = status(server)[1]
        assert answer["outputs"] == [(1.0 * 1 + 3.0 * 3) / 4]
        assert answer["parameters"] == {"voted": ["a", "b"], "failed": ["bad"]}
    with served(models, quorum=3) as server:
        assert status(server)[0] == 500


def test_a_whole_quorum_says_nothing_of_itself():
    with served({"a": [1], "b": [1]}, quorum=1) as server:
        assert "parameters" not in status(server)[1]


@pytest.mark.parametrize(
    ("results", "text"),
    [
        (([1], [1, 2]), "different numbers of outputs: 'm0' 1, 'm1' 2"),
        (([1], 5), "model 'm1' of ensemble 'ensemble' gave an int, not a list"),
        (([1], {"a": 1}), "model 'm1' of ensemble 'ensemble' gave a dict, not a list"),
        (([[1]], [[1, 2]]), "different shapes"),
        (([1.5], ["a"]), "a mean needs numbers"),
        (([{"a": 1}], [{"a": 1}]), "can not be counted"),
    ],
    ids=str,
)
def test_members_that_do_not_fit_together_are_a_clear_error(results, text):
    with served({f"m{i}": result for i, result in enumerate(results)}) as server:
        found, answer = status(server)
        assert found == 500
        assert text in answer["error"]


# -- URLs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/v2/models/infer", "/v2/models/predict", "/v2/models/VotingEnsemble/infer", "/v2/models/iris/infer", "/",
     "/v2/models/iris", "/v2/models/explain", "/v2/models"],
)  # fmt: skip
def test_the_ensemble_answers_to_its_names(path):
    with served({"a": [1], "b": [1]}, name="iris") as server:
        answer = server.test(path, {"inputs": [0], "id": "q"})
        assert (answer["outputs"], answer["model_name"], answer["id"]) == ([1], "iris", "q")


@pytest.mark.parametrize("path", ["/v2/models/b/infer", "/v2/models/b", "/v2/models/iris/b/infer"])
def test_one_model_is_asked_by_its_name(path):
    with served({"a": [1], "b": [2]}, name="iris") as server:
        answer = server.test(path, {"inputs": [0]})
        assert (answer["outputs"], answer["model_name"]) == ([2], "b")


def test_versions_of_models_are_members():
    with served({"a:1": [1], "a:2": [2]}) as server:
        assert server.test("/v2/models/a/versions/2/infer", {"inputs": [0]})["model_version"] == "2"


def test_it_lists_its_models_and_tells_its_metadata_and_readiness():
    outputs = [{"name": "species", "datatype": "BYTES", "shape": [-1]}]
    with served({"a": [1], "b": [1]}, outputs=outputs) as server:
        assert server.test("/v2/models/") == {"models": ["a", "b", "ensemble"], "weights": {"a": 0.5, "b": 0.5}}
        metadata = server.test("/v2/models/VotingEnsemble")
        assert (metadata["name"], metadata["inputs"], metadata["outputs"]) == ("ensemble", [], outputs)
        assert server.test("/v2/models/ensemble/ready") == {"name": "ensemble", "ready": True}
        assert server.test("/v2/models/a/ready") == {"name": "a", "ready": True}


def test_it_is_not_ready_while_a_member_is_not():
    permitted = threading.Event()

    class Later(V2ModelServer):
        def load(self):
            permitted.wait(20)

    function = millrace.new_function("ensemble", kind="serving")
    function.spec.load_mode = "async"
    function.set_topology("router", ENSEMBLE)
    function.add_model("a", class_name=Gives, model=[1])
    function.add_model("b", class_name=Later)
    with function.to_mock_server() as server:
        assert server.test("/v2/models/ensemble/ready", silent=True).status_code == 503
        assert server.test("/v2/models/infer", {"inputs": [0]}, silent=True).status_code == 503
        permitted.set()


@pytest.mark.parametrize(
    ("method", "path", "body", "expected"),
    [
        ("GET", "/v2/models/infer", None, 405),
        ("GET", "/v2/models/ensemble/infer", None, 405),
        ("GET", "/v2/models/a/infer", None, 405),
        ("POST", "/v2/models/c/infer", {"inputs": [1]}, 404),
        ("POST", "/v2/models/ensemble/c/infer", {"inputs": [1]}, 404),
        ("POST", "/v2/models/infer", {}, 422),
        ("POST", "/v2/models/infer", {"inputs": []}, 422),
        ("POST", "/v2/models/infer", [1], 400),
    ],
)
def test_what_can_not_be_asked_has_a_true_status(method, path, body, expected):
    with served({"a": [1], "b": [1]}) as server:
        assert server.test(path, body, method=method, silent=True).status_code == expected
        assert server.test("/v2/models/infer", {"inputs": [0]})["outputs"] == [1]


def test_a_step_of_a_flow_answers_to_its_name():
    function = millrace.new_function("flow", kind="serving")
    graph = function.set_topology("flow", engine="async")
    graph.to(name="pre", handler=lambda body: {"inputs": body["rows"]})
    step = graph.add_step("*mlrun.serving.VotingEnsemble", name="ensemble", after="pre")
    graph.add_step(name="final", handler=lambda body: {**body, "final": True}, after="ensemble").respond()
    step.add_route("m1", class_name=Gives, model=[1])
    step.add_route("m2", class_name=Gives, model=[1])
    with function.to_mock_server() as server:
        for path in ("/v2/models/ensemble/infer", "/v2/models/infer", "/"):
            answer = server.test(path, {"rows": [5]})
            assert (answer["model_name"], answer["outputs"], answer["final"]) == ("ensemble", [1], True)
        assert server.test("/v2/models/m2/infer", {"rows": [5]})["model_name"] == "m2"


def test_an_ensemble_is_a_route_of_a_router():
    function = millrace.new_function("models", kind="serving")
    team = function.set_topology("router").add_route("team", class_name="*VotingEnsemble")
    for name, result in {"a": [1.0], "b": [2.0]}.items():
        team.add_route(name, class_name=Gives, model=result)
    with function.to_mock_server() as server:
        assert server.test("/v2/models/team/infer", {"inputs": [0]})["outputs"] == [1.5]
        assert server.test("/v2/models/team/b/infer", {"inputs": [0]})["outputs"] == [2.0]
        assert server.test("/v2/models/team")["platform"] == "millrace"


# -- forms of the answer, and deciding otherwise -----------------------------------------------------------------


def test_tensors_are_answered_with_tensors():
    outputs = [{"name": "species", "datatype": "BYTES", "shape": [-1]}]
    tensor = {"name": "x", "shape": [2], "datatype": "FP32", "data": [1, 2]}
    with served({"a": ["x", "y"], "b": ["x", "z"]}, outputs=outputs, name="iris") as server:
        found, answer = status(server, body={"id": "q", "inputs": [tensor]})
    assert found == 200
    assert answer == {
        "model_name": "iris", "id": "q",
        "outputs": [{"name": "species", "shape": [2], "datatype": "BYTES", "data": ["x", "y"]}],
    }  # fmt: skip


def test_outputs_may_be_columns_by_name():
    arguments = {"format_response_with_col_name_flag": True, "prediction_col_name": "label"}
    with served({"a": {"label": [1]}, "b": {"label": [1]}}, **arguments) as server:
        assert server.test("/v2/models/infer", {"inputs": [0]})["outputs"] == {"label": [1]}
    with served({"a": [1]}, **arguments) as server:
        assert "outputs['label']" in status(server)[1]["error"]


@pytest.mark.parametrize("is_async", [False, True])
def test_logic_may_decide_otherwise(is_async):
    class Widest(VotingEnsemble):
        def logic(self, predictions, weights):
            return [[max(row) - min(row), sum(weights)] for row in predictions]

    class WidestLater(Widest):
        async def logic(self, predictions, weights):
            return super().logic(predictions, weights)

    with served({"a": [1, 5], "b": [4, 5]}, WidestLater if is_async else Widest) as server:
        assert server.test("/v2/models/infer", {"inputs": [0, 0]})["outputs"] == [[3, 1.0], [0, 1.0]]


def test_logic_may_be_the_usual_one_with_other_predictions():
    class Rounded(VotingEnsemble):
        def logic(self, predictions, weights):
            return super().logic([[round(value) for value in row] for row in predictions], weights)

    assert decided([1.2, 2.9], [0.9, 3.1], [2.0, 9.0], class_name=Rounded) == [1, 3]


def test_ensemble_that_is_made_already_gets_its_routes_and_its_steps_name():
    function = millrace.new_function("f", kind="serving")
    graph = function.set_topology("flow", engine="async")
    ensemble = graph.to(VotingEnsemble(weights={"a": 1, "b": 3}), name="pets").respond()
    for name, result in {"a": [1], "b": [2]}.items():
        ensemble.add_route(name, class_name=Gives, model=result)
    with function.to_mock_server() as server:
        answer = server.test("/v2/models/pets/infer", {"inputs": [0]})
    assert (answer["outputs"], answer["model_name"]) == ([2], "pets")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"quorum": 2}, "quorum=2 must be from 1"), ({"weights": {"z": 1}}, "'z', which is no model")],
)
def test_ensemble_that_is_made_already_is_checked_when_its_routes_are_known(arguments, words):
    function = millrace.new_function("f", kind="serving")
    function.set_topology("router", VotingEnsemble(**arguments)).add_route("a", class_name=Gives, model=[1])
    with pytest.raises(BadStepArguments, match=words):
        function.to_mock_server()


def test_a_row_that_a_member_refuses_names_the_ensemble_and_the_member():
    declared = [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}]
    function = millrace.new_function("pets", kind="serving")
    function.set_topology("router", ENSEMBLE)
    function.add_model("a", class_name=Gives, model=[1], inputs=declared)
    response = function.to_mock_server().test("/v2/models/pets/infer", {"inputs": [[1.0]]}, silent=True)
    assert response.status_code == 422 and b"ensemble 'pets': model 'a': input 'x'" in response.body
