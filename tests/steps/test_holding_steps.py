"""Batch and Merge by themselves: a step is told the time, so these tests need no graph and no clock."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.errors import InvalidInput, MergeIncomplete
from millrace.serving import MockEvent
from millrace.steps import Batch, Merge
from millrace.steps.base import Held


def held(body, inlet="a", event_id="e", key=""):
    event = MockEvent(body, event_id=event_id)
    event.key = key
    return Held(body, event, inlet)


def bodies(releases):
    return [release.body for release in releases]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=60), st.integers(1, 5))
def test_every_event_leaves_in_one_batch_of_its_key_in_order(events, size):
    batch, left = Batch(max_events=size, key_field="k"), []
    for number, (key, wait) in enumerate(events):
        left += batch.add(held({"k": key, "n": number}), float(number + wait))
    assert all(len(release.items) == size for release in left)
    left += batch.flush()
    for key in range(4):
        own = [item["n"] for release in left for item in release.body if item["k"] == key]
        assert own == [number for number, (one, _) in enumerate(events) if one == key]
    assert batch.flush() == []


def test_batch_leaves_at_its_size_or_its_time():
    batch = Batch(max_events=2, flush_after_seconds=5)
    assert (batch.add(held(1), 0.0), batch.next_deadline()) == ([], 5.0)
    assert (bodies(batch.expire(4.9)), bodies(batch.expire(5.0)), batch.next_deadline()) == ([], [[1]], None)
    batch.add(held(2), 6.0)
    assert bodies(batch.add(held(3), 7.0)) == [[2, 3]]


@pytest.mark.parametrize(
    ("key_field", "expected"),
    [("k", [[{"k": 1, "n": 1}, {"k": 1, "n": 3}], [{"k": 2, "n": 2}]]),
     ("$key", [[{"k": 1, "n": 1}], [{"k": 2, "n": 2}, {"k": 1, "n": 3}]]),
     (lambda event: 0, [[{"k": 1, "n": 1}, {"k": 2, "n": 2}, {"k": 1, "n": 3}]])],
)  # fmt: skip
def test_key_is_a_field_the_events_key_or_a_function(key_field, expected):
    batch = Batch(max_events=9, key_field=key_field)
    for body, key in (({"k": 1, "n": 1}, "x"), ({"k": 2, "n": 2}, "y"), ({"k": 1, "n": 3}, "y")):
        batch.add(held(body, key=key), 0.0)
    assert bodies(batch.flush()) == expected


def test_key_field_can_be_dropped_and_the_senders_body_stays():
    batch, body = Batch(max_events=1, key_field="k", drop_key_field=True), {"k": 1, "n": 2}
    assert (bodies(batch.add(held(body), 0.0)), body) == ([[{"n": 2}]], {"k": 1, "n": 2})


def test_batch_of_full_events_holds_events():
    (release,) = Batch(max_events=1, full_event=True).add(held(5), 0.0)
    assert release.body[0].body == 5


@pytest.mark.parametrize(
    "arguments", [{}, {"max_events": 0}, {"max_events": 1.5}, {"max_events": "2"}, {"flush_after_seconds": 0},
                  {"flush_after_seconds": "1"}, {"flush_after_seconds": float("nan")}]
)  # fmt: skip
def test_batch_without_a_limit_is_refused(arguments):
    with pytest.raises(ValueError, match=r"max_events|flush_after_seconds"):
        Batch(**arguments)


def merge(**arguments):
    step = Merge(**arguments)
    step.expects(["a", "b"])
    return step


def test_parts_are_joined_by_event_in_the_order_of_the_steps():
    step = merge()
    assert step.add(held("b1", "b", "1"), 0.0) == step.add(held("a2", "a", "2"), 0.0) == []
    assert bodies(step.add(held("a1", "a", "1"), 1.0)) == [["a1", "b1"]]
    assert bodies(step.add(held("b2", "b", "2"), 1.0)) == [["a2", "b2"]]
    assert (step.open_joins, step.next_deadline()) == (0, None)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 2)), max_size=60))
def test_every_part_leaves_once_with_one_of_the_other_side(parts):
    step, left = merge(key_path="k", max_behind=1_000), []
    for number, (inlet, key) in enumerate(parts):
        left += step.add(held({"k": key, "n": number}, inlet, str(number)), 0.0)
    for release in left:
        assert [item.inlet for item in release.items] == ["a", "b"]
        assert len({item.body["k"] for item in release.items}) == 1
    left += step.flush()
    assert sorted(item.body["n"] for release in left for item in release.items) == list(range(len(parts)))
    assert (step.open_joins, step.flush()) == (0, [])


def test_missing_part_is_named_when_the_time_is_over():
    step = merge(timeout_seconds=5)
    step.add(held("a1"), 1.0)
    assert (step.next_deadline(), step.expire(5.9)) == (6.0, [])
    (release,) = step.expire(6.0)
    assert isinstance(release.error, MergeIncomplete)
    assert "nothing came from b; 5 s are over" in str(release.error)


def test_missing_part_is_left_out_of_a_partial_join():
    step = merge(on_missing="partial")
    item = held("a1")
    step.add(item, 0.0)
    assert bodies(step.orphaned(item)) == [["a1"]]


def test_oldest_join_leaves_when_too_many_are_open():
    step = merge(max_behind=2)
    for number in range(2):
        step.add(held(number, event_id=str(number)), 0.0)
    (release,) = step.add(held(2, event_id="2"), 0.0)
    assert ([item.body for item in release.items], step.open_joins) == ([0], 2)


def test_joins_by_event_have_no_bound_of_their_own_and_joins_by_key_have_64():
    by_event, by_key = merge(), merge(key_path="k")
    for number in range(100):
        assert by_event.add(held({"k": number}, event_id=str(number)), 0.0) == []
        by_key.add(held({"k": number}, event_id=str(number)), 0.0)
    assert (by_event.open_joins, by_key.open_joins) == (100, 64)


def test_expected_number_of_events_counts_parts_from_anywhere():
    step = merge(expected_num_events=3)
    assert step.add(held(1), 0.0) == step.add(held(2), 0.0) == []
    assert bodies(step.add(held(3, "b"), 0.0)) == [[1, 2, 3]]


def test_join_by_key_does_not_end_with_one_of_its_events():
    step, item = merge(key_path="k"), held({"k": 1})
    step.add(item, 0.0)
    assert (step.orphaned(item), step.open_joins) == ([], 1)


def test_own_join_key_does_not_end_with_one_of_its_events():
    class ByTens(Merge):
        def get_join_key(self, event):
            return event.body // 10

    step, item = ByTens(), held(11)
    step.expects(["a", "b"])
    step.add(item, 0.0)
    assert step.orphaned(item) == []
    assert bodies(step.add(held(12, "b", "other"), 0.0)) == [[11, 12]]


def test_what_a_catcher_sends_stands_for_the_part_that_failed():
    step = merge()
    step.add(held("a1", "a"), 0.0)
    assert bodies(step.add(held("caught", "catcher"), 0.0)) == [["a1", "caught"]]


def test_merge_function_makes_the_body():
    class Sum(Merge):
        def merge_function(self, parts):
            return sum(parts)

    step = Sum()
    step.expects(["a", "b"])
    step.add(held(1, "a"), 0.0)
    assert bodies(step.add(held(2, "b"), 0.0)) == [3]


def test_unknown_on_missing_is_refused():
    with pytest.raises(ValueError, match=r"neither 'error' nor 'partial'"):
        Merge(on_missing="ignore")


@pytest.mark.parametrize("body", [{"n": 1}, {"k": []}, [1], None, 5])
def test_an_event_without_a_key_to_batch_by_is_the_clients_fault(body):
    batch = Batch(max_events=2, key_field="k", name="pairs")
    with pytest.raises(InvalidInput, match=r"step 'pairs': the body has no key 'k' \(key_field\)"):
        batch.add(held(body), 0.0)
    assert batch.flush() == []


@pytest.mark.parametrize(
    ("key_path", "full_event"),
    [("event['user']['id']", None), ("(event['user']['id'])", False), ("event.body['user']['id']", True),
     ("user.id", None), (lambda event: event.body["user"]["id"], None)],
)  # fmt: skip
def test_a_key_is_a_path_a_function_or_an_expression_as_mlrun_has_them(key_path, full_event):
    step = merge(key_path=key_path, full_event=full_event)
    assert step.get_join_key(held({"user": {"id": 7}}).event) == 7
    if not callable(key_path):
        with pytest.raises(InvalidInput, match="key_path"):
            step.get_join_key(held({"user": {}}).event)


@pytest.mark.parametrize(
    "arguments",
    [{"timeout_seconds": 0}, {"timeout_seconds": None}, {"timeout_seconds": "3"}, {"max_behind": 0}, {"key_path": ""},
     {"key_path": 5}, {"expected_num_events": -1}, {"expected_num_events": "2"}],
)  # fmt: skip
def test_a_join_that_could_never_be_is_refused(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Merge(**arguments)
