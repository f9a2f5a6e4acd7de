"""A model server for models that pickle, such as those of scikit-learn."""

from __future__ import annotations

from typing import Any

import cloudpickle
import numpy as np

import millrace


class ClassifierModel(millrace.serving.V2ModelServer):
    """Serves a ``.pkl`` file. Unpickling runs code: serve only models that you trust.

    :param model_path: the file, or a folder with one ``.pkl`` file
    """

    def load(self) -> None:
        """Unpickle the model."""
        model_file, _ = self.get_model(".pkl")
        with open(model_file, "rb") as file:
            self.model = cloudpickle.load(file)

    def predict(self, body: dict[str, Any]) -> list[Any]:
        """The model's predictions for ``body["inputs"]``, an array of shape (rows, features)."""
        predictions: list[Any] = np.asarray(self.model.predict(np.asarray(body["inputs"]))).tolist()
        return predictions
