"""What Nuclio's Python wrapper calls: a function's handler, and what makes it.

A deployed function's main file is one line: ``from millrace.serving.functions.nuclio import handler, init_context``.
Which function that is, the environment says: ``MILLRACE_FUNCTION_SPEC`` is the path of its YAML file, or
``MILLRACE_FUNCTION_SPEC_B64`` the file itself, compressed with gzip and in base64. ``MILLRACE_CURRENT_FUNCTION`` names
the child function that runs here; without it, it is the parent, and ``*`` is all of them in one.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import gc
import gzip
import logging
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import SpecError
from ..deploy.unit import DRAIN_VARIABLE, FUNCTION_VARIABLE, SPEC_FILE, SPEC_VARIABLE, TRUST_VARIABLE
from ..doors.nuclio import DRAIN_SECONDS, NuclioDoor
from ..doors.nuclio_streams import NuclioStreams
from ..engine.names import Source
from .function import ServingFunction
from .load import load_target
from .real import StreamsAt
from .runtime import make_engine
from .text import load_yaml

logger = logging.getLogger("millrace.nuclio")

ENCODED_VARIABLE = f"{SPEC_VARIABLE}_B64"
TIMEOUT_VARIABLE = "MILLRACE_REQUEST_TIMEOUT_SECONDS"
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
CODE_FOLDER = "/opt/nuclio"
"""Where Nuclio puts a function's files; its wrapper runs elsewhere."""


def init_context(context: Any) -> None:
    """Load the function, its models with it, before the worker takes events.

    :param context: a ``nuclio_sdk.Context``; the door is kept in its ``user_data``
    :raises SpecError: the environment names no function, or one that can not be read
    :raises GraphError: its graph is wrong
    """
    set_up_logging()
    function, sources = function_of(os.environ)
    engine, streams = make_engine(
        function, sources, current_function=os.environ.get(FUNCTION_VARIABLE, ""),
        streams_at=StreamsAt(kind=NuclioStreams),
    )  # fmt: skip
    assert isinstance(streams, NuclioStreams)  # noqa: S101 - that is the kind that was asked for
    trigger = getattr(context, "trigger", None)
    engine.context.trigger = getattr(trigger, "kind", None) or ""
    worker = str(context.worker_id or "0")
    engine.context.worker_id = int(worker) if worker.isdecimal() else 0
    door = NuclioDoor(
        engine, streams, platform=context.platform, make_response=context.Response, version=__version__,
        on_fault=lambda error: _end(context), request_timeout_seconds=_seconds(TIMEOUT_VARIABLE, 60.0),
        drain_seconds=_seconds(DRAIN_VARIABLE, DRAIN_SECONDS),
    )  # fmt: skip
    context.user_data.millrace = door
    # What has been loaded stays: the collector need not look through it again and again, for every few hundred events.
    gc.collect()
    gc.freeze()
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return  # the first event starts it
    context.user_data.millrace_start = loop.create_task(_started(door))


async def handler(context: Any, event: Any) -> Any:
    """Answer one event; with batches of events, a list of them.

    :param event: a ``nuclio_sdk.Event``
    :return: a ``nuclio_sdk.Response``
    """
    return await context.user_data.millrace(event)


def _seconds(variable: str, default: float) -> float:
    text = os.environ.get(variable, "")
    try:
        return float(text) if text else default
    except ValueError as error:
        raise SpecError(f"{variable}={text!r} is no number of seconds") from error


async def _started(door: NuclioDoor) -> None:
    try:
        await door.start()
    except Exception as error:
        logger.critical("the function can not start, and will try again at the next event: %s", error)


def _end(context: Any) -> None:
    """A message must stay and reading stop: end the worker, so that its replica starts again, and begins there.

    Nuclio knows no other way to stop a worker that reads a stream, and to show that it is in trouble.
    """
    acks = asyncio.get_running_loop().create_task(context.user_data.millrace.acks.flush())
    context.user_data.millrace_end = acks
    acks.add_done_callback(lambda _: _exit(1))


_exit = os._exit


# -- which function ----------------------------------------------------------------------------------------------


def function_of(environment: Mapping[str, str]) -> tuple[ServingFunction, list[Source]]:
    """The function that the environment names, and where its names are looked up first.

    :raises SpecError: it names none, or one that can not be read
    """
    trusted = environment.get(TRUST_VARIABLE, "").strip().lower() in ("1", "true", "yes", "on")
    main = _main_module(environment)
    encoded = environment.get(ENCODED_VARIABLE)
    if encoded:
        return _decoded(encoded, trusted=trusted), main
    named = environment.get(SPEC_VARIABLE)
    file = _found(named or SPEC_FILE)
    if file is None:
        said = f"{SPEC_VARIABLE}={named} is no file here" if named else f"{SPEC_VARIABLE} is not set"
        raise SpecError(f"{said}; it names the function's YAML file, or {ENCODED_VARIABLE} holds it")
    function, sources = load_target(file, trusted=trusted)
    return function, [*sources, *main]


def _found(filename: str) -> str | None:
    """A file of the function, from here or among its code."""
    folders = (".", os.environ.get("NUCLIO_PYTHON_PATH") or CODE_FOLDER)
    return next((str(Path(one, filename)) for one in folders if Path(one, filename).is_file()), None)


def _decoded(encoded: str, *, trusted: bool) -> ServingFunction:
    try:
        text = gzip.decompress(base64.b64decode(encoded, validate=True)).decode()
    except (binascii.Error, OSError, EOFError, UnicodeDecodeError) as error:
        raise SpecError(f"{ENCODED_VARIABLE} is no YAML text in gzip and base64: {error}") from error
    function = ServingFunction.from_dict(load_yaml(text, source=ENCODED_VARIABLE), trusted=trusted)
    for one in (function, *function.spec.functions.values()):
        if one.spec.filename and (file := _found(one.spec.filename)) is not None:
            one.spec.filename = file
    return function


def _main_module(environment: Mapping[str, str]) -> list[Source]:
    """The module that Nuclio calls, where it holds the function's classes as well."""
    name = environment.get("NUCLIO_HANDLER", "").partition(":")[0]
    module = sys.modules.get(name)
    return [module] if module is not None and name != __name__ else []


def set_up_logging() -> None:
    """Let the log go to standard error, unless the program has set up its own.

    It must not go through the wrapper's logger: that writes to the socket of the answers, and a line from a background
    task would stand in the midst of one. What that logger writes itself is left to it.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler_ = logging.StreamHandler(sys.stderr)
    handler_.setFormatter(logging.Formatter(LOG_FORMAT))
    handler_.addFilter(lambda record: not record.name.startswith("nuclio_sdk"))
    root.addHandler(handler_)
    if root.level in (logging.NOTSET, logging.WARNING):
        root.setLevel(logging.INFO)
