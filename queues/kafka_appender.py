"""Appending to Kafka from an event loop: a bounded buffer, one thread that hands messages over, confirmations back."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from .kafka_client import Sender
from .kafka_errors import KafkaFault
from .message import Message
from .room import Room

log = logging.getLogger(__name__)


class _Call:
    """The messages of one `append` and what the brokers said of each."""

    def __init__(
        self, messages: Sequence[Message], future: asyncio.Future[None], finished: Callable[[_Call], None]
    ) -> None:
        self.messages = messages
        self.size = sum([len(message.value) for message in messages])
        self.future = future
        self.places: list[tuple[int, int]] = [(-1, -1)] * len(messages)
        self.fault: KafkaFault | None = None
        self._finished = finished
        self._counter = itertools.count(1)  # next() is atomic: confirmations come from more than one thread

    def confirm(self, index: int, fault: KafkaFault | None, partition: int, offset: int) -> None:
        """From a thread of the client."""
        if fault is not None:
            self.fault = self.fault or fault
        self.places[index] = (partition, offset)
        if next(self._counter) == len(self.messages):
            self._finished(self)


class KafkaAppender:
    """Made on the loop that it is used on.

    :param make: connects; called in the thread
    :param room: for the messages that wait for their confirmation
    """

    def __init__(self, make: Callable[[], Sender], room: Room) -> None:
        self._make, self._room = make, room
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._done: deque[_Call] = deque()
        self._is_woken = False
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="kafka-append", daemon=True)
        self._end_timeout_seconds = 0.0
        self.appended = 0

    async def append(self, messages: Sequence[Message]) -> list[Message]:
        """Append messages, and wait until all are confirmed.

        :raises KafkaFault: one was not; others of the call may have been written
        """
        call = _Call(messages, self._loop.create_future(), self._finished)
        await self._room.enter(len(messages), call.size)
        if self._is_closed:
            self._room.leave(len(messages), call.size)
            raise KafkaFault("closed", f"it waited for room, behind {self._room.messages} messages")
        if not self._thread.ident:
            self._thread.start()
        self._work.put(call)
        # Who waits may be cancelled; the messages are under way all the same, and room is free when they are confirmed.
        await asyncio.shield(call.future)
        return [
            Message(message.value, message.key, message.headers, *place, int(message.timestamp * 1000) / 1000)
            for message, place in zip(messages, call.places, strict=True)
        ]

    @property
    def buffered(self) -> int:
        """How many messages wait for their confirmation."""
        return self._room.messages

    def _run(self) -> None:
        """The thread: the only one that hands messages to the client, so that they stay in order."""
        sender: Sender | None = None
        while (call := self._work.get()) is not None:
            try:
                sender = sender or self._make()
            except KafkaFault as fault:
                self._refuse(call, fault)
                continue
            except Exception as error:  # whatever it is, who waits for this call must hear of it
                self._refuse(call, KafkaFault("other", f"{type(error).__name__}: {error}"))
                continue
            for index, message in enumerate(call.messages):
                try:
                    sender.send(message, partial(call.confirm, index))
                except KafkaFault as fault:
                    call.confirm(index, fault, -1, -1)
                except Exception as error:  # a value of a wrong type, as likely as not: the thread must live on
                    call.confirm(index, KafkaFault("other", f"{type(error).__name__}: {error}"), -1, -1)
        try:
            if sender is not None:
                sender.close(self._end_timeout_seconds)
        except KafkaFault as fault:
            log.warning("the Kafka producer did not close well: %s", fault)

    def _refuse(self, call: _Call, fault: KafkaFault) -> None:
        for index in range(len(call.messages)):
            call.confirm(index, fault, -1, -1)

    def _finished(self, call: _Call) -> None:
        """From any thread: one wake-up of the loop for all calls that finish until it looks."""
        self._done.append(call)
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._collect)

    def _collect(self) -> None:
        self._is_woken = False
        while self._done:
            call = self._done.popleft()
            self._room.leave(len(call.messages), call.size)
            if call.fault is None:
                self.appended += len(call.messages)
            if call.future.cancelled():
                continue
            if call.fault is None:
                call.future.set_result(None)
            else:
                call.future.set_exception(call.fault)
                call.future.exception()  # seen, even when nobody waits any more

    async def close(self, timeout_seconds: float) -> None:
        """Wait for what is under way, at most so long; what still waits for room is refused."""
        self._is_closed = True
        if self._thread.ident:
            self._end_timeout_seconds = timeout_seconds
            self._work.put(None)
            await asyncio.to_thread(self._thread.join, timeout_seconds + 5)
