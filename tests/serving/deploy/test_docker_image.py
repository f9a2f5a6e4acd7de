"""The folder that an image is built in: a Dockerfile with what the graph needs, and nothing that runs as root."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import millrace
from millrace.errors import SpecError

SHOP = str(Path(__file__).parent / "shop" / "orders.py")


def export(function, folder, **choices):
    """The instructions of the Dockerfile, in order, and the folder."""
    out = Path(function.export("docker", str(folder / "out"), **choices))
    text = (out / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines], out


def flow():
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="s", handler="(event)").respond()
    return function


def test_only_known_instructions_in_an_order_that_builds(tmp_path):
    # https://docs.docker.com/reference/dockerfile/
    instructions, _ = export(millrace.import_function(SHOP), tmp_path)
    assert [name for name, _ in instructions] == [
        "FROM", "ENV", "WORKDIR", "COPY", "RUN", "COPY", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT",
        "CMD",
    ]  # fmt: skip


def test_all_that_is_copied_by_name_is_there(tmp_path):
    instructions, out = export(millrace.import_function(SHOP), tmp_path)
    sources = [argument.split()[0] for name, argument in instructions if name == "COPY"]
    assert sources == ["requirements.txt", "."] and all((out / one).exists() for one in sources)


def test_it_runs_as_nobody_known(tmp_path):
    user = dict(export(flow(), tmp_path)[0])["USER"]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)


def test_packages_are_installed_before_the_code_is_copied_so_that_the_layer_is_kept(tmp_path):
    instructions, _ = export(flow(), tmp_path)
    names = [f"{name} {argument}" for name, argument in instructions]
    install = "RUN python -m pip install --no-cache-dir -r requirements.txt"
    assert names.index("COPY requirements.txt ./") < names.index(install) < names.index("COPY . ./")


def test_the_command_is_one_that_millrace_has(tmp_path):
    from millrace.serving.cli.main import _parsed

    instructions = dict(export(flow(), tmp_path)[0])
    program, *arguments = json.loads(instructions["ENTRYPOINT"]) + json.loads(instructions["CMD"])
    options = _parsed(arguments)
    assert (program, options.command, options.host, options.port) == ("millrace", "serve", "0.0.0.0", 8080)
    assert options.target == "function-spec.yaml"


def test_each_child_has_its_spec_in_the_image(tmp_path):
    _, out = export(millrace.import_function(SHOP), tmp_path)
    assert {file.name for file in out.glob("*.yaml")} == {
        "function-spec.yaml", "function-spec-billing.yaml", "function-spec-audit.yaml",
    }  # fmt: skip


def test_the_health_check_asks_a_server_that_answers(tmp_path):
    import subprocess
    import sys
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/v2/health/live" else 404)
            self.end_headers()

        def log_message(self, *_):
            return

    health = dict(export(flow(), tmp_path)[0])["HEALTHCHECK"]
    _, flag, code = json.loads(health[health.index("[") :])
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.handle_request, daemon=True).start()
        there = code.replace(":8080/", f":{server.server_port}/")
        assert subprocess.run([sys.executable, flag, there], timeout=30, check=False).returncode == 0
    assert subprocess.run([sys.executable, flag, there], timeout=30, check=False, capture_output=True).returncode == 1


def test_requirements_of_all_functions_are_installed_once(tmp_path):
    function = millrace.import_function(SHOP).with_requirements(["pandas==2.2.0"])
    function.spec.functions["audit"].with_requirements(["pandas==2.2.0", "lxml"])
    _, out = export(function, tmp_path)
    assert (out / "requirements.txt").read_text().splitlines() == [
        f"millrace[confluent]=={millrace.__version__}", "pandas==2.2.0", "lxml",
    ]  # fmt: skip


def test_own_base_image_and_commands_come_first(tmp_path):
    function = flow().with_commands(["apt-get update && apt-get install -y libgomp1"])
    function.spec.build.base_image = "registry.example.com/ml:1"
    instructions, _ = export(function, tmp_path)
    assert instructions[0] == ("FROM", "registry.example.com/ml:1")
    assert instructions[2] == ("RUN", "apt-get update && apt-get install -y libgomp1")


def test_another_python_is_another_base_image(tmp_path):
    assert export(flow(), tmp_path, python="3.13")[0][0] == ("FROM", "python:3.13-slim")


def test_functions_with_different_images_can_not_share_one(tmp_path):
    function = millrace.import_function(SHOP)
    function.spec.functions["audit"].spec.image = "registry.example.com/audit:1"
    with pytest.raises(millrace.errors.SpecError, match="containers of one function share an image"):
        function.export("docker", str(tmp_path / "out"))


def test_a_wheel_is_copied_before_it_is_installed(tmp_path):
    wheel = tmp_path / "millrace-0.1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK")
    instructions, out = export(millrace.import_function(SHOP), tmp_path, wheel=str(wheel))
    assert ("COPY", f"{wheel.name} ./") in instructions and (out / wheel.name).is_file()
    assert (out / "requirements.txt").read_text() == f"./{wheel.name}[confluent]\n"


def test_a_clock_runs_in_the_container(tmp_path):
    _, out = export(flow().add_trigger("tick", {"kind": "cron", "interval": "10s", "body": {"x": 1}}), tmp_path)
    assert "interval: 10s" in (out / "function-spec.yaml").read_text()


@pytest.mark.parametrize(("time", "extra"), [({"schedule": "0 3 * * *"}, "[cron]"), ({"interval": "10s"}, "")])
def test_what_reads_the_schedule_of_a_clock_is_installed(time, extra, tmp_path):
    _, out = export(flow().add_trigger("tick", {"kind": "cron", **time}), tmp_path)
    assert (out / "requirements.txt").read_text().startswith(f"millrace{extra}==")


def test_pickled_objects_are_trusted_in_the_image_that_holds_them(tmp_path):
    class Counts:
        def do(self, body):
            return body

    function = millrace.new_function("f")
    function.set_topology("flow").to(Counts(), name="count").respond()
    command = dict(export(function, tmp_path, pickle=True)[0])["CMD"]
    assert json.loads(command) == ["function-spec.yaml", "--trusted"]


def test_the_folder_serves_with_the_command_of_its_image_and_ends_when_told(tmp_path):
    import os
    import signal
    import subprocess
    import sys
    import urllib.request

    function = millrace.import_function(SHOP)
    function.remove_states(["priced", "bill", "billed", "audit"])
    function.spec.functions.clear()
    instructions, out = export(function, tmp_path)
    command = json.loads(dict(instructions)["ENTRYPOINT"])[1:] + json.loads(dict(instructions)["CMD"])
    command = [{"0.0.0.0": "127.0.0.1", "8080": "0"}.get(one, one) for one in command]
    server = subprocess.Popen([sys.executable, "-m", "millrace", *command], cwd=out, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONUNBUFFERED": "1"})  # fmt: skip
    try:
        url = re.search(r"http://\S+", server.stdout.readline())[0]
        assert urllib.request.urlopen(f"{url}/v2/health/ready", timeout=20).status == 200
        answer = urllib.request.urlopen(urllib.request.Request(url, b'{"pieces": 4}'), timeout=20).read()
        assert json.loads(answer) == {"pieces": 4, "total": 12}
    finally:
        server.send_signal(signal.SIGTERM)
        server.stdout.close()
        assert server.wait(30) == 0


@pytest.mark.parametrize("same", [False, True])
def test_two_versions_of_a_package_can_not_be_in_one_image(same, tmp_path):
    function = millrace.new_function("f").with_requirements(["Some_Package[x]==1.0", "numpy>=1"])
    graph = function.set_topology("flow")
    graph.to(">>", "q", path="kafka://b.example.com:9092/q").to(name="s", handler="(event)", function="c")
    function.add_child_function("c", requirements=["some-package == 1.0" if same else "some-package==2.0", "numpy>=2"])
    if same:
        export(function, tmp_path)
    else:
        with pytest.raises(SpecError, match="containers of one function share an image: give all of them the same"):
            export(function, tmp_path)
