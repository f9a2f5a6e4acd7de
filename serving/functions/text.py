"""Functions as YAML text."""

from __future__ import annotations

import re
from typing import Any

import yaml

from ...errors import SpecError

# the loader and dumper written in C, where PyYAML has them, are ten times as fast
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class _Strict(_Loader):  # type: ignore[misc]
    """Refuses a mapping that has a key twice: the second would silently replace the first."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"'{key.value}' is there twice", key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def dump_yaml(values: dict[str, Any]) -> str:
    """YAML text in the order of the data.

    >>> dump_yaml({"kind": "serving"})
    'kind: serving\\n'
    """
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return text


NO_TEXT_IN_GO = re.compile(r"[yYnN]|[-+]?[.\d][\d_.]*([eE][-+]?[\d_]+)?|[-+]?0[oO][0-7_]+")
"""What PyYAML writes as it is, and the parsers of Kubernetes, Nuclio and compose take for true, false or a number: they
read YAML 1.1 with more words for booleans (https://yaml.org/type/bool.html), and the numbers of YAML 1.2."""


class _Block(_Dumper):  # type: ignore[misc]
    """Writes texts of several lines as lines, and repeats what is there twice instead of referring to it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: Any, text: str) -> Any:
    style = "|" if "\n" in text else "'" if NO_TEXT_IN_GO.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Block.add_representer(str, _text)


def dump_documents(documents: list[dict[str, Any]]) -> str:
    """YAML text of several documents, for people to read: texts of several lines are written as such.

    >>> print(dump_documents([{"a": "x\\ny\\n"}]))
    a: |
      x
      y
    <BLANKLINE>
    """
    text: str = yaml.dump_all(documents, Dumper=_Block, sort_keys=False, allow_unicode=True, width=110)
    return text


def load_yaml(text: str, *, source: str) -> dict[str, Any]:
    """The mapping in YAML text; errors name the file and the line.

    >>> load_yaml("kind: serving", source="f.yaml")
    {'kind': 'serving'}
    """
    try:
        values = yaml.load(text, Loader=_Strict)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise SpecError(f"{source}{line}: not YAML: {getattr(error, 'problem', error)}") from error
    if not isinstance(values, dict):
        raise SpecError(f"{source}: a function is a mapping with kind, metadata and spec")
    return values
