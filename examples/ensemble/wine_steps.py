"""The steps of the ensemble flow: plain classes, found by name because the function is made from this file."""

import cloudpickle

import millrace


class PreProcess:
    """Wines given by feature become rows of numbers in the order that the models were trained with."""

    def __init__(self, features):
        self.features = features

    def do(self, body):
        return {"inputs": [[wine[name] for name in self.features] for wine in body["wines"]]}


class ModelClass(millrace.serving.V2ModelServer):
    """A pickled classifier."""

    def load(self):
        model_file, _ = self.get_model(".pkl")
        with open(model_file, "rb") as file:
            self.model = cloudpickle.load(file)

    def predict(self, body):
        return self.model.predict(body["inputs"]).tolist()


class PostProcess:
    """The numbers of the classes become their names."""

    def __init__(self, names):
        self.names = names

    def do(self, body):
        return {"cultivars": [self.names[number] for number in body["outputs"]]}


class ErrorCatch:
    """Answers for events that could not be parsed; a step with `do_event` gets the whole event."""

    def do_event(self, event):
        event.body = {"refused": str(event.error), "step": event.origin_state}
        return event
