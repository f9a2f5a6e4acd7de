"""What the pages and the docstrings have in common."""

import pytest

from millrace.queues import memory_topic


@pytest.fixture(autouse=True)
def no_topics_of_others(monkeypatch):
    """Each page and each module begins with no topics in memory, as a reader's program does."""
    monkeypatch.setattr(memory_topic, "_topics", {})
