"""``function.apply(v3io_cred())`` brings a deployed function where the platform is, and a reference to the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import millrace as mlrun
from millrace.errors import GraphError, SpecError

VALUE = "0f3c-the-key-itself"


def function_with(modifier):
    function = mlrun.new_function("f", kind="serving")
    graph = function.set_topology("flow")
    graph.to(">>", "q", path="v3io:///users/q").to(name="s", handler="(event)", function="c")
    function.add_child_function("c")
    return function.apply(modifier)


def exported(function, folder, **choices):
    """The variables of each Nuclio function; no file holds the key."""
    out = Path(function.export("nuclio", str(folder / "out"), **choices))
    assert all(VALUE not in file.read_text() for file in out.rglob("*") if file.is_file())
    env = {file.parent.name: yaml.safe_load(file.read_text())["spec"]["env"] for file in out.glob("*/function.yaml")}
    return {name: {one["name"]: one.get("value") or one.get("valueFrom") for one in listed}
            for name, listed in env.items()}  # fmt: skip


def reference(name, key):
    return {"secretKeyRef": {"name": name, "key": key}}


def test_parent_and_child_get_the_address_and_a_reference_to_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("V3IO_API", "https://webapi.example.com")
    monkeypatch.setenv("V3IO_ACCESS_KEY", VALUE)
    found = exported(function_with(mlrun.v3io_cred()), tmp_path, secret="bank")
    for name in ("f", "f-c"):
        assert found[name]["V3IO_API"] == "https://webapi.example.com"
        assert found[name]["V3IO_ACCESS_KEY"] == reference("bank", "V3IO_ACCESS_KEY")


def test_the_arguments_come_before_the_environment_of_who_deploys(tmp_path, monkeypatch):
    monkeypatch.setenv("V3IO_API", "https://other.example.com")
    found = exported(function_with(mlrun.v3io_cred("https://a.example.com", "me", secret="mine/key")), tmp_path)
    assert (found["f"]["V3IO_API"], found["f"]["V3IO_USERNAME"]) == ("https://a.example.com", "me")
    assert found["f"]["V3IO_ACCESS_KEY"] == reference("mine", "key")


def test_a_key_without_a_source_is_refused_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setenv("V3IO_ACCESS_KEY", VALUE)
    function = mlrun.new_function("f").apply(mlrun.v3io_cred())
    function.set_topology("flow").to(name="s", handler="(event)").respond()
    with pytest.raises(SpecError, match="the secret 'V3IO_ACCESS_KEY' has no source where it is deployed") as caught:
        exported(function, tmp_path)
    assert VALUE not in str(caught.value) + function.to_yaml()


def test_the_value_of_a_key_is_refused_and_not_shown():
    with pytest.raises(GraphError, match="is never written: set V3IO_ACCESS_KEY") as caught:
        mlrun.v3io_cred(access_key=VALUE)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize("name", ["mount_v3io", "auto_mount", "mount_pvc", "platforms"])
def test_mlruns_mounts_name_the_way_out(name):
    with pytest.raises(AttributeError, match=rf"no attribute '{name}'; give volumes with function\.spec\.volumes"):
        getattr(mlrun, name)
