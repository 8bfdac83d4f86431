"""From the command to the first character, beside `import torch`: python benchmarks/startup.py

Bounds: `charrnn sample` to its first character 0.35 ×, `charrnn --help` 0.2 × of that import.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np
from timing import time_process

from charrnn.checkpoint.format import ModelFile, pack_model, weight_shapes
from charrnn.config import ModelConfig
from charrnn.text.vocab import Vocab
from charrnn.timing import median_ratio, time_in_turn

ROUNDS = 11


def make_model_file(folder: Path) -> Path:
    """Write an LSTM of 2 × 256 with random weights."""
    vocab = Vocab("".join(map(chr, range(32, 97))))
    sizes = {"vocab_size": vocab.size, "embedding_size": 64, "hidden_size": 256, "num_layers": 2}
    config = ModelConfig(cell="lstm", **sizes)
    random = np.random.default_rng(0)
    weights = {
        name: (random.standard_normal(shape) / 16).astype(np.float32)
        for name, shape in weight_shapes(config).items()
    }
    path = folder / "model.safetensors"
    path.write_bytes(pack_model(ModelFile(config, vocab, weights, {})))
    return path


def main() -> None:
    """Print medians and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(make_model_file(Path(folder)))
        commands = {
            "import torch": (["-c", "import torch"], False),
            "charrnn sample, first character": (["-m", "charrnn", "sample", model], True),
            "charrnn --help": (["-m", "charrnn", "--help"], False),
        }
        actions = [
            lambda a=arguments, f=first: time_process(a, f)  # type: ignore[misc]
            for arguments, first in commands.values()
        ]
        time_in_turn(actions, rounds=2)
        results = time_in_turn(actions, rounds=ROUNDS)
    for name, seconds in zip(commands, results, strict=True):
        ratio = median_ratio(seconds, results[0])
        print(f"{name:32} {statistics.median(seconds):6.3f} s  {ratio:5.2f} × import torch")


if __name__ == "__main__":
    main()
