"""The manual is true: its code runs and prints what it says, and it mentions every public name."""

import contextlib
import io
import re
from pathlib import Path
from types import ModuleType

import pytest

import millrace

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python *(?P<info>.*)\n(?P<code>(?:.*\n)*?)```$", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def said(code: str) -> list[str]:
    """What a block says that it prints: behind a ``print``, or in comments right below one."""
    found, below = [], False
    for line in code.splitlines():
        behind = re.match(r" *print\(.*\) +# (.+)$", line)
        alone = re.match(r" *# (.+)$", line) if below else None
        below = bool(behind or alone or re.match(r" *print\(", line))
        found += [one[1] for one in (behind, alone) if one]
    return found


def run(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    names = vars(ModuleType(f"page_{page.stem.replace('-', '_')}"))
    for block in BLOCK.finditer(text):
        if block["info"] == "notest":
            continue
        # Blank lines before the code make the line numbers of tracebacks those of the page.
        code = "\n" * text.count("\n", 0, block.start("code")) + block["code"]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(page), "exec"), names)
        lines, comments = printed.getvalue().splitlines(), said(block["code"])
        # A comment may go on after what is printed.
        agree = len(lines) == len(comments) and all(map(str.startswith, comments, lines))
        assert agree, f"{page.name} says {comments}, printed was {lines}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_of_the_page_runs_and_prints_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_page_lead_to_files(page):
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_linked_from_the_readme():
    linked = {(ROOT / target).resolve() for target in LINK.findall(PAGES[0].read_text(encoding="utf-8"))}
    assert set(PAGES[1:]) <= linked


MODULES = [millrace, millrace.serving, millrace.steps, millrace.queues]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_manual_mentions_every_public_name(module):
    manual = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [name for name in module.__all__ if name[0] != "_" and not re.search(rf"\b{re.escape(name)}\b", manual)]
    assert not missing
