"""What a graph must be like to be read exactly once, checked before anything is read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ...errors import GraphError
from ...queues.kafka_address import parse_address
from ..engine.engine import Engine
from ..engine.hold import HoldUnit, Inlet
from ..engine.plan import reachable
from ..engine.queue_unit import QueueUnit
from ..engine.unit import Unit
from .real_stream import RealStream
from .wiring import Wire


def check_exactly_once(engine: Engine, unit: Unit, wire: Wire, streams: Iterable[RealStream]) -> None:
    """Whether what comes in by a stream can be handled exactly once.

    :param unit: where the messages come in
    :param streams: those of all queue steps of the graph
    :raises GraphError: says what stands against it
    """
    where = f"'{wire.name}'"
    units = list(reachable([unit]))
    servers = _servers(wire, where, "is read from")
    if wire.settings.options.get("isolation_level", "read_committed") != "read_committed":
        raise GraphError(f"{where}: exactly_once=True reads only committed messages: leave isolation_level out")
    for hold in _holds(engine, units):
        raise GraphError(
            f"{where}: exactly_once=True can not be kept with step '{hold.info.path}', which keeps events of one "
            "message while others are committed: leave exactly_once out, or put a queue before that step"
        )
    for other in _written(engine, units, streams):
        _check_output(other, f"{where} writes to '{other.name}', which", servers)
    letters = wire.dead_letters
    is_near = letters.startswith("kafka://") and parse_address(letters).servers == servers
    if wire.policy.on_failure == "dead_letter" and not is_near:
        raise GraphError(
            f"{where}: exactly_once=True needs its dead letters at {servers}, not in {letters}: give another "
            "dead_letters=, or on_failure='stop'"
        )


def own_wire(wire: Wire, worker: int) -> Wire:
    """The wire for reading in one process; processes of a function that have a ``transactional_id`` differ in it."""
    options = dict(wire.settings.options)
    if options.get("transactional_id"):
        options["transactional_id"] = f"{options['transactional_id']}-{wire.group}-{worker}"
    return replace(wire, settings=replace(wire.settings, options=options))


def _servers(wire: Wire, where: str, what: str) -> str:
    if not wire.url.startswith("kafka://"):
        raise GraphError(
            f"{where} {what} {wire.url}, and exactly_once=True needs topics of Kafka: give it "
            "path='kafka://broker/topic', or leave exactly_once out"
        )
    return parse_address(wire.url).servers


def _check_output(wire: Wire, where: str, servers: str) -> None:
    found = _servers(wire, where, "is")
    if found != servers:
        raise GraphError(
            f"{where} is at {found}, and exactly_once=True stays in the cluster of its input: name the brokers "
            f"{servers} there as here, or leave exactly_once out"
        )


def _holds(engine: Engine, units: list[Unit]) -> Iterator[HoldUnit]:
    """The batches and joins that messages may come to; those in routes are in no plan but their own."""
    yield from (unit.hold for unit in units if isinstance(unit, Inlet))
    elsewhere = set(engine.plan.holds)
    yield from (hold for hold in engine.holds if hold not in elsewhere)


def _written(engine: Engine, units: list[Unit], streams: Iterable[RealStream]) -> Iterator[Wire]:
    """What messages may be written to; the same goes for queue steps in routes."""
    found = {unit.stream for unit in units if isinstance(unit, QueueUnit)}
    elsewhere = {unit.stream for unit in engine.plan.units if isinstance(unit, QueueUnit)}
    yield from (stream.wire for stream in streams if stream in found or stream not in elsewhere)
