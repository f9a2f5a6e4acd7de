"""The classification extension of the Open Inference Protocol: the highest values of an output with their indices.

Source: https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .datatypes import describe, short

PARAMETER = "classification"
NUMBERS = "iuf"


def class_count(parameters: dict[str, Any], name: str) -> int:
    """How many classes are asked for of an output; 0 where its numbers are.

    :raises InvalidInput: it is not a number of classes
    """
    count = parameters.get(PARAMETER)
    if count is None:
        return 0
    if type(count) is not int or count < 1:
        raise InvalidInput(
            f"parameters.classification of the output {short(name)} is {describe(count)}, not a number of 1 or more"
        )
    return count


def classified(array: NDArray[Any], count: int, name: str) -> NDArray[Any]:
    """The `count` highest values of each row, the highest first, as texts ``value:index``.

    :param array: one row for each input, of any shape; with a single dimension it is the values of one input
    :return: an object array of shape [rows, count], or [count]; fewer where a row has fewer values
    :raises InvalidInput: the output holds no numbers

    >>> classified(np.array([[1.0, 5.0, 10.0, 4.0]]), 2, "y").tolist()
    [['10.000000:2', '5.000000:1']]
    >>> classified(np.array([7, 9, 9]), 5, "y").tolist()
    ['9:1', '9:2', '7:0']
    """
    if array.dtype.kind not in NUMBERS or not array.ndim:
        raise InvalidInput(f"the output {short(name)} holds no numbers by class; ask for it without 'classification'")
    rows = array.reshape(len(array), -1) if array.ndim > 1 and array.size else array.reshape(1, -1)
    is_float = array.dtype.kind == "f"
    # Either turns the order round, ~ without an overflow; of equal values the first comes first, and NaN last.
    order = np.argsort(-rows if is_float else ~rows, axis=1, kind="stable")[:, :count]
    write = "{:f}:{}".format if is_float else "{}:{}".format  # as Triton does: six decimals
    best = np.take_along_axis(rows, order, axis=1)
    texts = [write(value, index) for value, index in zip(best.ravel().tolist(), order.ravel().tolist(), strict=True)]
    shape = (len(array), order.shape[1]) if array.ndim > 1 else (order.shape[1],)
    made: NDArray[Any] = np.array(texts, dtype=object)
    return made.reshape(shape if array.size else (*shape[:-1], 0))
