"""Streams of a v3io platform as queues."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import v3io.aio.dataplane
import v3io.logger
from v3io_emulator import Emulator

from millrace.errors import GraphError, SecretNotFound, UpstreamError
from millrace.queues.address import queue_at
from millrace.queues.base import Commit, Queue, Settings
from millrace.queues.message import Message

PATH = "/projects/a topic"
QUICK = {"poll_seconds": 0.005, "idle_poll_seconds": 0.02, "heartbeat_seconds": 0.05}


def stream(platform: Emulator, partitions: int = 1, *, seconds: float | None = None, **options: Any) -> Queue:
    settings = {"access_key": "secret", **QUICK, **options}
    return queue_at(
        f"v3io+http://{platform.host}/projects/a topic",
        Settings(partitions=partitions, retention_seconds=seconds, options=settings),
    )


async def put_by_others(platform: Emulator, records: Sequence[dict[str, Any]]) -> None:
    """Append with the real client, and nothing of ours."""
    quiet = v3io.logger.Logger(level="CRITICAL")
    real = v3io.aio.dataplane.Client(logger=quiet, endpoint=platform.url, access_key="other")
    await real.stream.put_records("projects", "a topic", records)
    await real.close()


def values(messages: Sequence[Message]) -> list[bytes]:
    return [message.value for message in messages]


async def test_stream_is_made_with_its_shards_and_whole_hours_of_retention() -> None:
    with Emulator() as platform:
        async with stream(platform, 3, seconds=5_400):
            assert len(platform.streams[PATH].shards) == 3
            assert platform.streams[PATH].hours == 2


@pytest.mark.parametrize("in_use", [409, 400])
async def test_stream_that_another_makes_at_the_same_time_is_used(in_use: int) -> None:
    with Emulator(in_use=in_use) as platform:
        queues = await asyncio.gather(*(stream(platform, 2).open() for _ in range(5)))
        assert [queue.partitions for queue in queues] == [2] * 5
        await asyncio.gather(*(queue.close() for queue in queues))


@pytest.mark.parametrize("path", ["a topic", "a%20topic", "//a topic/"])
async def test_address_names_a_path_with_spaces(path: str) -> None:
    with Emulator() as platform:
        options = {"access_key": "secret"}
        async with queue_at(f"v3io+http://{platform.host}/projects/{path}", Settings(options=options)) as queue:
            await queue.append([Message(b"x", partition=0)])
        assert platform.values(PATH, 0) == [b"x"]


async def test_address_without_a_host_uses_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator() as platform:
        monkeypatch.setenv("V3IO_API", platform.url)
        monkeypatch.setenv("V3IO_ACCESS_KEY", "secret")
        async with queue_at("v3io:///projects/a topic"):
            assert PATH in platform.streams


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("v3io://host/container", "v3io://host/container/path"),
        ("v3io:///container/path", "V3IO_API"),
        ("v3io://host/container/path?shards=3", "options"),
    ],
)
def test_address_that_is_not_complete_says_how_it_is(
    url: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("V3IO_API", raising=False)
    with pytest.raises(GraphError, match=text):
        queue_at(url)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(GraphError, match="V3IO_ACCESS_KEY") as caught:
        queue_at("v3io://user:hunter2@host/container/path")
    assert "hunter2" not in str(caught.value)


def test_credentials_in_the_endpoint_are_refused_and_not_repeated() -> None:
    with pytest.raises(GraphError, match="access_key") as caught:
        queue_at("v3io:///container/path", Settings(options={"endpoint": "https://user:hunter2@host"}))
    assert "hunter2" not in str(caught.value)


async def test_access_key_is_asked_for_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("V3IO_ACCESS_KEY", raising=False)
    with pytest.raises(SecretNotFound, match="V3IO_ACCESS_KEY"):
        await queue_at("v3io://host/container/path").open()


async def test_access_key_is_in_no_error_and_no_representation() -> None:
    with Emulator() as platform:
        platform.access_keys = {"another"}
        queue = stream(platform)
        with pytest.raises(UpstreamError, match="check the access key") as caught:
            await queue.open()
        assert "secret" not in f"{caught.value!r} {queue!r} {queue.url}"
        assert {headers["X-v3io-session-key"] for _, _, headers in platform.asked} == {"secret"}


@pytest.mark.parametrize(
    "settings", [Settings(options={"poll_second": 1}), Settings(retention_bytes=1)], ids=["option", "bytes"]
)
def test_setting_that_v3io_does_not_have_is_refused(settings: Settings) -> None:
    with pytest.raises(GraphError, match=r"poll_seconds|retention_seconds"):
        queue_at("v3io://host/container/path", settings)


async def test_message_without_key_and_headers_is_its_bare_value() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            await queue.append([Message(b"{}"), Message(b"[]", b"k", {"a": "b"})])
        assert platform.values(PATH, 0)[0] == b"{}"
        assert platform.values(PATH, 0)[1].startswith(b"[]")


async def test_plain_messages_are_bare_values_for_readers_that_know_no_headers() -> None:
    with Emulator() as platform:
        async with stream(platform, plain=True) as queue:
            await queue.append([Message(b"{}", b"k", {"a": "b"})])
        assert platform.values(PATH, 0) == [b"{}"]


async def test_messages_of_others_are_read_with_their_partition_key() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            platform.arrival = 1_500_000_000_500_000_000
            await put_by_others(platform, [{"data": b"x", "client_info": b"i", "partition_key": "k"}, {"data": "y"}])
            first, second = await queue.read(0, 0)
        assert (first.value, first.key, first.headers, first.timestamp) == (b"x", b"k", {}, 1_500_000_000.5)
        assert (second.value, second.key) == (b"y", None)


@pytest.mark.parametrize("data", [b"", b"x", b"\xff" * 40, b"[1]\0\0\0\3", b"[1,2]\0\0\0\5"])
async def test_foreign_record_that_looks_like_ours_is_its_value(data: bytes) -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            await put_by_others(platform, [{"data": data, "client_info": b"\x8f" * 16}])
            assert values(await queue.read(0, 0)) == [data]


async def test_many_messages_are_sent_in_requests_of_at_most_1000() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            await queue.append([Message(b"%d" % number) for number in range(2_500)])
        assert platform.counts["PutRecords"] == 3
        assert platform.values(PATH, 0) == [b"%d" % number for number in range(2_500)]


async def test_large_messages_are_sent_in_requests_of_at_most_10_mb() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            await queue.append([Message(b"x" * 1_500_000) for _ in range(12)])
        assert len(platform.values(PATH, 0)) == 12
        assert platform.counts["PutRecords"] == 3  # four of 2,000,000 characters each go into 10 MB


async def test_message_that_is_too_long_is_refused_and_the_others_are_written() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            messages = [Message(b"a"), Message(b"x" * 2_500_000), Message(b"b")]
            with pytest.raises(UpstreamError, match=r"InvalidArgumentException.*2,500,000 bytes"):
                await queue.append(messages)
            assert queue.statistics.buffered == 0
        assert platform.values(PATH, 0) == [b"a", b"b"]


async def test_concurrent_appends_share_requests() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            await asyncio.gather(*(queue.append([Message(b"x")]) for _ in range(300)))
        assert platform.counts["PutRecords"] <= 2


async def test_appending_waits_while_the_buffer_is_full() -> None:
    with Emulator() as platform:
        async with stream(platform, buffer_messages=10) as queue:
            appending = asyncio.create_task(queue.append([Message(b"%d" % number) for number in range(100)]))
            while not appending.done():
                assert queue.statistics.buffered <= 10
                await asyncio.sleep(0)
        assert platform.values(PATH, 0) == [b"%d" % number for number in range(100)]


async def test_offsets_with_gaps_are_read_from_any_number() -> None:
    with Emulator(gap=4) as platform:
        async with stream(platform) as queue:
            appended = await queue.append([Message(b"%d" % number) for number in range(10)])
            assert [message.offset for message in appended] == list(range(1, 51, 5))
            for offset in range(1, 47):
                assert (await queue.read(0, offset, 1))[0].offset == -(-(offset - 1) // 5) * 5 + 1
            assert await queue.read(0, 47) == []


async def test_reading_goes_on_at_the_oldest_message_when_the_next_is_gone() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            await queue.append([Message(b"%d" % number) for number in range(1, 11)])
            assert values(await queue.read(0, 1, 2)) == [b"1", b"2"]
            platform.trim(PATH, 0, before=7)
            assert values(await queue.read(0, 3, 2)) == values(await queue.read(0, 0, 2)) == [b"7", b"8"]
            assert await queue.begin_offsets() == {0: 7}


async def test_group_whose_place_is_gone_goes_on_at_the_oldest_message() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            await queue.append([Message(b"%d" % number) for number in range(1, 11)])
            await queue.commit("g", {0: Commit(3)})
            platform.trim(PATH, 0, before=9)
            assert await queue.lag("g") == {0: 2}
            async with queue.consumer("g") as consumer:
                assert values(await consumer.poll(timeout_seconds=10)) == [b"9", b"10"]


async def test_asking_at_the_end_is_one_request() -> None:
    with Emulator() as platform:
        async with stream(platform) as queue:
            (appended,) = await queue.append([Message(b"x")])
            await queue.read(0, appended.offset + 1)
            before = platform.counts.total()
            for _ in range(10):
                assert await queue.read(0, appended.offset + 1) == []
            assert platform.counts.total() - before == 10


async def test_queue_that_is_not_open_says_so() -> None:
    with Emulator() as platform, pytest.raises(Exception, match="open"):
        await stream(platform).append([Message(b"x")])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that nobody trusts, and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate, and it is not on the PATH")
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout - -out - -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    made = subprocess.run([*command.split(), *names], check=True, capture_output=True)
    file.write_bytes(made.stdout)
    return file


def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_access_key_is_not_sent_to_a_platform_with_an_unknown_certificate(certificate: Path) -> None:
    with Emulator(tls=tls(certificate)) as platform:
        queue = queue_at(f"v3io://{platform.host}/c/s", Settings(options={"access_key": "secret"}))
        with pytest.raises(UpstreamError, match="ca_file"):
            await queue.open()
        assert platform.asked == []


@pytest.mark.parametrize("trust", ["ca_file", "verify_tls"])
async def test_platform_with_a_certificate_of_its_own_is_trusted_when_told(certificate: Path, trust: str) -> None:
    options = {"access_key": "secret", trust: str(certificate) if trust == "ca_file" else False}
    with Emulator(tls=tls(certificate)) as platform:
        async with queue_at(f"v3io://{platform.host}/c/s", Settings(options=options)) as queue:
            assert queue.partitions == 4
