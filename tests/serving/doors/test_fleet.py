"""Several processes of one program: started together, started again, stopped together. Members are small scripts."""

import asyncio
import os
import signal
import sys

import pytest

from millrace.serving.doors import fleet as fleet_module
from millrace.serving.doors.fleet import Fleet, Member, ending

READY = """
import json, os, sys, time
place = json.loads(sys.argv[-1])
def tell(**told):
    os.write(place["ready_fd"], json.dumps(told).encode() + b"\\n")
tell(name=place["worker"])
"""
WAITS = READY + "sys.stdin.read()\n"


def member(code, number=0):
    return Member(f"m{number}", [sys.executable, "-c", code], number)


async def running(*members, during, drain_seconds=5.0, **options):
    """Run a fleet, do something once it is ready, stop it; the exit code."""
    ready = asyncio.Event()
    fleet = Fleet(list(members), drain_seconds=drain_seconds, on_ready=lambda told: ready.set(), **options)
    task = asyncio.create_task(fleet.run())
    async with asyncio.timeout(40):
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not task.done():
            await during(fleet)
            os.kill(os.getpid(), signal.SIGTERM)
        return await task


async def until(is_true):
    async with asyncio.timeout(20):
        while not is_true():
            await asyncio.sleep(0.005)


async def nothing(fleet):
    pass


def test_all_are_ready_when_each_has_told_and_a_signal_ends_them_with_0():
    async def during(fleet):
        assert [(one.told, one.state) for one in fleet.members] == [({"name": 0}, "runs"), ({"name": 1}, "runs")]

    members = [member(WAITS, 0), member(WAITS, 1)]
    assert asyncio.run(running(*members, during=during)) == 0
    assert [one.state for one in members] == ["ended", "ended"]


def test_member_that_dies_is_started_again_after_a_pause_that_doubles(monkeypatch, caplog):
    monkeypatch.setattr(fleet_module, "FIRST_BACKOFF_SECONDS", 0.01)

    async def during(fleet):
        (one,) = fleet.members
        for restarts in (1, 2):
            one.process.kill()
            await until(lambda: one.restarts == restarts and one.state == "runs")  # noqa: B023 - called at once

    assert asyncio.run(running(member(WAITS), during=during)) == 0
    assert [record.getMessage().partition("; ")[2] for record in caplog.records] == [
        "starting another in 0.01 s", "starting another in 0.02 s"]  # fmt: skip


def test_member_that_does_not_start_ends_all_and_says_how(capsys):
    assert asyncio.run(running(member(WAITS, 0), member("raise SystemExit(3)", 1), during=nothing)) == 1
    assert capsys.readouterr().err == "millrace: m1 did not start: it ended with exit code 3\n"


def test_what_a_member_started_ends_with_it():
    forks = READY + "child = os.fork()\nif child == 0:\n    time.sleep(60)\ntell(child=child)\nsys.stdin.read()\n"
    children = []

    async def during(fleet):
        (one,) = fleet.members
        await until(lambda: "child" in one.told)
        children.append(one.told["child"])
        os.kill(one.process.pid, signal.SIGKILL)
        await until(lambda: one.restarts == 1 and one.told.get("child") not in (None, children[0]))
        children.append(one.told["child"])

    assert asyncio.run(running(member(forks), during=during, on_output=lambda one, line: None)) == 0
    assert len(children) == 2 and not any(map(is_alive, children))


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_member_that_does_not_end_in_time_is_killed(monkeypatch):
    monkeypatch.setattr(fleet_module, "EXTRA_SECONDS", 0.1)
    deaf = READY + "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntell(deaf=1)\nsys.stdin.read()\n"

    async def during(fleet):
        await until(lambda: "deaf" in fleet.members[0].told)

    assert asyncio.run(running(member(deaf), during=during, drain_seconds=0.1)) == 0


def test_output_comes_by_lines_with_its_member_even_a_line_of_more_than_a_mebibyte():
    prints = READY + "print('one'); print('x' * 3_000_000); print('two', file=sys.stderr, flush=True)\nsys.stdin.read()"
    lines = []

    async def during(fleet):
        await until(lambda: "two" in [line for _, line in lines])

    printing = member(prints.replace("print('two'", "sys.stdout.flush(); print('two'"))
    assert asyncio.run(running(printing, during=during, on_output=lambda one, line: lines.append((one, line)))) == 0
    assert {one for one, _ in lines} == {printing} and "one" in [line for _, line in lines]
    assert sum(len(line) for _, line in lines) == 3_000_006


def test_fleet_ends_when_nobody_reads_its_output_any_more_and_members_that_print_are_not_blocked():
    prints = READY + "print('x' * 1_000_000, flush=True)\nsys.stdin.read()"

    def gone(one, line):
        raise BrokenPipeError

    assert asyncio.run(running(member(prints), during=forever, on_output=gone)) == 0


async def forever(fleet):
    await until(lambda: fleet.is_stopping)


def test_fleet_ends_when_nobody_hears_that_it_is_ready():
    def gone(told):
        raise BrokenPipeError

    async def main():
        async with asyncio.timeout(20):
            return await Fleet([member(WAITS)], drain_seconds=5, on_ready=gone).run()

    assert asyncio.run(main()) == 0


def test_what_a_member_tells_later_replaces_what_it_told_before():
    async def during(fleet):
        await until(lambda: fleet.members[0].told == {"done": 5})

    assert asyncio.run(running(member(READY + "tell(done=5)\nsys.stdin.read()"), during=during)) == 0


def test_first_ready_is_told_once_with_what_the_first_member_wrote():
    told = []

    async def main():
        fleet = Fleet([member(WAITS, 0), member(WAITS, 1)], drain_seconds=5, on_ready=told.append)
        task = asyncio.create_task(fleet.run())
        await until(lambda: told)
        os.kill(os.getpid(), signal.SIGINT)
        return await task

    assert asyncio.run(main()) == 0 and told == [{"name": 0}]


@pytest.mark.parametrize("code, words", [
    (0, "ended with exit code 0"), (-15, "was killed by SIGTERM"), (-64, "was killed by SIGRTMAX"),
    (-9, "was killed by SIGKILL (the system does so when memory is short)"), (-99, "was killed by signal 99"),
])  # fmt: skip
def test_how_a_process_ended_is_said_in_words(code, words):
    assert ending(code) == words
