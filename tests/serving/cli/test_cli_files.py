"""``millrace plot``, ``validate``, ``export`` and ``serve``: what they make of a function's file."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest
import yaml

from millrace.serving.cli.main import run
from millrace.serving.functions import serving

FLOW = """
import millrace
fn = millrace.new_function('demo', kind='serving')
graph = fn.set_topology('flow', engine='async')
graph.to(name='add', handler='(event + 1)').to('Echo', 'echo').respond()
class Echo:
    def do(self, body):
        return body
"""
BROKEN = """
import millrace
fn = millrace.new_function('bad', kind='serving')
graph = fn.set_topology('flow', engine='async')
graph.to('Ecko', 'a').to('Echo', 'b', loud=True).to('storey.Filtr', 'c').error_handler('nobody')
graph.add_step(name='d', handler='(event +)', after='c', function='elsewhere')
graph.add_step('Echo', 'e', 'shout', after='c')
class Echo:
    def __init__(self, volume=1): raise RuntimeError('was made')
    def do(self, body): return body
"""


def write(folder, code: str) -> str:
    (folder / "function.py").write_text(code)
    return str(folder / "function.py")


def test_plot_prints_mermaid(tmp_path, capsys):
    assert run(["plot", write(tmp_path, FLOW)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("flowchart LR\n")
    assert '"echo<br/>' in out


def test_plot_writes_dot_and_mermaid_without_the_program(tmp_path, monkeypatch):
    target = write(tmp_path, FLOW)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["plot", target, "-o", str(tmp_path / "g.dot"), "--direction", "TB"]) == 0
    assert run(["plot", target, "-o", str(tmp_path / "g.mmd")]) == 0
    assert "rankdir=TB" in (tmp_path / "g.dot").read_text()
    assert (tmp_path / "g.mmd").read_text().startswith("flowchart LR\n")


def test_plot_without_the_program_says_how_to_get_it(tmp_path, monkeypatch, capsys):
    target = write(tmp_path, FLOW)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(["plot", target, "-o", str(tmp_path / "g.svg")]) == 1
    assert "apt install graphviz" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot (graphviz) is not installed")
def test_plot_writes_svg(tmp_path):
    assert run(["plot", write(tmp_path, FLOW), "-o", str(tmp_path / "g.svg")]) == 0
    assert "<svg" in (tmp_path / "g.svg").read_text()


def test_validate_says_that_a_graph_is_valid(tmp_path, capsys):
    target = write(tmp_path, FLOW)
    assert run(["validate", target]) == 0
    assert capsys.readouterr() == (f"{target}: function 'demo' is valid\n", "")


def test_validate_lists_every_fault_on_its_line_and_makes_nothing(tmp_path, capsys):
    assert run(["validate", write(tmp_path, BROKEN)]) == 1
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    parts = ("'nobody'", "'elsewhere', which is not defined", "'Ecko'", "did you mean 'Echo'", "no parameter 'loud'",
             "'storey.Filtr'", "'(event +)' is not Python", "no method 'shout'")  # fmt: skip
    assert all(line.startswith("millrace: ") for line in lines)
    assert {part: sum(part in line for line in lines) for part in parts} == dict.fromkeys(parts, 1)
    assert "was made" not in err


def test_validate_checks_routes_and_loads_no_model(tmp_path, capsys):
    code = """
import millrace
class Model(millrace.serving.V2ModelServer):
    def load(self): raise RuntimeError('was loaded')
    def predict(self, request): return []
fn = millrace.new_function('demo', kind='serving')
fn.set_topology('router')
fn.add_model('m1', class_name=Model, model_path='x')
"""
    target = write(tmp_path, code)
    assert run(["validate", target]) == 0
    assert run(["validate", target, "--load"]) == 1
    assert "was loaded" in capsys.readouterr().err
    (tmp_path / "function.py").write_text(f"{code}fn.add_model('m2', class_name='Modle', model_path='x')\n")
    assert run(["validate", target]) == 1
    assert "step 'router/m2': nothing is named 'Modle'" in capsys.readouterr().err


def test_validate_knows_what_the_sync_engine_does_not_run(tmp_path, capsys):
    code = FLOW.replace("'async'", "'sync'").replace("'(event + 1)'", "later") + "\n"
    assert run(["validate", write(tmp_path, f"async def later(event): return event\n{code}")]) == 1
    assert "step 'add' is async" in capsys.readouterr().err


def test_other_commands_tell_all_faults_too(tmp_path, capsys):
    assert run(["test", write(tmp_path, BROKEN), "--body", "1"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len([line for line in lines if line.startswith("millrace: also: ")]) >= 1


def test_export_writes_yaml_that_runs_again(tmp_path, capsys):
    target, spec = write(tmp_path, FLOW), str(tmp_path / "function.yaml")
    assert run(["export", target, "-o", spec]) == 0
    assert yaml.safe_load((tmp_path / "function.yaml").read_text())["spec"]["filename"] == "function.py"
    assert run(["test", spec, "--body", "1"]) == 0
    assert capsys.readouterr().out == "2\n"


def test_export_writes_the_format_that_the_name_or_the_option_says(tmp_path, capsys):
    target = write(tmp_path, FLOW)
    assert run(["export", target, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["metadata"] == {"name": "demo"}
    assert run(["export", target, "-o", str(tmp_path / "g.mmd")]) == 0
    assert (tmp_path / "g.mmd").read_text().startswith("flowchart")


def test_export_of_an_object_without_a_name_needs_pickle(tmp_path, capsys):
    target = write(tmp_path, FLOW.replace("'(event + 1)'", "lambda event: event + 1"))
    assert run(["export", target]) == 1
    assert "step 'add'" in capsys.readouterr().err
    assert run(["export", target, "--pickle"]) == 0
    assert "$pickle" in capsys.readouterr().out


def test_a_pickle_is_read_only_when_it_is_trusted(tmp_path, capsys):
    target, spec = write(tmp_path, FLOW.replace("'(event + 1)'", "lambda event: event + 1")), str(tmp_path / "f.yaml")
    assert run(["export", target, "--pickle", "-o", spec]) == 0
    assert run(["test", spec, "--body", "1"]) == 1
    assert "--trusted" in capsys.readouterr().err
    assert run(["test", spec, "--body", "1", "--trusted"]) == 0
    assert capsys.readouterr().out == "2\n"


def test_serve_hands_its_options_to_the_server(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(serving, "serve", lambda target, **options: given.update(options, target=target) or 0)
    assert run(["serve", "f.py:fn", "--port", "0", "--workers", "2", "--max-in-flight", "8", "--drain-seconds", "1.5",
                "--access-log"]) == 0  # fmt: skip
    assert given == {
        "target": "f.py:fn", "host": "127.0.0.1", "port": 0, "workers": 2, "max_in_flight": 8,
        "max_body_bytes": 67_108_864, "request_timeout_seconds": 60.0, "drain_seconds": 1.5, "access_log": True,
        "verbose": False, "trusted": False, "current_function": "*", "streams": None,
    }  # fmt: skip


def test_a_served_graph_answers_until_it_is_told_to_stop(tmp_path):
    command = [sys.executable, "-m", "millrace", "serve", write(tmp_path, FLOW), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            url = re.search(r"http://[\d.]+:\d+", process.stdout.readline())[0]
            with urllib.request.urlopen(url, b"41", timeout=10) as answer:
                assert json.load(answer) == 42
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
