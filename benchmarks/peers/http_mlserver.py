"""MLServer with a custom runtime, in one process (`parallel_workers=0`), debug and metrics off:
`http_mlserver.py PORT GRPC_PORT`."""

import asyncio
import sys

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Sums(MLModel):
    async def load(self) -> bool:
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        tensor = payload.inputs[0]
        sums = np.array(tensor.data.root, np.float32).reshape(tensor.shape).sum(axis=1)
        output = ResponseOutput(name="y", shape=[len(sums)], datatype="FP32", data=sums.tolist())
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[output])


async def main(port: int, grpc_port: int) -> None:
    settings = Settings(
        debug=False, parallel_workers=0, host="127.0.0.1", http_port=port, grpc_port=grpc_port, metrics_endpoint=None,
        use_structured_logging=False, load_models_at_startup=False,
    )  # fmt: skip
    await MLServer(settings).start([ModelSettings(name="m", implementation=Sums)])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
