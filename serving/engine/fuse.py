"""The last pass of compiling: who answers, what reaches an async step, and which plain units become one segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from .plan import followers, reachable
from .unit import Segment, Unit


def finish(
    root: Segment, leaves: Segment, entries: list[Unit], catchers: list[Unit], *, default_responder: bool
) -> bool:
    """Settle the answers and fuse; whether the graph has an answer of its own.

    :param leaves: where all the ends of the flow lead
    :param default_responder: without a responder, what reaches the end is the answer
    """
    from_root = set(outlets_from([root]))
    answers = any(unit.responds for unit in from_root)
    if default_responder and not answers:
        leaves.responds = answers = True
    everything = list(reachable([root, *entries, *catchers]))
    if not leaves.responds:
        for unit in everything:
            if unit.outlets == (leaves,):
                unit.outlets = ()
    _mark(everything, lambda unit: unit.is_async, "reaches_async")
    responding = _leading_to(everything, lambda unit: unit.responds)
    for unit in everything:
        unit.outlets = tuple(sorted(unit.outlets, key=lambda one: one not in responding))
    _fuse(everything, {root, *entries, *catchers})
    return answers


def outlets_from(starts: Iterable[Unit]) -> list[Unit]:
    """The units that events reach from `starts` without failing."""
    found = list(dict.fromkeys(starts))
    seen = set(found)
    for unit in found:
        for other in (after for after in followers(unit) if after is not unit.info.catcher):
            if other not in seen:
                seen.add(other)
                found.append(other)
    return found


def _leading_to(units: list[Unit], wanted: Callable[[Unit], bool]) -> set[Unit]:
    before: dict[Unit, list[Unit]] = {}
    for unit in units:
        for after in followers(unit):
            before.setdefault(after, []).append(unit)
    found = {unit for unit in units if wanted(unit)}
    todo = list(found)
    for unit in todo:
        for one in before.get(unit, ()):
            if one not in found:
                found.add(one)
                todo.append(one)
    return found


def _mark(units: list[Unit], wanted: Callable[[Unit], bool], attribute: str) -> None:
    for unit in _leading_to(units, wanted):
        setattr(unit, attribute, True)


def _fuse(units: list[Unit], kept: set[Unit]) -> None:
    """Let every segment take in the segment that follows it, where nothing else leads there."""
    inlets = Counter(after for unit in units for after in followers(unit))
    for unit in units:
        for _, _, info in unit.ops if isinstance(unit, Segment) else ():
            if info.catcher is not None:
                kept.add(info.catcher)
    absorbed: set[Unit] = set()
    for unit in units:
        if not isinstance(unit, Segment) or unit in absorbed:
            continue
        while (after := _only_follower(unit)) and inlets[after] == 1 and after not in kept:
            unit.ops += after.ops
            unit.outlets, unit.responds = after.outlets, after.responds
            unit.select, unit.share, unit.info = after.select, after.share, after.info
            absorbed.add(after)


def _only_follower(unit: Segment) -> Segment | None:
    if unit.responds or unit.select is not None or unit.max_rounds or len(unit.outlets) != 1:
        return None
    after = unit.outlets[0]
    return after if isinstance(after, Segment) and not after.max_rounds and after is not unit else None
