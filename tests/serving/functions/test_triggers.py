"""Triggers in each notation: what feeds a function, on which port it answers, and what is wrong with them."""

import socket
import subprocess
import sys
import time

import pytest

import millrace
from millrace.errors import GraphError
from millrace.serving.doors.wiring import Wiring
from millrace.serving.functions.triggers import (
    cron_triggers,
    http_port,
    port_to_serve,
    stream_triggers,
    triggers_of,
)  # fmt: skip


def declared(*triggers, **calls):
    """The triggers of a function, as it keeps them."""
    function = millrace.new_function("shop")
    for number, trigger in enumerate(triggers):
        function.add_trigger(f"t{number}", trigger)
    for name, settings in calls.items():
        getattr(function, name)(**settings)
    return function.spec.triggers


def wires(*triggers, **calls):
    return stream_triggers(declared(*triggers, **calls), Wiring("shop", secret={"KEY": "s3cret"}.get))


@pytest.mark.parametrize("trigger, url", [
    ({"kind": "stream", "url": "log:///q/orders"}, "log:///q/orders"),
    ({"kind": "log", "path": "log:///q/orders"}, "log:///q/orders"),
    ({"kind": "stream", "url": "memory://orders"}, "memory://orders"),
    ({"kind": "kafka", "topics": ["orders"], "brokers": ["a:1", "b:2"]}, "kafka://a:1,b:2/orders"),
    ({"kind": "kafka", "topic": "orders", "kafka_brokers": "a:1"}, "kafka://a:1/orders"),
    ({"kind": "kafka-cluster", "attributes": {"topics": ["orders"], "brokers": ["a:1"]}}, "kafka://a:1/orders"),
    ({"kind": "v3io", "url": "v3io://host/projects/orders"}, "v3io://host/projects/orders"),
    ({"kind": "v3ioStream", "attributes": {"containerName": "projects", "streamPath": "/orders"}},
     "v3io:///projects/orders"),
    ({"kind": "v3ioStream", "url": "http://api:8081", "attributes": {"containerName": "projects", "streamPath": "o"}},
     "v3io+http://api:8081/projects/o"),
])  # fmt: skip
def test_stream_of_every_backend_is_found_in_each_notation(trigger, url):
    (wire,) = wires(trigger)
    assert wire.url == url and wire.name == "t0" and wire.group == "shop-consumer-group"


def test_several_topics_of_one_trigger_are_several_streams():
    found = wires({"kind": "kafka", "topics": ["one", "two"], "brokers": ["a:1"]})
    assert [wire.url for wire in found] == ["kafka://a:1/one", "kafka://a:1/two"]


def test_settings_in_nuclios_words_mean_what_those_of_a_queue_step_mean():
    attributes = {"topics": ["orders"], "brokers": ["a:1"], "consumerGroup": "g", "initialOffset": "latest",
                  "workerAllocationMode": "static", "sessionTimeout": "10s", "ackWindowSize": 10}  # fmt: skip
    (wire,) = wires({"kind": "kafka-cluster", "numWorkers": 4, "attributes": attributes})
    (same,) = wires({"kind": "stream", "url": "kafka://a:1/orders", "group": "g", "start": "latest"})
    assert wire == same and wire.group == "g" and wire.policy.start == "latest"


def test_policy_shards_retention_and_secrets_are_those_of_a_queue_step():
    (wire,) = wires({
        "kind": "stream", "url": "kafka://a:1/orders", "retries": 1, "on_failure": "stop", "max_in_flight": 7,
        "shards": 3, "retention_in_hours": 2, "secrets": {"ssl_password": "KEY"}, "dead_letters": "failed",
    })  # fmt: skip
    assert (wire.policy.retries, wire.policy.on_failure, wire.policy.max_in_flight) == (1, "stop", 7)
    assert (wire.settings.partitions, wire.settings.retention_seconds) == (3, 7200)
    assert wire.settings.options == {"ssl_password": "s3cret"} and wire.dead_letters == "kafka://a:1/failed"


def test_helper_of_mlrun_for_v3io_streams_declares_one():
    (wire,) = wires(add_v3io_stream_trigger={"stream_path": "v3io://host/projects/orders", "group": "my-group",
                                             "seek_to": "latest", "shards": 4})  # fmt: skip
    assert wire.url.endswith("/projects/orders") and wire.group == "my_group" and wire.policy.start == "latest"


@pytest.mark.parametrize("trigger, text", [
    ({"kind": "crom", "interval": "1s"}, r"trigger 't0': kind='crom' is none of .*; did you mean 'cron'\?"),
    ({"kind": "stream"}, r"trigger 't0': say which stream: url='log:///…', or topics= and brokers="),
    ({"kind": "stream", "url": "log:///q/o", "retires": 1}, r"has no setting 'retires'; did you mean 'retries'\?"),
    ({"kind": "stream", "url": "log:///q/o", "attributes": {"maxRetries": 1}}, "has no setting 'maxRetries'"),
    ({"kind": "stream", "url": "kafak://a/o"}, r"trigger 't0': 'kafak://a/o': there are no queues 'kafak://'"),
    ({"kind": "stream", "url": "log:///q/o", "shards": "2"}, "shards='2' must be a whole number over 0"),
    ({"kind": "kafka", "topics": ["o"], "brokers": ["a:1"], "access_key": "s"}, "must not stand in the graph"),
])  # fmt: skip
def test_wrong_stream_trigger_is_an_error_that_names_it(trigger, text):
    with pytest.raises(GraphError, match=text):
        wires(trigger)


def test_trigger_that_is_disabled_does_nothing():
    assert triggers_of(declared({"kind": "cron", "interval": "1s", "disabled": True})) == []


def test_trigger_that_nuclio_alone_can_read_is_said_to_do_nothing(caplog):
    assert wires({"kind": "nats", "url": "nats://broker:4222"}) == []
    assert "trigger 't0' does nothing here: Nuclio alone can read nats" in caplog.text


def test_cron_is_the_same_flat_and_in_nuclios_words():
    event = {"body": "hello", "headers": {"X": "1"}, "path": "/clean"}
    (flat,) = cron_triggers(declared({"kind": "cron", "interval": "10s", **event}))
    (nested,) = cron_triggers(declared({"kind": "cron", "attributes": {"interval": "10s", "event": event}}))
    assert flat == nested and (flat.body, flat.headers, flat.path) == ("hello", {"X": "1"}, "/clean")


@pytest.mark.parametrize("settings, text", [
    ({"intervall": "1s"}, r"trigger 't0' has no setting 'intervall'; did you mean 'interval'\?"),
    ({}, "give either interval="),
    ({"schedule": "never"}, "'never' is no cron expression"),
])  # fmt: skip
def test_wrong_cron_trigger_is_an_error_that_names_it(settings, text):
    with pytest.raises(GraphError, match=text):
        cron_triggers(declared({"kind": "cron", **settings}))


def test_port_is_the_one_asked_for_then_the_triggers_then_8080():
    web = declared({"kind": "http", "port": 8090})
    assert [port_to_serve(web, port) for port in (None, 0, 7000)] == [8090, 0, 7000]
    assert port_to_serve(declared({"kind": "http", "attributes": {"port": 31000}}), None) == 31000
    assert port_to_serve(declared(), None) == 8080 and port_to_serve(declared(with_http={"workers": 2}), None) == 8080


@pytest.mark.parametrize("given, port", [({}, 8090), ({"port": 8091}, 8091)])
def test_function_that_serves_itself_takes_the_port_of_its_trigger_unless_told_another(monkeypatch, given, port):
    served = []
    monkeypatch.setattr("millrace.serving.doors.http_run.run", lambda *_, settings, **__: served.append(settings.port))
    function = millrace.new_function("shop")
    function.set_topology("flow").to(name="work", handler="(event)").respond()
    function.add_trigger("web", {"kind": "http", "port": 8090}).serve(**given)
    assert served == [port]


def test_http_trigger_without_a_port_takes_a_free_one_and_a_wrong_one_is_an_error():
    assert http_port(declared()) is None and http_port(declared({"kind": "http"})) == 0
    with pytest.raises(GraphError, match="trigger 't0': port=70000 is no port"):
        http_port(declared({"kind": "http", "port": 70000}))


def test_triggers_are_the_same_after_yaml(tmp_path):
    function = millrace.new_function("shop")
    function.set_topology("flow").to(name="echo", handler="(event)")
    function.add_trigger("tick", {"kind": "cron", "schedule": "*/5 * * * *", "body": {"x": 1}})
    function.add_trigger("in", {"kind": "stream", "url": "log:///q/orders", "retries": 1})
    (tmp_path / "f.yaml").write_text(function.to_yaml())
    assert millrace.import_function(str(tmp_path / "f.yaml")).spec.triggers == function.spec.triggers


SERVED = """
import os, pathlib, millrace
HERE = pathlib.Path(__file__).parent

def work(event):
    with open(HERE / "seen", "a") as file:
        file.write(f"{event} {os.getpid()}\\n")

function = millrace.new_function("shop")
function.set_topology("flow").to(name="work", handler=work)
function.add_trigger("web", {"kind": "http", "port": PORT})
function.add_trigger("tick", {"kind": "cron", "interval": "30ms", "body": "tick"})
"""


def test_serve_takes_the_port_of_the_trigger_and_only_one_of_its_workers_has_the_clock(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (tmp_path / "function.py").write_text(SERVED.replace("PORT", str(port)))
    command = [sys.executable, "-m", "millrace", "serve", "function.py", "--workers", "2"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert f"http://127.0.0.1:{port} (2 workers)" in process.stdout.readline()
        end = time.monotonic() + 20
        while len(lines := lines_of(tmp_path / "seen")) < 20:
            assert time.monotonic() < end
            time.sleep(0.01)
        process.terminate()
        assert process.wait(20) == 0
    assert len({*lines}) == 1 and lines[0].startswith("tick ")


AWAY = """
function.add_trigger("in", {"kind": "kafka", "topics": ["t"], "brokers": ["127.0.0.1:1"],
                            "options": {"connect_timeout_seconds": 1}})
"""


def lines_of(file):
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("code, options, text", [
    (SERVED, ["--function", "billing"], "function 'shop' has no child function 'billing'; there are none"),
    (SERVED.replace("30ms", "30"), [], "trigger 'tick': '30' is no interval such as '10s'"),
    (SERVED + "function.add_trigger('in', {'kind': 'stream', 'url': f'log://{__file__}/q'})", [],
     "'in' can not be opened: log://"),
    (SERVED + AWAY, [], "'in' can not be opened: kafka://127.0.0.1:1/t: no broker answers"),
])  # fmt: skip
def test_serve_says_in_one_line_what_keeps_it_from_starting(tmp_path, code, options, text):
    (tmp_path / "function.py").write_text(code.replace("PORT", "0"))
    command = [sys.executable, "-m", "millrace", "serve", "function.py", "--port", "0", *options]
    ended = subprocess.run(command, check=False, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    (line,) = ended.stderr.splitlines()
    assert ended.returncode in (1, 2) and line.startswith("millrace: ") and text in line
