"""What is installed is complete, quick to import and typed."""

import ast
import importlib
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import millrace

ROOT = Path(__file__).resolve().parents[1]
NEVER_SHIPPED = ("tests", "benchmarks", "examples", "docs")
IMPORT_LIMIT_MS = 100


def run(code, *options):
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, *options, "-c", code], capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names and texts in a wheel built from a copy of the repository's own files."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for part in ROOT.iterdir():
        if part.is_dir() and not part.name.startswith(".") and part.name not in ("build", "dist", "millrace.egg-info"):
            shutil.copytree(part, source / part.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif part.is_file():
            shutil.copy(part, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(build, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packages():
    found = [path.parent.relative_to(ROOT) for part in ("hub", "queues", "serving", "steps") for path in
             (ROOT / part).rglob("__init__.py")]  # fmt: skip
    return sorted({"millrace", *(f"millrace.{'.'.join(place.parts)}" for place in found)})


def test_the_wheel_holds_every_module_and_the_data_beside_them(wheel):
    for package in packages():
        folder = ROOT.joinpath(*package.split(".")[1:])
        expected = {f"{package.replace('.', '/')}/{file.name}" for file in folder.glob("*.py")}
        assert expected - set(wheel) == set(), package
    data = ["millrace/py.typed", "millrace/hub/v2_model_server/function.yaml"]
    templates = (ROOT / "serving" / "cli" / "templates").rglob("*.template")
    data += [f"millrace/{file.relative_to(ROOT).as_posix()}" for file in templates]
    assert set(data) - set(wheel) == set()


def test_the_wheel_holds_no_tests_benchmarks_or_examples(wheel):
    places = {tuple(name.split("/")[:2]) for name in wheel if name.startswith("millrace/")}
    assert {second for _, second in places} & {*NEVER_SHIPPED} == set()
    assert {first.split("-")[0] for first in (name.split("/")[0] for name in wheel)} == {"millrace"}


def test_the_wheel_installs_the_command(wheel):
    (entry_points,) = (text.decode() for name, text in wheel.items() if name.endswith("entry_points.txt"))
    assert "millrace = millrace.__main__:main" in entry_points


def test_what_is_in_the_wheel_serves_the_hubs_model_server(wheel, tmp_path):
    for name, content in wheel.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    code = "import millrace; f = millrace.import_function('hub://v2_model_server'); print(millrace.__file__, f)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split(" ", 1) == [f"{tmp_path}/millrace/__init__.py", "ServingFunction('v2-model-server')\n"]


def test_the_version_is_the_same_everywhere(wheel):
    (metadata,) = (text.decode() for name, text in wheel.items() if name.endswith("/METADATA"))
    assert f"\nVersion: {millrace.__version__}\n" in metadata


def test_the_licence_is_named_and_its_text_is_there(wheel):
    (metadata,) = (text.decode() for name, text in wheel.items() if name.endswith("/METADATA"))
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert any(name.endswith("/LICENSE") for name in wheel)


def test_import_millrace_is_quick():
    code = "import time; t = time.perf_counter(); import millrace; print((time.perf_counter() - t) * 1000)"
    assert min(float(run(code).stdout) for _ in range(3)) < IMPORT_LIMIT_MS


@pytest.mark.parametrize("statement", ["import millrace", "import millrace.serving", "import millrace.errors"])
def test_importing_loads_no_third_party_module(statement):
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    loaded = {name.partition(".")[0] for name in run(code).stdout.split()}
    assert loaded - sys.stdlib_module_names - {"millrace"} == set()


def test_a_graph_is_built_and_checked_without_loading_a_server_or_a_drawer():
    code = (
        "import sys, millrace; f = millrace.new_function('f'); f.set_topology('flow').to(name='x', handler='(event)');"
        "f.validate(); print([m for m in ('aiohttp', 'graphviz', 'lmdb', 'sklearn', 'pandas') if m in sys.modules])"
    )
    assert run(code).stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["", ".errors", ".queues", ".serving", ".steps", ".serving.graph"])
def test_public_names_are_there_once_and_shown_by_dir(name):
    name = f"millrace{name}"
    module = importlib.import_module(name)
    names = list(module.__all__)
    assert len(names) == len(set(names)) and set(names) <= set(dir(module))
    assert all(getattr(module, one) is not None for one in names)


@pytest.mark.parametrize("name", ["millrace", "millrace.serving"])
def test_lazy_names_are_the_ones_that_type_checkers_see(name):
    module = importlib.import_module(name)
    tree = ast.parse(Path(module.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.asname or alias.name for node in block.body for alias in node.names}
    assert seen == set(module.__all__) - {"__version__"}


@pytest.mark.parametrize("name", ["millrace", "millrace.serving"])
def test_a_name_that_is_not_there_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'nothing'"):
        _ = importlib.import_module(name).nothing


@pytest.mark.parametrize(
    ("name", "wrong", "hint"),
    [("millrace", "code_to_funtion", "code_to_function"), ("millrace.serving", "VotingEnsmble", "VotingEnsemble"),
     ("millrace.queues", "Mesage", "Message"), ("millrace", "get_or_create_project", "coming-from-mlrun")],
)  # fmt: skip
def test_a_misspelt_name_is_told_with_what_is_near(name, wrong, hint):
    with pytest.raises(AttributeError, match=hint):
        getattr(importlib.import_module(name), wrong)


def test_the_names_that_mlruns_users_know_are_public():
    assert {"new_function", "code_to_function", "import_function"} <= set(millrace.__all__)
    known = {
        "V2ModelServer", "ModelRouter", "ParallelRun", "VotingEnsemble", "RemoteStep", "BatchHttpRequests", "Merge",
        "GraphContext", "MockEvent", "Response", "TaskStep", "RouterStep", "QueueStep", "FlowStep",
    }  # fmt: skip
    assert known - set(millrace.serving.__all__) == set()


def test_every_error_is_public_and_documented():
    classes = {name for name, one in vars(millrace.errors).items() if isinstance(one, type)}
    assert {name for name in classes if issubclass(getattr(millrace.errors, name), BaseException)} <= set(
        millrace.errors.__all__
    )
    assert all(getattr(millrace.errors, name).__doc__ for name in millrace.errors.__all__)
    assert all(name in millrace.errors.__doc__ for name in millrace.errors.__all__ if name != "status_of")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_every_module_imports_or_misses_a_package_of_an_extra():
    for found in pkgutil.walk_packages(millrace.__path__, "millrace."):
        if found.name.split(".")[1] not in ("errors", "hub", "queues", "serving", "steps"):
            continue
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:
            assert error.name in ("confluent_kafka", "kafka", "v3io"), found.name


def test_the_command_and_the_module_are_the_same():
    text = subprocess.run([sys.executable, "-m", "millrace", "--version"], capture_output=True, text=True, check=True)
    assert text.stdout.strip() == f"millrace {millrace.__version__}"
