"""Millrace: a function with a stream trigger, `consume_millrace.py URL CLIENT`; a topic is a path under the URL."""

from __future__ import annotations

import sys
from typing import Any

from consume_protocol import Work, answer
from line_protocol import versions_of

import millrace

URL, CLIENT = sys.argv[1:]
PACKAGE = {"kafka-python": "kafka-python", "confluent-kafka": "confluent-kafka"}.get(CLIENT, "lmdb")


def consume(work: Work, topic: str, group: str) -> None:
    function: Any = millrace.new_function("orders", kind="serving")
    graph = function.set_topology("flow")
    step = graph.to(name="parse", handler=work.parse)
    step.to(name="change", handler=work.change).to(name="check", handler=work.check)
    trigger = {"kind": "stream", "url": f"{URL}/{topic}", "group": group, "content_type": "application/octet-stream"}
    function.add_trigger("orders", trigger | ({"options": {"client": CLIENT}} if URL.startswith("kafka") else {}))
    server = function.to_mock_server(streams="real")
    try:
        work.wait()
    finally:
        server.close()


answer(consume, versions_of("millrace", PACKAGE))
