"""Millrace behind Nuclio's wrapper: `nuclio_millrace.py flow | async | router`."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from line_protocol import serve, versions_of
from nuclio_loop import measure, message, request

from millrace.serving.functions.nuclio import handler, init_context

KIND = sys.argv[1]
CODE = '''
import millrace
from millrace.serving import V2ModelServer

class Sums(V2ModelServer):
    def load(self):
        self.model = True

    def predict(self, request):
        return [sum(row) for row in request["inputs"]]

def sums(body):
    return {"outputs": [sum(row) for row in body["inputs"]]}

async def later(body):
    return sums(body)

function = millrace.new_function("bench")
if KIND == "router":
    function.set_topology("router")
    function.add_model("m", class_name=Sums)
else:
    function.set_topology("flow").to(name="sums", handler=later if KIND == "async" else sums).respond()
'''


def ready(context: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.py"
        file.write_text(f"KIND = {KIND!r}\n{CODE}")
        os.environ["MILLRACE_FUNCTION_SPEC"] = str(file)
        init_context(context)


def http(events: int, *, body: str, path: str) -> tuple[float, Any]:
    seconds, answer = measure(events, request(body.encode(), path), handler, ready)
    return seconds, answer["outputs"]


def stream(events: int, *, body: str) -> tuple[float, Any]:
    return measure(events, message(body.encode()), handler, ready)


MODES = [http] if KIND == "router" else [http, stream]
serve({mode.__name__: mode for mode in MODES}, versions=versions_of("millrace", "nuclio-sdk"))
