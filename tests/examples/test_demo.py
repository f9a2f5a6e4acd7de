"""``make demo``: models are trained once, and the lines that it prints can be pasted."""

import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.datasets import load_iris

import millrace

IRIS = Path(__file__).parents[2] / "examples" / "iris"
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "error"}


def start(script: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, str(IRIS / script), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def printed_until_it_serves(demo: subprocess.Popen) -> list[str]:
    lines = []
    for line in demo.stdout:
        lines.append(line)
        if "Ctrl-C ends it" in line:
            return lines
    raise AssertionError("".join(lines) + demo.stderr.read())


def test_training_again_keeps_the_models(tmp_path):
    train = runpy.run_path(str(IRIS / "train.py"))["train"]
    train(tmp_path)
    first = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    train(tmp_path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == first
    assert first.keys() == {"logistic.pkl", "forest.pkl"}


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_lines_that_the_demo_prints_name_the_species_of_the_flowers():
    iris = load_iris()
    species = iris.target_names[iris.target[[0, 145]]].tolist()
    demo = start("demo.py", "--port", "0")
    try:
        lines = [line for line in printed_until_it_serves(demo) if line.startswith("curl")]
        answers = [json.loads(subprocess.check_output(line, shell=True, timeout=20)) for line in lines]
    finally:
        demo.send_signal(signal.SIGTERM)
        _, errors = demo.communicate(timeout=40)
    assert answers[0]["outputs"] == species
    assert answers[1]["outputs"] == [{"name": "species", "shape": [2], "datatype": "BYTES", "data": species}]
    assert "[-1, 4]" in answers[2]["error"]
    assert demo.returncode == 0 and "Traceback" not in errors


def test_demo_says_in_one_line_that_its_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        demo = start("demo.py", "--port", str(port))
        _, errors = demo.communicate(timeout=40)
    assert demo.returncode == 1
    assert f"port {port}" in errors and f"make demo ARGS='--port {port + 1}'" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("row", [[1.0, 2.0, 3.0], ["a", 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, None], [1.0, 2.0, 3.0, 1e999]])
def test_row_that_is_no_flower_gets_422(row):
    runpy.run_path(str(IRIS / "train.py"))["train"]()
    with millrace.import_function(str(IRIS / "function.py")).to_mock_server() as server:
        answer = server.test("/v2/models/iris/infer", {"inputs": [row]}, silent=True)
    assert answer.status_code == 422
