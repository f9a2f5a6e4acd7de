"""The notebooks of the examples execute from the first cell to the last, in a kernel of their own."""

from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from sklearn.datasets import load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.timeout(120)


def printed(path: Path) -> str:
    notebook = nbformat.read(path, as_version=4)
    assert all(not cell.get("outputs") for cell in notebook.cells), "notebooks are kept without outputs"
    NotebookClient(notebook, timeout=60, kernel_name="python3", resources={"metadata": {"path": path.parent}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any({"image/svg+xml", "text/markdown"} & output.get("data", {}).keys() for output in outputs), "no drawing"
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def test_router_notebook_executes_and_its_models_answer_as_scikit_learn_does():
    x, y = load_iris(return_X_y=True)
    first = LogisticRegression(max_iter=1000).fit(x, y)
    second = DecisionTreeClassifier(max_depth=2, random_state=0).fit(x, y)
    lines = printed(EXAMPLES / "router" / "router.ipynb").splitlines()
    assert lines[0] == f"model1 {(first.predict(x) == y).sum()} of 150 right"
    assert lines[1] == f"model2 {(second.predict(x) == y).sum()} of 150 right"
    assert lines[2] == str(first.predict_proba(x[:1]).round(3).tolist())
    assert "model 'model3' does not exist" in lines[3] and "did you mean" in lines[3]


def test_ensemble_notebook_executes_and_votes_as_scikit_learn_does():
    wine = load_wine()
    x, y = wine.data[::2], wine.target[::2]
    models = [
        ("m1", make_pipeline(StandardScaler(), LogisticRegression())),
        ("m2", RandomForestClassifier(n_estimators=20, random_state=0)),
    ]
    voted = VotingClassifier(models).fit(x, y).predict(wine.data[1::2])
    lines = printed(EXAMPLES / "ensemble" / "ensemble.ipynb").splitlines()[-4:]
    assert lines[0] == f"{np.sum(voted == wine.target[1::2])} of {len(voted)} wines right"
    assert "'step': 'loads'" in lines[1]
    assert lines[2] == "None"
    alone = models[1][1].fit(x, y).predict(wine.data[1:2])
    assert lines[3] == str({"cultivars": wine.target_names[alone].tolist()})
