"""Inputs against what the model declares of them, before the model sees them."""

from typing import Any

import orjson
import pytest

import millrace
from millrace.errors import BadStepArguments
from millrace.serving import V2ModelServer

FLOWERS = [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}]


def served(inputs: Any, **arguments: Any) -> millrace.serving.MockServer:
    """A model that declares its inputs and counts the requests that reach it."""

    class Counts(V2ModelServer):
        calls = 0

        def predict(self, request):
            self.calls += 1
            return [self.calls]

    function = millrace.new_function("models", kind="serving")
    function.set_topology("router")
    function.add_model("m1", class_name=Counts, model=True, inputs=inputs, **arguments)
    return function.to_mock_server()


def status(server: Any, inputs: Any) -> tuple[int, str]:
    response = server.test("/v2/models/m1/infer", {"inputs": inputs}, silent=True, get_body=False)
    return response.status_code, orjson.loads(response.body).get("error", "")


def tensor(data: Any, datatype: str, shape: Any, name: str = "x") -> dict[str, Any]:
    return {"name": name, "shape": shape, "datatype": datatype, "data": data}


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([["a", "b"]], "must hold FP64, not text"),
        ([[1.0, None]], "not null or mixed values"),
        ([[1.0, float("nan")]], "NaN or infinity"),
        ([[float("inf"), 1.0]], "NaN or infinity"),
        ([[1.0, 2.0, 3.0]], "shape [1, 3]"),
        ([1.0, 2.0], "shape [2]"),
        ([[1.0, 2.0], [3.0]], "different lengths"),
        ([[True, False]], "not true and false"),
        ([{"a": 1}], "null or mixed values"),
        ([[[1.0, 2.0]]], "shape [1, 1, 2]"),
        ([tensor([1, 2], "BYTES", [1, 2])], "no BYTES value"),
        ([tensor(["a", "b"], "BYTES", [1, 2])], "is BYTES, and the model takes FP64"),
        ([tensor([1, 2, 3], "FP64", [1, 3])], "shape [1, 3]"),
        ([tensor([1, 2], "FP64", [2])], "shape [2]"),
        ([tensor([1, 2], "FP64", [1, 2], "x1")], "input 'x' is missing"),
        ([tensor([1, 2], "FP64", [1, 2], "x1"), tensor([1], "FP64", [1], "y")], "input 'x' is missing"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_422_and_never_reaches_the_model(inputs, text):
    server = served(FLOWERS)
    found, error = status(server, inputs)
    assert found == 422
    assert text in error and "'x'" in error
    assert server.test("/v2/models/m1/infer", {"inputs": [[1.0, 2.0]]})["outputs"] == [1]


@pytest.mark.parametrize(
    "inputs",
    [
        [[1.0, 2.0]],
        [[1, 2], [3, 4]],
        [[1, 2.5]],
        [tensor([1, 2], "FP64", [1, 2])],
        [tensor([1, 2], "FP32", [1, 2])],
        [tensor([1, 2], "INT32", [1, 2])],
    ],
    ids=str,
)
def test_what_fits_is_served_and_so_are_datatypes_that_the_declared_one_holds(inputs):
    assert status(served(FLOWERS), inputs) == (200, "")


def test_a_datatype_that_the_declared_one_does_not_hold_is_refused():
    found, error = status(served([{"name": "x", "datatype": "FP32"}]), [tensor([1.0], "FP64", [1])])
    assert (found, "is FP64, and the model takes FP32" in error) == (422, True)


@pytest.mark.parametrize(
    ("datatype", "good", "bad"),
    [("INT8", [-128, 127], [128]), ("UINT8", [0, 255], [-1]), ("INT64", [5], [5.5]), ("BOOL", [True], [1]),
     ("BYTES", ["a"], [1]), ("UINT64", [2**64 - 1], [2**64])],
)  # fmt: skip
def test_plain_values_must_be_of_the_declared_datatype(datatype, good, bad):
    server = served([{"name": "x", "datatype": datatype}])
    assert (status(server, good)[0], status(server, bad)[0]) == (200, 422)


def test_a_declaration_may_let_nan_in_which_json_writes_as_null():
    server = served([{**FLOWERS[0], "allow_nan": True}])
    assert status(server, [[1.0, None]])[0] == 200
    assert status(server, [["a", None]])[0] == 422


def test_several_declared_inputs_are_sent_as_tensors_by_name():
    server = served([{"name": "a", "datatype": "INT64"}, {"name": "b", "datatype": "FP32"}])
    both = [tensor([1], "INT64", [1], "a"), tensor([1], "FP32", [1], "b")]
    assert status(server, both)[0] == 200
    assert status(server, both[:1]) == (422, "model 'm1' takes 2 inputs (a, b), not one")
    assert status(server, [[1]])[0] == 422
    assert status(server, [*both, tensor([1], "FP32", [1], "b2")]) == (
        422, "model 'm1' has no input 'b2', it takes a, b; did you mean 'b'?"
    )  # fmt: skip


def test_the_schema_is_checked_after_preprocess():
    class Splits(V2ModelServer):
        def preprocess(self, request, operation):
            return {"inputs": [[float(part) for part in row.split(",")] for row in request["inputs"]]}

        def predict(self, request):
            return request["inputs"]

    function = millrace.new_function("models", kind="serving")
    function.set_topology("router")
    function.add_model("m1", class_name=Splits, model=True, inputs=FLOWERS)
    server = function.to_mock_server()
    assert status(server, ["1,2"])[0] == 200
    assert status(server, ["1,2,3"])[0] == 422


@pytest.mark.parametrize(
    "inputs",
    [{"name": "x"}, [5], [{"datatype": "FP32"}], [{"name": "x", "datatype": "F32"}], [{"name": "x", "shape": 4}]],
    ids=str,
)  # fmt: skip
def test_a_declaration_that_is_none_is_refused_before_anything_runs(inputs):
    with pytest.raises(BadStepArguments, match="model 'm1'"):
        served(inputs)
