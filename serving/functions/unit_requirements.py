"""What is installed with a deployed function, and whether that brings all that its code imports."""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Iterable, Mapping

from ... import __version__
from ...errors import SpecError
from ..deploy.trigger import PASSWORD_IN_URL

NAME = re.compile(r"\s*([A-Za-z0-9][-A-Za-z0-9._]*)\s*(?:\[([^\]]*)\])?")
FILE = re.compile(r"\s*(-[rce]|--(requirement|constraint|editable)\b|\.{1,2}/|file:)")
EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


def millrace_requirement(extras: Iterable[str], *, wheel: str | None = None) -> str:
    """What ``pip`` installs of Millrace: this version, with the clients of the graph's streams.

    >>> millrace_requirement(["v3io", "confluent"], wheel="millrace-0.1.0-py3-none-any.whl")
    './millrace-0.1.0-py3-none-any.whl[confluent,v3io]'
    """
    listed = ",".join(sorted(set(extras)))
    suffix = f"[{listed}]" if listed else ""
    return f"./{wheel}{suffix}" if wheel else f"millrace{suffix}=={__version__}"


def check_requirements(requirements: Iterable[str], *, function: str) -> None:
    """Refuse what ``pip`` would look for in files of this machine, and several requirements in one text.

    :raises SpecError: a requirement names a file, or has a second line

    >>> check_requirements(["-r a.txt"], function="f")
    Traceback (most recent call last):
    millrace.errors.SpecError: function 'f': the requirement '-r a.txt' is a file of this machine, and not there when \
packages are installed; name the packages themselves
    """
    for one in requirements:
        if "\n" in one.strip():
            raise SpecError(f"function '{function}': the requirement {one!r} has several lines; give a list of them")
        if PASSWORD_IN_URL.search(one):
            address = one.partition("://")[0]
            raise SpecError(
                f"function '{function}': a requirement that begins with '{address}://' holds a password, which is "
                "never written; use an image that has the package, or whose pip.conf has the index"
            )
        if FILE.match(one):
            raise SpecError(
                f"function '{function}': the requirement '{one}' is a file of this machine, and not there when "
                "packages are installed; name the packages themselves"
            )


def check_commands(commands: Iterable[str], *, function: str) -> tuple[str, ...]:
    """The commands that build an image, each of which is one instruction there.

    :raises SpecError: one has a second line, without a backslash at the end of the first

    >>> check_commands(["apt-get update "], function="f")
    ('apt-get update',)
    """
    found = tuple(one.strip().replace("\r\n", "\n") for one in commands)
    for one in found:
        if any(not line.endswith("\\") for line in one.split("\n")[:-1]):
            raise SpecError(
                f"function '{function}': the command {one!r} has several lines; give each as a command of its own, or "
                "join them with '&&'"
            )
    return found


def check_imports(imports: Mapping[str, str], own: set[str], requirements: Iterable[str], *, function: str) -> None:
    """Refuse code that would fail as soon as it is loaded, since nothing installs what it imports.

    Nothing is said where that can not be known: a requirement is not installed here, or is no plain name.

    :param imports: the modules that are imported as the code is loaded, and who does it
    :param own: the names of modules that go with the code
    :raises SpecError: an import has no requirement
    """
    foreign = {module: who for module, who in imports.items()
               if module not in sys.stdlib_module_names and module not in own and module != "millrace"}  # fmt: skip
    brought = _brought(requirements) if foreign else None
    if brought is None:
        return
    packages = importlib.metadata.packages_distributions()
    for module, who in foreign.items():
        names = {_canonical(name) for name in packages.get(module, ())}
        if names & brought:
            continue
        if not names:
            raise SpecError(
                f"function '{function}': {who} imports '{module}', which is neither beside the function's code "
                "file nor in a package that is installed here; put it there, or name its package in requirements="
            )
        raise SpecError(
            f"function '{function}': {who} imports '{module}', and nothing installs it there; "
            f"add requirements=['{min(names)}'], or an image= that has it"
        )


def without(requirements: Iterable[str], others: Iterable[str]) -> list[str]:
    """The requirements of packages that the others do not name: a child function's own replace its parent's.

    >>> without(["pandas==2.2.3", "requests"], ["Pandas<2"])
    ['requests']
    """
    named = {parsed[0] for one in others if (parsed := _parsed(one)) is not None}
    return [one for one in requirements if (parsed := _parsed(one)) is None or parsed[0] not in named]


def _brought(requirements: Iterable[str]) -> set[str] | None:
    """The names of all packages that requirements bring, or ``None`` where it is not known."""
    found: set[tuple[str, str]] = set()
    todo = [_parsed(one) for one in requirements]
    while todo:
        one = todo.pop()
        if one is None:
            return None
        name, extras = one
        for extra in ("", *extras):
            if (name, extra) in found:
                continue
            found.add((name, extra))
            try:
                listed = importlib.metadata.requires(name) or []
            except importlib.metadata.PackageNotFoundError:
                return None
            todo += [parsed for text in listed if _applies(text, extra) and (parsed := _parsed(text)) is not None
                     and _is_installed(parsed[0])]  # fmt: skip
    return {name for name, _ in found}


def _parsed(requirement: str) -> tuple[str, tuple[str, ...]] | None:
    """Name and extras of a requirement; ``None`` for a path, an address or an option of ``pip``."""
    if requirement.startswith("./millrace-"):
        requirement = f"millrace{requirement[requirement.find('['):] if '[' in requirement else ''}"
    if requirement.lstrip().startswith(("-", ".", "/")) or "://" in requirement.partition(";")[0]:
        return None
    match = NAME.match(requirement)
    if match is None:
        return None
    return _canonical(match[1]), tuple(one.strip() for one in (match[2] or "").split(",") if one.strip())


def _applies(requirement: str, extra: str) -> bool:
    asked = EXTRA.search(requirement.partition(";")[2])
    return asked[1] == extra if asked else True


def _is_installed(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False  # for another system or Python, as its marker says
    return True


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
