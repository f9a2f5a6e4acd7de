"""A queue and a child function behind every door: the same answers, and the same messages at the end."""

import json

import pytest
from pipelines import OUT, PIPELINES, post
from ways_in import EVENT_ID

import millrace


def pipeline(*, filtered=False):
    """A parent that writes orders, and a child that prices them."""

    def make():
        function = millrace.new_function("shop")
        function.add_child_function("child", __file__)
        graph = function.set_topology("flow")
        first = graph.to(name="clean", handler="({**event, 'count': int(event['count'])})").to(">>", "orders")
        if filtered:
            first = first.to("storey.Filter", "big", _fn="(event['count'] > 1)", function="child")
        first.to(name="price", handler="({**event, 'price': event['count'] * 1.5})", function="child").to(">>", OUT)
        return function

    return make


@pytest.fixture(params=PIPELINES)
def way(request):
    return PIPELINES[request.param]


def test_a_request_is_accepted_and_its_order_priced_by_the_child(way, tmp_path):
    with way(pipeline(), tmp_path) as (ask, out):
        reply = ask(post(b'{"item": "\\u00e9", "count": "2"}'))
        found = out(1)
    assert (reply.status, json.loads(reply.body)) == (202, {"id": EVENT_ID})
    headers = {"content-type": "application/json", "millrace-event-id": EVENT_ID}
    assert found == [(None, '{"item":"é","count":2,"price":3.0}'.encode(), headers)]


def test_every_order_comes_out_once(way, tmp_path):
    with way(pipeline(), tmp_path) as (ask, out):
        for count in range(5):
            ask(post(b'{"count": %d}' % count))
        found = out(5)
    headers = {"content-type": "application/json", "millrace-event-id": EVENT_ID}
    priced = [b'{"count":%d,"price":%.1f}' % (count, 1.5 * count) for count in range(5)]
    assert sorted(found, key=lambda one: one[1]) == [(None, value, headers) for value in priced]


def test_an_order_that_the_child_filters_out_is_done_with(way, tmp_path):
    with way(pipeline(filtered=True), tmp_path) as (ask, out):
        for count in (1, 2):
            ask(post(b'{"count": %d}' % count))
        found = out(1)
    assert [json.loads(value)["count"] for _, value, _ in found] == [2]


def keyed():
    """A parent that gives orders the key of their shop, and a child that reads it."""
    function = millrace.new_function("shop")
    function.add_child_function("child", __file__)

    def with_key(event):
        event.key = event.body["shop"]
        return event

    def of_key(event):
        event.body = {"ordered by": event.key}
        return event

    graph = function.set_topology("flow")
    first = graph.to(name="keep", handler=with_key, full_event=True).to(">>", "orders")
    first.to(name="look", handler=of_key, full_event=True, function="child").to(">>", OUT)
    return function


def test_the_key_of_an_order_comes_with_it_to_the_child_and_goes_on(way, tmp_path):
    with way(keyed, tmp_path) as (ask, out):
        ask(post('{"shop": "café"}'.encode()))
        ((key, value, headers),) = out(1)
    assert (key, value) == ("café".encode(), '{"ordered by":"café"}'.encode())
    assert headers == {"content-type": "application/json", "millrace-event-id": EVENT_ID, "millrace-key": "café"}
