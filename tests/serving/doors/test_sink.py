"""What is written in the background: errors, and records of models."""

import asyncio
import time

from millrace.queues.message import Message
from millrace.serving.doors.sink import Sink


class HangingStream:
    """A stream whose broker does not answer."""

    async def append_all(self, messages):
        await asyncio.Event().wait()


def test_messages_that_hang_when_the_sink_is_closed_are_told_of_in_time(caplog):
    async def main():
        sink = Sink(HangingStream(), "kafka://nowhere/errors")
        sink.start()
        for number in range(3):
            sink.put(Message(b"%d" % number))
            await asyncio.sleep(0)
        began = time.monotonic()
        await sink.close(0.05)
        return time.monotonic() - began

    assert 0.05 <= asyncio.run(main()) < 1
    assert "kafka://nowhere/errors: 3 messages were not written" in caplog.text
