"""Requests through an in-process server: a flow of 1 and of 3 steps, and a router with a trivial model.

Beside Millrace's entries (`test` with its full event, the lean `emit`, and both from a coroutine) stands MLRun's mock
server, with the sync and the async engine, and plain Python that does the same work.
"""

import sys
from pathlib import Path

if "benchmarks" not in sys.modules:  # run by path: this directory has an http.py, which must not hide the library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.harness.options import finish, read_options
from benchmarks.harness.results import Results, Series, print_comparison, short
from benchmarks.harness.rounds import Case, measure
from benchmarks.harness.subjects import Subject

SUBJECTS = (
    Subject("millrace test", "request_millrace.py", arguments=("test",)),
    Subject("millrace emit", "request_millrace.py", arguments=("emit",)),
    Subject("millrace atest", "request_millrace.py", arguments=("atest",)),
    Subject("millrace aemit", "request_millrace.py", arguments=("aemit",)),
    Subject("mlrun test, sync engine", "request_mlrun.py", environment="mlrun", arguments=("sync",)),
    Subject("mlrun test, async engine", "request_mlrun.py", environment="mlrun", arguments=("async",)),
    Subject("plain Python", "request_plain.py"),
)
CASES = (
    Case("1 step", "flow", lambda _: 2, {"steps": 1}),
    Case("3 steps", "flow", lambda _: 4, {"steps": 3}),
    Case("router + model", "router", lambda _: [10]),
)


def main() -> None:
    options = read_options(__doc__, rounds=7)
    results = Results("request", unit="us/request")
    measure(results, SUBJECTS, CASES, options)
    names = [subject.name for subject in SUBJECTS]
    columns = {case.name: case.name for case in CASES}
    title = f"in-process requests: us per request, median (min-max) of {options.rounds} rounds"
    print_comparison(results, title, columns, subjects=names, base="millrace test")

    def rate(series: Series) -> str:
        return short(1e6 / series.median)

    print_comparison(results, "the same as requests per second, median", columns, subjects=names, base="", value=rate)
    finish(results, options, required=[name for name in names if name.startswith("millrace")])


if __name__ == "__main__":
    main()
