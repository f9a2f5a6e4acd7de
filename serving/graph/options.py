"""What the engine may be told about one step, whatever its class."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from ...errors import GraphError, near

Execution = Literal["inline", "thread", "process"]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepOptions:
    """Engine options of a step or route. ``None`` means that nothing was said.

    :param execution: where a plain function runs: ``inline`` (in the thread of the engine), ``thread`` or ``process``
    :param retries: how often to try again after an exception; 0 is never
    :param backoff_seconds: the first pause before a retry; it doubles, with jitter, up to 30 s
    :param timeout_seconds: how long one try may take; a plain inline function is moved to a thread for it
    :param max_in_flight: how many events may be inside the step at a time
    :param share: give branches the same body instead of a copy each

    >>> StepOptions(retries=3, timeout_seconds=0.5).given()
    {'retries': 3, 'timeout_seconds': 0.5}
    """

    execution: Execution | None = None
    retries: int | None = None
    backoff_seconds: float | None = None
    timeout_seconds: float | None = None
    max_in_flight: int | None = None
    share: bool | None = None

    def __post_init__(self) -> None:
        if self.execution is not None and self.execution not in get_args(Execution):
            raise GraphError(f"execution={self.execution!r} is none of {', '.join(get_args(Execution))}")
        for name, kind, least in (("retries", int, 0), ("backoff_seconds", float, 0), ("max_in_flight", int, 1)):
            self._check(name, kind, least)
        self._check("timeout_seconds", float, None)
        if self.share is not None and not isinstance(self.share, bool):
            raise GraphError(f"share={self.share!r} must be True or False")

    def _check(self, name: str, kind: type, least: float | None) -> None:
        """A number, of a least value or, with ``None``, more than 0."""
        value = getattr(self, name)
        kinds = (int, float) if kind is float else (int,)
        if value is None:
            return
        is_number = isinstance(value, kinds) and not isinstance(value, bool)
        if not is_number or not (value > 0 if least is None else value >= least):
            what = "a number" if kind is float else "a whole number"
            raise GraphError(f"{name}={value!r} must be {what} {'over 0' if least is None else f'of {least} or more'}")

    def given(self) -> dict[str, Any]:
        """The options that were set."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def overlaid(self, values: dict[str, Any]) -> StepOptions:
        """These options, and where they say nothing, `values`."""
        if not values:
            return self
        return StepOptions(**(values | self.given()))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StepOptions:
        """Options from plain data; an unknown name is a :class:`~millrace.errors.GraphError`."""
        for name in values:
            if name not in OPTION_NAMES:
                raise GraphError(f"there is no step option '{name}'{near(name, OPTION_NAMES)}")
        return cls(**values)


OPTION_NAMES = tuple(field.name for field in fields(StepOptions))
