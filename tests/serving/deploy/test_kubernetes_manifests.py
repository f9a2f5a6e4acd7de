"""Kubernetes' manifests: each valid by the published schemas, and what they say of one function."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml

import millrace

HERE = Path(__file__).parent
SHOP = str(HERE / "shop" / "orders.py")
BROKER = "kafka://broker.example.com:9092"
VERSIONS = ("1.28", "1.33")
"""Of Kubernetes: the oldest and the newest that are looked at."""


def custom_schemas():
    spec = importlib.util.spec_from_file_location("custom_resources", HERE / "custom_resources.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SCHEMAS


def check(manifest):
    schema = custom_schemas().get(manifest["kind"])
    if schema is not None:
        jsonschema.validate(manifest, schema)
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


def export(function, folder, name="f", **choices):
    """The manifests of one function by kind; those of all were checked."""
    out = Path(function.export("kubernetes", str(folder / "out"), **choices))
    found = {}
    for file in sorted(out.glob("*.yaml")):
        documents = list(yaml.safe_load_all(file.read_text()))
        for one in documents:
            check(one)
        found[file.stem] = {one["kind"]: one for one in documents}
    return found[name]


def flow(name="f"):
    function = millrace.new_function(name)
    function.set_topology("flow").to(name="s", handler="(event)").respond()
    return function


def reading(path=f"{BROKER}/q", **settings):
    function = millrace.new_function("f")
    graph = function.set_topology("flow")
    graph.to(">>", "q", path=path, **settings)
    graph.add_step(name="s", handler="(event)", function="c", after="q")
    function.add_child_function("c")
    return function


def container(found):
    (one,) = found["Deployment"]["spec"]["template"]["spec"]["containers"]
    return one


def test_the_schemas_refuse_an_unknown_field():
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "f"}, "dato": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(wrong)


def test_a_function_that_answers_requests_has_a_service_and_one_that_reads_has_none(tmp_path):
    function = millrace.import_function(SHOP)
    parent = export(function, tmp_path, "orders")
    assert list(parent) == ["ConfigMap", "Deployment", "Service", "PodDisruptionBudget"]
    child = export(function, tmp_path, "orders-billing")
    assert list(child) == ["ConfigMap", "Deployment", "ScaledObject", "PodDisruptionBudget"]


def test_the_spec_is_mounted_beside_the_code_and_a_change_replaces_the_pods(tmp_path):
    def state(function):
        found = export(function, tmp_path)
        template = found["Deployment"]["spec"]["template"]
        mount = next(one for one in container(found)["volumeMounts"] if one["name"] == "function-spec")
        assert mount["mountPath"] == "/srv/function/function-spec.yaml"
        assert mount["subPath"] in found["ConfigMap"]["data"]
        return template["metadata"]["annotations"]["millrace/spec"]

    assert state(flow()) == state(flow()) != state(flow().with_parameters(a=1))


def test_a_child_runs_its_own_part(tmp_path):
    child = export(millrace.import_function(SHOP), tmp_path, "orders-billing", image="registry.example.com/shop:1")
    one = container(child)
    assert (one["image"], one["args"]) == (
        "registry.example.com/shop:1", ["function-spec.yaml", "--function", "billing"],
    )  # fmt: skip
    assert "audit" not in child["ConfigMap"]["data"]["function-spec.yaml"].split("graph:")[1]


def test_probes_ask_the_health_paths_and_starting_may_take_its_time(tmp_path):
    function = flow()
    function.spec.readiness_timeout = 300
    one = container(export(function, tmp_path))
    live = {"path": "/v2/health/live", "port": "http"}
    assert one["livenessProbe"]["httpGet"] == one["startupProbe"]["httpGet"] == live
    assert one["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert one["startupProbe"]["periodSeconds"] * one["startupProbe"]["failureThreshold"] == 300


def test_nothing_runs_as_root_or_may_become_it(tmp_path):
    found = export(flow(), tmp_path)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True and pod["securityContext"]["runAsUser"] > 0
    assert container(found)["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip


def test_a_pod_is_given_longer_to_end_than_the_function_needs_to_drain(tmp_path):
    pod = export(flow(), tmp_path)["Deployment"]["spec"]["template"]["spec"]
    dockerfile = (tmp_path / "out" / "image" / "Dockerfile").read_text()
    assert '"--drain-seconds", "30"' in dockerfile
    assert pod["terminationGracePeriodSeconds"] == 5 + 30 + 10  # leaving, draining, spare


def test_secrets_are_references(tmp_path):
    found = export(flow().with_secrets("kubernetes", {"TOKEN": "bank/token"}).set_env("LEVEL", 1), tmp_path)
    assert container(found)["env"] == [
        {"name": "LEVEL", "value": "1"},
        {"name": "MILLRACE_SECRET_TOKEN", "valueFrom": {"secretKeyRef": {"name": "bank", "key": "token"}}},
    ]


def test_a_reader_of_kafka_is_scaled_by_what_waits_up_to_its_partitions(tmp_path):
    found = export(reading(shards=3), tmp_path, "f-c")
    spec = found["ScaledObject"]["spec"]
    assert (spec["minReplicaCount"], spec["maxReplicaCount"]) == (1, 3)
    (trigger,) = spec["triggers"]
    assert trigger["metadata"] == {
        "bootstrapServers": "broker.example.com:9092", "consumerGroup": "f-c-consumer-group", "topic": "q",
        "lagThreshold": "100", "offsetResetPolicy": "earliest",
    }  # fmt: skip
    assert "replicas" not in found["Deployment"]["spec"]


def test_keda_logs_in_with_a_reference_to_the_password(tmp_path):
    function = reading(shards=2, trigger_args={
        "options": {"security_protocol": "SASL_SSL", "sasl_plain_username": "me"},
        "secrets": {"sasl_plain_password": "PASS"}})  # fmt: skip
    found = export(function.with_secrets("kubernetes", {"PASS": "kafka/password"}), tmp_path, "f-c")
    (trigger,) = found["ScaledObject"]["spec"]["triggers"]
    assert (trigger["metadata"]["sasl"], trigger["metadata"]["tls"]) == ("plaintext", "enable")
    login = found["TriggerAuthentication"]
    assert trigger["authenticationRef"] == {"name": login["metadata"]["name"]}
    assert login["spec"]["secretTargetRef"] == [{"parameter": "password", "name": "kafka", "key": "password"}]
    (user,) = login["spec"]["env"]
    assert {"name": user["name"], "value": "me"} in container(found)["env"]
    assert container(found)["name"] == user["containerName"]


def test_a_queue_may_have_a_name_that_kubernetes_does_not_take(tmp_path):
    function = millrace.new_function("f")
    graph = function.set_topology("flow")
    options = {"security_protocol": "SASL_SSL", "sasl_plain_username": "me"}
    login = {"options": options, "secrets": {"sasl_plain_password": "PASS"}}
    graph.to(">>", "Orders_In", path=f"{BROKER}/q", shards=2, trigger_args=login)
    graph.add_step(name="s", handler="(event)", function="c", after="Orders_In")
    function.add_child_function("c")
    found = export(function.with_secrets("kubernetes", {"PASS": "kafka/password"}), tmp_path, "f-c")
    (trigger,) = found["ScaledObject"]["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == found["TriggerAuthentication"]["metadata"]["name"]
    assert re.fullmatch(r"f-c-orders-in-\w{8}", trigger["authenticationRef"]["name"])


def test_a_function_that_answers_requests_is_scaled_by_its_processors(tmp_path):
    function = flow().with_requests(cpu=1)
    function.spec.min_replicas, function.spec.max_replicas = 2, 5
    found = export(function, tmp_path)
    spec = found["HorizontalPodAutoscaler"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 5)
    assert spec["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 75}
    assert "replicas" not in found["Deployment"]["spec"]


def test_a_function_that_reads_kafka_and_answers_requests_is_never_without_a_replica(tmp_path):
    trigger = {"kind": "kafka", "attributes": {"brokers": ["b.example.com:9092"], "topics": ["t"]}}
    function = flow().add_trigger("t", trigger)
    function.spec.min_replicas, function.spec.max_replicas = 0, 3
    with pytest.raises(millrace.errors.SpecError, match="with min_replicas=0 nobody would answer"):
        export(function, tmp_path)


def test_scaling_by_processors_needs_a_request_for_them(tmp_path):
    function = flow()
    function.spec.max_replicas = 5
    with pytest.raises(millrace.errors.SpecError, match=r"function.with_requests\(cpu=1\)"):
        export(function, tmp_path)


def test_a_fixed_number_of_replicas_is_in_the_deployment(tmp_path):
    function = flow()
    function.spec.replicas = 3
    found = export(function, tmp_path)
    assert found["Deployment"]["spec"]["replicas"] == 3 and "HorizontalPodAutoscaler" not in found


def test_pods_go_where_the_function_says(tmp_path):
    function = flow().with_limits(gpus=1).with_priority_class("high")
    function.with_node_selection(node_selector={"gpu": "yes"}, tolerations=[{"key": "gpu", "operator": "Exists"}])
    function.spec.service_account, function.spec.image_pull_secret = "server", "registry"
    found = export(function, tmp_path)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert (pod["nodeSelector"], pod["priorityClassName"], pod["serviceAccountName"], pod["imagePullSecrets"]) == (
        {"gpu": "yes"}, "high", "server", [{"name": "registry"}],
    )  # fmt: skip
    assert container(found)["resources"] == {"limits": {"nvidia.com/gpu": "1"}}


def test_an_ingress_where_a_host_is_named(tmp_path):
    function = flow().with_http(workers=2, host="api.example.com", paths=["/f"], secret="tls")
    found = export(function, tmp_path, namespace="shop")
    (rule,) = found["Ingress"]["spec"]["rules"]
    assert (rule["host"], rule["http"]["paths"][0]["path"]) == ("api.example.com", "/f")
    assert found["Ingress"]["spec"]["tls"] == [{"hosts": ["api.example.com"], "secretName": "tls"}]
    assert container(found)["args"] == ["function-spec.yaml", "--workers", "2"]
    assert {one["metadata"]["namespace"] for one in found.values()} == {"shop"}


def test_a_clock_is_a_cron_job_that_sends_the_event(tmp_path):
    event = {"body": {"full": True}, "path": "/run"}
    function = flow().add_trigger("nightly", {"kind": "cron", "attributes": {"schedule": "0 2 * * *", "event": event}})
    spec = export(function, tmp_path)["CronJob"]["spec"]
    (one,) = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert (spec["schedule"], one["command"][3:]) == ("0 2 * * *", ["http://f/run", "POST", '{"full": true}', "{}"])


def test_a_cron_job_really_sends_its_event(tmp_path):
    import subprocess
    import sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"])), self.headers["X-Own"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            return

    got = []
    event = {"body": {"full": True}, "path": "/run", "headers": {"X-Own": "1"}}
    function = flow().add_trigger("nightly", {"kind": "cron", "attributes": {"schedule": "0 2 * * *", "event": event}})
    job = export(function, tmp_path)["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        command = [one.replace("http://f/", f"http://127.0.0.1:{server.server_port}/") for one in job["command"][1:]]
        subprocess.run([sys.executable, *command], check=True, timeout=30)
        thread.join(10)
    assert got == [("/run", b'{"full": true}', "1")]


def test_an_interval_runs_in_the_function_where_there_is_one_of_it(tmp_path):
    function = flow().add_trigger("t", {"kind": "cron", "interval": "5s"})
    found = export(function, tmp_path)
    assert "CronJob" not in found and "interval: 5s" in found["ConfigMap"]["data"]["function-spec.yaml"]
    function.spec.replicas = 2
    with pytest.raises(millrace.errors.SpecError, match="an interval runs in each replica, of which there are 2 to 2"):
        export(function, tmp_path)


def test_a_schedule_with_seconds_is_nothing_for_kubernetes(tmp_path):
    with pytest.raises(millrace.errors.GraphError, match="a schedule of five fields"):
        export(flow().add_trigger("t", {"kind": "cron", "schedule": "* * * * * */10"}), tmp_path)


def test_kserve_runs_the_function_that_answers_requests_and_readers_stay_deployments(tmp_path):
    function = reading(shards=2)
    function.spec.min_replicas, function.spec.max_replicas = 0, 3
    parent = export(function, tmp_path, kserve=True)
    assert list(parent) == ["ConfigMap", "InferenceService"]
    predictor = parent["InferenceService"]["spec"]["predictor"]
    assert (predictor["minReplicas"], predictor["containers"][0]["name"]) == (0, "kserve-container")
    assert "Deployment" in export(function, tmp_path, "f-c", kserve=True)


def test_a_predictor_of_kserve_is_a_valid_pod(tmp_path):
    predictor = dict(export(flow(), tmp_path, kserve=True)["InferenceService"]["spec"]["predictor"])
    del predictor["minReplicas"], predictor["maxReplicas"]
    check({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "f"}, "spec": predictor})


def test_a_predictor_of_kserve_has_nothing_that_knative_refuses(tmp_path):
    """What is allowed: `pkg/apis/serving/fieldmask.go` of knative/serving, without what must be switched on there."""
    predictor = export(flow(), tmp_path, kserve=True)["InferenceService"]["spec"]["predictor"]
    (one,) = predictor["containers"]
    assert set(predictor) == {"minReplicas", "maxReplicas", "containers", "volumes", "automountServiceAccountToken"}
    assert not {"lifecycle", "startupProbe"} & set(one)
    ports = {one[probe]["httpGet"]["port"] for probe in ("livenessProbe", "readinessProbe")}
    assert ports == {one["ports"][0]["containerPort"]}
    assert (one["securityContext"]["runAsNonRoot"], one["securityContext"]["runAsUser"]) == (True, 10001)


def test_a_new_spec_replaces_the_pods_of_kserve(tmp_path):
    old, new = (
        export(function, tmp_path / name, kserve=True)["InferenceService"]["metadata"]["annotations"]["millrace/spec"]
        for name, function in (("old", flow()), ("new", flow().with_parameters(level=2)))
    )
    assert old != new


def test_a_clock_asks_the_service_that_kserve_makes(tmp_path):
    found = export(flow().add_trigger("t", {"kind": "cron", "schedule": "0 2 * * *"}), tmp_path, kserve=True)
    command = found["CronJob"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
    assert "http://f-predictor/" in command


def test_a_host_is_nothing_for_kserve(tmp_path):
    with pytest.raises(millrace.errors.SpecError, match="KServe makes the addresses"):
        export(flow().with_http(host="f.example.com"), tmp_path, kserve=True)


def test_a_name_that_kserve_makes_too_long(tmp_path):
    with pytest.raises(millrace.errors.SpecError, match="at most 53"):
        export(flow("f" * 54), tmp_path, kserve=True)


@pytest.mark.parametrize(("gpus", "expected"), [(None, (0, 1)), (1, (1, 0))])
def test_a_reader_on_a_gpu_is_replaced_without_a_second_gpu(gpus, expected, tmp_path):
    function = reading()
    function.spec.functions["c"].with_limits(mem="1Gi", gpus=gpus)
    rolling = export(function, tmp_path, "f-c")["Deployment"]["spec"]["strategy"]["rollingUpdate"]
    assert (rolling["maxUnavailable"], rolling["maxSurge"]) == expected


def test_other_triggers_are_nuclios(tmp_path):
    with pytest.raises(millrace.errors.SpecError, match="kind rabbit-mq is for Nuclio"):
        export(flow().add_trigger("t", {"kind": "rabbit-mq", "attributes": {"queueName": "q"}}), tmp_path)
