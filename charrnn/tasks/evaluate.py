"""Model files scored on a text, by each protocol: what `charrnn eval` calls."""

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

OnProgress = Callable[[str, int, int], None]
"""Called with the protocol, the number of tokens scored since its last call, and the total."""


@dataclass(frozen=True)
class Metrics:
    """One loss in three units; nats and bpc are per character."""

    nats: float
    bpc: float
    perplexity: float


@dataclass(frozen=True)
class ModelScores:
    """How well one model, or the average of several, predicts the text, by each protocol."""

    model: str
    carried: Metrics
    windowed: Metrics
    dynamic: Metrics | None = None


@dataclass(frozen=True)
class EvalResult:
    """The scores of each model on `chars` characters; average: of several models' probabilities."""

    texts: list[str]
    split: str
    chars: int
    models: list[ModelScores]
    average: ModelScores | None


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
        ConfigError, CorpusError, VocabError: as `read_eval_text`.
        DivergedError: a model learned too fast.
    """
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
    metrics: dict[str, list[Metrics]] = {}
    for protocol, compare in protocols.items():

        def report(tokens: int, protocol: str = protocol) -> None:
            on_progress(protocol, tokens, total)

        scores = compare(networks, text.ids, vocab, on_progress=report)
        losses = [score.loss_nats for score in scores]
        metrics[protocol] = [
            Metrics(loss, bits_per_char(loss), perplexity(loss)) for loss in losses
        ]
    # Each list has a score for each model, then that of their average.
    *rows, average = [
        ModelScores(name, **{protocol: metrics[protocol][i] for protocol in metrics})
        for i, name in enumerate([*(model.name for model in named), f"average of {len(named)}"])
    ]
    chars = vocab.count_characters(text.ids[1:])
    return EvalResult(text.texts, text.split, chars, rows, average if len(rows) > 1 else None)
