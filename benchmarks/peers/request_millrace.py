"""Millrace's side of `request.py`: `request_millrace.py test | atest | emit | aemit`, the entry that is measured."""

import asyncio
import sys
import time
from typing import Any

from line_protocol import serve, versions_of

import millrace
from millrace.serving import V2ModelServer

ENTRY = sys.argv[1]
INFER_PATH = "/v2/models/m/infer"


class Sums(V2ModelServer):
    def load(self) -> None:
        self.model = True

    def predict(self, request: dict) -> list:
        return [sum(row) for row in request["inputs"]]


def timed(server: Any, events: int, *arguments: Any) -> tuple[float, Any]:
    """One request after the other through the entry: with path and body, or the body where it takes no path."""
    enter = getattr(server, ENTRY)

    async def awaited() -> tuple[float, Any]:
        answer = await enter(*arguments)
        start = time.perf_counter()
        for _ in range(events):
            answer = await enter(*arguments)
        return time.perf_counter() - start, answer

    def called() -> tuple[float, Any]:
        answer = enter(*arguments)
        start = time.perf_counter()
        for _ in range(events):
            answer = enter(*arguments)
        return time.perf_counter() - start, answer

    return asyncio.run(awaited()) if ENTRY in ("atest", "aemit") else called()


def flow(events: int, *, steps: int) -> tuple[float, Any]:
    function = millrace.new_function("bench", kind="serving")
    step = function.set_topology("flow", engine="sync" if ENTRY in ("test", "emit") else "async")
    for number in range(steps):
        step = step.to(name=f"s{number}", handler=lambda x: x + 1)
    step.respond()
    arguments = (1,) if ENTRY in ("emit", "aemit") else ("/", 1)
    return timed(function.to_mock_server(), events, *arguments)


def router(events: int) -> tuple[float, Any]:
    function = millrace.new_function("bench", kind="serving")
    function.set_topology("router")
    function.add_model("m", class_name=Sums, model_path=".")
    seconds, answer = timed(function.to_mock_server(), events, INFER_PATH, {"inputs": [[1, 2, 3, 4]]})
    return seconds, answer["outputs"]


MODES = {"test": [flow, router], "atest": [flow, router], "emit": [flow], "aemit": [flow]}
serve({mode.__name__: mode for mode in MODES[ENTRY]}, versions=versions_of("millrace"))
