"""Interleaved rounds of line-protocol subjects: every subject does the same case next to the others, in every round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .options import Options
from .results import Results
from .subjects import Peer, Subject, WrongAnswer, fitting_events
from .venvs import PeerUnavailable, say


@dataclass(frozen=True)
class Case:
    """A column: what to ask of a peer, and the right answer for `n` events."""

    name: str
    mode: str
    expected: Callable[[int], object]
    parameters: dict[str, Any] = field(default_factory=dict)


def interleaved(cases: Sequence[Case], subjects: Sequence[str], rounds: int) -> Iterable[tuple[Case, str]]:
    """Round by round, case by case, every subject in turn; the turn goes the other way in every second round."""
    for number in range(rounds):
        for case in cases:
            for subject in subjects if number % 2 == 0 else reversed(subjects):
                yield case, subject


def measure(results: Results, subjects: Sequence[Subject], cases: Sequence[Case], options: Options) -> None:
    """Fill `results` with microseconds per event. A subject that fails is dropped with its reason; the others go on."""
    seconds = 0.03 if options.is_quick else 0.15
    peers = _start(results, [s for s in subjects if options.takes(s.name)], options)
    events: dict[tuple[str, str], int] = {}
    try:
        for case in cases:
            for name in list(peers):
                with _Dropping(results, peers, name):
                    if case.mode in peers[name].modes:
                        fit = fitting_events(peers[name], case.mode, seconds=seconds, **case.parameters)
                        events[name, case.name] = fit
        say(f"{options.rounds} rounds of {len(events)} measurements")
        for case, name in interleaved(cases, list(peers), options.rounds):
            if name in peers and (count := events.get((name, case.name))):
                with _Dropping(results, peers, name):
                    took = peers[name].run(case.mode, count, case.expected(count), **case.parameters)
                    results.add(name, case.name, took / count * 1e6)
    finally:
        for peer in peers.values():
            peer.close()


def _start(results: Results, subjects: Iterable[Subject], options: Options) -> dict[str, Peer]:
    peers: dict[str, Peer] = {}
    for subject in subjects:
        with _Dropping(results, peers, subject.name):
            peer = Peer(subject, install=options.may_install)
            peers[subject.name] = peer
            results.versions.update(peer.versions)
    return peers


class _Dropping:
    """A failure inside takes the subject `name` out of the run, and says so."""

    def __init__(self, results: Results, peers: dict[str, Peer], name: str) -> None:
        self._results, self._peers, self._name = results, peers, name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> bool:
        if not isinstance(error, (PeerUnavailable, WrongAnswer)):
            return False
        say(f"{self._name} is left out: {error}")
        self._results.drop(self._name, str(error))
        if peer := self._peers.pop(self._name, None):
            peer.close()
        return True
