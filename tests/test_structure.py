"""Who may import whom: one direction between the parts, no circles between modules, one place for every client."""

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("hub", "queues", "serving", "steps")

LAYERS = (
    "deferred", "errors", "queues", "steps", "serving.graph", "serving.engine", "serving.models", "serving.doors",
    "serving.deploy", "serving.functions", "serving.cli",
)  # fmt: skip
"""From the lowest to the highest; each may import itself and those before it."""

LISTS_OF_NAMES = ("", "serving")
"""Packages whose ``__init__`` gives names lazily, and so knows all parts."""

CLIENTS = {
    "cronsim": {"serving/doors/cron_times.py"},
    "graphviz": {"serving/graph/draw.py"},
    "lmdb": {"queues/log_store.py"},
    "uvloop": {"serving/engine/loop.py"},
    "yaml": {"serving/functions/text.py"},
    "kafka": {"queues/kafka_python.py"},
    "confluent_kafka": {"queues/kafka_confluent.py"},
    "v3io": {"queues/v3io_client.py"},
    "yarl": {"queues/v3io_client.py"},
    # one step asks HTTP servers, one backend speaks v3io's HTTP, one door answers (several files, each of which is one
    # idea), one client deploys
    "aiohttp": {"steps/remote.py", "queues/v3io_client.py", "serving/doors/http*.py", "serving/deploy/dashboard.py"},
    "multidict": {"serving/doors/http*.py", "serving/doors/nuclio_event.py"},
    "nuclio_sdk": {"serving/doors/nuclio_ack.py"},
}
"""What talks to something outside, or reads and writes a format for it, and where."""

VALUES = {"cloudpickle", "numpy", "orjson"}
"""What values are made of or written as: wherever there are values."""


@cache
def modules():
    """All modules of the package by dotted name, without the package's own."""
    files = [*ROOT.glob("*.py"), *(file for part in PARTS for file in (ROOT / part).rglob("*.py"))]
    return {name_of(file): file for file in files if ".template" not in file.name}


def name_of(file):
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def import_nodes(tree, *, annotations):
    """The imports of a module, deferred ones included; those that serve annotations only when asked for."""
    todo = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif is_type_checking(node):
            todo += [*(node.body if annotations else []), *node.orelse]
        else:
            todo += ast.iter_child_nodes(node)


@cache
def imported(name, annotations=False):
    """The modules of the package that a module imports."""
    file = modules()[name]
    package = name.split(".") if file.name == "__init__.py" and name else name.split(".")[:-1]
    found = set()
    for node in import_nodes(ast.parse(file.read_text(encoding="utf-8")), annotations=annotations):
        if isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("millrace").lstrip(".") for alias in node.names if is_ours(alias.name)}
            continue
        if node.level == 0 and not is_ours(node.module):
            continue
        base = package[: len(package) - node.level + 1] if node.level else []
        path = [*base, *(node.module or "").split(".")] if node.module else base
        path = path[1:] if node.level == 0 else path
        for alias in node.names:
            if alias.name == "__version__":
                continue
            full = ".".join([*path, alias.name])
            found.add(full if full in modules() else ".".join(path))
    return found - {name}


def is_ours(name):
    return name == "millrace" or name.startswith("millrace.")


def layer(name):
    """The place of a module among the layers; ``None`` for the lists of names and what is made with the package."""
    return next((n for n, one in enumerate(LAYERS) if name == one or name.startswith(f"{one}.")), None)


def checked():
    return sorted(name for name in modules() if layer(name) is not None)


def test_every_module_has_its_place_among_the_layers():
    made_with_it = {name for name in modules() if name == "hub" or name.startswith("hub.")}
    assert set(modules()) - set(checked()) == {*LISTS_OF_NAMES, "__main__", *made_with_it}


@pytest.mark.parametrize("annotations", [False, True], ids=["imports", "annotations"])
def test_no_module_imports_one_of_a_higher_layer(annotations):
    upwards = [
        f"{name} -> {other}"
        for name in checked()
        for other in imported(name, annotations)
        if layer(other) is None or layer(other) > layer(name)
    ]
    assert upwards == []


def test_no_modules_import_each_other_in_a_circle():
    done, circles = set(), []

    def visit(name, path):
        if name in path:
            circles.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            for other in sorted(imported(name)):
                visit(other, [*path, name])
            done.add(name)

    for name in checked():
        visit(name, [])
    assert circles == []


def third_parties(file):
    for node in import_nodes(ast.parse(file.read_text(encoding="utf-8")), annotations=False):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        if isinstance(node, ast.Import) or node.level == 0:
            yield from {name.partition(".")[0] for name in names} - sys.stdlib_module_names - {"millrace"}


def test_every_third_party_client_is_imported_in_its_own_place_only():
    strays = [
        f"{file.relative_to(ROOT)} imports {one}"
        for name, file in modules().items()
        if not name.startswith("hub")
        for one in third_parties(file)
        if one not in VALUES and not any(file.match(place) for place in CLIENTS.get(one, ()))
    ]
    assert strays == []


def test_the_tables_name_nothing_that_is_gone():
    used = {one for file in modules().values() for one in third_parties(file)}
    assert {*CLIENTS, *VALUES} - used == set()


@pytest.mark.parametrize("name", checked())
def test_a_file_has_at_most_four_hundred_lines_and_a_docstring(name):
    text = modules()[name].read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert not text.strip() or ast.get_docstring(ast.parse(text))
