"""The timestamp of plain answers."""

from datetime import UTC, datetime

import pytest

from millrace.serving.models import dialect
from millrace.serving.models.dialect import now_text


def clock_text():
    return datetime.now(UTC).isoformat(" ", "microseconds")


def test_timestamp_lies_between_what_the_clock_says_before_and_after():
    times = [text for _ in range(3_000) for text in (clock_text(), now_text())]
    assert times == sorted(times)


@pytest.mark.parametrize("moments", [[999, 1_000, 999_999_999, 1_000_000_000], [5_000_000_000, 4_999_999_000]])
def test_timestamp_follows_the_clock_to_the_microsecond(monkeypatch, moments):
    day = 1_700_000_000  # 2023-11-14 22:13:20 UTC
    for moment in moments:
        monkeypatch.setattr(dialect.time, "time_ns", lambda moment=moment: day * 10**9 + moment)
        seconds, rest = divmod(moment, 10**9)
        assert now_text() == f"2023-11-14 22:13:{20 + seconds}.{rest // 1000:06d}+00:00"
