"""``millrace dead-letters``, on every backend."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from millrace.errors import StepError
from millrace.queues.address import open_queue
from millrace.queues.base import Settings
from millrace.queues.message import Message
from millrace.serving.cli.main import run
from millrace.serving.doors.dead_letters import dead_letter

sys.path.append(str(Path(__file__).parents[2] / "queues"))

from kafka_broker import new_group, new_topic, real
from v3io_emulator import Emulator


@pytest.fixture(params=["log", "v3io"])
def dead(request, tmp_path, monkeypatch):
    """A queue with two dead letters of ``orders``, one from the step ``enrich``."""
    monkeypatch.setenv("V3IO_ACCESS_KEY", "secret")
    with Emulator() as platform:
        container = f"v3io+http://{platform.host}/projects" if request.param == "v3io" else f"log://{tmp_path}"
        address = f"{container}/dead"
        asyncio.run(bury(address, origin_of(address)))
        yield address


def origin_of(dead: str) -> str:
    return f"{dead.removesuffix('dead')}orders"


async def bury(dead: str, origin: str) -> None:
    one = Settings(partitions=1)
    async with await open_queue(origin, one) as orders, await open_queue(dead, one) as letters:
        kept = await orders.append([Message(b"%d" % n, b"k", {"content-type": "text/plain"}) for n in range(2)])
        errors = [StepError("failed", step="enrich"), ValueError("no number")]
        errors[0].__cause__ = TimeoutError("3 s")
        for message, error in zip(kept, errors, strict=True):
            await letters.append([dead_letter(message, error, origin=origin, attempts=4)])


def orders(dead: str) -> list[Message]:
    """What the origin holds after the two original messages."""

    async def read() -> list[Message]:
        async with await open_queue(origin_of(dead)) as queue:
            return (await queue.read(0, 0))[2:]

    return asyncio.run(read())


def told(capsys) -> str:
    return capsys.readouterr().out


def test_list_is_a_table_of_origin_step_attempts_and_reason(dead, capsys):
    assert run(["dead-letters", "list", dead]) == 0
    header, first, second = told(capsys).splitlines()
    first_offset = 1 if dead.startswith("v3io") else 0
    assert header.split() == ["time", "origin", "at", "step", "attempts", "reason"]
    assert first.split()[2:] == [origin_of(dead), f"0:{first_offset}", "enrich", "4", "TimeoutError:", "failed"]
    assert second.split()[3:] == [f"0:{first_offset + 1}", "-", "4", "ValueError:", "no", "number"]


def test_list_as_json_is_a_line_for_each_letter(dead, capsys):
    assert run(["dead-letters", "list", dead, "--json", "--last", "1"]) == 0
    letter = json.loads(told(capsys))
    assert (letter["reason"], letter["value"], letter["is_replayed"]) == ("ValueError: no number", "1", False)


def test_replay_puts_the_messages_back_as_they_were(dead, capsys):
    assert run(["dead-letters", "replay", dead]) == 0
    assert told(capsys) == "2 dead letters sent back\n"
    back = [(message.value, message.key, message.headers) for message in orders(dead)]
    assert back == [(b"0", b"k", {"content-type": "text/plain"}), (b"1", b"k", {"content-type": "text/plain"})]


def test_second_replay_repeats_nothing(dead, capsys):
    assert [run(["dead-letters", "replay", dead]) for _ in range(2)] == [0, 0]
    assert told(capsys).splitlines()[-1] == "0 dead letters sent back"
    assert len(orders(dead)) == 2


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
def test_second_replay_repeats_nothing_on_kafka(client, capsys):
    real()  # the mock can not set a group's place
    url = f"{new_topic()}-dead"
    asyncio.run(bury(url, origin_of(url)))
    command = ["dead-letters", "replay", url, "--group", new_group(), "--option", f"client={client}"]
    assert [run([*command, "--only", "step=enrich"]), run(command), run(command)] == [0, 0, 0]
    shown = [line for line in told(capsys).splitlines() if "sent back" in line]
    assert shown == ["1 dead letter sent back", "1 dead letter sent back", "0 dead letters sent back"]
    assert [message.value for message in orders(url)] == [b"0", b"1"]


def test_letters_that_were_sent_back_are_listed_only_with_all(dead, capsys):
    run(["dead-letters", "replay", dead])
    capsys.readouterr()
    assert run(["dead-letters", "list", dead]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "0 dead letters, 2 more were sent back (--all shows them)\n")
    assert run(["dead-letters", "list", dead, "--all"]) == 0
    assert len(told(capsys).splitlines()) == 3


@pytest.mark.parametrize(
    ("only", "value"),
    [("step=enrich", b"0"), ("step=", b"1"), ("reason=timeout", b"0"), ("reason=NO NUMBER", b"1")],
)
def test_only_some_are_sent_back_and_the_others_stay_for_later(dead, only, value, capsys):
    assert run(["dead-letters", "replay", dead, "--only", only]) == 0
    assert told(capsys).splitlines()[1] == "1 stay, as they are not what --only says"
    assert [message.value for message in orders(dead)] == [value]
    assert run(["dead-letters", "replay", dead]) == 0
    assert sorted(message.value for message in orders(dead)) == [b"0", b"1"]


def test_letters_can_be_sent_to_another_topic(dead, capsys, tmp_path):
    async def make() -> None:
        async with await open_queue(f"log://{tmp_path}/else", Settings(partitions=1)):
            pass

    asyncio.run(make())
    assert run(["dead-letters", "replay", dead, "--to", f"log://{tmp_path}/else"]) == 0
    assert run(["queue", "show", f"log://{tmp_path}/else"]) == 0
    assert f"log://{tmp_path}/else: 2 messages" in told(capsys)
    assert orders(dead) == []


def test_messages_that_are_no_dead_letters_stay(tmp_path, capsys):
    async def make() -> None:
        async with await open_queue(f"log://{tmp_path}/q") as queue:
            await queue.append([Message(b"x")])

    asyncio.run(make())
    assert run(["dead-letters", "replay", f"log://{tmp_path}/q"]) == 0
    left = "left there: 1 message without a dead letter's headers"
    assert told(capsys).splitlines() == ["0 dead letters sent back", left]


def test_an_origin_that_is_gone_is_not_made_and_the_letters_stay(tmp_path, capsys):
    async def make() -> None:
        async with await open_queue(f"log://{tmp_path}/dead") as queue:
            letter = dead_letter(Message(b"x"), ValueError(""), origin=f"log://{tmp_path}/gone", attempts=1)
            await queue.append([letter])

    asyncio.run(make())
    assert run(["dead-letters", "replay", f"log://{tmp_path}/dead"]) == 1
    assert f"there is no topic log://{tmp_path}/gone" in capsys.readouterr().err
    assert run(["dead-letters", "list", f"log://{tmp_path}/dead"]) == 0
    assert len(told(capsys).splitlines()) == 2


def test_a_wrong_filter_is_told_in_one_line(dead, capsys):
    assert run(["dead-letters", "replay", dead, "--only", "enrich"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line == "millrace: 'enrich' is no filter of dead letters; write step=NAME or reason=TEXT, each once"


@pytest.mark.parametrize("action", ["list", "replay"])
def test_each_action_has_help_with_an_example(action, capsys):
    assert run(["dead-letters", action, "--help"]) == 0
    assert f"example:\n  millrace dead-letters {action} " in told(capsys)
