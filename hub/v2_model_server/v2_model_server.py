"""A model server for models that pickle, such as those of scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

import cloudpickle
import numpy as np
from numpy.typing import NDArray

import millrace


class ClassifierModel(millrace.serving.V2ModelServer):
    """Serves a ``.pkl`` file. Unpickling runs code: serve only models that you trust.

    What the model takes is found out when it is loaded, so that rows of a wrong length and, for most models, NaN get
    422; a model that accepts NaN gets it, over JSON as null.

    :param model_path: the file, or a folder with one ``.pkl`` file
    """

    def load(self) -> None:
        """Unpickle the model and declare its inputs, unless ``inputs=`` and ``features=`` were given."""
        model_file, _ = self.get_model(".pkl")
        with open(model_file, "rb") as file:
            self.model = cloudpickle.load(file)
        # Rows of a request are in the order of the features; that they carry no names is no news.
        warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
        if not self.features:
            self.features = [str(name) for name in getattr(self.model, "feature_names_in_", [])]
        if not self.inputs:
            self.inputs = declared_inputs(self.model)

    def preprocess(self, request: dict[str, Any], operation: str) -> dict[str, Any]:
        """Make rows of numbers an array, once; what is none is left to the check of what the model declares."""
        rows = request.get("inputs")
        try:
            array = np.asarray(rows)
        except ValueError:
            return request
        is_numeric = isinstance(rows, list) and array.size and array.dtype.kind in "iuf"
        return {**request, "inputs": array} if is_numeric else request

    def predict(self, body: dict[str, Any]) -> NDArray[Any]:
        """The model's predictions for ``body["inputs"]``: rows of its features."""
        return np.asarray(self.model.predict(with_nan(body["inputs"])))


def declared_inputs(model: Any) -> list[dict[str, Any]]:
    """What a model says of its inputs, and shows when it is tried with zeros and with NaN; nothing if it does not say.

    >>> declared_inputs(object())
    []
    """
    length = getattr(model, "n_features_in_", None)
    if length is None:
        return []
    declared = {"name": "input-0", "shape": [-1, int(length)]}
    if not _takes(model, np.zeros((1, length))):
        return [declared | {"allow_nan": True}]  # text, perhaps: the model is asked for other rows than numbers
    return [declared | {"datatype": "FP64", "allow_nan": _takes(model, np.full((1, length), np.nan))}]


def with_nan(rows: Any) -> NDArray[Any]:
    """The rows as an array, with NaN where JSON has null.

    >>> with_nan([[1.5, None]])
    array([[1.5, nan]])
    """
    array = np.asarray(rows)
    if array.dtype.kind == "O" and set(map(type, array.ravel().tolist())) <= {int, float, type(None)}:
        return array.astype(np.float64)
    return array


def _takes(model: Any, rows: NDArray[Any]) -> bool:
    try:
        model.predict(rows)
    except Exception:  # whatever it raises, it does not take them
        return False
    return True
