"""Logins of Kafka as MLRun's users write them: which options the queues get, and where passwords do not stand."""

import pytest
import yaml

import millrace
from millrace.errors import GraphError
from millrace.queues.kafka_options import KafkaOptions
from millrace.serving.functions.real import StreamsAt
from millrace.serving.functions.runtime import make_engine
from millrace.serving.graph.dump import to_dict

WORD = "correct-horse"
PLAIN = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "ann",
         "sasl_plain_password": WORD}  # fmt: skip
SCRAM_SSL = {**PLAIN, "security_protocol": "SASL_SSL", "sasl_mechanism": "SCRAM-SHA-512"}


def shop(trigger=None, **settings):
    """A function with a queue in Kafka, and a trigger of it if one is given."""
    function = millrace.new_function("shop")
    first = function.set_topology("flow").to(name="first", handler="(event)")
    first.to(">>", "orders", path="kafka://broker:9092/orders", **settings)
    if trigger is not None:
        brokers = {"topics": ["in"], "brokers": ["broker:9092"]}
        function.add_trigger("in", {"kind": "kafka-cluster", "attributes": brokers | trigger})
    return function


def options_of(function, name):
    """The options with which the stream of a queue step or a trigger is opened."""
    engine, streams = make_engine(function, [], streams_at=StreamsAt(), current_function="")
    engine.close()
    wires = {wire.name: wire for wire in streams._triggers} | {"orders": streams.open(function.graph["orders"]).wire}
    KafkaOptions.parse(wires[name].settings.options)  # the queues know them all
    return wires[name].settings.options


@pytest.mark.parametrize("given, options", [
    ({"sasl_user": "ann", "sasl_pass": WORD}, PLAIN),
    ({"kafka_sasl_user": "ann", "kafka_sasl_pass": WORD}, PLAIN),
    ({"sasl_plain_username": "ann", "sasl_plain_password": WORD, "security_protocol": "SASL_SSL",
      "sasl_mechanism": "SCRAM-SHA-512"}, SCRAM_SSL),
    ({"sasl": {"enable": True, "user": "ann", "password": WORD}}, PLAIN),
    ({"sasl": {"enable": True, "user": "ann", "password": WORD, "mechanism": "SCRAM-SHA-512", "handshake": True},
      "tls": {"enable": True}}, SCRAM_SSL),
    ({"tls": {"enable": True}}, {"security_protocol": "SSL"}),
    ({"tls": {"enable": False}, "sasl": {"enable": False, "user": "ann", "password": WORD}}, {}),
])  # fmt: skip
def test_login_in_mlruns_words_is_the_queues_options(given, options):
    assert options_of(shop(trigger_args=given), "orders") == options
    assert options_of(shop(trigger=given), "in") == options


def test_options_that_a_user_gives_win_and_the_others_stay():
    login = {"sasl_user": "ann", "sasl_pass": WORD}
    options = {"security_protocol": "SASL_SSL", "ssl_cafile": "/ca.pem"}
    function = shop(trigger_args={**login, "options": {"client_id": "me"}}, options=options)
    assert options_of(function, "orders") == PLAIN | options | {"client_id": "me"}


def test_named_secret_of_a_user_is_taken_before_a_password():
    function = shop(trigger_args={"sasl_user": "ann"}, secrets={"sasl_plain_password": "KAFKA"})
    function.with_secrets("inline", {"KAFKA": WORD})
    assert options_of(function, "orders") == PLAIN and "KAFKA" in function.to_yaml()


def test_no_password_stands_in_what_is_written_or_shown_and_the_secret_is_named():
    login = {"sasl": {"enable": True, "user": "ann", "password": WORD}}
    function = shop(trigger_args=login, trigger=login)
    for text in (str(to_dict(function.graph)), function.to_yaml(), repr(function.graph["orders"])):
        assert WORD not in text
    assert {"ORDERS_SASL_PASSWORD", "IN_SASL_PASSWORD"} <= {*function.spec.secrets.names}
    assert WORD not in str(function.spec.triggers) + str(function.graph["orders"].trigger_args)


def test_function_from_its_yaml_takes_the_password_from_the_environment(tmp_path, monkeypatch):
    (tmp_path / "f.yaml").write_text(shop(trigger_args={"sasl_user": "ann", "sasl_pass": WORD}).to_yaml())
    monkeypatch.setenv("MILLRACE_SECRET_ORDERS_SASL_PASSWORD", WORD)
    assert options_of(millrace.import_function(str(tmp_path / "f.yaml")), "orders") == PLAIN


def test_nuclio_keeps_its_own_words_without_the_password():
    function = shop(trigger={"sasl": {"enable": True, "user": "ann", "password": WORD}, "tls": {"enable": True}})
    function.to_yaml()
    attributes = function.spec.triggers["in"]["attributes"]
    assert attributes["sasl"] == {"enable": True, "user": "ann"} and attributes["tls"] == {"enable": True}


@pytest.mark.parametrize("given, words", [
    ({"sasl": {"enable": True, "pasword": WORD}}, "queue 'orders': sasl has no 'pasword' here; did you mean 'passw"),
    ({"tls": {"enable": True, "insecureSkipVerify": True}}, "tls has no 'insecureSkipVerify' here"),
    ({"sasl": True}, "sasl= is a mapping"),
])  # fmt: skip
def test_login_that_queues_do_not_have_is_an_error_that_names_the_queue(given, words):
    with pytest.raises(GraphError, match=words) as failed:
        shop(trigger_args=given).validate()
    assert WORD not in str(failed.value)


def test_deployed_functions_log_in_and_the_password_is_in_no_file_of_theirs(tmp_path):
    login = {"sasl": {"enable": True, "user": "ann", "password": WORD}, "secretPath": "/etc/kafka"}
    function = shop(trigger=login, trigger_args={"sasl_user": "ann", "sasl_pass": WORD})
    function.spec.volumes = [{"name": "k", "secret": {"secretName": "kafka"}}]
    function.spec.volume_mounts = [{"name": "k", "mountPath": "/etc/kafka"}]
    secrets = {"IN_SASL_PASSWORD": "kafka/in", "ORDERS_SASL_PASSWORD": "kafka/orders"}
    function.with_secrets("kubernetes", secrets).export("nuclio", str(tmp_path / "out"))
    texts = [file.read_text() for file in (tmp_path / "out").rglob("*") if file.is_file()]
    assert not any(WORD in text for text in texts)
    (config,) = [yaml.safe_load(text) for text in texts if text.startswith("apiVersion")]
    assert config["spec"]["triggers"]["in"]["attributes"]["sasl"] == {"enable": True, "user": "ann"}
    assert {"kafka": "in"} in [{one["valueFrom"]["secretKeyRef"]["name"]: one["valueFrom"]["secretKeyRef"]["key"]}
                               for one in config["spec"]["env"] if "valueFrom" in one]  # fmt: skip
