"""``function.deploy`` and what follows it, against a double of a Nuclio dashboard."""

from __future__ import annotations

import pytest
from nuclio_dashboard_double import DashboardDouble

import millrace
from millrace.errors import RequestFailed
from millrace.serving.deploy.dashboard_access import DashboardAccess
from millrace.serving.deploy.dashboard_errors import DeployFailed


def new():
    function = millrace.new_function("demo", kind="serving", project="fraud")
    function.set_topology("flow").to(name="double", handler="(event * 2)").respond()
    return function


def test_deploy_returns_the_address_and_invoke_asks_there_from_then_on(dashboard):
    function = new()
    assert function.invoke("/", 21) == 42
    dashboard.external["fraud-demo"] = [f"{dashboard.url}/direct"]
    assert function.deploy(dashboard=dashboard.url, poll_seconds=0) == f"{dashboard.url}/direct"
    assert function.invoke("/", 21) == {"ok": True}
    assert function.invoke("/", 21, mock=True) == 42
    assert [one.call for one in dashboard.invoked] == ["POST /api/function_invocations/"]


def test_the_external_address_is_asked_directly_on_request(dashboard):
    function = new()
    dashboard.external["fraud-demo"] = [f"{dashboard.url}/direct"]
    function.deploy(dashboard=dashboard.url, poll_seconds=0)
    function.invoke("/v2/x", {"inputs": [1]}, force_external_address=True)
    assert dashboard.invoked[0].call == "POST /direct/v2/x" and dashboard.invoked[0].body == b'{"inputs":[1]}'


def test_invoke_raises_what_the_deployed_function_answers(dashboard):
    function = new()
    function.deploy(dashboard=dashboard.url, poll_seconds=0)
    dashboard.answer = (503, "text/plain", b"draining")
    with pytest.raises(RequestFailed, match=r"failed \(503\): draining"):
        function.invoke("/", 1)


def test_mock_false_asks_what_was_deployed_by_another_program(dashboard, monkeypatch):
    monkeypatch.setenv("NUCLIO_DASHBOARD_URL", dashboard.url)
    dashboard.put("fraud-demo", "ready")
    assert new().invoke("/", 1, mock=False) == {"ok": True}


def test_project_and_tag_are_parts_of_the_name(dashboard):
    new().deploy("risk", "v2", dashboard=dashboard.url, poll_seconds=0)
    assert set(dashboard.functions) == {"risk-demo-v2"} and set(dashboard.projects) == {"risk"}


def test_status_logs_and_undeploy_ask_the_same_dashboard(dashboard):
    function = new()
    function.deploy(dashboard=dashboard.url, poll_seconds=0)
    dashboard.replicas["fraud-demo"] = {"one": "a\nb\n"}
    assert [(one.name, one.state) for one in function.status()] == [("fraud-demo", "ready")]
    assert function.logs(tail_lines=1) == ["b"]
    assert function.undeploy() == ["fraud-demo"]
    assert [one.state for one in function.status(dashboard=dashboard.url)] == ["missing"]


def test_env_of_a_deployment_is_not_kept_in_the_function(dashboard):
    function = new()
    function.deploy(dashboard=dashboard.url, env={"LEVEL": "debug"}, poll_seconds=0)
    assert {"name": "LEVEL", "value": "debug"} in dashboard.functions["fraud-demo"].spec["env"]
    assert function.spec.env == {}


def test_values_of_secrets_are_taken_out_of_the_build_log(dashboard, capsys):
    from nuclio_dashboard_double import State

    function = new().with_secrets("inline", {"TOKEN": "s3cr3t-value"})
    dashboard.script("fraud-demo", State("building", ["login s3cr3t-value"]), State("error", message="no s3cr3t-value"))
    with pytest.raises(DeployFailed) as told:
        function.deploy(dashboard=dashboard.url, secret="demo-secrets", verbose=True, poll_seconds=0)
    assert "s3cr3t" not in f"{told.value}{told.value.__notes__}{capsys.readouterr().err}"


def test_credentials_are_given_in_code_where_need_be():
    with DashboardDouble(token="t0ken") as double:
        new().deploy(dashboard=DashboardAccess(double.url, token="t0ken"), poll_seconds=0)
        assert set(double.functions) == {"fraud-demo"}


def test_a_misspelt_argument_gets_near_names():
    with pytest.raises(TypeError, match="no parameter 'dashbord'; did you mean 'dashboard'"):
        new().deploy(dashbord="http://x")
