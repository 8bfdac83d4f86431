"""How fast this machine trains, evaluates and samples: what `charrnn bench` calls.

It measures one thing after another and yields each result as soon as there is one; no files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from charrnn.bench.sampling import measure_sampling
from charrnn.bench.speeds import Measuring, Speed
from charrnn.bench.training import measure_evaluation, measure_machine, measure_training
from charrnn.config import ModelConfig, TrainConfig, with_settings
from charrnn.data.corpus import corpus_from_text
from charrnn.model.device import choose_device, choose_precision, configure_torch
from charrnn.training.memory import within_memory

_TEXT_CHARS = 1_000_000
_VOCAB_SIZE = 65  # both as in tiny-shakespeare
_HINT = "close other programs"  # where no option changes the sizes
_HINTS = {
    "training": "lower --hidden-sizes, --batch-size or --seq-len",
    "evaluating": "lower --hidden-sizes",
}
_SHAPES = (("lstm", 1, 256), ("lstm", 2, 256), ("lstm", 2, 512), ("gru", 2, 256), ("rnn", 2, 256))
_PLAIN = tuple(
    ModelConfig(cell=cell, vocab_size=_VOCAB_SIZE, embedding_size=64, hidden_size=h, num_layers=n)
    for cell, n, h in _SHAPES
)
SAMPLED_MODELS = (*_PLAIN, replace(_PLAIN[0], ngram_order=5, ngram_rows=1 << 16))
"""The networks whose sampling is measured."""


@dataclass(frozen=True)
class Effort:
    """The least time spent on each figure. product_size: of the machine's square products."""

    machine_seconds: float = 0.5
    training_seconds: float = 1.5
    evaluation_seconds: float = 1.0
    sampling_seconds: float = 1.2
    product_size: int = 2048


THOROUGH = Effort()
QUICK = Effort(0.1, 0.1, 0.0, 0.1, product_size=1024)  # rough figures, in seconds


def measure_speeds(
    cells: Sequence[str],
    hidden_sizes: Sequence[int],
    settings: Mapping[str, Any],
    effort: Effort = THOROUGH,
) -> Iterator[Measuring | Speed]:
    """Yield the machine's speed, then those of training, evaluating and sampling.

    settings: fields of TrainConfig that hold for all networks, such as precision="fp32".

    Raises:
        ConfigError: a setting is out of range, or this machine cannot follow it.
        CorpusError: lanes and windows are too large for a text of a million characters.
        OutOfMemoryError: a network does not fit.
    """
    shapes = [(cell, hidden_size) for cell in cells for hidden_size in hidden_sizes]
    configs = [
        with_settings(TrainConfig(cell=cell, hidden_size=size), settings) for cell, size in shapes
    ]
    first = configs[0]
    choose_precision(first.precision, choose_device(first.device))  # refuses before any work
    threads = configure_torch(first)
    # A text in which every character is as likely as any other.
    codes = np.random.default_rng(0).integers(48, 48 + _VOCAB_SIZE, _TEXT_CHARS, np.uint8)
    corpus = corpus_from_text(codes.tobytes().decode("ascii"))

    machine = (first.device, threads, effort.product_size, effort.machine_seconds)
    jobs: list[tuple[str, Callable[[], Speed]]]
    jobs = [("the machine", partial(measure_machine, *machine))]  # first: the scale of the rest
    for config in configs:
        train = partial(measure_training, config, corpus, effort.training_seconds)
        jobs.append((f"training {config.cell} 1×{config.hidden_size}", train))
    for config in configs:
        score = partial(measure_evaluation, config, corpus, effort.evaluation_seconds)
        jobs.append((f"evaluating {config.cell} 1×{config.hidden_size}", score))
    for model in SAMPLED_MODELS:
        if model.cell in cells:
            what = f"sampling {model.cell} {model.num_layers}×{model.hidden_size}"
            what += " with n-grams" * (model.ngram_order > 1)
            jobs.append((what, partial(measure_sampling, model, effort.sampling_seconds)))

    for index, (what, measure) in enumerate(jobs, 1):
        yield Measuring(what, index, len(jobs))
        with within_memory(f"not enough memory for {what}; {_HINTS.get(what.split()[0], _HINT)}"):
            speed = measure()
        yield speed
