"""The watermark: beside a model that keeps every offset."""

from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.queues.base import Commit
from millrace.serving.doors.watermark import Watermark


@settings(max_examples=300, deadline=None)
@given(st.sets(st.integers(0, 60)), st.randoms(use_true_random=False), st.integers(0, 60))
def test_watermark_is_the_first_delivered_offset_that_is_not_done(offsets, random, stop):
    marks, delivered, done = Watermark(Commit(0)), [], set()
    todo = sorted(offsets)
    for _ in range(stop):
        if todo and random.random() < 0.6:
            assert marks.deliver(todo[0])
            delivered.append(todo.pop(0))
        elif len(delivered) > len(done):
            offset = random.choice([one for one in delivered if one not in done])
            marks.finish(offset)
            done.add(offset)
    open_ = [one for one in delivered if one not in done]
    expected = open_[0] if open_ else (delivered[-1] + 1 if delivered else 0)
    assert marks.commit == Commit(expected, frozenset(one for one in done if one > expected))


@given(st.sets(st.integers(1, 20)), st.integers(21, 25))
def test_restart_runs_exactly_what_was_not_done(done, end):
    marks = Watermark(Commit(0, frozenset(done)))
    ran = [offset for offset in range(end) if marks.deliver(offset)]
    assert ran == [offset for offset in range(end) if offset not in done]
    for offset in ran:
        marks.finish(offset)
    assert marks.commit == Commit(end)


def test_offset_that_comes_twice_is_run_once():
    marks = Watermark(Commit(5))
    assert [marks.deliver(offset) for offset in (4, 5, 5, 6)] == [False, True, False, True]


def test_done_offsets_that_retention_deleted_are_forgotten():
    marks = Watermark(Commit(0, frozenset({3, 5})))
    assert marks.deliver(10)
    marks.finish(10)
    assert marks.commit == Commit(11)
