"""The completion: one answer, one end."""

from hypothesis import given
from hypothesis import strategies as st

from millrace.serving.engine.completion import Completion, JointCompletion
from millrace.steps import DROPPED

ACTIONS = st.lists(st.sampled_from(["hold", "release", "answer", "fail"]), max_size=30)


def recorded():
    story = []
    completion = Completion(lambda body, error: story.append(error or body), lambda _: story.append("end"))
    return completion, story


@given(ACTIONS)
def test_whatever_happens_there_is_one_answer_and_then_one_end(actions):
    completion, story = recorded()
    alive = 1
    for action in actions:
        if alive and action == "hold":
            completion.hold()
            alive += 1
        elif alive and action == "release":
            completion.release()
            alive -= 1
        elif alive and action == "answer":
            completion.answer("answer")
        elif alive:
            completion.fail(LookupError())
    for _ in range(alive):
        assert "end" not in story
        completion.release()
    assert (len(story), story[-1], completion.pending) == (2, "end", 0)


def test_without_an_answer_the_end_answers_that_the_event_was_dropped():
    completion, story = recorded()
    completion.release()
    assert story == [DROPPED, "end"]


def test_fail_says_whether_the_error_reached_the_caller():
    completion, _ = recorded()
    assert (completion.awaited, completion.fail(LookupError()), completion.fail(LookupError())) == (True, True, False)
    assert not completion.awaited


def test_joint_completion_answers_all_and_ends_one_descendant_of_each():
    (one, first), (two, second) = recorded(), recorded()
    two.hold()
    joint = JointCompletion([one, two, two], None)
    joint.answer("sum")
    joint.release()
    assert (first, second) == (["sum", "end"], ["sum", "end"])


def test_joint_completion_that_is_dropped_says_nothing_about_the_rest_of_its_parents():
    one, story = recorded()
    one.hold()
    JointCompletion([one], None).release()
    one.answer("later")
    assert story == ["later"]


def test_error_of_a_joint_completion_reaches_who_still_waits():
    (one, first), (two, second) = recorded(), recorded()
    one.answer("before")
    joint, error = JointCompletion([one, two], None), LookupError()
    assert (joint.awaited, joint.fail(error), joint.fail(error)) == (True, True, False)
    assert (first, second) == (["before"], [error])


def test_orphaned_is_told_when_all_that_is_alive_waits_in_joins():
    told = []
    completion = Completion(lambda *_: None, lambda _: None, told.append)
    completion.hold(2)
    completion.joining = completion.held = 1
    completion.release()
    assert told == []
    completion.release()
    assert told == [completion]
