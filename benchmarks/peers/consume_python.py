"""The three steps with no queue at all: a loop over values in memory. What no consumer gets below."""

from __future__ import annotations

from consume_orders import orders
from consume_protocol import Work, answer


def consume(work: Work, topic: str, group: str) -> None:
    for value in [value for _, value in orders(work.count)]:
        work.do(value)


answer(consume, {})
