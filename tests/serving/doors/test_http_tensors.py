"""Inference over HTTP with tritonclient: typed tensors in JSON and in bytes, compressed or not."""

import json
from contextlib import closing, contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import tritonclient.http as triton

import millrace
from millrace.serving import V2ModelServer
from millrace.serving.doors.http import HttpSettings
from millrace.serving.doors.http_run import running
from millrace.serving.functions.runtime import make_engine

ROWS = np.array([[1.5, 2.0, 3.25], [-1.0, 0.0, np.pi]], dtype=np.float32)


class Sums(V2ModelServer):
    def load(self):
        self.model = True

    def predict(self, request):
        return request["inputs"].sum(axis=1)


class Echo(V2ModelServer):
    def load(self):
        self.model = True

    def predict(self, request):
        return request["inputs"]


@contextmanager
def served(model, **settings):
    function = millrace.new_function("tensors")
    function.set_topology("router")
    function.add_model("m", class_name=model)
    engine, streams = make_engine(function, [])
    with running(engine, streams, settings=HttpSettings(port=0, **settings)) as server:
        yield server


@contextmanager
def client_of(server):
    with closing(triton.InferenceServerClient(f"127.0.0.1:{server.port}")) as client:
        yield client


def tensor(name, array, datatype, *, binary):
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_triton_client_gets_the_sums_of_rows(binary, compression):
    with served(Sums) as server, client_of(server) as client:
        outputs = [triton.InferRequestedOutput("sum", binary_data=binary)]
        inputs = [tensor("x", ROWS, "FP32", binary=binary)]
        answer = client.infer("m", inputs, outputs=outputs, request_id="r1", request_compression_algorithm=compression)
    np.testing.assert_allclose(answer.as_numpy("sum"), ROWS.sum(axis=1))
    assert answer.get_response()["id"] == "r1"


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
@pytest.mark.parametrize(
    ("array", "datatype"),
    [
        (np.array([[1, -(2**62)]], np.int64), "INT64"), (np.array([0.1, 1e-300]), "FP64"),
        (np.array([255, 0], np.uint8), "UINT8"), (np.array([True, False]), "BOOL"),
        (np.array([["a", "é"]], dtype=object), "BYTES"),
    ],
)  # fmt: skip
def test_tensor_comes_back_as_it_went(array, datatype, binary_in, binary_out):
    with served(Echo) as server, client_of(server) as client:
        outputs = [triton.InferRequestedOutput("y", binary_data=binary_out)]
        found = client.infer("m", [tensor("x", array, datatype, binary=binary_in)], outputs=outputs).as_numpy("y")
    if datatype == "BYTES":
        found = np.array([[one.decode() if isinstance(one, bytes) else one for one in found.ravel()]], dtype=object)
    assert found.shape == array.shape and found.tolist() == array.tolist()


def test_binary_and_json_tensors_may_be_mixed():
    with served(Echo) as server, client_of(server) as client:
        inputs = [tensor("a", ROWS, "FP32", binary=True), tensor("b", np.array([7]), "INT64", binary=False)]
        answer = client.infer("m", inputs)
    assert answer.as_numpy("a").tolist() == ROWS.tolist() and answer.as_numpy("b").tolist() == [7]


def test_1000_by_30_floats_come_in_several_packets():
    rows = np.random.default_rng(7).random((1000, 30), dtype=np.float32)
    with served(Sums) as server, client_of(server) as client:
        found = client.infer("m", [tensor("x", rows, "FP32", binary=True)]).as_numpy("output-0")
    np.testing.assert_allclose(found, rows.sum(axis=1), rtol=1e-5)


def test_steps_before_the_model_see_arrays_in_a_normal_body():
    seen = []

    def look(body):
        seen.append(body)
        return body["inputs"][0]["data"].sum()

    function = millrace.new_function("flow")
    function.set_topology("flow").to(name="look", handler=look).respond()
    engine, _ = make_engine(function, [])
    with running(engine, settings=HttpSettings(port=0)) as server:
        x = {"name": "x", "shape": [2], "datatype": "FP32"}
        parameters = {"binary_data_size": 8, "mine": 1}
        head = json.dumps({"id": "7", "inputs": [{**x, "parameters": parameters}]}).encode()
        body = head + np.array([1.0, 2.5], "<f4").tobytes()
        headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
        with urlopen(Request(server.url, body, headers)) as answer:
            assert answer.read() == b"3.5"
    array = seen[0]["inputs"][0].pop("data")
    assert array.dtype == np.float32 and array.tolist() == [1.0, 2.5]
    assert seen[0] == {"id": "7", "inputs": [{**x, "parameters": {"mine": 1}}]}


def test_client_reads_health_metadata_and_readiness():
    with served(Sums) as server, client_of(server) as client:
        assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("m")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data", "classification"]
        assert client.get_model_metadata("m")["name"] == "m"
        assert not client.is_model_ready("other")


def error_of(server, body, headers=None, path="/v2/models/m/infer"):
    with pytest.raises(HTTPError) as raised:
        urlopen(Request(f"{server.url}{path}", body, headers or {"Content-Type": "application/json"}))
    with raised.value as answer:
        return answer.status, json.loads(answer.read())["error"]


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ([{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2]}], "shape"),
        ([{"name": "x", "shape": [1], "datatype": "FP33", "data": [1]}], "FP33"),
        ([{"name": "x", "shape": [1], "datatype": "INT64", "data": ["one"]}], "INT64"),
        ([], "empty"),
    ],
)
def test_wrong_inputs_are_422_and_the_next_request_is_served(inputs, says):
    with served(Sums) as server, client_of(server) as client:
        status, error = error_of(server, json.dumps({"inputs": inputs}).encode())
        assert status == 422 and says in error
        assert client.infer("m", [tensor("x", ROWS, "FP32", binary=True)]).as_numpy("output-0").shape == (2,)


@pytest.mark.parametrize(
    ("body", "length", "status", "says"),
    [
        (b"{}", "x", 400, "Inference-Header-Content-Length"),
        (b"{}", "99", 400, "99"),
        (b"{}", "9" * 5_000, 400, "999"),
        (b"[1]", "3", 400, "object"),
        (b"{]", "2", 400, "JSON"),
        (b'{"inputs":[]}abc', "13", 422, "inputs"),
        (
            b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}ab',
            "91", 422, "4",
        ),
    ],
)  # fmt: skip
def test_broken_binary_request_says_what_is_wrong(body, length, status, says):
    with served(Sums) as server:
        found, error = error_of(server, body, {"Inference-Header-Content-Length": length})
    assert found == status and says in error


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/other/infer", 404), ("/v2/models/m/versions/9/infer", 404), ("/v2/models/m/nothing", 404),
        ("/elsewhere", 404),
    ],
)  # fmt: skip
def test_unknown_model_version_operation_or_path_is_404(path, status):
    with served(Sums) as server:
        assert error_of(server, b'{"inputs": [[1]]}', path=path)[0] == status


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [("/v2/models/m/infer", "GET", "POST, PUT"), ("/v2", "POST", "GET, HEAD"), ("/v2", "TRACE", "GET, HEAD, POST")],
)
def test_wrong_method_is_405_and_names_those_that_are_allowed(path, method, allowed):
    with served(Sums) as server, pytest.raises(HTTPError) as refused:
        urlopen(Request(f"{server.url}{path}", method=method))
    with refused.value as error:
        assert error.code == 405 and error.headers["Allow"].startswith(allowed)


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize(
    ("array", "datatype", "classes"),
    [
        # The example of Triton's page on the extension, and values by hand.
        (np.array([[1, 5, 10, 4]], np.float32), "FP32", [[b"10.000000:2", b"5.000000:1"]]),
        (np.array([[0, 255], [7, 7]], np.uint8), "UINT8", [[b"255:1", b"0:0"], [b"7:0", b"7:1"]]),
        (np.array([-(2**63), 2**63 - 1, 0]), "INT64", [b"9223372036854775807:1", b"0:2"]),
        (np.array([[0.5, np.nan, -np.inf]]), "FP64", [[b"0.500000:0", b"-inf:2"]]),
        (np.array([[3.0], [4.0]]), "FP64", [[b"3.000000:0"], [b"4.000000:0"]]),
    ],
)
def test_classes_are_the_highest_values_with_their_indices(array, datatype, classes, binary):
    wanted = [triton.InferRequestedOutput("output-0", binary_data=binary, class_count=2)]
    with served(Echo) as server, client_of(server) as client:
        found = client.infer("m", [tensor("x", array, datatype, binary=True)], outputs=wanted).as_numpy("output-0")
    assert np.vectorize(lambda one: one if binary else one.encode())(found).tolist() == classes


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        ({"classification": 0}, "1 or more"), ({"classification": "2"}, "1 or more"),
        ({"classification": True}, "true"), ({"classification": 1}, "no numbers"),
        ({"shared_memory_region": "r"}, "shared memory"),
    ],
)  # fmt: skip
def test_output_that_can_not_be_had_so_is_422(parameters, says):
    body = {"inputs": [{"name": "x", "shape": [1], "datatype": "BYTES", "data": ["a"]}]}
    body["outputs"] = [{"name": "y", "parameters": parameters}]
    with served(Echo) as server:
        status, error = error_of(server, json.dumps(body).encode())
    assert status == 422 and says in error


def test_input_in_shared_memory_is_422_and_says_so():
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "parameters": {"shared_memory_region": "r"}}
    with served(Echo) as server:
        status, error = error_of(server, json.dumps({"inputs": [tensor]}).encode())
    assert status == 422 and "shared memory" in error


@pytest.mark.parametrize("header", ["Inference-Header-Content-Length", "inference-header-content-length"])
def test_mock_server_answers_a_request_with_binary_tensors_as_the_http_server_does(header):
    outputs = [triton.InferRequestedOutput("sum", binary_data=True)]
    body, length = triton.InferenceServerClient.generate_request_body(
        [tensor("x", ROWS, "FP32", binary=True)], outputs=outputs
    )
    headers = {header: str(length)}
    with served(Sums) as server:
        request = Request(f"{server.url}/v2/models/m/infer", body, headers)
        with urlopen(request) as response:
            over_http = (response.status, response.headers[header], response.read()[-8:])
    function = millrace.new_function("tensors")
    function.add_model("m", class_name=Sums)
    answer = function.to_mock_server().test("/v2/models/m/infer", body, headers=headers, get_body=False)
    in_mock = (answer.status_code, answer.headers["Inference-Header-Content-Length"], answer.body[-8:])
    assert over_http[0] == in_mock[0] == 200
    assert over_http[2] == in_mock[2] == ROWS.sum(axis=1).tobytes()


def test_mock_server_says_what_is_wrong_with_a_binary_request():
    function = millrace.new_function("tensors")
    function.add_model("m", class_name=Sums)
    headers = {"Inference-Header-Content-Length": "ten"}
    response = function.to_mock_server().test("/v2/models/m/infer", b"{}", headers=headers, silent=True)
    assert response.status_code == 400 and b"not the length of the JSON" in response.body
