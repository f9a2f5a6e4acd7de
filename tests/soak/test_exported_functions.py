"""What an image would do, without Docker: its packages installed in a fresh environment, its functions as processes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from pathlib import Path

import pytest

import millrace

ROOT = Path(__file__).parents[2]
SHOP = str(ROOT / "tests" / "serving" / "deploy" / "shop" / "orders.py")
SECONDS = 60

pytestmark = pytest.mark.soak


def start(program, folder, *arguments):
    """A function of an exported folder, and its URL."""
    command = [*program, "serve", "--host", "127.0.0.1", "--port", "0", *arguments]
    served = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONUNBUFFERED": "1"})  # fmt: skip
    line = served.stdout.readline()
    return served, re.search(r"http://\S+", line)[0]


def stop(served):
    served.send_signal(signal.SIGTERM)
    served.stdout.close()
    assert served.wait(SECONDS) == 0


def ask(url, order):
    request = urllib.request.Request(url, json.dumps(order).encode())
    return json.loads(urllib.request.urlopen(request, timeout=SECONDS).read())


def test_the_requirements_of_an_image_are_enough_to_serve_it(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    function = millrace.import_function(SHOP)
    function.remove_states(["priced", "bill", "billed", "audit"])
    function.spec.functions.clear()
    folder = function.export("docker", str(tmp_path / "image"), wheel=str(next(tmp_path.glob("*.whl"))))
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    install = [python, "-m", "pip", "install", "--no-cache-dir", "-r", "requirements.txt"]
    subprocess.run(install, cwd=folder, check=True, capture_output=True)
    served, url = start([str(tmp_path / "venv" / "bin" / "millrace")], folder, "function-spec.yaml")
    try:
        assert ask(url, {"pieces": 4}) == {"pieces": 4, "total": 12}
    finally:
        stop(served)


def test_parent_and_children_from_one_image_pass_orders_on_through_kafka(tmp_path):
    sys.path.append(str(ROOT / "tests" / "kafka"))
    from broker import BrokerMissing, begin, end

    try:
        broker = begin()
    except BrokerMissing as reason:
        pytest.skip(str(reason))
    function, mark = millrace.import_function(SHOP), uuid.uuid4().hex[:8]
    for name in ("priced", "billed"):
        function.graph[name].path = f"kafka://{broker.bootstrap}/{mark}-{name}"
    folder = function.export("docker", str(tmp_path / "image"))
    program = [sys.executable, "-m", "millrace"]
    children = ("audit", "billing")
    running = [start(program, folder, f"function-spec-{name}.yaml", "--function", name) for name in children]
    running.append(start(program, folder, "function-spec.yaml"))
    try:
        for number in range(100):
            assert ask(running[-1][1], {"pieces": number})["total"] == 3 * number
        assert told(f"kafka://{broker.bootstrap}/{mark}-billed", 100) == {n: 3 * n for n in range(100)}
    finally:
        for served, _ in running:
            stop(served)
        end(broker)


def told(url, count):
    """The totals of the orders in a topic, by their pieces, once it has so many."""
    deadline, found = time.monotonic() + SECONDS, {}
    while len(found) < count and time.monotonic() < deadline:
        tail = [sys.executable, "-m", "millrace", "queue", "tail", url, "--from", "earliest", "--no-follow", "--json"]
        done = subprocess.run(tail, capture_output=True, text=True, check=False, timeout=SECONDS)
        orders = re.findall(r'\{\\"pieces\\":(\d+),\\"total\\":(\d+),\\"billed\\":true\}', done.stdout)
        found = {int(pieces): int(total) for pieces, total in orders}
    return found
