"""An asynchronous flow on the wine data: parse, filter, pre-process, let two models vote, post-process, answer."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import cloudpickle
from sklearn.datasets import load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import millrace

WINE = load_wine()
STEPS = Path(__file__).with_name("wine_steps.py")


def train(folder: Path) -> dict[str, Path]:
    """Train and pickle two models; their files by name."""
    models = {
        "m1": make_pipeline(StandardScaler(), LogisticRegression()),
        "m2": RandomForestClassifier(n_estimators=20, random_state=0),
    }
    files = {name: folder / f"{name}.pkl" for name in models}
    for name, model in models.items():
        files[name].write_bytes(cloudpickle.dumps(model.fit(WINE.data[::2], WINE.target[::2])))
    return files


def build(files: dict[str, Path]) -> millrace.ServingFunction:
    """The function with its graph."""
    function = millrace.code_to_function("advanced", filename=str(STEPS), kind="serving")
    graph = function.set_topology("flow", engine="async")
    last = graph.to(name="loads", handler="json.loads").error_handler("catcher")
    last = last.to("storey.Filter", name="filter", _fn='(event["type"] == "infer")')
    last.to("PreProcess", name="pre-process", features=WINE.feature_names)
    router = graph.add_step("*millrace.serving.VotingEnsemble", name="ensemble", after="pre-process")
    for name, file in files.items():
        router.add_route(name, class_name="ModelClass", model_path=str(file))
    graph.add_step("PostProcess", name="final", after="ensemble", names=WINE.target_names.tolist()).respond()
    graph.add_step("ErrorCatch", name="catcher", after="")
    return function


def main() -> None:
    """Ask about wines that the models did not see, and send what is no JSON."""
    rows = [dict(zip(WINE.feature_names, row, strict=True)) for row in WINE.data[1::2].tolist()]
    with TemporaryDirectory() as folder:
        function = build(train(Path(folder)))
        print(function.graph.to_mermaid())
        with function.to_mock_server() as server:
            for request in ({"type": "infer", "wines": rows[::30]}, {"type": "ping"}):
                print(server.test("/v2/models/infer", json.dumps(request), content_type="text/plain"))
            print(server.test("/v2/models/infer", "{no json", content_type="text/plain"))


if __name__ == "__main__":
    main()
