"""Dead letters again: what lies in a queue of them, and sending them back to where they came from.

A group of their own remembers which were sent back, so that a second replay repeats none of them.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Self

from ...errors import BadRequest, QueueFull
from ...queues.base import Commit, Queue
from ...queues.message import Message
from ...queues.tools import batches
from .dead_letters import (
    ATTEMPTS,
    ERROR_TEXT,
    ERROR_TYPE,
    ORIGIN,
    ORIGIN_OFFSET,
    ORIGIN_PARTITION,
    STEP,
    original,
)
from .watermark import Watermark

GROUP = "millrace-replay"
Open = Callable[[str], "Queue"]


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter.

    :param message: as it lies in the queue of dead letters
    :param is_replayed: whether it was sent back already
    """

    message: Message
    is_replayed: bool

    @property
    def origin(self) -> str:
        """The address of the queue that it came from; empty when it is no dead letter."""
        return self.message.headers.get(ORIGIN, "")

    @property
    def origin_place(self) -> str:
        """Its partition and offset there."""
        headers = self.message.headers
        return f"{headers.get(ORIGIN_PARTITION, '?')}:{headers.get(ORIGIN_OFFSET, '?')}"

    @property
    def step(self) -> str:
        """The step that failed; empty when it failed outside any, as one that could not be decoded."""
        return self.message.headers.get(STEP, "")

    @property
    def attempts(self) -> int:
        """How often it was tried."""
        text = self.message.headers.get(ATTEMPTS, "")
        return int(text) if text.isdecimal() else 0

    @property
    def reason(self) -> str:
        """The type and the text of the error."""
        headers = self.message.headers
        return f"{headers.get(ERROR_TYPE, '')}: {headers.get(ERROR_TEXT, '')}"


@dataclass(frozen=True, slots=True)
class Only:
    """Some of the letters.

    :param step: the step that failed
    :param reason: a part of the error's type and text, in whichever case

    >>> Only.parse(["step=enrich", "reason=timeout"])
    Only(step='enrich', reason='timeout')
    """

    step: str | None = None
    reason: str | None = None

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Self:
        """Filters as the command line gives them; all must be met.

        :raises BadRequest: one is no filter
        """
        found: dict[str, str] = {}
        for text in texts:
            name, separator, value = text.partition("=")
            if name not in ("step", "reason") or not separator or name in found:
                raise BadRequest(f"'{text}' is no filter of dead letters; write step=NAME or reason=TEXT, each once")
            found[name] = value
        return cls(**found)

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is one of them."""
        is_step = self.step is None or letter.step == self.step
        return is_step and (self.reason is None or self.reason.lower() in letter.reason.lower())


@dataclass(slots=True)
class Outcome:
    """What a replay did.

    :param replayed: letters sent back
    :param kept: letters that the filter left where they are
    :param foreign: messages that are no dead letters, as they name no origin; they stay too
    """

    replayed: int = 0
    kept: int = 0
    foreign: int = 0


async def letters(queue: Queue, *, group: str = GROUP) -> AsyncIterator[Letter]:
    """All that a queue of dead letters holds now, a partition after the other.

    :param group: whose place says which were sent back
    """
    commits = await queue.committed(group)
    async for messages in batches(queue, await queue.begin_offsets(), await queue.end_offsets()):
        for message in messages:
            commit = commits.get(message.partition)
            done = commit is not None and (message.offset < commit.watermark or message.offset in commit.done)
            yield Letter(message, done)


class Replay:
    """Sends dead letters back to their origins, each as the message it was, and notes which.

    The note follows the sending: when it is killed in between, the letters of one batch are sent again.

    :param queue: the dead letters, open
    :param open_origin: the queue of an address, not open yet
    :param group: remembers what was sent back
    :param only: which to send
    :param to: the address that gets all of them; default: each its origin
    """

    def __init__(
        self,
        queue: Queue,
        open_origin: Open,
        *,
        group: str = GROUP,
        only: Only | None = None,
        to: str | None = None,
    ) -> None:
        self.outcome = Outcome()
        self._queue, self._open_origin = queue, open_origin
        self._group, self._only, self._to = group, only or Only(), to
        self._origins: dict[str, Queue] = {}
        self._marks: dict[int, Watermark] = {}

    async def run(self, progress: Callable[[int], None] | None = None) -> Outcome:
        """Send back what is in the queue now; what fails meanwhile, and comes again, is left for the next time.

        :param progress: told how many were sent
        :raises TopicNotFound: an origin is not there any more; what was sent before is noted
        """
        begin, end = await self._queue.begin_offsets(), await self._queue.end_offsets()
        commits = await self._queue.committed(self._group)
        for partition, oldest in begin.items():
            before = commits.get(partition, Commit(oldest))
            start = max(oldest, before.watermark)
            self._marks[partition] = Watermark(Commit(start, frozenset(one for one in before.done if one >= start)))
        first = {partition: marks.commit.watermark for partition, marks in self._marks.items()}
        async with AsyncExitStack() as last:
            async for messages in batches(self._queue, first, end):
                await self._send(messages, last)
                if progress is not None:
                    progress(self.outcome.replayed)
        return self.outcome

    async def _send(self, messages: Sequence[Message], last: AsyncExitStack) -> None:
        marks = self._marks[messages[0].partition]
        for address, group in self._by_address(messages, marks).items():
            origin = await self._origin(address, last)
            await origin.append([_as_it_was(message) for message in group])
            for message in group:
                marks.finish(message.offset)
            self.outcome.replayed += len(group)
            await self._note(messages[0].partition, marks.commit)

    def _by_address(self, messages: Sequence[Message], marks: Watermark) -> Mapping[str, list[Message]]:
        found: dict[str, list[Message]] = {}
        for message in messages:
            if not marks.deliver(message.offset):
                continue
            letter = Letter(message, is_replayed=False)
            if not letter.origin:
                self.outcome.foreign += 1
            elif not self._only.takes(letter):
                self.outcome.kept += 1
            else:
                found.setdefault(self._to or letter.origin, []).append(message)
        return found

    async def _origin(self, address: str, last: AsyncExitStack) -> Queue:
        if address not in self._origins:
            self._origins[address] = await last.enter_async_context(self._open_origin(address))
        return self._origins[address]

    async def _note(self, partition: int, commit: Commit) -> None:
        await self._queue.commit(self._group, {partition: commit})
        if Commit.parse(commit.watermark, commit.metadata) != commit:
            raise QueueFull(
                f"{self._queue.url}: group '{self._group}' can note no more gaps between the letters sent back: the "
                "last of this batch may be sent again; replay the others too, without --only, or under another --group"
            )


def _as_it_was(letter: Message) -> Message:
    """The message for its origin. It gets the present time: by its old one retention might delete it unread."""
    return replace(original(letter), timestamp=time.time())
