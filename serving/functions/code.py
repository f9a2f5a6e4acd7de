"""A function's own code: a Python file or a notebook, loaded as a module of its own."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from pathlib import Path
from types import ModuleType

from ...errors import SpecError
from ..graph.dump import CODE_MODULE

START, END = re.compile(r"#\s*(?:mlrun|millrace)\s*:\s*start-code"), re.compile(r"#\s*(?:mlrun|millrace)\s*:\s*end-code")
IGNORE = re.compile(r"#\s*(?:mlrun|nuclio|millrace)\s*:\s*ignore")
SHELL = re.compile(r"^\s*[%!]", re.MULTILINE)


def read_code(filename: str) -> str:
    """The Python text of a ``.py`` file or of the code cells of an ``.ipynb`` notebook.

    Cells marked ``# mlrun: ignore`` (or ``nuclio:``, ``millrace:``) are left out, as are shell lines and magics. With
    ``# mlrun: start-code`` and ``# mlrun: end-code`` only what lies between counts.
    """
    path = Path(filename)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"the code file '{filename}' can not be read: {error.strerror}") from error
    if path.suffix != ".ipynb":
        return text
    try:
        cells = json.loads(text)["cells"]
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"'{filename}' is not a notebook: {error}") from error
    sources = ["".join(cell["source"]) for cell in cells if cell.get("cell_type") == "code"]
    return "\n\n".join(_relevant(sources))


def _relevant(sources: list[str]) -> list[str]:
    start = next((place for place, source in enumerate(sources) if START.search(source)), None)
    if start is not None:
        sources = sources[start + 1 :]
        end = next((place for place, source in enumerate(sources) if END.search(source)), len(sources))
        sources = sources[:end]
    kept = [source for source in sources if not IGNORE.search(source) and not source.lstrip().startswith("%%")]
    return [SHELL.sub("# ", source) for source in kept]


def load_code(filename: str, *, fresh: bool = False) -> ModuleType:
    """The code of a file as a module. It runs once, unless `fresh`; what it raises names the file.

    The module's folder is on ``sys.path`` while it runs, so that it can import its neighbours.
    """
    path = Path(filename).resolve()
    digest = hashlib.sha1(str(path).encode(), usedforsecurity=False).hexdigest()[:8]
    name = f"{CODE_MODULE}{re.sub(r'[^0-9a-zA-Z]', '_', path.stem)}_{digest}"
    if name in sys.modules and not fresh:
        return sys.modules[name]
    code = read_code(str(path))
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        exec(compile(code, str(path), "exec"), vars(module))
    except Exception as error:
        del sys.modules[name]
        line = _line_in(error, str(path))
        raise SpecError(f"'{filename}' does not import: {type(error).__name__}: {error}{line}") from error
    _pickle_by_value(module)
    return module


def _line_in(error: Exception, path: str) -> str:
    if isinstance(error, SyntaxError):
        return ""
    trace, line = error.__traceback__, None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f" (line {line})" if line else ""


def _pickle_by_value(module: ModuleType) -> None:
    import cloudpickle  # noqa: PLC0415 - only when a function has code of its own

    cloudpickle.register_pickle_by_value(module)
