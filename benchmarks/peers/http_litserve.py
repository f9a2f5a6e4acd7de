"""LitServe with one worker. It takes any JSON; that it is Open Inference Protocol is ours: `http_litserve.py PORT`."""

import sys

import litserve
import numpy as np


class Sums(litserve.LitAPI):
    def setup(self, device: str) -> None:
        pass

    def decode_request(self, request: dict) -> np.ndarray:
        tensor = request["inputs"][0]
        return np.array(tensor["data"], np.float32).reshape(tensor["shape"])

    def predict(self, array: np.ndarray) -> np.ndarray:
        return array.sum(axis=1)

    def encode_response(self, sums: np.ndarray) -> dict:
        output = {"name": "y", "shape": [len(sums)], "datatype": "FP32", "data": sums.tolist()}
        return {"model_name": "m", "outputs": [output]}


if __name__ == "__main__":
    server = litserve.LitServer(Sums(api_path="/v2/models/m/infer"), accelerator="cpu", workers_per_device=1)
    port = int(sys.argv[1])
    server.run(host="127.0.0.1", port=port, log_level="warning", access_log=False, generate_client_file=False)
