"""How good a network is on held-out records: nats for each class, tag or target token.

What `evaluation.HeldOut` is for text. A network that reads whole records reads them in batches of
like length. The nats are total nats over total targets.

A network that writes targets grows too sure of them long before it stops learning to write more of
them right: its nats rise while its errors still fall. So it is scored at the temperature at which
its nats are least (Guo et al. 2017), and its output is divided by that in the model that is kept.

R = records, K = what a target can be.
"""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch

from charrnn.config import TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.data.draw import Ints
from charrnn.data.records import Targets
from charrnn.model.encoder import Encoder, Network
from charrnn.training.evaluation import FinalScores, HeldOut, HeldOutScore, OnProgress, Stretch
from charrnn.training.record_batches import NO_TARGET, TaskRecords, records_of
from charrnn.training.task_plan import find_task
from charrnn.training.world import SINGLE_PROCESS, World

_BATCH_TOKENS = 1 << 14
_MOST_COUNTED = 1 << 20  # targets, for the models that know nothing


def make_held_out(corpus: Corpus, config: TrainConfig, world: World) -> HeldOut | HeldOutRecords:
    """Return what is held out, as the task scores it.

    Raises:
        ConfigError: the corpus is made for another task.
        CorpusError: there is nothing to score, though something is held out.
    """
    task = find_task(config, corpus)
    if task == "text":
        return HeldOut(corpus, config, world)
    return HeldOutRecords(corpus, config, task, config.longest_tokens, world)


class HeldOutRecords:
    """A corpus's held-out records, and as many training records, spread over all.

    part: the ids of those that are used while training. is_empty: none is held out.
    """

    def __init__(
        self, corpus: Corpus, config: TrainConfig, task: str, longest: int, world: World
    ) -> None:
        self._world = world
        self._count = _target_kinds(corpus)
        self._train = records_of(corpus, "train", task, longest)
        self.is_empty = not len(corpus.val)
        self.part = Stretch(corpus.val)
        if self.is_empty:
            return
        self._val = records_of(corpus, "val", task, longest)
        self._chosen = _choose(self._val, config.eval_chars)
        read = int(self._val.lengths(self._chosen).sum())
        self.part = Stretch(corpus.val[: read + len(self._chosen)])
        self._train_chosen = _choose(self._train, read)

    @property
    def part_chars(self) -> int:
        """How many tokens are read while training."""
        return len(self.part.ids)

    @cached_property
    def naive_nats(self) -> dict[str, float]:
        """The nats per target of models that know nothing.

        "guessing": all targets are equally likely. "frequencies": each is as likely as it is
        frequent in training.
        """
        if self.is_empty:
            return {}
        counts = 1 + np.bincount(_flat(self._train, self._train.known()), minlength=self._count)
        nats = np.log(counts.sum()) - np.log(counts)
        frequencies = float(nats[_flat(self._val, self._chosen)].mean())
        return {"guessing": math.log(self._count), "frequencies": frequencies}

    def score(self, model: Network, on_progress: OnProgress) -> HeldOutScore:
        """Return the nats per target of the held-out records that are used while training.

        They are those at the temperature where they are least.
        """
        assert isinstance(model, Encoder)
        nats = self._score(model, self._val, self._chosen, on_progress, model.temperatures)
        best = int(nats.argmin())
        return HeldOutScore(float(nats[best]), model.temperatures[best])

    def score_train(
        self, model: Network, on_progress: OnProgress, temperature: float = 1.0
    ) -> float:
        """Return the nats per target of as many training records."""
        nats = self._score(model, self._train, self._train_chosen, on_progress, (temperature,))
        return float(nats)

    def score_whole(
        self,
        model: Network,
        part_nats: float,
        train_eval_nats: float | None,
        on_progress: OnProgress,
    ) -> FinalScores:
        """Return the scores of all held-out records and of training records, as the model is."""
        if self.is_empty:
            return FinalScores()
        if train_eval_nats is None:
            train_eval_nats = self.score_train(model, on_progress)
        whole = self._val.known()
        nats = part_nats
        if len(whole) > len(self._chosen):
            nats = float(self._score(model, self._val, whole, on_progress))
        return FinalScores(val=nats, val_compared=nats, train_eval=train_eval_nats)

    def _score(
        self,
        model: Network,
        records: TaskRecords,
        chosen: Ints,
        on_progress: OnProgress,
        temperatures: tuple[float, ...] = (1.0,),
    ) -> torch.Tensor:
        """Return the nats per target at each temperature."""
        totals = score_records(model, records, chosen, on_progress, self._world, temperatures)
        return totals[:-1] / totals[-1]


@torch.inference_mode()
def score_records(
    model: Network,
    records: TaskRecords,
    chosen: Ints,
    on_progress: OnProgress = lambda tokens: None,
    world: World = SINGLE_PROCESS,
    temperatures: tuple[float, ...] = (1.0,),
) -> torch.Tensor:
    """Return the nats of all targets of some records, and how many targets they have.

    They are those at each of C temperatures, and the count comes last: (C + 1,).
    """
    assert isinstance(model, Encoder)
    device = model.output.weight.device
    lengths = records.lengths(chosen)
    chosen = chosen[np.argsort(lengths, kind="stable")]
    totals = torch.zeros(len(temperatures) + 1, dtype=torch.float64)
    for number, batch in enumerate(_batches(records, chosen)):
        if number % world.world_size == world.rank:
            window = records.window(batch)
            there = window.map(lambda part: torch.from_numpy(part).to(device))
            totals[:-1] += model.nats_at(temperatures, there.inputs, there.targets, there.labels)
            totals[-1] += int(np.count_nonzero(window.targets != NO_TARGET))
        on_progress(int(records.lengths(batch).sum()))
    world.all_reduce_sum([totals])
    return totals


def _batches(records: TaskRecords, chosen: Ints) -> list[Ints]:
    """Cut records that are sorted by length into batches of so many tokens, padding too."""
    lengths = records.lengths(chosen)
    found = []
    begin = 0
    while begin < len(chosen):
        size = max(1, _BATCH_TOKENS // int(lengths[begin]))
        while size > 1 and int(lengths[min(begin + size, len(chosen)) - 1]) * size > _BATCH_TOKENS:
            size = (size + 1) // 2
        found.append(chosen[begin : begin + size])
        begin += size
    return found


def _choose(records: TaskRecords, tokens: int) -> Ints:
    """Return the records that have a target, spread over all, of about so many tokens; 0: all."""
    known = records.known()
    total = int(records.lengths(known).sum())
    step = max(1, round(total / tokens)) if tokens else 1
    return known[::step]


def _flat(records: TaskRecords, chosen: Ints) -> Ints:
    """Return the targets of some records, about a million at most, spread over all."""
    sizes = records.target_lengths(chosen)
    chosen = chosen[:: max(1, -(-int(sizes.sum()) // _MOST_COUNTED))]
    if not isinstance(records.targets, Targets):
        return records.targets[chosen].astype(np.int64)
    found = [records.window(batch).targets for batch in _batches(records, chosen)]
    return np.concatenate([each[each != NO_TARGET] for each in found])


def _target_kinds(corpus: Corpus) -> int:
    """Return K, what a target can be: a class, a tag, or a token of the target's vocabulary."""
    return corpus.target_vocab.size if corpus.target_vocab is not None else len(corpus.labels)
