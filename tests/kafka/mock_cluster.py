"""The mock cluster inside confluent-kafka's wheel, in a process of its own: it aborts on what it does not know.

librdkafka calls this interface experimental (rdkafka_mock.h). Topics are made by writing their name and number of
partitions to its stdin.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path


class MockProcess:
    """A running mock cluster."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        self.servers = self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def make_topic(self, name: str, partitions: int) -> None:
        """Make a topic; the mock refuses the request that clients make."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{name} {partitions}\n")
        self._process.stdin.flush()
        self._line()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


def load() -> ctypes.CDLL:
    """librdkafka, with the signatures that are used here."""
    import confluent_kafka

    (path,) = (Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs").glob("librdkafka-*.so*")
    library = ctypes.CDLL(str(path))
    library.rd_kafka_conf_new.restype = ctypes.c_void_p
    library.rd_kafka_new.restype = ctypes.c_void_p
    library.rd_kafka_new.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
    library.rd_kafka_mock_cluster_new.restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_new.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    library.rd_kafka_mock_cluster_bootstraps.argtypes = [ctypes.c_void_p]
    library.rd_kafka_mock_topic_create.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_int]
    return library


def main() -> None:
    """Run until stdin ends."""
    library = load()
    error = ctypes.create_string_buffer(512)
    handle = library.rd_kafka_new(0, library.rd_kafka_conf_new(), error, 512)
    cluster = library.rd_kafka_mock_cluster_new(handle, 1)
    print(library.rd_kafka_mock_cluster_bootstraps(cluster).decode(), flush=True)
    for line in sys.stdin:
        name, partitions = line.split()
        print(library.rd_kafka_mock_topic_create(cluster, name.encode(), int(partitions), 1), flush=True)


if __name__ == "__main__":
    main()
