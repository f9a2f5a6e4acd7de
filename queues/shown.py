"""Addresses in the texts of errors, which go into logs."""

from __future__ import annotations


def shown(url: str) -> str:
    """An address without the user name, the password and the query that somebody may have put into it.

    >>> shown("kafka://alice:hush@broker/orders?sasl_plain_password=hush")
    'kafka://***@broker/orders'
    >>> shown("log:///var/lib/alice@work/orders")
    'log:///var/lib/alice@work/orders'
    """
    scheme, separator, rest = url.partition("?")[0].rpartition("://")
    if "@" in rest and not rest.startswith("/"):
        rest = f"***@{rest.rpartition('@')[2]}"
    return f"{scheme}{separator}{rest}"
