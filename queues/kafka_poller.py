"""The thread that polls a Kafka client, and the way between it and the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable

from .kafka_buffers import Buffers, Parcel
from .kafka_client import Member
from .kafka_errors import KafkaFault

log = logging.getLogger(__name__)
POLL_SECONDS = 0.1
KEEP_SECONDS = 1.0  # so long the thread waits for room before it pauses the partitions, to poll for the membership only
RETRY_SECONDS = 1.0
STOP_SECONDS = 30.0


class Poller:
    """Reads ahead into buffers, and keeps the membership while they are full. Runs no code of the user.

    :param join: connects as a member of the group; called in the thread
    :param arrived: called on the loop when there is something new
    :param failed: called on the loop with what went wrong

    :ivar end: why it polls no more; ``None`` as long as it does
    """

    def __init__(
        self,
        name: str,
        join: Callable[[], Member],
        buffers: Buffers,
        *,
        arrived: Callable[[], None],
        failed: Callable[[Exception], None],
    ) -> None:
        self.member: Member | None = None
        self.end: Exception | None = None
        self._name, self._join, self._buffers = name, join, buffers
        self._arrived, self._failed = arrived, failed
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"kafka-poll {name}", daemon=True)
        self._inbox: deque[Callable[[], None]] = deque()
        self._posted: deque[Callable[[Member], None]] = deque()
        self._stirred = threading.Event()
        self._is_woken = self._is_stopping = False
        self._polled_at = time.monotonic()

    def start(self) -> None:
        """Begin, if it has not begun."""
        if not self._thread.ident:
            self._thread.start()

    def post(self, work: Callable[[Member], None]) -> None:
        """To be done by the thread before it polls again. On the loop."""
        self._posted.append(work)
        self._stirred.set()

    def stir(self) -> None:
        """There is room again, or something to attend to. From any thread."""
        if not self._stirred.is_set():
            self._stirred.set()

    def give_up(self, error: Exception) -> None:
        """Leave the group for good, because of an error. On the loop."""
        self.end = error
        self._is_stopping = True
        self._stirred.set()
        self._failed(error)

    async def stop(self) -> None:
        """Leave the group. On the loop."""
        self._is_stopping = True
        self._stirred.set()
        if self._thread.ident:
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    def tell(self, news: Callable[[], None]) -> None:
        """To be done by the loop: one wake-up for all news until it looks. In the thread."""
        self._inbox.append(news)
        if not self._is_woken:
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._hear)

    def _hear(self) -> None:
        self._is_woken = False
        while self._inbox:
            self._inbox.popleft()()
        self._arrived()

    def _run(self) -> None:
        try:
            member = self._joined()
            if member is None:
                return
            self.member = member
            try:
                while not self._is_stopping:
                    self._turn(member)
            finally:
                member.close()
        except Exception as error:
            if self._loop.is_closed():
                log.info("%s: the event loop ended before the consumer was closed", self._name)
                return
            self.end = error
            self._report(error)

    def _joined(self) -> Member | None:
        """A member as soon as the brokers let it be one."""
        while not self._is_stopping:
            try:
                return self._join()
            except KafkaFault as fault:
                self._report(fault)
                self._stirred.wait(RETRY_SECONDS)
        return None

    def _report(self, error: Exception) -> None:
        self.tell(lambda: self._failed(error))

    def _turn(self, member: Member) -> None:
        try:
            while self._posted:
                self._posted.popleft()(member)
            if self._buffers.is_full:
                self._wait_for_room(member)
            else:
                self._poll(member, POLL_SECONDS)
        except KafkaFault as fault:
            self._report(fault)
            self._stirred.clear()
            self._stirred.wait(RETRY_SECONDS)

    def _poll(self, member: Member, seconds: float) -> None:
        batch = member.poll(seconds)
        self._polled_at = time.monotonic()
        if batch:
            parcels = {partition: Parcel(records, member.size(records)) for partition, records in batch.items()}
            self._buffers.send(parcels)
            self.tell(lambda: self._buffers.put(parcels))

    def _wait_for_room(self, member: Member) -> None:
        """A short wait costs nothing; in a long one the client polls paused partitions, to stay a member."""
        left = self._polled_at + KEEP_SECONDS - time.monotonic()
        if left > 0:
            self._attend(member, left)
            return
        member.pause(self._buffers.active)
        try:
            while self._buffers.is_full and not self._is_stopping and not self._posted:
                self._poll(member, 0)
                self._attend(member, POLL_SECONDS)
        finally:
            member.resume(self._buffers.active)

    def _attend(self, member: Member, seconds: float) -> None:
        """Wait until there is room or something to do, at most so long."""
        self._stirred.clear()
        member.attend()
        if self._buffers.is_full and not self._is_stopping and not self._posted:
            self._stirred.wait(seconds)
