"""Deploying to a dashboard: what is handed in, when, and what is made of every state and fault."""

from __future__ import annotations

import pytest
from nuclio_dashboard_double import State

from millrace.serving.deploy.dashboard_access import DashboardAccess
from millrace.serving.deploy.dashboard_errors import (
    DashboardFailed,
    DeployError,
    DeployFailed,
    NotADashboard,
    OtherProject,
)
from millrace.serving.deploy.deployer import deploy
from millrace.serving.deploy.deployer_function import DeployOptions
from millrace.serving.deploy.deployer_progress import Progress
from millrace.serving.deploy.deployer_unit import Deployable


def unit(name: str, *, after=(), replicas: int = 1) -> Deployable:
    config = {"metadata": {"name": name}, "spec": {"handler": "main:handler", "minReplicas": replicas}}
    return Deployable(config, {"main.py": b"def handler(context, event): return 'hi'\n"}, after)


def run(double, *units, lines=None, forced=False, **options):
    progress = Progress((lines if lines is not None else []).append, is_detailed=True)
    settings = DeployOptions(is_forced=forced, poll_seconds=0, **options)
    return deploy(units, DashboardAccess(double.url), project="demo", options=settings, progress=progress)


def test_a_new_function_goes_to_a_new_project_and_is_ready_when_deploy_returns(dashboard):
    (done,) = run(dashboard, unit("hello"))
    assert (done.name, done.state, done.change) == ("hello", "ready", "created")
    assert "demo" in dashboard.projects
    assert dashboard.functions["hello"].metadata["labels"] == {"nuclio.io/project-name": "demo"}
    assert done.address == "http://nuclio-hello.nuclio.svc.cluster.local:8080"


def test_deploying_twice_with_nothing_changed_hands_nothing_in(dashboard):
    run(dashboard, unit("hello"))
    (done,) = run(dashboard, unit("hello"))
    assert done.change == "unchanged"
    assert dashboard.handed_in() == ["hello"]


def test_the_same_deployment_that_is_under_way_is_waited_for_and_not_handed_in_again(dashboard):
    run(dashboard, unit("hello"))
    dashboard.functions["hello"].states = [State("building"), State("building"), State("building"), State("ready")]
    lines: list[str] = []
    assert run(dashboard, unit("hello"), lines=lines)[0].state == "ready"
    assert lines == ["hello: building", "hello: ready"] and dashboard.handed_in() == ["hello"]


def test_a_change_is_handed_in_with_the_version_it_is_based_on(dashboard):
    run(dashboard, unit("hello"))
    (done,) = run(dashboard, unit("hello", replicas=2))
    assert done.change == "updated"
    assert [one.body["metadata"]["resourceVersion"] for one in dashboard.asked if one.method == "PUT"] == ["1"]
    assert dashboard.functions["hello"].version == 2 and dashboard.functions["hello"].spec["minReplicas"] == 2


def test_force_deploys_what_has_not_changed(dashboard):
    run(dashboard, unit("hello"))
    run(dashboard, unit("hello"), forced=True)
    assert dashboard.functions["hello"].version == 2


def test_what_failed_before_is_deployed_again_though_it_has_not_changed(dashboard):
    dashboard.script("hello", "building", "error")
    with pytest.raises(DeployFailed):
        run(dashboard, unit("hello"))
    (done,) = run(dashboard, unit("hello"))
    assert (done.state, done.change) == ("ready", "updated")


def test_states_and_the_build_log_are_told_once_each_as_they_come(dashboard):
    dashboard.script("hello", State("building", ["pulling"]), State("building", ["copying"]), "ready")
    lines: list[str] = []
    run(dashboard, unit("hello"), lines=lines)
    assert lines == [
        "project demo: created", "hello: | 00:00:00 info pulling", "hello: building",
        "hello: | 00:00:01 info copying", "hello: ready",
    ]  # fmt: skip


def test_a_failed_build_gives_the_reason_and_the_end_of_its_log(dashboard):
    log = [f"step {n}" for n in range(30)]
    failed = State("error", log, "\x1b[31mNo matching distribution found for nosuch\x1b[0m\ncall stack: …")
    dashboard.script("hello", "building", failed)
    with pytest.raises(DeployFailed, match=r"'hello' was not deployed \(error\): No matching .* nosuch\n") as told:
        run(dashboard, unit("hello"))
    assert told.value.log == [*(f"00:00:{n} info step {n}" for n in range(10, 30)), "call stack: …"]
    assert told.value.__notes__[-2] == "build log of hello: 00:00:29 info step 29"


@pytest.mark.parametrize(("state", "said"), [("unhealthy", "millrace logs"), ("imported", "skip-deploy")])
def test_a_state_that_is_no_success_is_a_failure_that_says_what_to_look_at(dashboard, state, said):
    dashboard.script("hello", "building", state)
    with pytest.raises(DeployFailed, match=rf"\({state}\).*{said}"):
        run(dashboard, unit("hello"))


def test_a_function_scaled_to_zero_is_deployed(dashboard):
    dashboard.script("hello", "building", "scaledToZero")
    assert run(dashboard, unit("hello"))[0].state == "scaledToZero"


def test_a_build_that_does_not_end_is_told_after_the_time_limit(dashboard):
    dashboard.script("hello", "building")
    with pytest.raises(DeployFailed, match=r"\(building\): it is not ready after 0\.05 s.*--timeout-seconds"):
        run(dashboard, unit("hello"), timeout_seconds=0.05)


def test_a_function_that_is_removed_meanwhile_is_told(dashboard):
    lines: list[str] = []
    progress = Progress(lambda line: dashboard.functions.clear() if line == "hello: building" else lines.append(line))
    with pytest.raises(DeployFailed, match="somebody removed it"):
        deploy([unit("hello")], DashboardAccess(dashboard.url), project="demo", progress=progress,
               options=DeployOptions(poll_seconds=0))  # fmt: skip


# -- several ---------------------------------------------------------------------------------------------------------


def test_children_are_ready_before_their_parent_is_handed_in(dashboard):
    run(dashboard, unit("root", after=["a", "b"]), unit("a"), unit("b", after=["a"]))
    assert dashboard.handed_in() == ["a", "b", "root"]
    posts = [n for n, call in enumerate(dashboard.calls()) if call.startswith("POST /api/functions")]
    polls = [n for n, call in enumerate(dashboard.calls()) if call == "GET /api/functions/b"]
    assert posts[2] > polls[-1] > posts[1]


def test_independent_functions_are_built_at_the_same_time_but_only_so_many(dashboard):
    run(dashboard, *(unit(f"child-{n}") for n in range(6)), builds_at_a_time=3)
    assert 2 <= dashboard.most_in_progress <= 3


def test_what_needs_a_function_that_failed_is_not_handed_in_and_the_others_are_told(dashboard):
    dashboard.script("a", "building", State("error", message="a broke"))
    dashboard.script("b", "building", "building", State("error", message="b broke"))
    with pytest.raises(DeployFailed, match="a broke") as told:
        run(dashboard, unit("a"), unit("b"), unit("c"), unit("root", after=["a", "b", "c"]))
    assert told.value.__notes__ == [
        "also: function 'b' was not deployed (error): b broke", "not deployed, since they need it: root"
    ]  # fmt: skip
    assert dashboard.functions["c"].states[0].name == "ready" and "root" not in dashboard.functions


@pytest.mark.parametrize(
    ("units", "said"),
    [
        ([unit("a"), unit("a")], "two functions are called 'a'"),
        ([unit("a", after=["b"]), unit("b", after=["a"])], "'a' waits for 'b', which waits for it in turn"),
        ([unit("a", after=["z"])], "'a' waits for 'z', which is not deployed with it"),
    ],
)
def test_an_order_that_can_not_be_is_told_before_anything_is_asked(dashboard, units, said):
    with pytest.raises(DeployError, match=said):
        run(dashboard, *units)
    assert dashboard.asked == []


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [500, 503, "drop", "drop after"])
@pytest.mark.parametrize("call", ["GET /api/projects", "POST /api/projects", "GET /api/fun", "POST /api/fun"])
def test_a_fault_that_passes_does_no_harm(dashboard, call, how):
    dashboard.fail(call, how)
    assert run(dashboard, unit("hello"))[0].state == "ready"
    assert dashboard.faults == [] and dashboard.functions["hello"].version == 1


@pytest.mark.parametrize("how", [500, "drop", "drop after"])
def test_an_update_whose_answer_is_lost_is_made_once(dashboard, how):
    run(dashboard, unit("hello"))
    dashboard.fail("PUT /api/functions", how)
    assert run(dashboard, unit("hello", replicas=2))[0].change == "updated"
    assert dashboard.functions["hello"].version == 2


@pytest.mark.parametrize("how", [500, "drop", "drop after"])
def test_a_forced_deployment_whose_answer_is_lost_is_made_once(dashboard, how):
    run(dashboard, unit("hello"))
    dashboard.fail("PUT /api/functions", how)
    run(dashboard, unit("hello"), forced=True)
    assert dashboard.functions["hello"].version == 2


def test_a_fault_that_stays_is_told_in_the_dashboards_words(dashboard):
    dashboard.fail("POST /api/functions", 500, times=9)
    with pytest.raises(DashboardFailed, match=r"could not create function 'hello': ordered to fail with 500 \(500\)"):
        run(dashboard, unit("hello"))
    assert dashboard.functions == {}


def test_a_refused_configuration_is_not_tried_again(dashboard):
    dashboard.fail("POST /api/functions", 400)
    with pytest.raises(DashboardFailed, match=r"\(400\)"):
        run(dashboard, unit("hello"))
    assert len(dashboard.calls("POST /api/functions")) == 1


def test_an_update_waits_until_another_deployment_has_ended(dashboard):
    dashboard.put("hello", "building", "building", "building", "ready")
    dashboard.projects["demo"] = {}
    lines: list[str] = []
    assert run(dashboard, unit("hello"), lines=lines)[0].change == "updated"
    assert "hello: waits for another deployment of it to end" in lines
    assert len(dashboard.calls("PUT")) == 2


def test_an_update_upon_an_old_version_is_made_upon_the_new_one(dashboard):
    dashboard.projects["demo"] = {}
    dashboard.put("hello", "ready")
    dashboard.fail("PUT /api/functions", 409)
    run(dashboard, unit("hello"))
    assert len(dashboard.calls("PUT")) == 2 and dashboard.functions["hello"].version == 2


def test_a_function_that_somebody_creates_first_is_updated(dashboard):
    dashboard.projects["demo"] = {}
    dashboard.put("hello", "ready")
    dashboard.fail("GET /api/functions/hello", 404)
    assert run(dashboard, unit("hello"))[0].state == "ready"
    assert dashboard.calls("P") == ["POST /api/functions", "PUT /api/functions/hello"]


def test_a_project_that_goes_away_is_made_again(dashboard):
    progress = Progress(lambda line: dashboard.projects.clear() if line == "first: ready" else None)
    deploy([unit("first"), unit("second", after=["first"])], DashboardAccess(dashboard.url), project="demo",
           options=DeployOptions(poll_seconds=0), progress=progress)  # fmt: skip
    assert "demo" in dashboard.projects and set(dashboard.functions) == {"first", "second"}


def test_a_refusal_that_no_waiting_changes_is_told_at_once(dashboard):
    dashboard.fail("POST /api/functions", 412, times=2)
    with pytest.raises(DashboardFailed, match="412"):
        run(dashboard, unit("hello"))
    assert len(dashboard.calls("POST /api/functions")) == 1


def test_a_function_of_another_project_is_left_alone(dashboard):
    dashboard.put("hello", "ready", project="theirs")
    with pytest.raises(OtherProject, match="exists in project 'theirs'"):
        run(dashboard, unit("hello"))
    assert dashboard.handed_in() == []


def part(name: str, whole: str) -> Deployable:
    config = {"metadata": {"name": name, "labels": {"millrace/part-of": whole}}, "spec": {"handler": "main:handler"}}
    return Deployable(config, {"main.py": b"def handler(context, event): return 'hi'\n"})


def test_a_child_that_was_taken_out_of_its_function_is_told_of_since_it_reads_on(dashboard):
    run(dashboard, part("shop-bill", "shop"), part("shop-audit", "shop"), part("shop", "shop"), part("other", "other"))
    lines: list[str] = []
    run(dashboard, part("shop-audit", "shop"), part("shop", "shop"), lines=lines)
    assert [line for line in lines if "runs on" in line] == [
        "shop-bill: is no part of its function any more, and runs on; `millrace undeploy shop-bill`"
    ]


def test_that_former_children_can_not_be_looked_for_fails_no_deployment(dashboard):
    dashboard.fail("GET /api/functions$", 403)
    lines: list[str] = []
    assert run(dashboard, unit("hello"), lines=lines)[0].state == "ready"
    assert any(line.startswith("demo: former children were not looked for") for line in lines)


def test_a_page_for_people_in_place_of_a_function_is_not_taken_for_a_missing_function(dashboard):
    dashboard.fail("GET /api/functions/hello", "page")
    with pytest.raises(NotADashboard, match="it shows function 'hello' as '<html>Please log in"):
        run(dashboard, unit("hello"))
    assert dashboard.handed_in() == []


def test_too_many_requests_are_asked_again(dashboard):
    dashboard.fail("GET /api/functions/hello", 429)
    dashboard.fail("POST /api/functions", 429)
    assert run(dashboard, unit("hello"))[0].state == "ready"


def test_handing_in_is_not_tried_again_after_the_time_for_the_function(dashboard):
    dashboard.fail("POST /api/functions", 500, times=9)
    with pytest.raises(DashboardFailed):
        run(dashboard, unit("hello"), timeout_seconds=0)
    assert dashboard.calls("POST /api/functions") == ["POST /api/functions"]


def test_a_function_with_the_name_of_another_ones_child_does_not_take_its_place(dashboard):
    run(dashboard, part("shop-bill", "shop"), part("shop", "shop"))
    with pytest.raises(DeployError, match="'shop-bill' is deployed as a part of 'shop' and can not"):
        run(dashboard, part("shop-bill", "shop-bill"))
    assert dashboard.handed_in() == ["shop-bill", "shop"]
