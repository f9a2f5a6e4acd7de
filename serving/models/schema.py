"""What a model declares of its inputs, and checking a request against it before the model sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...errors import InvalidInput
from .tensors import check_declared

Declared = list[dict[str, Any]]
KINDS = {"FP": "iuf", "IN": "iu", "UI": "iu", "BO": "b"}


def check_inputs(inputs: Any, declared: Declared, *, model: str) -> None:
    """Raise :class:`~millrace.errors.InvalidInput` where inputs are not what the model declares.

    :param inputs: an array, a dict of arrays by name, or a plain list
    :param declared: ``{"name", "datatype", "shape"}`` for each input; -1 is any length; ``"allow_nan": True`` lets NaN in

    >>> check_inputs([[1.0, 2.0]], [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}], model="m")
    """
    if isinstance(inputs, Mapping):
        for one in declared:
            if one["name"] not in inputs:
                raise InvalidInput(f"model '{model}': input '{one['name']}' is missing")
            check_input(inputs[one["name"]], one, model=model)
    elif len(declared) == 1:
        check_input(inputs, declared[0], model=model)
    else:
        names = ", ".join(one["name"] for one in declared)
        raise InvalidInput(f"model '{model}' takes {len(declared)} inputs ({names}), not one")


def check_input(value: Any, declared: dict[str, Any], *, model: str) -> None:
    """Check one input."""
    if isinstance(value, np.ndarray):
        check_declared(value, declared)
        array = value
    else:
        array = _as_array(value, declared, model)
        _check_shape(array.shape, declared, model)
    if array.dtype.kind == "f" and not declared.get("allow_nan") and not np.isfinite(array).all():
        raise InvalidInput(f"model '{model}': input '{declared['name']}' holds NaN or infinity")


def _as_array(value: Any, declared: dict[str, Any], model: str) -> np.ndarray[Any, Any]:
    name = declared["name"]
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidInput(f"model '{model}': the rows of input '{name}' have different lengths") from error
    kinds = KINDS.get(str(declared.get("datatype", ""))[:2])
    if kinds is not None and array.dtype.kind not in kinds and array.size:
        raise InvalidInput(f"model '{model}': input '{name}' must hold {declared['datatype']}, not {_what(array)}")
    return array


def _what(array: np.ndarray[Any, Any]) -> str:
    if array.dtype.kind in "US":
        return "text"
    return "null or mixed values" if array.dtype.kind == "O" else str(array.dtype)


def _check_shape(shape: tuple[int, ...], declared: dict[str, Any], model: str) -> None:
    wanted = declared.get("shape")
    if wanted is None:
        return
    if len(shape) != len(wanted) or any(w not in (-1, s) for s, w in zip(shape, wanted, strict=True)):
        raise InvalidInput(
            f"model '{model}': input '{declared['name']}' has the shape {list(shape)}, and must have {list(wanted)} "
            "(-1 is any length)"
        )


def rows_by_feature(inputs: Any, features: list[str], *, model: str) -> list[list[Any]]:
    """Rows given as dicts (or one dict) as lists in the order of the model's features.

    >>> rows_by_feature([{"b": 2, "a": 1}], ["a", "b"], model="m")
    [[1, 2]]
    """
    rows = [inputs] if isinstance(inputs, dict) else inputs
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidInput(f"model '{model}': inputs must be a dict of features, or a list of them")
    for row in rows:
        for name in features:
            if name not in row:
                raise InvalidInput(f"model '{model}': a row has no feature '{name}'")
    return [[row[name] for name in features] for row in rows]
