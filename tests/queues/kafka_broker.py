"""The cluster that the Kafka tests run on: one for a pytest session, started when the first of them needs it.

``KAFKA_BOOTSTRAP_SERVERS`` names one of the user's own. Otherwise a real broker is started (tests/kafka/broker.py);
where Java or Maven do not work, the mock cluster in confluent-kafka's wheel takes its place, and what that can not show
is skipped.
"""

from __future__ import annotations

import atexit
import os
import sys
import uuid
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent / "kafka"))

from broker import CERTIFICATE, BrokerMissing, begin, end
from mock_cluster import MockProcess

CLIENTS = ("kafka-python", "confluent-kafka")
# A member is taken for dead soon, so that no test waits for that.
QUICK = {
    "session_timeout_ms": 6_000,
    "heartbeat_interval_ms": 200,
    "fetch_max_wait_ms": 20,
    "drain_timeout_seconds": 10.0,
    "max_request_size": 20_000_000,
}


@dataclass(frozen=True)
class TestCluster:
    """Where the brokers are.

    :param sasl_servers: where they take a login (alice, "correct horse"); empty if nowhere
    :param ssl_servers: where they speak TLS, with this `certificate`; empty if nowhere
    :param why_mock: why it is no real one; empty if it is
    """

    __test__ = False

    servers: str
    sasl_servers: str = ""
    ssl_servers: str = ""
    certificate: str = ""
    why_mock: str = ""


@cache
def cluster() -> TestCluster:
    """The cluster of this session."""
    if servers := os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        return TestCluster(servers, os.environ.get("KAFKA_SASL_SERVERS", ""))
    try:
        broker = begin()
    except BrokerMissing as reason:
        return mock_cluster(str(reason))
    atexit.register(end, broker)
    return TestCluster(broker.bootstrap, broker.sasl_bootstrap, broker.ssl_bootstrap, str(CERTIFICATE))


def mock_cluster(reason: str) -> TestCluster:
    """The mock, which makes topics in a way of its own and needs an old protocol of kafka-python."""
    from millrace.queues.kafka_confluent_cluster import ConfluentCluster
    from millrace.queues.kafka_python_cluster import PythonCluster

    mock = MockProcess()
    atexit.register(mock.close)

    def create(self: ConfluentCluster | PythonCluster, partitions: int, *others: object) -> None:
        mock.make_topic(self.topic, max(1, partitions))

    for kind in (ConfluentCluster, PythonCluster):
        kind.create = create
    return TestCluster(mock.servers, why_mock=reason)


def options(client: str) -> dict[str, Any]:
    """The options of a client on this cluster."""
    if not cluster().why_mock:
        return {"client": client, **QUICK}
    # On the mock a join takes the session's time, less a second.
    old = {"api_version": (2, 3)} if client == "kafka-python" else {}
    return {"client": client, **QUICK, "session_timeout_ms": 2_000, **old}


def real() -> TestCluster:
    """The cluster, for tests that the mock can not pass."""
    if cluster().why_mock:
        pytest.skip(f"the mock cluster can not show this, and there is no real broker: {cluster().why_mock}")
    return cluster()


# Of the contract: the mock has no index by time, tells no offsets of groups, gives one append at a time to a read, and
# refuses members that join while others do.
BEYOND_MOCK = {
    "test_messages_of_a_partition_are_read_in_the_order_of_appending",
    "test_offset_is_found_by_time",
    "test_what_was_done_beyond_the_watermark_is_told_after_a_restart",
    "test_partitions_are_divided_among_members",
    "test_member_beyond_the_partitions_waits_for_one",
    "test_members_that_join_and_leave_lose_and_repeat_nothing",
    "test_revoked_is_awaited_before_another_member_gets_the_partition",
    "test_commit_inside_revoked_counts",
    "test_commit_for_a_partition_of_another_member_does_nothing",
    "test_lag_is_what_is_not_done",
    "test_group_replays_and_skips_by_a_commit_from_outside",
    "test_several_consumers_of_one_client_share_the_work",
}


def skip_beyond_mock(test: str) -> None:
    """Skip a test of the contract that only a real broker can pass, where there is none."""
    if test in BEYOND_MOCK:
        real()


def new_topic() -> str:
    """The address of a topic that nobody has used."""
    return f"kafka://{cluster().servers}/test-{uuid.uuid4().hex[:12]}"


def new_group() -> str:
    """A group that nobody has used: on Kafka a group spans topics."""
    return f"group-{uuid.uuid4().hex[:12]}"
