"""``millrace test``: one request, its answer as JSON."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest

from millrace.serving.cli.main import run


def write(folder, code: str) -> str:
    path = folder / "function.py"
    path.write_text(f"import millrace\nfn = millrace.new_function('demo', kind='serving')\n{code}\n")
    return str(path)


def flow(folder, steps: str, code: str = "") -> str:
    return write(folder, f"{code}\nfn.set_topology('flow', engine='async'){steps}")


def stdin(monkeypatch, body: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(body)))


def test_the_answer_is_printed_as_json(tmp_path, capsys):
    target = flow(tmp_path, ".to(name='double', handler='({\"x\": event[\"x\"] * 2})').respond()")
    assert run(["test", target, "--body", '{"x": 21}']) == 0
    assert capsys.readouterr() == ('{"x":42}\n', "")


def test_names_in_the_graph_are_found_in_the_file(tmp_path, capsys):
    target = flow(tmp_path, ".to(name='up', handler='up').respond()", "def up(event):\n    return event.upper()\n")
    assert run(["test", f"{target}:fn", "--body", "hi", "--content-type", "text/plain"]) == 0
    assert json.loads(capsys.readouterr().out) == "HI"


def test_an_array_is_printed_as_json(tmp_path, capsys):
    target = flow(tmp_path, ".to(name='a', handler='(np.arange(3) + event)').respond()", "import numpy as np")
    assert run(["test", target, "--body", "1"]) == 0
    assert capsys.readouterr().out == "[1,2,3]\n"


def test_path_method_and_headers_reach_the_steps(tmp_path, capsys):
    code = "def show(event):\n    event.body = [event.path, event.method, event.headers['x-user']]\n    return event\n"
    target = flow(tmp_path, ".to(name='show', handler=show, full_event=True).respond()", code)
    assert run(["test", target, "/a/b", "--method", "put", "--header", "x-user: me: too"]) == 0
    assert json.loads(capsys.readouterr().out) == ["/a/b", "PUT", "me: too"]


@pytest.mark.parametrize("arguments", [["-"], ["/", "-"], ["--body-file", "-"], ["--body", "-"]])
def test_the_body_is_read_from_the_standard_input(tmp_path, capsys, monkeypatch, arguments):
    stdin(monkeypatch, b'{"x": 1}')
    assert run(["test", flow(tmp_path, ".to(name='x', handler='(event[\"x\"])').respond()"), *arguments]) == 0
    assert capsys.readouterr().out == "1\n"


def test_a_body_file_is_of_the_type_that_its_name_says(tmp_path, capsys):
    (tmp_path / "body.json").write_text('{"x": 1}')
    (tmp_path / "body.png").write_bytes(b"\x89PNG")
    target = flow(tmp_path, ".to(name='kind', handler='([type(event).__name__])').respond()")
    assert run(["test", target, "--body-file", str(tmp_path / "body.json")]) == 0
    assert run(["test", target, "--body-file", str(tmp_path / "body.png")]) == 0
    assert capsys.readouterr().out == '["dict"]\n["bytes"]\n'


def test_an_error_answer_is_one_line_with_its_status(tmp_path, capsys):
    code = "def refuse(event):\n    raise millrace.errors.RouteNotFound('no such user')\n"
    assert run(["test", flow(tmp_path, ".to(name='a', handler=refuse).respond()", code), "--body", "1"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "millrace: failed (404): no such user\n"


def test_a_body_that_is_not_json_is_a_bad_request(tmp_path, capsys):
    assert run(["test", flow(tmp_path, ".to(name='a', handler='(event)').respond()"), "--body", "{"]) == 1
    assert capsys.readouterr().err.startswith("millrace: failed (400): the body is not JSON")


def test_an_answer_that_json_can_not_say_is_an_error(tmp_path, capsys):
    assert run(["test", flow(tmp_path, ".to(name='a', handler='(object)').respond()"), "--body", "1"]) == 1
    assert "the answer is not JSON" in capsys.readouterr().err


def test_bytes_are_printed_as_they_are(tmp_path):
    target = flow(tmp_path, ".to(name='a', handler='(bytes([0, 255]))').respond()")
    done = subprocess.run([sys.executable, "-m", "millrace", "test", target], capture_output=True, check=True)
    assert done.stdout == b"\x00\xff"


def test_a_stream_is_printed_chunk_by_chunk(tmp_path, capsys):
    code = "def count(event):\n    for n in range(event):\n        yield {'n': n}\n"
    assert run(["test", flow(tmp_path, ".to(name='a', handler=count).respond()", code), "--body", "3"]) == 0
    assert capsys.readouterr().out == '{"n":0}\n{"n":1}\n{"n":2}\n'


def test_a_chunk_is_printed_before_the_stream_ends(tmp_path, capsys):
    code = "def count(event):\n    yield 1\n    raise ValueError('broken off')\n"
    assert run(["test", flow(tmp_path, ".to(name='a', handler=count).respond()", code), "--body", "3"]) == 1
    out, err = capsys.readouterr()
    assert out == "1\n"
    assert "broken off" in err


def test_a_model_that_loads_in_the_background_is_loaded_before_the_request(tmp_path, capsys):
    code = (
        "import threading\nclass Model(millrace.serving.V2ModelServer):\n"
        "    def load(self): self.model = threading.current_thread() is threading.main_thread()\n"
        "    def predict(self, request): return [self.model]\n"
        "fn.set_topology('router')\nfn.spec.load_mode = 'async'\nfn.add_model('m', class_name=Model)\n"
    )
    assert run(["test", write(tmp_path, code), "/v2/models/m/infer", "--body", '{"inputs": [1]}']) == 0
    assert json.loads(capsys.readouterr().out)["outputs"] == [True]


def test_wait_waits_for_the_steps_behind_the_answer(tmp_path, capsys):
    target = flow(tmp_path, ".to(name='a', handler='(event)').respond().to('>>', 'out', path='out')")
    assert run(["test", target, "--body", "7", "--wait"]) == 0
    assert capsys.readouterr() == ("7\n", "queue out: 1 message\n")


def test_wait_fails_when_a_step_behind_the_answer_does(tmp_path, capsys):
    steps = ".to(name='a', handler='(event)').respond().to(name='b', handler='(event / 0)')"
    assert run(["test", flow(tmp_path, steps), "--body", "7", "--wait"]) == 1
    out, err = capsys.readouterr()
    assert out == "7\n"
    assert "division by zero" in err


def test_repeat_prints_one_answer_and_the_times(tmp_path, capsys):
    target = flow(tmp_path, ".to(name='a', handler='(event)').respond()")
    assert run(["test", target, "--body", "7", "--repeat", "20"]) == 0
    out, err = capsys.readouterr()
    assert out == "7\n"
    assert err.startswith("20 answers: p50 ")
    assert " ms, p99 " in err


@pytest.mark.parametrize(
    "arguments", [["--body", "1", "--body-file", "x"], ["/", "-", "--body", "1"], ["--header", "nothing"]]
)
def test_a_request_that_contradicts_itself_is_a_usage_error(tmp_path, capsys, arguments):
    assert run(["test", flow(tmp_path, ".to(name='a', handler='(event)').respond()"), *arguments]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_steps_log_is_shown(tmp_path):
    target = flow(
        tmp_path, ".to(name='a', handler='tell').respond()",
        "def tell(event, context):\n    context.logger.info('heard', event=event)\n    return event\n",
    )  # fmt: skip
    command = [sys.executable, "-m", "millrace", "test", target, "--body", "7"]
    told = subprocess.run(command, check=True, capture_output=True, text=True)
    assert told.stdout == "7\n" and "INFO millrace.function.demo: heard event=7" in told.stderr
