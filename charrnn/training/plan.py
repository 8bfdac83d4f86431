"""From the corpus and the time allowed to sizes and steps: what None means in a TrainConfig.

The rules come from measurements on two processor cores (benchmarks/LOG.md, `make grid`); time
counts as what those cores would need, so a faster machine gets a larger network. A short run does
best with a small network that takes many steps, a long one with a large one held back by dropout;
a short text needs a small one whatever the time. The last part estimates what twice the time or
twice the text would gain.

V = tokens of the vocabulary, H = hidden size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from charrnn.config import ModelConfig, TrainConfig
from charrnn.config.model import BUCKET
from charrnn.errors import ConfigError, counted

EVALUATIONS = 20

_BATCH_SIZE = 16
_SEQ_LEN = 64
_SHORTEST_SEQ_LEN = 8
_WINDOWS_WANTED = 4  # in an epoch, before lanes and windows are made smaller
_SIZES = {
    "plain": ((6.0, 128), (30.0, 256), (100.0, 384), (math.inf, 512)),
    "ngrams": ((12.0, 64), (25.0, 128), (100.0, 256), (200.0, 384), (math.inf, 512)),
    "teachers": ((12.0, 64), (25.0, 128), (100.0, 256), (400.0, 384), (math.inf, 512)),
}
"""(seconds, units): a budget of at most these seconds gets this many units. By what else teaches:
n-grams do in a short run what units do without them; with teachers, too."""
_FEWER_SIZES = ((5_000, 64), (50_000, 128))
_MORE_SIZES = ((3_000_000, 512), (30_000_000, 1024), (300_000_000, 2048))
_TEXT_SIZES = {
    "plain": (*_FEWER_SIZES, (300_000, 256), *_MORE_SIZES),
    # With n-grams, tiny-shakespeare is learned by heart by more units (benchmarks/LOG.md),
    "ngrams": (*_FEWER_SIZES, (1_500_000, 256), *_MORE_SIZES),
    # and with teachers it is not, as there is ever more of their text.
    "teachers": (*_FEWER_SIZES, (300_000, 256), *_MORE_SIZES),
}
"""(tokens, units): a text below these tokens gets at most this many; from 512 on not measured."""
_STEP_SECONDS = {  # of one layer, 16 lanes × 64, by units, on the cores of the rules
    64: 0.004,
    128: 0.005,
    256: 0.009,
    384: 0.014,
    512: 0.024,
}
_NGRAM_ORDER = 5
_FEWEST_FOR_NGRAMS = 5_000  # tokens of the training text
_MOST_NGRAM_NUMBERS = 1 << 23  # in the table, 32 MiB
_EMBEDDING = 64
_LARGE_EMBEDDING = 256
_LARGE_ALPHABET = 1_000  # tokens: from here most are rare, and one table for both ends pays
_OF_SHORT_RECORDS = 0.75  # of the dropout: where a window holds several, less is enough
_DROPOUT_WITH_TEACHERS = 0.1  # of whose text there is ever more (benchmarks/LOG.md)
_LABEL_SIZE = 64
_MOST_UNITS = 65_536  # that a network can have
_OUTPUT_SECONDS = 1.1e-6  # of a step, for each token of the vocabulary and 256 features


@dataclass(frozen=True)
class Plan:
    """A run with nothing left open but, under a time budget, its number of steps."""

    model: ModelConfig
    seq_len: int
    batch_size: int
    learning_rate: float
    total_steps: int | None
    eval_every: int | None
    machine_speed: float | None = None  # that the sizes were chosen by, as for `make_plan`
    written_lanes: int = 0  # of batch_size, that read what teachers write

    def with_steps(self, total_steps: int, config: TrainConfig) -> Plan:
        """Return the plan with its number of steps, and how many lie between evaluations."""
        spacing = config.eval_every or max(1, -(-total_steps // EVALUATIONS))
        return replace(self, total_steps=total_steps, eval_every=spacing)

    def ngram_decay(self, config: TrainConfig, train_tokens: int) -> float:
        """Return the weight decay of the embeddings of n-grams, for a training text so long."""
        return config.ngram_decay(train_tokens / (self.seq_len * self.batch_size))


def make_plan(
    config: TrainConfig,
    vocab_size: int,
    train_tokens: int,
    speed: float = 1.0,
    step_seconds: float | None = None,
    label_count: int | None = None,
    record_count: int = 0,
    *,
    has_teachers: bool = False,
) -> Plan:
    """Return a plan with everything that `config` leaves open.

    vocab_size: V. train_tokens: of the training text. speed: of this machine, as a multiple of the
    one that the rules were measured on. step_seconds: of a step of this run here, if measured.
    label_count: of the records; None for running text. record_count: how many they are.
    has_teachers: whether a half or more of what the network reads is text that teachers write.

    Raises:
        ConfigError: no lane is left to the text.

    >>> make_plan(TrainConfig(steps=1000), vocab_size=65, train_tokens=1_000_000).model.hidden_size
    64
    """
    # Windows that the text has enough of, and as many steps as are asked for.
    seq_len, batch_size = _fit_windows(config, train_tokens)
    tokens_per_step = seq_len * batch_size
    seconds = config.budget_seconds and config.budget_seconds * speed
    # An epoch is one of the lanes that read the text.
    written_lanes = 0
    if has_teachers:
        written_lanes = config.written_lanes or count_written_lanes(batch_size, 0.0)
        if written_lanes >= batch_size:
            raise ConfigError(
                f"written_lanes {written_lanes} leaves none of {counted(batch_size, 'lane')} for "
                "the text; give fewer, or a larger --batch-size"
            )
    text_lanes = batch_size - written_lanes
    steps = None if seconds else _steps_asked_for(config, train_tokens, seq_len, text_lanes)
    # Units: as many as the time can train and the text can fill.
    kind = "teachers" if has_teachers else kind_of_run(config, train_tokens)
    by_time = size_for_time(seconds, steps, kind)
    by_text = size_for_text(train_tokens, by_time, kind)
    hidden = config.hidden_size or by_text
    # Dropout depends on how often the text will be read.
    expected_steps = float(steps or 0)
    if config.budget_seconds:
        expected = step_seconds_of(hidden, config.num_layers, vocab_size, tokens_per_step) / speed
        expected_steps = config.budget_seconds / (step_seconds or expected)
    epochs = expected_steps * tokens_per_step / max(train_tokens, 1)
    model = _make_model(config, vocab_size, hidden, train_tokens, epochs)
    if label_count is not None:
        model = _with_records(model, config, label_count)
        if config.dropout is None and train_tokens < record_count * seq_len:
            model = replace(model, dropout=round(_OF_SHORT_RECORDS * model.dropout, 2))
    if has_teachers:
        if config.written_lanes is None and config.epochs is None:
            written_lanes = count_written_lanes(batch_size, epochs)
        if config.dropout is None:
            model = replace(model, dropout=_DROPOUT_WITH_TEACHERS)
    rate = config.learning_rate or choose_learning_rate(model)
    is_by_speed = config.budget_seconds and config.hidden_size is None and hidden == by_time
    chosen_by = speed if is_by_speed else None
    plan = Plan(model, seq_len, batch_size, rate, None, config.eval_every, chosen_by, written_lanes)
    return plan if steps is None else plan.with_steps(steps, config)


def _steps_asked_for(config: TrainConfig, train_tokens: int, seq_len: int, batch_size: int) -> int:
    """Return the number of steps that was asked for, as such or in epochs."""
    mean_offset = (seq_len - 1) // 2  # of an epoch's first window
    windows = max(1, (train_tokens - 1 - mean_offset) // (seq_len * batch_size))
    return config.steps or max(1, round((config.epochs or 1) * windows))


def kind_of_run(config: TrainConfig, train_tokens: int) -> str:
    """Return what else than its units a network without teachers has: "plain" or "ngrams"."""
    return "ngrams" if has_ngrams(config, train_tokens) else "plain"


def size_for_time(seconds: float | None, steps: int | None, kind: str = "plain") -> int:
    """Return the units that these seconds of the reference cores, or these steps, can train.

    kind: "plain", "ngrams", or "teachers".
    """
    for up_to, size in _SIZES[kind]:
        needed = seconds if steps is None else steps * _STEP_SECONDS[size]
        if needed is not None and needed <= up_to:
            break
    return size


def size_for_text(train_tokens: int, largest: int, kind: str = "plain") -> int:
    """Return the units that this many tokens of training text can fill, up to `largest`.

    kind: as for `size_for_time`.

    >>> size_for_text(100_000, largest=512)
    256
    """
    by_text = (size for up_to, size in _TEXT_SIZES[kind] if train_tokens < up_to)
    return min(largest, next(by_text, largest))


def size_for_parameters(count: int, parameters_of: Callable[[int], int]) -> int:
    """Return the most units whose network has at most `count` weights.

    parameters_of: the weights of a network of so many units; more units have more.

    Raises:
        ConfigError: a network of one unit has more.

    >>> size_for_parameters(100, lambda units: units * units + 3)
    9
    """
    fewest = parameters_of(1)
    if fewest > count:
        raise ConfigError(
            f"a network of one unit already has {fewest:,} parameters for this text, more than "
            f"{count:,}; give --parameters {fewest} or more, or a smaller --embedding-size"
        )
    low = 1
    high = 2
    while high <= _MOST_UNITS and parameters_of(high) <= count:
        low = high
        high *= 2
    high = min(high, _MOST_UNITS + 1)
    while high - low > 1:
        middle = (low + high) // 2
        if parameters_of(middle) <= count:
            low = middle
        else:
            high = middle
    return low


def step_seconds_of(
    hidden_size: int, num_layers: int, vocab_size: int, tokens_per_step: int
) -> float:
    """Return about what a step takes on the cores that the rules were measured on."""
    nearest = min(_STEP_SECONDS, key=lambda size: abs(math.log(size / hidden_size)))
    layer: float = _STEP_SECONDS[nearest] * (hidden_size / nearest) ** 1.5
    output = _OUTPUT_SECONDS * vocab_size * (1 + hidden_size / 256)
    # Less work than a default step's saves little.
    work = max(1.0, tokens_per_step / (_BATCH_SIZE * _SEQ_LEN))
    return work * (num_layers * layer + output)


def _make_model(
    config: TrainConfig, vocab_size: int, hidden_size: int, train_tokens: int, epochs: float
) -> ModelConfig:
    is_large = vocab_size >= _LARGE_ALPHABET
    is_tied = is_large if config.tie_embeddings is None else config.tie_embeddings
    embedding = config.embedding_size
    if embedding is None:
        is_whole = is_tied and not is_large  # one table for both ends, without a projection
        embedding = hidden_size if is_whole else choose_embedding(vocab_size, hidden_size)
    dropout = config.dropout
    if dropout is None:
        dropout = _choose_dropout(hidden_size, epochs, train_tokens)
    order, rows = _choose_ngrams(config, train_tokens, embedding)
    return ModelConfig(
        cell=config.cell,
        nonlinearity=config.nonlinearity,
        vocab_size=vocab_size,
        embedding_size=embedding,
        ngram_order=order,
        ngram_rows=rows,
        hidden_size=hidden_size,
        num_layers=config.num_layers,
        tie_embeddings=is_tied,
        residual=config.residual,
        dropout=dropout,
        initial_state=config.initial_state or "zero",
    )


def has_ngrams(config: TrainConfig, train_tokens: int) -> bool:
    """Return whether a network that reads so long a text has embeddings of n-grams."""
    if config.ngram_order is not None:
        return config.ngram_order > 1
    if config.ngram_rows is not None:
        return config.ngram_rows > 0
    return train_tokens >= _FEWEST_FOR_NGRAMS


def _choose_ngrams(config: TrainConfig, train_tokens: int, embedding_size: int) -> tuple[int, int]:
    """Return the longest n-gram, and rows for about all that a text has four times."""
    if not has_ngrams(config, train_tokens):
        return 1, 0
    order = config.ngram_order or _NGRAM_ORDER
    if config.ngram_rows is not None:
        return order, config.ngram_rows
    most = _MOST_NGRAM_NUMBERS // embedding_size
    # So many n-grams of a text occur four times: 14,000 of 90,000 tokens, 80,000 of a million.
    rows = min(round(3 * train_tokens**0.75), most)
    return order, max(BUCKET, rows // BUCKET * BUCKET)


def _with_records(model: ModelConfig, config: TrainConfig, label_count: int) -> ModelConfig:
    """Return the shape of a network that reads records."""
    # What the initial state holds says how records begin: there is no token before the first.
    initial_state = config.initial_state or "learned"
    size = config.label_size or _LABEL_SIZE
    return replace(
        model,
        has_end=True,
        initial_state=initial_state,
        label_count=label_count,
        label_size=size if label_count else 0,
    )


def _choose_dropout(hidden_size: int, epochs: float, train_tokens: int) -> float:
    """Return more dropout the more often a network reads its text and the larger it is."""
    size: float = math.sqrt(hidden_size / 384) * (1e6 / max(train_tokens, 1)) ** 0.25
    # 0.09 for each doubling of the epochs: the fit of benchmarks/LOG.md, at most 0.6.
    return round(min(0.09 * math.log2(max(epochs, 1.0)) * size, 0.6), 2)


def choose_embedding(vocab_size: int, hidden_size: int) -> int:
    """Return a larger embedding for many tokens, most of which are rare; never above the units.

    Readings of Chinese phrases lost a tenth of their loss by 128 instead of 64; reviews and words
    gained nothing by more than the units (benchmarks/LOG.md).
    """
    return min(_LARGE_EMBEDDING if vocab_size >= _LARGE_ALPHABET else _EMBEDDING, hidden_size)


def choose_learning_rate(model: ModelConfig) -> float:
    """Return a smaller rate for a wider network, and for a plain RNN."""
    at_256 = {"lstm": 4e-3, "gru": 4e-3, "rnn": 2e-3}[model.cell]
    return float(f"{at_256 * rate_of_size(model.hidden_size):.2g}")


def rate_of_size(hidden_size: int) -> float:
    """Return the learning rate of a network of so many units, as a multiple of that of 256.

    >>> rate_of_size(16)
    8.0
    """
    return float((256 / hidden_size) ** 0.75)


def _fit_windows(config: TrainConfig, train_tokens: int) -> tuple[int, int]:
    """Return window length and lanes, halved in turn until an epoch holds a few windows."""
    seq_len = config.seq_len or _SEQ_LEN
    batch_size = config.batch_size or _BATCH_SIZE
    while seq_len * batch_size * _WINDOWS_WANTED > train_tokens - 1:
        can_shorten = config.seq_len is None and seq_len > _SHORTEST_SEQ_LEN
        can_narrow = config.batch_size is None and batch_size > 1
        if can_narrow and (batch_size * 4 >= seq_len or not can_shorten):
            batch_size //= 2
        elif can_shorten:
            seq_len //= 2
        else:
            break
    return seq_len, batch_size


# ── teachers ──

TEACHERS_SHARE = 0.5
"""Of the budget, that all teachers have together."""
_TEACHERS = ((50.0, 2), (100.0, 4), (400.0, 8))
"""(epochs, teachers): who could read the text so often is given so many (benchmarks/LOG.md)."""
_LEAST_TEACHER_SECONDS = 20.0
_FEWEST_FOR_TEACHERS = 50_000  # tokens of the training text; shorter ones are not measured
_MOST_READINGS = 8.0  # of the text by its lanes, before fewer of them read it
_WRITTEN_SHARES = (1 / 2, 3 / 4, 15 / 16)


def count_written_lanes(batch_size: int, epochs: float) -> int:
    """Return how many of a window's lanes read what teachers write; one at least reads the text.

    epochs: that all lanes together would read the text.

    >>> [count_written_lanes(16, epochs) for epochs in (10.0, 30.0, 90.0)]
    [8, 12, 15]
    """
    enough = (share for share in _WRITTEN_SHARES if (1 - share) * epochs <= _MOST_READINGS)
    share = next(enough, _WRITTEN_SHARES[-1])
    lanes = min(max(1, round(share * batch_size)), batch_size - 1)
    # Groups of lanes read a block one after the other, so they must be equal.
    return next((n for n in range(lanes, 1, -1) if math.gcd(n, 60) > 2), lanes)


def choose_teachers(
    config: TrainConfig, vocab_size: int, train_tokens: int, speed: float = 1.0
) -> int:
    """Return how many networks to train first, for a run by budget to learn from; often 0.

    One network that reads its text for longer than it takes to know it learns it by heart. The
    arguments are those of `make_plan`.

    >>> choose_teachers(TrainConfig(budget="5m"), 65, 1_000_000)
    0
    >>> choose_teachers(TrainConfig(budget="30m"), 65, 1_000_000)
    4
    """
    seconds = config.budget_seconds
    if seconds is None or train_tokens < _FEWEST_FOR_TEACHERS:
        return 0
    plan = make_plan(config, vocab_size, train_tokens, speed)
    tokens_per_step = plan.seq_len * plan.batch_size
    units, layers = plan.model.hidden_size, config.num_layers
    steps = seconds * speed / step_seconds_of(units, layers, vocab_size, tokens_per_step)
    epochs = steps * tokens_per_step / max(train_tokens, 1)
    paying = max((number for least, number in _TEACHERS if epochs >= least), default=0)
    affordable = int(TEACHERS_SHARE * seconds / _LEAST_TEACHER_SECONDS)
    number = min(paying, affordable)
    return number if number > 1 else 0


# ── what more would gain ──
# `benchmarks/curves.py` fitted these curves to runs: default settings, several budgets,
# tiny-shakespeare and its last half and quarter. For another text they are a rough guide.

TIME_CURVE = (0.0529, -0.668)
"""(a, b) of a · epochs^b, the share of the held-out nats that goes with twice the time."""

TEXT_CURVE = (-0.036, 0.0162)
"""(a, b) of a + b log₂ epochs, the share that goes with twice the text, where above 0."""

TIME_EPOCHS = (0.48, 6.06)
TEXT_EPOCHS = (2.04, 17.14)
"""The fewest and the most epochs that each was fitted to; beyond them it stays constant."""


@dataclass(frozen=True)
class Extrapolation:
    """The share of the held-out nats per character that each would take away."""

    twice_the_time: float
    twice_the_text: float


def extrapolate(epochs: float) -> Extrapolation:
    """Return what to expect after the text was read `epochs` times.

    >>> extrapolate(1.0).twice_the_time
    0.0529
    """
    by_time = TIME_CURVE[0] * math.pow(_within(epochs, TIME_EPOCHS), TIME_CURVE[1])
    by_text = TEXT_CURVE[0] + TEXT_CURVE[1] * math.log2(_within(epochs, TEXT_EPOCHS))
    return Extrapolation(by_time, max(0.0, by_text))


def _within(epochs: float, measured: tuple[float, float]) -> float:
    return min(max(epochs, measured[0]), measured[1])
