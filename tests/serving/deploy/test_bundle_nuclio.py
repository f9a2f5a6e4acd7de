"""The folders that Nuclio deploys: what is in them, and every function.yaml against what Nuclio reads."""

from __future__ import annotations

import ast
import json
import shlex
from pathlib import Path

import jsonschema
import pytest
import yaml

import millrace

HERE = Path(__file__).parent
SHOP = str(HERE / "shop" / "orders.py")
SCHEMA = json.loads((HERE / "nuclio_schema.json").read_text())
BROKER = "kafka://broker.example.com:9092"


def export(function, folder, **choices):
    """Each function.yaml by name, in the order to deploy; all of them valid."""
    out = Path(function.export("nuclio", str(folder / "out"), **choices))
    found = {}
    for name in (out / "order.txt").read_text().split():
        found[name] = yaml.safe_load((out / name / "function.yaml").read_text())
        jsonschema.validate(found[name], SCHEMA)
        assert found[name]["metadata"]["name"] == name
    return found


def flow(name="f", **settings):
    function = millrace.new_function(name)
    function.set_topology("flow").to(name="s", handler="(event)")
    return function


def reading(path, **settings):
    function = millrace.new_function("f")
    graph = function.set_topology("flow")
    graph.to(">>", "q", path=path, **settings)
    graph.add_step(name="s", handler="(event)", function="c", after="q")
    function.add_child_function("c")
    return function


def test_the_schema_refuses_what_nuclio_would_ignore():
    wrong = {"apiVersion": "nuclio.io/v1", "kind": "NuclioFunction", "metadata": {"name": "f", "labels": {}},
             "spec": {"handler": "main:handler", "runtime": "python:3.11", "minReplica": 1}}  # fmt: skip
    with pytest.raises(jsonschema.ValidationError, match="minReplica"):
        jsonschema.validate(wrong, SCHEMA)


def test_one_folder_per_function_with_all_that_it_needs(tmp_path):
    export(millrace.import_function(SHOP), tmp_path)
    files = {file.relative_to(tmp_path / "out" / "shop-orders-billing").as_posix()
             for file in (tmp_path / "out" / "shop-orders-billing").rglob("*") if file.is_file()}  # fmt: skip
    assert files == {
        "function.yaml", "main.py", "function-spec.yaml", "requirements.txt", "code/orders.py", "code/prices.py",
    }  # fmt: skip


def test_main_has_the_two_names_that_nuclio_looks_up(tmp_path):
    export(flow(), tmp_path)
    tree = ast.parse((tmp_path / "out" / "f" / "main.py").read_text())
    (imported,) = (node for node in tree.body if isinstance(node, ast.ImportFrom))
    assert {alias.name for alias in imported.names} == {"handler", "init_context"}
    assert imported.module == "millrace.serving.functions.nuclio"


def test_exporting_twice_writes_the_same_bytes_and_touches_nothing(tmp_path):
    def state():
        return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in tmp_path.rglob("*") if file.is_file()}

    export(millrace.import_function(SHOP), tmp_path)
    first = state()
    export(millrace.import_function(SHOP), tmp_path)
    assert state() == first


def test_what_an_earlier_export_wrote_and_this_one_does_not_is_removed(tmp_path):
    export(millrace.import_function(SHOP), tmp_path)
    (tmp_path / "out" / "shop-orders-audit" / "notes.txt").write_text("mine")
    smaller = millrace.import_function(SHOP)
    smaller.remove_states(["audit"])
    del smaller.spec.functions["audit"]
    assert list(export(smaller, tmp_path)) == ["shop-orders-billing", "shop-orders"]
    assert [file.name for file in (tmp_path / "out" / "shop-orders-audit").iterdir()] == ["notes.txt"]


def test_a_kafka_queue_is_a_trigger_that_commits_only_what_was_acknowledged(tmp_path):
    trigger = export(millrace.import_function(SHOP), tmp_path)["shop-orders-billing"]["spec"]["triggers"]["priced"]
    assert trigger == {
        "kind": "kafka-cluster", "numWorkers": 2, "explicitAckMode": "explicitOnly", "workerTerminationTimeout": "30s",
        "attributes": {"brokers": ["kafka.shop.svc:9092"], "topics": ["priced"], "initialOffset": "earliest",
                       "consumerGroup": "orders-billing-consumer-group", "workerAllocationMode": "static"},
    }  # fmt: skip


def test_a_v3io_queue_has_a_fixed_number_of_replicas_and_a_group_without_hyphens(tmp_path):
    function = reading("v3io://api.example.com/bigdata/in/orders", shards=6)
    function.set_env_from_secret("V3IO_ACCESS_KEY", "v3io", "key")
    spec = export(function, tmp_path)["f-c"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (4, 4)
    trigger = spec["triggers"]["q"]
    assert (trigger["url"], trigger["password"], trigger["numWorkers"]) == ("https://api.example.com", "$generate", 2)
    assert trigger["attributes"]["containerName"] == "bigdata" and trigger["attributes"]["streamPath"] == "in/orders"
    assert trigger["attributes"]["consumerGroup"] == "f_c_consumer_group"


@pytest.mark.parametrize(
    ("shards", "given", "replicas", "workers"),
    [
        (1, {}, (1, 1), 1),
        (3, {}, (1, 3), 1),
        (8, {}, (1, 4), 2),  # 8 partitions over 4 replicas
        (10, {}, (1, 4), 3),  # 10 / 4, rounded up
        (10, {"max_replicas": 10}, (1, 10), 1),
        (10, {"min_replicas": 2, "max_replicas": 3}, (2, 3), 4),
        (10, {"replicas": 5}, (5, 5), 2),
        (4, {"min_replicas": 6}, (6, 6), 1),
    ],
)
def test_all_replicas_together_have_a_worker_for_each_partition(shards, given, replicas, workers, tmp_path):
    function = reading(f"{BROKER}/q", shards=shards)
    for name, value in given.items():
        setattr(function.spec.functions["c"].spec, name, value)
    spec = export(function, tmp_path)["f-c"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == replicas
    assert spec["triggers"]["q"]["numWorkers"] == workers


def test_a_child_has_no_http_trigger_unless_it_declares_one(tmp_path):
    function = reading(f"{BROKER}/q")
    spec = export(function, tmp_path)["f-c"]["spec"]
    assert spec["disableDefaultHTTPTrigger"] is True and list(spec["triggers"]) == ["q"]
    function.spec.functions["c"].with_http(workers=2)
    spec = export(function, tmp_path)["f-c"]["spec"]
    assert "disableDefaultHTTPTrigger" not in spec and spec["triggers"]["http"]["numWorkers"] == 2


def test_trigger_arguments_of_a_queue_go_to_its_trigger(tmp_path):
    arguments = {"max_workers": 5, "seek_to": "latest", "extra_attributes": {"fetchDefault": 65536}}
    trigger = export(reading(f"{BROKER}/q", trigger_args=arguments), tmp_path)["f-c"]["spec"]["triggers"]["q"]
    assert trigger["numWorkers"] == 5
    assert (trigger["attributes"]["initialOffset"], trigger["attributes"]["fetchDefault"]) == ("latest", 65536)


def test_resources_nodes_and_images_are_in_nuclios_words(tmp_path):
    function = flow().with_limits(mem="2Gi", cpu=1, gpus=1).with_requests(mem="1Gi", cpu="500m")
    function.with_node_selection(node_selector={"gpu": "yes"}, tolerations=[{"key": "gpu", "operator": "Exists"}])
    function.with_commands(["apt-get update"]).with_requirements(["scikit-learn==1.5.0"])
    function.with_priority_class("high").spec.build.base_image = "registry.example.com/ml:1"
    spec = export(function, tmp_path)["f"]["spec"]
    assert spec["resources"] == {"limits": {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"},
                                 "requests": {"cpu": "500m", "memory": "1Gi"}}  # fmt: skip
    assert (spec["nodeSelector"], spec["priorityClassName"]) == ({"gpu": "yes"}, "high")
    assert spec["build"] == {"baseImage": "registry.example.com/ml:1", "commands": [
        "apt-get update", f"python -m pip install --no-cache-dir millrace=={millrace.__version__} scikit-learn==1.5.0"]}


def test_variables_name_the_spec_the_child_and_secrets_by_reference(tmp_path):
    function = reading(f"{BROKER}/q").set_env("LEVEL", "debug").with_secrets("kubernetes", {"TOKEN": "bank/token"})
    env = {one["name"]: one for one in export(function, tmp_path)["f-c"]["spec"]["env"]}
    assert env["MILLRACE_FUNCTION_SPEC"]["value"] == "/opt/nuclio/function-spec.yaml"
    assert env["MILLRACE_CURRENT_FUNCTION"]["value"] == "c" and env["LEVEL"]["value"] == "debug"
    assert env["MILLRACE_SECRET_TOKEN"]["valueFrom"] == {"secretKeyRef": {"name": "bank", "key": "token"}}


def test_one_secret_for_all_is_enough(tmp_path):
    function = flow().with_secrets("inline", {"TOKEN": "s3cr3t-value"}).with_secrets("env", "PASSWORD")
    env = {one["name"]: one.get("valueFrom") for one in export(function, tmp_path, secret="bank")["f"]["spec"]["env"]}
    assert env["MILLRACE_SECRET_TOKEN"] == {"secretKeyRef": {"name": "bank", "key": "TOKEN"}}
    assert env["PASSWORD"] == {"secretKeyRef": {"name": "bank", "key": "PASSWORD"}}


def test_a_clock_and_an_ingress_are_triggers(tmp_path):
    function = flow().with_http(workers=3, host="api.example.com", paths=["/f"], secret="tls", worker_timeout=5)
    function.add_trigger("nightly", {"kind": "cron", "attributes": {"schedule": "0 2 * * *"}})
    triggers = export(function, tmp_path)["f"]["spec"]["triggers"]
    assert triggers["nightly"]["attributes"] == {"schedule": "0 2 * * *"}
    assert triggers["http"]["workerAvailabilityTimeoutMilliseconds"] == 5000
    assert triggers["http"]["attributes"]["ingresses"] == {
        "0": {"host": "api.example.com", "paths": ["/f"], "pathType": "Prefix", "secretName": "tls"}
    }


def test_requests_may_be_as_large_as_millrace_serve_takes_them(tmp_path):
    http = export(flow(), tmp_path)["f"]["spec"]["triggers"]["http"]
    assert (http["kind"], http["numWorkers"]) == ("http", 8)
    assert http["attributes"] == {"maxRequestBodySize": 64 * 1024 * 1024}


def test_volumes_are_paired_with_their_mounts(tmp_path):
    function = flow()
    function.spec.volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
    function.spec.volume_mounts = [{"name": "models", "mountPath": "/models"}]
    (pair,) = export(function, tmp_path)["f"]["spec"]["volumes"]
    assert pair == {"volume": function.spec.volumes[0], "volumeMount": function.spec.volume_mounts[0]}


def test_a_login_to_kafka_names_a_mounted_secret(tmp_path):
    login = {"options": {"security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512",
                         "sasl_plain_username": "me"}, "secrets": {"sasl_plain_password": "PASS"}}  # fmt: skip
    function = reading(f"{BROKER}/q", trigger_args=login).with_secrets("kubernetes", {"PASS": "kafka/password"})
    with pytest.raises(millrace.errors.SpecError, match="secretPath"):
        function.export("nuclio", str(tmp_path / "out"))
    function = reading(f"{BROKER}/q", trigger_args=login | {"extra_attributes": {"secretPath": "/etc/kafka"}})
    function.with_secrets("kubernetes", {"PASS": "kafka/password"})
    child = function.spec.functions["c"].spec
    child.volumes = [{"name": "login", "secret": {"secretName": "kafka"}}]
    child.volume_mounts = [{"name": "login", "mountPath": "/etc/kafka"}]
    attributes = export(function, tmp_path)["f-c"]["spec"]["triggers"]["q"]["attributes"]
    assert attributes["sasl"] == {"enable": True, "handshake": True, "user": "me", "mechanism": "SCRAM-SHA-512"}
    assert attributes["tls"] == {"enable": True}


def test_a_wheel_is_installed_from_the_functions_folder(tmp_path):
    wheel = tmp_path / "millrace-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK")
    spec = export(reading(f"{BROKER}/q"), tmp_path, wheel=str(wheel))["f-c"]["spec"]
    assert spec["build"]["commands"] == [
        "@nuclio.postCopy",
        "cd /opt/nuclio && python -m pip install --no-cache-dir './millrace-0.1.0-py3-none-any.whl[confluent]'",
    ]
    assert (tmp_path / "out" / "f-c" / wheel.name).read_bytes() == b"PK"


CALLS = """
import asyncio, json, sys
import nuclio_sdk, main
context = nuclio_sdk.Context(nuclio_sdk.Logger("DEBUG", "sdk"), nuclio_sdk.Platform("local"), "0",
                             nuclio_sdk.TriggerInfo("http", "http"))
event = nuclio_sdk.Event(body=json.dumps({"pieces": 4}).encode(), content_type="application/json", method="POST",
                         trigger=nuclio_sdk.TriggerInfo("http", "http"), path="/", headers={}, fields={}, _id="1")
async def answer():
    main.init_context(context)
    response = await main.handler(context, event)
    print(response.status_code, response.body if isinstance(response.body, str) else response.body.decode())
asyncio.run(answer())
"""


def test_the_folder_answers_as_nuclio_calls_it(tmp_path):
    import os
    import subprocess
    import sys

    function = millrace.import_function(SHOP)
    function.remove_states(["priced", "bill", "billed", "audit"])
    function.spec.functions.clear()
    env = {one["name"]: one["value"] for one in export(function, tmp_path)["shop-orders"]["spec"]["env"]}
    folder = tmp_path / "out" / "shop-orders"
    env = {name: value.replace("/opt/nuclio", str(folder)) for name, value in env.items()}
    done = subprocess.run([sys.executable, "-c", CALLS], env={**os.environ, **env, "PYTHONPATH": str(folder)},
                          cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)  # fmt: skip
    assert done.stdout == '200 {"pieces":4,"total":12}\n', done.stderr


def test_an_index_of_packages_is_named_to_pip_as_in_a_file_of_requirements(tmp_path):
    function = millrace.new_function("f").with_requirements(["--extra-index-url https://pip.example.com/a", "x>=1"])
    function.set_topology("flow").to(name="s", handler="(event)").respond()
    (command,) = export(function, tmp_path)["f"]["spec"]["build"]["commands"]
    assert shlex.split(command)[-3:] == ["--extra-index-url", "https://pip.example.com/a", "x>=1"]


def test_workers_drain_in_less_time_than_nuclio_gives_them_and_kubernetes_their_pod(tmp_path):
    function = millrace.import_function(SHOP).add_trigger("tick", {"kind": "cron", "interval": "10s"})
    for config in export(function, tmp_path).values():
        env = {one["name"]: one.get("value") for one in config["spec"]["env"]}
        given = {one["workerTerminationTimeout"] for one in config["spec"]["triggers"].values()}
        assert given == {"30s"}  # Kubernetes' terminationGracePeriodSeconds
        assert float(env["MILLRACE_DRAIN_SECONDS"]) < 30
