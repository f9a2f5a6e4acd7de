"""ParallelRun: every route gets the event; their results become one."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

from ...errors import BadStepArguments, StepError, a_kind
from ..engine.copying import copy_body
from ..engine.event import Event
from ..engine.route import Route
from ..engine.threads import ThreadPool
from .awaiting import settled
from .router import BaseModelRouter

EXECUTORS = ("thread", "array")


class ParallelRun(BaseModelRouter):
    """Asks all routes at a time and merges their results, which are dicts, by key.

    Each route gets a copy of the body. A route that fails fails the event, unless `quorum` allows it.

    :param extend_event: the merged result begins with the request's own fields
    :param executor_type: ``"thread"`` (the default): plain routes run in threads; ``"array"``: one after the other.
        Async routes run at the same time anyway
    :param quorum: how many routes must succeed; default: all

    >>> import millrace
    >>> function = millrace.new_function("facts", kind="serving")
    >>> router = function.set_topology("router", "ParallelRun", extend_event=True)
    >>> _ = router.add_route("length", handler=lambda body: {"length": len(body["text"])})
    >>> _ = router.add_route("words", handler=lambda body: {"words": body["text"].split()})
    >>> with function.to_mock_server() as server:
    ...     server.test("/", {"text": "two words"})
    {'text': 'two words', 'length': 9, 'words': ['two', 'words']}
    """

    def __init__(
        self,
        *args: Any,
        extend_event: bool | None = None,
        executor_type: str | None = None,
        quorum: int | None = None,
        **kwargs: Any,
    ) -> None:
        executor_type = executor_type or "thread"
        if executor_type not in EXECUTORS:
            hint = "; give the routes execution='process' instead" if executor_type == "process" else ""
            raise BadStepArguments(f"executor_type='{executor_type}' is none of {', '.join(EXECUTORS)}{hint}")
        self.extend_event = bool(extend_event)
        self.quorum = quorum
        self._in_threads = executor_type == "thread"
        self._pool: ThreadPool | None = None
        super().__init__(*args, **kwargs)

    def routes_known(self) -> None:
        """Refuse to run without routes, or with a quorum that they can not reach."""
        if not self.routes:
            raise BadStepArguments(f"router '{self.name}' has no routes; add them with add_route() or add_model()")
        quorum = self.quorum
        if quorum is not None and (type(quorum) is not int or not 1 <= quorum <= len(self.routes)):
            raise BadStepArguments(f"quorum={quorum} must be from 1 to the number of routes ({len(self.routes)})")
        if self._in_threads and self._pool is None:
            self._pool = ThreadPool(self.name)
            weakref.finalize(self, self._pool.close)

    @property
    def is_async(self) -> bool:
        """Always: it waits for its routes."""
        return True

    def merger(self, body: dict[str, Any], results: dict[str, Any]) -> Any:
        """The merged result, from the results by route; override it for another way."""
        for name, result in results.items():
            if not isinstance(result, dict):
                text = f"route '{name}' gave {a_kind(result)}; only dicts merge (override merger(body, results))"
                raise StepError(text, step=self.name)
            body.update(result)
        return body

    async def handle(self, event: Event) -> Event:
        """Ask all routes and merge."""
        own = copy_body(event.body) if self.extend_event and event.body else {}
        results, _ = await self.ask_all(event)
        event.body = await settled(self.merger(own, results))
        return event

    async def ask_all(self, event: Event) -> tuple[dict[str, Any], dict[str, Exception]]:
        """The results by route, and the errors of those that failed, where the quorum allows them."""
        names = list(self.routes)
        bodies = [*(copy_body(event.body) for _ in names[1:]), event.body]
        outcomes = await asyncio.gather(
            *(self._ask(self.routes[name], event, body) for name, body in zip(names, bodies, strict=True)),
            return_exceptions=True,
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
            raise next(iter(failures.values()))
        for name, error in failures.items():
            self.context.logger.warning("router '%s': route '%s' failed: %s", self.name, name, error)
        return results, failures

    async def _ask(self, route: Route, event: Event, body: Any) -> Any:
        branch = event.fork(body)
        branch._rest = event._rest if event._rest is not None else ()
        return (await self._run(route, branch)).body

    async def _run(self, route: Route, event: Event) -> Event:
        """The event after a route; a plain one runs in a thread."""
        if self._pool is not None and not route.is_async:
            answered: Event = await self._pool.run(route.run, event)
        else:
            answered = await settled(route.run(event))
        return answered
