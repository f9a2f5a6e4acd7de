"""``millrace up`` in real processes: what crosses the streams, what dies and comes back, how it ends."""

import asyncio
import json
import os
import re
import shutil
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

from millrace.queues.address import open_queue

HEAD = """
import json, os, pathlib, time, millrace
HERE = pathlib.Path(__file__).parent

def note(where):
    def write(event):
        with open(HERE / where, "a") as file:
            file.write(json.dumps(event) + "\\n")
        return event
    return write

def until(name):
    (HERE / "entered").touch()
    while not (HERE / name).exists():
        time.sleep(0.01)

function = millrace.new_function("demo")
graph = function.set_topology("flow")
"""
CHAIN = HEAD + """
graph.to(">>", "orders").to(name="work", handler=note("seen"), function="child")
function.add_child_function("child")
"""


class Up:
    """The command, what it printed, and its processes."""

    def __init__(self, folder, *options):
        command = [sys.executable, "-m", "millrace", "up", str(folder / "function.py"), "--port", "0", *options]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(command, cwd=folder, text=True, **streams)
        self.lines = []
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        with self.process.stdout as output:
            self.lines.extend(output)

    @property
    def text(self):
        return "".join(self.lines)

    @property
    def url(self):
        return re.search(r"http://127\.0\.0\.1:\d+", self.text)[0]

    def pids(self, name):
        """Those of the last table."""
        return {row: int(pid) for row, pid in re.findall(rf"^({name}/\d) +runs +(\d+)", self.text, re.MULTILINE)}

    def send(self, *bodies, path="/", headers=None):
        for body in bodies:
            request = Request(self.url + path, json.dumps(body).encode(), headers or {})
            with urlopen(request, timeout=20) as answer:
                assert answer.status == 202

    def end(self, number=signal.SIGINT, seconds=20):
        self.process.send_signal(number)
        code = self.process.wait(seconds)
        self.reader.join(5)
        return code


@contextmanager
def running(folder, code, *options):
    (folder / "function.py").write_text(code)
    up = Up(folder, "--status-seconds", "0.2", *options)
    try:
        until(lambda: " is up: " in up.text or up.process.poll() is not None)
        yield up
    finally:
        up.process.kill()
        up.process.wait()
        up.reader.join(5)


def until(is_true, *, seconds=40):
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end
        time.sleep(0.01)


def noted(folder, name="seen"):
    """What the steps noted in a file; a line that is being written is left out."""
    file = folder / name
    text = file.read_text() if file.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def messages(url):
    async def read():
        async with await open_queue(url) as queue:
            return [one for partition in range(queue.partitions) for one in await queue.read(partition, 0)]

    return asyncio.run(read())


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# -- what crosses ------------------------------------------------------------------------------------------------


def test_event_crosses_to_a_child_with_all_that_it_has(tmp_path):
    code = HEAD + """
def keyed(event):
    event.key = "user-7"
    return event

def full(event):
    note("seen")({name: getattr(event, name) for name in
                  ("id", "key", "path", "method", "headers", "content_type", "body")})

graph.to(name="keyed", handler=keyed, full_event=True).to(">>", "orders", full_event=True).to(
    name="full", handler=full, full_event=True, function="child")
function.add_child_function("child")
"""
    with running(tmp_path, code) as up:
        headers = {"MLRUN-EVENT-ID": "e1", "X-Tenant": "blue", "Content-Type": "application/json"}
        up.send({"n": 1}, path="/buy/now?x=1", headers=headers)
        until(lambda: noted(tmp_path))
    (seen,) = noted(tmp_path)
    assert (seen["id"], seen["key"], seen["method"], seen["body"]) == ("e1", "user-7", "POST", {"n": 1})
    assert seen["path"].startswith("/buy/now") and seen["headers"]["X-Tenant"] == "blue"
    assert seen["content_type"] == "application/json"


def test_replicas_share_the_work_and_nothing_is_done_twice(tmp_path):
    code = CHAIN.replace('note("seen")', 'lambda event: note("seen")([event, os.getpid()])')
    with running(tmp_path, code, "--replicas", "child=2") as up:
        up.send(*range(40))
        until(lambda: len(noted(tmp_path)) >= 40)
        assert up.end() == 0
    seen = noted(tmp_path)
    assert sorted(n for n, _ in seen) == list(range(40)) and len({pid for _, pid in seen}) == 2


GRAPH = HEAD + """
first = graph.to(">>", "first")
first.to(name="double", handler="(event * 2)", function="a").to(">>", "second").to(
    name="late", handler=note("late"), function="b")
first.to(name="early", handler=note("early"), function="b")
function.add_child_function("a")
function.add_child_function("b")
"""


def test_queue_may_have_two_readers_and_a_child_two_queues_of_which_another_child_writes_one(tmp_path):
    with running(tmp_path, GRAPH) as up:
        up.send(1, 2, 3)
        until(lambda: len(noted(tmp_path, "late")) == 3 and len(noted(tmp_path, "early")) == 3)
        assert up.end() == 0
    assert sorted(noted(tmp_path, "late")) == [2, 4, 6] and sorted(noted(tmp_path, "early")) == [1, 2, 3]


NESTED = HEAD + """
graph.to(">>", "outer", group="g")
inner = graph.add_flow("inner", after="outer", function="a")
inner.to(name="double", handler="(event * 2)").to(">>", "between").to(
    name="write", handler=note("seen"), function="b")
function.add_child_function("a")
function.add_child_function("b")
"""


def test_nested_flow_may_be_cut_by_a_queue_and_all_that_comes_into_it_goes_through(tmp_path):
    with running(tmp_path, NESTED) as up:
        up.send(*range(20))
        until(lambda: len(noted(tmp_path)) >= 20)
        assert up.end() == 0
    assert sorted(noted(tmp_path)) == list(range(0, 40, 2))


def test_errors_and_tracking_records_go_to_streams_at_their_addresses(tmp_path):
    code = HEAD + f"""
class Model(millrace.serving.V2ModelServer):
    def load(self): pass
    def predict(self, request): return request["inputs"]

def work(event):
    raise ValueError("unlucky")

router = graph.to("*", name="router")
router.add_route("m", class_name=Model)
router.to(">>", "orders", on_failure="skip", retries=0).to(name="work", handler=work, function="child")
function.add_child_function("child")
function.spec.error_stream = "log://{tmp_path}/q/errors"
function.set_tracking("log://{tmp_path}/q/tracking")
"""
    with running(tmp_path, code) as up:
        up.send({"inputs": [7]}, path="/v2/models/m/infer")
        until(lambda: "is skipped after 1 attempt" in up.text)
        assert up.end() == 0
    (error,) = messages(f"log://{tmp_path}/q/errors")
    (record,) = messages(f"log://{tmp_path}/q/tracking")
    assert "unlucky" in json.loads(error.value)["message"] and json.loads(record.value)["model"] == "m"


def test_event_that_was_accepted_is_in_the_queue_when_the_parent_is_killed_right_after(tmp_path):
    with running(tmp_path, CHAIN.replace("def until", "time.sleep(0)\ndef until"), "--streams", str(tmp_path)) as up:
        until(lambda: up.pids("demo"))
        up.send({"n": 1})
        os.kill(up.pids("demo")["demo/0"], signal.SIGKILL)
        assert [one.value for one in messages(f"log://{tmp_path}/orders")] == [b'{"n":1}']


def test_child_may_have_a_port_and_a_clock_of_its_own(tmp_path):
    code = CHAIN + """
child = function.spec.functions["child"]
child.add_trigger("web", {"kind": "http"})
child.add_trigger("tick", {"kind": "cron", "interval": "50ms", "body": "tick"})
"""
    with running(tmp_path, code, "--replicas", "child=2") as up:
        until(lambda: "child is at http" in up.text)
        url = re.search(r"child is at (\S+)", up.text)[1]
        for n in range(4):
            with urlopen(Request(url, json.dumps(n).encode()), timeout=20) as answer:
                assert answer.status == 202
        until(lambda: {0, 1, 2, 3, "tick"} <= {*noted(tmp_path)})
        assert up.end() == 0


# -- what dies ---------------------------------------------------------------------------------------------------


def test_child_that_is_killed_is_started_again_and_nothing_is_lost(tmp_path):
    code = CHAIN.replace('"orders"', '"orders", options={"lease_timeout_seconds": 1}')  # the dead one is waited for
    with running(tmp_path, code) as up:
        until(lambda: up.pids("child"))
        first = up.pids("child")["child/0"]
        up.send(*range(5))
        os.kill(first, signal.SIGKILL)
        up.send(*range(5, 10))
        until(lambda: {*noted(tmp_path)} == {*range(10)})
        until(lambda: up.pids("child")["child/0"] != first)
        assert up.end() == 0
    assert "child/0 (pid" in up.text and "was killed by SIGKILL" in up.text
    assert re.search(r"^child/0 +ended .* 1$", up.text, re.MULTILINE)


def test_parent_that_is_killed_is_started_again_at_the_same_port(tmp_path):
    with running(tmp_path, CHAIN) as up:
        until(lambda: up.pids("demo"))
        first = up.pids("demo")["demo/0"]
        os.kill(first, signal.SIGKILL)
        until(lambda: up.pids("demo")["demo/0"] != first)
        up.send(1)
        until(lambda: noted(tmp_path) == [1])


def test_message_that_may_not_be_skipped_stops_the_child_which_is_started_again_where_it_stopped(tmp_path):
    code = CHAIN.replace('"orders"', '"orders", on_failure="stop", retries=0').replace('note("seen")', '"work"') + """
def work(event):
    note("tried")(event)
    if not (HERE / "mended").exists():
        raise ValueError("not yet")
"""
    with running(tmp_path, code) as up:
        up.send(1)
        until(lambda: "is not read any more" in up.text)
        (tmp_path / "mended").touch()
        until(lambda: re.search(r"^child/0 +runs +\d+ +1 +1 .* [1-9]$", up.text, re.MULTILINE))
        assert up.end() == 0
    assert {*noted(tmp_path, "tried")} == {1} and "reading stops at" in up.text


@pytest.mark.parametrize("is_stuck", [False, True], ids=["idle", "stuck in a step"])
def test_children_end_when_the_supervisor_is_killed(tmp_path, is_stuck):
    soon = "from millrace.serving.doors import stopping\nstopping.EXTRA_SECONDS = 0.5\n"
    code = soon + CHAIN.replace('note("seen")', 'lambda event: until("never")')
    with running(tmp_path, code, "--drain-seconds", "0.1") as up:
        until(lambda: up.pids("child") and up.pids("demo"))
        pids = [*up.pids("child").values(), *up.pids("demo").values()]
        if is_stuck:
            up.send(1)
            until((tmp_path / "entered").exists)
        up.process.kill()
        until(lambda: not any(map(is_alive, pids)), seconds=20)


# -- how it ends -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_lets_children_finish_what_they_do_and_ends_with_0(tmp_path, number):
    code = CHAIN.replace('note("seen")', 'lambda event: [until("gate"), note("seen")(event)]')
    with running(tmp_path, code) as up:
        up.send(1)
        until((tmp_path / "entered").exists)
        up.process.send_signal(number)
        threading.Timer(0.3, (tmp_path / "gate").touch).start()
        assert up.process.wait(20) == 0
        up.reader.join(5)
    assert noted(tmp_path) == [1] and re.search(r"^child/0 +ended +- +1 +1 +0 +0 ", up.text, re.MULTILINE)


def test_second_signal_ends_all_processes_at_once(tmp_path):
    code = CHAIN.replace('note("seen")', 'lambda event: until("never")')
    with running(tmp_path, code) as up:
        until(lambda: up.pids("child"))
        up.send(1)
        until((tmp_path / "entered").exists)
        up.process.send_signal(signal.SIGINT)
        until(lambda: not is_listening(up.url))
        assert up.end(seconds=5) != 0
        assert not is_alive(up.pids("child")["child/0"])


def is_listening(url):
    try:
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1).close()
    except OSError:
        return False
    return True


# -- what is printed ---------------------------------------------------------------------------------------------


def test_output_of_all_is_one_log_with_a_prefix_each_and_a_table_counts_the_events(tmp_path):
    code = CHAIN.replace('note("seen")', "print")
    with running(tmp_path, code) as up:
        up.send("hello", "world")
        until(lambda: re.search(r"^child/0 +runs +\d+ +2 +2 +0 +0 +0 +0 +0 +0 +0$", up.text, re.MULTILINE))
        until(lambda: re.search(r"^demo/0 +runs +\d+ +2 +0 +2 +0 ", up.text, re.MULTILINE))
        assert up.end() == 0
    assert "child/0 | hello\n" in up.lines and "child/0 | world\n" in up.lines
    assert re.search(r"^function +state +pid +in +done +out +lag +retried +dead letters", up.text, re.MULTILINE)


def failed(folder, *options):
    """The exit code and the lines of a command that does not start."""
    command = [sys.executable, "-m", "millrace", "up", *options]
    ended = subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True, timeout=50)
    return ended.returncode, [*ended.stdout.splitlines(), *ended.stderr.splitlines()]


@pytest.mark.parametrize("code, options, text", [
    ("import nothing_like_it", [], "No module named 'nothing_like_it'"),
    (CHAIN, ["--replicas", "chidl=2"], "no child function 'chidl'; did you mean 'child'?"),
    (CHAIN.replace('"orders"', '"orders", retires=2'), [], "no parameter 'retires'; did you mean 'retries'?"),
    (CHAIN.replace('"orders"', '"orders", path="kafak://b/t"'), [], "no queues 'kafak://'; did you mean 'kafka'?"),
    (CHAIN + "function.spec.functions['child'].add_trigger('x', {'kind': 'crom'})", [], "did you mean 'cron'?"),
])  # fmt: skip
def test_what_can_not_start_says_why_in_one_line_and_ends_with_1_or_2(tmp_path, code, options, text):
    (tmp_path / "function.py").write_text(code)
    status, lines = failed(tmp_path, "function.py", "--port", "0", *options)
    assert status in (1, 2) and len(lines) == 1 and lines[0].startswith("millrace: ") and text in lines[0]


def test_port_that_is_taken_is_said_in_one_line(tmp_path):
    (tmp_path / "function.py").write_text(CHAIN)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, lines = failed(tmp_path, "function.py", "--port", str(port))
    way_out = "choose another with --port, or a free one with --port 0"
    assert (status, lines) == (1, [f"millrace: port {port} of 127.0.0.1 is used by another program; {way_out}"])


def test_stream_that_can_not_be_opened_is_said_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "function.py").write_text(CHAIN.replace('"orders"', f'"orders", path="log://{tmp_path}/file/orders"'))
    status, lines = failed(tmp_path, "function.py", "--port", "0", "--status-seconds", "0")
    said = [line for line in lines if "'orders' can not be opened: log://" in line]
    assert status == 1 and 1 <= len(said) <= 2 and not any("Traceback" in line for line in lines)


def test_up_whose_output_nobody_reads_ends_without_a_traceback(tmp_path):
    (tmp_path / "function.py").write_text(CHAIN)
    command = f"{sys.executable} -m millrace up function.py --port 0 --status-seconds 0.2 | head -1"
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "timeout": 40}
    ended = subprocess.run(command, shell=True, check=False, **options)
    assert ended.stdout.startswith("demo is up") and ended.stderr == ""


def test_child_whose_stream_was_deleted_is_started_again_and_its_parent_answers_503(tmp_path):
    with running(tmp_path, CHAIN) as up:
        shutil.rmtree(tmp_path / ".millrace" / "streams" / "orders")
        until(lambda: "was deleted" in up.text and "starting another" in up.text)
        with pytest.raises(HTTPError, match="503"):
            up.send({"n": 1})


@pytest.mark.parametrize("code", [
    CHAIN.replace('"orders")', '"orders", path="memory://orders")'),
    CHAIN.replace('"orders")', '"orders", dead_letters="memory://bad")'),
    CHAIN + 'function.add_trigger("in", {"kind": "stream", "url": "memory://in"})',
])  # fmt: skip
def test_queue_in_the_memory_of_one_of_several_processes_is_refused(tmp_path, code):
    with running(tmp_path, code) as up:
        assert up.process.wait(20) == 1
        up.reader.join(5)
        assert re.fullmatch(r"millrace: '\w+': memory://\w+ is in the memory of one process, .*log:///.*\n", up.text)
