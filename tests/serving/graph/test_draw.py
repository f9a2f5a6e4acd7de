"""Pictures of graphs: what is drawn, as Graphviz and as Mermaid, and where the files go."""

from __future__ import annotations

import re
import shutil
import subprocess

import graphviz
import pytest

from millrace.errors import GraphError, MissingProgram
from millrace.serving.graph import FlowStep, RouterStep
from millrace.serving.graph.draw import plot
from millrace.serving.graph.mermaid import to_mermaid

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot (graphviz) is not installed")


def edges(source: str) -> set[str]:
    return {line.strip().split(" [")[0].replace('"', "") for line in source.splitlines() if "->" in line}


def mermaid_edges(text: str) -> list[str]:
    """The arrows of a flowchart, with the labels of nodes and frames in place of their ids."""
    names = dict(re.findall(r'(n\d+)[(\[{]+"(.*?)(?:<br/>.*?)?"', text))
    arrows = re.findall(r'(n\d+) (-->|-\.->) (?:\|"(.*?)"\| )?(n\d+)', text)
    return [f"{names[a]} {arrow} {label and label + ' '}{names[b]}" for a, arrow, label, b in arrows]


def ensemble() -> FlowStep:
    graph = FlowStep(engine="async")
    graph.to(name="pre-process", class_name="Echo").error_handler("catcher")
    router = graph.add_step("*mlrun.serving.VotingEnsemble", "ensemble", after="pre-process")
    router.add_route("m1", class_name="ClassifierModel")
    router.add_route("m2:v1", class_name="ClassifierModel")
    graph.add_step("Echo", "final", after="ensemble").respond()
    graph.add_step(name="catcher", handler="error_catcher", full_event=True, after="")
    return graph


def pipeline() -> FlowStep:
    graph = FlowStep(engine="async")
    queue = graph.to(name="load_url", handler="load_url").to(">>", "q1", path="kafka://user:secret@broker/topic")
    nlp = queue.to("ApplyNLP", "nlp", function="enrich").to("printer", "printer", function="enrich")
    nlp.to(">>", "out", path="p")
    return graph


def test_shapes_are_those_that_users_of_mlrun_know():
    graph = ensemble()
    graph["final"].to(">>", "q", path="p")
    shapes = dict(re.findall(r'^\s*"?([^"\s]+)"? \[label=.*shape=(\w+)', plot(graph).source, re.MULTILINE))
    assert shapes == {
        "%start": "egg", "pre-process": "ellipse", "ensemble": "doubleoctagon", "ensemble/m1": "ellipse",
        "ensemble/m2%3Av1": "ellipse", "final": "ellipse", "catcher": "ellipse", "q": "cds",
    }  # fmt: skip


def test_edges_follow_the_steps_and_leave_a_router_at_its_frame():
    source = plot(ensemble()).source
    assert edges(source) == {
        "%start -> pre-process", "pre-process -> ensemble", "ensemble -> ensemble/m1", "ensemble -> ensemble/m2%3Av1",
        "ensemble/m2%3Av1 -> final", "pre-process -> catcher",
    }  # fmt: skip
    assert re.search(r"-> final \[ltail=cluster_ensemble\]", source)


def test_the_edge_to_a_catcher_is_dashed():
    (line,) = [line for line in plot(ensemble()).source.splitlines() if "-> catcher" in line]
    assert "style=dashed" in line


def test_the_responder_is_marked():
    marked = [line.split()[0] for line in plot(ensemble()).source.splitlines() if ">responds<" in line]
    assert marked == ["final"]


def test_steps_of_a_child_function_stand_in_its_frame_and_queues_outside():
    source = plot(pipeline()).source
    frame = source[source.index("subgraph") : source.index("}", source.index("subgraph"))]
    assert "function enrich" in frame
    assert re.findall(r"^\t\t(\w+) \[", frame, re.MULTILINE) == ["nlp", "printer"]


def test_a_password_in_an_address_is_not_drawn():
    assert "secret" not in plot(pipeline()).source + to_mermaid(pipeline())
    assert "kafka://broker/topic" in plot(pipeline()).source


def test_a_nested_flow_is_a_frame_that_arrows_end_at():
    graph = FlowStep()
    graph.to(name="first", handler="(event)")
    graph.add_flow("prepare", after="first").to(name="strip", handler="(event)").to(name="lower", handler="(event)")
    graph.add_step(name="last", handler="(event)", after="prepare")
    source = plot(graph).source
    assert 'first -> "prepare/strip" [lhead=cluster_prepare]' in source
    assert '"prepare/lower" -> last [ltail=cluster_prepare]' in source


def test_a_cycle_goes_back_without_turning_the_picture():
    graph = FlowStep()
    graph.to(name="a", handler="(event)").to(name="b", handler="(event)").cycle_to("a", max_iterations=5)
    (line,) = [line for line in plot(graph).source.splitlines() if "b -> a" in line]
    assert "at most 5 times" in line
    assert "constraint=false" in line


def test_a_catcher_of_the_whole_graph_catches_from_any_step():
    graph = FlowStep()
    graph.to(name="a", handler="(event)")
    graph.error_handler(name="catcher", handler="(event)")
    assert "%any -> catcher" in edges(plot(graph).source)
    assert "any step -.-> catcher" in mermaid_edges(to_mermaid(graph))


@pytest.mark.parametrize("name", ["a:b", 'say "hi"', "a b", "<b>&amp;", "node", "end", "%start", "__x__", "é\\n"])
@needs_dot
def test_any_name_is_drawn_as_it_is_written(name):
    graph = FlowStep()
    graph.add_step(name=name, handler="(event)")
    drawn = subprocess.run(["dot", "-Tplain"], input=plot(graph).source, capture_output=True, text=True, check=True)
    assert len([line for line in drawn.stdout.splitlines() if line.startswith("node ")]) == 2
    assert len([line for line in drawn.stdout.splitlines() if line.startswith("edge ")]) == 1
    assert drawn.stderr == ""


def test_a_step_called_like_a_mark_of_the_picture_is_a_node_of_its_own():
    graph = FlowStep()
    graph.add_step(name="%start", handler="(event)")
    assert edges(plot(graph).source) == {"%start -> %25start"}


def test_an_unfinished_graph_is_drawn_as_far_as_it_is():
    graph = FlowStep()
    graph.to(name="a", handler="(event)").error_handler("nobody")
    graph.add_flow("empty", after="a")
    assert "a -> empty/%empty" in edges(plot(graph).source)
    assert to_mermaid(FlowStep()).startswith("flowchart LR")


def test_a_router_alone_is_drawn_with_its_routes():
    router = RouterStep()
    router.add_route("m1", class_name="Model")
    router.add_route("a%b", class_name="Model")
    assert edges(plot(router).source) == {"%start -> router", "router -> router/m1", "router -> router/a%25b"}


def test_attributes_are_those_of_the_graph_and_a_misspelt_one_is_an_error():
    assert "rankdir=TB" in plot(ensemble(), rankdir="TB").source
    assert "rankdir=LR" in plot(ensemble()).source
    with pytest.raises(GraphError, match="no graph attribute 'rankdr'; did you mean 'rankdir'"):
        plot(ensemble(), rankdr="TB")


@needs_dot
@pytest.mark.parametrize(("name", "magic"), [("g.svg", b"<?xml"), ("g.png", b"\x89PNG"), ("g.pdf", b"%PDF")])
def test_a_picture_is_written_in_the_format_of_its_name(tmp_path, name, magic):
    plot(ensemble(), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)


@needs_dot
def test_a_notebook_shows_the_graph_as_svg():
    assert "<svg" in plot(ensemble())._repr_mimebundle_()["image/svg+xml"]


@pytest.mark.parametrize("suffix", ["dot", "gv"])
def test_the_text_is_written_without_the_program(tmp_path, monkeypatch, suffix):
    monkeypatch.setenv("PATH", str(tmp_path))
    drawing = plot(ensemble(), str(tmp_path / f"g.{suffix}"))
    assert (tmp_path / f"g.{suffix}").read_text() == drawing.source


def test_a_missing_program_is_an_error_that_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingProgram, match=r"'dot'.*apt install graphviz.*brew install graphviz.*to_mermaid"):
        plot(ensemble(), tmp_path / "g.svg")
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_without_the_program_shows_mermaid(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    shown = plot(ensemble())._repr_mimebundle_()
    assert shown["text/markdown"] == f"```mermaid\n{to_mermaid(ensemble())}```"
    assert "apt install graphviz" in shown["text/plain"]


def test_an_unknown_format_is_an_error_and_a_missing_suffix_is_added(tmp_path):
    with pytest.raises(GraphError, match="no format 'svgg'; did you mean 'svg"):
        plot(ensemble(), tmp_path / "g.svgg")
    with pytest.raises(GraphError, match=r"can not be of format 'dot'"):
        plot(ensemble(), tmp_path / "g.svg", format="dot")
    plot(ensemble(), tmp_path / "g", format="dot")
    assert (tmp_path / "g.dot").exists()


def test_mermaid_shows_the_same_edges():
    assert sorted(mermaid_edges(to_mermaid(ensemble()))) == [
        "ensemble --> m1", "ensemble --> m2:v1", "ensemble: routes --> final", "pre-process --> ensemble",
        "pre-process -.-> catcher", "start --> pre-process",
    ]  # fmt: skip


def test_mermaid_frames_child_functions():
    text = to_mermaid(pipeline())
    frame = text[text.index("subgraph") : text.index("    end")]
    assert re.findall(r'"(\w[\w ]*)', frame) == ["function enrich", "nlp", "printer"]


def test_mermaid_reads_names_as_text():
    graph = FlowStep()
    graph.to(name='say "hi" <b>#1', handler="(event)").to(name="end", handler="(event)")
    text = to_mermaid(graph)
    assert "say #34;hi#34; #60;b#62;#35;1" in text
    assert not re.search(r"^\s*end\W", text.replace("    end\n", ""), re.MULTILINE)


def test_what_plot_returns_is_a_graphviz_graph():
    assert isinstance(plot(ensemble()), graphviz.Digraph)
