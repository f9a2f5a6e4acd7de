"""Expressions of steps are Python with a few names, checked before the first event."""

import datetime

import numpy as np
import pytest

from millrace.errors import GraphError
from millrace.steps.expressions import compile_expression, is_expression


@pytest.mark.parametrize(
    ("text", "body", "expected"),
    [
        ("(event)", 5, 5),
        ("(event['x'] > 1)", {"x": 2}, True),
        (" ( event + 1 ) ", 1, 2),
        ("(event[0]) + (event[1])", [1, 2], 3),
        ("(event), (1)", 0, (0, 1)),
        ("(json.loads(event))", "[1]", [1]),
        ("(math.sqrt(event))", 9.0, 3.0),
        ("(re.findall('[0-9]+', event))", "a1b22", ["1", "22"]),
        ("(datetime.date(2024, 1, event).isoformat())", 2, "2024-01-02"),
        ("(datetime.datetime.fromtimestamp(0, datetime.timezone.utc).year)", None, 1970),
        ("([x * y for x in event for y in range(x)])", [1, 2], [0, 0, 2]),
        ("((lambda a, *b, **c: a)(event))", 1, 1),
        ("(n if (n := event) else None)", 3, 3),
        ("(sorted(event, key=len))", ["aa", "b"], ["b", "aa"]),
        ("(\n  event  # a comment\n)", 1, 1),
    ],
)
def test_an_expression_is_a_function_of_the_body(text, body, expected):
    assert is_expression(text)
    assert compile_expression(text, step="s")(body) == expected


def test_np_is_numpy():
    result = compile_expression("(np.mean(event))", step="s")([1, 2, 6])
    assert result == np.mean([1, 2, 6])


def test_datetime_is_the_module():
    assert compile_expression("(datetime)", step="s")(None) is datetime


@pytest.mark.parametrize("name", ["double", "json.loads", "", "a (b)"])
def test_a_name_is_no_expression(name):
    assert not is_expression(name)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(event", r"must start with '\(' and end with '\)'"),
        ("(event +)", "is not Python"),
        ("(event))", "is not Python"),
        ("(x = 1)", "is not Python"),
        ("(event\0)", "is not Python"),
        ("(import os)", "is not Python"),
        ("(os.remove(event))", r"uses 'os', which it does not see; it sees event, json, math, re, datetime, np"),
        ("(evnt + 1)", "uses 'evnt', which it does not see; did you mean 'event'"),
        ("(pd.DataFrame(event))", "uses 'pd'"),
    ],
)
def test_an_expression_with_a_fault_is_refused_with_the_step(text, words):
    with pytest.raises(GraphError, match=f"step 'shop/s': .*{words}"):
        compile_expression(text, step="shop/s")


def test_nothing_of_an_expression_runs_before_an_event_comes(tmp_path):
    file = tmp_path / "made"
    compile_expression(f"(event), (open({str(file)!r}, 'w'))", step="s")
    assert not file.exists()


@pytest.mark.parametrize("text", ["(await event)", f"({'-' * 5000}1)"], ids=["await", "too deep"])
def test_what_only_the_compiler_refuses_is_an_error_that_names_the_step(text):
    with pytest.raises(GraphError, match=r"step 's': the expression .* is not Python"):
        compile_expression(text, step="s")
