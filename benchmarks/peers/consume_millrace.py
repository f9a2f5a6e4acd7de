"""Millrace: a function with a stream trigger, `consume_millrace.py URL CLIENT`; a topic is a path under the URL.

It runs as `millrace serve` and `millrace up` run one that has no port.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from consume_protocol import Work, answer
from line_protocol import versions_of

import millrace
from millrace.serving.doors.stream_run import run_streams
from millrace.serving.functions.real import StreamsAt
from millrace.serving.functions.runtime import make_engine

URL, CLIENT = sys.argv[1:]


def function_of(work: Work, url: str, group: str) -> Any:
    """Three steps behind a stream. The messages come as bytes: to parse them is the first step."""
    function: Any = millrace.new_function("orders", kind="serving")
    first = function.set_topology("flow").to(name="parse", handler=work.parse)
    first.to(name="change", handler=work.change).to(name="check", handler=work.check)
    trigger = {"kind": "stream", "url": url, "group": group, "content_type": "application/octet-stream"}
    function.add_trigger("orders", trigger | ({"options": {"client": CLIENT}} if CLIENT else {}))
    return function


def consume(work: Work, topic: str, group: str) -> None:
    engine, streams = make_engine(function_of(work, f"{URL}/{topic}", group), [], streams_at=StreamsAt())
    is_running = threading.Event()

    def stop_when_done() -> None:
        try:
            work.wait()
        finally:
            if is_running.is_set():  # afterwards nobody would catch it
                os.kill(os.getpid(), signal.SIGTERM)

    with ThreadPoolExecutor(1) as watch:
        waited = watch.submit(stop_when_done)
        is_running.set()
        status = run_streams(engine, streams)
        is_running.clear()
        waited.result()
    if status:
        raise RuntimeError(f"a stream stopped with {status}")


answer(consume, versions_of("millrace", CLIENT or "lmdb"))
