"""Random graphs against a plain-Python oracle: what reaches the sink, the answers, and that nothing stays inside."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import millrace
from millrace.errors import RequestFailed
from millrace.steps import Batch, Filter, FlatMap, Merge

EVENTS = 5
TIMEOUT_SECONDS = 20


def stops(number: int, salt: int) -> bool:
    return (number + salt) % 3 == 0


@dataclass
class Block:
    """A part of a random graph. Bodies are lists: the event's number, then the names of the steps they passed."""

    kind: str
    salt: int = 0
    catcher: str = "none"
    branches: list[list[Block]] = field(default_factory=list)


@st.composite
def chains(draw: Any, depth: int = 2, single: bool = False) -> list[Block]:
    """A chain of blocks; `single` ones give one body at most for one that comes in, so that they can be joined."""
    blocks = []
    for _ in range(draw(st.integers(1, 3))):
        kinds = ["plain", "async", "filter", "fail"] + ([] if single else ["flat"])
        if depth:
            kinds += ["nested"] + (["merge"] if single else ["fork"])
        block = Block(draw(st.sampled_from(kinds)), draw(st.integers(0, 2)))
        if block.kind == "fail":
            block.catcher = draw(st.sampled_from(["none", "ends", "rejoins"]))
        if block.kind in ("fork", "merge"):
            block.branches = draw(st.lists(chains(depth - 1, single), min_size=2, max_size=3))
        elif block.kind == "nested":
            block.branches = [draw(chains(depth - 1, single))]
        blocks.append(block)
    return blocks


class Oracle:
    """What should come out, by walking the blocks recursively."""

    def __init__(self) -> None:
        self.caught: list[Any] = []
        self.failed = False

    def chain(self, blocks: list[Block], body: list[Any], path: str) -> list[list[Any]]:
        bodies = [body]
        for place, block in enumerate(blocks):
            name = f"{path}{place}"
            bodies = [out for one in bodies for out in self.block(block, list(one), name)]
        return bodies

    def block(self, block: Block, body: list[Any], name: str) -> list[list[Any]]:
        number = body[0]
        match block.kind:
            case "plain" | "async":
                return [[*body, name]]
            case "filter":
                return [] if stops(number, block.salt) else [body]
            case "flat":
                return [[*body, copy] for copy in range(block.salt)]
            case "fail":
                return self.fail(block, body, name)
            case "nested":
                return self.chain(block.branches[0], body, f"{name}.")
            case "fork":
                return [out for outs in self.branches(block, body, name) for out in outs]
        outs = self.branches(block, body, name)
        if all(outs):
            return [[number, sorted(str(out[0]) for out in outs)]]
        self.failed = self.failed or any(outs)  # a join without any part is none
        return []

    def branches(self, block: Block, body: list[Any], name: str) -> list[list[list[Any]]]:
        return [self.chain(one, body, f"{name}{'abc'[i]}") for i, one in enumerate(block.branches)]

    def fail(self, block: Block, body: list[Any], name: str) -> list[list[Any]]:
        if not stops(body[0], block.salt):
            return [body]
        if block.catcher == "rejoins":
            return [[*body, f"{name}!"]]
        if block.catcher == "ends":
            self.caught.append(str([*body, f"{name}!"]))
        self.failed = True
        return []


class Builder:
    """Makes the graph of the blocks."""

    def __init__(self) -> None:
        self.caught: list[Any] = []
        self.sunk: list[Any] = []

    def chain(self, flow: Any, blocks: list[Block], after: list[str], path: str) -> list[str]:
        for place, block in enumerate(blocks):
            after = self.block(flow, block, after, f"{path}{place}")
        return after

    def block(self, flow: Any, block: Block, after: list[str], name: str) -> list[str]:
        salt = block.salt
        match block.kind:
            case "plain" | "async":
                flow.add_step(name=name, handler=marking(name, block.kind == "async"), after=after)
            case "filter":
                flow.add_step(Filter(lambda body: not stops(body[0], salt)), name, after=after)
            case "flat":
                flow.add_step(FlatMap(lambda body: ([*body, copy] for copy in range(salt))), name, after=after)
            case "fail":
                return self.fail(flow, block, after, name)
            case "nested":
                inner = flow.add_flow(name, after=after)
                exits = self.chain(inner, block.branches[0], [], f"{name}.")
                inner.add_step(name="end", handler=same, after=exits)
            case _:
                return self.fork(flow, block, after, name)
        return [name]

    def fail(self, flow: Any, block: Block, after: list[str], name: str) -> list[str]:
        step = flow.add_step(name=name, handler=failing(block.salt), after=after)
        if block.catcher == "none":
            return [name]
        catcher = f"{name}!"
        ends = block.catcher == "ends"

        def catch(body: list[Any]) -> list[Any]:
            if ends:
                self.caught.append(str([*body, catcher]))
            return [*body, catcher]

        step.error_handler(catcher, handler=catch)
        return [name] if ends else [name, catcher]

    def fork(self, flow: Any, block: Block, after: list[str], name: str) -> list[str]:
        exits = []
        for i, branch in enumerate(block.branches):
            exits.append(self.chain(flow, branch, after, f"{name}{'abc'[i]}"))
        if block.kind == "fork":
            return [one for group in exits for one in group]
        ends = []
        for i, group in enumerate(exits):  # one step at the end of each branch, so that each is one part
            flow.add_step(name=f"{name}end{i}", handler=same, after=group)
            ends.append(f"{name}end{i}")
        flow.add_step(Sorted(), f"{name}", after=ends)
        return [name]

    def sink(self, body: list[Any]) -> list[Any]:
        self.sunk.append(str(body))
        return body


class Sorted(Merge):
    def merge_function(self, parts: list[Any]) -> Any:
        return [parts[0][0], sorted(str(part) for part in parts)]


def same(body: Any) -> Any:
    return body


def marking(name: str, is_async: bool) -> Any:
    def mark(body: list[Any]) -> list[Any]:
        body.append(name)  # in place: a branch that shared its body would show
        return body

    async def mark_async(body: list[Any]) -> list[Any]:
        await asyncio.sleep(0)
        return mark(body)

    return mark_async if is_async else mark


def failing(salt: int) -> Any:
    def fail(body: list[Any]) -> list[Any]:
        if stops(body[0], salt):
            raise LookupError(body[0])
        return body

    return fail


async def ask(server: Any) -> list[Any]:
    asked = (server.atest(body=[number]) for number in range(EVENTS))
    return await asyncio.gather(*asked, return_exceptions=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(blocks=st.one_of(chains(), chains(single=True)), batch=st.integers(0, 3))
def test_random_graph_gives_what_the_oracle_says_and_keeps_nothing(blocks: list[Block], batch: int) -> None:
    builder = Builder()
    function = millrace.new_function("random", kind="serving")
    graph: Any = function.set_topology("flow", engine="async")
    exits = builder.chain(graph, blocks, [], "s")
    if batch:
        graph.add_step(Batch(max_events=batch), "batch", after=exits)
        graph.add_step(FlatMap(lambda bodies: bodies), "each", after="batch").to(name="sink", handler=builder.sink)
    else:
        graph.add_step(name="sink", handler=builder.sink, after=exits).respond()
    expected, caught = Counter[str](), Counter[str]()
    oracles = [Oracle() for _ in range(EVENTS)]
    for number, oracle in enumerate(oracles):
        expected.update(str(out) for out in oracle.chain(blocks, [number], "s"))
        caught.update(oracle.caught)
    with function.to_mock_server() as server:
        answers = asyncio.run(ask(server))
        server.wait_for_completion(TIMEOUT_SECONDS)
        assert Counter(builder.sunk) == expected
        assert Counter(builder.caught) == caught
        assert (server.engine.gate.inside, server.engine.alive) == (0, 0)
        assert all(hold.count == 0 and not hold.joining for hold in server.engine.holds)
        assert all(getattr(hold.step, "open_joins", 0) == 0 for hold in server.engine.holds)
    for number, (answer, oracle) in enumerate(zip(answers, oracles, strict=True)):
        outs = oracle.chain(blocks, [number], "s")
        if batch:
            assert set(answer) == {"id"}
        elif not oracle.failed:
            assert answer in outs if outs else answer is None
        else:
            assert isinstance(answer, RequestFailed) or answer in outs or str(answer) in oracle.caught
