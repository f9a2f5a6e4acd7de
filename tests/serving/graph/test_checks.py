"""What is wrong with a graph is said before anything runs: which graph, which step, and the way out."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import millrace
from millrace.errors import GraphError, UndeclaredCycle, UnknownStep
from millrace.serving import FlowStep, RouterStep, TaskStep
from millrace.serving.graph import problems, validate


def chain(*names, **settings):
    graph = FlowStep(name="shop", **settings)
    step = graph
    for name in names:
        step = step.to(name=name, handler="(event)")
    return graph


def words(graph, functions=()):
    return [str(one) for one in problems(graph, functions)]


def test_a_chain_has_no_problems():
    assert words(chain("a", "b", "c")) == []


def test_an_empty_graph_says_how_to_fill_it():
    with pytest.raises(GraphError, match="graph 'shop' has no steps; add them with set_topology"):
        validate(FlowStep(name="shop"))


def test_an_empty_nested_flow_is_named():
    graph = chain("a")
    graph.add_flow("inner", after="a")
    assert words(graph) == ["graph 'inner' has no steps; add them with flow.to(…)"]


def test_after_that_names_nothing_names_the_step_and_near_names():
    graph = chain("enrich", "b")
    graph["b"].after_step("enrihc")
    with pytest.raises(UnknownStep, match=r"graph 'shop': after of step 'b' names 'enrihc'.*did you mean 'enrich'"):
        validate(graph)


def test_a_removed_step_is_missed_by_those_that_name_it():
    graph = chain("a", "b")
    del graph["a"]
    assert "after of step 'b' names 'a'" in words(graph)[0]


@pytest.mark.parametrize("on", ["step", "graph"])
def test_a_catcher_that_was_never_added_is_missed(on):
    graph = chain("a")
    (graph if on == "graph" else graph["a"]).error_handler("catch")
    assert "error_handler" in words(graph)[0] and "'catch', which is no step of this flow" in words(graph)[0]


def test_a_step_can_not_catch_its_own_errors():
    graph = chain("a")
    graph["a"].error_handler("a")
    assert any("step 'a' can not catch its own errors" in one for one in words(graph))


def test_cycle_to_a_step_that_never_came_is_found():
    graph = chain("a", "b")
    graph["b"].cycle_to("c")
    assert "cycle_to of step 'b' names 'c'" in words(graph)[0]


def test_two_responders_are_refused_by_name():
    graph = chain("a", "b")
    graph["a"].respond()
    graph.add_flow("inner", after="b").to(name="c", handler="(event)").respond()
    assert words(graph) == [
        "graph 'shop': 'a' and 'inner/c' both respond; an event has one answer, keep one .respond()"
    ]


def test_the_graph_as_a_whole_does_not_respond():
    assert "call .respond() on the step whose result answers" in words(chain("a").respond())[0]


def test_a_queue_does_not_respond():
    graph = chain("a")
    graph["a"].to(">>", "q", path="x").respond()
    assert words(graph) == ["graph 'shop': queue 'q' can not respond; let the step before it do so"]


@pytest.mark.parametrize("nested", [False, True])
def test_a_responder_behind_a_queue_is_refused(nested):
    graph = chain("a")
    queue = graph["a"].to(">>", "q", path="x")
    step = queue.to(FlowStep(), "inner", function="f") if nested else queue
    step.to(name="b", handler="(event)", function="f").respond()
    assert any("responds behind a queue, where the caller is gone" in one for one in words(graph, "f"))


def test_a_step_after_a_queue_says_which_function_runs_it():
    graph = chain("a")
    graph["a"].to(">>", "q", path="x").to(name="b", handler="(event)")
    assert words(graph) == ["graph 'shop': step 'b' must specify a function=, because it follows the queue 'q'"]


def test_a_function_that_was_not_added_is_missed_with_near_names():
    graph = chain("a")
    graph["a"].to(">>", "q", path="x").to(name="b", handler="(event)", function="enrihc")
    (problem,) = words(graph, ["enrich"])
    assert "step 'b' runs in function 'enrihc', which is not defined; use function.add_child_function(" in problem
    assert "did you mean 'enrich'" in problem


def test_the_function_of_a_route_is_checked_too():
    router = RouterStep(name="r")
    router.add_route("m1", class_name="Model", function="gpu")
    assert "router 'r': route 'm1' runs in function 'gpu', which is not defined" in words(router)[0]


def test_steps_of_different_functions_need_a_queue_between_them():
    graph = chain("a")
    graph["a"].to(name="b", handler="(event)", function="f")
    assert words(graph, "f") == [
        "graph 'shop': step 'b' (function 'f') follows 'a' (the parent function) with no queue between them; "
        "put graph.add_step('>>', …) there"
    ]


def test_a_step_that_runs_in_every_function_needs_no_queue():
    graph = chain("a")
    graph["a"].to(name="b", handler="(event)", function="*").to(name="c", handler="(event)")
    assert words(graph) == []


def test_an_unreachable_step_is_found():
    graph = chain("a", "b")
    graph["a"].error_handler("catch")
    graph.add_step(name="catch", handler="(event)", after="")
    del graph["a"]
    graph["b"].after = []
    graph.add_step(name="x", handler="(event)").error_handler("y")
    graph.add_step(name="y", handler="(event)").error_handler("x")
    assert [one for one in words(graph) if "no event can reach step" in one] == [
        f"graph 'shop': no event can reach step '{name}'; give it after= a step that runs" for name in "xy"
    ]


def test_a_graph_in_which_every_step_follows_another_has_no_start():
    graph = chain("a", "b")
    graph["a"].after_step("b")
    assert any("has no step to start with" in one for one in words(graph))


def test_a_cycle_that_was_not_declared_is_shown_in_order():
    graph = chain("a", "b", "c")
    graph["a"].after_step("c")
    graph["a"].after_step(graph.add_step(name="start", handler="(event)"))
    with pytest.raises(UndeclaredCycle, match=r"the steps (a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c) form"):
        validate(graph)


def test_a_declared_cycle_is_no_problem():
    graph = chain("a", "b", "c")
    graph["c"].cycle_to("a")
    assert words(graph) == []


def test_a_router_without_routes_is_named():
    graph = chain("a")
    graph["a"].to("*", name="models").add_route("inner", class_name="*")
    assert words(graph) == ["router 'inner' has no routes; add them with add_route() or add_model()"]


def test_a_queue_is_no_route():
    router = RouterStep(name="r")
    router.add_route("q", millrace.serving.QueueStep(path="x"))
    assert words(router) == ["router 'r': a queue can not be a route; put it after the router"]


def test_a_flow_that_is_a_route_is_checked_as_a_graph_of_its_own():
    router = RouterStep(name="r")
    flow = router.add_route("m1", FlowStep())
    flow.to(name="a", handler="(event)").respond().to(name="b", handler="(event)").respond()
    assert words(router) == ["graph 'm1': 'a' and 'b' both respond; an event has one answer, keep one .respond()"]


def test_all_problems_are_told_at_once():
    graph = chain("a", "b")
    graph["b"].after_step("x")
    graph["a"].respond()
    graph["b"].respond()
    with pytest.raises(GraphError) as caught:
        validate(graph)
    assert ["both respond" in note for note in caught.value.__notes__] == [True]


@pytest.mark.parametrize("engine", ["sync", "async"])
def test_a_catcher_may_send_events_back_to_the_start_step(engine):
    graph = chain("a", "b", engine=engine)
    graph["b"].error_handler(name="fix", handler="(event)", before="a")
    graph.error_handler("also").add_step(name="also", handler="(event)", after="", before="a")
    assert (words(graph), graph["a"].after, graph["a"].cycle_from) == ([], [], ["fix", "also"])


# -- the sync engine -----------------------------------------------------------------------------------------------


def test_the_sync_engine_takes_a_chain_with_catchers():
    graph = chain("a", "b", engine="sync")
    graph.error_handler(name="catch", handler="(event)", before="b")
    assert words(graph) == []


def test_the_sync_engine_refuses_branches_starts_and_cycles():
    branching, starting, cycling = (chain("a", "b", engine="sync") for _ in range(3))
    branching.add_step(name="c", handler="(event)", after="a")
    starting.add_step(name="c", handler="(event)")
    cycling["b"].cycle_to("a")
    for graph, what in ((branching, "'a' branches to b, c"), (starting, "one start step"), (cycling, "no cycles")):
        (problem,) = words(graph)
        assert what in problem and problem.endswith("use engine='async'")


def test_the_sync_engine_refuses_branches_of_nested_flows():
    graph = chain("a", engine="sync")
    inner = graph.add_flow("inner", after="a")
    inner.to(name="x", handler="(event)")
    inner.add_step(name="y", handler="(event)", after="x")
    inner.add_step(name="z", handler="(event)", after="x")
    assert words(graph) == [
        "graph 'inner': the sync engine runs plain chains, but step 'x' branches to y, z; use engine='async'"
    ]


def test_allow_cyclic_is_not_for_the_sync_engine():
    assert "use engine='async'" in words(chain("a", engine="sync", allow_cyclic=True))[0]


def test_an_engine_that_does_not_exist_is_refused():
    with pytest.raises(GraphError, match="engine='asnyc' is neither 'async' nor 'sync'"):
        FlowStep(engine="asnyc")


async def later(body):
    return body


class Later:
    async def do(self, body):
        return body


@pytest.mark.parametrize(
    ("step", "what"),
    [
        ({"handler": later}, "is async"),
        ({"class_name": Later}, "is async"),
        ({"class_name": Later()}, "is async"),
        ({"class_name": "storey.FlatMap", "_fn": "(event)"}, "makes several events of one"),
        ({"class_name": "storey.Batch", "max_events": 2}, "keeps events for later"),
    ],
)
def test_the_sync_engine_refuses_what_is_no_plain_step_when_it_is_compiled(step, what):
    function = millrace.new_function("f")
    function.set_topology("flow", engine="sync").to(name="x", **step).respond()
    with pytest.raises(GraphError, match=f"step 'x' {what}.* use engine='async'"):
        function.to_mock_server()


# -- random graphs -------------------------------------------------------------------------------------------------


@st.composite
def random_dags(draw):
    """A graph in which every step follows some of those before it."""
    graph = FlowStep(name="random")
    for n in range(draw(st.integers(1, 12))):
        sources = draw(st.sets(st.integers(0, n - 1), max_size=3)) if n else set()
        graph.add_step(name=f"s{n}", handler="(event)", after=[f"s{one}" for one in sorted(sources)])
    return graph


@settings(deadline=None)
@given(random_dags())
def test_any_graph_whose_steps_follow_earlier_ones_is_valid(graph):
    validate(graph)


def reachable(graph, start):
    found, todo = {start}, [start]
    while todo:
        last = todo.pop()
        new = {name for name in graph if last in graph[name].after} - found
        found |= new
        todo += new
    return found


@settings(deadline=None)
@given(random_dags(), st.data())
def test_any_edge_that_goes_back_is_found_and_is_legal_once_declared(graph, data):
    first = data.draw(st.sampled_from(list(graph)))
    last = data.draw(st.sampled_from(sorted(reachable(graph, first))))
    if first == last:
        return
    graph[last].cycle_to(first)
    validate(graph)
    graph[first].after_step(last)
    with pytest.raises(UndeclaredCycle) as caught:
        validate(graph)
    circle = str(caught.value).partition("the steps ")[2].partition(" form")[0].split(" -> ")
    assert circle[0] == circle[-1] and first in circle
    assert all(one in graph[other].after for one, other in itertools.pairwise(circle))


@settings(max_examples=30, deadline=None)
@given(random_dags(), st.data())
def test_any_name_that_is_no_step_is_found(graph, data):
    step = graph[data.draw(st.sampled_from(list(graph)))]
    step.after_step("nobody")
    assert any(isinstance(one, UnknownStep) for one in problems(graph))


@pytest.mark.parametrize("width", [1, 3])
def test_five_thousand_steps_are_validated_in_less_than_a_second(width):
    graph = FlowStep()
    for n in range(5_000):
        sources = [f"s{one}" for one in range(max(0, n - width), n)]
        graph.insert_step(f"s{n}", TaskStep(handler="(event)"), after=sources)
    graph["s4999"].respond()
    began = time.process_time()
    validate(graph)
    assert time.process_time() - began < 1


def test_a_flow_nested_two_hundred_deep_is_validated():
    root = flow = FlowStep()
    for _ in range(200):
        flow = flow.add_flow("inner")
    flow.to(name="x", handler="(event)")
    validate(root)
    assert flow["x"].full_name.count("/") == 200


def test_five_thousand_steps_are_compiled_in_seconds_and_run():
    function = millrace.new_function("long")
    step = function.set_topology("flow")
    for n in range(5_000):
        step = step.to(name=f"s{n}", handler="(event + 1)")
    step.respond()
    began = time.process_time()
    server = function.to_mock_server()
    assert time.process_time() - began < 8
    assert server.test(body=0) == 5_000


def test_a_catcher_before_a_step_that_is_never_added_is_found():
    graph = FlowStep(name="shop")
    graph.to(name="a", handler="(event)").error_handler(name="fix", handler="(event)", before="bb")
    graph["a"].to(name="b", handler="(event)")
    assert words(graph) == [
        "graph 'shop': before= of catcher 'fix' names 'bb', which is no step of this flow; did you mean 'b'?"
    ]
    del graph["fix"]
    graph["a"].on_error = None
    assert words(graph) == []


def test_a_step_that_was_renamed_in_place_is_found():
    graph = FlowStep(name="shop")
    graph.to(name="a", handler="(event)").name = "b"
    assert words(graph) == ["graph 'shop': the step 'a' is named 'b'; give it its name when it is added"]
