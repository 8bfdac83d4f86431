"""One layer of torch forward and backward, by cell, size and number format: what the choice of
precision in charrnn/training/device.py rests on: python benchmarks/layers.py
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
SIZES = ((16, 256), (32, 256), (64, 256), (16, 512), (64, 512))
SEQ_LEN, INPUT_SIZE, ROUNDS = 64, 64, 12


def time_layer(cell: str, batch_size: int, hidden_size: int, dtype: torch.dtype) -> float:
    """Give the median milliseconds of a window forward and backward."""
    layer = LAYERS[cell](INPUT_SIZE, hidden_size)
    inputs = torch.randn(SEQ_LEN, batch_size, INPUT_SIZE, requires_grad=True)
    seconds = []
    for _ in range(3 + ROUNDS):
        began = time.perf_counter()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            outputs, _ = layer(inputs)
            outputs.float().sum().backward()
        seconds.append(time.perf_counter() - began)
        layer.zero_grad()
    return statistics.median(seconds[3:]) * 1000


def main() -> None:
    """Print a line for each cell and size."""
    for cell in LAYERS:
        for batch_size, hidden_size in SIZES:
            times = [
                time_layer(cell, batch_size, hidden_size, dtype)
                for dtype in (torch.float32, torch.bfloat16)
            ]
            print(
                f"{cell:4} {batch_size:3} × {hidden_size}: fp32 {times[0]:6.1f} ms, "
                f"bf16 {times[1]:6.1f} ms",
                flush=True,
            )


if __name__ == "__main__":
    main()
