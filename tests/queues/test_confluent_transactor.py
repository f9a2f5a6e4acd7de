"""What Millrace does about librdkafka's transactions that never return."""

import threading
import time

import pytest

pytest.importorskip("confluent_kafka")

from millrace.queues import kafka_confluent_transactor as module
from millrace.queues.kafka_confluent_transactor import ConfluentTransactor
from millrace.queues.kafka_errors import KafkaFault


class Stuck:
    """Stands for a producer whose group coordinator went away: the real one blocks for minutes, now and then."""

    def __init__(self, settings):
        self.gone = threading.Event()

    def init_transactions(self, seconds):
        self.is_ready = True

    def begin_transaction(self):
        self.is_open = True

    def send_offsets_to_transaction(self, places, membership, seconds):
        self.gone.wait(30)

    def abort_transaction(self, seconds):
        raise AssertionError("it would block, too")

    purge = abort_transaction


def test_commit_that_does_not_return_is_a_fault_and_its_producer_is_left_alone(monkeypatch):
    monkeypatch.setattr(module, "RawProducer", Stuck)
    monkeypatch.setattr(module, "GRACE_SECONDS", 0.05)
    transactor = ConfluentTransactor("orders", {}, 0.05)
    transactor.begin()
    start = time.monotonic()
    with pytest.raises(KafkaFault, match=r"the group's coordinator did not answer in 0\.05 s") as raised:
        transactor.commit({0: (1, "")}, None)
    transactor.abort()
    transactor.close()
    assert raised.value.kind == "unreachable" and time.monotonic() - start < 5
    transactor._producer.gone.set()


def test_what_a_step_raises_is_told_as_before(monkeypatch):
    monkeypatch.setattr(module, "RawProducer", Stuck)
    transactor = ConfluentTransactor("orders", {}, 5)

    def refuse(*_):
        raise ValueError("no")

    transactor._producer.send_offsets_to_transaction = refuse
    with pytest.raises(ValueError, match="no"):
        transactor.commit({0: (1, "")}, None)
