"""A hand-written inference handler on aiohttp, uvloop and orjson: `http_aiohttp.py PORT`.

It does what an Open Inference Protocol server must do (parse, make the float32 array, compute, answer) and no more: no
checks, no metrics, no routing of models. `/receive` and `/array` are the floors for large bodies.
"""

import asyncio
import sys

import numpy as np
import orjson
import uvloop
from aiohttp import web


async def infer(request: web.Request) -> web.Response:
    body = await request.read()
    if json_length := request.headers.get("Inference-Header-Content-Length"):
        head = orjson.loads(memoryview(body)[: int(json_length)])
        tensor = head["inputs"][0]
        array = np.frombuffer(body, np.float32, offset=int(json_length)).reshape(tensor["shape"])
    else:
        head = orjson.loads(body)
        tensor = head["inputs"][0]
        array = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    sums = array.sum(axis=1)
    output = {"name": "y", "shape": [len(sums)], "datatype": "FP32", "data": sums.tolist()}
    answer = orjson.dumps({"model_name": "m", "id": head.get("id", ""), "outputs": [output]})
    return web.Response(body=answer, content_type="application/json")


async def receive(request: web.Request) -> web.Response:
    size = len(await request.read())
    return web.Response(body=b'{"received":%d}' % size, content_type="application/json")


async def make_array(request: web.Request) -> web.Response:
    array = np.array(orjson.loads(await request.read())["inputs"][0]["data"], np.float32)
    return web.Response(body=b'{"received":%d}' % array.size, content_type="application/json")


async def main(port: int) -> None:
    app = web.Application(client_max_size=64 * 2**20)
    app.router.add_post("/v2/models/m/infer", infer)
    app.router.add_post("/receive", receive)
    app.router.add_post("/array", make_array)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


uvloop.run(main(int(sys.argv[1])))
