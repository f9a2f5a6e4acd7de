"""What a deployed function is told of resources, nodes and triggers: MLRun's calls, checked, and kept in YAML."""

from __future__ import annotations

import warnings

import pytest
import yaml

import millrace
from millrace.errors import GraphError, SpecError
from millrace.serving.functions.function import ServingFunction


def again(function):
    """The function as its YAML text says it."""
    return ServingFunction.from_dict(yaml.safe_load(function.to_yaml()))


def test_calls_can_be_chained_and_all_of_them_are_in_the_yaml():
    function = millrace.new_function("f").with_limits(mem="2Gi", cpu=2.0, gpus=1).with_requests(mem="512Mi", cpu="250m")
    function.with_node_selection(node_name="n1", node_selector={"a": "b"}, tolerations=[{"operator": "Exists"}])
    function.with_http(workers=4).with_priority_class("high").with_annotations({"a": "1"})
    function.with_requirements(["x"]).with_commands(["y"]).set_env("LEVEL", 3).set_env_from_secret("KEY", "bank")
    function.spec.min_replicas, function.spec.max_replicas, function.spec.readiness_timeout = 1, 4, 300
    assert again(function).to_dict() == function.to_dict()
    assert function.to_dict()["spec"]["resources"] == {
        "limits": {"cpu": "2", "memory": "2Gi", "nvidia.com/gpu": "1"}, "requests": {"cpu": "250m", "memory": "512Mi"},
    }  # fmt: skip


def test_limits_set_one_after_the_other_add_up():
    function = millrace.new_function("f").with_limits(mem="1Gi").with_limits(cpu="500m", mem="2Gi")
    assert function.spec.resources == {"limits": {"memory": "2Gi", "cpu": "500m"}}


def test_a_function_and_its_copy_have_resources_of_their_own():
    first = millrace.new_function("f").with_limits(mem="1Gi")
    second = first.copy().with_limits(mem="2Gi")
    assert (first.spec.resources["limits"], second.spec.resources["limits"]) == ({"memory": "1Gi"}, {"memory": "2Gi"})


@pytest.mark.parametrize("value", ["2 GB", "1GiB", "much", "-1", "", True, float("nan")])
def test_what_is_no_quantity_is_refused(value):
    with pytest.raises(GraphError, match="is no quantity; write 500m or 2 for cores, 512Mi or 2Gi for bytes"):
        millrace.new_function("f").with_limits(mem=value)


@pytest.mark.parametrize("quantity", ["128974848", "129M", "123Mi", "0.5", "100m", "2Gi", 2, 0.25])
def test_quantities_of_kubernetes_are_taken(quantity):
    # https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/
    assert millrace.new_function("f").with_requests(cpu=quantity).spec.resources["requests"]["cpu"] == str(quantity)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f: f.with_limits(memory="1Gi"), "did you mean 'mem'"),
        (lambda f: f.with_http(worker=2), "did you mean 'workers'"),
        (lambda f: f.with_node_selection(selector={}), "did you mean 'node_selector'"),
    ],
)
def test_a_misspelt_argument_is_refused(call, words):
    with pytest.raises(TypeError, match=words):
        call(millrace.new_function("f"))


def test_the_same_package_is_listed_once():
    function = millrace.new_function("f").with_requirements(["a", "b"]).with_requirements(["b", "c"])
    assert function.spec.build.requirements == ["a", "b", "c"]
    assert function.with_requirements(["d"], overwrite=True).spec.build.requirements == ["d"]


def test_secrets_refer_to_kubernetes_by_name_and_key():
    function = millrace.new_function("f").with_secrets("kubernetes", {"TOKEN": "bank/token", "KEY": "bank"})
    assert function.spec.env_from_secrets == {"MILLRACE_SECRET_TOKEN": "bank/token", "MILLRACE_SECRET_KEY": "bank/KEY"}
    assert again(function).spec.secrets.names == ["TOKEN", "KEY"]


@pytest.mark.parametrize("reference", ["Bank/token", "bank/", "bank/a b", "bank/a/b", ""])
def test_a_secret_that_can_not_be_is_refused(reference):
    with pytest.raises(GraphError, match="names a Kubernetes Secret as 'secret-name/key'"):
        millrace.new_function("f").with_secrets("kubernetes", {"TOKEN": reference})


def test_a_trigger_needs_a_kind():
    with pytest.raises(GraphError, match="give a mapping with its kind"):
        millrace.new_function("f").add_trigger("t", {"numWorkers": 1})


def test_a_v3io_stream_is_a_trigger():
    function = millrace.new_function("f")
    function.add_v3io_stream_trigger("v3io://api/bigdata/in/orders", group="my-group", shards=3)
    assert function.spec.triggers["stream"] == {
        "kind": "v3ioStream",
        "attributes": {"containerName": "bigdata", "streamPath": "in/orders", "consumerGroup": "my_group",
                       "seekTo": "earliest"},
    }  # fmt: skip
    assert (function.spec.min_replicas, function.spec.max_replicas) == (3, 3)


# -- what MLRun writes ---------------------------------------------------------------------------------------------


def read(**spec):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return ServingFunction.from_dict({"kind": "serving", "metadata": {"name": "f"}, "spec": spec}).spec


def test_triggers_are_read_from_where_mlrun_writes_them():
    http = {"kind": "http", "maxWorkers": 8, "attributes": {}}
    assert read(config={"spec.triggers.http": http}).triggers == {"http": http}


def test_what_else_is_in_mlruns_config_warns():
    values = {"config": {"spec.triggers.http": {"kind": "http"}, "spec.build.noCache": True}}
    with pytest.warns(UserWarning, match=r"spec.config= does nothing"):
        assert ServingFunction.from_dict({"spec": values}).spec.triggers == {"http": {"kind": "http"}}


def test_kubernetes_list_of_variables_keeps_its_references():
    secret = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "bank", "key": "k"}}}
    spec = read(env=[{"name": "LEVEL", "value": "1"}, secret])
    assert (spec.env, spec.env_from_secrets) == ({"LEVEL": "1"}, {"KEY": "bank/k"})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"max_replicas": "4"}, "spec.max_replicas must be a whole number, not '4'"),
        ({"min_replicas": True}, "spec.min_replicas must be a whole number"),
        ({"resources": "2Gi"}, "spec.resources must be a mapping"),
        ({"tolerations": {}}, "spec.tolerations must be a list of mappings"),
        ({"env": ["A"]}, "spec.env is a mapping, or a list of mappings"),
        ({"env": [{"name": "A", "valueFrom": {"fieldRef": {}}}]}, "a valueFrom other than secretKeyRef"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused(spec, words):
    with pytest.raises(SpecError, match=words):
        read(**spec)
