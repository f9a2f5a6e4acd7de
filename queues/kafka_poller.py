"""The thread that polls a Kafka client, and the way between it and the event loop."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable

from .kafka_buffers import Buffers
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
        self._name, self._join, self._buffers = name, join, buffers
        self._arrived, self._failed = arrived, failed
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name=f"kafka-poll {name}", daemon=True)
        self._inbox: deque[Callable[[], None]] = deque()
        self._posted: deque[Callable[[Member], None]] = deque()
        self._stirred = threading.Event()
        self._is_woken = self._is_stopping = False

    def start(self) -> None:
        """Begin, if it has not begun."""
        if not self._thread.ident:
            self._thread.start()

    def post(self, work: Callable[[Member], None]) -> None:
        """To be done by the thread before it polls again. On the loop."""
        self._posted.append(work)
        self._stirred.set()

    def stir(self) -> None:
        """There is room again. On the loop."""
        if not self._stirred.is_set():
            self._stirred.set()

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
        if batch:
            self._buffers.send(batch)
            self.tell(lambda: self._buffers.put(batch))

    def _wait_for_room(self, member: Member) -> None:
        """A short wait costs nothing; in a long one the client polls paused partitions, to stay a member."""
        self._stirred.clear()
        if not self._buffers.is_full or self._stirred.wait(KEEP_SECONDS):
            return
        member.pause(self._buffers.active)
        try:
            while self._buffers.is_full and not self._is_stopping and not self._posted:
                self._stirred.clear()
                self._poll(member, 0)
                self._stirred.wait(POLL_SECONDS)
        finally:
            member.resume(self._buffers.active)
