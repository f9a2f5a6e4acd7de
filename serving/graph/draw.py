"""Graphs as pictures by Graphviz: shown in a notebook, or written as svg, png, pdf or dot files."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import singledispatch
from pathlib import Path
from typing import Any

import graphviz

from ...errors import GraphError, MissingProgram, near
from .flow import FlowStep
from .mermaid import to_mermaid
from .picture import Edge, Group, Node, picture_of, style_of
from .router import RouterStep
from .step import warn_inert

TEXT_FORMATS = ("dot", "gv")
WAY_OUT = "apt install graphviz, or brew install graphviz; graph.to_mermaid() needs no program"
FONT = "Helvetica,Arial,sans-serif"
SHAPES = {"start": "egg", "task": "ellipse", "router": "doubleoctagon", "queue": "cds", "any": "plaintext"}
GRAPH = {"compound": "true", "rankdir": "LR", "fontname": FONT, "fontsize": "11", "nodesep": "0.3", "ranksep": "0.45",
         "pad": "0.1"}  # fmt: skip
NODES = {"fontname": FONT, "fontsize": "12", "style": "filled", "margin": "0.08,0.04", "height": "0.5"}
EDGES = {"fontname": FONT, "fontsize": "10", "color": "#52606d", "fontcolor": "#52606d", "arrowsize": "0.7"}
STYLES = {
    "start": {"fillcolor": "#eceff1", "color": "#607d8b"},
    "task": {"fillcolor": "#e3f2fd", "color": "#5c8fb8"},
    "router": {"fillcolor": "#ede7f6", "color": "#7e57c2", "ordering": "out"},
    "queue": {"fillcolor": "#fff3e0", "color": "#d08a2e", "margin": "0.24,0.08"},
    "any": {"style": "", "fontcolor": "#b3413a", "fontsize": "10", "margin": "0.04,0.02", "height": "0.2"},
    "catcher": {"style": "filled,dashed", "fillcolor": "#fdecea", "color": "#c0504a"},
    "responder": {"fillcolor": "#e3f4e4", "color": "#2e7d32", "penwidth": "2"},
}
FRAMES = {
    "function": {"style": "rounded,filled", "fillcolor": "#f4f8f4", "color": "#7a9a7e", "fontcolor": "#2f4a33"},
    "router": {"style": "rounded,dashed", "color": "#9aa5b1", "fontcolor": "#3e4c59"},
    "flow": {"style": "rounded", "color": "#9aa5b1", "fontcolor": "#3e4c59"},
}
ARROWS = {
    "next": {},
    "route": {"color": "#7e57c2", "arrowhead": "open"},
    "error": {"style": "dashed", "color": "#c0504a"},
    # Without constraint=false the way back would count in the ranks, and the graph would not read from left to right.
    "cycle": {"color": "#00796b", "fontcolor": "#00796b", "constraint": "false"},
}
GRAPH_ATTRIBUTES = """
    Damping K URL background bb bgcolor center charset class clusterrank colorscheme comment compound concentrate
    defaultdist dim dimen diredgeconstraints dpi epsilon esep fontcolor fontname fontnames fontpath fontsize
    forcelabels gradientangle href id imagepath inputscale label label_scheme labeljust labelloc landscape
    layerlistsep layers layerselect layersep layout levels levelsgap margin maxiter mclimit mindist mode model
    newrank nodesep nojustify normalize notranslate nslimit nslimit1 oneblock ordering orientation outputorder
    overlap overlap_scaling overlap_shrink pack packmode pad page pagedir quadtree quantum rankdir ranksep ratio
    remincross repulsiveforce resolution root rotate rotation scale searchsize sep showboxes size smoothing
    sortv splines start style stylesheet target tooltip truecolor viewport voro_margin xdotversion
""".split()  # noqa: SIM905 - ninety words in quotes are no better to read
"""What Graphviz knows of a whole graph (https://graphviz.org/docs/graph)."""


class Drawing(graphviz.Digraph):  # type: ignore[misc]
    """A Graphviz graph that a notebook shows, as Mermaid where the program ``dot`` is missing."""

    mermaid = ""

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, Any]:
        """What IPython shows; JupyterLab draws Mermaid in Markdown."""
        try:
            bundle: dict[str, Any] = super()._repr_mimebundle_(include, exclude)
        except graphviz.ExecutableNotFound:
            fault = str(_missing_dot("showing this graph as svg"))
            return {"text/plain": f"{fault}\n\n{self.mermaid}", "text/markdown": f"```mermaid\n{self.mermaid}```"}
        return bundle


def plot(
    root: FlowStep | RouterStep,
    filename: str | Path | None = None,
    format: str | None = None,
    source: Any = None,
    targets: Any = None,
    **attributes: Any,
) -> graphviz.Digraph:
    """Draw a graph.

    :param filename: also write the picture: ``graph.svg``, ``.png``, ``.pdf``, or its text as ``.dot`` or ``.gv``
    :param format: the format, where the name does not end in it; default: svg
    :param attributes: of the whole graph, as Graphviz names them: ``rankdir="TB"``, ``dpi=200``
    :raises MissingProgram: a picture is to be written and the program ``dot`` is not installed; text needs none
    :raises GraphError: no such format or attribute

    >>> graph = FlowStep()
    >>> _ = graph.to(name="double", handler="(event * 2)").respond()
    >>> "double" in plot(graph, rankdir="TB").source
    True
    """
    warn_inert(source=source, targets=targets)
    picture = picture_of(root)
    settings = GRAPH | _checked(attributes)
    drawing = Drawing(picture.name, graph_attr=settings, node_attr=NODES, edge_attr=EDGES)
    drawing.mermaid = to_mermaid(root)
    for member in picture.members:
        _add(member, drawing)
    # Sideways, Graphviz puts the first of several arrows lowest; people read from the top.
    sideways = settings["rankdir"] in ("LR", "RL")
    for edge in reversed(picture.edges) if sideways else picture.edges:
        _add_edge(edge, drawing)
    if filename is not None:
        _write(drawing, Path(filename), format)
    return drawing


def _checked(attributes: Mapping[str, Any]) -> dict[str, str]:
    for name in attributes:
        if name not in GRAPH_ATTRIBUTES:
            raise GraphError(f"plot(): Graphviz has no graph attribute '{name}'{near(name, GRAPH_ATTRIBUTES)}")
    return {name: str(value).lower() if value is True or value is False else str(value)
            for name, value in attributes.items()}  # fmt: skip


# -- the parts of the picture ----------------------------------------------------------------------------------------


@singledispatch
def _add(member: Node | Group, drawing: graphviz.Digraph) -> None:
    """Draw a node, or a group with all in it."""
    raise TypeError(f"a picture has no {type(member).__name__}")


@_add.register
def _(node: Node, drawing: graphviz.Digraph) -> None:
    lines = [html.escape(node.label)]
    if node.detail:
        lines.append(f'<FONT POINT-SIZE="10" COLOR="#52606d">{html.escape(node.detail)}</FONT>')
    if node.responder:
        lines.append('<FONT POINT-SIZE="10" COLOR="#2e7d32">responds</FONT>')
    style = STYLES[node.kind] | STYLES[style_of(node)]
    drawing.node(node.key, f"<{'<BR/>'.join(lines)}>", shape=SHAPES[node.kind], **style)


@_add.register
def _(group: Group, drawing: graphviz.Digraph) -> None:
    frame = {"margin": "12", "labeljust": "l", **FRAMES[group.kind]}
    with drawing.subgraph(name=f"cluster_{group.key}") as inner:
        inner.attr(label=f"<{html.escape(group.label)}>", **frame)
        for member in group.members:
            _add(member, inner)


def _add_edge(edge: Edge, drawing: graphviz.Digraph) -> None:
    attributes = dict(ARROWS[edge.kind])
    # Graphviz joins nodes only; an edge of a frame is one of a node in it, cut off at the frame.
    if isinstance(edge.source, Group):
        attributes["ltail"] = f"cluster_{edge.source.key}"
    if isinstance(edge.target, Group):
        attributes["lhead"] = f"cluster_{edge.target.key}"
    if edge.label:
        attributes["label"] = f"<{html.escape(edge.label)}>"
    drawing.edge(edge.source.exit.key, edge.target.entry.key, **attributes)


# -- files -----------------------------------------------------------------------------------------------------------


def _write(drawing: graphviz.Digraph, path: Path, format: str | None) -> None:
    known = sorted({*graphviz.FORMATS, *TEXT_FORMATS})
    suffix = path.suffix[1:].lower()
    chosen = (format or (suffix if suffix else "svg")).lower()
    if chosen not in known:
        raise GraphError(f"plot(): there is no format '{chosen}'{near(chosen, known)}; use svg, png, pdf or dot")
    if suffix in known and suffix != chosen:
        raise GraphError(f"plot(): '{path}' can not be of format '{chosen}'; leave format= out or name it *.{chosen}")
    if suffix != chosen:
        path = path.with_name(f"{path.name}.{chosen}")
    path.write_bytes(drawing.source.encode() if chosen in TEXT_FORMATS else _rendered(drawing, chosen))


def _rendered(drawing: graphviz.Digraph, format: str) -> bytes:
    try:
        image: bytes = drawing.pipe(format=format)
    except graphviz.ExecutableNotFound as error:
        raise _missing_dot(f"drawing a graph as {format}") from error
    except graphviz.CalledProcessError as error:
        reason = (error.stderr or b"").decode(errors="replace").strip()
        raise GraphError(f"Graphviz could not draw the graph as {format}: {reason or error}") from error
    return image


def _missing_dot(purpose: str) -> MissingProgram:
    return MissingProgram("dot", purpose=purpose, way_out=WAY_OUT)
