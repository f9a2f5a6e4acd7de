"""Leases of the embedded log with a clock that the test sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from millrace.queues.base import Commit
from millrace.queues.log_groups import GroupSession, Timing, check_name, group_names, read_commits
from millrace.queues.log_store import Store


class Groups:
    """A store of groups at a time that the test sets; leases are 10 s, a hand-over 30 s."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.table = store.table("groups")
        self.now = 1_000.0

    def do(self, work: Callable[[GroupSession], Any], partitions: int = 2) -> Any:
        return self.store.write(
            lambda txn: work(GroupSession(txn, self.table, partitions, Timing(10.0, 30.0), lambda: self.now))
        )

    def owned(self, member: str) -> list[int]:
        found: list[int] = self.do(lambda session: session.load("g").owned(member))
        return found

    def renew(self, *members: str) -> None:
        for member in members:
            self.do(lambda session, member=member: session.renew("g", member))

    def commits(self) -> dict[int, Commit]:
        return self.store.read(lambda txn: read_commits(txn, self.table, "g"))


@pytest.fixture
def groups(tmp_path: Path) -> Iterator[Groups]:
    store = Store(tmp_path, map_bytes=1 << 20, durability="none")
    yield Groups(store)
    store.close()


def test_silent_member_is_taken_for_dead_after_its_lease(groups: Groups) -> None:
    groups.renew("a", "b")
    for groups.now in (1_004.0, 1_008.0):
        groups.renew("b")
    assert groups.owned("a") == [0, 1]
    groups.now = 1_010.0
    groups.renew("b")
    assert (groups.owned("a"), groups.owned("b")) == ([], [0, 1])


def test_member_that_renews_keeps_its_partitions(groups: Groups) -> None:
    groups.renew("a")
    for groups.now in range(1_000, 1_100, 9):
        groups.renew("a")
    assert groups.owned("a") == [0, 1]


def test_commit_of_a_member_that_lost_its_lease_is_ignored(groups: Groups) -> None:
    groups.renew("a")
    epoch = groups.do(lambda session: session.load("g").leases[0].epoch)
    groups.do(lambda session: session.commit("g", "a", {0: (epoch, Commit(5))}))
    groups.now += 11
    groups.renew("b")
    groups.do(lambda session: session.commit("g", "a", {0: (epoch, Commit(9))}))
    assert groups.commits() == {0: Commit(5)}


def test_zombie_that_comes_back_is_a_new_member(groups: Groups) -> None:
    groups.renew("a")
    groups.now += 11
    groups.renew("b")
    groups.renew("a")
    assert (groups.owned("a"), groups.owned("b")) == ([], [0, 1])


def test_member_that_was_held_up_itself_judges_nobody(groups: Groups) -> None:
    groups.renew("a", "b")
    groups.now += 60  # the whole machine stood still
    groups.renew("b")
    assert 0 in groups.owned("a")
    groups.now += 1
    groups.renew("b")  # the others had their chance
    assert groups.owned("a") == []


def test_leases_from_before_a_restart_of_the_machine_are_stale(groups: Groups) -> None:
    groups.renew("a")
    groups.now = 3.0  # the monotonic clock begins anew
    groups.renew("b")
    assert groups.owned("b") == [0, 1]


def test_groups_are_apart(groups: Groups) -> None:
    groups.do(lambda session: session.set_commit("g", 0, Commit(1)))
    groups.do(lambda session: session.set_commit("gg", 0, Commit(2)))
    groups.do(lambda session: session.set_commit("g", 300, Commit(3)))
    assert groups.commits() == {0: Commit(1), 300: Commit(3)}
    assert groups.store.read(lambda txn: group_names(txn, groups.table)) == ["g", "gg"]


def test_where_a_group_begins_is_set_once(groups: Groups) -> None:
    groups.do(lambda session: session.begin_at("g", {0: 7}))
    groups.do(lambda session: session.begin_at("g", {0: 9, 1: 9}))
    assert groups.commits() == {0: Commit(7), 1: Commit(9)}


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 401])
def test_name_that_can_be_no_group_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="a group's name has 1 to 400 bytes"):
        check_name(name)
