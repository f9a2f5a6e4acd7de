"""Inference as FastAPI's manual would have it, with pydantic models of the protocol: `http_fastapi.py PORT`."""

import sys

import numpy as np
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Tensor(BaseModel):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class InferRequest(BaseModel):
    id: str = ""
    inputs: list[Tensor]


class InferResponse(BaseModel):
    model_name: str
    id: str
    outputs: list[Tensor]


app = FastAPI()


@app.post("/v2/models/{model}/infer")
async def infer(model: str, request: InferRequest) -> InferResponse:
    tensor = request.inputs[0]
    sums = np.array(tensor.data, np.float32).reshape(tensor.shape).sum(axis=1)
    output = Tensor(name="y", shape=[len(sums)], datatype="FP32", data=sums.tolist())
    return InferResponse(model_name=model, id=request.id, outputs=[output])


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False, loop="uvloop")
