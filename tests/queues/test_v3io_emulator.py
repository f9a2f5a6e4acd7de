"""The emulated platform answers the real v3io clients as its reference says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import v3io.aio.dataplane
import v3io.dataplane
import v3io.logger
from v3io.dataplane.response import HttpResponseError
from v3io_emulator import Emulator

NEVER = v3io.dataplane.RaiseForStatus.never
QUIET = v3io.logger.Logger(level="CRITICAL")


@contextlib.contextmanager
def client(platform: Emulator) -> Iterator[Any]:
    """The real client that blocks."""
    real = v3io.dataplane.Client(logger=QUIET, endpoint=platform.url, access_key="k", max_connections=1)
    try:
        yield real
    finally:
        real.close()


@contextlib.asynccontextmanager
async def async_client(platform: Emulator, access_key: str = "k") -> AsyncIterator[Any]:
    """The real client for asyncio."""
    real = v3io.aio.dataplane.Client(
        logger=QUIET, endpoint=platform.url, access_key=access_key, retry_intervals=(0, 0, 0)
    )
    try:
        yield real
    finally:
        await real.close()


def test_stream_is_created_once_and_described() -> None:
    with Emulator() as platform, client(platform) as real:
        assert real.stream.create("c", "d/my stream", 3, retention_period_hours=48).status_code == 204
        assert real.stream.create("c", "d/my stream", 3, raise_for_status=NEVER).status_code == 409
        output = real.stream.describe("c", "d/my stream").output
        assert (output.shard_count, output.retention_period_hours) == (3, 48)


async def test_async_client_meets_the_same_stream_as_the_blocking_one() -> None:
    with Emulator() as platform, client(platform) as real:
        real.stream.create("c", "d/my stream", 3)
        async with async_client(platform) as other:
            assert (await other.stream.describe("c", "d/my stream")).output.shard_count == 3
    assert {path for _, path, _ in platform.asked} == {"/c/d/my%20stream/", "//c/d/my%20stream/"}


def test_older_platform_says_that_a_stream_exists_with_400() -> None:
    with Emulator(in_use=400) as platform, client(platform) as real:
        real.stream.create("c", "s", 1)
        reply = real.stream.create("c", "s", 1, raise_for_status=NEVER)
        assert reply.status_code == 400 and b"ResourceInUse" in reply.body


def test_stream_that_is_missing_is_404() -> None:
    with Emulator() as platform, client(platform) as real:
        with pytest.raises(HttpResponseError) as caught:
            real.stream.describe("c", "none")
        assert caught.value.status_code == 404


async def test_records_that_fail_are_named_one_by_one() -> None:
    with Emulator() as platform:
        async with async_client(platform) as real:
            await real.stream.create("c", "s", 3)
            records = [{"data": "a", "shard_id": 1}, {"data": b"b", "shard_id": 9}, {"data": "c", "shard_id": 1}]
            output = (await real.stream.put_records("c", "s", records)).output
            assert output.failed_record_count == 1
            assert [record.sequence_number for record in output.records] == [1, None, 2]
            assert output.records[1].error_message == "ShardIDOutOfRangeException"


async def test_records_of_one_partition_key_go_to_one_shard() -> None:
    with Emulator() as platform:
        async with async_client(platform) as real:
            await real.stream.create("c", "s", 5)
            records = [{"data": "x", "partition_key": "k"} for _ in range(10)]
            output = (await real.stream.put_records("c", "s", records)).output
            assert len({record.shard_id for record in output.records}) == 1


async def test_more_than_1000_records_are_refused() -> None:
    with Emulator() as platform:
        async with async_client(platform) as real:
            await real.stream.create("c", "s", 1)
            with pytest.raises(HttpResponseError) as caught:
                await real.stream.put_records("c", "s", [{"data": "x"}] * 1_001)
            assert caught.value.status_code == 400


async def test_record_comes_back_with_all_that_was_given() -> None:
    with Emulator() as platform:
        platform.arrival = 1_485_685_671_160_186_781
        async with async_client(platform) as real:
            await real.stream.create("c", "s", 1)
            record = {"data": b"\0\xff", "client_info": b"info", "partition_key": "k"}
            await real.stream.put_records("c", "s", [record])
            location = (await real.stream.seek("c", "s", 0, "EARLIEST")).output.location
            (found,) = (await real.stream.get_records("c", "s", 0, location)).output.records
        assert (found.data, found.client_info, found.partition_key) == (b"\0\xff", b"info", "k")
        assert (found.arrival_time_sec, found.arrival_time_nsec) == (1_485_685_671, 160_186_781)


async def _data_from(real: Any, kind: str, **arguments: int) -> list[bytes]:
    location = (await real.stream.seek("c", "s", 0, kind, **arguments)).output.location
    return [record.data for record in (await real.stream.get_records("c", "s", 0, location)).output.records]


async def test_seek_finds_the_earliest_the_latest_a_number_and_a_time() -> None:
    with Emulator() as platform:
        async with async_client(platform) as real:
            await real.stream.create("c", "s", 1)
            for second in (10, 20, 30):
                platform.arrival = second * 10**9
                await real.stream.put_records("c", "s", [{"data": str(second)}])
            assert await _data_from(real, "EARLIEST") == [b"10", b"20", b"30"]
            assert await _data_from(real, "LATEST") == []
            assert await _data_from(real, "SEQUENCE", starting_sequence_number=3) == [b"30"]
            assert await _data_from(real, "TIME", timestamp_sec=10, timestamp_nsec=1) == [b"20", b"30"]


async def test_seek_for_a_number_that_is_not_there_fails() -> None:
    with Emulator() as platform:
        async with async_client(platform) as real:
            await real.stream.create("c", "s", 1)
            await real.stream.put_records("c", "s", [{"data": "x"}])
            with pytest.raises(HttpResponseError) as caught:
                await real.stream.seek("c", "s", 0, "SEQUENCE", starting_sequence_number=2)
            assert caught.value.status_code == 400


async def test_reading_goes_on_at_the_next_location_and_tells_what_is_left() -> None:
    with Emulator() as platform:
        async with async_client(platform) as real:
            await real.stream.create("c", "s", 1)
            await real.stream.put_records("c", "s", [{"data": str(number)} for number in range(5)])
            location = (await real.stream.seek("c", "s", 0, "EARLIEST")).output.location
            first = (await real.stream.get_records("c", "s", 0, location, limit=3)).output
            rest = (await real.stream.get_records("c", "s", 0, first.next_location)).output
            end = (await real.stream.get_records("c", "s", 0, rest.next_location)).output
        assert [record.sequence_number for record in first.records + rest.records] == [1, 2, 3, 4, 5]
        assert (first.records_behind_latest, rest.records_behind_latest, end.records) == (2, 0, [])


async def test_item_is_written_only_when_its_condition_is_met() -> None:
    with Emulator() as platform:
        async with async_client(platform) as real:
            new = {"condition": "not(exists(stamp))", "raise_for_status": NEVER}
            assert (await real.kv.put("c", "t", "k", {"stamp": 1, "s": "x"}, **new)).status_code == 204
            assert (await real.kv.put("c", "t", "k", {"stamp": 1}, **new)).status_code == 400
            await real.kv.update("c", "t", "k", attributes={"other": 2}, condition="(stamp == 1)")
            assert (await real.kv.get("c", "t", "k")).output.item == {"stamp": 1, "s": "x", "other": 2}
            await real.kv.put("c", "t", "k", {"stamp": 3})
            assert (await real.kv.get("c", "t", "k")).output.item == {"stamp": 3}


async def test_shard_tells_its_last_number_once_it_has_a_record() -> None:
    with Emulator() as platform:
        async with async_client(platform) as real:
            await real.stream.create("c", "s", 1)
            with pytest.raises(HttpResponseError):
                await real.kv.get("c", "s", "0", attribute_names=["__last_sequence_num"])
            await real.stream.put_records("c", "s", [{"data": "x"}] * 4)
            item = (await real.kv.get("c", "s", "0", attribute_names=["__last_sequence_num"])).output.item
            assert item == {"__last_sequence_num": 4}


def test_stream_is_deleted_with_what_lies_in_it() -> None:
    with Emulator() as platform, client(platform) as real:
        real.stream.create("c", "s", 2)
        real.kv.put("c", "s", "g-millrace", {"stamp": 1})
        real.stream.delete("c", "s")
        assert (platform.streams, platform.items) == ({}, {})


async def test_access_key_is_asked_for() -> None:
    with Emulator() as platform:
        platform.access_keys = {"right"}
        async with async_client(platform, "wrong") as real:
            with pytest.raises(HttpResponseError) as caught:
                await real.stream.create("c", "s", 1)
        assert caught.value.status_code == 403


async def test_async_client_repeats_a_write_whose_answer_was_lost() -> None:
    with Emulator() as platform:
        async with async_client(platform) as real:
            await real.stream.create("c", "s", 1)
            platform.fault("PutRecords", drop="after")
            await real.stream.put_records("c", "s", [{"data": "x"}])
        assert platform.values("/c/s", 0) == [b"x", b"x"]  # what Millrace must not do
