"""Where the dashboard is, who asks it, and what is told when it can not be asked; nothing is deployed then."""

from __future__ import annotations

import asyncio
import socket

import pytest
from nuclio_dashboard_double import DashboardDouble, State

from millrace.errors import SpecError
from millrace.serving.deploy.dashboard import Dashboard
from millrace.serving.deploy.dashboard_access import DashboardAccess, config_file, find_access
from millrace.serving.deploy.dashboard_errors import (
    CodeTooLarge,
    ConnectionDropped,
    CredentialsRefused,
    DashboardUnreachable,
    DeployError,
    FunctionNotFound,
    NotADashboard,
)
from millrace.serving.deploy.deployer import deploy, invoke, logs, status, undeploy
from millrace.serving.deploy.deployer_function import DeployOptions
from millrace.serving.deploy.deployer_progress import Progress
from millrace.serving.deploy.deployer_unit import Deployable

SECRET = "s3cr3t-w0rd"


def try_to_deploy(access: DashboardAccess, *, project: str = "demo", name: str = "hello") -> None:
    unit = Deployable({"metadata": {"name": name}, "spec": {}})
    deploy([unit], access, project=project, options=DeployOptions(poll_seconds=0), progress=Progress(print))


# -- the address and the credentials ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "environment", "config", "url", "source"),
    [
        ("http://a", {"NUCLIO_DASHBOARD_URL": "http://b"}, {"url": "http://c"}, "http://a", "the argument"),
        (None, {"NUCLIO_DASHBOARD_URL": "http://b"}, {"url": "http://c"}, "http://b", "NUCLIO_DASHBOARD_URL"),
        (None, {"MLRUN_NUCLIO_DASHBOARD_URL": "b:8070/"}, {}, "http://b:8070", "MLRUN_NUCLIO_DASHBOARD_URL"),
        (None, {}, {"url": "http://c/api"}, "http://c", "the configuration file"),
        (None, {"NUCLIO_DASHBOARD_SERVICE_PORT": "8070"}, {}, "http://nuclio-dashboard:8070",
         "NUCLIO_DASHBOARD_SERVICE_PORT"),
        (None, {}, {}, "http://localhost:8070", "the default"),
    ],
)  # fmt: skip
def test_the_address_comes_from_the_argument_the_environment_the_file_or_the_default(
    argument, environment, config, url, source
):
    found = find_access(argument, config={"dashboard": config}, environment=environment)
    assert (found.url, found.source) == (url, source)


def test_credentials_in_the_address_are_taken_out_of_it_and_never_shown():
    found = find_access(f"https://me:{SECRET}%21@nuclio.example.com:8443")
    assert (found.url, found.username, found.password) == ("https://nuclio.example.com:8443", "me", f"{SECRET}!")
    assert SECRET not in repr(found) + str(found)


def test_credentials_of_the_file_go_only_to_the_address_in_the_file():
    config = {"dashboard": {"url": "http://c", "username": "me", "password": SECRET, "namespace": "n"}}
    assert find_access(config=config, environment={}).password == SECRET
    other = find_access("http://other", config=config, environment={})
    assert (other.username, other.password, other.namespace) == (None, None, "n")


def test_credentials_come_all_from_one_place():
    config = {"dashboard": {"url": "http://c", "username": "me", "password": SECRET}}
    found = find_access(config=config, environment={"NUCLIO_DASHBOARD_TOKEN": "t"})
    assert (found.token, found.username, found.password) == ("t", None, None)
    assert find_access(config=config, environment={}, username="you").password is None


def test_the_file_lies_in_the_users_configuration_folder():
    assert config_file({"XDG_CONFIG_HOME": "/x"}).as_posix() == "/x/millrace/config.yaml"
    assert config_file({}).as_posix().endswith("/.config/millrace/config.yaml")


@pytest.mark.parametrize(
    ("config", "said"),
    [({"urll": "x"}, "no key 'urll'; did you mean 'url'"), ("http://c", "must be a mapping, not a str")],
)
def test_a_misspelt_file_is_told(config, said):
    with pytest.raises(DeployError, match=said):
        find_access(config={"dashboard": config}, environment={})


@pytest.mark.parametrize("url", ["ftp://a", "http://", "file:///etc"])
def test_an_address_that_is_no_url_is_told(url):
    with pytest.raises(DeployError, match=r"\(from the argument\) is no URL such as http://localhost:8070"):
        find_access(url)


# -- what is told before anything is deployed ------------------------------------------------------------------------


def test_no_dashboard_names_the_address_and_all_ways_to_give_another(monkeypatch):
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DashboardUnreachable) as told:
            try_to_deploy(find_access(environment={"NUCLIO_DASHBOARD_URL": url}))
    parts = (f"answers at {url} (from NUCLIO_DASHBOARD_URL)", "Connect call failed", "--dashboard",
             "dashboard.url in the configuration file", "--via nuctl")  # fmt: skip
    assert all(part in str(told.value) for part in parts)


def test_a_host_that_does_not_exist_is_told():
    with pytest.raises(DashboardUnreachable, match=r"http://no-such-host\.invalid:8070"):
        try_to_deploy(DashboardAccess("http://no-such-host.invalid:8070"))


@pytest.mark.parametrize("given", [{}, {"username": "me", "password": "wr0ng-one"}, {"token": "wr0ng-one"}])
def test_wrong_credentials_are_told_without_them(given):
    with DashboardDouble(password=SECRET) as double:
        with pytest.raises(CredentialsRefused, match=r"does not let in .*NUCLIO_DASHBOARD_PASSWORD") as told:
            try_to_deploy(DashboardAccess(double.url, **given))
        assert double.calls() == ["GET /api/projects"]
    assert "wr0ng" not in str(told.value) and told.value.status == 401


def test_right_credentials_let_in():
    with DashboardDouble(password=SECRET, token="t0ken") as double:
        try_to_deploy(DashboardAccess(double.url, username="me", password=SECRET))
        try_to_deploy(DashboardAccess(double.url, token="t0ken"))
        assert list(double.functions) == ["hello"]


def test_somebody_who_may_not_make_the_project_is_told_so(dashboard):
    dashboard.fail("POST /api/projects", 403)
    with pytest.raises(CredentialsRefused, match="does not let somebody without credentials create project 'demo'"):
        try_to_deploy(DashboardAccess(dashboard.url))
    assert dashboard.functions == {}


@pytest.mark.parametrize("project", ["My_Project", "a" * 64, "", "-x", "a.b"])
def test_a_project_name_that_is_not_allowed_is_told_before_anything_is_asked(dashboard, project):
    with pytest.raises(SpecError, match=r"the project name '.*' is not allowed"):
        try_to_deploy(DashboardAccess(dashboard.url), project=project)
    assert dashboard.asked == []


@pytest.mark.parametrize(("path", "said"), [("direct", '{"ok": true}'), ("elsewhere", "no /api/projects")])
def test_something_else_at_the_address_is_told(dashboard, path, said):
    with pytest.raises(NotADashboard, match=f"is no Nuclio dashboard: it .*{said}"):
        try_to_deploy(DashboardAccess(f"{dashboard.url}/{path}"))


def test_a_page_to_log_in_is_told(dashboard):
    dashboard.fail("GET /api/projects", 302)
    dashboard.projects["demo"] = {}
    with pytest.raises(NotADashboard, match="perhaps to log in"):
        try_to_deploy(DashboardAccess(dashboard.url))


def test_code_that_a_dashboard_can_not_store_is_told_with_its_size(dashboard):
    import random

    files = {"main.py": b"", "model.bin": random.Random(1).randbytes(1_000_000)}
    unit = Deployable({"metadata": {"name": "hello"}, "spec": {"handler": "main:handler"}}, files)
    with pytest.raises(CodeTooLarge, match=r"'hello': its files take 1,[0-9]{3},[0-9]{3} bytes packed"):
        deploy([unit], DashboardAccess(dashboard.url), project="demo")
    assert dashboard.asked == []


def test_a_dashboard_that_gives_no_answer_is_told_after_the_time_limit(dashboard):
    dashboard.fail("GET /api/projects", "hang")

    async def asked():
        async with Dashboard(DashboardAccess(dashboard.url), timeout_seconds=0.1) as client:
            await client.projects()

    with pytest.raises(DashboardUnreachable, match="it accepts connections and gives no answer"):
        asyncio.run(asked())


def test_certificates_that_are_not_there_are_told(dashboard):
    with pytest.raises(DeployError, match=r"'/nowhere\.pem' can not be read"):
        try_to_deploy(DashboardAccess(dashboard.url, ca_file="/nowhere.pem"))


# -- what is asked of functions --------------------------------------------------------------------------------------


def test_the_namespace_goes_with_every_request(dashboard):
    try_to_deploy(DashboardAccess(dashboard.url, namespace="ns"))
    headers = {value for one in dashboard.asked for key, value in one.headers.items() if "namespace" in key.lower()}
    bodies = {one.body["metadata"]["namespace"] for one in dashboard.asked if one.body}
    assert headers == bodies == {"ns"}


def test_status_tells_state_and_addresses_and_what_is_missing(dashboard):
    dashboard.put("hello", State("ready"))
    dashboard.external["hello"] = ["hello.example.com/x"]
    one, other = status(["hello", "nobody"], DashboardAccess(dashboard.url))
    assert (one.state, one.address) == ("ready", "http://hello.example.com/x")
    assert (other.state, other.address) == ("missing", "")


def test_undeploy_removes_parents_before_children(dashboard):
    for name in ("child", "root"):
        dashboard.put(name, "ready")
    assert undeploy(["child", "root", "gone"], DashboardAccess(dashboard.url)) == ["root", "child"]
    assert [one.body["metadata"]["name"] for one in dashboard.asked if one.method == "DELETE"] == [
        "gone", "root", "child"
    ]  # fmt: skip


def test_what_is_being_deployed_is_removed_only_by_force(dashboard):
    dashboard.put("hello", "building")
    with pytest.raises(DeployError, match=r"being provisioned and cannot be deleted \(412\)"):
        undeploy(["hello"], DashboardAccess(dashboard.url))
    assert undeploy(["hello"], DashboardAccess(dashboard.url), is_forced=True) == ["hello"]


def test_logs_of_all_replicas_are_written_with_their_names(dashboard):
    dashboard.put("hello", "ready")
    dashboard.replicas["hello"] = {"hello-1": "a\nb\n", "hello-2": "c\n"}
    lines: list[str] = []
    assert logs("hello", DashboardAccess(dashboard.url), lines.append, tail_lines=1) == 2
    assert lines == ["hello-1: b", "hello-2: c"]


def test_the_log_of_a_function_that_is_not_there_names_near_ones(dashboard):
    dashboard.put("hello", "ready")
    with pytest.raises(FunctionNotFound, match="no function 'helo'; did you mean 'hello'"):
        logs("helo", DashboardAccess(dashboard.url), print)


def test_invoking_through_the_dashboard_names_the_function_and_the_path(dashboard):
    dashboard.put("hello", "ready")
    answer = invoke("hello", DashboardAccess(dashboard.url), path="/v2/x", body=b"{}", headers={"x-user": "me"})
    assert (answer.status, answer.json()) == (200, {"ok": True})
    headers = {key.lower(): value for key, value in dashboard.invoked[0].headers.items()}
    assert headers["x-nuclio-function-name"] == "hello" and headers["x-nuclio-path"] == "/v2/x"
    assert headers["x-user"] == "me" and dashboard.invoked[0].body == b"{}"


def test_the_functions_own_address_gets_no_credentials_of_the_dashboard():
    with DashboardDouble(password=SECRET) as double:
        double.put("hello", "ready")
        double.external["hello"] = [f"{double.url}/direct"]
        access = DashboardAccess(double.url, username="me", password=SECRET)
        assert invoke("hello", access, path="/v2/x", body=b"1", via="external").status == 200
        assert double.invoked[0].call == "POST /direct/v2/x"
        assert "Authorization" not in double.invoked[0].headers


def test_an_invocation_is_not_repeated_when_the_connection_breaks(dashboard):
    dashboard.put("hello", "ready")
    dashboard.fail("POST /api/function_invocations", "drop after")
    with pytest.raises(ConnectionDropped):
        invoke("hello", DashboardAccess(dashboard.url), body=b"1")
    assert len(dashboard.invoked) == 1


def test_everything_works_where_a_loop_is_running_as_in_a_notebook(dashboard):
    async def cell():
        try_to_deploy(DashboardAccess(dashboard.url))
        return status(["hello"], DashboardAccess(dashboard.url))[0].state

    assert asyncio.run(cell()) == "ready"


def test_functions_are_listed_by_project(dashboard):
    dashboard.put("hello", "ready")

    async def listed():
        async with Dashboard(DashboardAccess(dashboard.url)) as client:
            return await client.functions("demo")

    assert set(asyncio.run(listed())) == {"hello"}
    assert dashboard.asked[0].headers["x-nuclio-project-name"] == "demo"
