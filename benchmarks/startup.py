"""From the command to the first character, beside `import torch`: python benchmarks/startup.py

Bounds: `charrnn sample` to its first character 0.35 ×, `charrnn --help` 0.2 × of that import;
`charrnn train` to the report of its first step 2.5 s beyond it, on a text of a million characters.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import numpy as np
from timing import time_process

from charrnn.bench.speeds import median_ratio, time_alternating
from charrnn.checkpoint.model_file import ModelFile, pack_model
from charrnn.config import ModelConfig
from charrnn.text.vocab import Vocab

ROUNDS = 7


def make_model_file(folder: Path) -> Path:
    """Write an LSTM of 2 × 256 with random weights."""
    vocab = Vocab("".join(map(chr, range(32, 97))))
    sizes = {"vocab_size": vocab.size, "embedding_size": 64, "hidden_size": 256, "num_layers": 2}
    config = ModelConfig(cell="lstm", **sizes)
    random = np.random.default_rng(0)
    weights = {
        name: (random.standard_normal(shape) / 16).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    path = folder / "model.safetensors"
    path.write_bytes(pack_model(ModelFile(config, vocab, weights, {})))
    return path


def make_text(folder: Path) -> str:
    """Write a million characters and give the path."""
    codes = np.random.default_rng(0).integers(32, 97, 1_000_000, np.uint8)
    path = folder / "text.txt"
    path.write_bytes(codes.tobytes())
    return str(path)


def main() -> None:
    """Print medians and ratios."""
    with tempfile.TemporaryDirectory() as folder:
        model = str(make_model_file(Path(folder)))
        train = ["-m", "charrnn", "train", make_text(Path(folder)), "--checkpoints", folder]
        commands: dict[str, tuple[list[str], bytes | None]] = {
            "import torch": (["-c", "import torch"], None),
            "charrnn sample, first character": (["-m", "charrnn", "sample", model], b""),
            "charrnn --help": (["-m", "charrnn", "--help"], None),
            "charrnn train, first step": ([*train, "--steps", "1", "--json"], b'"progress"'),
        }
        actions = [
            lambda a=arguments, u=until: time_process(a, u)  # type: ignore[misc]
            for arguments, until in commands.values()
        ]
        time_alternating(actions, rounds=2)
        results = time_alternating(actions, rounds=ROUNDS)
    for name, seconds in zip(commands, results, strict=True):
        ratio = median_ratio(seconds, results[0])
        print(f"{name:32} {statistics.median(seconds):6.3f} s  {ratio:5.2f} × import torch")


if __name__ == "__main__":
    main()
