"""Whatever is sent to a model that declares its inputs and never fails, the status is true and never 500."""

import functools
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import millrace
from millrace.serving import V2ModelServer

STATUSES = {200, 204, 400, 403, 404, 405, 413, 422}


class Sums(V2ModelServer):
    """Takes rows of two numbers."""

    def predict(self, request):
        return [float(sum(row)) for row in request["inputs"]]


@functools.cache
def served(class_name: str | None = None) -> millrace.serving.MockServer:
    """One server for all examples."""
    function = millrace.new_function("models", kind="serving")
    function.set_topology("router", class_name)
    inputs = [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}]
    function.add_model("m1", class_name=Sums, model=True, inputs=inputs, features=["a", "b"])
    return function.to_mock_server()


SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=4)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
)
ROWS = st.lists(st.lists(st.floats(allow_nan=False, width=32) | st.integers(-9, 9), min_size=1, max_size=3), max_size=3)
TENSORS = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "name": st.sampled_from(["x", "y", "", 5]), "shape": JSON | st.just([1, 2]), "data": JSON | st.just([1, 2]),
            "datatype": st.sampled_from(["FP64", "FP32", "INT64", "BYTES", "BOOL", "FP16", "F32", None]),
            "parameters": JSON | st.just({"binary_data_size": 8}),
        },
    ),
    min_size=1, max_size=2,
)  # fmt: skip
BODIES = JSON | st.fixed_dictionaries(
    {"inputs": JSON | ROWS | TENSORS | st.dictionaries(st.sampled_from("abc"), st.floats(), max_size=3)},
    optional={
        "id": JSON, "parameters": JSON, "outputs": JSON, "model": JSON | st.just("m1"), "data_url": JSON,
        "operation": JSON | st.sampled_from(["infer", "explain", "ready", "infer_dict"]),
    },
)  # fmt: skip
PARTS = st.sampled_from(
    ["v2", "models", "m1", "m1:2", "versions", "2", "infer", "predict_dict", "explain", "ready", "health", "router", ""]
) | st.text(max_size=4)
PATHS = st.lists(PARTS, max_size=6).map(lambda parts: "/" + "/".join(parts)) | st.sampled_from(
    ["/v2/models/m1/infer", "/v2/models/m1/infer_dict", "/v2/models/infer", "/"]
)
METHODS = st.sampled_from(["POST", "POST", "POST", "GET", "PUT", "DELETE", ""])


def check(server: Any, path: str, body: Any, method: str) -> None:
    """The status is one of those above, and the answer is JSON that a client can read."""
    response = server.test(path, body, method=method, silent=True, get_body=False)
    assert response.status_code in STATUSES, response
    if response.body:
        orjson.loads(response.body if isinstance(response.body, bytes) else orjson.dumps(response.body))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=PATHS, body=BODIES, method=METHODS)
def test_any_json_to_any_path_of_a_router_gets_a_true_status(path, body, method):
    check(served(), path, body, method)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=PATHS, body=BODIES, method=METHODS)
def test_any_json_to_any_path_of_an_ensemble_gets_a_true_status(path, body, method):
    check(served("VotingEnsemble"), path, body, method)


@settings(max_examples=150, deadline=None)
@given(
    body=st.binary(max_size=40) | st.text(max_size=20),
    content_type=st.sampled_from([None, "application/json", "text/plain", "x"]),
)
def test_any_bytes_get_a_true_status(body, content_type):
    server = served()
    response = server.test("/v2/models/m1/infer", body, content_type=content_type, silent=True, get_body=False)
    assert response.status_code in STATUSES, response
