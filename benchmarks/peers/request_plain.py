"""The same requests in plain Python: the functions called one after the other, the model found in a dict."""

import time

from line_protocol import serve


def flow(events: int, *, steps: int) -> tuple[float, int]:
    functions = [lambda x: x + 1 for _ in range(steps)]
    answer = 0
    start = time.perf_counter()
    for _ in range(events):
        answer = 1
        for function in functions:
            answer = function(answer)
    return time.perf_counter() - start, answer


def router(events: int) -> tuple[float, list[int]]:
    models = {"m": lambda request: [sum(row) for row in request["inputs"]]}
    path = "/v2/models/m/infer"
    body = {"inputs": [[1, 2, 3, 4]]}
    answer = {}
    start = time.perf_counter()
    for _ in range(events):
        name = path.split("/")[3]
        answer = {"model_name": name, "outputs": models[name](body)}
    return time.perf_counter() - start, answer["outputs"]


serve({"flow": flow, "router": router})
