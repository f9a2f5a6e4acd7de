"""Two models behind a router: first served by the ready-made function of the hub, then by a class of one's own."""

from pathlib import Path
from tempfile import TemporaryDirectory

import cloudpickle
import numpy as np
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

import millrace

FLOWERS, SPECIES = load_iris(return_X_y=True)


class ClassifierModel(millrace.serving.V2ModelServer):
    """A pickled classifier, with one operation more than models have by themselves."""

    def load(self):
        model_file, _ = self.get_model(".pkl")
        self.model = cloudpickle.loads(Path(model_file).read_bytes())

    def predict(self, body):
        return self.model.predict(np.asarray(body["inputs"])).tolist()

    def op_probabilities(self, event):
        """Answers `POST /v2/models/<model>/probabilities`."""
        return self.model.predict_proba(np.asarray(event.body["inputs"])).round(3).tolist()


def train(folder: Path) -> dict[str, Path]:
    """Train and pickle two models; their files by name."""
    tree = DecisionTreeClassifier(max_depth=2, random_state=0)
    models = {"model1": LogisticRegression(max_iter=1000), "model2": tree}
    files = {name: folder / f"{name}.pkl" for name in models}
    for name, model in models.items():
        files[name].write_bytes(cloudpickle.dumps(model.fit(FLOWERS, SPECIES)))
    return files


def main() -> None:
    """Serve the models both ways behind a mock server and print what they answer."""
    with TemporaryDirectory() as folder:
        files = train(Path(folder))
        hub = millrace.import_function("hub://v2_model_server")
        own = millrace.new_function("own-class", kind="serving")
        for name, file in files.items():
            hub.add_model(name, model_path=file)
            own.add_model(name, class_name="ClassifierModel", model_path=file)
        for fn in (hub, own):
            with fn.to_mock_server() as server:
                for name in files:
                    answer = server.test(f"/v2/models/{name}/infer", {"inputs": FLOWERS.tolist()})
                    print(f"{fn.name} {name}: {sum(answer['outputs'] == SPECIES)} of {len(SPECIES)} right")
        print(own.invoke("/v2/models/model1/probabilities", {"inputs": FLOWERS[:1].tolist()}))


if __name__ == "__main__":
    main()
