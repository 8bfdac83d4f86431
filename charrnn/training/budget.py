"""From the corpus and the time allowed to sizes and steps: what None means in a TrainConfig.

The sizes come from measurements on two processor cores (benchmarks/LOG.md): a short run does best
with a small network that takes many steps, a long one with a large network held back by dropout,
and a short text needs a small one whatever the time. It knows nothing of torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from charrnn.config import DEFAULT_BUDGET, ModelConfig, TrainConfig, parse_duration

_BATCH_SIZE, _SEQ_LEN, _SHORTEST_SEQ_LEN = 16, 64, 8
_WINDOWS_WANTED = 4  # in an epoch, before lanes and windows are made smaller


@dataclass(frozen=True)
class Plan:
    """A run with nothing left open but, under a time budget, its number of steps."""

    model: ModelConfig
    seq_len: int
    batch_size: int
    learning_rate: float
    total_steps: int | None
    eval_every: int | None

    def with_steps(self, total_steps: int, evaluations: int, config: TrainConfig) -> Plan:
        """Fix the number of steps, and how many of them lie between evaluations."""
        spacing = config.eval_every or max(1, -(-total_steps // evaluations))
        return replace(self, total_steps=total_steps, eval_every=spacing)


EVALUATIONS = 20


def make_plan(config: TrainConfig, vocab_size: int, train_symbols: int) -> Plan:
    """Choose everything that `config` leaves open.

    vocab_size: V. train_symbols: symbols of the training text.
    """
    seconds = config.budget_seconds or parse_duration(DEFAULT_BUDGET)
    model = _choose_model(config, vocab_size, train_symbols, seconds)
    seq_len, batch_size = _fit_windows(config, train_symbols)
    rate = config.learning_rate or _choose_learning_rate(model)
    plan = Plan(model, seq_len, batch_size, rate, None, config.eval_every)
    if config.budget_seconds is not None:
        return plan
    steps = config.steps or _steps_of(config.epochs or 1, train_symbols, batch_size * seq_len)
    return plan.with_steps(steps, EVALUATIONS, config)


def _choose_model(
    config: TrainConfig, vocab_size: int, train_symbols: int, seconds: float
) -> ModelConfig:
    hidden = config.hidden_size or _choose_hidden_size(train_symbols, seconds)
    embedding = config.embedding_size or (hidden if config.tie_output else min(64, hidden))
    dropout = config.dropout
    if dropout is None:
        dropout = _choose_dropout(hidden, train_symbols, seconds)
    return ModelConfig(
        cell=config.cell,
        nonlinearity=config.nonlinearity,
        vocab_size=vocab_size,
        embedding_size=embedding,
        hidden_size=hidden,
        num_layers=config.num_layers,
        tie_output=config.tie_output,
        skip=config.skip,
        dropout=dropout,
        initial_state=config.initial_state,
    )


def _choose_hidden_size(train_symbols: int, seconds: float) -> int:
    """Take the smaller of what the time can train and what the text can fill."""
    by_time = 128 if seconds < 8 else 256 if seconds < 150 else 384 if seconds < 500 else 512
    by_text = 64 if train_symbols < 5_000 else 128 if train_symbols < 50_000 else 512
    return min(by_time, by_text)


def _choose_dropout(hidden_size: int, train_symbols: int, seconds: float) -> float:
    """Hold a network back the more, the more often it will read the same text."""
    chars_per_second = 120_000 * min(1.0, 256 / hidden_size)
    epochs = seconds * chars_per_second / max(train_symbols, 1)
    return 0.0 if epochs < 4 else 0.1 if epochs < 12 else 0.25 if epochs < 100 else 0.4


def _choose_learning_rate(model: ModelConfig) -> float:
    """Take smaller steps for a wider network, and for a plain RNN."""
    at_256 = {"lstm": 4e-3, "gru": 4e-3, "rnn": 2e-3}[model.cell]
    return float(f"{at_256 * (256 / model.hidden_size) ** 0.75:.2g}")


def _fit_windows(config: TrainConfig, train_symbols: int) -> tuple[int, int]:
    """Halve lanes and window in turn until an epoch of a short text holds a few windows."""
    seq_len = config.seq_len or _SEQ_LEN
    batch_size = config.batch_size or _BATCH_SIZE
    while seq_len * batch_size * _WINDOWS_WANTED > train_symbols - 1:
        can_shorten = config.seq_len is None and seq_len > _SHORTEST_SEQ_LEN
        can_narrow = config.batch_size is None and batch_size > 1
        if can_narrow and (batch_size * 4 >= seq_len or not can_shorten):
            batch_size //= 2
        elif can_shorten:
            seq_len //= 2
        else:
            break
    return seq_len, batch_size


def _steps_of(epochs: float, train_symbols: int, symbols_per_step: int) -> int:
    return max(1, round(epochs * ((train_symbols - 1) // symbols_per_step)))
