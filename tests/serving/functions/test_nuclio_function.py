"""What Nuclio's wrapper imports: which function the environment names, and what is ready when it has been loaded."""

import asyncio
import base64
import gzip
import json
import logging
import sys
from pathlib import Path

import nuclio_sdk
import pytest

from millrace.errors import SpecError
from millrace.serving.functions import nuclio

sys.path.append(str(Path(__file__).resolve().parents[2] / "parity"))

from nuclio_worker import message, request, sent

CODE = "def double(body):\n    return body * 2\n\n\ndef refuse(body):\n    raise ValueError(body)\n"
SPEC = """\
kind: serving
metadata: {name: shop}
spec:
  filename: code.py
  graph:
    kind: flow
    steps:
      first: {kind: task, handler: double, responder: true}
"""
PIPELINE = """\
kind: serving
metadata: {name: shop}
spec:
  functions:
    child: {kind: serving, metadata: {name: child}}
  graph:
    kind: flow
    steps:
      orders: {kind: queue, path: "memory://shop.orders", trigger_args: {on_failure: stop, retries: 0}}
      price: {kind: task, function: child, handler: "(1 / event)", after: [orders]}
"""


def make_context(worker_id="3"):
    async def control(data):
        pass

    platform = nuclio_sdk.Platform("local", on_control_callback=control)
    return nuclio_sdk.Context(nuclio_sdk.Logger("DEBUG"), platform, worker_id, nuclio_sdk.TriggerInfo("http", "web"))


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """No function, and the files of one in a folder that is not the working directory."""
    for name in ("FUNCTION_SPEC", "FUNCTION_SPEC_B64", "CURRENT_FUNCTION", "TRUSTED", "DRAIN_SECONDS"):
        monkeypatch.delenv(f"MILLRACE_{name}", raising=False)
    (tmp_path / "code.py").write_text(CODE)
    monkeypatch.setenv("NUCLIO_PYTHON_PATH", str(tmp_path))
    return monkeypatch


def ask(body=b"21"):
    """Load the function as a worker does, on the loop that then serves it, and ask."""
    context = make_context()

    async def serve():
        nuclio.init_context(context)
        return sent(await nuclio.handler(context, request(body=body, headers={"Content-Type": "application/json"})))

    return asyncio.run(serve())


def encoded(text):
    return base64.b64encode(gzip.compress(text.encode())).decode()


@pytest.mark.parametrize("is_absolute", [True, False])
def test_the_function_is_in_the_file_that_the_environment_names(environment, tmp_path, is_absolute):
    (tmp_path / "shop.yaml").write_text(SPEC)
    environment.setenv("MILLRACE_FUNCTION_SPEC", str(tmp_path / "shop.yaml") if is_absolute else "shop.yaml")
    assert ask().body == b"42"


def test_the_function_is_beside_the_code_when_the_environment_names_none(tmp_path):
    (tmp_path / "function-spec.yaml").write_text(SPEC)
    assert ask().body == b"42"


def test_the_function_is_in_the_environment_itself(environment):
    environment.setenv("MILLRACE_FUNCTION_SPEC_B64", encoded(SPEC))
    assert ask().body == b"42"


@pytest.mark.parametrize("variable", ["MILLRACE_DRAIN_SECONDS", "MILLRACE_REQUEST_TIMEOUT_SECONDS"])
def test_a_time_that_is_no_number_is_told_before_events_come(environment, tmp_path, variable):
    (tmp_path / "function-spec.yaml").write_text(SPEC)
    environment.setenv(variable, "30s")
    with pytest.raises(SpecError, match=f"{variable}='30s' is no number of seconds"):
        ask()


def test_steps_are_found_in_the_module_that_nuclio_calls(environment, tmp_path):
    (tmp_path / "nuclio_main.py").write_text(CODE)
    environment.syspath_prepend(tmp_path)
    __import__("nuclio_main")
    environment.setenv("NUCLIO_HANDLER", "nuclio_main:handler")
    environment.setenv("MILLRACE_FUNCTION_SPEC_B64", encoded(SPEC.replace("  filename: code.py\n", "")))
    assert ask().body == b"42"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("MILLRACE_TRUSTED", "", "MILLRACE_FUNCTION_SPEC is not set; it names the function's YAML file"),
        ("MILLRACE_FUNCTION_SPEC", "gone.yaml", "MILLRACE_FUNCTION_SPEC=gone.yaml is no file here"),
        ("MILLRACE_FUNCTION_SPEC_B64", "???", "MILLRACE_FUNCTION_SPEC_B64 is no YAML text in gzip and base64"),
        ("MILLRACE_FUNCTION_SPEC_B64", "Z3ppcA==", "MILLRACE_FUNCTION_SPEC_B64 is no YAML text in gzip and base64"),
        ("MILLRACE_FUNCTION_SPEC_B64", encoded("a: ["), "MILLRACE_FUNCTION_SPEC_B64"),
    ],
)
def test_an_environment_without_a_function_fails_when_the_worker_starts(environment, name, value, told):
    environment.setenv(name, value)
    with pytest.raises(SpecError) as raised:
        nuclio.init_context(make_context())
    assert told in str(raised.value)


def test_the_parent_writes_what_its_child_reads(environment):
    environment.setenv("MILLRACE_FUNCTION_SPEC_B64", encoded(PIPELINE))
    assert (found := ask()).status == 202
    assert list(json.loads(found.body)) == ["id"]


def test_the_context_says_which_worker_and_trigger_it_is(environment):
    environment.setenv("MILLRACE_FUNCTION_SPEC_B64", encoded(SPEC))
    nuclio.init_context(context := make_context(worker_id="3"))
    graph_context = context.user_data.millrace.engine.context
    assert (graph_context.worker_id, graph_context.trigger, graph_context.current_function) == (3, "http", "")


def test_a_message_that_must_stay_ends_the_worker_after_what_is_done_was_acknowledged(environment):
    environment.setenv("MILLRACE_FUNCTION_SPEC_B64", encoded(PIPELINE))
    environment.setenv("MILLRACE_CURRENT_FUNCTION", "child")
    codes, context = [], make_context()
    environment.setattr(nuclio, "_exit", codes.append)

    async def serve():
        nuclio.init_context(context)
        statuses = [sent(await nuclio.handler(context, message(b"%d" % n, offset=1 - n))).status for n in (1, 0)]
        await context.user_data.millrace_end
        await asyncio.sleep(0)
        return statuses

    assert asyncio.run(serve()) == [200, 503]
    assert (codes, context.user_data.millrace.acks.sent) == ([1], 1)


def test_the_log_goes_to_standard_error_and_leaves_out_what_the_wrapper_logs(capfd, environment):
    root = logging.getLogger()
    environment.setattr(root, "handlers", [])
    environment.setattr(root, "level", logging.WARNING)
    nuclio.set_up_logging()
    logging.getLogger("millrace.function.shop").info("loaded")
    logging.getLogger("nuclio_sdk").error("on the socket")
    out, err = capfd.readouterr()
    assert (out, "loaded" in err, "on the socket" in err) == ("", True, False)
