"""A function's own code: a Python file or a notebook, loaded as a module of its own."""

from __future__ import annotations

import linecache
import re
import sys
from pathlib import Path
from types import ModuleType

from ...errors import SpecError
from ..graph.plain import CODE_MODULE

MARK = r"#\s*(?:mlrun|nuclio|millrace)\s*:\s*"
START, END, IGNORE = re.compile(MARK + "start-code"), re.compile(MARK + "end-code"), re.compile(MARK + "ignore")
SHELL = re.compile(r"^([ \t]*)([%!].*|[\w.]+ *= *[%!].*|\?.*|.*\?[ \t]*)$", re.MULTILINE)
MEASURING = re.compile(r"\s*%%(?:time|timeit|capture|prun)\b.*")
DIGEST = "__millrace_digest__"

Piece = tuple[str, str]


def read_code(filename: str) -> str:
    """The Python text of a ``.py`` file or of the code cells of an ``.ipynb`` notebook.

    Cells marked ``# mlrun: ignore`` (or ``nuclio:``, ``millrace:``) are left out, as are shell lines and magics. With
    ``# mlrun: start-code`` and ``# mlrun: end-code`` only what lies between counts.
    """
    return "\n\n".join(source for _, source in read_pieces(filename))


def read_pieces(filename: str) -> list[Piece]:
    """The code of a file in pieces that have a place each: the file, or every cell of a notebook."""
    path = Path(filename)
    try:
        text = path.read_text(encoding="utf-8-sig")  # Windows' editors begin with a mark, which Python skips too
    except UnicodeDecodeError as error:
        raise SpecError(f"the code file '{filename}' is not UTF-8 text: {error}") from error
    except OSError as error:
        raise SpecError(f"the code file '{filename}' can not be read: {error.strerror}") from error
    if path.suffix != ".ipynb":
        return [(str(path), text)]
    import json  # noqa: PLC0415 - for start-up: only for notebooks

    try:
        cells = enumerate(json.loads(text)["cells"], 1)
        sources = [(f"{path}, cell {n}", "".join(cell["source"])) for n, cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError) as error:
        raise SpecError(f"'{filename}' is not a notebook: {type(error).__name__}: {error}") from error
    return [(place, without_magics(source)) for place, source in _relevant(sources)]


def _relevant(cells: list[Piece]) -> list[Piece]:
    start = next((n for n, (_, source) in enumerate(cells) if START.search(source)), None)
    if start is not None:
        cells = cells[start + 1 :]
        end = next((n for n, (_, source) in enumerate(cells) if END.search(source)), len(cells))
        cells = cells[:end]
    return [(place, source) for place, source in cells if not IGNORE.search(source)]


def without_magics(source: str) -> str:
    """A notebook cell as Python: ``%magic``, ``!shell`` and ``help?`` lines and other languages do nothing.

    >>> without_magics("!pip install x\\ny = 1")
    'pass  # !pip install x\\ny = 1'
    """
    if MEASURING.match(source):
        source = source.partition("\n")[2]
    if source.lstrip().startswith("%%"):
        return ""
    try:
        compile(source, "cell", "exec")
    except (SyntaxError, ValueError):
        return SHELL.sub(r"\1pass  # \2", source)
    return source


def load_code(filename: str, *, fresh: bool = False) -> ModuleType:
    """The code of a file as a module. It runs once, and again when the text has changed; what it raises names the file.

    The code can import its neighbours, behind what is installed: the file's folder stands in ``sys.path`` before those
    of other such files, and a neighbour of the same name that one of them has imported is not taken for it.
    """
    path = Path(filename).resolve()
    pieces = read_pieces(filename)
    name = f"{CODE_MODULE}{re.sub(r'[^0-9a-zA-Z]', '_', path.stem)}_{_digest(str(path))[:8]}"
    digest = _digest("\0".join(source for _, source in pieces))
    known = sys.modules.get(name)
    if known is not None and not fresh and getattr(known, DIGEST, None) == digest:
        return known
    module = ModuleType(name)
    module.__file__ = str(path)
    setattr(module, DIGEST, digest)
    _search_first(str(path.parent))
    sys.modules[name] = module
    try:
        for place, source in pieces:
            _run(source, str(path) if path.suffix != ".ipynb" else place, module)
    except (Exception, SystemExit) as error:
        _put_back(name, known)
        places = [str(path), *(place for place, _ in pieces)]
        raise SpecError(f"'{filename}' does not import: {_told(error)}{_line_in(error, places)}") from error
    _pickle_by_value(module)
    return module


_folders: set[str] = set()
"""Those that are in ``sys.path`` for the neighbours of a file."""


def _search_first(folder: str) -> None:
    if folder in sys.path:
        if folder not in _folders:
            return  # somebody else put it there
        sys.path.remove(folder)
    places = [place for place, one in enumerate(sys.path) if one in _folders]
    sys.path.insert(places[0] if places else len(sys.path), folder)
    _folders.add(folder)
    for neighbour in Path(folder).glob("*.py"):
        known = getattr(sys.modules.get(neighbour.stem), "__file__", None)
        if known is not None and str(Path(known).parent) in _folders - {folder}:
            del sys.modules[neighbour.stem]


def _digest(text: str) -> str:
    import hashlib  # noqa: PLC0415 - for start-up: only for functions with a file

    return hashlib.sha1(text.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()


def _run(source: str, place: str, module: ModuleType) -> None:
    code = compile(source, place, "exec", dont_inherit=True)
    if place != module.__file__:
        linecache.cache[place] = (len(source), None, source.splitlines(keepends=True), place)
    exec(code, vars(module))


def _put_back(name: str, module: ModuleType | None) -> None:
    """Let the module that was there before a failed attempt be found again."""
    if module is None:
        del sys.modules[name]
    else:
        sys.modules[name] = module


def _told(error: BaseException) -> str:
    if isinstance(error, SystemExit):
        return f"it ends the program: SystemExit({error.code!r})"
    return f"{type(error).__name__}: {error}"


def _line_in(error: BaseException, places: list[str]) -> str:
    if isinstance(error, SyntaxError):
        return ""
    found, trace = "", error.__traceback__
    while trace is not None:
        where = trace.tb_frame.f_code.co_filename
        if where in places:
            cell = where.rpartition(", ")[2] if where.rpartition(", ")[2].startswith("cell ") else ""
            found = f" ({cell}{', ' if cell else ''}line {trace.tb_lineno})"
        trace = trace.tb_next
    return found


def _pickle_by_value(module: ModuleType) -> None:
    import cloudpickle  # noqa: PLC0415 - only when a function has code of its own

    cloudpickle.register_pickle_by_value(module)


