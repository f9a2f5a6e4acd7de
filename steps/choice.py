"""Choice: the event goes to some of the steps that follow, named by its body."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .base import LibraryStep, body_stays


class Choice(LibraryStep):
    """Send an event only to the steps that :meth:`select_outlets` names.

    Make a subclass with that method, or give a function. ``[]`` drops the event. With an ``input_path=`` it chooses by
    that part of the body, and all of it goes on.

    :param fn: from the body to the name of the next step, or a list of names

    >>> Choice(lambda body: "small" if body < 10 else "large").select_outlets(3)
    'small'
    """

    def __init__(self, fn: Callable[[Any], str | Sequence[str]] | None = None, name: str | None = None) -> None:
        super().__init__(_unchanged)
        self.of_part = (_unchanged, body_stays)
        self.name = name
        self._choose = fn

    def select_outlets(self, body: Any) -> str | Sequence[str] | None:
        """The name or names of the steps that get this body."""
        if self._choose is None:
            raise NotImplementedError(f"{type(self).__name__} needs fn= or a method select_outlets(self, body)")
        return self._choose(body)


class ChoiceByField(Choice):
    """Send an event to the steps that a field of its body names.

    >>> ChoiceByField("goto").select_outlets({"goto": ["a", "b"]})
    ['a', 'b']
    """

    def __init__(self, field_name: str, name: str | None = None) -> None:
        super().__init__(self._field, name)
        self.field_name = field_name

    def _field(self, body: Any) -> str | Sequence[str]:
        if not isinstance(body, dict) or self.field_name not in body:
            raise KeyError(f"the body has no field '{self.field_name}' to choose the next step by")
        names: str | Sequence[str] = body[self.field_name]
        return names


def _unchanged(body: Any) -> Any:
    return body
