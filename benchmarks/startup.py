"""What it costs to begin: import time, modules, memory, and the time from process start to the first answer.

Every value is of a fresh process, the subjects in turn; one round that is not counted fills the caches. Import time is
what `python -X importtime` gives for the package. The first table answers in process (a flow of one step; FastAPI's
application called without a socket), the second over HTTP on one core (the inference of `http.py`).
"""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

if "benchmarks" not in sys.modules:  # run by path: this directory has an http.py, which must not hide the library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.harness.machine import environment
from benchmarks.harness.options import Options, finish, read_options
from benchmarks.harness.results import Results, print_comparison
from benchmarks.harness.servers import ROWS, Row, start
from benchmarks.harness.subjects import PEERS, Subject
from benchmarks.harness.venvs import PeerUnavailable, python_of, say, versions_of

TIMEOUT_SECONDS = 60
SUBJECTS = (
    Subject("millrace", "startup_millrace.py"),
    Subject("storey", "startup_storey.py", environment="storey"),
    Subject("mlrun", "startup_mlrun.py", environment="mlrun"),
    Subject("fastapi", "startup_fastapi.py", environment="fastapi"),
    Subject("python", "startup_python.py"),
)
SERVERS = tuple(replace(row, name=f"{row.name} server") for row in ROWS if not row.is_floor)
COUNT_MODULES = "import sys; before = len(sys.modules); import {name}; print(len(sys.modules) - before)"


def output(command: list[str]) -> tuple[str, str]:
    """stdout and stderr of a process that ended well."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, cwd=PEERS, env=environment()
        )
    except subprocess.TimeoutExpired:
        raise PeerUnavailable(f"not done in {TIMEOUT_SECONDS} s") from None
    if done.returncode:
        raise PeerUnavailable((done.stderr.strip().splitlines() or ["ended without a word"])[-1][:120])
    return done.stdout, done.stderr


def import_seconds(python: str, name: str) -> float:
    """The cumulative time of `name` in the report of -X importtime: `import time: self | cumulative | name`."""
    _, report = output([python, "-X", "importtime", "-c", f"import {name}"])
    lines = [line.split("|") for line in report.splitlines() if line.startswith("import time:")]
    return next(int(cumulative) for _, cumulative, module in lines if module.strip() == name) / 1e6


def measure_in_process(results: Results, subject: Subject, options: Options) -> None:
    python = python_of(subject.environment, install=options.may_install)
    if subject.name != "python":
        results.add(subject.name, "import ms", import_seconds(python, subject.name) * 1000)
        results.add(subject.name, "modules", int(output([python, "-c", COUNT_MODULES.format(name=subject.name)])[0]))
    begin = time.clock_gettime(time.CLOCK_MONOTONIC)
    answer = json.loads(output([python, str(PEERS / subject.script)])[0].splitlines()[-1])
    if answer["answer"] != 2:
        raise PeerUnavailable(f"wrong answer: {answer['answer']!r}")
    results.add(subject.name, "first answer ms", (answer["at"] - begin) * 1000)
    results.add(subject.name, "resident MB", answer["resident_bytes"] / 1e6)
    results.versions.update(versions_of(subject.environment))


def measure_server(results: Results, row: Row, options: Options) -> None:
    python_of(row.server.environment, install=options.may_install)
    begin = time.monotonic()
    running = start(replace(row, payloads=row.payloads[:1]), install=False)
    try:
        results.add(row.name, "HTTP answer ms", (running.process.ready_at - begin) * 1000)
        results.add(row.name, "HTTP resident MB", running.process.resident_bytes() / 1e6)
    finally:
        running.process.stop()
    results.versions.update(versions_of(row.server.environment))


def measure(results: Results, options: Options) -> None:
    uncounted = Results("caches", unit="")
    tasks = [(measure_in_process, subject) for subject in SUBJECTS if options.takes(subject.name)]
    tasks += [(measure_server, row) for row in SERVERS if options.takes(row.name)]
    for number in range(options.rounds + 1):
        say(f"round {number} of {options.rounds}")
        for run, subject in tasks if number % 2 == 0 else tasks[::-1]:
            if subject.name not in results.absent:
                try:
                    run(results if number else uncounted, subject, options)
                except PeerUnavailable as reason:
                    say(f"{subject.name} is left out: {reason}")
                    results.drop(subject.name, str(reason))


def main() -> None:
    options = read_options(__doc__, rounds=7)
    results = Results("startup", unit="ms; MB")
    measure(results, options)
    headings = ("import ms", "modules", "first answer ms", "resident MB")
    print_comparison(
        results,
        f"in process: median (min-max) of {options.rounds} fresh processes",
        {heading: heading for heading in headings},
        subjects=[subject.name for subject in SUBJECTS],
        base="millrace",
    )
    print_comparison(
        results,
        f"over HTTP: median (min-max) of {options.rounds} fresh servers",
        {"HTTP answer ms": "first answer ms", "HTTP resident MB": "resident MB"},
        subjects=[row.name for row in SERVERS],
        base="millrace server",
    )
    finish(results, options, required=["millrace", "millrace server"])


if __name__ == "__main__":
    main()
