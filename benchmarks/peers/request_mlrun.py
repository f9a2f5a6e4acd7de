"""MLRun's mock server, in process: `request_mlrun.py sync | async` (the engine of the flow; a router has none)."""

import logging
import os
import sys
import tempfile
import time
from typing import Any

# Before mlrun is imported: no service to look for, and its log out of the way.
os.environ.setdefault("MLRUN_DBPATH", tempfile.gettempdir())
os.environ.setdefault("MLRUN_LOG_LEVEL", "ERROR")

import mlrun
from line_protocol import serve, versions_of
from mlrun.serving import V2ModelServer

logging.disable(logging.WARNING)
ENGINE = sys.argv[1]
INFER_PATH = "/v2/models/m/infer"


def increment(x: int) -> int:
    return x + 1


class Sums(V2ModelServer):
    def load(self) -> None:
        self.model = True

    def predict(self, request: dict) -> list:
        return [sum(row) for row in request["inputs"]]


def timed(server: Any, events: int, path: str, body: Any) -> tuple[float, Any]:
    answer = server.test(path, body=body)
    start = time.perf_counter()
    for _ in range(events):
        answer = server.test(path, body=body)
    return time.perf_counter() - start, answer


def flow(events: int, *, steps: int) -> tuple[float, Any]:
    function = mlrun.new_function("bench", kind="serving")
    step = function.set_topology("flow", engine=ENGINE)
    for number in range(steps):
        step = step.to(name=f"s{number}", handler="increment")
    if ENGINE == "async":
        step.respond()
    server = function.to_mock_server(namespace=globals())
    result = timed(server, events, "/", 1)
    server.wait_for_completion()
    return result


def router(events: int) -> tuple[float, Any]:
    function = mlrun.new_function("bench", kind="serving")
    function.set_topology("router")
    function.add_model("m", class_name="Sums", model_path=".")
    server = function.to_mock_server(namespace=globals())
    seconds, answer = timed(server, events, INFER_PATH, {"inputs": [[1, 2, 3, 4]]})
    return seconds, answer["outputs"]


serve({"flow": flow, "router": router} if ENGINE == "sync" else {"flow": flow}, versions=versions_of("mlrun"))
