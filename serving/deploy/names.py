"""Names that Kubernetes, and so Nuclio, takes."""

from __future__ import annotations

import re

from ...errors import SpecError

LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")  # RFC 1035
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
