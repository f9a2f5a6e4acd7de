"""One stream of a v3io platform, request by request. The only file that knows the v3io client.

The client's own transport checks no certificates (``ssl=False`` is fixed in v3io 0.7), tries a PutRecords again without
knowing whether it was done, and prints errors. So its models and encoders run on a transport of ours.
"""

from __future__ import annotations

import io
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

import aiohttp
import orjson
from v3io.aio.dataplane import Client
from v3io.dataplane.request import Request
from v3io.dataplane.response import Response
from yarl import URL

from ..errors import QueueFull, Unavailable, UpstreamError
from .v3io_options import Options, Place
from .v3io_retry import Backoff

T = TypeVar("T")
Seek = Literal["EARLIEST", "LATEST", "SEQUENCE", "TIME"]
CONDITION_FAILED = frozenset({400, 409, 412})
FULL = 507
TEXT_CHARACTERS = 200


class Refused(UpstreamError):
    """The platform refuses a request, and would again.

    :param code: the HTTP status of its answer; 0 when it was not asked, as it could not be trusted
    """

    def __init__(self, message: str, *, code: int) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Record:
    """A record as a shard holds it."""

    offset: int
    data: bytes
    info: bytes
    key: str | None
    timestamp: float


@dataclass(frozen=True, slots=True)
class Batch:
    """What a shard answered."""

    records: list[Record]
    location: str
    behind: int


class _Transport:
    """Sends the requests that the client's models encode. Each once: who calls knows what may be repeated."""

    def __init__(self, place: Place, options: Options) -> None:
        self._endpoint = place.endpoint
        context: ssl.SSLContext | bool = options.verify_tls
        if options.ca_file:
            context = ssl.create_default_context(cafile=options.ca_file)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=64),
            timeout=aiohttp.ClientTimeout(
                total=options.request_timeout_seconds, sock_connect=options.connect_timeout_seconds
            ),
        )

    async def request(
        self,
        container: str,
        access_key: str,
        raise_for_status: object,
        encoder: Callable[..., Any],
        encoder_args: dict[str, Any],
        output: type | None = None,
    ) -> Any:
        """What the client's models call; the answer has its status checked by the caller."""
        request = Request(container, access_key, raise_for_status, encoder, encoder_args, output)
        url = URL(self._endpoint + request.encode_path(), encoded=True)
        body = io.BytesIO(request.body) if request.body else None  # is sent in pieces, so that the loop goes on
        async with self._session.request(request.method, url, headers=request.headers, data=body) as reply:
            return Response(output, reply.status, reply.headers, await reply.read())

    async def close(self) -> None:
        await self._session.close()


class _Client(Client):  # type: ignore[misc]
    """The v3io client on our transport."""

    def __init__(self, transport: _Transport, access_key: str) -> None:  # the base would make a transport of its own
        self._transport = transport
        self._access_key = access_key
        self.kv, self.object, self.stream, self.container = self._create_models()


class Stream:
    """The requests of one stream. Opened on the loop that it is used on.

    :raises Refused: from every method: the platform refused
    :raises Unavailable: from every method: no answer, or not now, for as long as it was tried
    """

    def __init__(self, place: Place, options: Options, *, url: str) -> None:
        self.url = url
        self._place, self._options = place, options
        self._access_key = options.key(url)
        self._transport = _Transport(place, options)
        self._client = _Client(self._transport, self._access_key)
        self._at = {"container": place.container, "stream_path": place.path}
        self._has_answered = False

    async def describe(self) -> int | None:
        """How many shards the stream has; ``None`` when there is no such stream."""
        reply = await self._ask(lambda: self._client.stream.describe(**self._at), also=(404,))
        return None if reply.status_code == 404 else int(reply.output.shard_count)

    async def create(self, shards: int, hours: int) -> None:
        """Make the stream, if it does not exist yet."""

        async def once() -> Any:
            reply = await self._client.stream.create(**self._at, shard_count=shards, retention_period_hours=hours)
            exists = reply.status_code == 409 or (reply.status_code == 400 and b"ResourceInUse" in reply.body)
            return None if exists else reply

        await self._ask(once)

    async def put(self, shard: int, records: Sequence[Mapping[str, Any]]) -> list[tuple[int | None, str]]:
        """Append records to a shard, once; answers a sequence number or the reason of the failure for each."""
        placed = [{**record, "shard_id": shard} for record in records]
        reply = await self._once(lambda: self._client.stream.put_records(**self._at, records=placed))
        results = reply.output.records if reply.output else []
        if len(results) != len(records):
            raise Unavailable(f"{self.url}: {len(records)} records were sent, and the answer is on {len(results)}")
        return [
            (None, f"{result.error_code} {result.error_message}")
            if result.error_code or result.sequence_number is None
            else (int(result.sequence_number), "")
            for result in results
        ]

    async def seek(self, shard: int, kind: Seek, *, sequence: int = 0, timestamp: float = 0.0) -> str | None:
        """A location in a shard; ``None`` when it has nothing there: no such number, or nothing at all yet."""
        seconds = int(timestamp)
        arguments = {
            "starting_sequence_number": sequence,
            "timestamp_sec": seconds,
            "timestamp_nsec": int((timestamp - seconds) * 1e9),
        }
        reply = await self._ask(
            lambda: self._client.stream.seek(**self._at, shard_id=shard, seek_type=kind, **arguments),
            also=(404, 400) if kind == "SEQUENCE" else (404,),
        )
        return None if reply.status_code >= 400 else str(reply.output.location)

    async def get(self, shard: int, location: str, limit: int) -> Batch | None:
        """Records from a location on; ``None`` when it is none any more, as the records there are gone."""
        reply = await self._ask(
            lambda: self._client.stream.get_records(**self._at, shard_id=shard, location=location, limit=limit),
            also=(404, 400),
        )
        if reply.status_code >= 400:
            return None
        records = [
            Record(
                int(record.sequence_number),
                record.data or b"",
                record.client_info or b"",
                record.partition_key,
                record.arrival_time_sec + record.arrival_time_nsec / 1e9,
            )
            for record in reply.output.records
        ]
        return Batch(records, str(reply.output.next_location), int(reply.output.records_behind_latest or 0))

    async def item(self, key: str, *, names: Sequence[str] = ("*",)) -> dict[str, Any] | None:
        """The attributes of an item beside the shards, or of a shard; ``None`` when there is none."""
        reply = await self._ask(
            lambda: self._client.kv.get(self._place.container, self._place.path, key, attribute_names=names),
            also=(404,),
        )
        return None if reply.status_code == 404 else dict(reply.output.item)

    async def replace_item(self, key: str, attributes: Mapping[str, Any], *, condition: str | None = None) -> bool:
        """Write an item as a whole; answers whether the condition was met. Sent once."""
        arguments = (self._place.container, self._place.path, key, dict(attributes))
        also = CONDITION_FAILED if condition else ()
        reply = await self._once(lambda: self._client.kv.put(*arguments, condition=condition), also=also)
        return bool(reply.status_code < 300)

    async def update_item(self, key: str, attributes: Mapping[str, Any]) -> None:
        """Set some attributes of an item."""
        arguments = (self._place.container, self._place.path, key)
        await self._ask(lambda: self._client.kv.update(*arguments, attributes=dict(attributes)))

    async def names(self, *, folders: bool = False) -> list[str]:
        """The names of the items beside the shards and of the shards, or of the folders in the path."""
        prefix = f"{self._place.path}/" if self._place.path else ""
        found: list[str] = []
        marker: str | None = None
        while True:
            page = partial(
                self._client.container.list,
                self._place.container, prefix, directories_only=folders or None, marker=marker,
            )  # fmt: skip
            reply = await self._ask(page, also=(404,))
            if reply.status_code == 404:
                return found
            listed = reply.output
            paths = [one.prefix for one in listed.common_prefixes] if folders else [one.key for one in listed.contents]
            found += [path.strip("/").rpartition("/")[2] for path in paths]
            marker = listed.next_marker
            if listed.is_truncated != "true" or not marker:
                return found

    async def close(self) -> None:
        """Let go of the connections."""
        await self._transport.close()

    async def _ask(self, call: Callable[[], Awaitable[Any]], *, also: Sequence[int] = ()) -> Any:
        """Send what may be repeated, until it is answered."""
        if not self._has_answered:
            return await self._ask_first(call, also)
        backoff = Backoff(self._options.retry_timeout_seconds)
        while True:
            try:
                return await self._once(call, also=also)
            except Unavailable:
                if not await backoff.wait():
                    raise

    async def _ask_first(self, call: Callable[[], Awaitable[Any]], also: Sequence[int]) -> Any:
        """The first request: it says soon that nobody is there, as the address may be wrong."""
        seconds = self._options.connect_timeout_seconds
        deadline, backoff = time.monotonic() + seconds, Backoff(seconds)
        while not self._has_answered:
            try:
                return await self._once(call, also=also)
            except Unavailable as error:
                if not self._has_answered and (time.monotonic() >= deadline or not await backoff.wait()):
                    raise Unavailable(
                        f"{error}; gave up after {seconds:g} s: is the address right, and the platform running? "
                        "The option connect_timeout_seconds sets the time"
                    ) from None
        return await self._ask(call, also=also)

    async def _once(self, call: Callable[[], Awaitable[Any]], *, also: Sequence[int] | frozenset[int] = ()) -> Any:
        """Send a request and check its answer."""
        try:
            reply = await call()
        except aiohttp.ClientConnectorCertificateError as error:
            raise Refused(
                f"{self.url}: {self._place.endpoint} is not to be trusted: {error.certificate_error}; "
                "name the certificate's authority with the option ca_file, or trust anyone with verify_tls=False",
                code=0,
            ) from None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"{self.url}: no answer from {self._place.endpoint}: {self._safe(repr(error))}") from None
        self._has_answered = True
        if reply is None or reply.status_code < 300 or reply.status_code in also:
            return reply
        text = f"{self.url}: {self._place.endpoint} answers {reply.status_code} {self._safe(_text(reply.body))}"
        if reply.status_code == FULL:
            raise QueueFull(f"{text}: the platform's storage is full; free some, or shorten the retention")
        if reply.status_code >= 500 or reply.status_code == 429:
            raise Unavailable(text)
        raise Refused(text + _way_out(reply.status_code), code=reply.status_code)

    def _safe(self, text: str) -> str:
        """A text without the access key, should the platform have repeated it."""
        return text.replace(self._access_key, "***")[:TEXT_CHARACTERS]


def _text(body: bytes) -> str:
    try:
        answer = orjson.loads(body)
        return f"{answer['ErrorCode']} {answer['ErrorMessage']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return body.decode("utf-8", "replace")


def _way_out(code: int) -> str:
    if code in (401, 403):
        return ": check the access key (V3IO_ACCESS_KEY) and its rights on the container"
    return ""
