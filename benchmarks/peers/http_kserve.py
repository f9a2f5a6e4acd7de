"""KServe's Python model server with its per-request logging off and without gRPC: `http_kserve.py PORT`."""

import logging
import sys
import warnings

import numpy as np
from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

warnings.simplefilter("ignore")


class Sums(Model):
    def __init__(self) -> None:
        super().__init__("m")
        self.ready = True

    async def predict(self, payload: InferRequest, headers=None, response_headers=None) -> InferResponse:
        sums = payload.inputs[0].as_numpy().astype(np.float32, copy=False).sum(axis=1)
        output = InferOutput(name="y", shape=[len(sums)], datatype="FP32", data=sums.tolist())
        return InferResponse(response_id=payload.id or "", model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    server = ModelServer(
        http_port=int(sys.argv[1]), enable_grpc=False, workers=1, enable_latency_logging=False, access_log_format=None
    )
    for name in ("kserve", "kserve.trace", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).setLevel(logging.ERROR)
    server.start([Sums()])
