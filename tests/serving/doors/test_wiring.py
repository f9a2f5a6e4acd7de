"""What a queue step means where it is real: addresses, groups, policies, secrets; wrong settings are errors early."""

from dataclasses import fields
from pathlib import Path

import pytest

import millrace
from millrace.errors import GraphError
from millrace.queues.address import BACKENDS, queue_at
from millrace.serving.cli.queue_options import address
from millrace.serving.doors.ladder import Policy
from millrace.serving.doors.queue_steps import readers_of
from millrace.serving.doors.wiring import POLICY, STREAM, Wiring
from millrace.serving.graph.notation import QUEUE_BACKEND_ARGUMENTS


def queue(**settings):
    """The queue step of a graph with one."""
    graph = millrace.new_function("shop").set_topology("flow")
    return graph.to(">>", "orders", **settings)


def wire(wiring=None, **settings):
    return (wiring or Wiring("shop")).of_step(queue(**settings))


# -- addresses ---------------------------------------------------------------------------------------------------


def test_queue_without_an_address_is_a_log_in_the_folder_and_in_memory_without_one(tmp_path):
    assert wire(Wiring("shop", folder=tmp_path)).url == f"log://{tmp_path}/orders"
    assert wire(Wiring("shop")).url == "memory://shop.orders"


@pytest.mark.parametrize("folder", [Path("/var/streams"), None], ids=["log", "memory"])
def test_queues_of_different_names_are_never_one_stream(folder):
    names = ["orders", "заказы", "счета", "a b", "a.b", "a?b", "..", ".", "orders."]
    urls = [wire(Wiring("shop", folder=folder), path=name).url for name in names]
    assert len(set(urls)) == len(names)
    assert urls[1] == (f"log://{folder}/заказы" if folder else "memory://shop.заказы")
    assert all(Path(url.removeprefix("log://")).parent == folder for url in urls if folder)


def test_folder_whose_name_has_signs_of_addresses_is_that_folder(tmp_path):
    url = wire(Wiring("shop", folder=tmp_path / "shop #2? 100%25")).url
    assert queue_at(url).path == tmp_path / "shop #2? 100%25" / "orders"
    assert queue_at(address(f"{tmp_path}/shop #2? 100%25/orders")).path == queue_at(url).path


def test_bare_path_is_a_topic_of_the_brokers_that_are_named(tmp_path):
    named = wire(Wiring("shop", folder=tmp_path), path="projects/new orders", kafka_brokers=["one:9092", "two:9093"])
    assert named.url == "kafka://one:9092,two:9093/projects.new.orders"
    assert wire(path="orders", kafka_bootstrap_servers="one:9092").url == "kafka://one:9092/orders"


@pytest.mark.parametrize("url", ["log:///var/lib/orders", "memory://orders", "v3io://host/container/orders",
                                 "v3io+http://host/container/orders", "kafka://broker:9092/orders"])  # fmt: skip
def test_complete_address_is_taken_as_it_is(url):
    assert wire(path=url).url == url
    assert url.partition("://")[0] in BACKENDS


def test_group_in_a_kafka_address_becomes_the_group_and_is_no_part_of_the_topic():
    found = wire(path="kafka://broker:9092/orders?group=bills")
    assert (found.url, found.group) == ("kafka://broker:9092/orders", "bills")
    assert found.dead_letters == "kafka://broker:9092/orders-dead-letters"


def test_dead_letters_have_a_queue_beside_or_the_one_that_is_named(tmp_path):
    assert wire(path="log:///q/orders").dead_letters == "log:///q/orders-dead-letters"
    assert wire(path="log:///q/orders", dead_letters="failed").dead_letters == "log:///q/failed"
    assert wire(dead_letter="failed", kafka_brokers="one:9092").dead_letters == "kafka://one:9092/failed"
    assert wire(path="log:///q/orders", dead_letters="log:///other/x").dead_letters == "log:///other/x"


# -- groups ------------------------------------------------------------------------------------------------------


def test_each_function_that_reads_a_queue_has_a_group_of_its_own():
    groups = {Wiring("shop", current=name).of_step(queue(), readers=2).group for name in ("", "bill", "ship")}
    assert groups == {"shop-consumer-group", "shop-bill-consumer-group", "shop-ship-consumer-group"}


def test_group_that_is_named_is_shared_by_replicas_and_told_apart_by_function_where_several_read():
    named = queue(group="g")
    assert Wiring("shop", current="bill").of_step(named, readers=1).group == "g"
    assert Wiring("shop", current="bill").of_step(named, readers=2).group == "g-bill"
    assert Wiring("shop", current="*").of_step(named, readers=2).group == "g"


def test_readers_of_a_queue_are_the_functions_of_the_steps_behind_it():
    function = millrace.new_function("shop")
    orders = function.set_topology("flow").to(">>", "orders")
    orders.to(name="bill", handler="(event)", function="bills")
    orders.to(name="ship", handler="(event)", function="ships").to(">>", "sent")
    assert readers_of(function.graph) == {"orders": {"bills", "ships"}, "sent": set()}


def test_queue_before_a_nested_flow_is_read_by_what_runs_its_first_step_and_not_by_what_runs_its_last():
    function = millrace.new_function("shop")
    graph = function.set_topology("flow")
    graph.to(">>", "orders")
    inner = graph.add_flow("inner", after="orders", function="bills")
    inner.to(name="bill", handler="(event)").to(">>", "billed").to(
        name="ship", handler="(event)", function="ships")  # fmt: skip
    assert readers_of(graph) == {"orders": {"bills"}, "inner/billed": {"ships"}}


# -- settings ----------------------------------------------------------------------------------------------------


def test_settings_of_mlrun_keep_their_meaning():
    found = wire(shards=3, retention_in_hours=2, trigger_args={"group": "g", "seek_to": "latest", "max_workers": 4})
    assert (found.settings.partitions, found.settings.retention_seconds) == (3, 7200)
    assert (found.group, found.policy.start) == ("g", "latest")


def test_settings_of_the_step_go_before_those_of_its_trigger():
    assert wire(group="own", trigger_args={"group": "trigger"}).group == "own"
    assert wire(start="earliest", trigger_args={"seek_to": "latest"}).policy.start == "earliest"


def test_policy_is_made_of_the_settings_and_has_its_defaults():
    found = wire(retries=0, backoff_seconds=2, on_failure="stop", ordering="key", max_in_flight=5).policy
    assert found == Policy(retries=0, backoff_seconds=2, on_failure="stop", ordering="key", max_in_flight=5)
    assert wire().policy == Policy()


def test_names_that_a_queue_step_takes_are_those_that_are_understood():
    assert {*QUEUE_BACKEND_ARGUMENTS} == {*POLICY, *STREAM}
    assert {*POLICY} == {one.name for one in fields(Policy)}


@pytest.mark.parametrize("settings, text", [
    ({"trigger_args": {"retires": 3}}, r"queue 'orders' has no setting 'retires'; did you mean 'retries'\?"),
    ({"ordering": "keys"}, r"ordering='keys' is none of partition, key, none; did you mean 'key'\?"),
    ({"drain_seconds": float("nan")}, r"drain_seconds=nan is no number of 0 or more"),
    ({"path": "kafak://broker/orders"}, r"there are no queues 'kafak://'; did you mean 'kafka'\?"),
    ({"path": "kafka://broker/a b"}, "can not be the name of a topic"),
    ({"shards": 0}, "shards=0 must be a whole number over 0"),
    ({"retention_in_hours": "1d"}, "retention_in_hours='1d' must be a number over 0"),
    ({"retention_bytes": 1.5}, "retention_bytes=1.5 must be a whole number over 0"),
    ({"group": 7}, "group=7 is no text"),
    ({"options": ["acks"]}, r"options=\['acks'\] is no mapping"),
    ({"trigger_args": {"seek_to": "last"}}, "seek_to='last' is neither 'earliest' nor 'latest'"),
    ({"options": {"acks": 1, "access_key": "s3cret"}}, "'access_key' must not stand in the graph"),
])  # fmt: skip
def test_wrong_setting_is_an_error_of_the_mock_server_and_of_validate(settings, text):
    function = millrace.new_function("shop")
    function.set_topology("flow").to(">>", "orders", **settings)
    for check in (function.validate, function.to_mock_server):
        with pytest.raises(GraphError, match=text):
            check()


def test_wrong_setting_in_a_flow_of_a_route_is_found_too():
    function = millrace.new_function("shop")
    inner = millrace.serving.graph.flow.FlowStep(name="inner")
    inner.to(">>", "orders", ordering="keys")
    router = function.set_topology("router")
    router.routes["inner"] = inner
    inner.parent = None
    with pytest.raises(GraphError, match="ordering='keys'"):
        function.validate()


# -- secrets -----------------------------------------------------------------------------------------------------


def test_options_of_the_backend_are_given_with_the_step():
    assert wire(options={"acks": "all"}, retries=1).settings.options == {"acks": "all"}
    assert wire(trigger_args={"options": {"acks": "all"}}).settings.options == {"acks": "all"}


def test_option_comes_from_a_secret_that_only_the_real_stream_asks_for():
    function = millrace.new_function("shop")
    function.set_topology("flow").to(">>", "orders", secrets={"sasl_plain_password": "KAFKA_PASSWORD"})
    function.validate()
    found = Wiring("shop", secret={"KAFKA_PASSWORD": "s3cret"}.get).of_step(function.graph.steps["orders"])
    assert found.settings.options == {"sasl_plain_password": "s3cret"}
    with pytest.raises(GraphError, match="there is no secret 'KAFKA_PASSWORD' for its option 'sasl_plain_password'"):
        Wiring("shop").of_step(function.graph.steps["orders"])


@pytest.mark.parametrize("settings", [{"access_key": "s3cret"}, {"trigger_args": {"access_key": "s3cret"}}])
def test_secret_in_the_clear_is_refused_without_being_told(settings):
    with pytest.raises(GraphError, match=r"'access_key' must not stand in the graph.*secrets=") as caught:
        wire(**settings)
    assert "s3cret" not in str(caught.value)


# -- YAML --------------------------------------------------------------------------------------------------------


def test_queue_step_with_all_kinds_of_settings_is_the_same_after_yaml(tmp_path):
    function = millrace.new_function("shop")
    function.set_topology("flow").to(
        ">>", "orders", path="kafka://broker/orders", shards=3, retention_in_hours=1, group="g", ordering="key",
        retries=2, max_in_flight=9, on_failure="skip", dead_letters="failed", secrets={"ssl_password": "KEY"},
        trigger_args={"seek_to": "latest"}, full_event=True,
    ).to(name="bill", handler="(event)", function="bills")  # fmt: skip
    function.add_child_function("bills")
    (tmp_path / "f.yaml").write_text(function.to_yaml())
    again = millrace.import_function(str(tmp_path / "f.yaml"))
    wiring = Wiring("shop", current="bills", secret=lambda name: f"value of {name}")
    before, after = (wiring.of_step(one.graph.steps["orders"]) for one in (function, again))
    assert before == after and after.policy.max_in_flight == 9 and after.policy.retries == 2
    assert again.graph.steps["orders"].full_event is True
