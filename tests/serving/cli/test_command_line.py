"""The command line itself: help, version, what is misspelt, and how errors are told."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

import millrace
from millrace.serving.cli.main import run

COMMANDS = (
    "serve", "test", "plot", "validate", "export", "new", "deploy", "status", "logs", "invoke", "undeploy"
)  # fmt: skip


def told(capsys) -> list[str]:
    """The lines on stderr."""
    return capsys.readouterr().err.splitlines()


def test_the_program_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "millrace", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"millrace {millrace.__version__}\n"


def test_help_is_quick():
    def seconds() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "millrace", "--help"], capture_output=True, check=True)
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(5)) < 0.3


def test_help_loads_no_third_party_module():
    code = (
        "import sys; before = set(sys.modules); from millrace.serving.cli.main import run; run(['--help']);"
        "print('loaded', {'numpy', 'aiohttp', 'orjson', 'yaml', 'graphviz', 'asyncio'} & (set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded set()\n")


def test_no_argument_shows_the_help(capsys):
    assert run([]) == 0
    out = capsys.readouterr().out
    assert all(f"    {command} " in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_help_with_an_example(command, capsys):
    assert run([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"example:\n  millrace {command} " in out


def test_a_misspelt_command_gets_near_names(capsys):
    assert run(["serv", "f.py"]) == 2
    assert told(capsys) == [
        "millrace: there is no command 'serv'; did you mean 'serve'? (`millrace --help` shows how)"
    ]  # fmt: skip


def test_a_misspelt_option_gets_near_names(capsys):
    assert run(["serve", "f.py", "--prot", "80"]) == 2
    assert "has no option '--prot'; did you mean '--port'" in told(capsys)[0]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--port", "99999", "no port"),
        ("--workers", "0", "no whole number from 1 on"),
        ("--max-body-bytes", "64MB", "no whole number from 1 on"),
        ("--drain-seconds", "-1", "no time in seconds"),
        ("--request-timeout-seconds", "nan", "no time in seconds"),
    ],
)
def test_a_wrong_value_is_a_usage_error_of_one_line(option, value, said, capsys):
    assert run(["serve", "f.py", option, value]) == 2
    (line,) = told(capsys)
    assert line.startswith(f"millrace: argument {option}: '{value}'")
    assert said in line


@pytest.mark.parametrize("command", ["serve", "test", "plot", "validate", "export"])
def test_a_file_that_does_not_exist_is_one_line(command, capsys):
    assert run([command, "nowhere.py"]) == 1
    assert told(capsys) == ["millrace: the file 'nowhere.py' does not exist"]


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        ("x = 1\nimport nosuch\n", ("ModuleNotFoundError", "nosuch", "line 2")),
        ("x = 1\ny = (\n", ("SyntaxError", "line 2")),
        ("import sys\nsys.exit(3)\n", ("SystemExit(3)",)),
        ("x = 1\n", ("makes no function",)),
    ],
)
def test_a_file_that_does_not_import_is_one_line_with_file_line_and_exception(tmp_path, code, parts, capsys):
    (tmp_path / "broken.py").write_text(code)
    assert run(["test", str(tmp_path / "broken.py")]) == 1
    (line,) = told(capsys)
    assert all(part in line for part in ("broken.py", *parts))


def test_a_traceback_is_shown_only_with_verbose(tmp_path, capsys):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    assert run(["test", str(tmp_path / "broken.py"), "--verbose"]) == 1
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1].startswith("millrace: ")


def test_an_interrupt_ends_with_130(tmp_path):
    (tmp_path / "f.py").write_text("raise KeyboardInterrupt\n")
    assert run(["test", str(tmp_path / "f.py")]) == 130


def test_a_file_that_can_not_be_written_is_one_line(tmp_path, capsys):
    assert run(["new", str(tmp_path / "hello"), "--template", "flow"]) == 0
    target = str(tmp_path / "hello" / "function.py")
    capsys.readouterr()
    assert run(["export", target, "-o", str(tmp_path / "no" / "f.yaml")]) == 1
    assert told(capsys) == [f"millrace: '{tmp_path / 'no' / 'f.yaml'}': no such file or directory"]


def test_output_that_nobody_reads_is_no_error():
    with subprocess.Popen([sys.executable, "-m", "millrace", "test", "--help"], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        process.stdout.close()
        assert process.stderr.read() == b""
