"""Making functions: new, from code, from a file or the hub."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ...errors import SpecError, near
from ..engine.names import Source
from ..graph.step import warn_inert
from .arguments import known_arguments
from .code import load_code
from .described import YAML, check_kind
from .function import ServingFunction
from .hub import HUB, hub_file

PREFERRED = ("function", "fn")
CODE = (".py", ".ipynb")


@known_arguments
def new_function(
    name: str = "",
    project: str = "",
    tag: str = "",
    kind: str = "serving",
    command: str = "",
    image: str = "",
    args: list[str] | None = None,
    runtime: Any = None,
    mode: str | None = None,
    handler: Any = None,
    source: str | None = None,
    requirements: list[str] | None = None,
    kfp: bool | None = None,
    requirements_file: str = "",
) -> ServingFunction:
    """A new function; give it a graph with :meth:`ServingFunction.set_topology`.

    :param kind: ``"serving"``
    :param command: a Python file or notebook with its classes and functions; default: the caller's names
    :param image: container image, for deployment
    :param requirements: packages that it needs

    >>> new_function("adder", kind="serving")
    ServingFunction('adder')
    """
    check_kind(kind)
    warn_inert(args=args, runtime=runtime, mode=mode, handler=handler, source=source, kfp=kfp)
    function = ServingFunction(_valid_name(name) or "function")
    function.metadata.project, function.metadata.tag = project, tag
    function.spec.filename = command or None
    function.spec.image = image or None
    function.spec.build.requirements = _requirements(requirements, requirements_file)
    return function


@known_arguments
def code_to_function(
    name: str = "",
    project: str = "",
    tag: str = "",
    filename: str = "",
    handler: str = "",
    kind: str = "serving",
    image: str | None = None,
    code_output: str = "",
    embed_code: bool | None = None,
    description: str = "",
    requirements: list[str] | str | None = None,
    categories: list[str] | None = None,
    labels: dict[str, str] | None = None,
    with_doc: bool | None = None,
    ignored_tags: str | None = None,
    requirements_file: str = "",
) -> ServingFunction:
    """A function whose classes and functions are in a Python file or a notebook.

    :param filename: ``.py`` or ``.ipynb``; without one, names are looked up where the function is used

    >>> _ = Path("shop.py").write_text("def double(body): return body * 2")
    >>> function = code_to_function("shop", filename="shop.py")
    >>> _ = function.set_topology("flow").to(name="double", handler="double").respond()
    >>> function.to_mock_server().test(body=4)
    8
    """
    warn_inert(
        handler=handler or None, code_output=code_output or None, categories=categories, ignored_tags=ignored_tags
    )
    listed = [requirements] if isinstance(requirements, str) else requirements
    name = name or Path(filename).stem
    function = new_function(name, project, tag, kind, filename, image or "", requirements=listed,
                            requirements_file=requirements_file)  # fmt: skip
    if filename:
        _must_be_file(filename, "the code file")
    function.spec.description = description
    function.metadata.labels = dict(labels or {})
    return function


@known_arguments
def import_function(
    url: str = "",
    secrets: Any = None,
    db: str = "",
    project: str | None = None,
    new_name: str | None = None,
    *,
    trusted: bool = False,
) -> ServingFunction:
    """A function from a YAML file, a Python file or notebook that makes one, or ``hub://name``.

    Loading a Python file runs it; so does a YAML file with ``trusted=True``, which unpickles objects.

    :param url: a path, ``file://…``, or ``hub://v2_model_server``; ``_`` and ``-`` are alike in hub names

    >>> function = new_function("half")
    >>> _ = function.set_topology("flow").to(name="half", handler="(event / 2)").respond()
    >>> _ = function.export("half.yaml")
    >>> import_function("half.yaml").to_mock_server().test(body=5)
    2.5
    """
    warn_inert(secrets=secrets, db=db or None)
    if url.startswith(HUB):
        function = load_function(str(hub_file(url)), trusted=trusted)
    elif "://" in url and not url.startswith("file://"):
        raise SpecError(f"'{url}' can not be imported: give a path, file://… or hub://…; download other files first")
    else:
        function = load_function(url.removeprefix("file://"), trusted=trusted)
    if new_name:
        function.metadata.name = _valid_name(new_name)
    if project:
        function.metadata.project = project
    return function


def _must_be_file(filename: str, what: str) -> None:
    path = Path(filename)
    if filename and path.is_dir():
        raise SpecError(f"{what} '{filename}' is a folder; name a .py, .ipynb or .yaml file in it")
    if not path.is_file():
        raise SpecError(f"{what} '{filename}' does not exist")


def load_function(target: str, *, trusted: bool = False) -> ServingFunction:
    """The function in ``FILE[:NAME]``: a YAML file, or a Python file or notebook, which is run.

    Without a name it is ``function``, then ``fn``, then the only function that there is.
    """
    filename, name = _split_target(target)
    path = Path(filename)
    _must_be_file(filename, "the file")
    if path.suffix in YAML:
        if name is not None:
            raise SpecError(f"'{filename}' holds one function; leave ':{name}' out")
        return ServingFunction.from_file(filename, trusted=trusted)
    if path.suffix not in CODE:
        raise SpecError(f"'{filename}' is no .py, .ipynb or .yaml file")
    return _function_in(vars(load_code(filename, fresh=True)), filename, name)


def load_target(target: str, *, trusted: bool = False) -> tuple[ServingFunction, list[Source]]:
    """The function in ``FILE[:NAME]``, and where its names are looked up first: in the file that makes it.

    The file has then been run, and is not run again.

    :raises SpecError: there is no such file or function, or the file does not import
    """
    function = load_function(target, trusted=trusted)
    filename = target if Path(target).is_file() else _split_target(target)[0]
    return function, [load_code(filename)] if Path(filename).suffix in CODE else []


def _split_target(target: str) -> tuple[str, str | None]:
    filename, colon, name = target.rpartition(":")
    if colon and name.isidentifier() and Path(filename).suffix:
        return filename, name
    return target, None


def _function_in(names: dict[str, Any], filename: str, name: str | None) -> ServingFunction:
    found = {key: value for key, value in names.items() if isinstance(value, ServingFunction)}
    wanted = [name] if name else [one for one in PREFERRED if one in found] or list(found)[:2]
    if name and name not in found:
        raise SpecError(f"'{filename}' has no function named '{name}'{near(name, found)}")
    if not found:
        raise SpecError(f"'{filename}' makes no function; it needs one, such as fn = millrace.new_function(…)")
    if not name and wanted[0] not in PREFERRED and len({id(one) for one in found.values()}) > 1:
        raise SpecError(f"'{filename}' makes several functions; say which: {filename}:{next(iter(found))}")
    function = found[wanted[0]]
    function.spec.filename = function.spec.filename or str(Path(filename).resolve())
    return function


def _valid_name(name: str) -> str:
    """A name that Nuclio and Kubernetes take: ``_`` becomes ``-``, as in MLRun."""
    name = name.replace("_", "-").lower()
    if name and not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", name):
        raise SpecError(f"'{name}' is no name for a function: lower-case letters, digits and '-', such as 'my-server'")
    return name


def _requirements(listed: list[str] | None, filename: str) -> list[str]:
    found = list(listed or [])
    if filename:
        lines = Path(filename).read_text(encoding="utf-8").splitlines()
        found += [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return found
