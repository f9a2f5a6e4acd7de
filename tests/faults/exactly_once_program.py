"""A graph from one Kafka topic to another, exactly once; ``millrace serve`` runs it, and tests kill it.

It notes what it handles in the file ``handled-PID`` of the working folder.
"""

import json
import os

import millrace

URL = os.environ["TOPIC"]
OPTIONS = json.loads(os.environ["OPTIONS"])
POISON_EVERY = 50

_file = os.open(f"handled-{os.getpid()}", os.O_CREAT | os.O_APPEND | os.O_WRONLY)


async def handle(number):
    os.write(_file, b"%d\n" % number)
    if number % POISON_EVERY == POISON_EVERY - 1:
        raise ValueError("poison")
    return [number, -number - 1]


function = millrace.new_function("mover")
graph = function.set_topology("flow")
(
    graph.to(name="handle", handler=handle)
    .to("storey.Flatten", "each")
    .to(">>", "out", path=f"{URL}-out", options=OPTIONS)
)
function.add_trigger("in", {
    "kind": "stream", "url": URL, "group": os.environ["GROUP"], "exactly_once": True,
    "retries": 1, "backoff_seconds": 0.001,
    "options": {**OPTIONS, "transactional_id": os.environ["NAME"]},
})  # fmt: skip
