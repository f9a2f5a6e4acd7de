"""What the contract tests run on: a backend is one line in BACKENDS. Tests may be coroutines."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from millrace.queues.address import queue_at
from millrace.queues.base import Queue, Settings
from millrace.queues.memory_topic import forget

sys.path.append(str(Path(__file__).parent))  # where the emulators are


@contextmanager
def memory_topic(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    yield f"memory://{folder}", {}
    forget(f"memory://{folder}")


@contextmanager
def log_topic(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    yield f"log://{folder}/topic", {"lease_timeout_seconds": 5.0}


@contextmanager
def v3io_stream(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    from v3io_emulator import Emulator

    quick = {"poll_seconds": 0.005, "idle_poll_seconds": 0.02, "heartbeat_seconds": 0.05}
    with Emulator() as platform:
        yield "v3io:///projects/a topic", {"endpoint": platform.url, "access_key": "secret", **quick}


@contextmanager
def kafka_topic(folder: Path, client: str = "kafka-python") -> Iterator[tuple[str, dict[str, Any]]]:
    from kafka_broker import new_topic, options

    yield new_topic(), options(client)


# A context manager that gives, for an empty folder, the address of a new topic and the backend's options.
BACKENDS: dict[str, Callable[[Path], AbstractContextManager[tuple[str, dict[str, Any]]]]] = {
    "memory": memory_topic,
    "log": log_topic,
    "v3io": v3io_stream,
    "kafka-python": kafka_topic,
    "confluent-kafka": partial(kafka_topic, client="confluent-kafka"),
}

# What a backend can not do, by a part of the test's parameters, and why.
BEYOND = {("v3io", "10 MB"): "a v3io record has 2 MB at most"}


@pytest.fixture(params=BACKENDS)
def topic(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Queue]]:
    """Makes queues of one topic: ``topic(partitions=2)``. Each call is another client of it."""
    if "kafka" in request.param:
        from kafka_broker import skip_beyond_mock

        skip_beyond_mock(request.node.originalname)
    with BACKENDS[request.param](tmp_path) as (url, options):

        def make(partitions: int = 1, **settings: Any) -> Queue:
            return queue_at(url, Settings(partitions=partitions, options=options, **settings))

        yield make


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what a backend can not do."""
    for item in items:
        for (backend, case), reason in BEYOND.items():
            if backend in item.name and case in item.name:
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
