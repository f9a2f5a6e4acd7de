"""A worker as a process: signals, sockets and the log as under Nuclio's processor."""

import base64
import gzip

import pytest
from nuclio_worker import message_fields, request_fields
from processor import CONTINUE, DRAIN, TERMINATE, Processor

CODE = '''
import asyncio, logging, time
import millrace

background = set()
log = logging.getLogger("millrace.function.shop")

class Chatter:
    """Answers with a long text, and logs in the background while it is sent."""

    def __init__(self, context):
        self.context = context

    async def do(self, body):
        background.add(asyncio.create_task(self.chat()))
        return "x" * body["length"]

    async def chat(self):
        for number in range(200):
            self.context.logger.warning("in the background", number=number)
            await asyncio.sleep(0)

def slow(body):
    log.info("it runs")
    time.sleep(body)

function = millrace.new_function("shop")
graph = function.set_topology("flow")
KIND
'''
FLOWS = {
    "chatter": 'graph.to("Chatter", "chatter").respond()',
    "slow": 'graph.to(name="slow", handler=slow, execution="thread")',
    "batch": 'graph.to("storey.Batch", "batch", max_events=1000).to(name="sum", handler=len)',
}


@pytest.fixture
def started(tmp_path):
    """Starts a worker with one of the flows."""

    def start(kind):
        file = tmp_path / "shop.py"
        file.write_text(CODE.replace("KIND", FLOWS[kind]))
        return Processor(tmp_path, MILLRACE_FUNCTION_SPEC=str(file))

    return start


def order(offset, body=b"0", partition=0):
    return message_fields(body, offset=offset, partition=partition)


def test_a_long_answer_is_whole_while_much_is_logged_and_acknowledged(started):
    length = 2_000_000  # much more than a socket's buffer holds
    with started("chatter") as worker:
        for number in range(5):
            worker.give(order(number, b'{"length": 1}'))
            assert worker.answer()["status_code"] == 200
            worker.give(request_fields(body=b'{"length": %d}' % length, headers={"Content-Type": "application/json"}))
            assert len(worker.answer()["body"]) == length
        worker.until(lambda: (0, 4) in worker.acks)
        assert not any("background" in line or "control socket" in line for line in worker.logs)


def test_a_drain_acknowledges_what_a_batch_holds_and_the_worker_goes_on_when_told(started):
    with started("batch") as worker:
        for offset in range(3):
            worker.give(order(offset))
            worker.answer()
        assert worker.acks == []
        worker.signal(DRAIN)
        worker.until(lambda: worker.acks == [(0, 2)])
        worker.give(order(3))  # comes too late: thrown away, not acknowledged
        worker.until_logged("Event has been discarded")
        worker.signal(CONTINUE)
        worker.until_logged("Received signal")
        worker.give(order(8, partition=1))
        assert worker.answer()["status_code"] == 200
        worker.signal(DRAIN)
        worker.until(lambda: worker.acks == [(0, 2), (1, 8)])


def test_a_worker_that_is_told_to_end_acknowledges_and_ends_with_0(started):
    with started("batch") as worker:
        worker.give(order(41))
        worker.answer()
        worker.signal(TERMINATE)
        assert worker.process.wait(timeout=10) == 0
        worker.until(lambda: worker.acks == [(0, 41)])


def test_a_message_that_runs_when_the_worker_ends_is_finished_and_acknowledged(started):
    with started("slow") as worker:
        worker.give(order(0, b"0.2"))
        worker.until(lambda: "it runs" in worker.stderr)
        worker.signal(TERMINATE)
        assert worker.answer()["status_code"] == 200
        assert worker.process.wait(timeout=10) == 0
        worker.until(lambda: worker.acks == [(0, 0)])


def test_a_function_that_does_not_load_ends_the_worker_with_its_reason(tmp_path):
    spec = base64.b64encode(gzip.compress(b"kind: serving\nspec: {graph: {kind: flow, steps: {a: {handler: gone}}}}"))
    with pytest.raises(AssertionError) as raised, Processor(tmp_path, MILLRACE_FUNCTION_SPEC_B64=spec.decode()):
        pass
    assert "step 'a'" in str(raised.value)
