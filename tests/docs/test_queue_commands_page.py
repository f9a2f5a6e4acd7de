"""The commands of docs/queue-commands.md print what the page says; "…" stands for any text."""

from __future__ import annotations

import os
import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from millrace.serving.cli.main import run

PAGE = Path(__file__).parents[2] / "docs" / "queue-commands.md"
BLOCK = re.compile(r"^```(?P<kind>python|console) *(?P<info>.*)\n(?P<code>(?:.*\n)*?)```$", re.MULTILINE)


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Each command of a block with the lines below it."""
    lines = text.splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("$ ")]
    return [(lines[start][2:], lines[start + 1 : end]) for start, end in pairwise([*starts, len(lines)])]


def pattern(line: str) -> str:
    return ".*".join(re.escape(" ".join(part.split(" "))) for part in re.split(r" *… *", line))


def squeezed(line: str) -> str:
    """Columns are as wide as their cells, and those depend on the folder."""
    return re.sub(r" +", " ", line).strip()


def test_commands_print_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    names: dict[str, object] = {}
    for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")):
        if block["kind"] == "python":
            exec(compile(block["code"], str(PAGE), "exec"), names)
        elif block["info"] != "notest":
            for command, expected in commands(block["code"]):
                assert run(shlex.split(os.path.expandvars(command))[1:]) == 0
                printed = [squeezed(line) for line in capsys.readouterr().out.splitlines()]
                wanted = [pattern(squeezed(line)) for line in expected if line or len(printed) > 1]
                assert len(printed) == len(wanted) and all(map(re.fullmatch, wanted, printed)), (command, printed)


def test_the_page_is_found_and_has_commands():
    found = [one for block in BLOCK.finditer(PAGE.read_text(encoding="utf-8")) for one in commands(block["code"])]
    if len(found) < 10:
        pytest.fail("the page has lost its commands, or this test does not read it any more")
