"""Millrace's side of `http.py`: a router with one model, for `millrace serve`."""

import millrace
from millrace.serving import V2ModelServer


class Sums(V2ModelServer):
    def load(self) -> None:
        self.model = True

    def predict(self, request):
        return request["inputs"].sum(axis=1)


fn = millrace.new_function("bench", kind="serving")
fn.set_topology("router")
fn.add_model("m", class_name=Sums, model_path="")
