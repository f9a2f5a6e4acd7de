"""Secrets come from where they were declared, from nowhere else, and are never written or shown."""

import copy
import logging
import pickle

import pytest

import millrace
from millrace.errors import GraphError, RequestFailed, SecretNotFound, SpecError
from millrace.serving.engine.secrets import Secrets
from millrace.serving.functions.function import ServingFunction
from millrace.serving.functions.text import load_yaml

VALUE = "s3cr3t-value-93"


def secrets(*sources):
    found = Secrets()
    for kind, source in sources:
        found.add(kind, source)
    return found


def file_with(folder, text):
    path = folder / "secrets.env"
    path.write_text(text)
    return path


def test_values_are_looked_up_in_the_declared_order(tmp_path, monkeypatch):
    monkeypatch.setenv("MILLRACE_SECRETS_PATH", str(tmp_path))
    (tmp_path / "A").write_text("mounted\n")
    found = secrets()
    assert found.get("A") == "mounted"
    monkeypatch.setenv("MILLRACE_SECRET_A", "of millrace")
    assert found.get("A") == "of millrace"
    monkeypatch.setenv("A", "declared")
    found.add("env", "A")
    assert found.get("A") == "declared"
    found.add("file", file_with(tmp_path, "A=of a file"))
    assert found.get("A") == "of a file"
    found.add("inline", {"A": "inline"})
    assert found.get("A") == "inline"


def test_no_other_environment_variable_is_ever_read(monkeypatch):
    monkeypatch.setenv("DATABASE_PASSWORD", VALUE)
    assert secrets(("env", "OTHER")).get("DATABASE_PASSWORD", "nothing") == "nothing"
    assert secrets(("env", " X , DATABASE_PASSWORD")).get("DATABASE_PASSWORD") == VALUE


def test_a_secrets_file_has_lines_of_names_and_values(tmp_path):
    path = file_with(tmp_path, "# a comment\nA=1\n B = 'two' \n\nC=x=y\nno pair\n")
    found = secrets(("file", path))
    assert [found.get(name) for name in ("A", "B", "C", "no pair")] == ["1", "two", "x=y", None]


def test_a_secrets_file_that_is_not_there_is_an_error_when_it_is_declared():
    with pytest.raises(SecretNotFound, match="the secrets file '/no/such/file' can not be read"):
        secrets(("file", "/no/such/file"))


def test_a_kubernetes_mount_has_a_file_for_every_name(tmp_path):
    (tmp_path / "TOKEN").write_text(VALUE)
    assert secrets(("kubernetes", tmp_path)).get("TOKEN") == VALUE


@pytest.mark.parametrize("name", ["../outside", "/etc/hostname", ".hidden", "a/b", ""])
def test_a_name_never_leads_out_of_a_mount(tmp_path, name):
    (tmp_path / "mount").mkdir()
    (tmp_path / "outside").write_text(VALUE)
    (tmp_path / "mount" / ".hidden").write_text(VALUE)
    assert secrets(("kubernetes", tmp_path / "mount")).get(name) is None


def test_names_of_kubernetes_secrets_are_declared_and_come_from_outside(monkeypatch):
    found = secrets(("kubernetes", ["TOKEN", "OTHER"]))
    monkeypatch.setenv("MILLRACE_SECRET_TOKEN", VALUE)
    assert (found.get("TOKEN"), found.missing()) == (VALUE, ["OTHER"])


@pytest.mark.parametrize(
    ("kind", "source", "words"),
    [("inlne", {}, "did you mean 'inline'"), ("azure_vault", {}, "use inline, file, env, kubernetes"),
     ("inline", "A=1", "inline secrets are a dict")],
)  # fmt: skip
def test_a_source_of_another_kind_is_refused(kind, source, words):
    with pytest.raises(GraphError, match=words):
        millrace.new_function("f").with_secrets(kind, source)


def test_declared_names_without_a_value_are_listed(monkeypatch):
    found = Secrets.from_spec([{"kind": "inline", "names": ["A", "B"]}, {"kind": "env", "source": "C,D"}])
    monkeypatch.setenv("MILLRACE_SECRET_A", "x")
    monkeypatch.setenv("C", "y")
    assert found.missing() == ["B", "D"]
    assert found.get("B", "default") == "default"


# -- never written -------------------------------------------------------------------------------------------------


def function_with_secrets(tmp_path):
    function = millrace.new_function("f").with_secrets("inline", {"TOKEN": VALUE})
    function.with_secrets("file", file_with(tmp_path, f"OTHER={VALUE}2\nTOKEN={VALUE}3"))
    function.with_secrets("env", "A,B").with_secrets("kubernetes", "/mnt")
    function.set_topology("flow").to(name="x", handler="ask").respond()
    return function


def test_a_spec_names_secrets_and_holds_no_value(tmp_path):
    function = function_with_secrets(tmp_path)
    for text in (function.to_yaml(), str(function.to_dict()), repr(function), repr(function.spec), str(vars(function))):
        assert VALUE not in text
    assert function.to_dict()["spec"]["secret_sources"] == [
        {"kind": "inline", "names": ["TOKEN"]},
        {"kind": "file", "source": str(tmp_path / "secrets.env")},
        {"kind": "env", "source": "A,B"},
        {"kind": "kubernetes", "source": "/mnt"},
    ]


def test_a_loaded_spec_declares_the_same_sources(tmp_path):
    function = function_with_secrets(tmp_path)
    loaded = ServingFunction.from_dict(load_yaml(function.to_yaml(), source="text"))
    assert loaded.to_yaml() == function.to_yaml()
    assert (loaded.spec.secrets.get("OTHER"), loaded.spec.secrets.get("TOKEN")) == (f"{VALUE}2", f"{VALUE}3")


def test_a_spec_with_a_secrets_file_that_is_elsewhere_loads_and_fails_when_it_is_asked():
    found = Secrets.from_spec([{"kind": "file", "source": "/no/such/file"}])
    with pytest.raises(SecretNotFound, match="'/no/such/file' can not be read"):
        found.get("TOKEN")


@pytest.mark.parametrize("where", ["parameter", "argument", "environment", "inside"])
def test_a_secret_that_was_put_elsewhere_is_not_written_either(where):
    function = millrace.new_function("f").with_secrets("inline", {"TOKEN": VALUE})
    step = function.set_topology("flow").to("Step", name="x")
    if where == "parameter":
        function.with_parameters(token=VALUE)
    elif where == "environment":
        function.set_env("TOKEN", VALUE)
    else:
        step.class_args["deep"] = {"url": [f"https://{VALUE}@host" if where == "inside" else VALUE]}
    with pytest.raises(SpecError, match=r"function 'f'\.spec\..* the value of a secret.*context\.get_secret") as caught:
        function.to_yaml()
    assert VALUE not in str(caught.value)


def test_a_copy_has_the_secrets_too(tmp_path):
    function = function_with_secrets(tmp_path)
    other = function.copy()
    other.with_secrets("inline", {"TOKEN": "another"})
    assert function.spec.secrets.get("TOKEN") == VALUE
    assert pickle.loads(pickle.dumps(function.spec.secrets)).get("TOKEN") == VALUE
    assert copy.deepcopy(function.spec.secrets).mask(VALUE) == "*****"


# -- never shown ---------------------------------------------------------------------------------------------------


def test_known_values_are_masked_longest_first():
    found = secrets(("inline", {"A": "abcd", "B": "abcdefgh"}))
    assert found.mask("abcdefgh and abcd") == "***** and *****"


def test_values_are_masked_as_json_and_python_quote_them_too():
    value = 'line\nwith "quotes" \\ and ü'
    found = secrets(("inline", {"A": value}))
    for text in (value, millrace.serving.engine.messages.dumps({"x": value}).decode(), repr(value)):
        assert "quotes" not in found.mask(text)


def test_values_of_less_than_four_characters_are_not_masked():
    assert secrets(("inline", {"A": "abc"})).mask("abcabc") == "abcabc"


def ask(body, context):
    token = context.get_secret("TOKEN")
    if body == "log":
        context.logger.warning("asked with %s", token, header=token)
        try:
            raise OSError(token)
        except OSError:
            context.logger.exception("failed")
    if body == "raise":
        raise OSError(f"login with {token} failed")
    if body == "refuse":
        raise millrace.errors.InvalidInput(f"{token} is no token")
    return token == VALUE


def server_with_secret(**settings):
    function = millrace.new_function("f").with_secrets("inline", {"TOKEN": VALUE})
    function.spec.error_stream = settings.get("error_stream")
    function.set_topology("flow").to(name="x", handler=ask).respond()
    return function.to_mock_server(verbose=True)


def test_a_step_gets_the_secret():
    assert server_with_secret().test(body="get") is True


def test_a_log_line_and_its_traceback_do_not_show_it(caplog):
    server_with_secret().test(body="log")
    assert caplog.text.count("*****") == 3 and VALUE not in caplog.text


def test_two_functions_of_one_name_mask_their_own_secrets(caplog):
    first = server_with_secret()
    millrace.new_function("f").set_topology("flow")
    other = millrace.new_function("f")
    other.set_topology("flow").to(name="x", handler="(event)").respond()
    other.to_mock_server()
    first.test(body="log")
    assert VALUE not in caplog.text


@pytest.mark.parametrize("body", ["raise", "refuse"])
@pytest.mark.parametrize("error_stream", [None, "log:///errors"])
def test_an_error_does_not_show_it(body, error_stream, caplog):
    with server_with_secret(error_stream=error_stream) as server:
        with pytest.raises(RequestFailed) as caught:
            server.test(body=body)
        answered = server.test(body=body, silent=True)
        streamed = str([one.value for queue in server.queues.values() for one in queue.messages])
    assert VALUE not in str(caught.value) + str(answered.body) + streamed
    assert ("*****" in streamed) == (error_stream is not None)


@pytest.mark.parametrize("body", ["raise", "refuse"])
def test_an_error_after_the_answer_does_not_show_it_in_the_log(body, caplog):
    function = millrace.new_function("f").with_secrets("inline", {"TOKEN": VALUE})
    function.set_topology("flow").to(name="a", handler="(event)").respond().to(name="x", handler=ask)
    with function.to_mock_server(verbose=True) as server:
        assert server.test(body=body) == body
        server.wait_for_completion()
    assert "*****" in caplog.text and VALUE not in caplog.text


def test_an_error_of_a_constructor_does_not_show_it():
    class Login:
        def __init__(self, context):
            raise OSError(f"login with {context.get_secret('TOKEN')} failed")

    function = millrace.new_function("f").with_secrets("inline", {"TOKEN": VALUE})
    function.set_topology("flow").to(Login, name="x")
    with pytest.raises(GraphError, match=r"login with \*\*\*\*\* failed") as caught:
        function.to_mock_server()
    assert VALUE not in str(caught.value)


def test_logging_at_a_level_that_is_off_costs_no_masking(caplog):
    with caplog.at_level(logging.ERROR):
        server_with_secret().context.logger.info("x", token=VALUE)
    assert not caplog.records
