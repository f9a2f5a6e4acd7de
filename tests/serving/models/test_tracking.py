"""Tracking records: true, in plain data, and without any effect on what the client is answered."""

import logging
from typing import Any

import numpy as np
import orjson
import pytest

import millrace
from millrace.serving import FakeClock, V2ModelServer


class Echo(V2ModelServer):
    """Gives back its inputs."""

    def predict(self, request):
        return request["inputs"]


def tracked(class_name: Any = Echo, sink: Any = None, percentage: float = 100, **arguments: Any) -> Any:
    """A server whose model m1:2 is tracked, the records, and the clock."""
    records: list[dict[str, Any]] = []
    clock = FakeClock()
    function = millrace.new_function("models", kind="serving")
    function.set_topology("router")
    function.add_model("m1:2", class_name=class_name, model=True, **arguments)
    server = function.to_mock_server(clock=clock)
    server.context.tracking_sink = sink or records.append
    server.context.sampling_percentage = percentage
    return server, records, clock


PATH = "/v2/models/m1/versions/2/infer"


def test_a_record_says_who_was_asked_what_and_what_it_answered():
    server, records, _ = tracked()
    server.test(PATH, {"inputs": [5], "id": "q1"})
    (record,) = records
    assert record["request"] == {"id": "q1", "inputs": [5]}
    assert record["resp"] == {"outputs": [5]}
    names = ("class", "model", "version", "op", "function_uri", "sampling_percentage")
    assert [record[name] for name in names] == ["Echo", "m1", "2", "infer", "models", 100]
    assert "error" not in record and record["when"].endswith("+00:00")


@pytest.mark.parametrize("is_async", [False, True])
def test_microseconds_count_whole_seconds_too(is_async):
    class Slow(Echo):
        def predict(self, request):
            clock.advance(2.25)
            return [1]

    class SlowLater(Slow):
        async def predict(self, request):
            return super().predict(request)

    server, records, clock = tracked(SlowLater if is_async else Slow)
    server.test(PATH, {"inputs": [1]})
    assert records[0]["microsec"] == 2_250_000


def test_a_failure_is_recorded_with_what_was_asked():
    class Fails(Echo):
        def predict(self, request):
            raise LookupError("gone")

    server, records, _ = tracked(Fails, percentage=0.0001)
    assert server.test(PATH, {"inputs": [5]}, silent=True).status_code == 500
    assert (records[0]["error"], records[0]["request"]["inputs"]) == ("LookupError: gone", [5])
    assert "resp" not in records[0]


def test_metrics_and_labels_are_in_the_record():
    class Measures(Echo):
        def predict(self, request):
            self.labels["team"] = "iris"
            self.set_metric("rows", len(request["inputs"]))
            return request["inputs"]

    server, records, _ = tracked(Measures)
    server.test(PATH, {"inputs": [5, 6]})
    assert (records[0]["metrics"], records[0]["labels"]) == ({"rows": 2}, {"team": "iris"})


def test_logged_results_choose_what_is_recorded_and_change_no_answer():
    class Chooses(Echo):
        def logged_results(self, request, response, op):
            response["outputs"].clear()
            request["inputs"].append("spoilt")
            return [[op]], None

    server, records, _ = tracked(Chooses)
    assert server.test(PATH, {"inputs": [5]})["outputs"] == [5]
    assert (records[0]["request"]["inputs"], records[0]["resp"]["outputs"]) == ([["infer"]], [5])


def test_sampling_records_some_requests_and_answers_all():
    server, records, _ = tracked(percentage=30)
    answers = [server.test(PATH, {"inputs": [x]})["outputs"] for x in range(500)]
    assert answers == [[x] for x in range(500)]
    assert 80 < len(records) < 230  # 150 expected; the chance to be outside is below 1e-10


@pytest.mark.parametrize(
    ("inputs", "recorded"),
    [
        ([{"name": "x", "shape": [2], "datatype": "FP32", "data": [1.5, 2.5]}], [1.5, 2.5]),
        ([{"name": name, "shape": [1], "datatype": "INT64", "data": [1]} for name in "ab"], {"a": [1], "b": [1]}),
        ([np.int64(3)], [3]),
    ],
    ids=["one tensor", "two tensors", "scalars"],
)
def test_arrays_become_lists_in_records(inputs, recorded):
    server, records, _ = tracked()
    server.test(PATH, {"inputs": inputs})
    assert orjson.loads(orjson.dumps(records[0]))["request"]["inputs"] == recorded


def test_what_json_can_not_say_is_recorded_as_text():
    server, records, _ = tracked()
    answer = server.test("/", b"pixels", content_type="image/png")
    assert answer["outputs"][0].read() == b"pixels"
    assert "BytesIO" in records[0]["request"]["inputs"][0]


def test_a_record_does_not_change_with_what_was_recorded():
    rows = [[1]]
    server, records, _ = tracked()
    server.test(PATH, {"inputs": rows})
    rows[0].append(2)
    assert records[0]["request"]["inputs"] == [[1]]


def test_a_stream_that_fails_is_logged_and_the_answer_stays(caplog):
    def full(record):
        raise BufferError("the stream is full")

    server, _, _ = tracked(sink=full)
    with caplog.at_level(logging.ERROR):
        assert server.test(PATH, {"inputs": [5]})["outputs"] == [5]
    assert "a tracking record could not be written" in caplog.text


def test_secrets_are_masked_in_recorded_errors():
    class Leaks(Echo):
        def predict(self, request):
            raise LookupError(f"no user with {self.context.get_secret('TOKEN')}")

    records: list[dict[str, Any]] = []
    function = millrace.new_function("models", kind="serving").with_secrets("inline", {"TOKEN": "s3cret-value"})
    function.set_topology("router")
    function.add_model("m1", class_name=Leaks, model=True)
    server = function.to_mock_server()
    server.context.tracking_sink = records.append
    response = server.test("/v2/models/m1/infer", {"inputs": [5]}, silent=True)
    assert "s3cret-value" not in records[0]["error"] + str(response.body)


def test_requests_to_a_model_that_is_made_already_are_recorded():
    function = millrace.new_function("models", kind="serving").set_tracking()
    function.set_topology("router")
    function.add_model("m1", class_name=Echo(model=True))
    with function.to_mock_server() as server:
        server.test("/v2/models/m1/infer", {"inputs": [5]})
        messages = server.queue("tracking_stream").messages
    assert [orjson.loads(message.value)["model"] for message in messages] == ["m1"]
