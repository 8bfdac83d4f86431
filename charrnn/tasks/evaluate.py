"""Model files and a text become figures: what `charrnn eval` calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from charrnn.checkpoint.model_file import read_model
from charrnn.config import DynamicConfig, TrainConfig
from charrnn.metrics import bits_per_char, perplexity
from charrnn.model.device import configure_torch
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel, read_eval_text
from charrnn.training.dynamic import compare_dynamic
from charrnn.training.evaluation import Score, compare_carried, compare_windowed

Watch = Callable[[str, int, int], None]
"""Is told the protocol, how many tokens more have been scored, and how many there are."""


@dataclass(frozen=True)
class Metrics:
    """One loss in three units; nats and bpc are per character."""

    nats: float
    bpc: float
    perplexity: float


@dataclass(frozen=True)
class ModelScores:
    """What one model, or the average of several, makes of the text by each protocol."""

    model: str
    carried: Metrics
    windowed: Metrics
    dynamic: Metrics | None = None


@dataclass(frozen=True)
class EvalResult:
    """What each model makes of `chars` characters; average: of several models' probabilities."""

    texts: list[str]
    split: str
    chars: int
    models: list[ModelScores]
    average: ModelScores | None


def evaluate_models(
    paths: Sequence[tuple[str, Path]],
    wanted: EvalTextRequest,
    dynamic: DynamicConfig | None = None,
    watch: Watch = lambda *_: None,
) -> EvalResult:
    """Score a text with model files, each a name to show and a path, and with their average.

    dynamic: asks for dynamic evaluation too.

    Raises:
        CheckpointError: a model file is damaged.
        ConfigError, CorpusError, VocabError: as `read_passage`.
        DivergedError: a model learned too fast.
    """
    named = [NamedModel(name, read_model(path)) for name, path in paths]
    passage = read_eval_text(named, wanted)
    configure_torch(TrainConfig())
    scored = [_make_network(each) for each in named], passage.ids, named[0].file.vocab
    protocols: dict[str, Callable[..., list[Score]]]
    protocols = {"carried": compare_carried, "windowed": compare_windowed}
    if dynamic is not None:
        protocols["dynamic"] = partial(compare_dynamic, config=dynamic)
    scores = {
        protocol: compare(*scored, watch=_watched(watch, protocol, len(passage.ids) - 1))
        for protocol, compare in protocols.items()
    }
    names = [*(each.name for each in named), f"average of {len(named)}"]
    *rows, average = [
        ModelScores(name, **{protocol: _figures(each[i]) for protocol, each in scores.items()})
        for i, name in enumerate(names)
    ]
    chars = scores["carried"][0].chars
    has_average = len(rows) > 1
    return EvalResult(passage.texts, passage.split, chars, rows, average if has_average else None)


def _make_network(model: NamedModel) -> CharRNN:
    network = CharRNN(model.file.config)
    load_numpy_state_dict(network, model.file.weights)
    return network


def _watched(watch: Watch, protocol: str, total: int) -> Callable[[int], None]:
    return lambda tokens: watch(protocol, tokens, total)


def _figures(score: Score) -> Metrics:
    nats = score.loss_nats
    return Metrics(nats, bits_per_char(nats), perplexity(nats))
