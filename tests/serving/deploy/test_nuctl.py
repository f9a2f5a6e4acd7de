"""Deploying through nuctl: what the program is called with. It is a double: a script that writes down its arguments."""

from __future__ import annotations

import json
import sys

import pytest

import millrace
from millrace.errors import MillraceError, MissingProgram, SpecError
from millrace.serving.deploy.dashboard_errors import DeployFailed
from millrace.serving.deploy.deployer_function import DeployOptions
from millrace.serving.deploy.deployer_progress import Progress
from millrace.serving.deploy.deployer_unit import Deployable
from millrace.serving.deploy.nuctl import deploy_with_nuctl, status_with_nuctl, undeploy_with_nuctl

DOUBLE = """#!{python}
# A double of nuctl. It builds nothing: it keeps what `deploy` was given, and shows it to `get`.
import json, pathlib, sys
store = pathlib.Path({store!r})
command, *rest = sys.argv[1:]
with open(store / "calls", "a") as calls:
    print(json.dumps(sys.argv[1:]), file=calls)
if rest[1:2] == ["hangs"]:
    import time; time.sleep(60)
if command == "get":
    kept = store / rest[1]
    if not kept.exists():
        sys.exit("Error - not found")
    print(kept.read_text())
elif command == "create":
    (store / rest[1]).write_text(f"  NAMESPACE | NAME | DISPLAY NAME\\n  nuclio | {{rest[1]}} |")
elif command == "deploy":
    if rest[0] == "broken":
        print("step 1\\nstep 2\\nError - exit status 1")
        sys.exit(3)
    if rest[0] == "slow":
        import time; time.sleep(60)
    folder = pathlib.Path(rest[rest.index("--path") + 1])
    files = sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())
    config = json.loads((folder / "function.yaml").read_text())
    urls = {{"externalInvocationUrls": ["localhost:31000"]}}
    (store / rest[0]).write_text(json.dumps({{**config, "status": {{"state": "ready", **urls}}, "files": files}}))
    print("building")
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    """The folder where the double on the PATH keeps things."""
    kept = tmp_path / "kept"
    kept.mkdir()
    program = tmp_path / "bin" / "nuctl"
    program.parent.mkdir()
    program.write_text(DOUBLE.format(python=sys.executable, store=str(kept)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    return kept


def calls(store):
    return [json.loads(line) for line in (store / "calls").read_text().splitlines()]


def unit(name, *, after=(), replicas=1):
    config = {"metadata": {"name": name}, "spec": {"handler": "main:handler", "minReplicas": replicas}}
    return Deployable(config, {"main.py": b"x = 1\n", "steps/a.py": b"y = 2\n"}, after)


def run(*units, lines=None, **options):
    progress = Progress((lines if lines is not None else []).append, is_detailed=True)
    return deploy_with_nuctl(units, project="demo", progress=progress, options=DeployOptions(**options))


def test_a_folder_with_the_configuration_and_all_files_is_deployed(store):
    (done,) = run(unit("hello"))
    kept = json.loads((store / "hello").read_text())
    assert kept["files"] == ["function.yaml", "main.py", "steps/a.py"]
    assert kept["metadata"]["labels"] == {"nuclio.io/project-name": "demo"} and kept["spec"]["minReplicas"] == 1
    assert (done.state, done.change, done.address) == ("ready", "created", "http://localhost:31000")


def test_the_project_is_made_once_and_the_namespace_goes_with_every_call(store):
    for _ in range(2):
        deploy_with_nuctl([unit("hello")], project="demo", namespace="ns", progress=Progress([].append))
    assert [call[:3] for call in calls(store)].count(["create", "project", "demo"]) == 1
    assert all(call[-2:] == ["--namespace", "ns"] for call in calls(store))


def test_children_are_deployed_before_their_parent(store):
    run(unit("root", after=["a", "b"]), unit("a"), unit("b", after=["a"]))
    deployed = [call for call in calls(store) if call[0] == "deploy"]
    assert [call[1] for call in deployed] == ["a", "b", "root"]
    assert all(call[4:] == ["--project-name", "demo"] for call in deployed)


def test_nothing_is_deployed_twice_unless_it_changed_or_is_forced(store):
    run(unit("hello"))
    assert run(unit("hello"))[0].change == "unchanged"
    assert run(unit("hello", replicas=2))[0].change == "updated"
    assert run(unit("hello", replicas=2), is_forced=True)[0].change == "updated"
    assert [call[0] for call in calls(store)].count("deploy") == 3


def test_what_nuctl_says_is_told_and_its_end_is_the_reason(store):
    lines: list[str] = []
    with pytest.raises(DeployFailed, match=r"'broken' .*: Error - exit status 1 \(exit code 3\)") as told:
        run(unit("broken"), unit("root", after=["broken"]), lines=lines)
    assert told.value.log == ["step 1", "step 2", "Error - exit status 1"]
    assert "broken: | step 1" in lines
    assert not any(call[:2] == ["deploy", "root"] for call in calls(store))


def test_a_nuctl_that_does_not_end_is_ended(store):
    with pytest.raises(DeployFailed, match=r"no end within 0\.5 s"):
        run(unit("slow"), timeout_seconds=0.5)


def test_status_is_what_nuctl_shows(store):
    run(unit("hello"))
    assert [(one.name, one.state) for one in status_with_nuctl(["hello", "nobody"])] == [
        ("hello", "ready"), ("nobody", "missing")
    ]  # fmt: skip


def test_a_function_deployed_with_nuctl_is_asked_about_with_nuctl(store):
    function = millrace.new_function("demo", kind="serving")
    function.set_topology("flow").to(name="double", handler="(event * 2)").respond()
    assert function.deploy(via="nuctl") == "http://localhost:31000"
    assert function.status()[0].state == "ready"
    with pytest.raises(MillraceError, match=r"was deployed with nuctl, and invoke\(\) asks a dashboard"):
        function.invoke("/", 1)
    assert function.undeploy() == ["demo"]


def test_parents_are_removed_before_children(store):
    lines: list[str] = []
    assert undeploy_with_nuctl(["child", "root"], namespace="ns", write=lines.append) == ["root", "child"]
    assert calls(store) == [["delete", "function", name, "--namespace", "ns"] for name in ("root", "child")]
    assert lines == ["root: removed", "child: removed"]


def test_without_nuctl_it_is_said_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match=r"'nuctl', which is not on the PATH: install it from .*--via dashboard"):
        run(unit("hello"))


def test_a_name_that_is_not_allowed_is_told_before_nuctl_runs(store):
    with pytest.raises(SpecError, match="the function name 'My_Fn' is not allowed"):
        run(unit("My_Fn"))
    assert list(store.iterdir()) == []


def test_a_nuctl_that_does_not_answer_is_told_of_after_the_time_for_a_function(store):
    with pytest.raises(DeployFailed, match=r"'hangs' was not deployed \(nuctl get\): no end within 0\.3 s"):
        deploy_with_nuctl([], project="hangs", options=DeployOptions(timeout_seconds=0.3))
