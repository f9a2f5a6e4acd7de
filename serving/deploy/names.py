"""Names that Kubernetes, and so Nuclio, takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ...errors import SpecError

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # RFC 1035
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
IMAGE = re.compile(r"[a-z0-9]([a-z0-9._/:-]*[a-z0-9])?(:[A-Za-z0-9_][-A-Za-z0-9_.]*)?(@sha256:[0-9a-f]{64})?")
VARIABLE = re.compile(r"[-._A-Za-z][-._A-Za-z0-9]*")
LONGEST_PROJECT = 63
LONGEST_FUNCTION = 56
"""Of the 63 characters that a Service's name may have, Nuclio takes the first 7 for ``nuclio-``."""


def check_name(name: str, *, what: str, longest: int = LONGEST_FUNCTION) -> str:
    """The name, if it is allowed.

    :param what: what errors call it, such as ``"project"``

    >>> check_name("My_Graph", what="function")
    Traceback (most recent call last):
    millrace.errors.SpecError: the function name 'My_Graph' is not allowed: use at most 56 lower-case letters, digits \
and '-', first a letter and last no '-', such as 'my-graph'
    """
    if not LABEL.fullmatch(name) or len(name) > longest:
        better = re.sub(r"[^a-z0-9]+", "-", name.lower()).lstrip("0123456789-")[:longest].strip("-") or "my-function"
        raise SpecError(
            f"the {what} name '{name}' is not allowed: use at most {longest} lower-case letters, digits and '-', first "
            f"a letter and last no '-', such as '{better}'"
        )
    return name


def check_labels(labels: Mapping[str, str], *, function: str) -> None:
    """Refuse labels that Kubernetes refuses.

    :raises SpecError: a key or a value is not allowed

    >>> check_labels({"team": "data science"}, function="f")
    Traceback (most recent call last):
    millrace.errors.SpecError: function 'f': the label team='data science' is not allowed: a value has at most 63 \
letters, digits, '-', '_' and '.'; annotations take any text
    """
    check_keys(labels, what="label", function=function)
    for key, text in labels.items():
        if not VALUE.fullmatch(text) or len(text) > LONGEST_PROJECT:
            raise SpecError(
                f"function '{function}': the label {key}={text!r} is not allowed: a value has at most "
                f"{LONGEST_PROJECT} letters, digits, '-', '_' and '.'; annotations take any text"
            )


def check_keys(values: Mapping[str, str], *, what: str, function: str) -> None:
    """Refuse labels, annotations and the like whose keys Kubernetes refuses, or whose values are no texts.

    :param what: what errors call one of them

    >>> check_keys({"gpu": True}, what="node selector", function="f")
    Traceback (most recent call last):
    millrace.errors.SpecError: function 'f': the node selector gpu=True is not allowed: Kubernetes takes texts; write \
'true'
    """
    for key, value in values.items():
        if not isinstance(value, str):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            raise SpecError(
                f"function '{function}': the {what} {key}={value!r} is not allowed: Kubernetes takes texts; write "
                f"{text!r}"
            )
        prefix, slash, name = str(key).rpartition("/")
        is_name = name and VALUE.fullmatch(name) and len(name) <= LONGEST_PROJECT
        if not is_name or (slash and not PREFIX.fullmatch(prefix)):
            raise SpecError(
                f"function '{function}': the {what} '{key}' is not allowed: a key has at most {LONGEST_PROJECT} "
                "letters, digits, '-', '_' and '.', and before them perhaps a domain and '/'"
            )


def check_variables(names: Iterable[str], *, function: str) -> None:
    """Refuse names of environment variables that Kubernetes refuses.

    :raises SpecError: one is not allowed

    >>> check_variables(["LOG LEVEL"], function="f")
    Traceback (most recent call last):
    millrace.errors.SpecError: function 'f': 'LOG LEVEL' can not name an environment variable: use letters, digits, \
'_', '-' and '.', first no digit
    """
    for name in names:
        if not VARIABLE.fullmatch(name):
            raise SpecError(
                f"function '{function}': '{name}' can not name an environment variable: use letters, digits, '_', '-' "
                "and '.', first no digit"
            )


def check_image(name: str) -> str:
    """The name of an image, if it can be one.

    >>> check_image("registry.example.com:5000/shop/orders:1.2")
    'registry.example.com:5000/shop/orders:1.2'
    """
    if not IMAGE.fullmatch(name):
        raise SpecError(f"image='{name}' is no name of an image; write it as 'registry.example.com/name:tag'")
    return name
