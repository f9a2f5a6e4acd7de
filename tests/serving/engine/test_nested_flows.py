"""Flows in flows, flows in routers, and cycles."""

import pytest

import millrace
from millrace.errors import GraphError, RequestFailed
from millrace.queues.message import Message
from millrace.serving import FlowStep
from millrace.steps import Choice


def flow(engine="async", **settings):
    function = millrace.new_function("nested", kind="serving")
    return function, function.set_topology("flow", engine=engine, **settings)


def breaks(body):
    raise LookupError(f"no {body}")


async def shout(body):
    return body + "!"


@pytest.mark.parametrize("engine", ["sync", "async"])
def test_nested_flow_is_run_in_its_place(engine):
    function, graph = flow(engine)
    inner = graph.to(name="a", handler="(event + 'a')").to(FlowStep(), "inner")
    inner.to(name="b", handler="(event + 'b')")
    inner["b"].to(name="c", handler="(event + 'c')")
    inner.to(name="d", handler="(event + 'd')").respond()
    assert function.to_mock_server().test(body="x") == "xabcd"


def test_nested_flow_with_async_steps_and_branches_inside_flows():
    function, graph = flow()
    outer = graph.add_flow("outer")
    deep = outer.add_flow("deep")
    deep.to(name="shout", handler=shout)
    outer.add_step(name="a", handler="(event + 'a')", after="deep")
    outer.add_step(name="b", handler="(event + 'b')", after="deep")
    graph.add_step(millrace.steps.Merge(expected_num_events=2), "join", after="outer")
    graph["join"].to(name="sorted", handler=sorted).respond()
    with function.to_mock_server() as server:
        assert server.test(body="x") == ["x!a", "x!b"]


def test_responder_may_be_inside_a_nested_flow():
    seen = []
    function, graph = flow()
    inner = graph.add_flow("inner")
    inner.to(name="answer", handler="(event + 1)").respond()
    graph.add_step(name="see", handler=seen.append, after="inner")
    with function.to_mock_server() as server:
        assert server.test(body=1) == 2
    assert seen == [2]


def test_error_names_the_path_of_a_nested_step():
    function, graph = flow()
    graph.add_flow("outer").add_flow("inner").to(name="broken", handler=breaks).respond()
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=r"step 'outer/inner/broken'"):
        server.test(body="x")


@pytest.mark.parametrize("catches", ["step", "inner", "graph"])
def test_nearest_catcher_takes_the_error(catches):
    function, graph = flow()
    inner = graph.add_flow("inner")
    step = inner.to(name="broken", handler=breaks)
    graph.add_step(name="after", handler="('not reached')", after="inner").respond()
    levels = {"step": step, "inner": inner, "graph": graph}
    for name in list(levels)[list(levels).index(catches) :]:
        levels[name].error_handler(name=f"catch_{name}", handler=f"('{name}')")
    with function.to_mock_server() as server:
        assert server.test(body="x") == catches


def test_catcher_that_fails_inside_goes_to_the_catcher_outside():
    function, graph = flow()
    inner = graph.add_flow("inner")
    inner.to(name="broken", handler=breaks).respond()
    inner.error_handler(name="also_broken", handler=breaks)
    graph.error_handler(name="outside", handler="('outside')")
    with function.to_mock_server() as server:
        assert server.test(body="x") == "outside"


def test_catcher_with_before_rejoins_inside_the_nested_flow():
    function, graph = flow()
    inner = graph.add_flow("inner")
    inner.to(name="broken", handler=breaks).to(name="add", handler="(event + '!')")
    inner["broken"].error_handler(name="catch", handler="('caught')", before="add")
    graph.add_step(name="after", handler="(event + '?')", after="inner").respond()
    with function.to_mock_server() as server:
        assert server.test(body="x") == "caught!?"


class ToRoutes:
    """A router that sends the event to the route its body names."""

    def __init__(self, routes):
        self.routes = routes

    async def do_event(self, event):
        route = self.routes[event.body["to"]]
        event = route.run(event)
        return await event if route.is_async else event


def test_flow_in_a_router_answers_with_its_last_result_or_its_catchers():
    function, graph = flow()
    router = graph.to("*ToRoutes", "router").respond()
    plain, broken, waits = FlowStep(), FlowStep(), FlowStep()
    plain.to(name="one", handler="(1)").to(name="two", handler="(event + 1)")
    broken.to(name="broken", handler=breaks).error_handler(name="catch", handler="('caught')")
    waits.to(name="shout", handler=shout, input_path="to")
    for name, route in (("plain", plain), ("broken", broken), ("waits", waits)):
        router.add_route(name, route)
    with function.to_mock_server() as server:
        assert [server.test(body={"to": name}) for name in ("plain", "broken", "waits")] == [2, "caught", "waits!"]


def counting(limit):
    return Choice(lambda body: "again" if body < limit else "done")


@pytest.mark.parametrize("is_async", [False, True])
def test_event_goes_around_a_declared_cycle_until_select_outlets_lets_it_out(is_async):
    async def add(body):
        return body + 1

    function, graph = flow()
    graph.to(name="again", handler=add if is_async else "(event + 1)").to(counting(5), "choose", cycle_to="again").to(
        name="done", handler="(event * 10)"
    ).respond()
    with function.to_mock_server() as server:
        assert server.test(body=1) == 50
        server.wait_for_completion(10)
        assert server.engine.gate.inside == 0


@pytest.mark.parametrize("where", ["step", "graph"])
def test_cycle_ends_with_an_error_after_max_iterations(where):
    seen = []
    function, graph = flow(max_iterations=7 if where == "graph" else None)
    graph.to(name="again", handler=lambda body: seen.append(body) or body).to(
        counting(99), "choose", cycle_to="again", max_iterations=7 if where == "step" else None
    ).to(name="done", handler="(event)").respond()
    text = r"'choose': event .* came here more than 7 times"
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=text):
        server.test(body=1)
    assert len(seen) == 8


def test_cycle_runs_a_hundred_times_by_default():
    seen = []
    function, graph = flow()
    graph.to(name="again", handler=lambda body: seen.append(body) or body).to(
        counting(99), "choose", cycle_to="again"
    ).to(name="done", handler="(event)").respond()
    function.to_mock_server().test(body=1, silent=True)
    assert len(seen) == 101


def test_too_many_iterations_go_to_the_catcher():
    function, graph = flow(max_iterations=3)
    graph.to(name="again", handler="(event)").to(counting(99), "choose", cycle_to="again").to(
        name="done", handler="(event)"
    ).respond()
    graph.error_handler(name="catch", handler=named_error, full_event=True)
    with function.to_mock_server() as server:
        assert server.test(body=1) == "TooManyIterations"


def named_error(event):
    event.body = type(event.error).__name__
    return event


def test_each_event_has_its_own_count_of_iterations():
    function, graph = flow(max_iterations=5)
    graph.to(name="again", handler="(event + 1)").to(counting(5), "choose", cycle_to="again").to(
        name="done", handler="(event)"
    ).respond()
    with function.to_mock_server() as server:
        assert [server.test(body=1) for _ in range(20)] == [5] * 20


def test_flat_map_of_more_than_ten_thousand_items_is_no_cycle():
    seen = []
    function, graph = flow()
    graph.to(millrace.steps.FlatMap(range), "items").to(name="a", handler="(event)").to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        server.test(body=12_000)
        server.wait_for_completion(30)
    assert seen == list(range(12_000))


@pytest.mark.parametrize("step", ["async", "batch", "flat_map"])
def test_sync_engine_refuses_what_it_can_not_run_with_the_way_out(step):
    function, graph = flow("sync")
    kinds = {"batch": millrace.steps.Batch(max_events=1), "flat_map": millrace.steps.Flatten()}
    if step == "async":
        graph.to(name="step", handler=shout)
    else:
        graph.to(kinds[step], "step")
    with pytest.raises(GraphError, match=r"use engine='async'"):
        function.to_mock_server()


def split_between_functions():
    """A parent that parses and a child function that runs a nested flow with a router and a route that is a flow."""
    function = millrace.new_function("nested", kind="serving")
    function.add_child_function("enrich")
    graph = function.set_topology("flow", engine="async")
    graph.to(name="parse", handler="(event + 'p')").to(">>", "raw").to(FlowStep(), "inner", function="enrich")
    graph["inner"].to(name="a", handler="(event + 'a')")
    graph["inner"].add_flow("deep", after="a").to(name="b", handler="(event + 'b')")
    router = graph["inner"].add_step("*Chooser", name="choose", after="deep")
    router.add_route("r", FlowStep()).to(name="c", handler="whoami")
    router.to(">>", "out")
    return function


class Chooser:
    def __init__(self, routes):
        self.routes = routes

    def do_event(self, event):
        return self.routes["r"].run(event)


def whoami(body, context):
    return f"{body} in {context.current_function}"


def test_steps_in_a_flow_run_in_the_child_function_that_the_flow_names():
    with split_between_functions().to_mock_server(current_function="enrich") as server:
        server.engine.thread.call(server.queue("raw").append(Message(b'"xp"')))
        server.wait_for_completion(10)
        assert [message.value for message in server.queue("inner/out").messages] == [b"xpab in enrich"]


def test_the_parent_does_not_run_what_is_in_a_flow_of_a_child_function():
    with split_between_functions().to_mock_server(current_function="") as server:
        server.test(body="x")
        server.wait_for_completion(10)
        assert [message.value for message in server.queue("raw").messages] == [b"xp"]
        assert list(server.engine.plan.objects) == []


def test_names_of_steps_in_a_flow_are_found_in_the_code_of_its_child_function(tmp_path):
    (tmp_path / "enrich.py").write_text("def shout(body):\n    return body.upper()\n")
    function = millrace.new_function("nested", kind="serving")
    function.add_child_function("enrich", str(tmp_path / "enrich.py"))
    graph = function.set_topology("flow", engine="async")
    inner = graph.to(">>", "raw").to(FlowStep(), "inner", function="enrich")
    inner.to(name="up", handler="shout").to(">>", "out")
    with function.to_mock_server(namespace={}) as server:
        server.test(body="x")
        server.wait_for_completion(10)
        assert [message.value for message in server.queue("inner/out").messages] == [b"X"]


def test_a_step_in_a_flow_is_not_apart_from_those_that_inherit_the_same_function():
    function = millrace.new_function("nested", kind="serving")
    function.add_child_function("enrich")
    inner = function.set_topology("flow").to(">>", "raw").to(FlowStep(), "inner", function="enrich")
    inner.to(name="a", handler="(event)").to(name="b", handler="(event)", function="enrich")
    function.validate()
