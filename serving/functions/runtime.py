"""From a function to a running engine: names, context and streams put together, the graph checked and compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import MillraceError
from ...queues.message import Message
from ..doors.queue_steps import queue_problems
from ..doors.queues import MemoryStreams, Streams
from ..engine.call import Workshop
from ..engine.clock import Clock
from ..engine.compile import Compiler
from ..engine.context import GraphContext
from ..engine.engine import Engine
from ..engine.messages import dumps
from ..engine.names import Namespace, Source
from ..engine.plan import Plan
from ..graph.catching import catching_problems
from ..graph.checks import raise_first, validate
from ..graph.flow import FlowStep
from .code import load_code
from .logins import keep_logins

if TYPE_CHECKING:
    from .function import ServingFunction
    from .real import StreamsAt

ERROR_STREAM = "error_stream"
TRACKING_STREAM = "tracking_stream"


def make_engine(
    function: ServingFunction,
    sources: list[Source],
    *,
    current_function: str = "*",
    clock: Clock | None = None,
    verbose: bool | None = None,
    is_mock: bool = False,
    max_in_flight: int | None = None,
    streams_at: StreamsAt | None = None,
) -> tuple[Engine, Streams]:
    """Check and compile a function's graph.

    :param sources: where names are looked up first
    :param streams_at: make real streams; without it they are those of the mock server
    """
    spec = function.spec
    keep_logins(spec)
    validate(function.graph, spec.functions)
    raise_first([*queue_problems(function.graph, function.name), *catching_problems(function.graph)])
    context = GraphContext(
        name=function.name,
        parameters=spec.parameters,
        secrets=spec.secrets,
        current_function=current_function,
        is_mock=is_mock,
        verbose=function.verbose if verbose is None else verbose,
        clock=clock,
    )
    context.load_mode = spec.load_mode
    context.data_hosts = tuple(spec.data_hosts)
    context.root = function.graph
    streams: Streams = MemoryStreams() if streams_at is None else _real_streams(function, context, streams_at)
    shop = make_workshop(function, sources, context)
    compiler = Compiler(shop, f"graph '{function.name}'", streams.open, current_function)
    plan = _compiled(compiler, function)
    engine = Engine(plan, context, max_in_flight=max_in_flight)
    compiler.link.engine = engine
    if spec.tracking_stream:
        _connect_tracking(context, streams.sink(TRACKING_STREAM, spec.tracking_stream), spec.sampling_percentage)
    if spec.error_stream:
        _connect_errors(context, streams.sink(ERROR_STREAM, spec.error_stream))
    initialize = spec.graph_initializer
    if initialize is not None:
        if isinstance(initialize, str):
            initialize = shop.namespace.find(initialize, step="graph_initializer")
        initialize(engine)
    return engine, streams


def _real_streams(function: ServingFunction, context: GraphContext, at: StreamsAt) -> Streams:
    from .real import real_streams  # noqa: PLC0415 - for start-up: most graphs in a notebook have none

    return real_streams(function, context, at)


def _compiled(compiler: Compiler, function: ServingFunction) -> Plan:
    """The plan; an error in a step's constructor may quote a secret, which is masked."""
    try:
        return compiler.compile(function.graph)
    except MillraceError as error:
        error.args = tuple(function.spec.secrets.mask(str(one)) for one in error.args)
        raise


def make_workshop(function: ServingFunction, sources: list[Source], context: GraphContext) -> Workshop:
    """What a function's steps are built with: where their names are found, and the context that they may ask for."""
    is_sync = isinstance(function.graph, FlowStep) and function.graph.engine == "sync"
    namespace, children = _namespace(function, sources), _children(function, sources)
    return Workshop(namespace, context, "sync" if is_sync else "async", children, is_sync)


def _namespace(function: ServingFunction, sources: list[Source]) -> Namespace:
    filename = function.spec.filename
    code: list[Any] = [lambda: load_code(filename)] if filename else []
    return Namespace([*sources, *code])


def _children(function: ServingFunction, sources: list[Source]) -> dict[str, Namespace]:
    """Where the steps of each child function are looked up: in its own file, then where all others are."""
    found = {}
    for name, child in function.spec.functions.items():
        files = [one for one in (child.spec.filename, function.spec.filename) if one]
        code: list[Any] = [lambda file=file: load_code(file) for file in files]
        found[name] = Namespace([*code[:1], *sources, *code[1:]] if child.spec.filename else [*sources, *code])
    return found


def _connect_errors(context: GraphContext, put: Callable[[Message], Any]) -> None:
    def sink(record: dict[str, Any]) -> None:
        try:
            value = dumps(record)
        except TypeError:
            value = dumps(record | {"event": {"id": record["event"]["id"], "body": repr(record["event"]["body"])}})
        value = context.secrets.mask(value.decode()).encode()
        put(Message(value, headers={"content-type": "application/json"}))

    context.error_sink = sink


def _connect_tracking(context: GraphContext, put: Callable[[Message], Any], percentage: float) -> None:
    def sink(record: dict[str, Any]) -> None:
        put(Message(dumps(record), headers={"content-type": "application/json"}))

    context.tracking_sink, context.sampling_percentage = sink, percentage
