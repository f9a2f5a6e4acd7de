"""Addresses of queues."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from millrace.errors import GraphError, MissingDependency
from millrace.queues.address import open_queue, queue_at
from millrace.queues.base import Settings


async def test_address_opens_its_queue(tmp_path: Path) -> None:
    async with await open_queue(f"log://{tmp_path}/orders", Settings(partitions=2)) as queue:
        assert (queue.url, queue.partitions) == (f"log://{tmp_path}/orders", 2)


def test_queue_is_made_without_being_opened(tmp_path: Path) -> None:
    queue_at(f"log://{tmp_path}/orders")
    assert list(tmp_path.iterdir()) == []


def test_path_is_percent_decoded(tmp_path: Path) -> None:
    assert queue_at(f"log://{tmp_path}/my%20orders").path == tmp_path / "my orders"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("kafak://broker/t", "did you mean 'kafka'"),
        ("ftp://host/t", "there are memory://, log://, kafka://, v3io://"),
        ("orders", "memory://name, log:///directory/topic, kafka://brokers/topic"),
    ],
)
def test_unknown_address_says_what_there_is(url: str, words: str) -> None:
    with pytest.raises(GraphError, match=words):
        queue_at(url)


def test_missing_client_says_what_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("millrace.queues.v3io", "v3io"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "v3io", None)
    with pytest.raises(MissingDependency, match=r'v3io: pip install "millrace\[v3io\]"'):
        queue_at("v3io://host/projects/t")


@pytest.mark.parametrize(
    "url",
    ["kafak://u:hush@host/t", "log://u:hush@host/t", "kafka://u:hu/sh@host/t", "kafka://host/a b?password=hush",
     "v3io://u:hush@host/c/p", "v3io://host/c/p?access_key=hush", "u:hush@host/t", "http://u:hush@host/t"],
)  # fmt: skip
def test_secrets_in_an_address_are_in_no_error(url: str) -> None:
    with pytest.raises(GraphError) as refused:
        queue_at(url)
    assert "hush" not in str(refused.value) and "hu/sh" not in str(refused.value)


def test_options_are_in_no_repr_of_settings() -> None:
    assert "hush" not in repr(Settings(options={"sasl_plain_password": "hush", "access_key": "hush"}))
