"""The example scripts run as a user runs them, and print what scikit-learn computes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

EXAMPLES = Path(__file__).parents[2] / "examples"
# Read off the text by eye: (paragraph, kind, text, value).
ENTITIES = [
    (3, "name", "Domesday Book", ""), (3, "year", "1086", " = 1086"),
    (4, "name", "John Smeaton", ""), (4, "year", "1759", " = 1759"), (4, "name", "Royal Society", ""),
    (4, "length", "0.6 metres", " = 0.6"),
    (5, "name", "Richard Arkwright", ""), (5, "year", "1771", " = 1771"), (5, "name", "Laxey Wheel", ""),
    (5, "name", "Isle of Man", ""), (5, "year", "1854", " = 1854"), (5, "length", "22.1 metres", " = 22.1"),
    (6, "name", "Benoit Fourneyron", ""), (6, "year", "1827", " = 1827"), (6, "name", "James Francis", ""),
    (6, "length", "9 kilometres", " = 9000"), (6, "name", "Lester Pelton", ""), (6, "year", "1880", " = 1880"),
    (7, "name", "Niagara Falls", ""), (7, "length", "30 kilometres", " = 30000"), (7, "year", "1896", " = 1896"),
]  # fmt: skip


def run(script: str, folder: Path) -> list[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    command = [sys.executable, str(EXAMPLES / script)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_router_serves_the_hub_function_and_an_own_class_alike(tmp_path):
    x, y = load_iris(return_X_y=True)
    first = LogisticRegression(max_iter=1000).fit(x, y)
    second = DecisionTreeClassifier(max_depth=2, random_state=0).fit(x, y)
    right = [(model.predict(x) == y).sum() for model in (first, second)]
    assert run("router/router.py", tmp_path) == [
        f"v2-model-server model1: {right[0]} of 150 right",
        f"v2-model-server model2: {right[1]} of 150 right",
        f"own-class model1: {right[0]} of 150 right",
        f"own-class model2: {right[1]} of 150 right",
        str(first.predict_proba(x[:1]).round(3).tolist()),
    ]


def test_ensemble_answers_as_scikit_learn_votes_and_its_catcher_and_filter_work(tmp_path):
    wine = load_wine()
    linear = make_pipeline(StandardScaler(), LogisticRegression())
    forest = RandomForestClassifier(n_estimators=20, random_state=0)
    voting = VotingClassifier([("m1", linear), ("m2", forest)]).fit(wine.data[::2], wine.target[::2])
    expected = wine.target_names[voting.predict(wine.data[1::2][::30])].tolist()
    lines = run("ensemble/ensemble.py", tmp_path)
    assert lines[0] == "flowchart LR"
    assert lines[-3:-1] == [str({"cultivars": expected}), "None"]
    assert lines[-1].startswith("{'refused': 'Expecting property name") and lines[-1].endswith("'step': 'loads'}")


def test_pipeline_finds_what_a_reader_finds_in_the_text(tmp_path):
    lines = run("nlp/pipeline.py", tmp_path)
    assert lines[0] == "7 paragraphs"
    expected = [f"{paragraph} {kind}: {text}{value}" for paragraph, kind, text, value in ENTITIES]
    assert [line.split(" (")[0] for line in lines[1:]] == expected


def test_keywords_are_words_that_the_other_paragraphs_use_less(tmp_path):
    paragraphs = (EXAMPLES / "nlp" / "water_wheels.txt").read_text(encoding="utf-8").lower().split("\n\n")
    for line in run("nlp/pipeline.py", tmp_path)[1:]:
        here = paragraphs[int(line[0]) - 1]
        for word in line.split("(")[1].rstrip(")").split(", "):
            used_in = np.mean([word in paragraph for paragraph in paragraphs])
            assert word in here
            assert here.count(word) > 1 or used_in < 0.5


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("*.py")), ids=lambda path: path.name)
def test_every_example_file_fits_on_a_screen(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
