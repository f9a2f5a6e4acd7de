"""What the contract tests run on: a backend is one line in BACKENDS. Tests may be coroutines."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from millrace.queues.address import queue_at
from millrace.queues.base import Queue, Settings


@contextmanager
def log_topic(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    yield f"log://{folder}/topic", {"lease_timeout_seconds": 5.0}


# A context manager that gives, for an empty folder, the address of a new topic and the backend's options.
BACKENDS: dict[str, Callable[[Path], AbstractContextManager[tuple[str, dict[str, Any]]]]] = {
    "log": log_topic,
}


@pytest.fixture(params=BACKENDS)
def topic(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Queue]]:
    """Makes queues of one topic: ``topic(partitions=2)``. Each call is another client of it."""
    with BACKENDS[request.param](tmp_path) as (url, options):

        def make(partitions: int = 1, **settings: Any) -> Queue:
            return queue_at(url, Settings(partitions=partitions, options=options, **settings))

        yield make


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that is a coroutine."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
