"""The headers of the inference protocols."""

BINARY_HEADER = "Inference-Header-Content-Length"
"""How many bytes of the body are JSON; the binary tensors come behind them."""
