"""How good a model is on held-out text, in nats per character, by two protocols.

carried: the text is read from its start to its end with the state carried along. windowed:
consecutive windows of 256 characters, each from the initial state; nanoGPT samples its own.
Both are total nats over total characters, and leave model and random state as they were. Several
models read the same blocks, and the average of their probabilities is scored with them.

S = tokens, B = lanes, T = window length, M = models.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from charrnn.analysis.baselines import HELD_OUT_TOKENS
from charrnn.config import TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.errors import CorpusError, counted
from charrnn.model.network import CharRNN, State
from charrnn.text.vocab import Ids, Vocab
from charrnn.training.distributed import SINGLE_PROCESS, World

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
    """How well a model predicts a text. The first character is given, so it is not counted."""

    loss_nats: float
    chars: int


OnProgress = Callable[[int], None]
"""Called with how many more tokens have been scored; what it raises ends the scoring."""


@dataclass(frozen=True)
class FinalScores:
    """The nats per character of a run's best model; None where nothing is held out.

    val_compared: on as much held-out text as the baselines are scored on. train_eval: on training
    text, scored as the held-out text is.
    """

    val: float | None = None
    val_windowed: float | None = None
    val_compared: float | None = None
    train_eval: float | None = None


class HeldOut:
    """A corpus's held-out text and as much training text, which several processes score together.

    All of it counts at the end, up to 10,000,000 tokens; with eval_chars 0 all there is, always.
    part: the ids (S,) of it that are used while training, its beginning or all. is_empty: nothing
    is held out, so there is nothing to score.

    Raises:
        CorpusError: something is held out, but no character to predict.
    """

    def __init__(self, corpus: Corpus, config: TrainConfig, world: World) -> None:
        val = corpus.val
        self._whole = val[: _MOST_AT_THE_END + 1] if config.eval_chars else val
        self._vocab = corpus.vocab
        self._world = world
        self.part = val[: config.eval_chars + 1] if config.eval_chars else val
        self.is_empty = len(val) == 0
        # Of the training text its end, which is nearest to the held-out text.
        self._train = corpus.train
        self._train_part = corpus.train[-len(self.part) :]
        if not self.is_empty and self._vocab.count_characters(self.part[1:]) < 1:
            raise CorpusError(
                f"{corpus.name} has {counted(corpus.chars, 'character')}, of which "
                f"{corpus.val_chars} {'is' if corpus.val_chars == 1 else 'are'} held out for "
                "validation: at least 2 are needed; give more text, or a larger --val-fraction or "
                "--val-file"
            )

    @property
    def part_chars(self) -> int:
        """How many characters are used while training."""
        return self._vocab.count_characters(self.part)

    @cached_property
    def naive_nats(self) -> dict[str, float]:
        """The nats per character of models that know nothing, on the part's beginning.

        "guessing": all tokens are equally likely. "frequencies": each is as likely as it is
        frequent in the training text.
        """
        if self.is_empty:
            return {}
        targets = self.part[1 : _MOST_COUNTED + 1]
        chars = max(self._vocab.count_characters(targets), 1)
        size = self._vocab.size
        counts = 1 + np.bincount(self._train[-_MOST_COUNTED:], minlength=size)  # none is impossible
        token_nats = np.log(counts.sum()) - np.log(counts)
        frequencies = float(token_nats @ np.bincount(targets, minlength=size)) / chars
        return {"guessing": math.log(size) * len(targets) / chars, "frequencies": frequencies}

    def score(self, model: CharRNN, on_progress: OnProgress) -> float:
        """Return the nats per character of the part."""
        return self._carried(model, self.part, on_progress)

    def score_train(self, model: CharRNN, on_progress: OnProgress) -> float:
        """Return the nats per character of as much training text, read in the same way."""
        return self._carried(model, self._train_part, on_progress)

    def score_whole(
        self,
        model: CharRNN,
        part_nats: float,
        train_eval_nats: float | None,
        on_progress: OnProgress,
    ) -> FinalScores:
        """Return the scores of the whole held-out text and of the training text.

        part_nats: what `score` returned for this model; train_eval_nats: what `score_train` did, if
        it was called.
        """
        if self.is_empty:
            return FinalScores()
        if train_eval_nats is None:
            train_eval_nats = self.score_train(model, on_progress)
        whole = self._whole
        carried = part_nats
        if len(self.part) < len(whole):
            carried = self._carried(model, whole, on_progress)
        windowed = compare_windowed([model], whole, self._vocab, on_progress, world=self._world)[0]
        compared = carried
        if len(whole) > HELD_OUT_TOKENS:
            compared = self._carried(model, whole[:HELD_OUT_TOKENS], on_progress)
        return FinalScores(carried, windowed.loss_nats, compared, train_eval_nats)

    def _carried(self, model: CharRNN, ids: Ids, on_progress: OnProgress) -> float:
        return evaluate_carried(model, ids, self._vocab, on_progress, self._world).loss_nats


def evaluate_carried(
    model: CharRNN,
    ids: Ids,
    vocab: Vocab,
    on_progress: OnProgress = lambda tokens: None,
    world: World = SINGLE_PROCESS,
) -> Score:
    """Return the score on `ids` (S,) with the state carried from start to end.

    The text is read in lanes. Each but the first also reads the 256 characters before its own,
    which are not counted; what a state remembers of earlier text is too little to change the third
    decimal. Several processes share the lanes, or windows, of each block.
    """
    return compare_carried([model], ids, vocab, on_progress, world)[0]


def compare_carried(
    models: Sequence[CharRNN],
    ids: Ids,
    vocab: Vocab,
    on_progress: OnProgress = lambda tokens: None,
    world: World = SINGLE_PROCESS,
) -> list[Score]:
    """Return each model's score as `evaluate_carried` does, then that of their average."""
    targets = len(ids) - 1
    lanes = max(1, min(LANES, targets // _SHORTEST_LANE))
    length = max(1, min(WINDOW, _LARGEST_LOGITS // (lanes * vocab.size)))
    return _score(models, ids, vocab, _carried_blocks(targets, lanes, length), on_progress, world)


def compare_windowed(
    models: Sequence[CharRNN],
    ids: Ids,
    vocab: Vocab,
    on_progress: OnProgress = lambda tokens: None,
    window: int = WINDOW,
    world: World = SINGLE_PROCESS,
) -> list[Score]:
    """Return each model's score on windows from the initial state, then that of their average."""
    at_once = max(1, min(_WINDOWS_AT_ONCE, _LARGEST_LOGITS // (window * vocab.size)))
    blocks = _windowed_blocks(len(ids) - 1, window, at_once)
    return _score(models, ids, vocab, blocks, on_progress, world)


def with_average(nats: Tensor) -> Tensor:
    """Return the nats (M, N) of N targets with a row for the average below: (M + 1, N).

    The average gives a target the mean of the M probabilities.
    """
    average = math.log(len(nats)) - torch.logsumexp(-nats, 0, keepdim=True)
    return torch.cat((nats, average))


def make_scores(loss_sums: NDArray[np.float64], ids: Ids, vocab: Vocab) -> list[Score]:
    """Return the scores per character of whole texts' nats (M + 1,)."""
    chars = vocab.count_characters(ids[1:])
    return [Score(total / max(chars, 1), chars) for total in loss_sums.tolist()]


Block = tuple[NDArray[np.int64], NDArray[np.bool_], bool]
"""Positions (B, T) in the text, which of them count (B, T), and whether the state is initial."""


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


@torch.inference_mode()
def _score(
    models: Sequence[CharRNN],
    ids: Ids,
    vocab: Vocab,
    blocks: Iterator[Block],
    on_progress: OnProgress,
    world: World,
) -> list[Score]:
    """Return the scores of each model, then of their average, over every position that counts."""
    totals = np.zeros(len(models) + 1)
    states: list[State | None] = [None] * len(models)
    for positions, is_counted, is_new in blocks:
        own = world.shard(len(positions))
        if own.start < own.stop:
            before = [None] * len(models) if is_new else states
            nats, states = _read_block(models, ids, positions[own], before)
            totals += nats[:, is_counted[own].T.ravel()].sum(1, dtype=np.float64)
        on_progress(int(is_counted.sum()))
    world.all_reduce_sum([torch.from_numpy(totals)])
    return make_scores(totals, ids, vocab)


def _read_block(
    models: Sequence[CharRNN],
    ids: Ids,
    positions: NDArray[np.int64],
    states: Sequence[State | None],
) -> tuple[NDArray[np.float32], list[State | None]]:
    """Return the nats (M + 1, T·B) of a block's targets, and each model's state after it."""
    device = models[0].output.weight.device
    clipped = np.minimum(positions, len(ids) - 2)  # positions beyond the text do not count
    inputs, targets = (
        torch.from_numpy(ids[at].astype(np.int64)).to(device) for at in (clipped, clipped + 1)
    )
    read = [m.token_losses(inputs, targets, s) for m, s in zip(models, states, strict=True)]
    nats = with_average(torch.stack([nats for nats, _ in read])).cpu().numpy()
    return nats, [state for _, state in read]
