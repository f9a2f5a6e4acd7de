"""What is loaded to start: nothing that is not used."""

import json
import subprocess
import sys
from urllib.request import urlopen

SLOW = {"asyncio", "email", "http", "multiprocessing", "ssl", "uuid"}
"""Of Python's own modules those that take long, and that a graph of plain steps does not need."""

SEEN = "sorted(one for one in {name.partition('.')[0] for name in set(sys.modules) - before}" + (
    f" if one not in sys.stdlib_module_names or one in {sorted(SLOW)})"
)
PLAIN = """
import millrace
function = millrace.new_function("plain", kind="serving")
function.set_topology("flow").to(name="add", handler=lambda event: {"x": event["x"] + 1}).respond()
"""
SERVED = f"""
import sys
before = set()
import millrace
def loaded(event):
    return {SEEN}
function = millrace.new_function("plain", kind="serving")
function.set_topology("flow").to(name="loaded", handler=loaded).respond()
"""


def loaded_by(code):
    """What a program has loaded in the end: its third-party modules, and the slow ones of Python's own."""
    whole = f"import json, sys\nbefore = set(sys.modules)\n{code}\nprint(json.dumps({SEEN}))"
    done = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def loaded_by_a_server_of(file):
    """What ``millrace serve`` has loaded when it gives its first answer."""
    command = [sys.executable, "-m", "millrace", "serve", str(file), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = server.stdout.readline().split()[3]
            with urlopen(f"{url}/loaded", timeout=30) as answer:
                return set(json.load(answer))
        finally:
            server.terminate()


def test_the_guard_sees_what_is_loaded():
    assert loaded_by("import asyncio, numpy") >= {"asyncio", "numpy"}


def test_importing_millrace_loads_nothing_else():
    assert loaded_by("import millrace") == {"millrace"}


def test_the_first_answer_of_a_plain_graph_loads_no_client_no_event_loop_and_no_json():
    assert loaded_by(f"{PLAIN}\nassert function.to_mock_server().test(body={{'x': 1}}) == {{'x': 2}}") == {"millrace"}


def test_a_server_of_a_plain_graph_loads_only_what_speaks_http(tmp_path):
    file = tmp_path / "function.py"
    file.write_text(SERVED)
    clients = {"confluent_kafka", "cronsim", "graphviz", "kafka", "lmdb", "numpy", "nuclio_sdk", "v3io", "yaml"}
    found = loaded_by_a_server_of(file)
    assert {"aiohttp", "orjson"} <= found
    assert found & clients == set()


def test_the_processes_of_up_load_no_http_before_one_of_them_has_a_port():
    assert "aiohttp" not in loaded_by("import millrace.serving.functions.up")
