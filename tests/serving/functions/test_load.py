"""Functions come from code, notebooks, YAML, Python files and the hub."""

import json
import pickle

import pytest
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

import millrace
from millrace.errors import SpecError
from millrace.serving.functions.code import load_code
from millrace.serving.functions.load import load_function


def notebook(path, *cells):
    """A notebook of code cells, and of a text cell."""
    found = [{"cell_type": "code", "source": cell, "metadata": {}, "outputs": []} for cell in cells]
    found.append({"cell_type": "markdown", "source": ["# not code"], "metadata": {}})
    path.write_text(json.dumps({"cells": found, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return str(path)


def answer(function, handler, body=1):
    function.set_topology("flow", exist_ok=True).to(name="x", handler=handler).respond()
    with function.to_mock_server(namespace={}) as server:
        return server.test(body=body)


# -- names and arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "name"), [("my_server", "my-server"), ("My_Server", "my-server"), ("", "function")])
def test_a_function_has_a_name_that_kubernetes_takes(given, name):
    assert millrace.new_function(given, kind="serving").name == name


@pytest.mark.parametrize("name", ["my server", "-a", "a!", "ü"])
def test_another_name_is_refused(name):
    with pytest.raises(SpecError, match="is no name for a function"):
        millrace.new_function(name)


def test_only_functions_that_hold_a_graph_are_made():
    with pytest.raises(SpecError, match="functions of kind 'serving', not 'job'"):
        millrace.new_function("f", kind="job")


@pytest.mark.parametrize("call", [millrace.new_function, millrace.code_to_function, millrace.import_function])
def test_an_unknown_argument_is_refused_with_near_names(call):
    with pytest.raises(TypeError, match=rf"{call.__name__}\(\) has no parameter 'proejct'; did you mean 'project'"):
        call("x", proejct="y")


def test_every_argument_of_mlrun_is_accepted(tmp_path):
    code, listed = tmp_path / "code.py", tmp_path / "requirements.txt"
    code.write_text("")
    listed.write_text("# comment\nscipy\n\n")
    function = millrace.code_to_function(
        name="f", project="p", tag="t", filename=str(code), handler="", kind="serving", image="i", code_output="",
        embed_code=True, description="d", requirements=["numpy"], categories=None, labels={"a": "b"}, with_doc=True,
        ignored_tags=None, requirements_file=str(listed),
    )  # fmt: skip
    assert (function.metadata.project, function.metadata.tag, function.metadata.labels) == ("p", "t", {"a": "b"})
    assert (function.spec.image, function.spec.description) == ("i", "d")
    assert function.spec.build.requirements == ["numpy", "scipy"]


def test_arguments_without_meaning_here_warn():
    with pytest.warns(UserWarning, match="runtime= does nothing"):
        millrace.new_function("f", runtime={})
    with pytest.warns(UserWarning, match="categories= does nothing"):
        millrace.code_to_function("f", categories=["a"])


# -- code ----------------------------------------------------------------------------------------------------------


def test_the_classes_and_functions_of_a_file_are_found(tmp_path):
    (tmp_path / "neighbour_of_code.py").write_text("FACTOR = 21\n")
    file = tmp_path / "code.py"
    file.write_text("def double(body):\n    from neighbour_of_code import FACTOR\n    return FACTOR * body\n")
    assert answer(millrace.code_to_function(filename=str(file)), "double", 2) == 42
    assert millrace.code_to_function(filename=str(file)).name == "code"


def test_two_files_with_neighbours_of_one_name_import_each_its_own(tmp_path):
    for name in ("one", "two", "one again"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "shared_neighbour_name.py").write_text(f"NAME = {name!r}\n")
        (folder / "code.py").write_text("from shared_neighbour_name import NAME\ndef who(body):\n    return NAME\n")
    found = [load_code(str(tmp_path / name / "code.py")) for name in ("one", "two", "one again")]
    assert [module.who(None) for module in found] == ["one", "two", "one again"]


def test_a_file_that_was_edited_is_read_again(tmp_path):
    file = tmp_path / "code.py"
    file.write_text("def f(body):\n    return 1\n")
    function = millrace.code_to_function("f", filename=str(file))
    assert answer(function, "f") == 1
    file.write_text("def f(body):\n    return 2\n")
    assert answer(function, "f") == 2


def test_a_file_runs_once_for_all_servers(tmp_path):
    file, log = tmp_path / "code.py", tmp_path / "log"
    file.write_text(f"with open({str(log)!r}, 'a') as log:\n    log.write('x')\ndef f(body):\n    return 1\n")
    function = millrace.code_to_function("f", filename=str(file))
    assert [answer(function, "f"), answer(function, "f")] == [1, 1]
    assert log.read_text() == "x"


def test_a_notebook_is_code_without_its_magics(tmp_path):
    path = notebook(
        tmp_path / "nb.ipynb",
        "%matplotlib inline\n!pip install x\nlines = !ls\nimport json",
        ["def f(body):\n", "    if body:\n", "        !echo x\n", "    return json.dumps([body, b])\n"],
        "# mlrun: ignore\nraise SystemError('ignored')",
        "%%bash\nexit 1",
        "%%time\nb = (10\n     % 4)",
        "json.dumps?",
    )
    assert answer(millrace.code_to_function("nb", filename=path), "f") == "[1, 2]"


def test_percent_signs_of_python_stay(tmp_path):
    text = "\n%not magic\n!nor this"
    path = notebook(tmp_path / "nb.ipynb", f"a = (7\n  % 4)\ntext = '''{text}'''\ndef f(b): return [a, text]")
    assert answer(millrace.code_to_function("nb", filename=path), "f") == [3, text]


@pytest.mark.parametrize("word", ["mlrun", "nuclio", "millrace"])
def test_only_what_lies_between_the_marks_counts(tmp_path, word):
    path = notebook(
        tmp_path / "nb.ipynb", "raise SystemError", f"# {word}: start-code", "def f(b): return 5",
        f"# {word}: end-code", "raise SystemError",
    )  # fmt: skip
    assert answer(millrace.code_to_function("nb", filename=path), "f") == 5


def test_a_code_file_that_is_not_there_is_named():
    with pytest.raises(SpecError, match=r"the code file 'no\.py' does not exist"):
        millrace.code_to_function("f", filename="no.py")
    with pytest.raises(SpecError, match=r"the code file 'no\.py' can not be read: No such file"):
        answer(millrace.new_function("f", command="no.py"), "g")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1\n1 / 0\n", r"code.py' does not import: ZeroDivisionError: division by zero \(line 2\)"),
        ("def f(:\n", r"does not import: SyntaxError: .*\(code.py, line 1\)"),
        ("import no_such_module_x\n", r"ModuleNotFoundError: No module named 'no_such_module_x' \(line 1\)"),
        ("import sys\nsys.exit(3)\n", r"it ends the program: SystemExit\(3\) \(line 2\)"),
        ("def f():\n    raise OSError('x')\n\nf()\n", r"OSError: x \(line 2\)"),
        (b"\xff\xfe\x00", "is not UTF-8 text"),
    ],
)
def test_a_file_that_does_not_import_is_told_with_its_line(tmp_path, code, words):
    file = tmp_path / "code.py"
    file.write_bytes(code if isinstance(code, bytes) else code.encode())
    with pytest.raises(SpecError, match=words):
        answer(millrace.code_to_function("f", filename=str(file)), "f")


def test_an_error_in_a_notebook_names_the_cell(tmp_path):
    path = notebook(tmp_path / "nb.ipynb", "a = 1", "b = 2\n1 / 0")
    with pytest.raises(SpecError, match=r"nb.ipynb' does not import: ZeroDivisionError: .* \(cell 2, line 2\)"):
        answer(millrace.code_to_function("nb", filename=path), "f")


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"cells": [{"cell_type": "code"}]}', '{"cells": 5}'])
def test_a_file_that_is_no_notebook_is_refused(tmp_path, text):
    path = tmp_path / "nb.ipynb"
    path.write_text(text)
    with pytest.raises(SpecError, match="is not a notebook"):
        answer(millrace.code_to_function("nb", filename=str(path)), "f")


# -- child functions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["py", "ipynb", "yaml"])
def test_the_steps_of_a_child_function_are_found_in_its_own_file(tmp_path, kind):
    (tmp_path / "parent.py").write_text("def work(body):\n    return 'parent'\ndef shared(body):\n    return [body]\n")
    code = "def work(body):\n    return body + ' child'\n"
    (tmp_path / "child.py").write_text(code)
    (tmp_path / "child.yaml").write_text("kind: serving\nspec: {filename: child.py, image: i}\n")
    notebook(tmp_path / "child.ipynb", code)
    function = millrace.code_to_function("f", filename=str(tmp_path / "parent.py"))
    child = function.add_child_function("enrich", str(tmp_path / f"child.{kind}"))
    graph = function.set_topology("flow")
    graph.to(name="work", handler="work").to(">>", "q", path="x").to(name="w", handler="work", function="enrich").to(
        name="s", handler="shared", function="enrich"
    ).to(">>", "out", path="y")
    with function.to_mock_server(namespace={}) as server:
        server.test(body=1)
        server.wait_for_completion()
        assert [json.loads(one.value) for one in server.queue("out").messages] == [["parent child"]]
    assert child.name == "enrich"


def test_requirements_and_image_of_a_child_are_kept():
    spec = millrace.new_function("f").add_child_function("c", "./nlp.py", "image", ["spacy"], "serving").spec
    spec.build.commands = ["python -m spacy download en_core_web_sm"]
    assert (spec.filename, spec.image, spec.build.requirements) == ("./nlp.py", "image", ["spacy"])


# -- import_function and FILE[:NAME] -------------------------------------------------------------------------------

MAKES = """
import millrace
{} = millrace.new_function('{}')
{}.set_topology('flow').to(name='x', handler='f').respond()
"""


def makes(*names):
    return "def f(body):\n    return 5\n" + "".join(MAKES.format(name, name, name) for name in names)


@pytest.mark.parametrize(
    ("names", "target", "found"),
    [
        (["function", "fn", "a"], "", "function"),
        (["a", "fn"], "", "fn"),
        (["a"], "", "a"),
        (["a", "fn"], ":a", "a"),
    ],
)
def test_the_function_of_a_file_is_the_named_the_usual_or_the_only_one(tmp_path, names, target, found):
    file = tmp_path / "made.py"
    file.write_text(makes(*names))
    function = load_function(f"{file}{target}")
    assert function.name == found
    assert function.to_mock_server(namespace={}).test(body=1) == 5


@pytest.mark.parametrize(
    ("names", "target", "words"),
    [
        (["a", "b"], "", "makes several functions; say which: .*made.py:a"),
        (["abc"], ":abd", "has no function named 'abd'; did you mean 'abc'"),
        ([], "", "makes no function; it needs one, such as fn = millrace.new_function"),
    ],
)
def test_a_file_that_leaves_open_which_function_is_meant_is_refused(tmp_path, names, target, words):
    file = tmp_path / "made.py"
    file.write_text(makes(*names))
    with pytest.raises(SpecError, match=words):
        load_function(f"{file}{target}")


def test_two_names_of_one_function_are_one_function(tmp_path):
    file = tmp_path / "made.py"
    file.write_text(makes("a") + "b = a\n")
    assert load_function(str(file)).name == "a"


def test_a_function_is_loaded_from_a_notebook(tmp_path):
    path = notebook(tmp_path / "nb.ipynb", "%load_ext x", *makes("fn").split("import millrace\n", 1)[:1], makes("fn"))
    assert load_function(path).to_mock_server(namespace={}).test(body=1) == 5


def test_a_folder_is_said_to_be_one(tmp_path):
    for load in (millrace.import_function, lambda folder: millrace.code_to_function("f", filename=folder)):
        with pytest.raises(SpecError, match=f"'{tmp_path}' is a folder; name a .py, .ipynb or .yaml file in it"):
            load(str(tmp_path))


@pytest.mark.parametrize(
    ("target", "words"),
    [("no.py", "the file 'no.py' does not exist"), ("no.py:fn", "'no.py' does not exist"), ("", "does not exist")],
)
def test_a_file_that_is_not_there_is_named(target, words):
    with pytest.raises(SpecError, match=words):
        load_function(target)


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "x.txt").touch()
    (tmp_path / "x.yaml").write_text("kind: serving\n")
    with pytest.raises(SpecError, match=r"is no \.py, \.ipynb or \.yaml file"):
        load_function(str(tmp_path / "x.txt"))
    with pytest.raises(SpecError, match="holds one function; leave ':fn' out"):
        load_function(f"{tmp_path / 'x.yaml'}:fn")


def test_import_function_takes_paths_and_file_urls_and_gives_a_new_name(tmp_path):
    millrace.new_function("old").export(str(tmp_path / "f.yaml"))
    function = millrace.import_function(f"file://{tmp_path}/f.yaml", new_name="my_new", project="p")
    assert (function.name, function.metadata.project) == ("my-new", "p")
    with pytest.raises(SpecError, match=r"'s3://x/f.yaml' can not be imported: give a path"):
        millrace.import_function("s3://x/f.yaml")


def test_the_code_of_a_yaml_file_lies_beside_it_and_runs_only_when_it_is_used(tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    code = f"from pathlib import Path\nPath({str(ran)!r}).touch()\ndef f(body):\n    return 7\n"
    (tmp_path / "code.py").write_text(code)
    graph = "{steps: {x: {handler: f, responder: true}}}"
    (tmp_path / "f.yaml").write_text(f"kind: serving\nspec:\n  filename: code.py\n  graph: {graph}\n")
    monkeypatch.chdir("/")
    function = millrace.import_function(str(tmp_path / "f.yaml"))
    function.to_yaml()
    assert not ran.exists()
    assert function.to_mock_server(namespace={}).test(body=1) == 7


def test_pickled_objects_are_loaded_only_when_trusted(tmp_path):
    class Local:
        def do(self, body):
            return "local"

    function = millrace.new_function("f")
    function.set_topology("flow").to(Local(), name="x").respond()
    function.export(str(tmp_path / "f.yaml"), pickle=True)
    with pytest.raises(millrace.errors.UntrustedPickle, match="step 'x'"):
        millrace.import_function(str(tmp_path / "f.yaml"))
    trusted = millrace.import_function(str(tmp_path / "f.yaml"), trusted=True)
    assert trusted.to_mock_server().test(body=1) == "local"


# -- the hub -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["hub://v2_model_server", "hub://v2-model-server", "hub://demo/v2_model_server:1.0"])
def test_the_model_server_of_the_hub_serves_pickled_models(tmp_path, url):
    flowers, species = load_iris(return_X_y=True)
    model = DecisionTreeClassifier(random_state=0).fit(flowers, species)
    (tmp_path / "model.pkl").write_bytes(pickle.dumps(model))
    function = millrace.import_function(url)
    function.add_model("m1", model_path=str(tmp_path / "model.pkl"))
    with function.to_mock_server() as server:
        found = server.test("/v2/models/m1/infer", {"inputs": flowers[::50].tolist()})
    assert list(found["outputs"]) == model.predict(flowers[::50]).tolist()


def test_a_function_that_the_hub_does_not_have_is_named():
    with pytest.raises(SpecError, match=r"the hub has no function 'v2_model_sever'; did you mean 'v2_model_server'"):
        millrace.import_function("hub://v2_model_sever")


@pytest.mark.parametrize("url", ["hub://", "hub://..", "hub://../../serving"])
def test_a_hub_name_does_not_lead_out_of_the_hub(url):
    with pytest.raises(SpecError, match="the hub has no function"):
        millrace.import_function(url)
