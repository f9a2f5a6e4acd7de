"""Graphs are built as data: every call writes names, and no more."""

import pytest

from millrace.errors import DuplicateStep, GraphError, UnknownStep
from millrace.serving import FlowStep, RouterStep, TaskStep


class Scale:
    def __init__(self, by):
        self.by = by

    def do(self, body):
        return body * self.by


def after(graph):
    return {name: graph[name].after for name in graph}


def test_to_returns_the_new_step_and_follows_the_one_before():
    graph = FlowStep()
    last = graph.to("Echo").to("json.loads", name="loads").to(handler="(event)", name="x")
    assert after(graph) == {"Echo": [], "loads": ["Echo"], "x": ["loads"]}
    assert last is graph["x"]


@pytest.mark.parametrize(
    ("what", "name"),
    [("a.b.Echo", "Echo"), (Scale, "Scale"), (len, "len"), (Scale(by=2), "Scale"), ("*a.My", "My"), ("*", "router")],
)
def test_a_step_without_name_is_named_by_the_last_part_of_what_it_runs(what, name):
    assert FlowStep().to(what).name == name


@pytest.mark.parametrize("handler", ["(event + 1)", lambda body: body])
def test_a_step_that_has_no_name_of_its_own_must_be_given_one(handler):
    with pytest.raises(GraphError, match="needs a name="):
        FlowStep().to(handler=handler)


def test_a_step_needs_a_class_or_a_handler():
    with pytest.raises(GraphError, match="step 'x': give class_name= or handler="):
        FlowStep().to(name="x")


def test_add_step_follows_a_step_a_name_or_a_list_of_them():
    graph = FlowStep()
    a, b = graph.add_step(name="a", handler="(event)"), graph.add_step(name="b", handler="(event)")
    graph.add_step(name="c", handler="(event)", after=[a, "b"])
    graph.add_step(name="d", handler="(event)", after=b)
    assert after(graph) == {"a": [], "b": [], "c": ["a", "b"], "d": ["b"]}


def test_prev_is_the_step_that_was_added_last():
    graph = FlowStep()
    graph.add_step(name="a", handler="(event)", after="$prev")
    graph.add_step(name="b", handler="(event)", after="$prev")
    graph.error_handler("catch", handler="(event)")
    graph.add_step(name="c", handler="(event)", after="$prev")
    assert after(graph) == {"a": [], "b": ["a"], "catch": [], "c": ["b"]}


def test_after_that_names_nothing_is_refused_with_near_names():
    graph = FlowStep(name="shop")
    graph.to(name="enrich", handler="(event)")
    with pytest.raises(UnknownStep, match=r"graph 'shop': after= of step 'x' names 'enrihc'.*did you mean 'enrich'"):
        graph.add_step(name="x", handler="(event)", after="enrihc")
    assert list(graph) == ["enrich"]


def test_before_puts_a_step_in_the_middle():
    graph = FlowStep()
    graph.to(name="a", handler="(event)").to(name="c", handler="(event)")
    graph.add_step(name="b", handler="(event)", before="c")
    assert after(graph) == {"a": [], "c": ["b"], "b": ["a"]}


def test_before_with_after_replaces_only_that_edge():
    graph = FlowStep()
    graph.to(name="a", handler="(event)")
    graph.add_step(name="b", handler="(event)", after="a")
    graph.add_step(name="join", handler="(event)", after=["a", "b"])
    graph.add_step(name="between", handler="(event)", after="a", before=["join"])
    assert after(graph)["join"] == ["b", "between"]


def test_before_several_steps_takes_the_sources_of_all():
    graph = FlowStep()
    for name in ("x", "y"):
        graph.add_step(name=name, handler="(event)")
    graph.add_step(name="p", handler="(event)", after="x")
    graph.add_step(name="q", handler="(event)", after="y")
    graph.add_step(name="new", handler="(event)", before=["p", "q"])
    assert after(graph) == {"x": [], "y": [], "p": ["new"], "q": ["new"], "new": ["x", "y"]}


def test_a_step_can_not_come_both_before_and_after_another():
    graph = FlowStep()
    graph.to(name="a", handler="(event)")
    step = TaskStep(handler="(event)")
    with pytest.raises(GraphError, match="both before and after 'a'"):
        graph.insert_step("b", step, after="a", before="a")
    assert graph.insert_step("b", step, after="a").parent is graph


def test_a_finished_step_keeps_what_it_says_of_itself():
    graph = FlowStep()
    graph.to(name="a", handler="(event)")
    step = graph.add_step(TaskStep(name="b", class_name=Scale, class_args={"by": 3}, full_event=True, after=["a"]))
    assert (step.full_event, step.after, step.class_args) == (True, ["a"], {"by": 3})


def test_a_finished_step_takes_no_further_arguments():
    with pytest.raises(GraphError, match="'a' is complete, it takes no handler or further arguments"):
        FlowStep().to(TaskStep(name="a", handler="(event)"), by=2)


def test_a_step_is_in_one_flow_only():
    step = TaskStep(name="a", handler="(event)")
    FlowStep().to(step)
    with pytest.raises(GraphError, match="step 'a' is already in the flow"):
        FlowStep().to(step)


def test_a_name_is_given_once_in_a_flow():
    graph = FlowStep(name="shop")
    graph.to(name="a", handler="(event)")
    with pytest.raises(DuplicateStep, match=r"graph 'shop': there is already a step named 'a'.*del graph\['a'\]"):
        graph.to(name="a", handler="(event)")


@pytest.mark.parametrize("name", ["a/b", 5])
def test_a_name_is_a_text_without_slash(name):
    with pytest.raises(GraphError, match="a step's name is a text without '/'"):
        FlowStep().to(name=name, handler="(event)")


def test_after_step_adds_or_replaces_what_a_step_follows():
    graph = FlowStep()
    a, b, c = (graph.add_step(name=name, handler="(event)") for name in "abc")
    assert c.after_step(a, "b").after == ["a", "b"]
    assert c.after_step("b", append=False).after == ["b"]
    with pytest.raises(GraphError, match="can not come after itself; use cycle_to"):
        b.after_step("b")


def test_set_flow_makes_a_chain_and_replaces_only_when_forced():
    graph = FlowStep()
    last = graph.set_flow(["pkg.A", {"handler": "(event)", "name": "b"}, Scale])
    assert (last.name, after(graph)) == ("Scale", {"A": [], "b": ["A"], "Scale": ["b"]})
    with pytest.raises(GraphError, match="already has steps; set_flow"):
        graph.set_flow(["pkg.B"])
    assert list(graph.set_flow(["pkg.B"], force=True).parent) == ["B"]


# -- reading and removing ------------------------------------------------------------------------------------------


def nested():
    graph = FlowStep()
    inner = graph.add_flow("prepare")
    inner.to(name="strip", handler="(event)")
    router = graph.add_step("*", name="models", after="prepare")
    router.add_route("m1", class_name="Model")
    return graph


def test_paths_lead_to_steps_and_routes_in_nested_flows():
    graph = nested()
    assert graph["prepare/strip"] is graph.path_to_step("/prepare/strip") is graph["prepare"]["strip"]
    assert graph.path_to_step("models/m1").class_name == "Model"
    assert graph["prepare"]["strip"].full_name == "prepare/strip"


@pytest.mark.parametrize(
    ("path", "words"),
    [("prepare/stirp", "did you mean 'strip'"), ("prepare/strip/x", "is a task and has no 'x'"), ("models/m2", "'m2'")],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path, words):
    with pytest.raises(GraphError, match=words):
        nested().path_to_step(path)


def test_indexing_an_unknown_name_is_a_key_error_with_near_names():
    with pytest.raises(KeyError, match="did you mean 'prepare'"):
        nested()["prepar"]
    with pytest.raises(KeyError, match="has no route 'm2'"):
        nested()["models"]["m2"]


def test_a_flow_and_a_router_are_containers_of_names():
    graph = nested()
    assert (list(graph), len(graph), "models" in graph, graph.get("x")) == (["prepare", "models"], 2, True, None)
    assert (list(graph["models"]), len(graph["models"]), "m1" in graph["models"]) == (["m1"], 1, True)


@pytest.mark.parametrize("key", ["a/b", "", 5])
def test_a_key_that_no_url_can_name_is_no_route(key):
    with pytest.raises(GraphError, match=f"a route's key is a text without '/', not {key!r}"):
        RouterStep().add_route(key, handler="(event)")


def test_del_removes_steps_and_routes_also_by_path():
    graph = nested()
    del graph["prepare/strip"], graph["models/m1"]
    assert (len(graph["prepare"]), len(graph["models"])) == (0, 0)
    del graph["models"]
    assert list(graph) == ["prepare"]


def test_a_removed_step_can_be_added_again():
    graph = FlowStep()
    step = graph.to(name="a", handler="(event)")
    del graph["a"]
    assert graph.to(step) is graph["a"]


def test_clear_children_removes_some_or_all():
    graph = FlowStep()
    for name in "abc":
        graph.add_step(name=name, handler="(event)")
    graph.clear_children(["b"])
    assert list(graph) == ["a", "c"]
    graph.clear_children()
    assert not list(graph)


# -- catchers, responders, cycles ----------------------------------------------------------------------------------


def test_error_handler_with_a_name_alone_means_a_step_that_is_added_later():
    graph = FlowStep()
    step = graph.to(name="a", handler="(event)")
    assert step.error_handler("catch") is step
    graph.add_step(name="catch", handler="(event)", after="")
    assert (step.on_error, graph["catch"].after, graph.catchers) == ("catch", [], {"catch"})


def test_error_handler_with_a_handler_makes_the_step():
    graph = FlowStep()
    assert graph.error_handler(name="all", handler="h", full_event=True) is graph
    graph.to(name="a", handler="(event)").error_handler(name="mine", class_name="Catch", depth=2)
    assert (graph.on_error, graph["all"].full_event) == ("all", True)
    assert (graph["mine"].class_name, graph["mine"].class_args) == ("Catch", {"depth": 2})


@pytest.mark.parametrize("on", ["step", "graph"])
def test_a_catcher_rejoins_the_graph_before_a_step(on):
    graph = FlowStep()
    graph.to(name="a", handler="(event)").to(name="b", handler="(event)")
    (graph if on == "graph" else graph["a"]).error_handler(name="fix", handler="(event)", before="b")
    assert after(graph) == {"a": [], "b": ["a", "fix"], "fix": []}


def test_a_catcher_added_later_rejoins_by_before_of_add_step():
    graph = FlowStep()
    graph.to(name="a", handler="(event)").error_handler("fix").to(name="b", handler="(event)")
    graph.add_step(name="fix", handler="(event)", after="", before="b")
    assert after(graph) == {"a": [], "b": ["a", "fix"], "fix": []}


def test_two_steps_share_a_catcher_that_is_described_alike_and_only_then():
    graph = FlowStep()
    graph.to(name="a", handler="(event)").error_handler(name="fix", handler="h")
    graph["a"].to(name="b", handler="(event)").error_handler(name="fix", handler="h")
    assert list(graph) == ["a", "fix", "b"]
    with pytest.raises(DuplicateStep):
        graph["b"].error_handler(name="fix", handler="other")


@pytest.mark.parametrize("arguments", [{}, {"name": "c", "before": "a"}, {"name": "c", "full_event": True}])
def test_a_catcher_needs_a_class_or_handler_when_more_than_its_name_is_given(arguments):
    graph = FlowStep()
    with pytest.raises(GraphError, match="error_handler\\(\\) needs class_name= or handler="):
        graph.to(name="a", handler="(event)").error_handler(**arguments)


def test_respond_marks_the_step_and_returns_it():
    graph = FlowStep()
    step = graph.to(name="a", handler="(event)").respond()
    assert step is graph["a"] and step.responder


def test_cycle_to_names_earlier_steps_or_steps_that_come_later():
    graph = FlowStep()
    a = graph.to(name="a", handler="(event)")
    b = a.to(name="b", handler="(event)").cycle_to("a", max_iterations=3).cycle_to(["later"])
    b.to(name="later", handler="(event)", cycle_to=["a"], max_iterations=2)
    assert (a.cycle_from, graph["later"].cycle_from) == (["b", "later"], ["b"])
    assert (b.max_iterations, graph["later"].max_iterations, graph.pending_cycles) == (3, 2, [])


@pytest.mark.parametrize("rounds", [0, -1, True, 1.5])
def test_max_iterations_is_a_whole_number_of_one_or_more(rounds):
    with pytest.raises(GraphError, match="max_iterations="):
        FlowStep(max_iterations=rounds)
    with pytest.raises(GraphError, match="max_iterations="):
        FlowStep().to(name="a", handler="(event)", max_iterations=rounds)


def test_a_step_outside_a_flow_says_how_to_add_it():
    with pytest.raises(GraphError, match="step 'a' is in no flow yet"):
        TaskStep(name="a", handler="(event)").to(name="b", handler="(event)")


def test_steps_and_graphs_say_in_one_short_line_what_they_are():
    graph = FlowStep(name="shop")
    graph.to("Echo", name="a").to(name="b", handler=len).to(Scale(by=2), name="c").to(">>", "q", path="log:///x")
    router = graph.add_step("*", name="models", after="c")
    router.add_route("m1", class_name="Model", model_path="x")
    assert repr(graph) == "FlowStep('shop', steps=['a', 'b', 'c', 'q', 'models'])"
    assert [repr(graph[name]) for name in graph] == [
        "TaskStep('a', class_name='Echo')", "TaskStep('b', handler=len)", "TaskStep('c', class_name=Scale)",
        "QueueStep('q', path='log:///x')", "RouterStep('models', routes=['m1'])",
    ]  # fmt: skip


def test_a_class_given_as_a_finished_route_is_told_where_it_belongs():
    with pytest.raises(GraphError, match=r"^the router, route 'a': .* not a str; .* given as class_name="):
        RouterStep().add_route("a", "*millrace.serving.VotingEnsemble")


@pytest.mark.parametrize("on", ["step", "graph"])
def test_before_of_a_catcher_may_name_a_step_that_is_added_later(on):
    graph = FlowStep()
    if on == "graph":
        graph.error_handler(name="fix", handler="(event)", before="b")
    start = graph.to(name="a", handler="(event)")
    if on == "step":
        start.error_handler(name="fix", handler="(event)", before="b")
    start.to(name="b", handler="(event)")
    assert after(graph) == {"a": [], "b": ["a", "fix"], "fix": []}


def test_to_takes_an_after_that_says_the_same_and_no_other_place():
    start = FlowStep().to(name="a", handler="(event)")
    assert start.to(name="b", handler="(event)", after="a").after == ["a"]
    with pytest.raises(GraphError, match=r"step 'c': to\(\) adds a step after 'a'.* are for graph.add_step"):
        start.to(name="c", handler="(event)", after="b")
    with pytest.raises(GraphError, match=r"step 'd': to\(\) adds a step after 'a'"):
        start.to(name="d", handler="(event)", before="b")


@pytest.mark.parametrize("field", ["input_path", "result_path", "function"])
def test_a_path_or_function_that_is_no_text_is_refused(field):
    with pytest.raises(GraphError, match=f"step 'a': {field}=5 must be a text"):
        FlowStep().to(name="a", handler="(event)", **{field: 5})
