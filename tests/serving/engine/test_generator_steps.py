"""Steps that yield: the answer is a stream."""

import asyncio
import gc
import threading
import time

import pytest

import millrace
from millrace.errors import Draining, GraphError, RequestFailed, StepError, Unavailable
from millrace.serving.engine.stream import MAX_CHUNKS
from millrace.steps import Batch, FlatMap


def flow(engine="async", **settings):
    function = millrace.new_function("streams", kind="serving")
    return function, function.set_topology("flow", engine=engine, **settings)


def count(body):
    yield from range(body)


async def count_async(body):
    for number in range(body):
        await asyncio.sleep(0)
        yield number


async def collect(server, body):
    return [chunk async for chunk in await server.atest(body=body)]


@pytest.mark.parametrize("options", [{}, {"execution": "thread"}], ids=["inline", "thread"])
def test_plain_generator_is_a_stream_for_threads_and_coroutines(options):
    function, graph = flow()
    graph.to(name="count", handler=count, **options).respond()
    with function.to_mock_server() as server:
        assert list(server.test(body=100)) == list(range(100))
        assert asyncio.run(collect(server, 100)) == list(range(100))
        assert list(server.emit(3)) == [0, 1, 2]


def test_async_generator_with_steps_after_it_is_a_stream():
    async def add(body):
        await asyncio.sleep(0)
        return body + 1

    function, graph = flow()
    graph.to(name="count", handler=count_async).to(name="add", handler=add).to(
        name="double", handler="(event * 2)"
    ).respond()
    with function.to_mock_server() as server:
        assert list(server.test(body=4)) == [2, 4, 6, 8]


def test_method_of_a_class_may_be_a_generator():
    class Words:
        def do(self, body):
            yield from body.split()

    function, graph = flow()
    graph.to(Words, "words").respond()
    with function.to_mock_server() as server:
        assert list(server.test(body="a b c", content_type="text/plain")) == ["a", "b", "c"]


def test_first_chunk_arrives_before_the_second_is_made():
    read = threading.Event()

    def two(body):
        yield "first"
        yield "second" if read.wait(10) else "nobody has read"

    function, graph = flow()
    graph.to(name="two", handler=two, execution="thread").respond()
    with function.to_mock_server() as server:
        stream = server.test(body=1)
        assert next(stream) == "first"
        read.set()
        assert next(stream) == "second"


def test_chunks_that_are_filtered_leave_the_others():
    function, graph = flow()
    graph.to(name="count", handler=count).to(millrace.steps.Filter(lambda body: body % 2), "odd").respond()
    with function.to_mock_server() as server:
        assert list(server.test(body=6)) == [1, 3, 5]
        assert server.test(body=1) is None


@pytest.mark.parametrize("is_async", [True, False])
def test_generator_that_yields_nothing_is_a_stream_of_nothing(is_async):
    function, graph = flow()
    graph.to(name="count", handler=count_async if is_async else count).to(name="next", handler="(event + 1)").respond()
    with function.to_mock_server() as server:
        assert list(server.test(body=0)) == [] and list(server.test(body=1)) == [1]


def test_empty_generator_beside_a_branch_that_answers_leaves_the_answer_to_it():
    function, graph = flow()
    first = graph.to(name="first", handler="(event)")
    first.to(name="count", handler=count)
    first.to(name="answer", handler="('answered')").respond()
    with function.to_mock_server() as server:
        assert server.test(body=0) == "answered"


def test_generator_of_chunks_of_a_stream_adds_to_the_same_stream():
    function, graph = flow()
    graph.to(name="outer", handler=count).to(name="inner", handler=count).respond()
    with function.to_mock_server() as server:
        assert list(server.test(body=4)) == [0, 0, 1, 0, 1, 2]


def test_chunks_on_side_ways_with_async_steps_arrive_before_the_stream_ends():
    async def slow(body):
        await asyncio.sleep(0.001)
        return body

    function, graph = flow()
    graph.to(name="count", handler=count).to(FlatMap(lambda body: [body] * 2), "twice").to(
        name="slow", handler=slow
    ).respond()
    with function.to_mock_server() as server:
        assert sorted(server.test(body=10)) == sorted([*range(10), *range(10)])


def breaks_after_two(body):
    yield from (0, 1)
    raise LookupError("no third")


def test_error_in_the_stream_comes_after_the_chunks_before_it():
    function, graph = flow()
    graph.to(name="broken", handler=breaks_after_two).respond()
    with function.to_mock_server() as server:
        stream = server.test(body=1)
        assert [next(stream), next(stream)] == [0, 1]
        with pytest.raises(StepError, match=r"step 'broken' of graph 'streams' failed: LookupError: no third"):
            next(stream)
        server.wait_for_completion(10)
        assert (len(server.errors), server.engine.gate.inside) == (1, 0)


def test_error_before_the_first_chunk_is_the_answer():
    def broken(body):
        raise LookupError("nothing")
        yield

    function, graph = flow()
    graph.to(name="broken", handler=broken).respond()
    with function.to_mock_server() as server, pytest.raises(RequestFailed, match=r"'broken'.*LookupError"):
        server.test(body=1)


def test_chunk_that_fails_in_a_later_step_ends_the_stream_with_its_error():
    made = []

    def numbers(body):
        for number in range(100):
            made.append(number)
            yield number

    def third_fails(body):
        return body if body < 2 else 1 / 0

    function, graph = flow()
    graph.to(name="numbers", handler=numbers).to(name="check", handler=third_fails).respond()
    with function.to_mock_server() as server:
        stream = server.test(body=1)
        assert [next(stream), next(stream)] == [0, 1]
        with pytest.raises(StepError, match=r"'check'.*ZeroDivisionError"):
            next(stream)
    assert made == [0, 1, 2]


def test_catcher_of_a_generator_gives_the_last_chunk():
    function, graph = flow()
    graph.to(name="broken", handler=breaks_after_two).error_handler(name="catch", handler="('caught')").respond()
    with function.to_mock_server() as server:
        assert list(server.test(body=1)) == [0, 1, "caught"]


@pytest.mark.parametrize("how", ["close", "drop"])
def test_reader_that_goes_away_ends_the_generator(how):
    ended = threading.Event()

    def endless(body):
        try:
            while True:
                yield body
        finally:
            ended.set()

    function, graph = flow()
    graph.to(name="endless", handler=endless).respond()
    with function.to_mock_server() as server:
        stream = server.test(body=1)
        next(stream)
        stream.close() if how == "close" else None
        del stream
        gc.collect()
        assert ended.wait(10)
        server.wait_for_completion(10)
        assert server.engine.gate.inside == 0


def test_async_reader_that_goes_away_ends_the_generator():
    ended = threading.Event()

    async def endless(body):
        try:
            while True:
                yield body
        finally:
            ended.set()

    async def first(server):
        async for chunk in await server.atest(body=7):
            return chunk

    function, graph = flow()
    graph.to(name="endless", handler=endless).respond()
    with function.to_mock_server() as server:
        assert asyncio.run(first(server)) == 7
        gc.collect()
        assert ended.wait(10)


def test_stream_that_nobody_reads_is_bounded_and_does_not_hold_up_wait_for_completion():
    made = []

    def endless(body):
        while True:
            made.append(1)
            yield body

    function, graph = flow()
    graph.to(name="endless", handler=endless).respond()
    server = function.to_mock_server()
    stream = server.test(body=1)
    server.wait_for_completion(10)
    assert len(made) == MAX_CHUNKS + 1
    assert next(stream) == 1
    server.close()


def test_wait_for_completion_waits_for_other_events_than_the_unread_stream():
    release, done = threading.Event(), []

    def count_or_wait(body):
        if body != "wait":
            yield from range(100)
        else:
            yield "started"
            release.wait(10)
            done.append(1)

    function, graph = flow()
    graph.to(name="step", handler=count_or_wait, execution="thread").respond()
    with function.to_mock_server() as server:
        streams = [server.test(body="count"), server.test(body="wait")]
        with pytest.raises(TimeoutError):
            server.wait_for_completion(0.05)
        release.set()
        server.wait_for_completion(10)
        assert (done, len(streams)) == ([1], 2)


def test_reader_of_a_stream_whose_server_is_closed_gets_an_error_and_does_not_hang():
    function, graph = flow()
    graph.to(name="count", handler=count).respond()
    server = function.to_mock_server()
    stream, raised = server.test(body=1000), []

    def read():
        try:
            list(stream)
        except Unavailable as error:
            raised.append(error)

    server.close()
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(10)
    assert len(raised) == 1


def test_reader_that_waits_while_the_server_is_closed_gets_an_error():
    started, raised = threading.Event(), []

    async def slow(body):
        yield 1
        started.set()
        await asyncio.sleep(1000)

    function, graph = flow()
    graph.to(name="slow", handler=slow).respond()
    server = function.to_mock_server()

    def read():
        try:
            list(server.test(body=1))
        except (Unavailable, Draining) as error:
            raised.append(error)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    assert started.wait(10)
    server.close()
    reader.join(10)
    assert len(raised) == 1


def test_reader_of_a_stream_whose_rest_is_held_by_a_batch_gets_an_error_when_the_server_is_closed():
    function, graph = flow()
    graph.to(name="count", handler=count).to(Batch(max_events=2), "batch").respond()
    server = function.to_mock_server()
    stream = server.test(body=3)
    assert next(stream) == [0, 1]
    closer = threading.Timer(0.05, server.close)
    closer.start()
    with pytest.raises(Unavailable):
        next(stream)
    closer.join()


def test_many_streams_are_read_by_many_threads_and_loops_at_once():
    wrong = []

    def read(server, loops):
        for _ in range(10):
            chunks = asyncio.run(collect(server, 60)) if loops else list(server.test(body=60))
            wrong.extend([chunks] if chunks != list(range(60)) else [])

    function, graph = flow()
    graph.to(name="count", handler=count_async).respond()
    with function.to_mock_server() as server:
        readers = [threading.Thread(target=read, args=(server, n % 2)) for n in range(6)]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(30)
    assert wrong == []


def test_second_stream_of_one_event_does_not_stay_inside():
    function, graph = flow()
    graph.to(FlatMap(lambda body: [1000, 1000]), "two").to(name="count", handler=count).respond()
    with function.to_mock_server() as server:
        assert list(server.test(body=1)) == list(range(1000))
        server.wait_for_completion(10)
        assert server.engine.gate.inside == 0


def test_caller_that_is_cancelled_before_the_first_chunk_ends_the_generator():
    ended, go_on = threading.Event(), threading.Event()

    def endless(body):
        try:
            go_on.wait(10)
            while True:
                yield 1
        finally:
            ended.set()

    async def give_up(server):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(server.atest(body=1), 0.02)

    function, graph = flow()
    graph.to(name="endless", handler=endless, execution="thread").respond()
    with function.to_mock_server() as server:
        asyncio.run(give_up(server))
        go_on.set()
        assert ended.wait(10)


def test_many_chunks_arrive_in_order():
    function, graph = flow()
    graph.to(name="count", handler=count).respond()
    with function.to_mock_server() as server:
        assert list(server.test(body=12_000)) == list(range(12_000))


def test_generator_takes_no_retries_and_no_process():
    function, graph = flow()
    step = graph.to(name="count", handler=count, retries=2).respond()
    with pytest.raises(GraphError, match=r"'count' is a generator, and takes no retries="):
        function.to_mock_server()
    step.class_args = {"execution": "process"}
    with pytest.raises(GraphError, match=r"'count'.*use 'thread'"):
        function.to_mock_server()


def test_steps_after_a_stream_that_responds_run_for_each_chunk():
    seen = []
    function, graph = flow()
    graph.to(name="count", handler=count).respond().to(name="see", handler=seen.append)
    with function.to_mock_server() as server:
        stream = server.test(body=50)
        deadline = time.monotonic() + 10
        assert list(stream) == list(range(50))
        server.wait_for_completion(deadline - time.monotonic())
    assert seen == list(range(50))


def test_input_and_result_path_hold_for_generators():
    function, graph = flow()
    graph.to(name="count", handler=count, input_path="n", result_path="out.i").respond()
    with function.to_mock_server() as server:
        assert list(server.test(body={"n": 2})) == [{"n": 2, "out": {"i": 0}}, {"n": 2, "out": {"i": 1}}]


def test_generator_that_gets_the_event_yields_bodies():
    def paths(event):
        yield event.path
        yield event.body

    function, graph = flow()
    graph.to(name="paths", handler=paths, full_event=True).respond()
    with function.to_mock_server() as server:
        assert list(server.test("/a/b", 5)) == ["/a/b", 5]
