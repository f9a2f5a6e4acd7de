"""Odd values, names and folders: written so that the platform reads them as meant, or refused."""

from __future__ import annotations

import http.server
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

import millrace
from millrace.errors import SpecError

BROKER = "kafka://broker.example.com:9092"
LOGIN = {"security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"}


def plain(name="f"):
    function = millrace.new_function(name)
    function.set_topology("flow").to(name="s", handler="(event)").respond()
    return function


def reading(*queues, **settings):
    """A function whose child reads queues."""
    function = millrace.new_function("f")
    graph = function.set_topology("flow")
    for name in queues:
        graph.add_step(">>", name, path=f"{BROKER}/topic", after=[], shards=3, **settings)
    graph.add_step(name="s", handler="(event)", function="c", after=list(queues))
    function.add_child_function("c")
    return function


def manifests(function, folder, name="f-c"):
    out = Path(function.export("kubernetes", str(folder / "out"), secret="bank"))
    return list(yaml.safe_load_all((out / f"{name}.yaml").read_text()))


# -- variables and commands ----------------------------------------------------------------------------------------


def test_an_image_has_the_functions_variables_since_nobody_else_sets_them(tmp_path):
    function = plain().set_env("LEVEL", "debug").set_env("QUOTED", 'a "b" \\ $HOME ü')
    out = Path(function.export("docker", str(tmp_path / "out")))
    # https://docs.docker.com/reference/dockerfile/#environment-replacement
    assert 'ENV LEVEL="debug" QUOTED="a \\"b\\" \\\\ \\$HOME ü"' in (out / "Dockerfile").read_text().splitlines()
    assert "LEVEL" not in (Path(function.export("compose", str(tmp_path / "c"))) / "image/Dockerfile").read_text()


@pytest.mark.parametrize("value", ["two\nlines", "another"])
def test_a_variable_that_one_image_can_not_have_is_refused(value, tmp_path):
    function = reading("q").set_env("A", "1")
    function.spec.functions["c"].set_env("A", value)
    with pytest.raises(SpecError, match=r"function 'f-c|function 'f'"):
        function.export("docker", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("target", ["docker", "nuclio"])
def test_a_command_or_requirement_of_several_lines_is_refused(target, tmp_path):
    for function in (plain().with_commands(["echo a\necho b"]), plain().with_requirements(["numpy\npandas"])):
        with pytest.raises(SpecError, match="has several lines"):
            function.export(target, str(tmp_path / "out"))
    plain().with_commands(["echo a && \\\r\n echo b"]).export(target, str(tmp_path / "out"))


def test_a_secret_that_can_name_no_variable_is_refused(tmp_path):
    function = plain().with_secrets("kubernetes", {"my token": "bank/token"})
    with pytest.raises(SpecError, match="'MILLRACE_SECRET_my token' can not name an environment variable"):
        function.export("kubernetes", str(tmp_path / "out"))


@pytest.mark.parametrize("value", ["y", "N", "1e3", "12345e67", "-1E5", "+.5e3", "1.e3", "0o17", "08", "0e0", "1_0e3"])
def test_texts_that_other_parsers_take_for_numbers_or_booleans_are_quoted(value, tmp_path):
    # https://yaml.org/type/bool.html, and section 10.3.2 of YAML 1.2: floats need no point, octals begin with 0o.
    function = plain().set_env("A", value).set_env("Y", "x")
    nuclio = Path(function.export("nuclio", str(tmp_path / "n")), "f", "function.yaml").read_text()
    compose = Path(function.export("compose", str(tmp_path / "c")), "compose.yaml").read_text()
    assert f"value: '{value}'\n" in nuclio and f"A: '{value}'\n" in compose and "'Y': x\n" in compose
    assert yaml.safe_load(compose)["services"]["f"]["environment"]["A"] == value


def test_texts_that_every_parser_takes_for_texts_are_not_quoted(tmp_path):
    for value in ("30s", "512Mi", "1.2.3-a", "yes-no", "e5", "0x", "v1", "2024a"):
        text = Path(plain().set_env("A", value).export("compose", str(tmp_path)), "compose.yaml").read_text()
        assert f"A: {value}\n" in text


# -- names in Kubernetes -------------------------------------------------------------------------------------------


def test_queues_with_names_alike_have_logins_of_their_own_in_keda(tmp_path):
    function = reading("цены", "цена", "a.b", "a-b", options=LOGIN, secrets={"sasl_plain_password": "PW"})
    for number, queue in enumerate(("цены", "цена", "a.b", "a-b")):
        function.graph.steps[queue].backend["options"] = {**LOGIN, "sasl_plain_username": f"user{number}"}
    found = manifests(function, tmp_path)
    logins = {one["metadata"]["name"]: one["spec"]["env"][0]["name"] for one in found
              if one["kind"] == "TriggerAuthentication"}  # fmt: skip
    triggers = next(one for one in found if one["kind"] == "ScaledObject")["spec"]["triggers"]
    assert len(set(logins.values())) == 4 and {one["authenticationRef"]["name"] for one in triggers} == set(logins)
    pod = next(one for one in found if one["kind"] == "Deployment")["spec"]["template"]["spec"]
    users = {one["name"]: one.get("value") for one in pod["containers"][0]["env"]}
    assert sorted(users[name] for name in logins.values()) == ["user0", "user1", "user2", "user3"]


class Asked(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.paths.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, format, *args):
        pass


def test_a_clock_asks_for_a_path_with_any_characters(tmp_path):
    function = plain()
    event = {"body": "{}", "path": "/a b/ü?x=1&y=%20"}
    function.add_trigger("t", {"kind": "cron", "attributes": {"schedule": "0 * * * *", "event": event}})
    (job,) = [one for one in manifests(function, tmp_path, "f") if one["kind"] == "CronJob"]
    command = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"]
    with http.server.HTTPServer(("127.0.0.1", 0), Asked) as server:
        server.paths = []
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        subprocess.run([sys.executable, *(one.replace("http://f/", address) for one in command[1:])], check=True)
    assert server.paths == ["/a%20b/%C3%BC?x=1&y=%20"]  # RFC 3986, section 2


# -- Nuclio --------------------------------------------------------------------------------------------------------


def test_the_folder_of_a_login_must_be_mounted_in_the_child_that_reads(tmp_path):
    function = reading("q", options=LOGIN, trigger_args={"extra_attributes": {"secretPath": "/etc/kafka/"}})
    mount = {"volumes": [{"name": "k", "secret": {"secretName": "kafka"}}],
             "volume_mounts": [{"name": "k", "mountPath": "/etc/kafka"}]}  # fmt: skip
    vars(function.spec).update(mount)
    with pytest.raises(SpecError, match="function 'f-c', queue 'q': secretPath='/etc/kafka', and nothing is mounted"):
        function.export("nuclio", str(tmp_path / "out"))
    vars(function.spec.functions["c"].spec).update(mount)
    function.export("nuclio", str(tmp_path / "out"))


def test_a_certificate_that_nuclio_does_not_look_at_is_refused(tmp_path):
    given = {"security_protocol": "SSL", "ssl_cafile": "/etc/ca.pem"}
    with pytest.raises(SpecError, match="queue 'q': ssl_cafile= is a file that Nuclio, which reads Kafka itself"):
        reading("q", options=given).export("nuclio", str(tmp_path / "out"))
    function = reading("q", options=given, trigger_args={"extra_attributes": {"caCert": "-----BEGIN"}})
    function.export("nuclio", str(tmp_path / "out"))
    reading("q", options=given).export("docker", str(tmp_path / "image"))


def test_an_allocation_without_acknowledgements_is_refused(tmp_path):
    function = reading("q", trigger_args={"extra_attributes": {"workerAllocationMode": "pool"}})
    with pytest.raises(SpecError, match="workerAllocationMode='pool' Nuclio takes no acknowledgements; leave it out"):
        function.export("nuclio", str(tmp_path / "out"))


# -- what platforms refuse -----------------------------------------------------------------------------------------


def changed(**spec):
    function = plain()
    vars(function.spec).update(spec)
    return function


def labelled(key, value):
    function = plain()
    function.metadata.labels = {key: value}
    return function


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (changed(replicas="2"), "replicas='2' is no whole number"),
        (changed(readiness_timeout=-5), "readiness_timeout=-5 must be 1 second or more"),
        (plain().with_http(workers=-1), "trigger 'http': num_workers=-1 must be a whole number"),
        (plain().with_http(workers="4"), "trigger 'http': num_workers='4' must be a whole number"),
        (plain().with_node_selection(node_selector={"gpu": True}), "node selector gpu=True is not allowed.* write"),
        (plain().with_annotations({"bad key": "x"}), "the annotation 'bad key' is not allowed"),
        (plain().with_annotations({"n": 5}), "the annotation n=5 is not allowed"),
        (labelled("a/b/c", "x"), "the label 'a/b/c' is not allowed"),
        (labelled("-a.example.com/b", "x"), "the label '-a.example.com/b' is not allowed"),
        (reading("q", options=LOGIN), "queue 'q': KEDA logs in to Kafka too, and no secret has the password"),
    ],
)
def test_what_kubernetes_would_refuse_is_refused_before(function, words, tmp_path):
    with pytest.raises(SpecError, match=words):
        function.export("kubernetes", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_keys_with_a_domain_and_variables_that_are_no_texts_are_taken(tmp_path):
    function = labelled("example.com/team", "a.b_c").with_annotations({"prometheus.io/scrape": "true"})
    function.spec.env["N"] = 5
    (found,) = [one for one in manifests(function, tmp_path, "f") if one["kind"] == "Deployment"]
    (container,) = found["spec"]["template"]["spec"]["containers"]
    assert container["env"] == [{"name": "N", "value": "5"}]


@pytest.mark.parametrize(
    "requirement",
    ["p @ https://me:pw-value@h/p.whl", "--index-url https://me:pw-value@h/simple", "git+https://me:pw-value@h/p"],
)
def test_a_password_in_a_requirement_is_refused_and_not_shown(requirement, tmp_path):
    with pytest.raises(SpecError, match="holds a password, which is never written") as caught:
        plain().with_requirements([requirement]).export("docker", str(tmp_path / "out"))
    assert "pw-value" not in str(caught.value)
    plain().with_requirements(["--index-url https://me:${PW}@h/simple"]).export("docker", str(tmp_path / "out"))


def test_a_password_in_the_url_of_a_trigger_is_refused_and_not_shown(tmp_path):
    trigger = {"kind": "rabbit-mq", "url": "amqp://me:pw-value@h", "attributes": {"exchangeName": "x"}}
    with pytest.raises(SpecError, match="trigger 'r': the url holds a password") as caught:
        plain().add_trigger("r", trigger).export("nuclio", str(tmp_path / "out"))
    assert "pw-value" not in str(caught.value)


# -- folders -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("place", "make"),
    [
        ("Dockerfile", "mkdir"), (".millrace-export", "mkdir"), ("models", "touch"),
        ("Dockerfile", "link"), ("models/s", "touch"),
    ],
)  # fmt: skip
def test_a_folder_where_something_is_in_the_way_is_left_as_it_is(place, make, tmp_path):
    (tmp_path / "model.bin").write_text("m")
    function = millrace.new_function("f")
    function.add_model("s", str(tmp_path / "model.bin"), class_name="millrace.serving.V2ModelServer")
    other = tmp_path / "out" / place
    other.parent.mkdir(parents=True)
    other.symlink_to("/nowhere") if make == "link" else getattr(other, make)()
    before = sorted((tmp_path / "out").rglob("*"))
    with pytest.raises(SpecError, match="is there already and was not written by an export; export to another folder"):
        function.export("docker", str(tmp_path / "out"))
    assert sorted((tmp_path / "out").rglob("*")) == before


def test_a_list_of_files_that_is_no_text_removes_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".millrace-export").write_bytes(b"\xff\xfe\n.\ncode/../../x\n")
    plain().export("docker", str(tmp_path / "out"))
    assert (tmp_path / "out" / "Dockerfile").is_file()
