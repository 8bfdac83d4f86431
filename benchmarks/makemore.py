"""Ours beside every model type of makemore.py, for the same seconds on the same lines.

python benchmarks/makemore.py MAKEMORE_PY names.txt [--budget 60s] [--seeds 3] [--types mlp gru]

MAKEMORE_PY is makemore.py of github.com/karpathy/makemore. Its models train with its own settings
(AdamW, rate 5e-4, weight decay 0.01, 32 words a batch), here without its data loader, which would
take a part of their time; the best of their evaluations counts, and evaluations take no time of
theirs. Held out is what `charrnn train --lines` holds out. Nats are per token, where the end of a
word counts as one token; each figure is total nats over total tokens.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
import types
from pathlib import Path
from typing import Any

import torch

from charrnn.config import TextConfig, TrainConfig
from charrnn.config.train import parse_duration
from charrnn.data.corpus import Corpus, open_corpus
from charrnn.text.vocab import END
from charrnn.training.loop import train

TYPES = ("bigram", "mlp", "bow", "rnn", "gru", "transformer")
_BATCH = 32
_RATE = 5e-4
_DECAY = 0.01
_EVALUATIONS = 20


def load_makemore(path: Path) -> Any:
    """Return makemore.py as a module, without its need of tensorboard."""
    board = types.ModuleType("torch.utils.tensorboard")
    board.SummaryWriter = object  # type: ignore[attr-defined]
    sys.modules["torch.utils.tensorboard"] = board
    spec = importlib.util.spec_from_file_location("makemore", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_tensors(module: Any, words: list[str], chars: list[str], longest: int) -> Any:
    """Return inputs and targets (N, longest + 1) of words, as its dataset makes them."""
    dataset = module.CharDataset(words, chars, longest)
    rows = [dataset[i] for i in range(len(words))]
    return tuple(torch.stack(part) for part in zip(*rows, strict=True))


@torch.inference_mode()
def evaluate(model: Any, inputs: Any, targets: Any) -> float:
    """Return nats per token: a target of −1 is no token."""
    total = 0.0
    for begin in range(0, len(inputs), 500):
        logits, _ = model(inputs[begin : begin + 500])
        flat = targets[begin : begin + 500].flatten()
        total += torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), flat, ignore_index=-1, reduction="sum"
        ).item()
    return total / int((targets >= 0).sum())


def train_theirs(module: Any, kind: str, corpus: Corpus, seconds: float, seed: int) -> float:
    """Train a model of makemore.py; return its lowest nats per token on the held-out lines."""
    torch.manual_seed(seed)
    train_words, val_words = (
        corpus.vocab.decode(ids).strip(END).split(END) for ids in (corpus.train, corpus.val)
    )
    chars = sorted(set("".join(train_words + val_words)))
    longest = max(map(len, train_words + val_words))
    inputs, targets = make_tensors(module, train_words, chars, longest)
    held_out = make_tensors(module, val_words, chars, longest)
    config = module.ModelConfig(
        vocab_size=len(chars) + 1,
        block_size=longest + 1,
        n_layer=4,
        n_head=4,
        n_embd=64,
        n_embd2=64,
    )
    make = {
        "transformer": module.Transformer,
        "bigram": module.Bigram,
        "mlp": module.MLP,
        "bow": module.BoW,
        "rnn": lambda config: module.RNN(config, cell_type="rnn"),
        "gru": lambda config: module.RNN(config, cell_type="gru"),
    }
    model = make[kind](config)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=_RATE, weight_decay=_DECAY, betas=(0.9, 0.99), eps=1e-8
    )
    best = float("inf")
    spent = 0.0
    due = seconds / _EVALUATIONS
    while spent < seconds:
        began = time.perf_counter()
        chosen = torch.randint(len(inputs), (_BATCH,))
        _, loss = model(inputs[chosen], targets[chosen])
        model.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        spent += time.perf_counter() - began
        if spent >= due:
            best = min(best, evaluate(model, *held_out))
            due += seconds / _EVALUATIONS
    return best


def train_ours(corpus: Corpus, budget: str, seed: int, cell: str) -> float:
    """Return the nats per token of our best model on the held-out lines."""
    *_, finished = train(corpus, TrainConfig(budget=budget, seed=seed, cell=cell))
    return float(finished.best_val_nats)


def main() -> None:
    """Train in turn, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("makemore", type=Path)
    parser.add_argument("corpus")
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--types", nargs="+", default=["mlp", "rnn", "gru", "transformer"])
    parser.add_argument("--cells", nargs="+", default=["lstm"])
    options = parser.parse_args()
    module = load_makemore(options.makemore)
    corpus = open_corpus([options.corpus], TextConfig(lines=True))
    seconds = parse_duration(options.budget)
    found: dict[str, list[float]] = {}
    for seed in range(1, options.seeds + 1):
        for cell in options.cells:
            found.setdefault(f"charrnn {cell}", []).append(
                train_ours(corpus, options.budget, seed, cell)
            )
        for kind in options.types:
            found.setdefault(f"makemore {kind}", []).append(
                train_theirs(module, kind, corpus, seconds, seed)
            )
        for name, nats in found.items():
            each = ", ".join(f"{value:.4f}" for value in nats)
            print(
                f"{name:22} median {statistics.median(nats):.4f} nats a token ({each})", flush=True
            )


if __name__ == "__main__":
    main()
