"""The context: what a step may ask of the function that it runs in."""

import json
import logging
import pickle

import pytest

import millrace
from millrace.errors import GraphError
from millrace.serving import Event, GraphContext, Response


def test_parameters_of_the_function_have_defaults():
    context = GraphContext(parameters={"threshold": 3, "none": None})
    assert (context.get_param("threshold"), context.get_param("x"), context.get_param("x", 1)) == (3, None, 1)
    assert context.get_param("none", 1) is None


def test_a_step_sees_the_functions_context():
    def look(body, context):
        return [context.name, context.current_function, context.is_mock, context.verbose, context.get_param("a")]

    function = millrace.new_function("my_shop").with_parameters(a=1)
    function.set_topology("flow").to(name="x", handler=look).respond()
    server = function.to_mock_server(verbose=True)
    assert server.test(body=1) == ["my-shop", "*", True, True, 1]
    assert server.context.root is function.graph and server.context.server is server


def test_a_step_answers_with_the_contexts_response():
    def teapot(body, context):
        return context.Response(body="short and stout", status_code=418, headers={"x": "y"})

    function = millrace.new_function("f")
    function.set_topology("flow").to(name="x", handler=teapot).respond()
    answer = function.to_mock_server().test(body=1, silent=True)
    assert isinstance(answer, Response)
    assert (answer.status_code, answer.body, answer.headers) == (418, "short and stout", {"x": "y"})


def test_the_logger_takes_fields_and_texts_with_percent_signs(caplog):
    logger = GraphContext(name="shop").logger
    with caplog.at_level(logging.DEBUG):
        logger.info("loaded", model="m1", rows=5)
        logger.warning("%s of %d", "a", 3, share="50%")
        logger.info_with("with fields", x=1)
    assert [one.getMessage() for one in caplog.records] == [
        "loaded model='m1' rows=5", "a of 3 share='50%'", "with fields x=1",
    ]  # fmt: skip
    assert caplog.records[0].name == "millrace.function.shop"


def test_the_logger_names_the_users_line(caplog):
    GraphContext().logger.warning("here")
    assert caplog.records[0].pathname == __file__


def test_push_error_writes_a_record_to_the_error_stream():
    def complain(body, context):
        context.push_error(Event({"x": 1}, event_id="e1"), "not good", "x", hint=["why"])
        return body

    function = millrace.new_function("f")
    function.spec.error_stream = "log:///errors"
    function.set_topology("flow").to(name="x", handler=complain).respond()
    with function.to_mock_server() as server:
        server.test(body=1)
        (message,) = server.queue("error_stream").messages
    record = json.loads(message.value)
    assert (record["event"], record["message"], record["source"]) == ({"id": "e1", "body": {"x": 1}}, "not good", "x")
    assert (record["function_uri"], record["args"]) == ("f", {"hint": ["why"]})


def test_push_error_without_a_stream_goes_to_the_log(caplog):
    GraphContext().push_error(Event(1, event_id="e1"), "not good", "x")
    assert "step x: not good (event e1)" in caplog.text


def test_a_store_is_asked_once_unless_told_otherwise():
    asked = []
    context = GraphContext()
    context.add_store("store", lambda uri: asked.append(uri) or len(asked))
    assert [context.get_store_resource("store://a"), context.get_store_resource("store://a")] == [1, 1]
    assert context.get_store_resource("store://a", use_cache=False) == 2


def test_an_address_that_no_store_serves_says_which_there_are():
    context = GraphContext()
    context.add_store("store", str)
    with pytest.raises(GraphError, match=r"no store serves 'v3io://a' \(known: store://\)"):
        context.get_store_resource("v3io://a")


def test_the_context_crosses_to_other_processes_with_parameters_and_secrets():
    context = GraphContext(name="f", parameters={"a": 1})
    context.secrets.add("inline", {"TOKEN": "value"})
    other = pickle.loads(pickle.dumps(context))
    assert (other.name, other.get_param("a"), other.get_secret("TOKEN")) == ("f", 1, "value")
