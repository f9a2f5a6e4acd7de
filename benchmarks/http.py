"""Inference over HTTP on one core: requests a second, latency, and the server's CPU time per request.

Every server sums the rows of a float32 tensor sent by the Open Inference Protocol: a small one (1x4, JSON), a large
one as JSON (1,000x30, seventeen digits each), and the large one by the binary tensor extension. The server runs on the
first core, the load (32 or 16 keep-alive connections) comes from the last. The floors of the large bodies: receiving
the bytes, and orjson plus one array. Servers that wait for their turn are held still, because some poll when idle.
"""

import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path

if "benchmarks" not in sys.modules:  # run by path: this file's own name must not hide the library's http
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.harness.loads import generator, put_load
from benchmarks.harness.machine import cores
from benchmarks.harness.options import Options, finish, read_options
from benchmarks.harness.payloads import PAYLOADS, Payload
from benchmarks.harness.results import Results, print_comparison
from benchmarks.harness.servers import ROWS, Row, Running, Server, start
from benchmarks.harness.venvs import PeerUnavailable, say, versions_of

BUSY_CLIENT = 0.9


def start_all(results: Results, rows: list[Row], options: Options, stack: ExitStack) -> dict[str, Running]:
    """Row name -> its server, held still; rows of one server share the process. `stack` stops them in the end."""
    shared: dict[Server, Running] = {}
    running: dict[str, Running] = {}
    for row in rows:
        try:
            if row.server not in shared:
                say(f"starting {row.name}")
                shared[row.server] = start(row, install=options.may_install)
                stack.callback(shared[row.server].process.stop)
                shared[row.server].process.hold()
            running[row.name] = shared[row.server]
            results.versions.update(versions_of(row.server.environment))
        except PeerUnavailable as reason:
            say(f"{row.name} is left out: {reason}")
            results.drop(row.name, str(reason))
    return running


def run_once(results: Results, row: Row, payload: Payload, running: Running, seconds: float) -> None:
    process = running.process
    process.go_on()
    before = process.cpu_seconds()
    load = put_load(
        payload.to(row.path), running.port, connections=payload.connections, seconds=seconds, core=cores()[-1]
    )
    cpu = process.cpu_seconds() - before
    process.hold()
    results.add(row.name, f"{payload.name}: req/s", load.requests_per_second)
    results.add(row.name, f"{payload.name}: p50 ms", load.p50_ms)
    results.add(row.name, f"{payload.name}: p99 ms", load.p99_ms)
    results.add(row.name, f"{payload.name}: CPU us/req", cpu / load.all_answers * 1e6)
    if load.failures or load.reconnects:
        results.note(f"{row.name}, {payload.name}: {load.failures} not 2xx, {load.reconnects} reconnects")
    if load.client_busy > BUSY_CLIENT:
        results.note(f"{row.name}, {payload.name}: the client was {load.client_busy:.0%} busy; compare CPU us/req")


def measure(results: Results, rows: list[Row], options: Options) -> None:
    seconds = 0.5 if options.is_quick else 2.0
    with ExitStack() as stack:
        running = start_all(results, rows, options, stack)
        for number in range(options.rounds):
            say(f"round {number + 1} of {options.rounds}")
            for payload, row in product(PAYLOADS, rows if number % 2 == 0 else rows[::-1]):
                if row.name not in running or payload.name not in row.payloads:
                    continue
                try:
                    run_once(results, row, payload, running[row.name], seconds)
                except PeerUnavailable as reason:
                    say(f"{row.name} is left out: {reason}")
                    results.drop(row.name, str(reason))
                    running.pop(row.name).process.hold()


def main() -> None:
    options = read_options(__doc__, rounds=5)
    results = Results("http", unit="req/s; ms; us of server CPU per request")
    rows = [row for row in ROWS if options.takes(row.name)]
    results.note(f"load: {generator()}; server on core {cores()[0]}, load on core {cores()[-1]}")
    measure(results, rows, options)
    for payload in PAYLOADS:
        print_comparison(
            results,
            f"{payload.name}, {len(payload.body):,} bytes, {payload.connections} connections: "
            f"median (min-max) of {options.rounds} rounds",
            {f"{payload.name}: {unit}": unit for unit in ("req/s", "p50 ms", "p99 ms", "CPU us/req")},
            subjects=[row.name for row in rows],
            base="millrace",
        )
    finish(results, options, required=["millrace"])


if __name__ == "__main__":
    main()
