"""``millrace deploy``, ``status``, ``logs``, ``invoke`` and ``undeploy``, against a double of a Nuclio dashboard."""

from __future__ import annotations

import json

import pytest
from nuclio_dashboard_double import DashboardDouble, State

from millrace.serving.cli.main import run

FLOW = """
import millrace
fn = millrace.new_function('demo', kind='serving')
graph = fn.set_topology('flow', engine='async')
graph.to(name='double', handler='(event * 2)').respond()
"""
WITH_CHILD = """
import millrace
fn = millrace.new_function('demo', kind='serving')
graph = fn.set_topology('flow', engine='async')
graph.to(name='double', handler='(event * 2)').to('>>', 'q', path='kafka://broker:9092/orders')\
.to(name='add', handler='(event + 1)', function='child')
fn.add_child_function('child')
"""


@pytest.fixture
def here(dashboard, tmp_path, monkeypatch):
    """A double that the environment names, with the function's file in the present folder."""
    monkeypatch.setenv("NUCLIO_DASHBOARD_URL", dashboard.url)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.py").write_text(FLOW)
    return dashboard


def deploy(*options: str) -> int:
    return run(["deploy", "f.py", "--project", "fraud", "--poll-seconds", "0", *options])


def told(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_the_state_is_told_as_it_changes_and_the_address_is_the_result(here, capsys):
    assert deploy() == 0
    out, err = capsys.readouterr()
    assert out == "fraud-demo  created  http://nuclio-fraud-demo.nuclio.svc.cluster.local:8080\n"
    assert err.splitlines() == ["project fraud: created"] + [
        f"fraud-demo: {state}" for state in ("waitingForBuild", "building", "waitingForResourceConfiguration", "ready")
    ]


def test_a_second_time_nothing_is_done_unless_it_is_forced(here, capsys):
    assert [deploy(), deploy()] == [0, 0]
    assert capsys.readouterr().out.splitlines()[1].startswith("fraud-demo  unchanged")
    assert deploy("--force") == 0
    assert here.handed_in() == ["fraud-demo", "fraud-demo"]


def test_a_failed_build_ends_with_1_the_reason_and_the_log(here, capsys):
    here.script("fraud-demo", "building", State("error", ["pip install nosuch"], "No matching distribution for nosuch"))
    assert deploy() == 1
    assert told(capsys)[-2:] == [
        "millrace: function 'fraud-demo' was not deployed (error): No matching distribution for nosuch",
        "millrace: build log of fraud-demo: 00:00:00 info pip install nosuch",
    ]


def test_the_build_log_is_told_as_it_comes_with_verbose(here, capsys):
    here.script("fraud-demo", State("building", ["pulling"]), "ready")
    assert deploy("--verbose") == 0
    assert "fraud-demo: | 00:00:00 info pulling" in told(capsys)


def test_children_are_deployed_first_and_removed_last(here, tmp_path, capsys):
    (tmp_path / "f.py").write_text(WITH_CHILD)
    assert deploy() == 0
    assert here.handed_in() == ["fraud-demo-child", "fraud-demo"]
    assert run(["undeploy", "f.py", "--project", "fraud"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["fraud-demo: removed", "fraud-demo-child: removed"]
    assert here.functions == {}


def test_options_go_into_the_functions_configuration(here):
    assert deploy("--env", "LEVEL=debug", "--tag", "v2", "--python", "3.12", "--namespace", "ns") == 0
    function = here.functions["fraud-demo-v2"]
    assert {"name": "LEVEL", "value": "debug"} in function.spec["env"]
    assert function.spec["runtime"] == "python:3.12" and function.metadata["namespace"] == "ns"


def test_without_a_dashboard_nothing_but_one_line_is_told(here, capsys):
    assert deploy("--dashboard", "http://127.0.0.1:9") == 1
    (line,) = told(capsys)
    assert line.startswith("millrace: no Nuclio dashboard answers at http://127.0.0.1:9 (from the argument)")


def test_wrong_credentials_are_one_line_without_the_password(here, monkeypatch, capsys):
    monkeypatch.setenv("NUCLIO_DASHBOARD_PASSWORD", "wr0ng-one")
    with DashboardDouble(password="right") as double:
        assert deploy("--dashboard", double.url, "--user", "me") == 1
    (line,) = told(capsys)
    assert "does not let in user 'me'" in line and "wr0ng" not in line


def test_the_configuration_file_gives_address_and_credentials(here, monkeypatch, tmp_path):
    monkeypatch.delenv("NUCLIO_DASHBOARD_URL")
    with DashboardDouble(password="right") as double:
        folder = tmp_path / "config" / "millrace"
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(f"dashboard: {{url: '{double.url}', username: me, password: right}}\n")
        assert deploy() == 0
        assert list(double.functions) == ["fraud-demo"]


def test_a_project_name_that_is_not_allowed_is_told_before_anything_is_asked(here, capsys):
    assert run(["deploy", "f.py", "--project", "My_Project"]) == 1
    assert told(capsys)[0].startswith("millrace: the project name 'My_Project' is not allowed")
    assert here.asked == []


def test_an_environment_variable_without_a_value_is_a_usage_error(here, capsys):
    assert deploy("--env", "LEVEL") == 2
    assert "write it as NAME=VALUE" in told(capsys)[0]


def test_status_ends_with_0_only_when_all_are_ready(here, capsys):
    here.put("fraud-demo", State("ready"))
    assert run(["status", "f.py", "--project", "fraud"]) == 0
    assert run(["status", "fraud-other", "--json"]) == 1
    table, found = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert "fraud-demo  ready" in table
    assert json.loads(found)[0]["state"] == "missing"


def test_a_name_is_whole(here, capsys):
    assert run(["status", "demo", "--project", "fraud"]) == 2
    assert "'demo' is no file" in told(capsys)[0]


def test_logs_are_printed_as_they_are(here, capsys):
    here.put("fraud-demo", "ready")
    here.replicas["fraud-demo"] = {"replica-1": "a\nb\n"}
    assert run(["logs", "fraud-demo", "--tail", "1"]) == 0
    assert capsys.readouterr() == ("b\n", "")


def test_invoke_prints_the_answer_as_json(here, capsys):
    here.put("fraud-demo", "ready")
    assert run(["invoke", "f.py", "/v2/x", "--project", "fraud", "--body", "21", "--header", "x-user: me"]) == 0
    assert capsys.readouterr().out == '{"ok":true}\n'
    (asked,) = here.invoked
    assert (asked.method, asked.body, asked.headers["x-user"]) == ("POST", b"21", "me")


def test_invoke_takes_the_content_type_from_the_files_name_unless_it_is_given(here, tmp_path):
    here.put("fraud-demo", "ready")
    (tmp_path / "event.csv").write_text("1,2")
    assert run(["invoke", "fraud-demo", "--body-file", "event.csv"]) == 0
    assert run(["invoke", "fraud-demo", "--body", "x", "--header", "content-type: text/plain"]) == 0
    assert [one.headers["Content-Type"] for one in here.invoked] == ["text/csv", "text/plain"]


def test_invoke_of_a_function_that_answers_with_an_error_ends_with_1(here, capsys):
    here.put("fraud-demo", "ready")
    here.answer = (422, "application/json", b'{"error": "no inputs"}')
    assert run(["invoke", "fraud-demo", "--body", "{}"]) == 1
    assert told(capsys) == ["millrace: failed (422): {'error': 'no inputs'}"]


def test_a_function_that_is_not_there_gets_near_names(here, capsys):
    here.put("fraud-demo", "ready")
    assert run(["invoke", "fraud-dem", "--body", "1"]) == 1
    assert "has no function 'fraud-dem'; did you mean 'fraud-demo'?" in told(capsys)[0]


def test_undeploy_says_what_was_not_there(here, capsys):
    assert run(["undeploy", "fraud-gone"]) == 0
    assert capsys.readouterr().out == "fraud-gone: is not there\n"


def test_a_deployed_function_is_found_by_its_file_without_the_choices_it_was_deployed_with(here, tmp_path, capsys):
    without_address = WITH_CHILD.replace("path='kafka://broker:9092/orders'", "shards=2")
    (tmp_path / "f.py").write_text(f"{without_address}fn.with_secrets('inline', {{'T': 'x'}})\n")
    choices = ["--streams", "kafka://broker:9092", "--secret", "bank", "--tag", "v2"]
    assert deploy(*choices) == 0
    at = ["f.py", "--project", "fraud", "--tag", "v2"]
    assert run(["status", *at]) == run(["logs", *at]) == 0
    assert "fraud-demo-child-v2" in capsys.readouterr().out
    assert run(["undeploy", *at]) == 0 and here.functions == {}
