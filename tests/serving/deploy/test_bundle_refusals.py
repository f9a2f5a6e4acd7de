"""What can not be deployed is told before a file is written, each with its own words and a way out."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import millrace
from millrace.errors import GraphError, SpecError

SHOP = str(Path(__file__).parent / "shop" / "orders.py")
BROKER = "kafka://broker.example.com:9092"


def plain(name="f", *, project=""):
    function = millrace.new_function(name, project=project)
    function.set_topology("flow").to(name="s", handler="(event)").respond()
    return function


def with_queue(**settings):
    function = millrace.new_function("f")
    function.set_topology("flow").to(">>", "q", **settings)
    return function


def with_code(folder, text):
    (folder / "user_code.py").write_text(text)
    function = millrace.code_to_function("f", filename=str(folder / "user_code.py"), kind="serving")
    function.set_topology("flow").to(name="s", handler="step").respond()
    return function


def refused(function, folder, target="nuclio", **choices):
    """The words with which an export is refused; nothing was written."""
    with pytest.raises(GraphError) as caught:
        function.export(target, str(folder / "out"), **choices)
    assert not (folder / "out").exists()
    return str(caught.value)


# -- names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["My_Project", "1st", "a" * 64, "ends-", "dot.ted"])
def test_a_project_name_that_kubernetes_refuses(name, tmp_path):
    assert f"the project name '{name}' is not allowed" in refused(plain(project=name), tmp_path)


def test_a_function_name_that_is_too_long_with_its_project(tmp_path):
    said = refused(plain("a" * 40, project="b" * 30), tmp_path)
    assert f"the function name '{'b' * 30}-{'a' * 40}' is not allowed: use at most 56" in said


def test_a_function_name_with_a_dot_is_no_service(tmp_path):
    said = refused(plain("my.graph"), tmp_path, "kubernetes")
    assert "'my.graph' is not allowed" in said and said.endswith("such as 'my-graph'")


# -- queues --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "target", "words"),
    [
        ({}, "nuclio", "queue 'q' has no address that nuclio knows: .*--streams"),
        ({"path": "in"}, "kubernetes", r"give path='kafka://broker:9092/in'"),
        ({"path": "log:///data/in"}, "nuclio", "'log:///data/in' is on one machine"),
        ({"path": "memory://in"}, "docker", "'memory://in' is inside one process"),
        ({"path": "kafka://localhost:9092/in"}, "kubernetes", "'localhost:9092' is the container itself"),
        ({"path": "in", "kafka_brokers": "127.0.0.1"}, "nuclio", "'127.0.0.1:9092' is the container itself"),
        ({"path": "v3io:///bigdata/in"}, "kubernetes", "has no host, which is right on the platform itself"),
        ({"path": f"{BROKER}/in", "access_key": "k"}, "nuclio", "'access_key' must not stand in the graph"),
        ({"path": f"{BROKER}/in", "dead_letters": "memory://d"}, "nuclio", "is inside one process"),
    ],
)
def test_a_queue_that_the_target_can_not_reach(settings, target, words, tmp_path):
    import re

    assert re.search(words, refused(with_queue(**settings), tmp_path, target))


@pytest.mark.parametrize("way", ["queue", "trigger"])
def test_messages_that_are_to_count_once_in_nuclio(way, tmp_path):
    function = millrace.new_function("f")
    settings = {"exactly_once": True} if way == "queue" else {}
    first = function.set_topology("flow").to(">>", "q", path=f"{BROKER}/q", **settings)
    first.to(name="work", handler="(event)", function="child")
    function.add_child_function("child")
    if way == "trigger":
        function.add_trigger("in", {"kind": "stream", "url": f"{BROKER}/in", "exactly_once": True})
    assert "exactly_once=True does not hold in Nuclio" in refused(function, tmp_path)


def test_an_error_stream_without_an_address(tmp_path):
    function = plain()
    function.spec.error_stream = "errors"
    assert "the error stream has no address that nuclio knows" in refused(function, tmp_path)


def test_a_child_that_runs_nothing(tmp_path):
    function = plain()
    function.add_child_function("idle")
    assert "child function 'idle' runs no step" in refused(function, tmp_path)


def test_a_queue_after_a_queue_carries_nothing(tmp_path):
    function = with_queue(path=f"{BROKER}/a")
    function.graph.add_step(">>", "b", path=f"{BROKER}/b", after="q")
    assert "queue 'b' follows the queue 'q'" in refused(function, tmp_path)


# -- code ----------------------------------------------------------------------------------------------------------


def test_code_that_the_targets_python_can_not_read(tmp_path):
    import ast
    import sys

    function = with_code(tmp_path, "def step(x):\n    return x\n")
    (tmp_path / "user_code.py").write_text("def step(x):\n    return x +\n")
    assert "does not import: SyntaxError" in refused(function, tmp_path)
    if sys.version_info >= (3, 12):
        with pytest.raises(SyntaxError):
            ast.parse("type X = int", feature_version=(3, 11))
        (tmp_path / "user_code.py").write_text("type X = int\ndef step(x):\n    return x\n")
        assert "line 1, is no code for Python 3.11" in refused(function, tmp_path, python="3.11")


def test_a_neighbour_that_is_no_python(tmp_path):
    (tmp_path / "beside.py").write_text("def broken(:\n")
    function = with_code(tmp_path, "def step(x):\n    import beside\n    return x\n")
    assert "beside.py', line 1, is no code for Python" in refused(function, tmp_path)


def test_code_that_needs_a_package_that_nothing_installs(tmp_path):
    function = with_code(tmp_path, "import sklearn\ndef step(x):\n    return x\n")
    said = refused(function, tmp_path)
    assert "user_code.py' imports 'sklearn', and nothing installs it there" in said
    assert "requirements=['scikit-learn']" in said


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickled_model_that_needs_a_package_that_nothing_installs(protocol, tmp_path):
    import pickle

    from sklearn.linear_model import LinearRegression

    model = {"first": LinearRegression().fit([[1], [2]], [1, 2]), "again": LinearRegression().fit([[1], [2]], [1, 2])}
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(model, protocol=protocol))
    function = millrace.new_function("f")
    function.add_model("m", model_path=str(tmp_path / "m.pkl"), class_name="millrace.serving.V2ModelServer")
    assert "m.pkl' imports 'sklearn', and nothing installs it there" in refused(function, tmp_path)
    assert function.with_requirements(["scikit-learn"]).export("nuclio", str(tmp_path / "out"))


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x04\x95", b"PK\x03\x04zip"])
def test_a_model_that_is_no_pickle_is_not_looked_into(content, tmp_path):
    (tmp_path / "m.pkl").write_bytes(content)
    function = millrace.new_function("f")
    function.add_model("m", model_path=str(tmp_path / "m.pkl"), class_name="millrace.serving.V2ModelServer")
    assert function.export("docker", str(tmp_path / "out"))


@pytest.mark.parametrize(
    "allow",
    [
        lambda f: f.with_requirements(["scikit-learn>=1.4"]),
        lambda f: f.with_commands(["pip install scikit-learn"]),
        lambda f: setattr(f.spec, "image", "registry.example.com/ml:1"),
        lambda f: f.with_requirements(["git+https://example.com/own.git"]),
    ],
)
def test_code_whose_packages_come_from_somewhere_is_taken(allow, tmp_path):
    function = with_code(tmp_path, "import sklearn\nimport numpy\nimport millrace\ndef step(x):\n    return x\n")
    allow(function)
    assert function.export("nuclio", str(tmp_path / "out")) == str(tmp_path / "out")


def test_a_step_that_only_the_callers_names_have(tmp_path):
    def only_here(body):
        return body

    function = millrace.new_function("f")
    function.set_topology("flow").to(name="s", handler="only_here")
    assert function.to_mock_server(namespace={"only_here": only_here}).test(body=1) is not None
    assert "nothing is named 'only_here'" in refused(function, tmp_path)


def test_an_object_that_does_not_pickle(tmp_path):
    class Holds:
        def __init__(self):
            self.lock = threading.Lock()

        def do(self, body):
            return body

    function = millrace.new_function("f")
    function.set_topology("flow").to(Holds(), name="holds")
    said = refused(function, tmp_path, pickle=True)
    assert said.startswith("step 'holds'") and "does not pickle" in said and "lock" in said


def test_a_spec_that_is_too_large_for_kubernetes(tmp_path):
    function = millrace.new_function("f").with_parameters(table="x" * 1_000_001)
    function.set_topology("flow").to(name="s", handler="(event)")
    assert "and Kubernetes keeps at most 1,000,000" in refused(function, tmp_path, "kubernetes")
    assert function.export("docker", str(tmp_path / "image"))


def test_a_model_path_that_is_nowhere(tmp_path):
    function = millrace.new_function("f")
    function.add_model("m", model_path="no/model.pkl", class_name="millrace.serving.V2ModelServer")
    assert "step 'm': model_path='no/model.pkl' is no file or folder here" in refused(function, tmp_path)


@pytest.mark.parametrize("python", ["3.10", "2.7", "4.0", "latest"])
def test_a_python_that_millrace_does_not_run_on(python, tmp_path):
    assert f"python='{python}' is no Python that Millrace runs on" in refused(plain(), tmp_path, python=python)


def test_an_old_runtime_of_nuclio(tmp_path):
    function = plain()
    function.spec.nuclio_runtime = "python:3.9"
    assert "the runtime 'python:3.9' does not run Millrace" in refused(function, tmp_path)


# -- secrets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["nuclio", "kubernetes"])
@pytest.mark.parametrize(
    ("kind", "source", "way"),
    [
        ("inline", {"TOKEN": "s3cr3t-value"}, "with_secrets('kubernetes', {'TOKEN': 'secret-name/key'})"),
        ("env", "TOKEN", "set_env_from_secret('TOKEN', 'secret-name')"),
        ("kubernetes", ["TOKEN"], "with_secrets('kubernetes', {'TOKEN': 'secret-name/key'})"),
    ],
)
def test_a_secret_without_a_reference(target, kind, source, way, tmp_path):
    said = refused(plain().with_secrets(kind, source), tmp_path, target)
    assert "the secret 'TOKEN' has no source where it is deployed" in said and way in said


def test_the_names_in_a_file_of_secrets_need_references_too(tmp_path):
    (tmp_path / "secrets.txt").write_text("TOKEN=s3cr3t-value\n")
    function = plain().with_secrets("file", str(tmp_path / "secrets.txt"))
    assert "the secret 'TOKEN' has no source" in refused(function, tmp_path)
    function.with_secrets("kubernetes", {"TOKEN": "bank/token"}).export("nuclio", str(tmp_path / "out"))
    written = b"".join(file.read_bytes() for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert b"s3cr3t" not in written and b"secrets.txt" not in written


def test_the_value_of_a_secret_in_the_environment_is_never_written(tmp_path):
    function = plain().with_secrets("inline", {"TOKEN": "s3cr3t-value"}).set_env("COPY", "s3cr3t-value")
    assert "holds the value of a secret" in refused(function, tmp_path, secret="bank")


def test_a_mount_that_is_not_there(tmp_path):
    function = plain().with_secrets("kubernetes", "/etc/secrets")
    assert "'/etc/secrets', and nothing is mounted there" in refused(function, tmp_path)


def test_a_password_in_a_trigger(tmp_path):
    function = plain().add_trigger("t", {"kind": "kafka-cluster", "attributes": {
        "brokers": ["b:9092"], "topics": ["t"], "sasl": {"enable": True, "user": "u", "password": "p"}}})  # fmt: skip
    assert "'T_SASL_PASSWORD' has no source where it is deployed" in refused(function, tmp_path)


# -- numbers, targets, folders -------------------------------------------------------------------------------------


def test_replicas_that_contradict_each_other(tmp_path):
    function = plain()
    function.spec.min_replicas, function.spec.max_replicas = 3, 2
    assert "min_replicas=3 and max_replicas=2 can not be" in refused(function, tmp_path)


def test_an_unknown_target_is_a_file_and_says_so_when_a_folder_is_given(tmp_path):
    with pytest.raises(SpecError, match=r"takes no folder=; .*did you mean 'kubernetes'"):
        plain().export("kubernets", str(tmp_path / "out"))


def test_a_target_needs_a_folder():
    with pytest.raises(SpecError, match="give the folder"):
        plain().export("nuclio")


def test_files_of_somebody_else_are_not_overwritten(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    with pytest.raises(SpecError, match="was not written by an export"):
        plain().export("docker", str(tmp_path))
    assert [file.name for file in tmp_path.iterdir()] == ["Dockerfile"]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"namespace": "My_Space"}, "the namespace name 'My_Space' is not allowed"),
        ({"image": "My Image"}, "image='My Image' is no name of an image"),
        ({"image": "registry/Upper:1"}, "is no name of an image"),
        ({"secret": "Bank"}, "secret='Bank' names no Kubernetes Secret"),
        ({"secret": "bank/key"}, "secret='bank/key' names no Kubernetes Secret"),
        ({"streams": "broker:9092"}, "streams='broker:9092' is no address of streams; write it as"),
    ],
)
def test_names_that_the_platform_would_refuse(choices, words, tmp_path):
    assert words in refused(plain(), tmp_path, "kubernetes", **choices)


@pytest.mark.parametrize("name", ["LOG LEVEL", "1ST", "", "A=B"])
def test_an_environment_variable_that_kubernetes_refuses(name, tmp_path):
    assert f"'{name}' can not name an environment variable" in refused(plain().set_env(name, "x"), tmp_path)


def test_a_base_image_that_is_no_name(tmp_path):
    function = plain()
    function.spec.build.base_image = "python 3.11"
    assert "image='python 3.11' is no name of an image" in refused(function, tmp_path)


@pytest.mark.parametrize("line", ["-r a.txt", "--requirement=a.txt", "-e .", "./mine", "-c pins.txt", "file:a.whl"])
def test_a_requirement_that_is_a_file_of_this_machine(line, tmp_path):
    assert f"the requirement '{line}' is a file" in refused(plain().with_requirements([line]), tmp_path, "docker")


@pytest.mark.parametrize("call", ["with_requirements", "with_commands"])
def test_one_text_is_no_list_of_them(call):
    with pytest.raises(GraphError, match="is one text; give a list"):
        getattr(plain(), call)("numpy")


def test_a_label_that_kubernetes_refuses(tmp_path):
    function = plain()
    function.metadata.labels["team"] = "data science"
    assert "the label team='data science' is not allowed" in refused(function, tmp_path)


def test_a_child_can_not_be_called_out_of_the_folder(tmp_path):
    function = millrace.new_function("f")
    function.add_route("m", handler="(event)", function="../../out")
    function.add_child_function("../../out")
    assert "child function's name '../../out' is not allowed" in refused(function, tmp_path, "docker")


def test_objects_pickled_by_another_python(tmp_path):
    class Counts:
        def do(self, body):
            return body

    function = millrace.new_function("f")
    function.set_topology("flow").to(Counts(), name="count")
    assert "not read their code" in refused(function, tmp_path, "docker", pickle=True, python="3.19")
    function.spec.nuclio_runtime = "python:3.19"
    assert "not read their code" in refused(function, tmp_path, "nuclio", pickle=True)
