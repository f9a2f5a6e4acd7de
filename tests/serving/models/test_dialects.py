"""Requests and answers on the wire, in both dialects. What is sent is what the HTTP door sends: the response's JSON."""

from typing import Any

import numpy as np
import orjson
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import millrace
from millrace.serving import V2ModelServer

NUMPY_DTYPES = {
    "BOOL": "bool", "UINT8": "uint8", "UINT16": "uint16", "UINT32": "uint32", "UINT64": "uint64", "INT8": "int8",
    "INT16": "int16", "INT32": "int32", "INT64": "int64", "FP32": "float32", "FP64": "float64", "BYTES": "object",
}  # fmt: skip


class Echo(V2ModelServer):
    """Gives back its inputs as they came."""

    def load(self):
        self.model = True

    def predict(self, request):
        return request["inputs"]


def served(class_name: Any = Echo, **arguments: Any) -> millrace.serving.MockServer:
    """A router with one model."""
    function = millrace.new_function("models", kind="serving")
    function.set_topology("router")
    function.add_model("m1", class_name=class_name, **arguments)
    return function.to_mock_server()


def sent(server: Any, body: Any, path: str = "/v2/models/m1/infer") -> tuple[int, Any]:
    """The status and the parsed JSON that a client of HTTP gets."""
    response = server.test(path, orjson.dumps(body), content_type="application/json", silent=True, get_body=False)
    return response.status_code, orjson.loads(response.body)


def tensor(data: Any, datatype: str, name: str = "x", shape: Any = None) -> dict[str, Any]:
    return {"name": name, "shape": list(np.shape(data)) if shape is None else shape, "datatype": datatype, "data": data}


VALUES = {"BOOL": [True, False], "BYTES": ["Oslo", "Ås"], "FP32": [0.5, -2.25], "FP64": [0.1, 1e300]}


@pytest.mark.parametrize("datatype", NUMPY_DTYPES)
def test_every_json_datatype_comes_back_as_it_was_sent(datatype):
    values = VALUES.get(datatype, [0, 7])
    status, answer = sent(served(), {"id": "q1", "inputs": [tensor(values, datatype)]})
    output = {"name": "output-0", "shape": [2], "datatype": datatype, "data": values}
    assert (status, answer) == (200, {"model_name": "m1", "id": "q1", "outputs": [output]})


@pytest.mark.parametrize("datatype", NUMPY_DTYPES)
def test_a_model_gets_one_tensor_as_an_array_of_its_dtype_and_shape(datatype):
    class Tells(Echo):
        def predict(self, request):
            return [str(request["inputs"].dtype), *map(str, request["inputs"].shape)]

    values = np.array([VALUES.get(datatype, [0, 7])] * 3, dtype=object).tolist()
    _, answer = sent(served(Tells), {"inputs": [tensor(values, datatype)]})
    assert answer["outputs"][0]["data"] == [NUMPY_DTYPES[datatype], "3", "2"]


def test_several_tensors_come_as_a_dict_of_arrays_and_outputs_are_chosen_by_name():
    class Sums(Echo):
        def predict(self, request):
            a, b = request["inputs"]["a"], request["inputs"]["b"]
            return {"sum": a + b, "difference": a - b}

    inputs = [tensor([5, 6], "INT64", "a"), tensor([1, 2], "INT64", "b")]
    status, answer = sent(served(Sums), {"inputs": inputs, "outputs": [{"name": "difference"}]})
    output = {"name": "difference", "shape": [2], "datatype": "INT64", "data": [4, 4]}
    assert (status, answer["outputs"]) == (200, [output])


def test_an_output_that_the_model_does_not_have_is_422():
    class Sums(Echo):
        def predict(self, request):
            return {"sum": [1]}

    status, answer = sent(served(Sums), {"inputs": [tensor([1], "INT64")], "outputs": [{"name": "total"}]})
    assert (status, "no output 'total', available: sum" in answer["error"]) == (422, True)


def test_binary_outputs_follow_the_json_of_the_answer():
    request = {"inputs": [tensor([1.5, -2.0], "FP32")], "parameters": {"binary_data_output": True}}
    response = served().test("/v2/models/m1/infer", request, get_body=False)
    length = int(response.headers["Inference-Header-Content-Length"])
    assert orjson.loads(response.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert np.frombuffer(response.body[length:], "<f4").tolist() == [1.5, -2.0]


def test_arrays_may_be_sent_as_data_in_the_same_process():
    array = np.array([[1.5, 2.5]], dtype=np.float32)
    answer = served().test("/v2/models/m1/infer", {"inputs": [tensor(array, "FP32")]})
    assert np.asarray(answer["outputs"][0]["data"]).tolist() == [1.5, 2.5]


def test_both_dialects_give_what_scikit_learn_gives():
    rows, species = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(rows, species)

    class Classifier(Echo):
        def predict(self, request):
            return self.model.predict(np.asarray(request["inputs"]))

    server = served(Classifier, model=model)
    _, plain = sent(server, {"inputs": rows.tolist()})
    _, tensors = sent(server, {"inputs": [tensor(rows.tolist(), "FP64")]})
    assert plain["outputs"] == tensors["outputs"][0]["data"] == model.predict(rows).tolist()


@pytest.mark.parametrize("outputs", [np.array([1, 2]), list(np.array([1, 2])), [1, 2]], ids=["array", "items", "list"])
def test_results_may_be_numpy_in_both_dialects(outputs):
    class Gives(Echo):
        def predict(self, request):
            return outputs

    server = served(Gives)
    assert sent(server, {"inputs": [1]})[1]["outputs"] == [1, 2]
    assert sent(server, {"inputs": [tensor([1], "INT64")]})[1]["outputs"][0]["data"] == [1, 2]


def test_the_models_version_is_in_tensor_answers_only_where_it_has_one():
    function = millrace.new_function("models", kind="serving")
    function.set_topology("router")
    function.add_model("m1:3", class_name=Echo)
    _, answer = sent(function.to_mock_server(), {"inputs": [tensor([1], "INT64")]}, "/v2/models/m1/versions/3/infer")
    assert answer["model_version"] == "3"
    assert "model_version" not in sent(served(), {"inputs": [tensor([1], "INT64")]})[1]


def test_postprocess_changes_the_outputs_of_tensor_answers_too():
    class Doubles(Echo):
        def postprocess(self, response):
            return {**response, "outputs": response["outputs"] * 2}

    _, answer = sent(served(Doubles), {"inputs": [tensor([1, 2], "INT64")]})
    assert answer["outputs"][0]["data"] == [2, 4]


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([tensor([1, 2, 3], "FP32", shape=[2, 2])], "number of elements"),
        ([tensor([1], "F32")], "none of BOOL"),
        ([tensor([300], "UINT8")], "no UINT8 value"),
        ([tensor(["a"], "INT64")], "no INT64 value"),
        ([tensor([1.5], "INT64")], "no INT64 value"),
        ([tensor([None], "FP32")], "no FP32 value"),
        ([tensor([1], "FP16")], "FP16, which has no JSON form"),
        ([tensor([1], "INT64"), tensor([1], "INT64")], "two inputs of the name"),
        ([tensor([1], "INT64"), 5], "not a tensor"),
        ([{"name": "x", "datatype": "INT64", "data": [1]}], "no shape"),
        ([tensor([], "INT64", shape=[0, 4])], "'inputs' is empty"),
    ],
)
def test_tensors_that_are_not_what_they_say_are_422(inputs, text):
    status, answer = sent(served(), {"inputs": inputs})
    assert status == 422
    assert text in answer["error"]


@pytest.mark.parametrize("fields", [{"parameters": 5}, {"outputs": {"name": "x"}}, {"outputs": [{}]}], ids=str)
def test_a_malformed_choice_of_outputs_is_422(fields):
    assert sent(served(), {"inputs": [tensor([1], "INT64")], **fields})[0] == 422


def test_a_result_that_is_no_tensor_is_the_models_fault_and_names_its_step():
    class Ragged(Echo):
        def predict(self, request):
            return [[1], [2, 3]]

    status, answer = sent(served(Ragged), {"inputs": [tensor([1], "INT64")]})
    assert status == 500
    assert "step 'router/m1'" in answer["error"] and "ragged" in answer["error"]
