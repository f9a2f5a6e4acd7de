"""``serve`` in real processes: signals, draining, workers that die, ports that are taken."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from millrace.serving.doors.http_port import reserve_port

CODE = """
import os, time, millrace

def work(body):
    if body.get("entered"):
        open(body["entered"], "w").close()
        while not os.path.exists(body["gate"]):
            time.sleep(0.01)
    if body.get("die"):
        os._exit(7)
    return {"pid": os.getpid()}

fn = millrace.new_function("worker")
fn.set_topology("flow").to(name="work", handler=work, execution="thread").respond()
"""
SERVE = """
import sys
from millrace.serving.functions.serving import serve
sys.exit(serve(sys.argv[1], port=int(sys.argv[2]), workers=int(sys.argv[3]), drain_seconds=5))
"""


@contextmanager
def served(tmp_path, *, workers=1, port=0, code=CODE, hang_up=signal.SIG_DFL):
    """The process and its URL, once it serves; it inherits what SIGHUP does."""
    file = tmp_path / "function.py"
    file.write_text(code)
    before = signal.signal(signal.SIGHUP, hang_up)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, file, str(port), str(workers)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    signal.signal(signal.SIGHUP, before)
    try:
        line = process.stdout.readline()
        yield process, line.partition(" on ")[2].partition(" ")[0]
    finally:
        process.kill()
        process.communicate()


def ask(url, body=None, *, timeout=10):
    with urlopen(Request(url, json.dumps(body or {}).encode()), timeout=timeout) as answer:
        return json.loads(answer.read())


def in_background(url, body):
    """Ask in a thread; the list gets the answer."""
    found = []
    thread = threading.Thread(target=lambda: found.append(ask(url, body)))
    thread.start()
    return thread, found


def until(is_true, *, seconds=20):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("workers", [1, 2])
def test_signal_lets_events_finish_refuses_new_ones_and_ends_with_0(tmp_path, workers, number):
    entered, gate = tmp_path / "entered", tmp_path / "gate"
    with served(tmp_path, workers=workers) as (process, url):
        thread, found = in_background(url, {"entered": str(entered), "gate": str(gate)})
        until(entered.exists)
        process.send_signal(number)
        until(lambda: not is_ready(url))
        gate.touch()
        thread.join(10)
        assert found and found[0]["pid"] and process.wait(10) == 0


def is_ready(url):
    try:
        with urlopen(f"{url}/v2/health/ready", timeout=5) as answer:
            return answer.status == 200
    except HTTPError as error:
        error.close()
        return False
    except OSError:
        return False


def test_second_signal_ends_the_process_at_once(tmp_path):
    entered = tmp_path / "entered"
    with served(tmp_path) as (process, url):
        threading.Thread(target=_ask_in_vain, args=(url, {"entered": str(entered), "gate": "never"})).start()
        until(entered.exists)
        process.send_signal(signal.SIGTERM)
        until(lambda: not is_ready(url))
        process.send_signal(signal.SIGTERM)
        assert process.wait(3) == 128 + signal.SIGTERM


@pytest.mark.parametrize("workers", [1, 2])
def test_terminal_that_closes_may_say_so_twice(tmp_path, workers):
    entered, gate = tmp_path / "entered", tmp_path / "gate"
    with served(tmp_path, workers=workers) as (process, url):
        thread, found = in_background(url, {"entered": str(entered), "gate": str(gate)})
        until(entered.exists)
        process.send_signal(signal.SIGHUP)
        until(lambda: not is_ready(url))
        process.send_signal(signal.SIGHUP)
        gate.touch()
        thread.join(10)
        assert found and process.wait(10) == 0


def test_process_under_nohup_outlives_its_terminal(tmp_path):
    with served(tmp_path, hang_up=signal.SIG_IGN) as (process, url):
        process.send_signal(signal.SIGHUP)
        assert ask(url) and is_ready(url) and process.poll() is None


def _ask_in_vain(url, body):
    try:
        ask(url, body)
    except OSError:
        return


def test_worker_that_dies_is_replaced_and_the_log_says_why(tmp_path):
    with served(tmp_path, workers=2) as (process, url):
        pids = set()
        until(lambda: pids.add(ask(url)["pid"]) or len(pids) == 2)
        with pytest.raises(OSError):
            ask(url, {"die": True})
        later = set()
        until(lambda: later.add(ask(url)["pid"]) or later - pids)
        assert len(later & pids) == 1
        process.terminate()
        assert "ended with exit code 7; starting another" in process.communicate(timeout=10)[1]


def test_workers_end_when_their_supervisor_is_killed(tmp_path):
    with served(tmp_path, workers=2) as (process, url):
        pid = ask(url)["pid"]
        process.kill()
        process.wait(5)
        until(lambda: not _is_alive(pid))


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # Nobody may have waited for it yet.
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("workers", [1, 2])
def test_port_that_is_taken_is_one_clear_line(tmp_path, workers):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with served(tmp_path, workers=workers, port=port) as (process, _):
            assert process.wait(10) == 1
            error = process.stderr.read().splitlines()
    assert error == [
        f"millrace: port {port} of 127.0.0.1 is used by another program; "
        "choose another with --port, or a free one with --port 0"
    ]


def test_port_that_other_workers_share_is_taken_too(tmp_path):
    with served(tmp_path, workers=2) as (_, url):
        port = int(url.rpartition(":")[2])
        with served(tmp_path, workers=2, port=port) as (second, _):
            assert second.wait(10) == 1


def test_port_of_a_server_that_has_just_ended_can_be_shared():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            listener.accept()[0].close()  # the side that ends first is remembered for a minute
            assert client.recv(1) == b""
    reserve_port("127.0.0.1", port).close()


def test_worker_that_can_not_start_ends_the_command_with_its_reason(tmp_path):
    with served(tmp_path, workers=2, code="import no_such_module_here") as (process, _):
        assert process.wait(20) == 1
        assert "no_such_module_here" in process.stderr.read()


def test_example_names_a_model_and_works(tmp_path):
    code = """
import millrace
class Sums(millrace.serving.V2ModelServer):
    def load(self): self.model = True
    def predict(self, request): return [sum(row) for row in request["inputs"]]
fn = millrace.new_function("sums")
fn.set_topology("router")
fn.add_model("adder:v1", class_name=Sums)
"""
    with served(tmp_path, code=code) as (process, url):
        command = process.stdout.readline().strip().removeprefix("try: curl ")
        address, _, body = command.partition(" -d ")
        assert address == f"{url}/v2/models/adder/versions/v1/infer"
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        with urlopen(Request(address, body.strip("'").encode(), form)) as answer:
            assert json.loads(answer.read())["outputs"] == [10]


DECLARED = """
import millrace
class Model(millrace.serving.V2ModelServer):
    def predict(self, request):
        return [1 for _ in next(iter(request["inputs"].values()))] if isinstance(request["inputs"], dict) else [1]
fn = millrace.new_function("pets")
fn.set_topology("router", CLASS)
fn.add_model("m", class_name=Model, model=True, inputs=INPUTS)
"""


@pytest.mark.parametrize(
    ("router", "shapes", "path"),
    [
        ("ModelRouter", [[-1, 3]], "/v2/models/m/infer"),
        ("ModelRouter", [[-1, 2], [-1]], "/v2/models/m/infer"),
        ("VotingEnsemble", [[-1, 2]], "/v2/models/pets/infer"),
        ("VotingEnsemble", [[-1, 28, 28]], "/v2/models/pets"),
    ],
)
def test_example_has_inputs_of_the_declared_shape_and_the_url_of_the_ensemble(tmp_path, router, shapes, path):
    inputs = [{"name": f"x{n}", "datatype": "FP32", "shape": shape} for n, shape in enumerate(shapes)]
    code = DECLARED.replace("CLASS", repr(f"millrace.serving.{router}")).replace("INPUTS", repr(inputs))
    with served(tmp_path, code=code) as (process, url):
        _, address, *rest = shlex.split(process.stdout.readline().strip().removeprefix("try: "))
        assert address == f"{url}{path}"
        with urlopen(address, rest[1].encode() if rest else None) as answer:
            assert answer.status == 200


def test_model_that_loads_in_the_background_is_not_ready_before(tmp_path):
    gate = tmp_path / "gate"
    code = f"""
import os, time, millrace
class Slow(millrace.serving.V2ModelServer):
    def load(self):
        while not os.path.exists({str(gate)!r}):
            time.sleep(0.01)
        self.model = True
    def predict(self, request): return request["inputs"]
fn = millrace.new_function("slow")
fn.spec.load_mode = "async"
fn.set_topology("router")
fn.add_model("m", class_name=Slow)
"""
    with served(tmp_path, code=code) as (_, url):
        assert not is_ready(url)
        with pytest.raises(HTTPError) as raised:
            ask(f"{url}/v2/models/m/infer", {"inputs": [1]})
        with raised.value as answer:
            assert answer.status == 503 and answer.headers["Retry-After"]
        gate.touch()
        until(lambda: is_ready(url))
        assert ask(f"{url}/v2/models/m/infer", {"inputs": [1]})["outputs"] == [1]
