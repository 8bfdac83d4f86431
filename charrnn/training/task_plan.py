"""From records and what they become to sizes: what `plan` is for text.

The rules are those of `plan` where nothing else was measured (benchmarks/LOG.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from charrnn.config import ModelConfig, TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.data.tags import is_segmentation
from charrnn.errors import ConfigError
from charrnn.training.plan import (
    Plan,
    choose_embedding,
    choose_learning_rate,
    size_for_text,
    size_for_time,
    step_seconds_of,
)
from charrnn.training.record_batches import records_of

_BATCH_TOKENS = 1024
_BATCH_RECORDS = (8, 64)
_BATCHES_WANTED = 16  # in an epoch, before they are made smaller
_FEWEST_UNITS = 64
_EPOCHS_WANTED = 5.0  # or a network is made smaller (benchmarks/LOG.md)
_DROPOUT_OF_DOUBLING = 0.06  # of the epochs
_DROPOUT = (0.05, 0.5)
_RATE_SHARE = {"classification": 0.6, "tagging": 1.0, "seq2seq": 1.0}  # of that of a text


def find_task(config: TrainConfig, corpus: Corpus) -> str:
    """Return the task that the settings ask for, or that the corpus is made for.

    Raises:
        ConfigError: the corpus is made for another one, or a setting is of another one.
    """
    made_for = "text" if corpus.train_targets is None else "tagging"
    made_for = "seq2seq" if corpus.target_vocab is not None else made_for
    task = config.task or made_for
    config.check_task(task)
    if task == "classification" and made_for == "text":
        if len(corpus.labels.columns) != 1:
            found = f"{len(corpus.labels.columns)} columns of them" if corpus.labels else "none"
            raise ConfigError(
                f"--task classification decides on one label, and this text has {found}; give it "
                "by --label, --label-column or --label-regex"
            )
        return task
    if task != made_for:
        how = {"tagging": "--tags or --restore", "seq2seq": "--pairs or --target-file"}
        hint = f"give {how[task]}" if task in how else "leave --task out"
        raise ConfigError(f"the text is read for task {made_for}, not {task}; {hint}")
    return task


@dataclass(frozen=True)
class TaskSizes:
    """How much there is to learn from.

    tokens: of the records that have a target. longest: of them, and of their targets. target_size:
    tokens that a target can have; 0 where targets are classes or tags, of which there are
    class_count. has_words: tags are those of words.
    """

    task: str
    vocab_size: int
    records: int
    tokens: int
    longest: int
    class_count: int
    target_size: int
    has_words: bool = False

    @classmethod
    def of(cls, corpus: Corpus, task: str, longest: int) -> TaskSizes:
        """Return the sizes of a corpus. longest: the most tokens that are read of a record.

        Raises:
            CorpusError: no record has a label or a target.
        """
        records = records_of(corpus, "train", task, longest)
        known = records.known()
        lengths = records.lengths(known)
        longest = int(lengths.max())
        target_size = 0
        if task == "seq2seq":
            assert corpus.target_vocab is not None
            target_size = corpus.target_vocab.size
            longest = max(longest, int(records.target_lengths(known).max()))
        return cls(
            task,
            corpus.vocab.size,
            len(known),
            int(lengths.sum()),
            longest,
            0 if target_size else len(corpus.labels),
            target_size,
            task == "tagging" and is_segmentation(corpus.labels.columns[0].values),
        )


def make_task_plan(
    config: TrainConfig, sizes: TaskSizes, speed: float = 1.0, step_seconds: float | None = None
) -> Plan:
    """Return a plan with everything that `config` leaves open.

    speed, step_seconds: of this machine, and of a step of this run, as for `plan.make_plan`.
    """
    mean = max(1, sizes.tokens // sizes.records)
    batch_size = config.batch_size
    if batch_size is None:
        fewest, most = _BATCH_RECORDS
        batch_size = min(max(_BATCH_TOKENS // mean, fewest), most)
        batch_size = max(min(batch_size, sizes.records // _BATCHES_WANTED), fewest)
        batch_size = min(batch_size, sizes.records)
    batches = -(-sizes.records // batch_size)
    seconds = config.budget_seconds and config.budget_seconds * speed
    steps = None
    if not seconds:
        steps = config.steps or max(1, round((config.epochs or 1) * batches))
    hidden = config.hidden_size or _choose_units(config, sizes, batches, seconds, steps)
    estimate = _estimate_step(config, sizes, batches, hidden) / speed
    expected = steps or (config.budget_seconds or 0) / (step_seconds or estimate)
    model = _make_model(config, sizes, hidden, expected / batches)
    usual = _RATE_SHARE[sizes.task] * choose_learning_rate(model)
    rate = config.learning_rate or float(f"{usual:.2g}")
    chosen_by = None
    if seconds and config.hidden_size is None:
        largest = _choose_units(config, sizes, batches, math.inf, None)
        chosen_by = speed if hidden < largest else None
    plan = Plan(model, sizes.longest, batch_size, rate, None, config.eval_every, chosen_by)
    return plan if steps is None else plan.with_steps(steps, config)


def _choose_units(
    config: TrainConfig, sizes: TaskSizes, batches: int, seconds: float | None, steps: int | None
) -> int:
    """Return as many units as the records can fill, and as time can train for a few epochs."""
    units = size_for_text(sizes.tokens, size_for_time(seconds, steps))
    fewest = 2 * _FEWEST_UNITS
    if sizes.task != "seq2seq":  # two directions of half the units have as many features
        fewest = _FEWEST_UNITS
        units = max(fewest, units // 2)
    while seconds and units > fewest:
        if seconds >= _EPOCHS_WANTED * batches * _estimate_step(config, sizes, batches, units):
            break
        units -= _FEWEST_UNITS
    return units


def _estimate_step(config: TrainConfig, sizes: TaskSizes, batches: int, units: int) -> float:
    """Return about what a step takes, in seconds, on the cores that the rules were measured on."""
    directions = 1 if config.bidirectional is False else 2
    tokens = sizes.tokens // batches
    if sizes.task != "seq2seq":  # halves in two directions take the time of one layer of the whole
        return step_seconds_of(directions * units, config.num_layers, 0, tokens)
    of_decoder = config.num_layers + (config.attention != "none")
    layers = directions * config.num_layers + of_decoder
    return step_seconds_of(units, layers, sizes.target_size, tokens)


def _choose_dropout(epochs: float) -> float:
    """Return more dropout the more often the records are read.

    Of names in 18 languages 0.2 did best at 11 epochs, of words and their phones 0.3 at 30
    (benchmarks/LOG.md).
    """
    least, most = _DROPOUT
    return round(min(max(_DROPOUT_OF_DOUBLING * math.log2(max(epochs, 1.0)), least), most), 2)


def _make_model(
    config: TrainConfig, sizes: TaskSizes, hidden_size: int, epochs: float
) -> ModelConfig:
    return ModelConfig(
        task=sizes.task,
        cell=config.cell,
        nonlinearity=config.nonlinearity,
        vocab_size=sizes.vocab_size,
        embedding_size=config.embedding_size or choose_embedding(sizes.vocab_size, hidden_size),
        hidden_size=hidden_size,
        num_layers=config.num_layers,
        residual=config.residual,
        dropout=_choose_dropout(epochs) if config.dropout is None else config.dropout,
        initial_state=config.initial_state or "learned",
        has_end=True,
        bidirectional=config.bidirectional is not False,
        pooling=config.pooling,
        head_size=config.head_size,
        class_count=sizes.class_count,
        transitions=sizes.has_words if config.transitions is None else config.transitions,
        attention=config.attention,
        target_size=sizes.target_size,
    )
