"""From a new process to the first answer of MLRun's mock server: a flow of one step."""

import os
import tempfile

os.environ.setdefault("MLRUN_DBPATH", tempfile.gettempdir())

import mlrun
from first_answer import report


def increment(x: int) -> int:
    return x + 1


function = mlrun.new_function("bench", kind="serving")
function.set_topology("flow", engine="sync").to(name="increment", handler="increment")
report(function.to_mock_server(namespace=globals()).test(body=1))
