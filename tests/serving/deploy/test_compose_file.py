"""``compose.yaml``: valid by the Compose Specification; parent, children and Kafka start in the right order."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import yaml

import millrace
from millrace.errors import SpecError

SHOP = str(Path(__file__).parent / "shop" / "orders.py")
SCHEMA = json.loads(files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text())


def export(function, folder):
    """What the file says; it is valid."""
    out = Path(function.export("compose", str(folder / "out")))
    found = yaml.safe_load((out / "compose.yaml").read_text())
    jsonschema.validate(found, SCHEMA)
    return found


def flow():
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="s", handler="(event)").respond()
    return function


def test_the_schema_refuses_an_unknown_key():
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"services": {"f": {"image": "f", "imgae": "f"}}}, SCHEMA)


def test_a_function_without_queues_is_one_service(tmp_path):
    found = export(flow(), tmp_path)
    assert list(found["services"]) == ["f"] and "volumes" not in found
    assert found["services"]["f"]["ports"] == ["127.0.0.1:8080:8080"]


def test_readers_start_before_writers_and_all_after_kafka(tmp_path):
    services = export(millrace.import_function(SHOP), tmp_path)["services"]
    before = {name: list(one.get("depends_on", {})) for name, one in services.items()}
    assert before == {
        "kafka": [], "orders-audit": ["kafka"], "orders-billing": ["kafka", "orders-audit"],
        "orders": ["kafka", "orders-audit", "orders-billing"],
    }  # fmt: skip
    assert services["orders"]["depends_on"]["kafka"] == {"condition": "service_healthy"}


def test_all_functions_talk_to_the_kafka_that_comes_along(tmp_path):
    export(millrace.import_function(SHOP), tmp_path)
    for spec in (tmp_path / "out" / "image").glob("function-spec*.yaml"):
        paths = [step["path"] for step in yaml.safe_load(spec.read_text())["spec"]["graph"]["steps"].values()
                 if step["kind"] == "queue"]  # fmt: skip
        assert paths and all(path.startswith("kafka://kafka:9092/") for path in paths)


def test_each_service_runs_its_part_of_one_image(tmp_path):
    services = export(millrace.import_function(SHOP), tmp_path)["services"]
    assert {services[name]["image"] for name in ("orders", "orders-audit")} == {"orders:latest"}
    assert services["orders-audit"]["command"] == ["function-spec-audit.yaml", "--function", "audit"]
    assert (tmp_path / "out" / "image" / "function-spec-audit.yaml").is_file()


def test_secrets_come_from_the_environment_of_who_starts_it(tmp_path):
    function = flow().with_secrets("inline", {"TOKEN": "s3cr3t-value"}).set_env("PRICE", "5$")
    environment = export(function, tmp_path)["services"]["f"]["environment"]
    assert environment["MILLRACE_SECRET_TOKEN"] == "${MILLRACE_SECRET_TOKEN:?a secret, set it in the environment}"
    assert environment["PRICE"] == "5$$"  # a dollar, and not a variable
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"s3cr3t" not in written


def test_limits_and_hardening_are_those_of_the_cluster(tmp_path):
    service = export(flow().with_limits(mem="512Mi", cpu=0.5), tmp_path)["services"]["f"]
    assert (service["mem_limit"], service["cpus"]) == ("536870912", "0.5")
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]


def test_a_gpu_is_kept_for_the_service_that_needs_it(tmp_path):
    service = export(flow().with_limits(gpus=2), tmp_path)["services"]["f"]
    assert service["deploy"]["resources"]["reservations"]["devices"] == [
        {"driver": "nvidia", "count": 2, "capabilities": ["gpu"]}
    ]


def test_exporting_twice_writes_the_same_bytes(tmp_path):
    def state():
        return {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}

    export(millrace.import_function(SHOP), tmp_path)
    first = state()
    export(millrace.import_function(SHOP), tmp_path)
    assert state() == first


def test_the_kafka_that_comes_along_is_asked_without_a_login(tmp_path):
    function = millrace.new_function("f")
    login = {"options": {"security_protocol": "SASL_SSL", "sasl_plain_username": "me", "linger_ms": 5},
             "secrets": {"sasl_plain_password": "PASS"}}  # fmt: skip
    function.set_topology("flow").to(">>", "q", path="kafka://kafka.shop.svc:9093/q", trigger_args=login)
    service = export(function.with_secrets("inline", {"OTHER": "s3cr3t-value"}), tmp_path)["services"]["f"]
    spec = yaml.safe_load((tmp_path / "out" / "image" / "function-spec.yaml").read_text())
    assert spec["spec"]["graph"]["steps"]["q"]["trigger_args"] == {"options": {"linger_ms": 5}}
    assert list(service["environment"]) == ["MILLRACE_SECRET_OTHER"]


@pytest.mark.parametrize(
    ("cpu", "mem", "cpus", "mem_limit"),
    [("500m", "2G", "0.5", "2000000000"), (2, "512Mi", "2", "536870912"), ("1.5", "1000k", "1.5", "1000000"),
     (0.25, 1 << 30, "0.25", "1073741824"), ("100", "1.5Gi", "100", "1610612736")],
)  # fmt: skip
def test_limits_in_any_of_kubernetes_units_hold_in_compose(cpu, mem, cpus, mem_limit, tmp_path):
    # By hand: milli is a thousandth, G is 10^9, Mi 2^20, k 10^3, Gi 2^30.
    service = export(flow().with_limits(cpu=cpu, mem=mem), tmp_path)["services"]["f"]
    assert (service["cpus"], service["mem_limit"]) == (cpus, mem_limit)


def test_a_secret_whose_name_compose_would_read_as_another_with_a_default_is_refused(tmp_path):
    # In "${MILLRACE_SECRET_my-token:?…}", "token:?…" is the default of MILLRACE_SECRET_my.
    function = flow().with_secrets("inline", {"my-token": "t"})
    with pytest.raises(SpecError, match="'MILLRACE_SECRET_my-token' is none that compose reads; use letters"):
        function.export("compose", str(tmp_path / "out"))


def test_a_function_that_is_called_as_the_kafka_beside_it_is_refused(tmp_path):
    function = millrace.new_function("kafka")
    graph = function.set_topology("flow")
    graph.to(name="a", handler="(event)").to(">>", "q").to(name="b", handler="(event)", function="c")
    function.add_child_function("c")
    with pytest.raises(SpecError, match=r"compose\.yaml has a service 'kafka' for its streams; give"):
        function.export("compose", str(tmp_path / "out"))


def test_a_function_called_kafka_without_queues_is_a_service_like_any_other(tmp_path):
    function = millrace.new_function("kafka")
    function.set_topology("flow").to(name="s", handler="(event)").respond()
    assert list(export(function, tmp_path)["services"]) == ["kafka"]


def test_a_tagged_function_starts_after_its_readers_as_well(tmp_path):
    function = millrace.import_function(SHOP)
    function.metadata.tag = "v2"
    assert {"orders-audit", "orders-billing"} <= set(export(function, tmp_path)["services"]["orders"]["depends_on"])


def test_volumes_of_pods_that_a_machine_has_too_are_mounted(tmp_path):
    function = flow()
    function.spec.volumes = [
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}}, {"name": "scratch", "emptyDir": {}},
        {"name": "data", "hostPath": {"path": "/data"}}, {"name": "login", "secret": {"secretName": "kafka"}},
    ]  # fmt: skip
    names = ("models", "scratch", "data", "login")
    function.spec.volume_mounts = [{"name": name, "mountPath": f"/mnt/{name}"} for name in names]
    found = export(function, tmp_path)
    service = found["services"]["f"]
    assert service["volumes"] == ["models:/mnt/models", "/data:/mnt/data"] and found["volumes"] == {"models": {}}
    assert service["tmpfs"] == ["/tmp", "/mnt/scratch"]
