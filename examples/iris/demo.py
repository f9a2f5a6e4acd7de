"""Trains two models on the iris data if need be and serves them as a voting ensemble; `make demo` runs this."""

import argparse
import json
import sys
from pathlib import Path

from train import train

from millrace.serving.functions.serving import serve

FLOWERS = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]  # rows 0 and 145 of the iris data
TENSOR = {"name": "measurements", "shape": [2, 4], "datatype": "FP64", "data": FLOWERS}


def lines_to_try(url: str) -> str:
    """Commands that ask the ensemble in both dialects, and one that it refuses."""
    curl = f"curl -sw '\\n' {url}/v2/models/iris/infer -d '%s'"
    plain, tensor, refused = ({"inputs": inputs} for inputs in (FLOWERS, [TENSOR], [FLOWERS[0][:2]]))
    return f"""
==> Two flowers (sepal length and width, petal length and width, in cm); one is a setosa, one a virginica:

{curl % json.dumps(plain)}

    The same in the Open Inference Protocol:

{curl % json.dumps(tensor)}

    Half a flower; the answer is 422 and says why:

{curl % json.dumps(refused)}

==> Serving on {url}; Ctrl-C ends it"""


def main() -> int:
    """Train, serve, and say what to try, until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8080, help="where to listen on 127.0.0.1 (default: %(default)s)")
    port = parser.parse_args().port
    print("==> Training two scikit-learn models on the iris data")
    train()
    function = Path(__file__).with_name("function.py")
    code = serve(str(function), port=port, on_ready=lambda url: print(lines_to_try(url), flush=True))
    if code:
        print(f"==> Another port is taken with: make demo ARGS='--port {port + 1}'", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
