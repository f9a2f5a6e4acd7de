"""A text goes through two functions with a queue between them; what is found goes to a second queue.

The text, `water_wheels.txt`, was written for this example and has the licence of Millrace.
"""

import json
from pathlib import Path

import millrace

HERE = Path(__file__).parent


def build() -> millrace.ServingFunction:
    """The parent function and its child `enrich`, which could run on another machine."""
    fn = millrace.code_to_function("multi-func", filename=str(HERE / "data_prep.py"), kind="serving")
    graph = fn.set_topology("flow", engine="async")
    (
        graph.to(name="load_text", handler="load_text")
        .to(name="to_paragraphs", handler="to_paragraphs")
        .to("storey.FlatMap", "flatten_paragraphs", _fn="(event)")
        .to(">>", "paragraphs", path="paragraphs")
        .to("ApplyNLP", "nlp", corpus="water_wheels.txt", function="enrich")
        .to(name="extract_entities", handler="extract_entities", function="enrich")
        .to(name="enrich_entities", handler="enrich_entities", function="enrich")
        .to("storey.FlatMap", "flatten_entities", _fn="(event)", function="enrich")
        .to(">>", "entities", path="entities")
    )
    child = fn.add_child_function("enrich", str(HERE / "nlp.py"), "python:3.12")
    child.spec.build.commands = ["python -m pip install scikit-learn"]
    return fn


def main() -> None:
    """Send the name of the text, wait until both functions are done, and look into the queues."""
    with build().to_mock_server() as server:
        server.test("/", "water_wheels.txt", content_type="text/plain")
        server.wait_for_completion(timeout_seconds=30, raise_errors=True)
        print(f"{len(server.queue('paragraphs').messages)} paragraphs")
        for message in server.queue("entities").messages:
            one = json.loads(message.value)
            value = f" = {one['value']:g}" if "value" in one else ""
            print(f"{one['paragraph']} {one['kind']}: {one['text']}{value} ({', '.join(one['keywords'])})")


if __name__ == "__main__":
    main()
