"""What the engine may be told about one step."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

import millrace
from millrace.errors import GraphError
from millrace.serving import StepOptions


class Patient:
    """A class with a parameter that is also an option of the engine."""

    def __init__(self, retries=0):
        self.retries = retries

    def do(self, body):
        return self.retries


@pytest.mark.parametrize(
    "bad",
    [{"execution": "threads"}, {"retries": -1}, {"retries": True}, {"backoff_seconds": -0.1}, {"timeout_seconds": 0},
     {"max_in_flight": 0}],
)  # fmt: skip
def test_an_option_out_of_range_is_refused_by_name(bad):
    with pytest.raises(GraphError, match=next(iter(bad))):
        StepOptions(**bad)


@pytest.mark.parametrize("bad", [{"retries": "2"}, {"timeout_seconds": "1"}, {"max_in_flight": 1.5}, {"share": "yes"}])
def test_an_option_of_another_type_is_refused_by_name(bad):
    with pytest.raises(GraphError, match=next(iter(bad))):
        StepOptions(**bad)


def test_an_unknown_option_has_near_names():
    with pytest.raises(GraphError, match="there is no step option 'retrys'; did you mean 'retries'"):
        StepOptions.from_dict({"retrys": 1})


def test_options_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        StepOptions().retries = 2


options = st.builds(
    StepOptions,
    execution=st.sampled_from([None, "inline", "thread", "process"]),
    retries=st.none() | st.integers(0, 9),
    backoff_seconds=st.none() | st.floats(0, 9),
    timeout_seconds=st.none() | st.floats(0.001, 9),
    max_in_flight=st.none() | st.integers(1, 9),
    share=st.none() | st.booleans(),
)


@given(options)
def test_options_come_back_from_a_dict(one):
    assert StepOptions.from_dict(one.given()) == one


@given(options, options)
def test_what_was_said_wins_over_what_is_laid_under_it(one, other):
    assert one.overlaid(other.given()).given() == {**other.given(), **one.given()}


def answer(**arguments):
    function = millrace.new_function("f")
    function.set_topology("flow").to(name="x", **arguments).respond()
    with function.to_mock_server() as server:
        return server.test(body=1)


def test_a_class_with_a_parameter_named_like_an_option_gets_it():
    assert answer(class_name=Patient, retries=3) == 3


def test_options_always_mean_the_engine():
    assert answer(class_name=Patient, options=StepOptions(retries=3)) == 0


def test_options_among_the_arguments_reach_a_step_of_a_function_a_class_and_an_object():
    tries = []

    def failing(body):
        tries.append(body)
        if len(tries) < 3:
            raise OSError
        return len(tries)

    assert answer(handler=failing, retries=2, backoff_seconds=0) == 3
    tries.clear()
    assert answer(class_name="storey.Map", fn=failing, retries=2, backoff_seconds=0) == 3
    tries.clear()
    assert answer(class_name=millrace.steps.Map(failing), retries=2, backoff_seconds=0) == 3
