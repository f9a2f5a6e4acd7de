"""The picture of a graph in the text language of Mermaid, which many editors and wikis draw."""

from __future__ import annotations

import re
from collections.abc import Iterator

from .flow import FlowStep
from .picture import Group, Node, picture_of, style_of
from .router import RouterStep

SHAPES = {"start": ("([", "])"), "task": ("(", ")"), "router": ("{{", "}}"), "queue": ("[(", ")]"), "any": ("[", "]")}
ARROWS = {"next": "-->", "route": "-->", "error": "-.->", "cycle": "-->"}
STYLES = {
    "start": "fill:#eceff1,stroke:#607d8b,color:#263238",
    "task": "fill:#e3f2fd,stroke:#5c8fb8,color:#102a43",
    "router": "fill:#ede7f6,stroke:#7e57c2,color:#2b1b4d",
    "queue": "fill:#fff3e0,stroke:#d08a2e,color:#4a2c00",
    "any": "fill:none,stroke:none,color:#b3413a",
    "catcher": "fill:#fdecea,stroke:#c0504a,color:#5f1512,stroke-dasharray:4 3",
    "responder": "fill:#e3f4e4,stroke:#2e7d32,color:#12361a,stroke-width:2.5px",
    "function": "fill:#f4f8f4,stroke:#7a9a7e,color:#2f4a33",
    "frame": "fill:#fafafa,stroke:#9aa5b1,color:#3e4c59",
}


def to_mermaid(root: FlowStep | RouterStep) -> str:
    """A graph as the text of a Mermaid flowchart.

    >>> graph = FlowStep()
    >>> _ = graph.to(name="strip", handler="(event.strip())").respond()
    >>> print("\\n".join(to_mermaid(graph).splitlines()[:4]))
    flowchart LR
        n0(["start"]):::start
        n1("strip<br/>(event.strip())<br/>responds"):::responder
        n0 --> n1
    """
    picture = picture_of(root)
    names: dict[Node | Group, str] = {}
    used: dict[str, None] = {}
    lines = ["flowchart LR", *_member_lines(picture.members, names, used, "    ")]
    for edge in picture.edges:
        label = f'|"{_escaped(edge.label)}"| ' if edge.label else ""
        lines.append(f"    {names[edge.source]} {ARROWS[edge.kind]} {label}{names[edge.target]}")
    lines += [f"    classDef {style} {STYLES[style]}" for style in used]
    return "\n".join(lines) + "\n"


def _member_lines(
    members: list[Node | Group], names: dict[Node | Group, str], used: dict[str, None], indent: str
) -> Iterator[str]:
    # Numbered names: a step may be called "end" or "a b", which Mermaid would take for words of its own.
    for one in members:
        names[one] = name = f"n{len(names)}"
        style = style_of(one) if isinstance(one, Node) else "function" if one.kind == "function" else "frame"
        used[style] = None
        if isinstance(one, Node):
            left, right = SHAPES[one.kind]
            parts = (one.label, one.detail, "responds" if one.responder else "")
            label = "<br/>".join(_escaped(part) for part in parts if part)
            yield f'{indent}{name}{left}"{label}"{right}:::{style}'
        else:
            yield f'{indent}subgraph {name}["{_escaped(one.label)}"]'
            yield from _member_lines(one.members, names, used, f"{indent}    ")
            yield f"{indent}end"
            yield f"{indent}class {name} {style}"


def _escaped(text: str) -> str:
    """Text for a label in quotes: what Mermaid, HTML or Markdown would read becomes a character code."""
    return re.sub(r"[#\"<>&`\\*~\n]|(?<!\w)_|_(?!\w)", lambda found: f"#{ord(found[0])};", text)
