"""A name in a graph means what is nearest to the user, and says what it could mean when it means nothing."""

import json
import sys
import types

import pytest

import millrace
from millrace.errors import GraphError, NameNotFound
from millrace.serving import ModelRouter, VotingEnsemble
from millrace.serving.engine.names import Namespace

WHERE = "the test"


def whoami(body):
    return WHERE


def answer(function, **options):
    with function.to_mock_server(**options) as server:
        return server.test(body=1)


def with_step(handler="whoami", **settings):
    function = millrace.new_function("f", **settings)
    function.set_topology("flow").to(name="x", handler=handler).respond()
    return function


def module(name, **names):
    made = types.ModuleType(name)
    vars(made).update(names)
    return made


def test_the_names_of_the_caller_are_captured():
    assert answer(with_step()) == "the test"


def test_local_names_of_the_caller_come_before_its_globals():
    def whoami(body):
        return "a local"

    with with_step().to_mock_server() as server:
        assert server.test(body=1) == "a local"


@pytest.mark.parametrize("form", ["dict", "module", "list", "name"])
def test_a_given_namespace_replaces_the_callers(form, monkeypatch):
    given = module("given_names", whoami=lambda body: "given")
    monkeypatch.setitem(sys.modules, "given_names", given)
    namespace = {"dict": vars(given), "module": given, "list": [{}, given], "name": "given_names"}[form]
    assert answer(with_step(), namespace=namespace) == "given"


@pytest.mark.parametrize("namespace", ["no_such_module_here", 5])
def test_a_namespace_that_holds_no_names_is_refused(namespace):
    with pytest.raises(GraphError, match="namespace="):
        with_step().to_mock_server(namespace=namespace)


def test_the_functions_own_file_comes_after_the_callers_names(tmp_path):
    file = tmp_path / "own.py"
    file.write_text("def whoami(body):\n    return 'the file'\n\ndef only_here(body):\n    return 'the file'\n")
    assert answer(with_step(command=str(file))) == "the test"
    assert answer(with_step("only_here", command=str(file))) == "the file"
    assert answer(with_step(command=str(file)), namespace={}) == "the file"


def test_dotted_names_walk_what_is_there_before_they_are_imported():
    namespace = Namespace([{"json": module("json", loads=len), "deep": module("deep", a=module("a", b=abs))}])
    assert namespace.find("json.loads") is len
    assert namespace.find("deep.a.b") is abs
    assert Namespace().find("json.loads") is json.loads


def test_a_dotted_name_is_imported_with_its_module(tmp_path, monkeypatch):
    (tmp_path / "shop_steps").mkdir()
    (tmp_path / "shop_steps" / "__init__.py").touch()
    (tmp_path / "shop_steps" / "sell.py").write_text("class Sell:\n    class Deep:\n        pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert Namespace().find("shop_steps.sell.Sell.Deep").__qualname__ == "Sell.Deep"


def test_names_built_into_python_are_found_last():
    assert Namespace().find("len") is len
    assert Namespace().find("str.upper") is str.upper
    assert Namespace([{"len": abs}]).find("len") is abs


@pytest.mark.parametrize(
    "name",
    ["VotingEnsemble", "mlrun.serving.VotingEnsemble", "mlrun.serving.routers.VotingEnsemble",
     "millrace.serving.VotingEnsemble", "millrace.serving.models.voting.VotingEnsemble"],
)  # fmt: skip
def test_the_library_is_found_under_all_its_names(name):
    assert Namespace().find(name) is VotingEnsemble


def test_storeys_names_mean_millraces_steps_whatever_the_caller_calls_storey():
    assert Namespace([{"storey": types}]).find("storey.Filter") is millrace.steps.Filter
    assert Namespace([{"mlrun": millrace}]).find("mlrun.serving.ModelRouter") is ModelRouter


def test_a_private_class_of_millrace_is_found_by_its_full_name():
    assert Namespace().find("millrace.errors.BadRequest") is millrace.errors.BadRequest


def test_a_name_that_is_nowhere_says_where_it_was_looked_for_and_what_is_near():
    with pytest.raises(NameNotFound, match="step 'x': nothing is named 'whoamI' in the namespace, "):
        with_step("whoamI").to_mock_server()
    with pytest.raises(NameNotFound, match="did you mean 'whoami'"):
        with_step("whoamI").to_mock_server()


def test_a_step_of_storey_that_is_not_there_says_what_is():
    with pytest.raises(NameNotFound, match=r"did you mean 'storey\.Filter'"):
        Namespace().find("storey.Fliter", step="x")
    with pytest.raises(NameNotFound, match=r"it has storey\.Batch, .*storey\.Merge"):
        Namespace().find("storey.NoSqlTarget", step="x")


@pytest.mark.parametrize("name", ["no_such_module.Step", "json.no_such_name", "no.such.thing"])
def test_a_dotted_name_that_does_not_import_is_not_found(name):
    with pytest.raises(NameNotFound, match=name):
        Namespace().find(name)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1 / 0", r"ZeroDivisionError: division by zero \(.*broken.*, line 1\)"),
        ("import no_such_dependency", "ModuleNotFoundError: No module named 'no_such_dependency'"),
        ("def f(:", r"SyntaxError: .*line 1"),
    ],
)
def test_a_module_that_is_there_and_does_not_import_shows_the_real_error(tmp_path, monkeypatch, code, words):
    name = f"broken_{abs(hash(code))}"
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(GraphError, match=f"step 'x': the module '{name}' does not import: {words}"):
        Namespace().find(f"{name}.Step", step="x")


def test_an_empty_name_is_refused():
    with pytest.raises(GraphError, match="step 'x': the name of its class or function is empty"):
        Namespace().find("", step="x")
