"""What is particular to Kafka: addresses, options, errors, topics. Runs on the cluster of kafka_broker.py."""

from __future__ import annotations

import asyncio
import gc
import logging
import traceback

import pytest
from kafka_broker import CLIENTS, TestCluster, new_group, new_topic, real
from kafka_broker import options as cluster_options

from millrace.errors import GraphError, InvalidInput, Unavailable, UpstreamError
from millrace.queues.address import open_queue, queue_at
from millrace.queues.base import Commit, Settings
from millrace.queues.kafka_address import KafkaAddress, parse_address
from millrace.queues.message import Message

both_clients = pytest.mark.parametrize("client", CLIENTS)


def settings(client: str, partitions: int = 2, **options: object) -> Settings:
    return Settings(partitions=partitions, options={**cluster_options(client), **options})


def login(password: str) -> dict[str, object]:
    """Options of the user that the broker of the tests knows (tests/kafka/server.properties)."""
    user = {"sasl_plain_username": "alice", "sasl_plain_password": password}
    return {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "connect_timeout_seconds": 3.0, **user}


def sasl_cluster() -> TestCluster:
    cluster = real()
    if not cluster.sasl_servers:
        pytest.skip("KAFKA_SASL_SERVERS names no brokers that take a login")
    return cluster


def test_address_names_brokers_topic_and_group() -> None:
    assert parse_address("kafka://a,b:9093/t?group=g") == KafkaAddress("a:9092,b:9093", "t", "g")


@pytest.mark.parametrize(
    "url", ["kafka:///topic", "kafka://host", "kafka://host/a b", "kafka://host:x/t", "kafka://host/t?grp=g"]
)
def test_wrong_address_is_refused(url: str) -> None:
    with pytest.raises(GraphError):
        parse_address(url)


def test_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(GraphError, match="sasl_plain_password") as refused:
        parse_address("kafka://alice:hush@host/topic")
    assert "hush" not in str(refused.value)


def test_unknown_option_is_refused_with_near_names() -> None:
    with pytest.raises(GraphError, match="did you mean 'sasl_mechanism'"):
        queue_at("kafka://host/topic", Settings(options={"sasl_mechanisms": "PLAIN"}))


def test_poll_interval_below_the_session_timeout_is_refused() -> None:
    with pytest.raises(GraphError, match="max_poll_interval_ms"):
        queue_at("kafka://host/topic", Settings(options={"max_poll_interval_ms": 1_000}))


def test_password_is_in_no_repr() -> None:
    queue = queue_at("kafka://host/topic", Settings(options={"sasl_plain_password": "hush"}))
    assert "hush" not in repr(queue) + repr(vars(queue)["options"])


@both_clients
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # kafka-python leaves sockets that could not connect
async def test_brokers_that_do_not_answer_are_named(client: str) -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1 within 1 s.*(?i:refused)"):
        await open_queue("kafka://127.0.0.1:1/topic", settings(client, connect_timeout_seconds=1))
    gc.collect()


@both_clients
async def test_login_that_the_broker_knows_is_let_in(client: str) -> None:
    url = f"kafka://{sasl_cluster().sasl_servers}/test-login-{client}"
    async with await open_queue(url, settings(client, **login("correct horse"))) as queue:
        (appended,) = await queue.append([Message(b"1")])
        assert [m.value for m in await queue.read(appended.partition, appended.offset)] == [b"1"]


@both_clients
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_refused_login_says_so_and_no_log_line_or_traceback_has_a_password(
    client: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"kafka://{sasl_cluster().sasl_servers}/test-login-{client}"
    async with await open_queue(url, settings(client, **login("correct horse"))) as queue:
        await queue.append([Message(b"1")])
    wrong = settings(client, **login("battery staple"))
    with pytest.raises(UpstreamError, match=r"refused the login.*'alice'") as refused:
        await open_queue(url, wrong)
    told = caplog.text + "".join(traceback.format_exception(refused.value))
    assert "horse" not in told and "battery" not in told
    gc.collect()


def tls_cluster() -> TestCluster:
    cluster = real()
    if not cluster.ssl_servers:
        pytest.skip("a cluster of the user's own: nothing is known of its TLS")
    return cluster


@both_clients
async def test_tls_reaches_brokers_whose_certificate_is_trusted(client: str) -> None:
    cluster = tls_cluster()
    tls = {"security_protocol": "SSL", "ssl_cafile": cluster.certificate}
    async with await open_queue(f"kafka://{cluster.ssl_servers}/tls-{client}", settings(client, **tls)) as queue:
        (appended,) = await queue.append([Message(b"1")])
        assert [m.value for m in await queue.read(appended.partition, appended.offset)] == [b"1"]


@both_clients
@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_tls_refuses_brokers_whose_certificate_nobody_vouches_for(client: str) -> None:
    careful = {"security_protocol": "SSL", "connect_timeout_seconds": 2.0}
    with pytest.raises(Unavailable, match=r"(?i)certificate"):
        await open_queue(f"kafka://{tls_cluster().ssl_servers}/tls", settings(client, **careful))
    gc.collect()


@both_clients
async def test_topic_is_made_with_its_partitions_and_retention(client: str) -> None:
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    real()
    url = new_topic()
    kept = Settings(partitions=3, retention_seconds=60, retention_bytes=3_000_000, options={"client": client})
    async with await open_queue(url, kept) as queue:
        assert queue.partitions == 3
    admin = KafkaAdminClient(bootstrap_servers=real().servers)
    topic = parse_address(url).topic
    configs = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    admin.close()
    assert "60000" in str(configs) and "1000000" in str(configs)


@both_clients
async def test_topic_that_exists_stays_as_it_is(client: str) -> None:
    url = new_topic()
    for partitions in (3, 5):
        async with await open_queue(url, settings(client, partitions)) as queue:
            assert queue.partitions == 3


@both_clients
async def test_message_that_is_too_large_is_refused_and_the_next_one_is_written(client: str) -> None:
    async with await open_queue(new_topic(), settings(client, max_request_size=100_000)) as queue:
        with pytest.raises(InvalidInput, match="max_request_size"):
            await queue.append([Message(bytes(200_000))])
        await queue.append([Message(b"small")])
        assert sum((await queue.end_offsets()).values()) == 1


async def test_both_clients_put_a_key_into_the_same_partition() -> None:
    url = new_topic()
    messages = [Message(b"", b"key-%d" % number) for number in range(100)]
    places = []
    for client in CLIENTS:
        async with await open_queue(url, settings(client, partitions=8)) as queue:
            places.append([message.partition for message in await queue.append(messages)])
    assert places[0] == places[1]


@both_clients
async def test_append_beyond_the_buffer_waits_and_stays_within_it(client: str) -> None:
    async with await open_queue(new_topic(), settings(client, buffer_messages=10)) as queue:
        calls = [asyncio.create_task(queue.append([Message(b"%d" % n)] * 4)) for n in range(20)]
        most = 0
        while not all(call.done() for call in calls):
            most = max(most, queue.statistics.buffered)
            await asyncio.sleep(0)
        assert 0 < most <= 10
        assert sum((await queue.end_offsets()).values()) == 80


@both_clients
async def test_trimmed_messages_are_gone(client: str) -> None:
    real()
    async with await open_queue(new_topic(), settings(client, partitions=1)) as queue:
        await queue.append([Message(b"%d" % number) for number in range(10)])
        assert await queue.trim({0: 7}) == 7
        assert await queue.begin_offsets() == {0: 7}
        assert (await queue.read(0, 0))[0].value == b"7"


@both_clients
async def test_groups_are_those_that_committed_here(client: str) -> None:
    real()
    group = new_group()
    async with await open_queue(new_topic(), settings(client)) as queue:
        await queue.commit(group, {0: Commit(0)})
        assert await queue.groups() == [group]
    async with await open_queue(new_topic(), settings(client)) as other:
        assert await other.groups() == []


@both_clients
async def test_reader_behind_the_retention_goes_on_with_the_oldest(client: str) -> None:
    real()
    group = new_group()
    async with await open_queue(new_topic(), settings(client, partitions=1)) as queue:
        await queue.append([Message(b"%d" % number) for number in range(10)])
        await queue.commit(group, {0: Commit(2)})
        await queue.trim({0: 5})
        async with queue.consumer(group, start="latest") as consumer, asyncio.timeout(20):
            while not (messages := await consumer.poll()):
                pass
        assert messages[0].value == b"5"


async def test_client_says_nothing_aloud_while_no_broker_answers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(Unavailable):
        await open_queue("kafka://127.0.0.1:1/topic", settings("confluent-kafka", connect_timeout_seconds=1))
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 0
