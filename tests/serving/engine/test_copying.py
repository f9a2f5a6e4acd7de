"""The copy of a branch against copy.deepcopy."""

import copy
from datetime import UTC, datetime
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.serving.engine.copying import copy_body

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
BODIES = st.recursive(
    LEAVES,
    lambda part: st.lists(part) | st.dictionaries(st.text(), part) | st.tuples(part, part) | st.sets(st.integers()),
    max_leaves=30,
)


def mutable_parts(body):
    if isinstance(body, dict):
        yield id(body)
        for value in body.values():
            yield from mutable_parts(value)
    elif isinstance(body, (list, tuple)):
        if isinstance(body, list):
            yield id(body)
        for value in body:
            yield from mutable_parts(value)
    elif isinstance(body, set):
        yield id(body)


@given(BODIES)
def test_copy_equals_deepcopy_and_shares_nothing_mutable(body):
    other = copy_body(body)
    assert (other, type(other)) == (copy.deepcopy(body), type(body))
    assert not set(mutable_parts(body)) & set(mutable_parts(other))


def test_array_is_copied():
    body = {"array": np.arange(3), "rows": [np.zeros(2)]}
    other = copy_body(body)
    other["array"][0] = other["rows"][0][0] = 9
    assert (body["array"].tolist(), body["rows"][0].tolist()) == ([0, 1, 2], [0.0, 0.0])


def test_object_of_a_class_is_copied_deeply():
    body = SimpleNamespace(list=[1], when=datetime.now(UTC))
    other = copy_body([body])[0]
    other.list.append(2)
    assert (body.list, other.when) == ([1], body.when)


def test_body_that_holds_itself_is_copied():
    body: dict = {}
    body["self"] = body
    other = copy_body(body)
    assert other["self"] is other is not body


def test_subclass_of_dict_stays_what_it_is():
    class Own(dict):
        pass

    assert type(copy_body([Own(a=1)])[0]) is Own


@pytest.mark.parametrize("body", [5, "text", b"bytes", None, (1, 2), frozenset((1,))])
def test_immutable_body_is_not_copied(body):
    assert copy_body(body) is body
