"""The rules that divide partitions among members, without storage and clock."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millrace.queues.log_group import Group


def divided(group: Group, now: float = 0.0) -> Group:
    group.divide(now=now, handover_seconds=10.0)
    return group


def group_of(partitions: int, *members: str) -> Group:
    group = Group.of(partitions)
    for member in members:
        group.members.append(member)
        divided(group)
    return group


def give_up(group: Group, member: str) -> None:
    """The member releases what it was asked for."""
    asked = [p for p in group.owned(member) if group.leases[p].deadline is not None]
    group.release(member, {p: group.leases[p].epoch for p in asked})


def test_first_member_gets_everything() -> None:
    assert group_of(3, "a").owned("a") == [0, 1, 2]


def test_second_member_gets_half_when_the_first_gave_it_up() -> None:
    group = group_of(4, "a", "b")
    assert group.owned("b") == []
    give_up(group, "a")
    assert (divided(group).owned("a"), group.owned("b")) == ([0, 1], [2, 3])


def test_partition_is_taken_when_its_owner_does_not_give_it_up_in_time() -> None:
    group = group_of(2, "a", "b")
    assert divided(group, now=9.9).owned("b") == []
    assert divided(group, now=10.0).owned("b") == [1]


def test_former_owner_holds_nothing_in_the_new_epoch() -> None:
    group = group_of(1, "a")
    epoch = group.leases[0].epoch
    group.remove("a")
    group.members.append("b")
    divided(group)
    group.remove("b")
    group.members.append("a")
    divided(group)
    assert group.owned("a") == [0]
    assert not group.holds("a", 0, epoch)


def test_late_release_of_a_former_epoch_takes_nothing() -> None:
    group = group_of(1, "a")
    group.release("a", {0: group.leases[0].epoch - 1})
    assert group.owned("a") == [0]


def test_partitions_of_a_dead_member_go_to_the_living_at_once() -> None:
    group = group_of(2, "a", "b")
    group.remove("a")
    assert divided(group).owned("b") == [0, 1]


def test_member_keeps_what_it_was_asked_for_when_the_other_leaves_before() -> None:
    group = group_of(2, "a", "b")
    group.remove("b")
    divided(group)
    assert [lease.deadline for lease in group.leases] == [None, None]
    assert group.owned("a") == [0, 1]


def test_more_members_than_partitions_leave_some_without() -> None:
    group = group_of(1, "a", "b", "c")
    assert [len(group.owned(name)) for name in "abc"] == [1, 0, 0]
    assert group.leases[0].deadline is None


def test_group_comes_back_from_its_text() -> None:
    group = group_of(3, "a", "b")
    assert Group.parse(group.text) == group


actions = st.tuples(st.sampled_from(["join", "leave", "give up"]), st.sampled_from("abcde"))


@given(st.integers(1, 9), st.lists(actions, max_size=30))
def test_any_history_ends_divided_evenly_and_moves_no_more(partitions: int, history: list[tuple[str, str]]) -> None:
    group = Group.of(partitions)
    for action, member in [*history, ("join", "z")]:
        if action == "join" and member not in group.members:
            group.members.append(member)
        elif action == "leave":
            group.remove(member)
        else:
            give_up(group, member)
        divided(group)
    for member in group.members:
        give_up(group, member)
    counts = [len(divided(group).owned(member)) for member in group.members]
    assert sum(counts) == partitions and max(counts) - min(counts) <= 1
    assert divided(Group.parse(group.text)) == group
    assert all(lease.deadline is None for lease in group.leases)
