"""What a model declares of its inputs, and checking a request against it before the model sees it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import BadStepArguments, InvalidInput, near
from .datatypes import DTYPES, datatype_of
from .tensors import check_declared

Declared = list[dict[str, Any]]
# The kinds of numpy's dtypes that a plain list of a datatype may have: whole numbers are numbers too.
PLAIN_KINDS = {"f": "iuf", "i": "iu", "u": "iu", "b": "b", "O": "UT"}


def check_declaration(declared: Any, *, model: str) -> Declared:
    """What a model declares, if it is a list of ``{"name", "datatype", "shape"}``.

    :raises BadStepArguments: it is none
    """
    if not isinstance(declared, list):
        raise BadStepArguments(f"model '{model}': inputs= and outputs= are lists of {{'name', 'datatype', 'shape'}}")
    for one in declared:
        if not isinstance(one, dict) or not isinstance(one.get("name"), str):
            raise BadStepArguments(f"model '{model}': each declared input or output is a dict with a 'name'")
        datatype, shape = one.get("datatype"), one.get("shape")
        if datatype is not None and datatype not in DTYPES:
            raise BadStepArguments(
                f"model '{model}': '{one['name']}' has the datatype {datatype!r}, none of {', '.join(DTYPES)}"
            )
        if shape is not None and not (isinstance(shape, (list, tuple)) and all(type(size) is int for size in shape)):
            raise BadStepArguments(f"model '{model}': the shape of '{one['name']}' is a list of whole numbers")
    return declared


def check_inputs(inputs: Any, declared: Declared, *, model: str) -> None:
    """Raise :class:`~millrace.errors.InvalidInput` where inputs are not what the model declares.

    :param inputs: an array, a dict of arrays by name, or a plain list
    :param declared: ``{"name", "datatype", "shape"}`` for each input; -1 is any length. NaN and infinity are refused
        unless it has ``"allow_nan": True``

    >>> check_inputs([[1.0, 2.0]], [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}], model="m")
    """
    if isinstance(inputs, Mapping):
        check_names(inputs, declared, model=model)
        for one in declared:
            check_input(inputs[one["name"]], one, model=model)
    elif len(declared) == 1:
        check_input(inputs, declared[0], model=model)
    else:
        names = ", ".join(one["name"] for one in declared)
        raise InvalidInput(f"model '{model}' takes {len(declared)} inputs ({names}), not one")


def check_names(inputs: Collection[str], declared: Declared, *, model: str) -> None:
    """Raise :class:`~millrace.errors.InvalidInput` where tensors have other names than the model declares.

    >>> check_names(["x"], [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}], model="m")
    """
    known = [one["name"] for one in declared]
    for name in known:
        if name not in inputs:
            raise InvalidInput(f"model '{model}': input '{name}' is missing")
    for name in inputs:
        if name not in known:
            raise InvalidInput(f"model '{model}' has no input '{name}', it takes {', '.join(known)}{near(name, known)}")


def check_input(value: Any, declared: Mapping[str, Any], *, model: str) -> None:
    """Check one input. A tensor may be of another datatype whose values the declared one holds: FP32 where FP64 is."""
    try:
        if isinstance(value, np.ndarray):
            check_declared(value, {**declared, "datatype": _demanded(declared.get("datatype"), value.dtype)})
            array = value
        else:
            array = _plain_array(value, declared)
            check_declared(array, {**declared, "datatype": None})
    except InvalidInput as error:
        raise InvalidInput(f"model '{model}': {error}") from error
    if array.dtype.kind == "f" and not declared.get("allow_nan") and not _is_finite(array):
        raise InvalidInput(f"model '{model}': input '{declared['name']}' holds NaN or infinity")


@lru_cache(maxsize=1024)
def _demanded(datatype: str | None, dtype: np.dtype[Any]) -> str | None:
    """The datatype that a tensor has to have: its own, where the declared one holds its values."""
    if datatype is None or datatype == "BYTES" or dtype.kind not in "iuf":
        return datatype
    return datatype_of(dtype) if np.can_cast(dtype, DTYPES[datatype], "safe") else datatype


def _is_finite(array: np.ndarray[Any, Any]) -> bool:
    return bool(np.count_nonzero(np.isfinite(array)) == array.size)  # for a few numbers, half the time of all()


def _plain_array(value: Any, declared: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    name, datatype = declared["name"], declared.get("datatype")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidInput(f"the rows of input '{name}' have different lengths") from error
    if datatype is None:
        return array
    if declared.get("allow_nan") and array.dtype.kind == "O":
        array = _with_nan(array)
    dtype = DTYPES[datatype]
    if array.dtype.kind not in PLAIN_KINDS[dtype.kind] and array.size:
        raise InvalidInput(f"input '{name}' must hold {datatype}, not {_what(array)}")
    if dtype.kind in "iu" and array.dtype != dtype and array.size:
        limits = np.iinfo(dtype)
        if array.min() < limits.min or array.max() > limits.max:
            raise InvalidInput(f"input '{name}' holds a number that is no {datatype}")
    return array


def _with_nan(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Numbers with NaN where JSON has null, the only way in which it can say NaN."""
    if set(map(type, array.ravel().tolist())) <= {int, float, type(None)}:
        return array.astype(np.float64)
    return array


def _what(array: np.ndarray[Any, Any]) -> str:
    names = {"U": "text", "S": "bytes", "O": "null or mixed values", "f": "fractions", "b": "true and false"}
    return names.get(array.dtype.kind, str(array.dtype))


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
                raise InvalidInput(f"model '{model}': a row has no feature '{name}'{near(name, row)}")
    return [[row[name] for name in features] for row in rows]
