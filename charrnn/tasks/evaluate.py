"""Model files scored on a text, by each protocol: what `charrnn eval` calls."""

import math
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.config import LENGTHS, DynamicConfig, TrainConfig, as_dict
from charrnn.errors import ConfigError
from charrnn.generation.scoring import bpc_with_unseen, unseen_bits
from charrnn.metrics import bits_per_char, perplexity
from charrnn.model.device import configure_torch
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel, read_eval_text
from charrnn.training.dynamic import compare_dynamic
from charrnn.training.evaluation import Score, Stretch, compare_carried, compare_windowed

# Differ from seed to seed, or as a budget ends, and not in what is trained.
_OF_A_RUN = {"seed", *LENGTHS, "length_history", "eval_every", "device", "precision", "threads"}

PROTOCOLS = ("carried", "windowed", "unlabelled", "dynamic")

OnProgress = Callable[[str, int, int], None]
"""Called with the protocol, the number of tokens scored since its last call, and the total."""


@dataclass(frozen=True)
class Metrics:
    """One loss in four units; nats and bpc are per character that the model knows.

    bpc_with_unseen: with what the characters cost that it never saw. bits_per_byte: of the UTF-8
    bytes of those that it knows; of the bytes as they are for a model of bytes.
    """

    nats: float
    bpc: float
    perplexity: float
    bpc_with_unseen: float
    bits_per_byte: float


@dataclass(frozen=True)
class ModelScores:
    """How well one model, or the ensemble of several, predicts the text, by each protocol.

    model: its name as it was given. windowed: None for records, which are read whole. unlabelled:
    where no label is known; None without labels. end_bits: what the end of a record costs; None
    without records. unseen_bits: what all the characters cost that the model never saw, by any
    protocol. path: its file; None where it stands for several models.
    """

    model: str
    carried: Metrics
    windowed: Metrics | None = None
    dynamic: Metrics | None = None
    unlabelled: Metrics | None = None
    end_bits: float | None = None
    unseen_bits: float = 0.0
    path: str | None = None


@dataclass(frozen=True)
class EvalResult:
    """The scores of each model on `chars` characters, which take `utf8_bytes` bytes.

    Of several models also: ensemble, the scores of one prediction, the average of their
    probabilities; mean and sd, of the single models' figures, with n − 1. None for one model.
    unseen_chars: more characters, which the models never saw. mapped: what was changed in the text
    for the models to know it, and how often each. notes: on how files were read, and on settings in
    which the models differ besides their seed.
    """

    texts: list[str]
    split: str
    chars: int
    models: list[ModelScores]
    ensemble: ModelScores | None = None
    mean: ModelScores | None = None
    sd: ModelScores | None = None
    utf8_bytes: int = 0
    unseen_chars: int = 0
    mapped: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def evaluate_models(
    paths: Sequence[tuple[str, Path]],
    request: EvalTextRequest,
    dynamic: DynamicConfig | None = None,
    on_progress: OnProgress = lambda protocol, tokens, total: None,
) -> EvalResult:
    """Score a text with model files, each a name to show and a path, and with their ensemble.

    dynamic: adds dynamic evaluation.

    Raises:
        CheckpointError: a model file is damaged.
        ConfigError, CorpusError, VocabError: as `read_eval_text`; or there is no model.
        DivergedError: a model learned too fast.
    """
    if not paths:
        raise ConfigError("there is no model to score; name one or more")
    named = [NamedModel(name, read_model(path)) for name, path in paths]
    for model in named:
        if model.file.config.task != "text":
            raise ConfigError(
                f"{model.name!r} is a model for {model.file.config.task}, which is scored alone; "
                "name no other model beside it"
            )
    text = read_eval_text(named, request)
    networks = load_networks([model.file for model in named])  # only now: it may be refused
    stretch = Stretch(text.ids, text.records)
    protocols: dict[str, Callable[..., list[Score]]]
    protocols = {"carried": partial(compare_carried, text=stretch)}
    if text.records is None:
        protocols["windowed"] = partial(compare_windowed, text=stretch)
    elif len(named[0].file.labels):
        protocols["unlabelled"] = partial(compare_carried, text=stretch.without_labels())
    if dynamic is not None:
        protocols["dynamic"] = partial(compare_dynamic, text=stretch, config=dynamic)
    vocab = named[0].file.vocab  # all models share it
    total = len(text.ids) - 1  # the first token is given
    chars = vocab.count_characters(text.ids[1:])
    utf8_bytes = vocab.count_bytes(text.ids[1:])
    # What one unseen character costs each model, and their ensemble.
    each_bits = [unseen_bits(vocab, model.file.summary) for model in named]
    each_bits.append(-math.log2(sum(2**-bits for bits in each_bits) / len(named)))
    unseen = [text.unseen_chars * bits for bits in each_bits]
    metrics: dict[str, list[Metrics]] = {}
    ends: list[float | None] = [None] * (len(named) + 1)
    for protocol, compare in protocols.items():

        def report(tokens: int, protocol: str = protocol) -> None:
            on_progress(protocol, tokens, total)

        scores = compare(networks, vocab=vocab, on_progress=report)
        if protocol == "carried" and text.records is not None:
            ends = [bits_per_char(score.end_nats or 0.0) for score in scores]
        metrics[protocol] = [
            _make_metrics(score.loss_nats, (chars, utf8_bytes), bits, text.unseen_chars)
            for score, bits in zip(scores, unseen, strict=True)
        ]
    # Each list has a score for each model, then that of their ensemble.
    names = [(name, str(path)) for name, path in paths] + [(f"ensemble of {len(named)}", None)]
    *rows, ensemble = [
        ModelScores(
            name,
            **{key: metrics[key][i] for key in metrics},
            end_bits=ends[i],
            unseen_bits=unseen[i],
            path=path,
        )
        for i, (name, path) in enumerate(names)
    ]
    of_several = {}
    if len(rows) > 1:
        of_several = {
            "ensemble": ensemble,
            "mean": _combine(rows, f"mean of {len(rows)}", np.mean),
            "sd": _combine(rows, f"sd of {len(rows)}", partial(np.std, ddof=1)),
        }
    return EvalResult(
        text.texts,
        text.split,
        chars,
        rows,
        **of_several,
        utf8_bytes=utf8_bytes,
        unseen_chars=text.unseen_chars,
        mapped=dict(text.changes),
        notes=(*text.notes, *_describe_differences(named)),
    )


def load_networks(files: Sequence[ModelFile]) -> list[CharRNN]:
    """Return the networks of model files, and set torch up for them."""
    configure_torch(TrainConfig())
    networks = []
    for file in files:
        network = CharRNN(file.config)
        load_numpy_state_dict(network, file.weights)
        networks.append(network)
    return networks


def _make_metrics(
    loss_nats: float, sizes: tuple[int, int], unseen_bits: float, unseen_chars: int
) -> Metrics:
    """Return a loss in each unit; sizes: of the scored text, in characters and in bytes."""
    chars, utf8_bytes = sizes
    bpc = bits_per_char(loss_nats)
    bits = bpc * chars
    with_unseen = bpc_with_unseen(bits, chars, unseen_bits, unseen_chars)
    return Metrics(loss_nats, bpc, perplexity(loss_nats), with_unseen, bits / utf8_bytes)


@np.errstate(invalid="ignore")  # a perplexity may be infinite
def _combine(rows: list[ModelScores], name: str, of: Callable[[list[float]], Any]) -> ModelScores:
    """Return what `of` makes of each figure of several models."""
    metrics: dict[str, Any] = {}
    for protocol in PROTOCOLS:
        if getattr(rows[0], protocol) is not None:
            each = [astuple(getattr(row, protocol)) for row in rows]
            values = [float(of(list(figure))) for figure in zip(*each, strict=True)]
            metrics[protocol] = Metrics(*values)
    ends = [row.end_bits for row in rows if row.end_bits is not None]
    end_bits = float(of(ends)) if ends else None
    unseen_bits = float(of([row.unseen_bits for row in rows]))
    return ModelScores(name, **metrics, end_bits=end_bits, unseen_bits=unseen_bits)


def _describe_differences(models: Sequence[NamedModel]) -> list[str]:
    """Return a note where the spread of the models is not that of seeds alone."""
    summaries = [model.file.summary for model in models]
    settings = [
        each.get("resolved", each.get("settings", {})) | as_dict(model.file.config)
        for each, model in zip(summaries, models, strict=True)
    ]
    names = dict.fromkeys(name for each in settings for name in each if name not in _OF_A_RUN)
    unlike = [n for n in names if any(each.get(n) != settings[0].get(n) for each in settings)]
    if not unlike:
        return []
    return [f"these models differ in {', '.join(unlike)}: their sd is not that of seeds alone"]
