"""All code that a deployed function needs goes along, however its steps come by it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import millrace
from millrace.errors import SpecError

STEP = "class Enrich:\n    def do(self, body):\n        return body\n"


def function_of(folder, class_name, *, code="", requirements=()):
    (folder / "fn.py").write_text(code)
    function = millrace.code_to_function("f", filename=str(folder / "fn.py"), kind="serving")
    function.set_topology("flow").to(class_name, name="enrich").respond()
    return function.with_requirements(list(requirements))


def exported(function, folder):
    """The code files of an export."""
    out = Path(function.export("docker", str(folder / "out")))
    return sorted(file.relative_to(out / "code").as_posix() for file in (out / "code").rglob("*.py"))


def test_a_module_that_only_a_step_names_goes_along_with_what_it_imports(tmp_path):
    (tmp_path / "enriching_step.py").write_text(f"import rates_of_step\n{STEP}")
    (tmp_path / "rates_of_step.py").write_text("RATE = 1\n")
    assert exported(function_of(tmp_path, "enriching_step.Enrich"), tmp_path) == [
        "enriching_step.py", "fn.py", "rates_of_step.py",
    ]  # fmt: skip


def test_a_step_of_a_child_may_be_in_a_module_beside_the_childs_file(tmp_path):
    function = function_of(tmp_path, "fn.Enrich", code=STEP)
    function.graph.add_step(">>", "q", path="kafka://b.example.com:9092/q", after="enrich")
    function.graph.add_step("billing_step.Enrich", "bill", function="c", after="q")
    (tmp_path / "child").mkdir()
    (tmp_path / "child" / "child.py").write_text("")
    (tmp_path / "child" / "billing_step.py").write_text(STEP)
    function.add_child_function("c", str(tmp_path / "child" / "child.py"))
    out = Path(function.export("nuclio", str(tmp_path / "out")))
    assert (out / "f-c" / "code-c" / "billing_step.py").is_file()


def test_a_step_in_a_package_that_nothing_installs_is_refused(tmp_path):
    function = function_of(tmp_path, "jsonschema.Draft7Validator.check_schema")
    with pytest.raises(SpecError, match=r"step 'enrich' imports 'jsonschema', and nothing installs it there; add"):
        exported(function, tmp_path)
    assert exported(function.with_requirements(["jsonschema"]), tmp_path) == ["fn.py"]


def test_a_step_named_by_what_the_code_calls_its_module_needs_no_module(tmp_path):
    function = function_of(tmp_path, "Enrich", code=f"import json as notation\n{STEP}")
    function.set_topology("flow", exist_ok=True).to(name="read", handler="notation.loads").respond()
    assert exported(function, tmp_path) == ["fn.py"]


def test_packages_whose_files_lie_deeper_go_along(tmp_path):
    (tmp_path / "lib_of_steps" / "deep").mkdir(parents=True)
    (tmp_path / "lib_of_steps" / "deep" / "__init__.py").write_text(STEP)
    function = function_of(tmp_path, "Enrich", code="from lib_of_steps.deep import Enrich\n")
    assert exported(function, tmp_path) == ["fn.py", "lib_of_steps/deep/__init__.py"]


def test_a_mere_folder_with_the_name_of_an_installed_package_is_not_taken_for_it(tmp_path):
    (tmp_path / "jsonschema" / "notes").mkdir(parents=True)
    (tmp_path / "jsonschema" / "notes" / "try.py").write_text("")
    function = function_of(tmp_path, "Enrich", code=f"import jsonschema\n{STEP}", requirements=["jsonschema"])
    assert exported(function, tmp_path) == ["fn.py"]


@pytest.mark.parametrize("names", [("价", "格"), ("a b", "a_b"), ("modèle", "modéle")])
def test_models_of_steps_with_names_alike_do_not_overwrite_each_other(names, tmp_path):
    function = millrace.new_function("f")
    for name in names:
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.bin").write_text(name)
        function.add_model(name, str(tmp_path / name / "model.bin"), class_name="millrace.serving.V2ModelServer")
    out = Path(function.export("docker", str(tmp_path / "out")))
    routes = yaml.safe_load((out / "function-spec.yaml").read_text())["spec"]["graph"]["routes"]
    places = [routes[name]["class_args"]["model_path"].removeprefix("/srv/function/") for name in names]
    assert [(out / place).read_text() for place in places] == list(names)


def test_files_of_windows_editors_are_taken(tmp_path):
    (tmp_path / "marked_step.py").write_bytes("\ufeffNAME = 'ü'\r\n".encode())
    function = function_of(tmp_path, "Enrich")
    (tmp_path / "fn.py").write_bytes(("\ufeffimport marked_step\n" + STEP).replace("\n", "\r\n").encode())
    assert exported(function, tmp_path) == ["fn.py", "marked_step.py"]
    text = (tmp_path / "out" / "code" / "fn.py").read_bytes()
    assert text.startswith(b"import marked_step") and b"\r" not in text


def test_a_neighbour_in_another_encoding_is_refused_with_its_name(tmp_path):
    (tmp_path / "latin_step.py").write_bytes(b"# \xe9\n")
    function = function_of(tmp_path, "Enrich", code=STEP)
    (tmp_path / "fn.py").write_text(f"import latin_step\n{STEP}")
    with pytest.raises(SpecError, match=r"latin_step\.py"):
        exported(function, tmp_path)
