"""The peer's end of the benchmark protocol: one JSON object per line, stdin to stdout. Standard library only.

A peer calls `serve(modes)`. It first says `{"versions": {...}, "modes": [...]}`. Each line it then reads,
`{"mode": "awaited", "events": 1000, "steps": 5}`, calls `modes["awaited"](1000, steps=5)`, which returns the seconds
that the work took (without building it up) and the answer it gave, for the runner to check.
"""

import gc
import importlib.metadata
import json
import os
import sys
import traceback
from collections.abc import Callable

type_of_mode = Callable[..., tuple[float, object]]


def versions_of(*distributions: str) -> dict[str, str]:
    """The installed versions, for the line under the table."""
    return {name: importlib.metadata.version(name) for name in distributions}


def serve(modes: dict[str, type_of_mode], *, versions: dict[str, str] | None = None) -> None:
    """Answer requests until stdin ends. What a library prints to stdout goes to stderr, out of the protocol's way."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    print(json.dumps({"versions": versions or {}, "modes": list(modes)}), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        gc.collect()
        try:
            seconds, answer = modes[request.pop("mode")](request.pop("events"), **request)
            reply = {"seconds": seconds, "answer": answer}
        except Exception as error:  # whatever a library raises is this peer's answer
            traceback.print_exc()
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=answers)
