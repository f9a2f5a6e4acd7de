"""Objects as cloudpickle that is the same in every process, so that what has not changed is not deployed again."""

from __future__ import annotations

import hashlib
from typing import Any

DIGITS = 32
"""Of the ids by which cloudpickle knows classes again; they are random in each process (``uuid4().hex``)."""


def stable_pickle(value: Any) -> bytes:
    """A value as cloudpickle. The ids of classes in it are made of what the classes are.

    A set is written in the order that it has in this process; that of texts differs unless ``PYTHONHASHSEED`` is set.

    >>> import pickle
    >>> pickle.loads(stable_pickle({"a": [1]}))
    {'a': [1]}
    """
    from cloudpickle import cloudpickle  # noqa: PLC0415 - only when asked for

    ids, classes = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS, cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID
    packed = bytes(cloudpickle.dumps(value))
    for one, old in list(ids.items()):
        if old.encode() in packed:
            new = _id_of(cloudpickle.dumps(one), [known.encode() for known in ids.values()])
            # Here the class is known by both: what is loaded again is this class and no copy.
            classes.setdefault(new, one)
            packed = packed.replace(old.encode(), new.encode())
    return packed


def _id_of(packed: bytes, ids: list[bytes]) -> str:
    """An id for a packed class; the random ones in it count by their order alone."""
    inside = sorted((one for one in ids if one in packed), key=packed.index)
    for number, one in enumerate(inside):
        packed = packed.replace(one, b"%0*d" % (DIGITS, number))
    return hashlib.sha256(packed).hexdigest()[:DIGITS]
