"""How good a model is on held-out text, in nats per character, by two protocols.

carried: the text is read from its start to its end with the state carried along. windowed:
consecutive windows of 256 characters, each from the initial state; nanoGPT samples its own.
Both are total nats over total characters, and leave model and random state as they were. Several
models read the same blocks, and the average of their probabilities is scored with them. Records
are read whole, each from its own initial state; an end counts as a character, and its nats are
also told apart.

S = tokens, B = lanes, T = window length, M = models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.analysis.baselines import HELD_OUT_TOKENS
from charrnn.config import TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.data.records import Records
from charrnn.errors import CorpusError, counted
from charrnn.model.encoder import Network
from charrnn.model.network import CharRNN, State
from charrnn.text.vocab import Ids, Vocab
from charrnn.training.batches import Window
from charrnn.training.world import SINGLE_PROCESS, World

WINDOW = 256
LANES = 32
_WINDOWS_AT_ONCE = 64
_LARGEST_LOGITS = 1 << 25  # numbers in a block's logits: 128 MiB
_SHORTEST_LANE = 1024
_RUN_UP = 256
_MOST_COUNTED = 1 << 20  # tokens, for the models that know nothing
_MOST_AT_THE_END = 10_000_000  # tokens; more would take hours and change no decimal


@dataclass(frozen=True)
class Score:
    """How well a model predicts a text. The first character is given, so it is not counted.

    end_nats: of the end of a record, on average; None without records.
    """

    loss_nats: float
    chars: int
    end_nats: float | None = None


class Stretch(NamedTuple):
    """A stretch of a text: ids (S,), and the records in it; None for running text."""

    ids: Ids
    records: Records | None = None

    def head(self, tokens: int) -> Stretch:
        """Return the first ids, so many at most, but one record at least; 0 takes all."""
        if not tokens or tokens >= len(self.ids):
            return self
        if self.records is None:
            return Stretch(self.ids[:tokens])
        count = max(1, int(np.searchsorted(self.records.ends, tokens, "right")))
        ends = self.records.ends[:count]
        return Stretch(self.ids[: ends[-1]], Records(ends, self.records.labels[:count]))

    def sample(self, tokens: int) -> Stretch:
        """Return about so many ids: of running text the last, of records one in every so many.

        0 takes all, as no more than all does.
        """
        if not 0 < tokens < len(self.ids):
            return self
        if self.records is None:
            return Stretch(self.ids[-tokens:])
        ends = np.asarray(self.records.ends)
        chosen = np.arange(0, len(ends), -(-len(self.ids) // tokens))
        starts = np.where(chosen > 0, ends[chosen - 1], 1)
        parts = [self.ids[a:b] for a, b in zip(starts.tolist(), ends[chosen].tolist(), strict=True)]
        new_ends = 1 + np.cumsum(ends[chosen] - starts)
        labels = np.asarray(self.records.labels[chosen])
        return Stretch(np.concatenate([self.ids[:1], *parts]), Records(new_ends, labels))

    def read(
        self, positions: NDArray[np.int64], device: torch.device
    ) -> tuple[Window, NDArray[np.bool_]]:
        """Return the inputs at `positions` (B, T) as a window, and which targets are ends."""
        parts: list[Any] = [self.ids[at].astype(np.int64) for at in (positions, positions + 1)]
        labels = np.empty((*positions.shape, 0), np.int64)
        is_end = np.zeros(positions.shape, np.bool_)
        if self.records is not None:
            which = np.searchsorted(self.records.ends, positions + 1, "right")
            is_end = self.records.ends[which] == positions + 2
            labels = np.asarray(self.records.labels[which]).astype(np.int64)
        return Window(*(torch.from_numpy(each).to(device) for each in (*parts, labels))), is_end

    def without_labels(self) -> Stretch:
        """Return the same text, of whose records nothing is known."""
        if self.records is None:
            return self
        return Stretch(self.ids, Records(self.records.ends, self.records.labels[:, :0]))


OnProgress = Callable[[int], None]
"""Called with how many more tokens have been scored; what it raises ends the scoring."""


class HeldOutScore(NamedTuple):
    """What a model costs: nats a character or a target, with its logits divided by a temperature.

    The output of a model that is kept is divided by it.
    """

    nats: float
    temperature: float = 1.0


@dataclass(frozen=True)
class FinalScores:
    """The nats per character of a run's best model; None where nothing is held out.

    val_compared: on as much held-out text as the baselines are scored on. train_eval: on training
    text, scored as the held-out text is. val_end: of the end of a record. val_unlabelled: where the
    labels are not known. val_by_source: of the text of each path, where there are several.
    """

    val: float | None = None
    val_windowed: float | None = None
    val_compared: float | None = None
    train_eval: float | None = None
    val_end: float | None = None
    val_unlabelled: float | None = None
    val_by_source: dict[str, float] = field(default_factory=dict)


class HeldOut:
    """A corpus's held-out text and as much training text, which several processes score together.

    All of it counts at the end, up to 10,000,000 tokens; with eval_chars 0 all there is, always.
    part: what of it is used while training, its beginning or all. is_empty: nothing is held out, so
    there is nothing to score.

    Raises:
        CorpusError: something is held out, but no character to predict.
    """

    def __init__(self, corpus: Corpus, config: TrainConfig, world: World) -> None:
        val = Stretch(corpus.val, corpus.val_records)
        self._whole = val.head(_MOST_AT_THE_END + 1) if config.eval_chars else val
        self._vocab = corpus.vocab
        self._world = world
        self._has_labels = len(corpus.labels) > 0
        self._sources = dict(zip(corpus.sources, corpus.val_source_ends, strict=False))
        self.part = val.head(config.eval_chars + 1) if config.eval_chars else val
        self.is_empty = len(val.ids) == 0
        # Of a running text its end, which is nearest to the held-out text.
        self._train = corpus.train
        train = Stretch(corpus.train, corpus.train_records)
        self._train_part = train.sample(len(self.part.ids))
        if not self.is_empty and self._vocab.count_characters(self.part.ids[1:]) < 1:
            raise CorpusError(
                f"{corpus.name} has {counted(corpus.chars, 'character')}, of which "
                f"{corpus.val_chars} {'is' if corpus.val_chars == 1 else 'are'} held out for "
                "validation: at least 2 are needed; give more text, or a larger --val-fraction or "
                "--val-file"
            )

    @property
    def part_chars(self) -> int:
        """How many characters are used while training."""
        return self._vocab.count_characters(self.part.ids)

    @cached_property
    def naive_nats(self) -> dict[str, float]:
        """The nats per character of models that know nothing, on the part's beginning.

        "guessing": all tokens are equally likely. "frequencies": each is as likely as it is
        frequent in the training text.
        """
        if self.is_empty:
            return {}
        targets = self.part.ids[1 : _MOST_COUNTED + 1]
        chars = max(self._vocab.count_characters(targets), 1)
        size = self._vocab.size
        counts = 1 + np.bincount(self._train[-_MOST_COUNTED:], minlength=size)  # none is impossible
        token_nats = np.log(counts.sum()) - np.log(counts)
        frequencies = float(token_nats @ np.bincount(targets, minlength=size)) / chars
        return {"guessing": math.log(size) * len(targets) / chars, "frequencies": frequencies}

    def score(self, model: Network, on_progress: OnProgress) -> HeldOutScore:
        """Return the nats per character of the part."""
        return HeldOutScore(self._carried(model, self.part, on_progress))

    def score_train(
        self, model: Network, on_progress: OnProgress, temperature: float = 1.0
    ) -> float:
        """Return the nats per character of as much training text, read in the same way."""
        assert temperature == 1, "a model of text is scored as it is"
        return self._carried(model, self._train_part, on_progress)

    def score_whole(
        self,
        model: Network,
        part_nats: float,
        train_eval_nats: float | None,
        on_progress: OnProgress,
    ) -> FinalScores:
        """Return the scores of the whole held-out text and of the training text.

        part_nats: what `score` returned for this model; train_eval_nats: what `score_train` did, if
        it was called.
        """
        assert isinstance(model, CharRNN)
        if self.is_empty:
            return FinalScores()
        if train_eval_nats is None:
            train_eval_nats = self.score_train(model, on_progress)
        whole = self._whole
        carried = part_nats
        windowed = end = unlabelled = None
        if whole.records is None:
            if len(self.part.ids) < len(whole.ids):
                carried = self._carried(model, whole, on_progress)
            windowed = compare_windowed(
                [model], whole, self._vocab, on_progress, world=self._world
            )[0].loss_nats
        else:  # a window of 256 characters would cut records
            score = self._score(model, whole, on_progress)
            carried = score.loss_nats
            end = score.end_nats
            if self._has_labels:
                unlabelled = self._carried(model, whole.without_labels(), on_progress)
        compared = carried
        if len(whole.ids) > HELD_OUT_TOKENS:
            compared = self._carried(model, whole.head(HELD_OUT_TOKENS), on_progress)
        by_source = self._score_sources(model, on_progress)
        return FinalScores(carried, windowed, compared, train_eval_nats, end, unlabelled, by_source)

    def _score_sources(self, model: CharRNN, on_progress: OnProgress) -> dict[str, float]:
        """Return the nats per character of each path's held-out text; {} unless several have any.

        All is read once more, as a whole: the figures are the parts that make up `val`.
        """
        text = self._whole
        ends = np.minimum(np.array([*self._sources.values()], np.int64), len(text.ids))
        chars = [
            self._vocab.count_characters(text.ids[max(start, 1) : end])
            for start, end in pairwise([0, *ends.tolist()])
        ]
        if np.count_nonzero(chars) < 2:
            return {}
        nats = score_stretches(model, text, ends, self._vocab, on_progress, self._world).tolist()
        scored = zip(self._sources, nats, chars, strict=True)
        return {path: total / count for path, total, count in scored if count}

    def _carried(self, model: Network, text: Stretch, on_progress: OnProgress) -> float:
        return self._score(model, text, on_progress).loss_nats

    def _score(self, model: Network, text: Stretch, on_progress: OnProgress) -> Score:
        assert isinstance(model, CharRNN)
        return compare_carried([model], text, self._vocab, on_progress, self._world)[0]


def evaluate_carried(
    model: CharRNN,
    ids: Ids,
    vocab: Vocab,
    on_progress: OnProgress = lambda tokens: None,
    world: World = SINGLE_PROCESS,
) -> Score:
    """Return the score on running text, `ids` (S,), with the state carried from start to end.

    The text is read in lanes. Each but the first also reads the 256 characters before its own,
    which are not counted; what a state remembers of earlier text is too little to change the third
    decimal. Several processes share the lanes, or windows, of each block.
    """
    return compare_carried([model], Stretch(ids), vocab, on_progress, world)[0]


def compare_carried(
    models: Sequence[CharRNN],
    text: Stretch,
    vocab: Vocab,
    on_progress: OnProgress = lambda tokens: None,
    world: World = SINGLE_PROCESS,
) -> list[Score]:
    """Return each model's score as `evaluate_carried` does, then that of their average."""
    return _score(models, text, vocab, _blocks_of(text, vocab), on_progress, world)


@torch.inference_mode()
def score_stretches(
    model: CharRNN,
    text: Stretch,
    ends: NDArray[np.int64],
    vocab: Vocab,
    on_progress: OnProgress = lambda tokens: None,
    world: World = SINGLE_PROCESS,
) -> NDArray[np.float64]:
    """Return the nats (N,) of stretches that end at `ends` (N,), of a text read as a whole.

    Their sum is that of the text as `compare_carried` reads it.
    """
    totals = np.zeros(len(ends))
    blocks = _blocks_of(text, vocab)
    for positions, nats, _ in _iter_nats([model], text, blocks, on_progress, world):
        which = np.searchsorted(ends, positions + 1, side="right")  # of the character that comes
        totals += np.bincount(which, nats[0], len(ends))[: len(ends)]
    world.all_reduce_sum([torch.from_numpy(totals)])
    return totals


def compare_windowed(
    models: Sequence[CharRNN],
    text: Stretch,
    vocab: Vocab,
    on_progress: OnProgress = lambda tokens: None,
    window: int = WINDOW,
    world: World = SINGLE_PROCESS,
) -> list[Score]:
    """Return each model's score on windows from the initial state, then that of their average."""
    at_once = max(1, min(_WINDOWS_AT_ONCE, _LARGEST_LOGITS // (window * vocab.size)))
    blocks = _windowed_blocks(len(text.ids) - 1, window, at_once)
    return _score(models, text, vocab, blocks, on_progress, world)


def with_average(nats: Tensor) -> Tensor:
    """Return the nats (M, N) of N targets with a row for the average below: (M + 1, N).

    The average gives a target the mean of the M probabilities.
    """
    average = math.log(len(nats)) - torch.logsumexp(-nats, 0, keepdim=True)
    return torch.cat((nats, average))


def make_scores(totals: NDArray[np.float64], text: Stretch, vocab: Vocab) -> list[Score]:
    """Return the scores of a whole text's nats (2, M + 1): of all targets, and of ends."""
    chars = vocab.count_characters(text.ids[1:])
    scores = [Score(total / max(chars, 1), chars) for total in totals[0].tolist()]
    if text.records is None:
        return scores
    each_end = (totals[1] / len(text.records)).tolist()
    return [replace(score, end_nats=nats) for score, nats in zip(scores, each_end, strict=True)]


Block = tuple[NDArray[np.int64], NDArray[np.bool_], bool]
"""Positions (B, T) in the text, which of them count (B, T), and whether the state is initial."""


def _blocks_of(text: Stretch, vocab: Vocab) -> Iterator[Block]:
    """Return the blocks in which a text is read with the state carried, or record by record."""
    targets = len(text.ids) - 1
    lanes = max(1, min(LANES, targets // _SHORTEST_LANE))
    length = max(1, min(WINDOW, _LARGEST_LOGITS // (lanes * vocab.size)))
    if text.records is None:
        return _carried_blocks(targets, lanes, length)
    return _record_blocks(text.records, lanes, length)


def _carried_blocks(targets: int, lanes: int, length: int) -> Iterator[Block]:
    run_up = _RUN_UP if lanes > 1 else 0
    own = -(-(targets - run_up) // lanes)
    first = np.arange(lanes)[:, None] * own
    for start in range(0, run_up + own, length):
        steps = np.arange(start, min(start + length, run_up + own))
        positions = first + steps
        yield positions, (positions < targets) & ((steps >= run_up) | (first == 0)), start == 0


def _windowed_blocks(targets: int, window: int, at_once: int) -> Iterator[Block]:
    starts = np.arange(0, targets, window)
    for i in range(0, len(starts), at_once):
        positions = starts[i : i + at_once, None] + np.arange(min(window, targets))
        yield positions, positions < targets, True


def _record_blocks(records: Records, lanes: int, length: int) -> Iterator[Block]:
    """Yield blocks in which each lane has whole records."""
    ends = np.asarray(records.ends)
    cuts = np.searchsorted(ends, np.arange(1, lanes) * ends[-1] // lanes)
    starts = np.unique(np.concatenate(([0], ends[cuts] - 1)))  # the end before a record is read
    stops = np.append(starts[1:], ends[-1] - 1)
    longest = int((stops - starts).max())
    for begin in range(0, longest, length):
        positions = starts[:, None] + np.arange(begin, min(begin + length, longest))
        yield positions, positions < stops[:, None], begin == 0


@torch.inference_mode()
def _score(
    models: Sequence[CharRNN],
    text: Stretch,
    vocab: Vocab,
    blocks: Iterator[Block],
    on_progress: OnProgress,
    world: World,
) -> list[Score]:
    """Return the scores of each model, then of their average, over every position that counts."""
    totals = np.zeros((2, len(models) + 1))  # of all targets, and of ends
    for _, nats, is_end in _iter_nats(models, text, blocks, on_progress, world):
        totals[0] += nats.sum(1, dtype=np.float64)
        totals[1] += nats[:, is_end].sum(1, dtype=np.float64)
    world.all_reduce_sum([torch.from_numpy(totals)])
    return make_scores(totals, text, vocab)


def _iter_nats(
    models: Sequence[CharRNN],
    text: Stretch,
    blocks: Iterable[Block],
    on_progress: OnProgress,
    world: World,
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]]:
    """Yield this process's share of each block: the N positions that count, with their nats.

    The nats (M + 1, N) are of the character after each position; the last tells which are ends.
    """
    states: list[State | None] = [None] * len(models)
    for positions, is_counted, is_new in blocks:
        own = world.shard(len(positions))
        if own.start < own.stop:
            before = [None] * len(models) if is_new else states
            nats, states, is_end = _read_block(models, text, positions[own], before)
            counted = is_counted[own].T.ravel()
            yield positions[own].T.ravel()[counted], nats[:, counted], is_end[counted]
        on_progress(int(is_counted.sum()))


def _read_block(
    models: Sequence[CharRNN],
    text: Stretch,
    positions: NDArray[np.int64],
    states: Sequence[State | None],
) -> tuple[NDArray[np.float32], list[State | None], NDArray[np.bool_]]:
    """Return the nats (M + 1, T·B) of a block's targets, and each model's state after it.

    Returns also which targets are ends (T·B,).
    """
    clipped = np.minimum(positions, len(text.ids) - 2)  # positions beyond the text do not count
    window, is_end = text.read(clipped, models[0].output.weight.device)
    read = [
        model.token_losses(window.inputs, window.targets, state, window.labels)
        for model, state in zip(models, states, strict=True)
    ]
    nats = with_average(torch.stack([nats for nats, _ in read])).cpu().numpy()
    return nats, [state for _, state in read], is_end.T.ravel()
