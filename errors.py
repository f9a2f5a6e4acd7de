"""Every error that Millrace raises, each with the HTTP status that a caller sees.

::

    MillraceError                      500
    ├── GraphError (ValueError)        the graph is wrong; found before anything runs
    │   ├── DuplicateStep, UnknownStep, UndeclaredCycle, NameNotFound, BadStepArguments, SpecError
    ├── MissingDependency (ImportError), MissingProgram
    ├── CannotListen                   the address of a server is taken, or none of this machine
    ├── SecretNotFound, UntrustedPickle
    ├── StepError                      500  a step broke; the original exception is its ``__cause__``
    ├── TooManyIterations              500  an event went around a cycle too often
    ├── RequestFailed (RuntimeError)   raised to the caller of ``server.test``, with the true status
    └── RequestError                        the event could not be served as asked
        ├── BadRequest                 400
        ├── Unauthorized 401, Forbidden 403
        ├── RouteNotFound              404  (ModelNotFound, OperationNotFound)
        ├── MethodNotAllowed           405
        ├── RequestTimeout             408
        ├── Conflict                   409
        ├── BodyTooLarge               413
        ├── InvalidInput               422
        ├── TooManyRequests            429  (QueueFull)
        ├── UpstreamError              502
        ├── Unavailable                503  (ModelNotReady, Draining)
        └── StepTimeout                504  (MergeIncomplete)

A step chooses the status of its answer by raising one of them:

>>> from millrace import errors
>>> errors.RouteNotFound("no such user").status
404
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

__all__ = [
    "BadRequest", "BadStepArguments", "BodyTooLarge", "CannotListen", "Conflict", "Draining", "DuplicateStep",
    "Forbidden", "GraphError", "InvalidInput", "MergeIncomplete", "MethodNotAllowed", "MillraceError",
    "MissingDependency", "MissingProgram", "ModelNotFound", "ModelNotReady", "NameNotFound", "OperationNotFound",
    "QueueFull", "RequestError", "RequestFailed", "RequestTimeout", "RouteNotFound", "SecretNotFound", "SpecError",
    "StepError", "StepTimeout", "TooManyIterations", "TooManyRequests", "Unauthorized", "Unavailable",
    "UndeclaredCycle", "UnknownStep", "UntrustedPickle", "UpstreamError", "status_of",
]  # fmt: skip


def near(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x' or 'y'?"`` for the known names close to `name`, or an empty text."""
    import difflib  # noqa: PLC0415 - for start-up: only when a name is wrong

    names = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(n) for n in names)}?" if names else ""


def words(error: BaseException) -> str:
    """The text of an exception, also of one whose own text breaks or holds what UTF-8 can not say.

    >>> words(ValueError("no file \\udcff"))
    'no file \\\\udcff'
    """
    try:
        text = str(error)
    except Exception as failure:
        return f"(its text can not be made: {type(failure).__name__})"
    return text.encode(errors="backslashreplace").decode()


def a_kind(value: object) -> str:
    """The kind of a value, with its article.

    >>> a_kind(1), a_kind([])
    ('an int', 'a list')
    """
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"


class MillraceError(Exception):
    """The root of all errors of this package."""

    status = 500
    retry_after_seconds: float | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # By its text and attributes: constructors with keyword arguments can not be called again by unpickling.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(cls: type[MillraceError], args: tuple[Any, ...], state: dict[str, Any]) -> MillraceError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class GraphError(MillraceError, ValueError):
    """The graph can not run as it is written."""


class DuplicateStep(GraphError):
    """Two steps of one flow have the same name."""

    def __init__(self, name: str, *, graph: str) -> None:
        super().__init__(
            f"{graph}: there is already a step named '{name}'; give this one another name=, "
            f"or remove the first with `del graph['{name}']`"
        )


class UnknownStep(GraphError):
    """A step is named that the flow does not have."""

    def __init__(self, name: str, *, graph: str, role: str, known: Iterable[str]) -> None:
        super().__init__(f"{graph}: {role} names '{name}', which is no step of this flow{near(name, known)}")


class UndeclaredCycle(GraphError):
    """Steps follow each other in a circle that nobody declared."""

    def __init__(self, names: list[str], *, graph: str) -> None:
        super().__init__(
            f"{graph}: the steps {' -> '.join(names)} form a cycle; if that is meant, "
            f"declare the edge that goes back with step.cycle_to('{names[0]}')"
        )


class NameNotFound(GraphError):
    """A class or function named in the graph was found nowhere."""

    def __init__(self, name: str, *, step: str, searched: str, known: Iterable[str]) -> None:
        super().__init__(f"step '{step}': nothing is named '{name}' in {searched}{near(name, known)}")


class BadStepArguments(GraphError):
    """A step's class or function does not take the arguments that the graph gives it."""


class SpecError(GraphError):
    """A function or graph file does not have the expected form."""


class MissingDependency(MillraceError, ImportError):
    """An optional package is needed that is not installed."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(f'{purpose} needs the package {package}: pip install "millrace[{extra}]"')


class MissingProgram(MillraceError):
    """A program is needed that is not on the PATH."""

    def __init__(self, program: str, *, purpose: str, way_out: str) -> None:
        super().__init__(f"{purpose} needs the program '{program}', which is not on the PATH: {way_out}")


class CannotListen(MillraceError):
    """The address can not be listened on."""

    def __init__(self, host: str, port: int, error: OSError) -> None:
        if error.errno == errno.EADDRINUSE:
            why = "is used by another program; choose another with --port, or a free one with --port 0"
        elif error.errno in (errno.EACCES, errno.EPERM):
            why = "may not be used by this user; choose a port of 1024 or more with --port"
        else:
            why = f"can not be listened on ({error.strerror or error}); choose an address of this machine with --host"
        super().__init__(f"port {port} of {host} {why}")


class SecretNotFound(MillraceError):
    """A secret that was declared has no value where it should."""


class UntrustedPickle(SpecError):
    """A spec holds a pickled object and was not loaded as trusted."""

    def __init__(self, step: str) -> None:
        super().__init__(
            f"step '{step}' holds a pickled object, and unpickling runs code: load the spec with trusted=True "
            "if you know who wrote it, or write the step's class by name"
        )


class StepError(MillraceError):
    """A step raised something that is not a Millrace error; that exception is the ``__cause__``."""

    def __init__(self, message: str, *, step: str, event_id: str | None = None) -> None:
        super().__init__(message)
        self.step = step
        self.event_id = event_id


class TooManyIterations(MillraceError, RuntimeError):
    """An event came to a step of a cycle more often than it may."""

    def __init__(self, step: str, *, event_id: str, limit: int) -> None:
        super().__init__(
            f"step '{step}': event {event_id} came here more than {limit} times; "
            "raise max_iterations= if the cycle is meant to run longer"
        )


class RequestFailed(MillraceError, RuntimeError):
    """``server.test`` got an answer with an error status.

    :param status: the HTTP status that a client would have seen
    :param body: the body of the answer
    """

    def __init__(self, status: int, body: object) -> None:
        super().__init__(f"failed ({status}): {body}")
        self.status = status
        self.body = body


class RequestError(MillraceError):
    """The event can not be served as asked; the text goes to the client."""


class BadRequest(RequestError):
    """The request can not be read."""

    status = 400


class Unauthorized(RequestError):
    """Who asks is not known."""

    status = 401


class Forbidden(RequestError):
    """Who asks may not."""

    status = 403


class RouteNotFound(RequestError):
    """No route, model or operation has this path."""

    status = 404


class ModelNotFound(RouteNotFound):
    """No model, or no version of it, has this name."""

    def __init__(self, model: str, *, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(f"model '{model}' does not exist, available models: {' | '.join(names)}{near(model, names)}")


class OperationNotFound(RouteNotFound):
    """The model has no such operation."""

    def __init__(self, operation: str, *, model: str, known: Iterable[str]) -> None:
        names = sorted(known)
        super().__init__(
            f"model '{model}' has no operation '{operation}', available: {', '.join(names)}{near(operation, names)}"
        )


class MethodNotAllowed(RequestError):
    """The path exists, for another HTTP method.

    :param allowed: the methods that it takes, for the header ``Allow``
    """

    status = 405

    def __init__(self, *args: object, allowed: Iterable[str] = ()) -> None:
        super().__init__(*args)
        self.allowed = tuple(allowed)


class RequestTimeout(RequestError):
    """The client did not send its whole request in time."""

    status = 408

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} s (--request-timeout-seconds)")


class Conflict(RequestError):
    """The request contradicts the present state."""

    status = 409


class BodyTooLarge(RequestError):
    """The body is over the limit."""

    status = 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is over the limit of {limit_bytes:,} bytes (--max-body-bytes)")


class InvalidInput(RequestError):
    """The request was read, and its inputs are not what the step takes."""

    status = 422


class TooManyRequests(RequestError):
    """As many events are being served as the function takes at a time."""

    status = 429
    retry_after_seconds = 1.0

    def __init__(self, message: str = "too many requests at a time, try again") -> None:
        super().__init__(message)


class QueueFull(TooManyRequests):
    """A bounded queue holds all it may."""


class UpstreamError(RequestError):
    """A server that this step calls failed."""

    status = 502


class Unavailable(RequestError):
    """Not now; the same request may be served later."""

    status = 503
    retry_after_seconds = 1.0


class ModelNotReady(Unavailable):
    """The model is not loaded (yet)."""

    def __init__(self, model: str, *, reason: str = "it is still loading") -> None:
        super().__init__(f"model '{model}' is not ready: {reason}")


class Draining(Unavailable):
    """The server is stopping and takes no new events."""

    def __init__(self) -> None:
        super().__init__("the server is stopping")


class StepTimeout(RequestError):
    """A step, or the whole request, took longer than it may."""

    status = 504


class MergeIncomplete(StepTimeout):
    """A join did not get all its inputs in time."""


def status_of(error: BaseException) -> int:
    """The HTTP status of an error: its own for those of this module, else 500.

    >>> status_of(InvalidInput("empty")), status_of(KeyError("x"))
    (422, 500)
    """
    return error.status if isinstance(error, MillraceError) else 500
