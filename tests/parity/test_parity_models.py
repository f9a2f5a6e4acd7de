"""Models behind every door: one differing byte in an answer fails."""

import gzip
import json

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression
from ways_in import DOORS, REACHED_BY_CLIENTS, Reply, Request, every_door

import millrace
from millrace.serving import V2ModelServer

FLOWERS, KINDS = load_iris(return_X_y=True)
ROWS = FLOWERS[[0, 60, 140]]
JSON = "application/json"


# Imported late: `up` reads this in two processes, of which one needs no scikit-learn.


def fitted(maker):
    from sklearn.linear_model import LogisticRegression
    from sklearn.tree import DecisionTreeClassifier

    model = DecisionTreeClassifier(random_state=0) if maker == "tree" else LogisticRegression(max_iter=1000)
    return model.fit(FLOWERS, KINDS)


class Iris(V2ModelServer):
    def load(self):
        self.model = fitted(self.get_param("maker"))

    def predict(self, request):
        return self.model.predict(np.asarray(request["inputs"])).tolist()


class Width(V2ModelServer):
    def load(self):
        from sklearn.linear_model import LinearRegression

        self.model = LinearRegression().fit(FLOWERS[:, :3], FLOWERS[:, 3])

    def predict(self, request):
        return self.model.predict(request["inputs"])


class Broken(V2ModelServer):
    def load(self):
        raise OSError("no such weights")

    def predict(self, request):
        return request["inputs"]


def router():
    function = millrace.new_function("flowers")
    function.set_topology("router")
    function.add_model("tree", class_name=Iris, maker="tree")
    function.add_model("width", class_name=Width)
    return function


def ensemble():
    function = millrace.new_function("flowers")
    function.set_topology("router", "mlrun.serving.VotingEnsemble", vote_type="classification")
    function.add_model("tree", class_name=Iris, maker="tree")
    function.add_model("logistic", class_name=Iris, maker="logistic")
    return function


def tensor(array, **more):
    named = {"name": "x", "shape": list(array.shape), "datatype": "FP64"}
    return {"inputs": [named | more]}


def binary(array, *, answer_binary):
    """The binary tensor extension: JSON, then the bytes. https://kserve.github.io/website (Open Inference Protocol)."""
    head = tensor(array, parameters={"binary_data_size": array.nbytes})
    head["outputs"] = [{"name": "output-0", "parameters": {"binary_data": answer_binary}}]
    text = json.dumps(head).encode()
    headers = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(text))}
    return Request("/v2/models/width/infer", text + array.tobytes(), headers=headers)


def test_plain_inputs_get_sklearns_predictions_from_every_door():
    with every_door(router) as ask:
        found = ask(Request("/v2/models/tree/infer", json.dumps({"inputs": ROWS.tolist()}).encode()))
    assert json.loads(found.body)["outputs"] == fitted("tree").predict(ROWS).tolist() == [0, 1, 2]
    assert (found.status, found.content_type) == (200, JSON)


def test_tensors_get_sklearns_predictions_from_every_door():
    body = json.dumps(tensor(ROWS[:, :3], data=ROWS[:, :3].tolist())).encode()
    with every_door(router) as ask:
        found = ask(Request("/v2/models/width/infer", body))
    expected = LinearRegression().fit(FLOWERS[:, :3], FLOWERS[:, 3]).predict(ROWS[:, :3])
    np.testing.assert_array_equal(json.loads(found.body)["outputs"][0]["data"], expected)


@pytest.mark.parametrize("answer_binary", [True, False])
def test_binary_tensors_get_the_same_bytes_from_every_door(answer_binary):
    rows = np.ascontiguousarray(ROWS[:, :3])
    with every_door(router) as ask:
        found = ask(binary(rows, answer_binary=answer_binary))
    expected = LinearRegression().fit(FLOWERS[:, :3], FLOWERS[:, 3]).predict(rows)
    length = dict(found.headers).get("inference-header-content-length")
    assert (length is not None) == answer_binary
    if length is not None:
        np.testing.assert_array_equal(np.frombuffer(found.body[int(length) :]), expected)


def test_votes_are_the_same_behind_every_door():
    with every_door(ensemble) as ask:
        found = ask(Request("/v2/models/flowers/infer", json.dumps({"inputs": ROWS.tolist()}).encode()))
        one = ask(Request("/v2/models/tree/infer", json.dumps({"inputs": ROWS.tolist()}).encode()))
    assert json.loads(found.body)["outputs"] == json.loads(one.body)["outputs"] == [0, 1, 2]


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/", {"name": "ModelRouter", "version": "v2", "extensions": ["binary_tensor_data", "classification"]}),
        ("/v2/health/live", {"live": True}), ("/v2/health/ready", {"ready": True}),
        ("/v2/models/tree/ready", {"name": "tree", "ready": True}),
    ],
)  # fmt: skip
def test_what_a_router_tells_of_itself_is_the_same_behind_every_door(target, body):
    with every_door(router) as ask:
        found = ask(Request(target, method="GET", headers={}))
    assert (found.status, found.content_type, json.loads(found.body)) == (200, JSON, body)


@pytest.mark.parametrize(
    ("target", "body", "status"),
    [
        ("/v2/models/oak/infer", b'{"inputs": [[1]]}', 404), ("/v2/models/tree/explain", b'{"inputs": [[1]]}', 404),
        ("/v2/models/tree/infer", b"{}", 422), ("/v2/models/tree/infer", b'{"inputs": [', 400),
        ("/v2/models/tree/infer", b'{"inputs": [[1]]}', 500),
        ("/v2/models/width/infer", b'{"inputs": [{"name": "x", "shape": [2], "datatype": "FP9", "data": [1]}]}', 422),
    ],
)  # fmt: skip
def test_errors_are_the_same_behind_every_door(target, body, status):
    with every_door(router) as ask:
        found = ask(Request(target, body))
    assert (found.status, found.content_type, list(json.loads(found.body))) == (status, JSON, ["error"])


def test_a_model_that_could_not_be_loaded_is_not_ready_behind_every_door():
    def broken():
        function = millrace.new_function("late")
        function.set_topology("router")
        function.add_model("late", class_name=Broken)
        function.spec.load_mode = "async"
        return function

    with every_door(broken) as ask:
        ready, health = (ask(Request(f"/v2/{what}/ready", method="GET")) for what in ("models/late", "health"))
        found = ask(Request("/v2/models/late/infer", b'{"inputs": [1]}'))
    assert (ready.status, json.loads(ready.body)) == (503, {"name": "late", "ready": False})
    assert (health.status, found.status) == (503, 503)


@pytest.mark.parametrize("content_type", [JSON, "application/json; charset=utf-8", None])
def test_compressed_bodies_are_read_by_the_doors_that_clients_reach(content_type):
    body = gzip.compress(json.dumps({"inputs": ROWS.tolist()}).encode())
    headers = {"Content-Encoding": "gzip"} | ({"Content-Type": content_type} if content_type else {})
    replies = set()
    for name in REACHED_BY_CLIENTS:
        with DOORS[name](router) as ask:
            replies.add(ask(Request("/v2/models/tree/infer", body, headers=headers)))
    (only,) = replies
    assert isinstance(only, Reply)
    assert json.loads(only.body)["outputs"] == [0, 1, 2]
