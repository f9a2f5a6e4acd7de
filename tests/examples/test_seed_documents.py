"""Serving snippets as MLRun's own documents print them, under ``import millrace as mlrun`` and with real paths put in.

Only ``deploy`` and ``v3io_cred`` are left out. What the documents name and do not show (``PreProcess``, ``nlp.py``, …)
is written here.
"""

import json
from pathlib import Path

import cloudpickle
import nbformat
import numpy as np
import pytest
from cloudpickle import load
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

import millrace as mlrun

DEMO = '''
from cloudpickle import load
import numpy as np
import millrace as mlrun

class Echo:
    def __init__(self, context, name=None, **kw):
        self.context = context
        self.name = name
        self.kw = kw

    def do(self, x):
        if "broken" in x:
            raise ValueError("an echo of glass")
        return x

class ClassifierModel(mlrun.serving.V2ModelServer):
    def load(self):
        model_file, extra_data = self.get_model('.pkl')
        self.model = load(open(model_file, 'rb'))

    def predict(self, body: dict) -> list:
        return self.model.predict(np.asarray(body['inputs'])).tolist()

def error_catcher(x):
    x.body = {"body": x.body, "origin_state": x.origin_state, "error": x.error}
    return x
'''
NLP1 = """
from urllib.request import urlopen

class URLDownloader:
    def do(self, url):
        with urlopen(url) as answer:
            return answer.read().decode()

class ToParagraphs:
    def do(self, text):
        return text.split("\\n\\n")
"""
ENTITY_EXTRACTION = """
import re

class ApplyNLP:
    def do(self, paragraphs):
        return [{"words": paragraph.split()} for paragraph in paragraphs]

class ExtractEntities:
    def do(self, paragraphs):
        return [word.strip(".,") for one in paragraphs for word in one["words"] if re.match("[A-Z]", word)]

class EnrichEntities:
    def do(self, entities):
        return [{"entity": entity, "length": len(entity)} for entity in entities]
"""
DATA_PREP = """
from urllib.request import urlopen

def load_url(event):
    with urlopen(event["url"]) as answer:
        return {"url": event["url"], "text": answer.read().decode()}

def to_paragraphs(event):
    return [{"url": event["url"], "paragraph": n, "text": t} for n, t in enumerate(event["text"].split("\\n\\n"))]
"""
NLP = """
import re

class ApplyNLP:
    def __init__(self, context):
        self.context = context

    def do(self, paragraph):
        return {**paragraph, "words": paragraph["text"].split()}

def extract_entities(paragraph):
    return [{"entity": word.strip(".,")} for word in paragraph["words"] if re.match("[A-Z]", word)]

def enrich_entities(entities):
    return [{**one, "length": len(one["entity"])} for one in entities]

def myprint(x):
    print(x["entity"])
    return x
"""
TEXT = "the first engineer was Vitruvius.\n\nwheels stood at Barbegal, near Arles."
ENTITIES = [{"entity": "Vitruvius", "length": 9}, {"entity": "Barbegal", "length": 8}, {"entity": "Arles", "length": 5}]


@pytest.fixture
def paths(tmp_path, monkeypatch):
    """Two pickled classifiers of the iris data, in a folder that is the working directory."""
    monkeypatch.chdir(tmp_path)
    data, target = load_iris(return_X_y=True)
    models = (LogisticRegression(max_iter=1000), DecisionTreeClassifier(max_depth=2, random_state=0))
    for name, model in zip(("path1", "path2"), models, strict=True):
        Path(name).mkdir()
        Path(name, "model.pkl").write_bytes(cloudpickle.dumps(model.fit(data, target)))
    return str(tmp_path / "path1"), str(tmp_path / "path2")


def predicted(path: str, data) -> list:
    return cloudpickle.loads(Path(path, "model.pkl").read_bytes()).predict(data).tolist()


class ClassifierModel(mlrun.serving.V2ModelServer):
    def load(self):
        """load and initialize the model and/or other elements"""
        model_file, _extra_data = self.get_model('.pkl')
        with open(model_file, 'rb') as file:
            self.model = load(file)

    def predict(self, body: dict) -> list:
        """Generate model predictions from sample"""
        feats = np.asarray(body['inputs'])
        result: np.ndarray = self.model.predict(feats)
        return result.tolist()


def test_simple_model_serving_router(tmp_path):
    column = FunctionTransformer(lambda inputs: inputs.reshape(-1, 1))
    model = make_pipeline(column, LogisticRegression()).fit(np.arange(10), np.arange(10) > 3)
    model1_url = model2_url = tmp_path / "model.pkl"
    model1_url.write_bytes(cloudpickle.dumps(model))

    # load the sklearn model serving function and add models to it
    fn = mlrun.import_function('hub://v2_model_server')
    fn.add_model("model1", model_path=model1_url)
    fn.add_model("model2", model_path=model2_url)

    # test the model endpoint
    answer = fn.invoke('/v2/models/model1/infer', body={"inputs": [5]})

    assert answer["outputs"] == model.predict(np.array([5])).tolist() == [True]


def test_minimal_sklearn_serving_function(paths):
    path1, path2 = paths
    fn = mlrun.new_function('my_server', kind='serving')

    # set the topology/router and add models
    graph = fn.set_topology("router")
    fn.add_model("model1", class_name="ClassifierModel", model_path=path1)
    fn.add_model("model2", class_name="ClassifierModel", model_path=path2)

    # create and use the graph simulator
    server = fn.to_mock_server()
    x = load_iris()['data'].tolist()
    result = server.test("/v2/models/model1/infer", {"inputs": x})

    assert result["outputs"] == predicted(path1, x)
    assert list(graph.routes) == ["model1", "model2"]


class ModelClass(ClassifierModel):
    pass


class PreProcess:
    def __init__(self, some_arg):
        self.some_arg = some_arg

    def do(self, body):
        return body | {"asked_by": self.some_arg}


class PostProcess:
    def do(self, body):
        return {"species": body["outputs"]}


class ErrorCatch:
    def do_event(self, event):
        event.body = {"error": str(event.error), "failed_in": event.origin_state}
        return event


def advanced(path1, path2):
    function = mlrun.new_function("advanced", kind="serving")
    graph = function.set_topology("flow", engine="async")

    graph.to(name="loads", handler="json.loads").error_handler("catcher") \
         .to("storey.Filter", name="filter", _fn='(event["type"]=="infer")') \
         .to(class_name="PreProcess", name="pre-process", some_arg='abc')

    # add an Ensemble router with two child models (routes), the "*" prefix mark it is a router class
    router = graph.add_step("*mlrun.serving.VotingEnsemble", name="ensemble", after="pre-process")
    router.add_route("m1", class_name="ModelClass", model_path=path1)
    router.add_route("m2", class_name="ModelClass", model_path=path2)

    # add the final step (after the router) which handles post processing and respond to the client
    graph.add_step(class_name="PostProcess", name="final", after="ensemble").respond()

    # add error handling state, run only when/if the "loads" state fail (keep after="")
    graph.add_step(class_name="ErrorCatch", name="catcher", after="")

    # plot the graph (using Graphviz) and run a test
    drawn = graph.plot(rankdir='LR')
    assert all(name in drawn.source for name in ("loads", "filter", "pre-process", "ensemble", "m1", "catcher"))
    return function


def test_advanced_flow_sends_a_body_that_is_no_text_to_the_catcher(paths):
    server = advanced(*paths).to_mock_server()
    resp = server.test("/v2/models/m2/infer", body={"inputs": [5]})
    server.wait_for_completion()

    with pytest.raises(TypeError) as raised:
        json.loads({"inputs": [5]})
    assert resp == {"error": str(raised.value), "failed_in": "loads"}


def test_advanced_flow_answers_text_by_the_model_that_the_url_names(paths):
    server = advanced(*paths).to_mock_server()
    rows = load_iris()["data"][::10].tolist()
    asked = json.dumps({"type": "infer", "inputs": rows})
    resp = server.test("/v2/models/m2/infer", body=asked, content_type="text/plain")
    dropped = server.test("/v2/models/m2/infer", body='{"type": "ping"}', content_type="text/plain")
    server.wait_for_completion()

    assert resp == {"species": predicted(paths[1], rows)}
    assert dropped is None


def test_nlp_pipeline_of_classes_with_a_notebook_as_child_function(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    Path("nlp1.py").write_text(NLP1)
    cells = [nbformat.v4.new_markdown_cell("# Entities"), nbformat.v4.new_code_cell(ENTITY_EXTRACTION)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), "entity_extraction.ipynb")

    # create a serving function from source code
    fn = mlrun.code_to_function('nlp-pipeline', filename='./nlp1.py', kind='serving', image='mlrun/mlrun')

    queue_stream = 'users/admin/mystream'
    result_stream = 'users/admin/mystream'

    graph = fn.set_topology("flow", engine="async", exist_ok=True)

    # define the graph, indicate that some steps run on the "enrich" function
    # use a queue (stream) between the 1st and the 2nd function, and write the results to a stream
    graph.to('URLDownloader')\
         .to('ToParagraphs')\
         .to('$queue', 'to_v3io', path=queue_stream)\
         .to("ApplyNLP", function='enrich')\
         .to('ExtractEntities', function='enrich')\
         .to('EnrichEntities', function='enrich')\
         .to('storey.Flatten', 'flatten',function='enrich')\
         .to('$queue', 'to_result', path=result_stream)

    # specify the "enrich" child function, built from a notebook file
    fn.add_child_function('enrich', './entity_extraction.ipynb', 'mlrun/mlrun')

    # plot the graph
    graph.plot(rankdir='LR')

    server = fn.to_mock_server()
    server.test(body=Path("text.txt").resolve().as_uri())
    server.wait_for_completion()
    assert [json.loads(message.value) for message in server.queue("to_v3io").messages] == [TEXT.split("\n\n")]
    assert [json.loads(message.value) for message in server.queue("to_result").messages] == ENTITIES


def advanced_from_code(path1, path2):
    Path("demo.py").write_text(DEMO)
    function = mlrun.code_to_function("advanced", filename="demo.py",
                                      kind="serving", image="mlrun/mlrun",
                                      requirements=['storey'])
    graph = function.set_topology("flow", engine="async")

    # use built-in storey class or our custom Echo class to create and link Task steps
    graph.to("storey.Extend", name="enrich", _fn='({"tag": "something"})') \
         .to(class_name="Echo", name="pre-process", some_arg='abc').error_handler("catcher")

    # add an Ensemble router with two child models (routes), the "*" prefix mark it is a router class
    router = graph.add_step("*mlrun.serving.VotingEnsemble", name="ensemble", after="pre-process")
    router.add_route("m1", class_name="ClassifierModel", model_path=path1)
    router.add_route("m2", class_name="ClassifierModel", model_path=path2)

    # add the final step (after the router) which handles post processing and respond to the client
    graph.add_step(class_name="Echo", name="final", after="ensemble").respond()

    # add error handling step, run only when/if the "pre-process" step fail (keep after="")
    graph.add_step(handler="error_catcher", name="catcher", full_event=True, after="")

    # plot the graph (using Graphviz) and run a test
    graph.plot(rankdir='LR')
    return function


def test_advanced_flow_from_code_answers_by_the_model_or_by_all(paths):
    function = advanced_from_code(*paths)
    data = load_iris()["data"][::10].tolist()

    server = function.to_mock_server()
    resp = server.test("/v2/models/m2/infer", body={"inputs": data})
    voted = server.test("/v2/models/infer", body={"inputs": data})
    server.wait_for_completion()

    assert resp["outputs"] == predicted(paths[1], data)
    # Of two votes that differ the smaller label wins, as in scikit-learn's VotingClassifier.
    assert voted["outputs"] == [min(pair) for pair in zip(*(predicted(path, data) for path in paths), strict=True)]
    assert function.spec.build.requirements == ["storey"]


def test_advanced_flow_from_code_sends_a_failing_step_to_the_catcher(paths):
    server = advanced_from_code(*paths).to_mock_server()
    resp = server.test("/v2/models/m2/infer", body={"broken": True})
    server.wait_for_completion()
    assert (resp["origin_state"], str(resp["error"])) == ("pre-process", "an echo of glass")
    assert resp["body"] == {"broken": True, "tag": "something"}


def test_nlp_pipeline_of_functions_with_a_file_as_child_function(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    Path("data_prep.py").write_text(DATA_PREP)
    Path("nlp.py").write_text(NLP)
    internal_stream, out_stream = "users/admin/internal", "users/admin/out"

    # define a new real-time serving function (from code) with an async graph
    fn = mlrun.code_to_function("multi-func", filename="./data_prep.py", kind="serving", image='mlrun/mlrun')
    graph = fn.set_topology("flow", engine="async")

    # define the graph steps (DAG)
    graph.to(name="load_url", handler="load_url")\
         .to(name="to_paragraphs", handler="to_paragraphs")\
         .to("storey.FlatMap", "flatten_paragraphs", _fn="(event)")\
         .to(">>", "q1", path=internal_stream)\
         .to(name="nlp", class_name="ApplyNLP", function="enrich")\
         .to(name="extract_entities", handler="extract_entities", function="enrich")\
         .to(name="enrich_entities", handler="enrich_entities", function="enrich")\
         .to("storey.FlatMap", "flatten_entities", _fn="(event)", function="enrich")\
         .to(name="printer", handler="myprint", function="enrich")\
         .to(">>", "output_stream", path=out_stream)

    # specify the "enrich" child function, add extra package requirements
    child = fn.add_child_function('enrich', './nlp.py', 'mlrun/mlrun')
    child.spec.build.commands = ["python -m pip install spacy",
                                 "python -m spacy download en_core_web_sm"]
    graph.plot()

    server = fn.to_mock_server()
    server.test(body={"url": Path("text.txt").resolve().as_uri()})
    server.wait_for_completion()
    assert len(server.queue("q1").messages) == 2
    assert [json.loads(message.value) for message in server.queue("output_stream").messages] == ENTITIES
    assert capsys.readouterr().out.split() == ["Vitruvius", "Barbegal", "Arles"]
