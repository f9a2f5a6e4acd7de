"""The messages of consume.py: JSON of about 200 bytes, the same for every peer. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator

PARTITIONS = 4
CUSTOMERS = 1_000
REMARK = "leave it with the neighbours if nobody opens, the bell does not work"


def orders(count: int) -> Iterator[tuple[bytes, bytes]]:
    """So many (key, value)."""
    for number in range(count):
        customer = f"customer-{number % CUSTOMERS:06}"
        yield (
            customer.encode(),
            f'{{"id":{number},"customer":"{customer}","article":"A-{number % 97:04}","cents":{number % 997},'
            f'"pieces":{number % 7},"express":false,"remark":"{REMARK}"}}'.encode(),
        )


def total_cents(count: int) -> int:
    """What all of them are worth."""
    return sum((number % 997) * (number % 7) for number in range(count))
