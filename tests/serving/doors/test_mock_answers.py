"""The answers of the mock server are those that a client has."""

import asyncio

import numpy as np
import pytest

import millrace

ARRAYS = {"outputs": np.array([1, 2]), "by": [np.float32(0.5)]}
FORM = "application/x-www-form-urlencoded"


def answers(body):
    function = millrace.new_function("f", kind="serving")
    function.set_topology("flow").to(name="x", handler=lambda _: body).respond()
    return function.to_mock_server()


def test_arrays_are_lists_for_test_and_atest():
    expected = {"outputs": [1, 2], "by": [0.5]}
    with answers(ARRAYS) as server:
        assert server.test() == asyncio.run(server.atest()) == expected


def test_emit_gives_the_objects_of_the_graph():
    with answers(ARRAYS) as server:
        assert server.emit(None) is ARRAYS


@pytest.mark.parametrize(("body", "expected"), [(b'{"x": 1}', {"x": 1}), (b"x=1", b"x=1")])
def test_a_form_that_is_json_is_taken_as_json_as_over_http(body, expected):
    function = millrace.new_function("f", kind="serving")
    function.set_topology("flow").to(name="x", handler="(event)").respond()
    with function.to_mock_server() as server:
        assert server.test(body=body, content_type=FORM) == expected
