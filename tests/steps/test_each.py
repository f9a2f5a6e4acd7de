"""Map, Filter, FlatMap, Flatten, Extend, ForEach, MapClass, Choice: in a graph, as users write them."""

import asyncio

import pytest

import millrace
from millrace.errors import BadStepArguments, GraphError, RequestFailed
from millrace.steps import Choice, ChoiceByField, Extend, Filter, Flatten, ForEach, Map, MapClass


def flow():
    function = millrace.new_function("each", kind="serving")
    return function, function.set_topology("flow", engine="async")


def answer(step, body, **settings):
    function, graph = flow()
    graph.to(step, "step", **settings).respond()
    with function.to_mock_server() as server:
        return server.test(body=body)


async def later(body):
    await asyncio.sleep(0)
    return {"later": body["x"]}


@pytest.mark.parametrize(
    ("step", "body", "expected"),
    [
        (Map(lambda body: body * 2), 4, 8),
        (Filter(lambda body: body > 3), 4, 4),
        (Extend(lambda body: {"y": body["x"] + 1}), {"x": 1}, {"x": 1, "y": 2}),
        (Extend(later), {"x": 1}, {"x": 1, "later": 1}),
        (Map(later), {"x": 1}, {"later": 1}),
        (ForEach(lambda body: "ignored"), 5, 5),
        (ForEach(later), {"x": 1}, {"x": 1}),
        (Flatten(), [7, 8], 7),
    ],
    ids=lambda value: type(value).__name__,
)
def test_step_does_what_its_name_says(step, body, expected):
    assert answer(step, body) == expected


def test_async_filter_filters():
    async def is_large(body):
        return body > 3

    assert [answer(Filter(is_large), body) for body in (3, 4)] == [None, 4]


def test_steps_are_found_by_their_storey_names_with_expressions():
    function, graph = flow()
    graph.to("storey.Filter", "large", _fn="(event['x'] > 1)").to("storey.Extend", "add", _fn="({'y': 1})").respond()
    server = function.to_mock_server()
    assert [server.test(body={"x": x}) for x in (1, 2)] == [None, {"x": 2, "y": 1}]


def test_map_with_the_context_gets_it():
    def name(body, context=None):
        return context.name

    function, graph = flow()
    graph.to(Map, "name", fn=name, pass_context=True).respond()
    assert function.to_mock_server().test(body=1) == "each"


def test_unknown_parameter_of_a_library_step_is_refused():
    function, graph = flow()
    graph.to(Map, "map", fn=len, long_runing=True).respond()
    with pytest.raises(GraphError, match=r"'map'.*'long_runing'.*long_running"):
        function.to_mock_server()


class Positive(MapClass):
    def do(self, body):
        return body if body > 0 else self.filter()


class PositiveLater(MapClass):
    async def do(self, body):
        await asyncio.sleep(0)
        return body if body > 0 else self.filter()


@pytest.mark.parametrize("cls", [Positive, PositiveLater])
def test_class_may_drop_its_event(cls):
    async def ask(server):
        return await asyncio.gather(*(server.atest(body=n) for n in (-1, 1, -2, 2)))

    function, graph = flow()
    graph.to(cls, "positive").respond()
    with function.to_mock_server() as server:
        assert asyncio.run(ask(server)) == [None, 1, None, 2]


def test_event_dropped_by_an_inner_server_is_not_dropped_outside():
    inner, graph = flow()
    graph.to(Positive, "positive").respond()
    server = inner.to_mock_server()

    class Asks(MapClass):
        def do(self, body):
            return [server.test(body=-1)]

    assert answer(Asks, 1) == [None]


def test_class_may_drop_its_event_in_a_task_it_makes():
    class Tasks(MapClass):
        async def do(self, body):
            async def look():
                self.filter()

            await asyncio.create_task(look())
            return body

    assert answer(Tasks, 1) is None


def test_filter_outside_of_do_is_an_error():
    with pytest.raises(RuntimeError, match=r"while do\(body\)"):
        Positive().filter()


def test_choice_by_field_sends_to_what_the_field_names_and_says_when_it_is_missing():
    function, graph = flow()
    graph.to(ChoiceByField("goto"), "choose")
    graph.add_step(name="a", handler="('a')", after="choose").respond()
    graph.add_step(name="b", handler="('b')", after="choose")
    with function.to_mock_server() as server:
        assert [server.test(body={"goto": name}) for name in ("a", "b")] == ["a", None]
        with pytest.raises(RequestFailed, match=r"'choose'.*no field 'goto'"):
            server.test(body={})


def test_choice_without_a_way_to_choose_says_so():
    function, graph = flow()
    graph.to(Choice, "choose").to(name="next", handler="(event)").respond()
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=r"Choice needs fn= or a method"):
        server.test(body=1)


def test_an_expression_without_the_underscore_is_told_how_it_is_given():
    with pytest.raises(TypeError, match="not str; an expression or a name is given as _fn="):
        Map("(event + 1)")


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (ForEach(lambda part: "ignored"), {"a": {"x": 1}}),
        (ForEach(later), {"a": {"x": 1}}),
        (Extend(lambda part: {"y": part["x"]}), {"a": {"x": 1}, "y": 1}),
        (Extend(later), {"a": {"x": 1}, "later": 1}),
        (Choice(lambda part: "end" if part == {"x": 1} else []), {"a": {"x": 1}}),
        (ChoiceByField("x"), {"a": {"x": "end"}}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_step_that_looks_at_a_part_of_the_body_keeps_the_rest(step, expected):
    function, graph = flow()
    graph.to(step, "step", input_path="a").to(name="end", handler="(event)").respond()
    body = {"a": {"x": "end" if isinstance(step, ChoiceByField) else 1}}
    with function.to_mock_server() as server:
        assert server.test(body=body) == expected


def test_what_is_made_of_a_part_goes_where_result_path_says():
    assert answer(ForEach(len), {"a": [1]}, input_path="a", result_path="b") == {"a": [1], "b": [1]}


def test_a_class_that_does_not_make_itself_a_step_is_refused_by_name():
    class Scale(MapClass):
        def __init__(self, by):
            self.by = by

    function, graph = flow()
    graph.to(Scale, "scale", by=2).respond()
    with pytest.raises(BadStepArguments, match=r"step 'scale': Scale.__init__ must call super\(\).__init__\(\)"):
        function.to_mock_server()
