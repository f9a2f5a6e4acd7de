"""A chain of 1, 5, 10 and 20 steps of `lambda x: x + 1`: what does an engine cost per event and step?

Three ways to push events through: awaited one by one (AsyncEmitSource, `await emit`), many at a time (nobody waits for
an answer; the flow adds up), and from a plain thread (SyncEmitSource, `emit().await_result()`). Beside storey stand
plain Python's own costs: a loop over the functions, functions that call one another, the same with one event object,
and coroutines that await one another. All run on CPython's own event loop.
"""

import sys
from pathlib import Path

if "benchmarks" not in sys.modules:  # run by path: this directory has an http.py, which must not hide the library's
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.harness.options import finish, read_options
from benchmarks.harness.results import Results, print_comparison
from benchmarks.harness.rounds import Case, measure
from benchmarks.harness.subjects import Subject

STEPS = (1, 5, 10, 20)
MODES = {
    "awaited": "awaited one by one",
    "many": "many at a time",
    "thread": "from a plain thread",
}
SUBJECTS = (
    Subject("millrace", "chain_millrace.py"),
    Subject("storey", "chain_storey.py", environment="storey"),
    Subject("loop over functions", "chain_plain.py", arguments=("loop",)),
    Subject("nested calls", "chain_plain.py", arguments=("calls",)),
    Subject("nested calls + event", "chain_plain.py", arguments=("event",)),
    Subject("awaited coroutines", "chain_plain.py", arguments=("coroutines",)),
)


def total(events: int, steps: int) -> int:
    """What `sum(x + steps for x in range(events))` is."""
    return events * (events - 1) // 2 + events * steps


def main() -> None:
    options = read_options(__doc__, rounds=7)
    results = Results("chain", unit="us/event")
    cases = [
        Case(f"{mode} {steps}", mode, lambda events, steps=steps: total(events, steps), {"steps": steps})
        for mode in MODES
        for steps in STEPS
    ]
    measure(results, SUBJECTS, cases, options)
    for mode, title in MODES.items():
        print_comparison(
            results,
            f"chain, {title}: us per event, median (min-max) of {options.rounds} rounds",
            {f"{mode} {steps}": "1 step" if steps == 1 else f"{steps} steps" for steps in STEPS},
            subjects=[subject.name for subject in SUBJECTS],
            base="millrace",
        )
    finish(results, options, required=["millrace"])


if __name__ == "__main__":
    main()
