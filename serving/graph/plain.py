"""Values of steps as plain data: names for what imports by name, cloudpickle for the rest where that is wanted."""

from __future__ import annotations

import base64
import binascii
import importlib
from pathlib import PurePath
from typing import Any

from ...errors import GraphError, SpecError, UntrustedPickle
from .stable_pickle import stable_pickle

CODE_MODULE = "millrace_code_"
"""The first part of the names of modules made from a function's own code file, in which names are looked up anyway."""
PICKLE = "$pickle"


def to_plain(value: Any, *, where: str, pickle: bool = False) -> Any:
    """A value as what YAML and JSON can say.

    :param where: what errors name, such as ``"step 'a'"``
    :param pickle: write objects that do not import by name as cloudpickle; else they are an error

    >>> to_plain({"a": (1, 2)}, where="step 's'"), to_plain(len, where="step 's'")
    ({'a': [1, 2]}, 'builtins.len')
    """
    if value is None or type(value) in (str, int, float, bool):
        return value
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _inner(one, where, pickle) for key, one in value.items()}
    if type(value) in (list, tuple):
        return [_inner(one, where, pickle) for one in value]
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float):
        return float(value)
    return import_name(value) or _packed(value, where, pickle)


def _inner(value: Any, where: str, pickle: bool) -> Any:
    """A value inside a list or a mapping, where a name would be read as a text."""
    plain = to_plain(value, where=where, pickle=pickle)
    if isinstance(plain, str) and not isinstance(value, (str, PurePath)):
        return _packed(value, where, pickle)
    return plain


def _packed(value: Any, where: str, pickle: bool) -> dict[str, str]:
    if not pickle:
        raise GraphError(
            f"{where} holds {value!r:.80}, which can not be written by name; give a name from a module, "
            "or write it with to_yaml(pickle=True) and load it with trusted=True"
        )
    return {PICKLE: _pickled(value, where)}


def import_name(value: Any) -> str | None:
    """The dotted name under which a class or function imports, or ``None``."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or module == "__main__" or "<" in name:
        return None
    if module.startswith(CODE_MODULE):
        return name
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return None
    return f"{module}.{name}" if found is value else None


def _pickled(value: Any, where: str) -> str:
    try:
        return base64.b64encode(stable_pickle(value)).decode()
    except Exception as error:
        raise GraphError(f"{where}: {value!r:.80} does not pickle: {error}") from error


def unpickled(value: Any, *, step: str, trusted: bool) -> Any:
    """Plain data with its pickled objects made again.

    :raises UntrustedPickle: there is one, and the spec is not trusted
    """
    if isinstance(value, dict):
        if PICKLE in value:
            return _unpickled(value[PICKLE], step, trusted)
        return {key: unpickled(one, step=step, trusted=trusted) for key, one in value.items()}
    if isinstance(value, list):
        return [unpickled(one, step=step, trusted=trusted) for one in value]
    return value


def _unpickled(text: Any, step: str, trusted: bool) -> Any:
    if not trusted:
        raise UntrustedPickle(step)
    import cloudpickle  # noqa: PLC0415 - only when trusted

    try:
        return cloudpickle.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, TypeError, ValueError) as error:
        raise SpecError(f"step '{step}': the pickled object is damaged: {error}") from error
    except Exception as error:
        raise SpecError(
            f"step '{step}': the pickled object can not be made here: {type(error).__name__}: {error}"
        ) from error
