"""Model files scored on a text, by each protocol: what `charrnn eval` calls."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from charrnn.checkpoint.model_file import read_model
from charrnn.config import DynamicConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.generation.scoring import bpc_with_unseen, unseen_bits
from charrnn.metrics import bits_per_char, perplexity
from charrnn.model.device import configure_torch
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel, read_eval_text
from charrnn.training.dynamic import compare_dynamic
from charrnn.training.evaluation import Score, compare_carried, compare_windowed

OnProgress = Callable[[str, int, int], None]
"""Called with the protocol, the number of tokens scored since its last call, and the total."""


@dataclass(frozen=True)
class Metrics:
    """One loss in three units; nats and bpc are per character that the model knows.

    bpc_with_unseen: with what the characters cost that it never saw.
    """

    nats: float
    bpc: float
    perplexity: float
    bpc_with_unseen: float


@dataclass(frozen=True)
class ModelScores:
    """How well one model, or the average of several, predicts the text, by each protocol.

    unseen_bits: what all the characters cost that the model never saw, by any protocol.
    """

    model: str
    carried: Metrics
    windowed: Metrics
    dynamic: Metrics | None = None
    unseen_bits: float = 0.0


@dataclass(frozen=True)
class EvalResult:
    """The scores of each model on `chars` characters; average: of several models' probabilities.

    unseen_chars: more characters, which the models never saw. mapped: what was changed in the text
    for the models to know it, and how often each. notes: on how files were read.
    """

    texts: list[str]
    split: str
    chars: int
    models: list[ModelScores]
    average: ModelScores | None
    unseen_chars: int = 0
    mapped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def evaluate_models(
    paths: Sequence[tuple[str, Path]],
    request: EvalTextRequest,
    dynamic: DynamicConfig | None = None,
    on_progress: OnProgress = lambda protocol, tokens, total: None,
) -> EvalResult:
    """Score a text with model files, each a name to show and a path, and with their average.

    dynamic: adds dynamic evaluation.

    Raises:
        CheckpointError: a model file is damaged.
        ConfigError, CorpusError, VocabError: as `read_eval_text`; or there is no model.
        DivergedError: a model learned too fast.
    """
    if not paths:
        raise ConfigError("there is no model to score; name one or more")
    named = [NamedModel(name, read_model(path)) for name, path in paths]
    text = read_eval_text(named, request)
    configure_torch(TrainConfig())  # only now: the text may be refused
    networks = []
    for model in named:
        network = CharRNN(model.file.config)
        load_numpy_state_dict(network, model.file.weights)
        networks.append(network)
    protocols: dict[str, Callable[..., list[Score]]]
    protocols = {"carried": compare_carried, "windowed": compare_windowed}
    if dynamic is not None:
        protocols["dynamic"] = partial(compare_dynamic, config=dynamic)
    vocab = named[0].file.vocab  # all models share it
    total = len(text.ids) - 1  # the first token is given
    chars = vocab.count_characters(text.ids[1:])
    # What one unseen character costs each model, and the average of their probabilities.
    each_bits = [unseen_bits(vocab, model.file.summary) for model in named]
    each_bits.append(-math.log2(sum(2**-bits for bits in each_bits) / len(named)))
    unseen = [text.unseen_chars * bits for bits in each_bits]
    metrics: dict[str, list[Metrics]] = {}
    for protocol, compare in protocols.items():

        def report(tokens: int, protocol: str = protocol) -> None:
            on_progress(protocol, tokens, total)

        scores = compare(networks, text.ids, vocab, on_progress=report)
        metrics[protocol] = [
            _make_metrics(score.loss_nats, chars, bits, text.unseen_chars)
            for score, bits in zip(scores, unseen, strict=True)
        ]
    # Each list has a score for each model, then that of their average.
    *rows, average = [
        ModelScores(name, **{key: metrics[key][i] for key in metrics}, unseen_bits=unseen[i])
        for i, name in enumerate([*(model.name for model in named), f"average of {len(named)}"])
    ]
    return EvalResult(
        text.texts,
        text.split,
        chars,
        rows,
        average if len(rows) > 1 else None,
        text.unseen_chars,
        dict(text.changes),
        text.notes,
    )


def _make_metrics(loss_nats: float, chars: int, unseen_bits: float, unseen_chars: int) -> Metrics:
    bpc = bits_per_char(loss_nats)
    with_unseen = bpc_with_unseen(bpc * chars, chars, unseen_bits, unseen_chars)
    return Metrics(loss_nats, bpc, perplexity(loss_nats), with_unseen)
