"""The ready function hub://v2_model_server with real models of scikit-learn."""

from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import orjson
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

import millrace

ROWS, SPECIES = load_iris(return_X_y=True)
NAMES = ["sepal length", "sepal width", "petal length", "petal width"]


def served(model: Any, folder: Path) -> millrace.serving.MockServer:
    """The hub's function with one model from a pickle."""
    (folder / "model.pkl").write_bytes(cloudpickle.dumps(model))
    function = millrace.import_function("hub://v2_model_server")
    function.add_model("m1", model_path=folder)
    return function.to_mock_server()


def sent(server: Any, inputs: Any, op: str = "infer") -> tuple[int, Any]:
    response = server.test(f"/v2/models/m1/{op}", {"inputs": inputs}, silent=True, get_body=False)
    return response.status_code, orjson.loads(response.body)


@pytest.mark.parametrize(
    "model",
    [LogisticRegression(max_iter=500), DecisionTreeClassifier(), SVC(), make_pipeline(SimpleImputer(), SVC())],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.parametrize("labels", [SPECIES, np.array(["setosa", "versicolor", "virginica"])[SPECIES]], ids=["0", "a"])
def test_classifiers_answer_as_scikit_learn_does(model, labels, tmp_path):
    model.fit(ROWS, labels)
    status, answer = sent(served(model, tmp_path), ROWS.tolist())
    assert (status, answer["outputs"]) == (200, model.predict(ROWS).tolist())


@pytest.mark.parametrize("model", [LinearRegression(), RandomForestRegressor(5)], ids=["linear", "forest"])
def test_regressions_answer_as_scikit_learn_does(model, tmp_path):
    rows, progression = load_diabetes(return_X_y=True)
    model.fit(rows, progression)
    assert sent(served(model, tmp_path), rows.tolist())[1]["outputs"] == model.predict(rows).tolist()


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_tensors_are_answered_in_the_open_inference_protocol(datatype, tmp_path):
    model = LogisticRegression(max_iter=500).fit(ROWS, SPECIES)
    rows = ROWS[::10]
    tensor = {"name": "x", "shape": list(rows.shape), "datatype": datatype, "data": rows.ravel().tolist()}
    status, answer = sent(served(model, tmp_path), [tensor])
    assert (status, answer["outputs"][0]["data"]) == (200, model.predict(rows).tolist())


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ([[5.1, 3.5]], "shape [1, 2]"),
        ([[5.1, 3.5, 1.4, None]], "null"),
        ([[5.1, 3.5, 1.4, float("nan")]], "NaN"),
        ([["5.1", "3.5", "1.4", "0.2"]], "text"),
        ([[5.1, 3.5, 1.4, 0.2], [1]], "different lengths"),
        ([5.1, 3.5, 1.4, 0.2], "shape [4]"),
        ([], "empty"),
    ],
)
def test_rows_that_the_model_does_not_take_are_422(inputs, text, tmp_path):
    server = served(LogisticRegression(max_iter=500).fit(ROWS, SPECIES), tmp_path)
    status, answer = sent(server, inputs)
    assert status == 422
    assert text in answer["error"]
    assert sent(server, ROWS[:1].tolist())[0] == 200


def test_the_metadata_tells_how_long_a_row_is(tmp_path):
    metadata = served(SVC().fit(ROWS, SPECIES), tmp_path).test("/v2/models/m1", method="GET")
    (declared,) = metadata["inputs"]
    assert (declared["shape"], declared["datatype"]) == ([-1, 4], "FP64")


@pytest.mark.parametrize(
    "model",
    [HistGradientBoostingClassifier(max_iter=5), make_pipeline(SimpleImputer(), LogisticRegression(max_iter=500))],
    ids=["HistGradientBoosting", "imputing pipeline"],
)
def test_a_model_that_accepts_nan_gets_it_as_null(model, tmp_path):
    model.fit(ROWS, SPECIES)
    status, answer = sent(served(model, tmp_path), [[5.1, None, 1.4, 0.2], [6.7, 3, 5.2, None]])
    expected = model.predict([[5.1, np.nan, 1.4, 0.2], [6.7, 3, 5.2, np.nan]]).tolist()
    assert (status, answer["outputs"]) == (200, expected)


def test_a_model_of_named_features_takes_rows_as_dicts(tmp_path):
    model = LogisticRegression(max_iter=500).fit(ROWS, SPECIES)
    model.feature_names_in_ = np.array(NAMES, dtype=object)  # as after fit() with a data frame
    server = served(model, tmp_path)
    rows = [dict(reversed(list(zip(NAMES, row, strict=True)))) for row in ROWS[::25].tolist()]
    expected = LogisticRegression(max_iter=500).fit(ROWS, SPECIES).predict(ROWS[::25]).tolist()
    assert sent(server, rows, "infer_dict")[1]["outputs"] == expected
    assert sent(server, ROWS[::25].tolist())[1]["outputs"] == expected


def test_a_model_of_texts_is_served_too(tmp_path):
    texts, labels = ["good day", "good night", "bad day", "bad night"], [1, 1, 0, 0]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, labels)
    assert sent(served(model, tmp_path), texts)[1]["outputs"] == labels


def test_a_model_of_columns_of_texts_is_served_too(tmp_path):
    rows = np.array([["red", 1], ["blue", 2], ["red", 3]], dtype=object)
    encoder = ColumnTransformer([("colour", OneHotEncoder(), [0])], remainder="passthrough")
    model = make_pipeline(encoder, DecisionTreeClassifier(random_state=0)).fit(rows, [0, 1, 0])
    server = served(model, tmp_path)
    assert sent(server, rows.tolist())[1]["outputs"] == [0, 1, 0]
    assert sent(server, [["red"]])[0] == 422


def test_a_folder_without_a_pickle_is_a_clear_error(tmp_path):
    function = millrace.import_function("hub://v2-model-server")
    function.add_model("m1", model_path=tmp_path)
    with pytest.raises(millrace.errors.ModelNotReady, match=r"no file \*\.pkl"):
        function.to_mock_server()


def test_what_is_no_pickle_is_a_clear_error(tmp_path):
    (tmp_path / "model.pkl").write_bytes(b"no pickle")
    function = millrace.import_function("hub://v2_model_server")
    function.add_model("m1", model_path=tmp_path)
    with pytest.raises(millrace.errors.StepError, match="failed to load model 'm1'"):
        function.to_mock_server()
