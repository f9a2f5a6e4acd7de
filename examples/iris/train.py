"""Trains two small models on the iris data and writes them to `.demo/models`; what is there already is kept."""

from pathlib import Path

import cloudpickle
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

FOLDER = Path(__file__).resolve().parents[2] / ".demo" / "models"
MODELS = {
    "logistic": LogisticRegression(max_iter=1000),
    "forest": RandomForestClassifier(n_estimators=20, random_state=0),
}


def train(folder: Path = FOLDER) -> None:
    """Train the models that `folder` lacks, and say what is done."""
    iris = load_iris()
    species = iris.target_names[iris.target]
    x_train, x_test, y_train, y_test = train_test_split(iris.data, species, random_state=0, stratify=species)
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in MODELS.items():
        file = folder / f"{name}.pkl"
        if file.exists():
            print(f"==> {name}: trained before, {file}")
            continue
        model.fit(x_train, y_train)
        unfinished = file.with_suffix(".part")
        unfinished.write_bytes(cloudpickle.dumps(model))
        unfinished.replace(file)
        print(f"==> {name}: trained, {model.score(x_test, y_test):.0%} of the test flowers right, {file}")


if __name__ == "__main__":
    train()
