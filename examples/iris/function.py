"""The iris function: two scikit-learn models behind a router that lets them vote.

Serve it with `millrace serve examples/iris/function.py` once `train.py` has made the models.
"""

from pathlib import Path

import cloudpickle
import numpy as np

import millrace

MODELS = Path(__file__).resolve().parents[2] / ".demo" / "models"
MEASUREMENTS = [{"name": "measurements", "datatype": "FP64", "shape": [-1, 4]}]
SPECIES = [{"name": "species", "datatype": "BYTES", "shape": [-1]}]


class IrisModel(millrace.serving.V2ModelServer):
    """Names the species of flowers, each given as sepal length, sepal width, petal length and petal width in cm."""

    def load(self):
        model_file, _ = self.get_model(".pkl")
        with open(model_file, "rb") as file:
            self.model = cloudpickle.load(file)

    def predict(self, request):
        return self.model.predict(np.asarray(request["inputs"])).tolist()


fn = millrace.new_function("iris", kind="serving", requirements=["scikit-learn"])
fn.set_topology("router", "millrace.serving.VotingEnsemble", name="iris", outputs=SPECIES)
for name in ("logistic", "forest"):
    fn.add_model(name, class_name=IrisModel, model_path=MODELS / f"{name}.pkl", inputs=MEASUREMENTS, outputs=SPECIES)
