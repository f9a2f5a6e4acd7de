"""Sending dead letters back: each once, and what happens when something breaks on the way."""

from __future__ import annotations

import asyncio
import doctest
import uuid
from collections.abc import Awaitable, Callable, Iterator

import pytest

from millrace.errors import QueueFull
from millrace.queues.base import Queue, Settings
from millrace.queues.memory_topic import MemoryTopic, forget
from millrace.queues.message import Message
from millrace.serving.doors import letters as module
from millrace.serving.doors.dead_letters import dead_letter
from millrace.serving.doors.letters import Only, Replay, letters


@pytest.fixture
def address() -> Iterator[str]:
    """An address before a name; what is made there is forgotten."""
    base = f"memory://{uuid.uuid4()}"
    yield base
    for name in ("dead", "orders"):
        forget(f"{base}-{name}")


async def bury(dead: Queue, origin: str, reasons: list[str]) -> None:
    message = Message(b"x", key=b"k", partition=0, offset=0)
    await dead.append([dead_letter(message, ValueError(reason), origin=origin, attempts=1) for reason in reasons])


def run(test: Callable[[Queue, Queue], Awaitable[None]], address: str, **origin: object) -> None:
    """Run a test with an open queue of dead letters and the origin."""

    async def main() -> None:
        settings = Settings(**origin)
        async with MemoryTopic(f"{address}-dead") as dead, MemoryTopic(f"{address}-orders", settings) as orders:
            await test(dead, orders)

    asyncio.run(main())


def test_letters_that_come_during_a_replay_are_left_for_the_next(address):
    async def test(dead: Queue, orders: Queue) -> None:
        await bury(dead, orders.url, ["a", "b"])

        class Failing(MemoryTopic):
            async def append(self, messages):
                await bury(dead, self.url, ["again"] * len(messages))
                return await super().append(messages)

        outcome = await Replay(dead, Failing).run()
        assert (outcome.replayed, await dead.lag(module.GROUP)) == (2, {0: 2})

    run(test, address)


def test_letters_whose_origin_takes_nothing_stay(address):
    async def test(dead: Queue, orders: Queue) -> None:
        await bury(dead, orders.url, ["a", "b"])
        with pytest.raises(QueueFull):
            await Replay(dead, MemoryTopic).run()
        assert [letter.is_replayed async for letter in letters(dead)] == [False, False]

    run(test, address, options={"max_messages": 1})


def test_more_gaps_than_a_group_can_note_are_told(address):
    async def test(dead: Queue, orders: Queue) -> None:
        # Every second letter: after some hundred gaps the note of 3,000 characters is full.
        await bury(dead, orders.url, ["odd", "even"] * 1_000)
        with pytest.raises(QueueFull, match="can note no more gaps"):
            await Replay(dead, MemoryTopic, only=Only(reason="even")).run()

    run(test, address)


def test_a_group_of_another_name_sends_all_again(address):
    async def test(dead: Queue, orders: Queue) -> None:
        await bury(dead, orders.url, ["a"])
        counts = [(await Replay(dead, MemoryTopic, group=group).run()).replayed for group in ("one", "one", "two")]
        assert counts == [1, 0, 1]

    run(test, address)


def test_progress_tells_how_many_were_sent(address):
    async def test(dead: Queue, orders: Queue) -> None:
        await bury(dead, orders.url, ["a"] * 1_200)
        told: list[int] = []
        await Replay(dead, MemoryTopic).run(told.append)
        assert told == [500, 1_000, 1_200]

    run(test, address)


def test_examples_in_docstrings_are_true():
    assert doctest.testmod(module).failed == 0
