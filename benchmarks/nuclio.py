"""An event through a Nuclio worker: Millrace's door beside a handler that does nothing, and one with the work by hand.

All run in the same loop, which does what Nuclio's Python wrapper does per event, with the SDK's own objects; a second
process asks over a Unix socket, one event after the other. The goal is 1.2 times the handler that does nothing.
"""

import sys
from pathlib import Path

if "benchmarks" not in sys.modules:  # run by path: this directory has an http.py, which must not hide the library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.harness.options import finish, read_options
from benchmarks.harness.results import Results, print_comparison
from benchmarks.harness.rounds import Case, measure
from benchmarks.harness.subjects import Subject

SUBJECTS = (
    Subject("no-op handler", "nuclio_noop.py", arguments=("nothing",)),
    Subject("handler by hand", "nuclio_noop.py", arguments=("hand",)),
    Subject("millrace flow", "nuclio_millrace.py", arguments=("flow",)),
    Subject("millrace async flow", "nuclio_millrace.py", arguments=("async",)),
    Subject("millrace router", "nuclio_millrace.py", arguments=("router",)),
)
BODY = '{"inputs": [[1, 2, 3, 4]]}'
INFER = "/v2/models/m/infer"
CASES = (
    Case("HTTP, small JSON", "http", lambda _: [10], {"body": BODY, "path": INFER}),
    Case("stream, small JSON", "stream", lambda _: None, {"body": BODY}),
)


def main() -> None:
    options = read_options(__doc__, rounds=9)
    results = Results("nuclio", unit="us/event")
    measure(results, SUBJECTS, CASES, options)
    names = [subject.name for subject in SUBJECTS]
    title = f"events through a Nuclio worker: us per event, median (min-max) of {options.rounds} rounds"
    print_comparison(results, title, {case.name: case.name for case in CASES}, subjects=names, base="no-op handler")
    finish(results, options, required=[name for name in names if name.startswith("millrace")])


if __name__ == "__main__":
    main()
