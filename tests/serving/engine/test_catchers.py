"""Errors and who catches them; the sync and the async engine do the same."""

import json
import threading
import time

import pytest

import millrace
from millrace.errors import GraphError, InvalidInput, RequestFailed, StepError
from millrace.steps import Choice, Filter

ENGINES = pytest.mark.parametrize("engine", ["sync", "async", "loop"])


def flow(engine="async", **settings):
    """A graph; ``loop`` is an async one that can not run in the caller's thread."""
    function = millrace.new_function("catch", kind="serving")
    graph = function.set_topology("flow", engine="async" if engine == "loop" else engine, **settings)
    if engine == "loop":

        async def on_loop(body):
            return body

        return function, graph.to(name="on_loop", handler=on_loop)
    return function, graph


def breaks(body):
    raise LookupError(f"no {body}")


@ENGINES
def test_error_without_a_catcher_names_the_step_the_graph_and_the_cause(engine):
    function, start = flow(engine)
    start.to(name="fine", handler="(event)").to(name="broken", handler=breaks).respond()
    with function.to_mock_server() as server:
        text = r"\(500\): step 'broken' of graph 'catch' failed: LookupError: no x"
        with pytest.raises(RequestFailed, match=text) as failed:
            server.test(body="x")
        assert isinstance(failed.value.__cause__, LookupError)
        assert failed.value.__cause__.__traceback__.tb_next is not None
        assert server.test(body="y", silent=True).status_code == 500


@ENGINES
def test_catcher_of_a_step_gives_the_answer(engine):
    function, start = flow(engine)
    step = start.to(name="broken", handler=breaks)
    step.error_handler(name="catch", handler="(event + ' caught')")
    step.to(name="after", handler="('not reached')").respond()
    with function.to_mock_server() as server:
        assert server.test(body="x") == "x caught"


@ENGINES
def test_catcher_sees_the_real_exception_its_text_and_the_step(engine):
    def catch(event):
        event.body = [type(event.error).__name__, str(event.error), event.origin_state, event.body]
        return event

    function, start = flow(engine)
    start.to(name="broken", handler=breaks).error_handler(name="catch", handler=catch, full_event=True).respond()
    with function.to_mock_server() as server:
        assert server.test(body="x") == ["LookupError", "no x", "broken", "x"]


@ENGINES
def test_catcher_with_before_sends_the_event_on(engine):
    function, start = flow(engine)
    step = start.to(name="broken", handler=breaks)
    step.to(name="add", handler="(event + '!')").respond()
    step.error_handler(name="catch", handler="(event + ' caught')", before="add")
    with function.to_mock_server() as server:
        assert server.test(body="x") == "x caught!"


@ENGINES
def test_catcher_of_the_graph_with_before_sends_the_event_on(engine):
    function, start = flow(engine)
    step = start.to(name="broken", handler=breaks)
    step.to(name="add", handler="(event + '!')").respond()
    function.graph.error_handler(name="catch", handler="(event + ' caught')", before="add")
    with function.to_mock_server() as server:
        assert server.test(body="x") == "x caught!"


@pytest.mark.parametrize("engine", ["sync", "async"])
def test_catcher_can_send_an_event_back_to_the_start_step(engine):
    function, graph = flow(engine, max_iterations=5)
    first = graph.to(name="first", handler="([*event, 'first'])")
    check = first.to(name="check", handler="(event[2:] and event or 1 / 0)")
    check.respond().error_handler(name="fix", handler="([*event, 'fixed'])", before="first")
    with function.to_mock_server() as server:
        assert server.test(body=[]) == ["first", "fixed", "first"]


@ENGINES
def test_catcher_of_the_graph_catches_what_no_step_catches(engine):
    function, start = flow(engine)
    first = start.to(name="first", handler=lambda body: breaks(body) if body == "a" else body)
    first.error_handler(name="own", handler="('own')")
    first.to(name="second", handler=breaks).respond()
    function.graph.error_handler(name="graphs", handler="('graphs')")
    with function.to_mock_server() as server:
        assert [server.test(body="a"), server.test(body="b")] == ["own", "graphs"]


@ENGINES
def test_catcher_that_fails_goes_to_the_catcher_of_the_graph_and_then_to_the_caller(engine):
    function, start = flow(engine)
    start.to(name="broken", handler=breaks).error_handler(name="own", handler=breaks).respond()
    function.graph.error_handler(name="graphs", handler=lambda body: "graphs" if body == "a" else breaks(body))
    with function.to_mock_server() as server:
        assert server.test(body="a") == "graphs"
        with pytest.raises(RequestFailed, match=r"step 'graphs'"):
            server.test(body="b")


@ENGINES
def test_catcher_gets_the_body_that_went_into_the_step(engine):
    function, start = flow(engine)
    start.to(name="a", handler="(event + 1)").to(name="b", handler="(event + 1)").to(
        name="broken", handler=breaks
    ).error_handler(name="catch", handler="(event)").respond()
    with function.to_mock_server() as server:
        assert server.test(body=1) == 3


@ENGINES
def test_catcher_that_filters_answers_204(engine):
    function, start = flow(engine)
    start.to(name="broken", handler=breaks).respond().error_handler(name="catch", class_name=Filter(lambda body: False))
    with function.to_mock_server() as server:
        assert server.test(body="x", get_body=False).status_code == 204


def test_catcher_behind_the_responder_runs_and_the_answer_stays():
    caught = []
    function, graph = flow()
    graph.to(name="answer", handler="('answer')").respond().to(name="broken", handler=breaks)
    graph.error_handler(name="catch", handler=caught.append)
    with function.to_mock_server() as server:
        assert server.test(body="x") == "answer"
        server.wait_for_completion(10)
        assert (caught, server.errors) == (["answer"], [])


def test_catcher_added_later_is_named_by_error_handler():
    function, graph = flow()
    graph.to(name="broken", handler=breaks).respond()
    graph.error_handler("catch")
    graph.add_step(name="catch", handler="('caught')", after="")
    with function.to_mock_server() as server:
        assert server.test(body="x") == "caught"


def test_error_of_select_outlets_goes_to_the_catcher_of_its_own_step():
    function, graph = flow()
    first = graph.to(name="first", handler="(event)").error_handler(name="wrong", handler="('wrong')")
    choice = first.to(Choice(breaks), "choice").error_handler(name="right", handler="('right')")
    choice.to(name="next", handler="(event)").respond()
    with function.to_mock_server() as server:
        assert server.test(body="x") == "right"


def test_catchers_that_catch_each_other_are_refused():
    function, graph = flow()
    graph.to(name="broken", handler=breaks).error_handler(name="one", handler=breaks).respond()
    graph["one"].error_handler(name="two", handler=breaks)
    graph["two"].on_error = "one"
    with pytest.raises(GraphError, match=r"one -> two -> one|two -> one -> two"):
        function.to_mock_server()


def test_catcher_that_sends_back_to_the_failing_step_ends_with_an_error():
    function, graph = flow(max_iterations=5)
    step = graph.to(name="first", handler="(event)").to(name="broken", handler=breaks).respond()
    step.error_handler(name="again", handler="(event)", before="broken")
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=r"'again'.*more than 5 times"):
        server.test(body="x")


def test_errors_after_the_answer_are_kept_and_raised_as_a_group():
    function, graph = flow()
    graph.to(name="answer", handler="(event)").respond().to(name="broken", handler=breaks)
    with function.to_mock_server() as server:
        server.test(body="x", event_id="one")
        server.wait_for_completion(10)
        assert [(error.step, error.event_id) for error in server.errors] == [("broken", "one")]
        with pytest.raises(ExceptionGroup) as group:
            server.wait_for_completion(10, raise_errors=True)
        assert isinstance(group.value.exceptions[0], StepError)
        server.wait_for_completion(10, raise_errors=True)


def test_errors_after_the_answer_go_to_the_log(caplog):
    function, graph = flow()
    graph.to(name="answer", handler="(event)").respond().to(name="broken", handler=breaks)
    with function.to_mock_server() as server:
        server.test(body="x", event_id="one")
        server.wait_for_completion(10)
    assert "step 'broken' of graph 'catch' failed: LookupError" in caplog.text


@ENGINES
@pytest.mark.parametrize("where", ["before", "behind"])
def test_error_stream_gets_a_record_of_each_uncaught_error(engine, where):
    function, start = flow(engine)
    function.spec.error_stream = "memory://errors"
    step = start.to(name="answer", handler="(event)")
    step = step.respond() if where == "behind" else step
    last = step.to(name="broken", handler=breaks)
    last.respond() if where == "before" else last
    with function.to_mock_server() as server:
        server.test(body="x", event_id="one", silent=True)
        server.wait_for_completion(10)
        (message,) = server.queue("error_stream").messages
    record = json.loads(message.value)
    assert (record["source"], record["event"]) == ("broken", {"id": "one", "body": "x"})
    assert "LookupError" in record["message"]


def test_error_in_a_route_that_is_a_flow_is_recorded_once():
    function = millrace.new_function("routes", kind="serving")
    function.spec.error_stream = "memory://errors"
    inner = millrace.serving.FlowStep(name="inner")
    inner.to(name="broken", handler=breaks).respond()
    function.set_topology("router").add_route("inner", inner)
    with function.to_mock_server() as server:
        assert server.test("/v2/models/inner/infer", {"inputs": [1]}, silent=True).status_code == 500
        server.wait_for_completion(10)
        assert len(server.queue("error_stream").messages) == 1


@ENGINES
def test_step_chooses_the_status_by_raising_a_millrace_error(engine):
    def refuse(body):
        raise InvalidInput("not like this")

    function, start = flow(engine)
    start.to(name="refuse", handler=refuse).respond()
    with function.to_mock_server() as server:
        response = server.test(body="x", silent=True)
        assert (response.status_code, response.body) == (422, b'{"error":"not like this"}')


def test_exception_object_that_is_raised_again_and_again_does_not_grow():
    error = InvalidInput("always the same")

    def refuse(body):
        raise error

    function, graph = flow()
    graph.to(name="refuse", handler=refuse).respond()
    server = function.to_mock_server()
    for number in range(50):
        server.test(body="x", event_id=str(number), silent=True)
    assert error.__notes__ == ["in step 'refuse' of graph 'catch', event 49"]


@ENGINES
@pytest.mark.parametrize(
    "error", [SystemExit(3), StopIteration(1), RecursionError("deep"), GeneratorExit()], ids=lambda e: type(e).__name__
)
def test_step_that_raises_what_ends_programs_fails_its_event_only(engine, error):
    def raise_it(body):
        if body == "x":
            raise error
        return body

    function, start = flow(engine)
    start.to(name="odd", handler=raise_it).respond()
    with function.to_mock_server() as server:
        with pytest.raises(RequestFailed, match=rf"\(500\): step 'odd' .*{type(error).__name__}"):
            server.test(body="x")
        assert server.test(body="y") == "y"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), StopIteration(1)], ids=repr)
def test_async_step_that_raises_what_ends_programs_fails_its_event_only(error):
    async def raise_it(body):
        if body == "x":
            raise error
        return body

    function, graph = flow()
    graph.to(name="odd", handler=raise_it).respond()
    with function.to_mock_server() as server:
        with pytest.raises(RequestFailed, match=rf"\(500\): step 'odd' .*{type(error).__name__}"):
            server.test(body="x")
        assert server.test(body="y") == "y"


def test_async_step_that_raises_cancelled_fails_its_event_only():
    import asyncio

    async def cancelled(body):
        raise asyncio.CancelledError

    function, graph = flow()
    graph.to(name="odd", handler=cancelled).respond()
    with function.to_mock_server() as server:
        assert server.test(body="x", silent=True).status_code == 500


def test_task_made_by_a_step_that_ends_the_program_does_not_end_the_loop():
    import asyncio

    async def leave():
        raise SystemExit(1)

    async def step(body):
        if body == "x":
            task = asyncio.ensure_future(leave())
            await asyncio.wait([task])
            task.exception()
        return body

    function, graph = flow()
    graph.to(name="step", handler=step).respond()
    with function.to_mock_server() as server:
        assert [server.test(body="x"), server.test(body="y")] == ["x", "y"]


def test_ctrl_c_in_a_plain_graph_reaches_the_user():
    def interrupt(body):
        raise KeyboardInterrupt

    function, graph = flow()
    graph.to(name="interrupt", handler=interrupt).respond()
    with pytest.raises(KeyboardInterrupt):
        function.to_mock_server().test(body="x")


def test_one_bad_event_does_not_stop_the_others():
    def check(body):
        if body % 10 == 0:
            raise ValueError(body)
        return body

    async def step(body):
        return check(body)

    function, graph = flow()
    graph.to(name="step", handler=step).respond()
    with function.to_mock_server() as server:
        statuses = [server.test(body=n, silent=True) for n in range(1, 101)]
    assert sum(isinstance(one, millrace.Response) for one in statuses) == 10


def test_error_sink_that_breaks_does_not_change_the_answer(caplog):
    function, graph = flow()
    graph.to(name="broken", handler=breaks).respond()

    def sink(record):
        raise OSError("the stream is gone")

    with function.to_mock_server() as server:
        server.context.error_sink = sink
        with pytest.raises(RequestFailed, match=r"step 'broken'"):
            server.test(body="x")
    assert "could not be written to the error stream" in caplog.text


def test_deep_recursion_in_a_step_is_an_error_of_the_step():
    def down(body):
        return down(body)

    function, graph = flow()
    graph.to(name="down", handler=down).respond()
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=r"'down'.*RecursionError"):
        server.test(body=1)


def test_errors_in_many_threads_each_reach_their_caller():
    function, graph = flow("loop")
    graph.to(name="broken", handler=breaks).respond()
    texts = []

    def ask(number):
        texts.append((number, server.test(body=f"n{number}", silent=True).body))

    with function.to_mock_server() as server:
        callers = [threading.Thread(target=ask, args=(n,)) for n in range(20)]
        for caller in callers:
            caller.start()
        deadline = time.monotonic() + 10
        for caller in callers:
            caller.join(deadline - time.monotonic())
    assert all(f"no n{number}\\" in text.decode() or f"no n{number}" in text.decode() for number, text in texts)
    assert len(texts) == 20


@ENGINES
def test_an_exception_whose_text_breaks_is_told_with_its_step_and_can_be_caught(engine):
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no text")

    def mute(body):
        raise Mute

    function, start = flow(engine)
    start.to(name="broken", handler=mute).respond()
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=r"broken.*: Mute: \(its text"):
        server.test(body=1)
    function.spec.graph.error_handler(name="all", handler="('caught')")
    assert function.to_mock_server().test(body=1) == "caught"
