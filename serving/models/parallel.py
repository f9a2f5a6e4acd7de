"""ParallelRun: every route gets the event; their results become one."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import Any

from ...errors import BadRequest, BadStepArguments, MillraceError, StepError
from ..engine.event import Event
from ..engine.route import Route
from ..engine.threads import ThreadPool
from .router import BaseModelRouter

EXECUTORS = ("thread", "array")


class ParallelRun(BaseModelRouter):
    """Asks all routes at a time and merges their results, which are dicts, by key.

    A route that fails fails the event, unless `quorum` allows it.

    :param extend_event: the merged result begins with the request's own fields
    :param executor_type: ``"thread"`` (the default): plain routes run in threads; ``"array"``: one after the other.
        Async routes run at the same time anyway
    :param quorum: how many routes must succeed; default: all
    """

    def __init__(
        self,
        *args: Any,
        extend_event: bool | None = None,
        executor_type: str | None = None,
        quorum: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        executor_type = executor_type or "thread"
        if executor_type not in EXECUTORS:
            hint = "; give the routes execution='process' instead" if executor_type == "process" else ""
            raise BadStepArguments(f"executor_type='{executor_type}' is none of {', '.join(EXECUTORS)}{hint}")
        if quorum is not None and not 1 <= quorum <= len(self.routes):
            raise BadStepArguments(f"quorum={quorum} must be from 1 to the number of routes ({len(self.routes)})")
        self.extend_event = bool(extend_event)
        self.quorum = quorum
        self._pool = ThreadPool(self.name) if executor_type == "thread" else None
        self.do_event = self._do_event_async  # type: ignore[method-assign, assignment]

    def merger(self, body: dict[str, Any], results: dict[str, Any]) -> Any:
        """The merged result, from the results by route; override it for another way."""
        for name, result in results.items():
            if not isinstance(result, dict):
                raise BadRequest(f"route '{name}' gave a {type(result).__name__}; only dicts merge (override merger())")
            body.update(result)
        return body

    async def handle(self, event: Event) -> Event:  # type: ignore[override]
        """Ask all routes and merge."""
        results, _ = await self.ask_all(event)
        event.body = self.merger(dict(event.body) if self.extend_event and event.body else {}, results)
        return event

    async def ask_all(self, event: Event) -> tuple[dict[str, Any], dict[str, Exception]]:
        """The results by route, and the errors of those that failed, where the quorum allows them."""
        names = list(self.routes)
        outcomes = await asyncio.gather(
            *(self._ask(self.routes[name], event) for name in names), return_exceptions=True
        )
        results: dict[str, Any] = {}
        failures: dict[str, Exception] = {}
        for name, outcome in zip(names, outcomes, strict=True):
            if isinstance(outcome, Exception):
                failures[name] = outcome
            elif isinstance(outcome, BaseException):
                raise outcome
            else:
                results[name] = outcome
        if failures and len(results) < (self.quorum or len(names)):
            self._raise(failures)
        for name, error in failures.items():
            self.context.logger.warning("router '%s': route '%s' failed: %s", self.name, name, error)
        return results, failures

    def _raise(self, failures: dict[str, Exception]) -> None:
        name, error = next(iter(failures.items()))
        if isinstance(error, MillraceError):
            raise error
        text = f"route '{self.routes[name].info.path}' failed: {type(error).__name__}: {error}"
        raise StepError(text, step=self.routes[name].info.path) from error

    async def _ask(self, route: Route, event: Event) -> Any:
        branch = event.fork(dict(event.body) if isinstance(event.body, dict) else event.body)
        branch._rest = event._rest if event._rest is not None else ()
        if self._pool is not None and not route.is_async:
            answered = await self._pool.run(route.run, branch)
        else:
            answered = route.run(branch)
            if isawaitable(answered):
                answered = await answered
        return answered.body
