"""Loading models: when, from where, and what a client sees until it is done."""

import threading
from typing import Any

import pytest

import millrace
from millrace.errors import GraphError, ModelNotReady, StepError
from millrace.serving import V2ModelServer


def served(class_name: Any, load_mode: str | None = None, **arguments: Any) -> millrace.serving.MockServer:
    """A router with one model, loaded in the background where `load_mode` says so."""
    function = millrace.new_function("models", kind="serving")
    function.spec.load_mode = load_mode
    function.set_topology("router")
    function.add_model("m1", class_name=class_name, **arguments)
    return function.to_mock_server()


class Reads(V2ModelServer):
    """Answers with what get_model gave."""

    def load(self):
        self.model = self.get_model(self.get_param("suffix", ""))

    def predict(self, request):
        return list(self.model)


def outputs(server: Any) -> Any:
    return server.test("/v2/models/m1/infer", {"inputs": [1]})["outputs"]


def test_a_model_is_loaded_once_before_the_first_request():
    loaded = []

    class Counts(V2ModelServer):
        def load(self):
            loaded.append(self.name)

        def predict(self, request):
            return loaded

    server = served(Counts)
    assert loaded == ["m1"]
    assert (outputs(server), outputs(server)) == (["m1"], ["m1"])


def test_a_model_that_is_given_is_not_loaded():
    class Given(V2ModelServer):
        def load(self):
            raise AssertionError("loaded")

        def predict(self, request):
            return [self.model]

    assert outputs(served(Given, model={"coef": 2})) == [{"coef": 2}]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_load_that_fails_is_a_clear_error_before_anything_is_served(is_async):
    class Broken(V2ModelServer):
        def load(self):
            raise OSError("no such disk")

        async def load_later(self):
            raise OSError("no such disk")

    class BrokenLater(Broken):
        load = Broken.load_later

    with pytest.raises(StepError, match="failed to load model 'm1': OSError: no such disk") as caught:
        served(BrokenLater if is_async else Broken)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_model_without_load_and_model_says_what_it_needs():
    class Empty(V2ModelServer):
        def predict(self, request):
            return []

    with pytest.raises(StepError, match=r"Empty needs a method load\(self\), or model="):
        served(Empty)


def test_until_a_background_load_is_done_nothing_claims_to_be_ready():
    permitted, loaded = threading.Event(), threading.Event()

    class Later(V2ModelServer):
        def load(self):
            permitted.wait(20)

        def post_init(self, mode="sync", **kwargs):
            super().post_init(mode, **kwargs)

        def predict(self, request):
            return ["loaded"]

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "ready" and value:
                loaded.set()

    server = served(Later, load_mode="async")
    ready = server.test("/v2/models/m1/ready", silent=True)
    assert (ready.status_code, ready.body) == (503, {"name": "m1", "ready": False})
    refused = server.test("/v2/models/m1/infer", {"inputs": [1]}, silent=True)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert server.test("/v2/health/ready", silent=True).status_code == 503
    assert server.test("/v2/models/m1", method="GET")["name"] == "m1"
    permitted.set()
    assert loaded.wait(20)
    assert server.test("/v2/models/m1/ready", silent=True) == {"name": "m1", "ready": True}
    assert server.test("/v2/health/ready") == {"ready": True}
    assert outputs(server) == ["loaded"]


def test_a_background_load_that_fails_stays_503_and_says_why():
    failed = threading.Event()

    class Broken(V2ModelServer):
        def load(self):
            raise OSError("no such disk")

        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            if name == "error" and value:
                failed.set()

    server = served(Broken, load_mode="async")
    assert failed.wait(20)
    refused = server.test("/v2/models/m1/infer", {"inputs": [1]}, silent=True)
    assert refused.status_code == 503
    assert b"failed to load model 'm1': OSError: no such disk" in refused.body
    assert server.test("/v2/models/m1/ready", silent=True).status_code == 503


def test_get_model_gives_a_file(tmp_path):
    (tmp_path / "m.pkl").write_text("x")
    assert outputs(served(Reads, model_path=tmp_path / "m.pkl")) == [str(tmp_path / "m.pkl"), {}]


def test_get_model_takes_a_file_url(tmp_path):
    (tmp_path / "a b.pkl").write_text("x")
    assert outputs(served(Reads, model_path=(tmp_path / "a b.pkl").as_uri())) == [str(tmp_path / "a b.pkl"), {}]


def test_get_model_chooses_by_suffix_in_a_folder_and_gives_the_other_files(tmp_path):
    for name in ("m.pkl", "labels.json", ".hidden"):
        (tmp_path / name).write_text("x")
    found = outputs(served(Reads, model_path=tmp_path, suffix=".pkl"))
    assert found == [str(tmp_path / "m.pkl"), {"labels.json": str(tmp_path / "labels.json")}]


@pytest.mark.parametrize(
    ("suffix", "message"),
    [
        (".pkl", r"2 files \*\.pkl .*a\.pkl, b\.pkl.*get_model\(suffix\)"),
        (".onnx", r"no file \*\.onnx .*a\.pkl, b\.pkl"),
    ],
)
def test_get_model_says_what_a_folder_has_where_it_can_not_choose(tmp_path, suffix, message):
    for name in ("a.pkl", "b.pkl"):
        (tmp_path / name).write_text("x")
    with pytest.raises(ModelNotReady, match=message):
        served(Reads, model_path=tmp_path, suffix=suffix)


@pytest.mark.parametrize(("path", "message"), [("/no/such/place", "no file or folder"), (None, "it has no model_path")])
def test_get_model_without_a_file_says_so(path, message):
    with pytest.raises(ModelNotReady, match=message):
        served(Reads, model_path=path)


def test_get_model_asks_the_store_that_was_added():
    class Stored(Reads):
        def load(self):
            self.context.add_store("store", lambda uri: (f"/cache/{uri.rpartition('/')[2]}", {"note": "n"}))
            super().load()

    assert outputs(served(Stored, model_path="store://models/p/iris")) == ["/cache/iris", {"note": "n"}]


def test_get_model_names_the_stores_that_there_are():
    with pytest.raises(GraphError, match=r"no store serves 's3://bucket/m'.*context\.add_store"):
        served(Reads, model_path="s3://bucket/m")
