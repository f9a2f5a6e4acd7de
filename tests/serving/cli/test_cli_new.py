"""``millrace new``: the projects that it writes work."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from millrace.serving.cli.main import run

TEMPLATES = ("router", "flow", "pipeline")


def files(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_passes_its_own_tests(tmp_path, template):
    assert run(["new", str(tmp_path / "hello"), "--template", template]) == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error"]
    done = subprocess.run(command, cwd=tmp_path / "hello", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_commands_that_new_prints_work_in_the_new_project(tmp_path, template, capsys, monkeypatch):
    assert run(["new", str(tmp_path / "hello"), "--template", template]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert lines[0] == f"cd {tmp_path / 'hello'}"
    monkeypatch.chdir(tmp_path / "hello")
    assert run(shlex.split(lines[1])[1:]) == 0
    assert lines[3] == "millrace serve function.py"


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_project_validates_exports_and_runs_from_its_export(tmp_path, template, capsys, monkeypatch):
    assert run(["new", str(tmp_path / "hello"), "--template", template]) == 0
    request = next(line for line in capsys.readouterr().out.splitlines() if "millrace test" in line)
    monkeypatch.chdir(tmp_path / "hello")
    assert run(["validate", "function.py", "--load"]) == 0
    assert run(["export", "function.py", "-o", "function.yaml"]) == 0
    assert run(["plot", "function.yaml", "-o", "graph.dot"]) == 0
    assert run(shlex.split(request.replace("function.py", "function.yaml"))[1:]) == 0


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_readme_and_the_requirements_are_there(tmp_path, template):
    assert run(["new", str(tmp_path / "my_server"), "--template", template]) == 0
    written = files(tmp_path / "my_server")
    assert {"function.py", "test_function.py", "requirements.txt", "README.md"} <= set(written)
    assert "millrace.new_function(\"my-server\"" in written["function.py"]
    assert not any("$" in text for text in written.values())


def test_nothing_is_overwritten(tmp_path, capsys):
    (tmp_path / "hello").mkdir()
    (tmp_path / "hello" / "notes.txt").write_text("mine")
    assert run(["new", str(tmp_path / "hello")]) == 1
    assert "exists already" in capsys.readouterr().err
    assert files(tmp_path / "hello") == {"notes.txt": "mine"}


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "hello").mkdir()
    assert run(["new", str(tmp_path / "hello")]) == 0
    assert "function.py" in files(tmp_path / "hello")


def test_a_name_that_no_function_may_have_is_refused_with_one_that_it_may(tmp_path, capsys):
    assert run(["new", str(tmp_path / "My App!")]) == 2
    assert "such as 'my-app'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_misspelt_template_is_a_usage_error(tmp_path, capsys):
    assert run(["new", str(tmp_path / "hello"), "--template", "flows"]) == 2
    assert "'flow'" in capsys.readouterr().err
