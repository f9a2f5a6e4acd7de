"""Deploying through the program ``nuctl``, which talks to Docker or Kubernetes itself, without a dashboard."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...errors import MissingProgram
from .dashboard_errors import LOG_TAIL_LINES, DeployFailed
from .deployer_function import DONE, Change, Deployed, DeployOptions, described
from .deployer_progress import Progress, Write, plain
from .deployer_unit import HASH, PROJECT_LABEL, Deployable, check_names, hash_of, in_order

PROGRAM = "nuctl"
QUICK_SECONDS = 60.0


def deploy_with_nuctl(
    units: Sequence[Deployable],
    *,
    project: str,
    namespace: str | None = None,
    options: DeployOptions | None = None,
    progress: Progress | None = None,
) -> list[Deployed]:
    """Deploy functions with ``nuctl deploy``, children before parents; those that have not changed are left alone.

    :param namespace: default: nuctl's own
    :raises MissingProgram: nuctl is not installed
    :raises SpecError: the name of the project, or of a function, is not allowed
    :raises DeployFailed: nuctl ended with an error; what waits for that function is not deployed
    """
    ordered = in_order(units)
    check_names(project, [unit.name for unit in ordered])
    nuctl = _Nuctl(namespace, options or DeployOptions(), progress or Progress())
    nuctl.make_project(project)
    done: list[Deployed] = []
    for wave in _waves(ordered):
        with ThreadPoolExecutor(max_workers=nuctl.options.builds_at_a_time) as pool:
            futures = [pool.submit(nuctl.deploy, unit, project) for unit in wave]
        failures = [error for error in (future.exception() for future in futures) if error is not None]
        for other in failures[1:]:
            failures[0].add_note(f"also: {other}")
        if failures:
            raise failures[0]
        done += [future.result() for future in futures]
    return done


def undeploy_with_nuctl(
    names: Sequence[str], *, namespace: str | None = None, write: Write | None = None
) -> list[str]:
    """Remove functions with ``nuctl delete``, parents first.

    :param names: in the order of deploying: children first
    """
    nuctl = _Nuctl(namespace, DeployOptions(), Progress(write or (lambda line: None)))
    for name in reversed(names):
        nuctl.run(["delete", "function", name], name=name)
        nuctl.progress.say(name, "removed")
    return list(reversed(names))


def status_with_nuctl(names: Iterable[str], *, namespace: str | None = None) -> list[Deployed]:
    """How functions are, as nuctl tells."""
    nuctl = _Nuctl(namespace, DeployOptions(), Progress())
    return [described(name, nuctl.function(name), dashboard_url="http://localhost") for name in names]


def _waves(ordered: Iterable[Deployable]) -> list[list[Deployable]]:
    """Groups that can be deployed at the same time, one group after the other."""
    waves: list[list[Deployable]] = []
    place: dict[str, int] = {}
    for unit in ordered:
        place[unit.name] = at = max((place[name] + 1 for name in unit.after), default=0)
        if at == len(waves):
            waves.append([])
        waves[at].append(unit)
    return waves


class _Nuctl:
    def __init__(self, namespace: str | None, options: DeployOptions, progress: Progress) -> None:
        found = shutil.which(PROGRAM)
        if found is None:
            way_out = "install it from github.com/nuclio/nuclio/releases, or deploy to a dashboard (--via dashboard)"
            raise MissingProgram(PROGRAM, purpose="--via nuctl", way_out=way_out)
        self.program = found
        self.options = options
        self.progress = progress
        self.quick_seconds = min(QUICK_SECONDS, self.options.timeout_seconds)
        self._namespace = ["--namespace", namespace] if namespace else []

    def make_project(self, name: str) -> None:
        """Make a project where it is missing."""
        # Versions differ in whether a project that is not there is an error.
        if name not in re.split(r"[\s|]+", self._ask(["get", "project", name]) or ""):
            self.run(["create", "project", name], name=f"project {name}")
            self.progress.say(f"project {name}", "created")

    def deploy(self, unit: Deployable, project: str) -> Deployed:
        """Deploy one function, unless it is there as it is to be."""
        config = _with_hash(unit, project)
        found = self.function(unit.name)
        if found is not None and not self.options.is_forced and hash_of(found) == hash_of(config):
            there = described(unit.name, found, dashboard_url="http://localhost", change="unchanged")
            if there.state in DONE:
                self.progress.say(unit.name, "unchanged")
                return there
        change: Change = "created" if found is None else "updated"
        self.progress.say(unit.name, "deploying with nuctl")
        with tempfile.TemporaryDirectory(prefix="millrace-") as folder:
            _write(Path(folder), config, unit.files)
            self.run(["deploy", unit.name, "--path", folder, "--project-name", project], name=unit.name)
        self.progress.say(unit.name, "ready")
        return described(unit.name, self.function(unit.name) or {"status": {"state": "ready"}},
                         dashboard_url="http://localhost", change=change)  # fmt: skip

    def run(self, arguments: list[str], *, name: str) -> None:
        """Run nuctl, and tell what it says as it says it.

        :raises DeployFailed: it ended with an error, or did not end in time
        """
        lines: list[str] = []
        command = [self.program, *arguments, *self._namespace]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, errors="replace") as process:  # fmt: skip
            timer = threading.Timer(self.options.timeout_seconds, process.kill)
            timer.start()
            try:
                for line in process.stdout or ():
                    lines += (said := plain(self.progress.mask(line)))
                    del lines[:-LOG_TAIL_LINES]
                    for one in said:
                        self.progress.detail(name, one)
                code = process.wait()
            finally:
                is_late = not timer.is_alive()
                timer.cancel()
                process.kill()
        if code != 0:
            last = lines[-1] if lines else "it said nothing"
            reason = f"no end within {self.options.timeout_seconds:g} s" if is_late else f"{last} (exit code {code})"
            raise DeployFailed(name, state=f"nuctl {arguments[0]}", reason=reason, log=lines)

    def function(self, name: str) -> dict[str, Any] | None:
        """What nuctl shows of a function, or ``None`` where there is none."""
        text = self._ask(["get", "function", name, "--output", "json"])
        try:
            found = json.loads(text) if text else None
        except ValueError:  # some versions say in words that there is none
            return None
        found = found[0] if isinstance(found, list) and found else found
        return found if isinstance(found, dict) and found.get("metadata") else None

    def _ask(self, arguments: list[str]) -> str | None:
        """What nuctl prints, or ``None`` where it ends with an error: what was asked for is not there.

        :raises DeployFailed: it does not end
        """
        try:
            done = subprocess.run([self.program, *arguments, *self._namespace], capture_output=True, text=True,
                                  errors="replace", check=False, stdin=subprocess.DEVNULL,
                                  timeout=self.quick_seconds)  # fmt: skip
        except subprocess.TimeoutExpired as error:
            reason = f"no end within {self.quick_seconds:g} s; does nuctl reach its Docker or Kubernetes?"
            raise DeployFailed(arguments[2], state=f"nuctl {arguments[0]}", reason=reason) from error
        return done.stdout if done.returncode == 0 else None


def _with_hash(unit: Deployable, project: str) -> dict[str, Any]:
    """The configuration as it is written into the folder."""
    metadata = dict(unit.config["metadata"])
    metadata["labels"] = {**(metadata.get("labels") or {}), PROJECT_LABEL: project}
    config = {"metadata": metadata, "spec": unit.config["spec"]}
    metadata["annotations"] = {**(metadata.get("annotations") or {}), HASH: unit.hash(config)}
    return config


def _write(folder: Path, config: Mapping[str, Any], files: Mapping[str, bytes]) -> None:
    for path, content in files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
    # nuctl reads YAML, and JSON is YAML
    (folder / "function.yaml").write_text(json.dumps(config, indent=2), encoding="utf-8")
