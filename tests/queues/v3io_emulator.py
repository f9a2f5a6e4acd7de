"""A v3io platform for tests: streams and items over HTTP on this machine, as its web API reference describes them.

The header ``X-v3io-function`` says what is asked, the path where; the method does not matter. What the tests of the
real clients (``test_v3io_emulator.py``) do not show is marked as an assumption here:

- a condition that is not met is answered with 400
- a shard has no item, and no location, before its first record (nuclio's consumer groups wait for that)
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import ssl
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self
from xml.sax.saxutils import escape

from aiohttp import web

LOCATION = struct.Struct("<IIQ")
MOST_RECORDS = 1_000
MOST_BYTES = 10 << 20
MOST_RECORD_BYTES = 2 << 20
MOST_INFO_BYTES = 16
INVALID, OUT_OF_RANGE, DENIED, MISSING, IN_USE = -201326592, -201326594, -13, -2, -17


class Problem(Exception):
    """An answer with an error status."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message

    @property
    def answer(self) -> web.Response:
        return web.json_response({"ErrorCode": self.code, "ErrorMessage": self.message}, status=self.status)


@dataclass
class Shard:
    """Records with their numbers; numbers may be left out."""

    records: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)  # number, arrival in ns, as sent
    last: int = 0

    def place(self, number: int) -> int:
        """The index of the first record with this number or a later one."""
        return next((i for i, record in enumerate(self.records) if record[0] >= number), len(self.records))


@dataclass
class Stream:
    """A stream's shards, which exist from their first record on."""

    shards: list[Shard]
    hours: int
    turn: int = 0


@dataclass
class Fault:
    """What goes wrong with the next requests of a function.

    :param status: answered instead of doing it
    :param drop: the connection is cut, "before" it is done or "after"
    :param fail: which records of a PutRecords fail, by their index
    :param hold: waits for this before it is done
    """

    times: int = 1
    status: int = 0
    drop: str = ""
    fail: Callable[[int], bool] | None = None
    hold: threading.Event | None = None


class Emulator:
    """A platform, from ``with`` to its end. All state is open to tests.

    :param in_use: the status of CreateStream for a stream that exists: 409, or 400 on older platforms
    :param gap: how many numbers are left out after each record
    """

    def __init__(self, *, in_use: int = 409, gap: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.streams: dict[str, Stream] = {}
        self.items: dict[str, dict[str, dict[str, Any]]] = {}
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.access_keys: set[str] | None = None
        self.arrival: int | None = None
        self._in_use, self._gap, self._tls = in_use, gap, tls
        self._faults: dict[str, list[Fault]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        if self._runner is not None:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def host(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def counts(self) -> Counter[str]:
        """How often each function was asked for."""
        return Counter(function for function, _, _ in self.asked)

    def fault(self, function: str, **what: Any) -> None:
        """Let the next requests of a function go wrong."""
        self._faults.setdefault(function, []).append(Fault(**what))

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self._faults.clear()

    def trim(self, path: str, shard: int, before: int) -> None:
        """Let the retention delete the records of a shard before a number."""
        kept = self.streams[path].shards[shard]
        kept.records = [record for record in kept.records if record[0] >= before]

    def values(self, path: str, shard: int) -> list[bytes]:
        """The data of a shard's records."""
        return [base64.b64decode(record["Data"]) for _, _, record in self.streams[path].shards[shard].records]

    async def _serve(self) -> str:
        app = web.Application(client_max_size=2 * MOST_BYTES)
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._runner.addresses[0][1]}"

    async def _answer(self, request: web.Request) -> web.Response:
        function = request.headers.get("X-v3io-function", request.method)
        path = "/" + "/".join(part for part in request.path.split("/") if part)
        self.asked.append((function, request.raw_path, dict(request.headers)))
        fault = self._next_fault(function)
        if fault.hold is not None:
            await asyncio.get_running_loop().run_in_executor(None, fault.hold.wait, 10)
        if fault.drop == "before":
            return _cut(request)
        if fault.status:
            return Problem(fault.status, -1, "injected").answer
        try:
            answer = self._do(request, function, path, await request.read(), fault)
        except Problem as problem:
            answer = problem.answer
        return _cut(request) if fault.drop == "after" else answer

    def _next_fault(self, function: str) -> Fault:
        faults = self._faults.get(function, [])
        while faults and faults[0].times <= 0:
            faults.pop(0)
        if not faults:
            return Fault()
        faults[0].times -= 1
        return faults[0]

    def _do(self, request: web.Request, function: str, path: str, body: bytes, fault: Fault) -> web.Response:
        key = request.headers.get("X-v3io-session-key")
        if key is None:
            raise Problem(401, DENIED, "Permission denied")
        if self.access_keys is not None and key not in self.access_keys:
            raise Problem(403, -1, f"Operation not permitted for {key}")
        if len(body) > MOST_BYTES:
            raise Problem(400, INVALID, "InvalidArgumentException")
        asked = json.loads(body) if body and "X-v3io-function" in request.headers else {}
        if function == "PutRecords":
            return self._put_records(path, asked, fault)
        functions: dict[str, Callable[[str, dict[str, Any]], web.Response]] = {
            "CreateStream": self._create, "UpdateStream": self._update, "DescribeStream": self._describe,
            "SeekShard": self._seek, "GetRecords": self._get_records,
            "GetItem": self._get_item, "PutItem": self._put_item, "UpdateItem": self._put_item,
        }  # fmt: skip
        if function in functions:
            return functions[function](path, asked)
        if function == "GET" and "prefix" in request.query:
            return self._list(path, request.query["prefix"])
        if function == "DELETE":
            return self._delete(path)
        raise Problem(404, MISSING, "No such file or directory")

    def _create(self, path: str, asked: dict[str, Any]) -> web.Response:
        if path in self.streams:
            raise Problem(self._in_use, IN_USE, "ResourceInUseException")
        self.streams[path] = Stream([Shard() for _ in range(asked["ShardCount"])], asked["RetentionPeriodHours"])
        return web.Response(status=204)

    def _update(self, path: str, asked: dict[str, Any]) -> web.Response:
        stream = self._stream(path)
        if asked["ShardCount"] < len(stream.shards):
            raise Problem(400, INVALID, "InvalidArgumentException")
        stream.shards += [Shard() for _ in range(asked["ShardCount"] - len(stream.shards))]
        return web.Response(status=204)

    def _describe(self, path: str, asked: dict[str, Any]) -> web.Response:
        stream = self._stream(path)
        return web.json_response({"ShardCount": len(stream.shards), "RetentionPeriodHours": stream.hours})

    def _put_records(self, path: str, asked: dict[str, Any], fault: Fault) -> web.Response:
        stream = self._stream(path)
        if not 0 < len(asked["Records"]) <= MOST_RECORDS:
            raise Problem(400, INVALID, "InvalidArgumentException")
        for record in asked["Records"]:
            if len(record["Data"]) * 3 // 4 > MOST_RECORD_BYTES + 2:
                raise Problem(400, INVALID, "InvalidArgumentException")
            if len(base64.b64decode(record.get("ClientInfo", ""))) > MOST_INFO_BYTES:
                raise Problem(400, INVALID, "InvalidArgumentException")
        results = []
        for index, record in enumerate(asked["Records"]):
            is_failed = fault.fail is not None and fault.fail(index)
            results.append(
                {"ErrorCode": -1, "ErrorMessage": "injected"} if is_failed else self._put_record(stream, record)
            )
        failed = sum("ErrorCode" in result for result in results)
        return web.json_response({"FailedRecordCount": failed, "Records": results})

    def _put_record(self, stream: Stream, record: dict[str, Any]) -> dict[str, Any]:
        count = len(stream.shards)
        number = record.get("ShardId")
        if number is None and record.get("PartitionKey"):
            number = zlib.crc32(record["PartitionKey"].encode()) % count
        elif number is None:
            number = stream.turn = (stream.turn + 1) % count
        if not 0 <= number < count:
            return {"ErrorCode": OUT_OF_RANGE, "ErrorMessage": "ShardIDOutOfRangeException"}
        shard = stream.shards[number]
        shard.last += 1 + (self._gap if shard.last else 0)
        shard.records.append((shard.last, self.arrival or time.time_ns(), record))
        return {"SequenceNumber": shard.last, "ShardId": number}

    def _seek(self, path: str, asked: dict[str, Any]) -> web.Response:
        shard = self._existing_shard(path)
        records = shard.records
        if asked["Type"] == "EARLIEST":
            number = records[0][0] if records else shard.last + 1
        elif asked["Type"] == "LATEST":
            number = shard.last + 1
        elif asked["Type"] == "SEQUENCE":
            number = asked["StartingSequenceNumber"]
            if all(record[0] != number for record in records):
                raise Problem(400, INVALID, "InvalidArgumentException")
        else:
            since = asked["TimestampSec"] * 10**9 + asked["TimestampNSec"]
            number = next((record[0] for record in records if record[1] >= since), shard.last + 1)
        return web.json_response({"Location": _location(number)})

    def _get_records(self, path: str, asked: dict[str, Any]) -> web.Response:
        shard = self._existing_shard(path)
        number = LOCATION.unpack(base64.b64decode(asked["Location"]))[2]
        if shard.records and number < shard.records[0][0]:
            raise Problem(400, INVALID, "IllegalLocationException")
        start = shard.place(number)
        found, room = [], MOST_BYTES
        for place, arrival, sent in shard.records[start : start + (asked.get("Limit") or MOST_RECORDS)]:
            room -= len(sent["Data"])
            if found and room < 0:
                break
            record = {"ArrivalTimeSec": arrival // 10**9, "ArrivalTimeNSec": arrival % 10**9, "SequenceNumber": place}
            kept = {name: sent[name] for name in ("Data", "ClientInfo", "PartitionKey") if name in sent}
            found.append({**record, **kept})
        end = start + len(found)
        number = shard.records[end][0] if end < len(shard.records) else max(number, shard.last + 1)
        behind = len(shard.records) - end
        late = (shard.records[-1][1] - shard.records[end][1]) // 10**6 if behind else 0
        answer = {"NextLocation": _location(number), "MSecBehindLatest": late, "RecordsBehindLatest": behind}
        return web.json_response({**answer, "Records": found})

    def _get_item(self, path: str, asked: dict[str, Any]) -> web.Response:
        item = dict(self._item(path) or {})
        if not item:
            raise Problem(404, MISSING, "No such file or directory")
        names = asked["AttributesToGet"].split(",")
        if names == ["*"]:
            return web.json_response({"Item": {name: item[name] for name in item if not name.startswith("__")}})
        return web.json_response({"Item": {name: item[name] for name in names if name in item}})

    def _item(self, path: str) -> dict[str, dict[str, Any]] | None:
        parent, _, name = path.rpartition("/")
        if parent in self.streams and name.isdigit() and int(name) < len(self.streams[parent].shards):
            shard = self.streams[parent].shards[int(name)]
            system = {"__last_sequence_num": {"N": str(shard.last)}, "__obj_type": {"N": "3"}}
            return {**self.items.get(path, {}), **system} if shard.last else None
        return self.items.get(path)

    def _put_item(self, path: str, asked: dict[str, Any]) -> web.Response:
        present = self.items.get(path)
        if not _is_met(asked.get("ConditionExpression"), present or {}):
            raise Problem(400, INVALID, "the condition is not met")
        now = time.time_ns()
        times = {"__mtime_secs": {"N": str(now // 10**9)}, "__mtime_nsecs": {"N": str(now % 10**9)}}
        kept = present or {} if "UpdateMode" in asked else {}
        self.items[path] = {**kept, **asked["Item"], **times}
        return web.Response(status=204)

    def _list(self, container: str, prefix: str) -> web.Response:
        path = f"{container}/{prefix.strip('/')}".rstrip("/")
        inside = {one.removeprefix(f"{path}/").split("/")[0] for one in self.streams if one.startswith(f"{path}/")}
        if path not in self.streams and not inside:
            return web.Response(status=404, text="<Error/>", content_type="application/xml")
        folders = "".join(
            f"<CommonPrefixes><Prefix>{escape(prefix + name)}/</Prefix></CommonPrefixes>" for name in sorted(inside)
        )
        names = [str(number) for number in range(len(self.streams[path].shards))] if path in self.streams else []
        names += [item.removeprefix(f"{path}/") for item in self.items if item.startswith(f"{path}/")]
        contents = "".join(
            f"<Contents><Key>{escape(prefix + name)}</Key><Size>0</Size><LastSequenceID>0</LastSequenceID></Contents>"
            for name in names
        )
        scalars = "<Name>c</Name><NextMarker></NextMarker><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>"
        text = f"<ListBucketResult>{scalars}{contents}{folders}</ListBucketResult>"
        return web.Response(text=text, content_type="application/xml")

    def _delete(self, path: str) -> web.Response:
        self.streams.pop(path, None)
        self.items.pop(path, None)
        return web.Response(status=204)

    def _stream(self, path: str) -> Stream:
        if path not in self.streams:
            raise Problem(404, MISSING, "ResourceNotFoundException")
        return self.streams[path]

    def _existing_shard(self, path: str) -> Shard:
        parent, _, number = path.rpartition("/")
        stream = self._stream(parent)
        if not number.isdigit() or int(number) >= len(stream.shards):
            raise Problem(400, OUT_OF_RANGE, "ShardIDOutOfRangeException")
        shard = stream.shards[int(number)]
        if not shard.last:
            raise Problem(404, MISSING, "ResourceNotFoundException")
        return shard


def _location(number: int) -> str:
    return base64.b64encode(LOCATION.pack(1, 0, number)).decode()


def _cut(request: web.Request) -> web.Response:
    """Close the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def _is_met(condition: str | None, item: dict[str, dict[str, Any]]) -> bool:
    """Whether an item meets a condition of the forms that nuclio and Millrace use."""
    if condition is None:
        return True
    return all(_is_term_met(term.strip(), item) for term in re.split(r"\s+AND\s+", condition, flags=re.I))


def _is_term_met(term: str, item: dict[str, dict[str, Any]]) -> bool:
    if match := re.fullmatch(r"not\(exists\((\w+)\)\)", term):
        return match[1] not in item
    if match := re.fullmatch(r"\(?(\w+)\s*==\s*(\d+)\)?", term):
        return match[1] in item and int(item[match[1]]["N"]) == int(match[2])
    raise Problem(400, INVALID, f"condition {term!r}")
