"""Lengths of time in words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from charrnn.config.fields import setting, validate
from charrnn.config.model import CELLS
from charrnn.errors import ConfigError

_UNIT_SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"\d+(\.\d+)?|(\d+(\.\d+)?[smhd] ?)+")
_LONGEST_DURATION_SECONDS = 1e9


def parse_duration(text: str) -> float:
    """Turn "90s", "10m", "1h30m" or a bare number of seconds into seconds.

    Raises:
        ConfigError: it is not such a text, or not above zero.
    """
    cleaned = text.strip().lower()
    parts = re.findall(r"([\d.]+)([smhd]?)", cleaned) if _DURATION.fullmatch(cleaned) else []
    seconds = sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)
    if not 0 < seconds < _LONGEST_DURATION_SECONDS:
        raise ConfigError(f"{text!r} is not a length of time; write 90s, 10m or 1h30m")
    return seconds


DEFAULT_BUDGET = "5m"
LENGTHS = ("budget", "epochs", "steps")
"""The settings that say how long to train; one of them is given, or none."""
_DECAY_RATE = 0.9995


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What a training run is asked for; None is chosen from the corpus and the budget."""

    cell: str = setting("lstm", "recurrent cell", choices=CELLS, section="Model")
    nonlinearity: str = setting(
        "tanh", "f of cell rnn", choices=("tanh", "relu", "logistic"), section="Model"
    )
    hidden_size: int | None = setting(
        None, "units in a layer", unset="chosen", minimum=1, maximum=65_536, section="Model"
    )
    num_layers: int = setting(1, "stacked layers", minimum=1, maximum=256, section="Model")
    embedding_size: int | None = setting(
        None,
        "numbers that stand for a character",
        unset="chosen",
        minimum=1,
        maximum=65_536,
        section="Model",
    )
    tie_embeddings: bool | None = setting(
        None,
        "use the embedding as output weights, by a projection where sizes differ",
        unset="for large alphabets",
        section="Model",
    )
    residual: bool = setting(
        False, "layers above the first add their input to their output", section="Model"
    )
    initial_state: str = setting(
        "zero", "state before the text", choices=("zero", "learned"), section="Model"
    )
    dropout: float | None = setting(
        None,
        "share of features dropped between layers and before the output",
        unset="chosen",
        minimum=0,
        maximum=0.95,
        section="Model",
    )

    budget: str | None = setting(
        None,
        "time to train, such as 90s, 10m or 1.5h",
        section="Length",
        unset=DEFAULT_BUDGET,
    )
    epochs: float | None = setting(
        None,
        "passes over the training text, instead of a time",
        above=0,
        maximum=1e9,
        section="Length",
    )
    steps: int | None = setting(
        None, "optimizer updates, instead of a time", minimum=1, section="Length"
    )
    patience: int = setting(
        8,
        "stop after so many evaluations in a row clearly worse than the best; 0 never",
        minimum=0,
        section="Length",
    )
    eval_every: int | None = setting(None, "steps between evaluations", minimum=1, section="Length")
    eval_chars: int = setting(
        2_000_000,
        "held-out tokens used by evaluations on the way (at the end: 10,000,000); 0 for all",
        minimum=0,
        section="Length",
    )

    seq_len: int | None = setting(
        None,
        "characters in a window: how far BPTT reaches",
        unset="chosen",
        minimum=1,
        section="Optimization",
    )
    batch_size: int | None = setting(
        None, "lanes read side by side", unset="chosen", minimum=1, section="Optimization"
    )
    optimizer: str = setting(
        "muon",
        "what moves the recurrent layers' matrices; AdamW moves the rest",
        choices=("muon", "adamw"),
        section="Optimization",
    )
    learning_rate: float | None = setting(
        None,
        "step size at its peak",
        unset="chosen",
        above=0,
        maximum=10,
        section="Optimization",
    )
    lr_schedule: str = setting(
        "cosine",
        "what the learning rate does after its warm-up",
        choices=("linear", "cosine", "exponential", "constant"),
        section="Optimization",
    )
    decay_rate: float = setting(
        _DECAY_RATE,
        "the exponential schedule's factor for each step",
        above=0,
        maximum=1,
        section="Optimization",
    )
    warmup_steps: int = setting(
        100, "steps until the learning rate is at its peak", minimum=0, section="Optimization"
    )
    clip_grad_norm: float = setting(
        1.0, "largest global L2 norm of the gradient; 0 for none", minimum=0, section="Optimization"
    )
    clip_grad_value: float = setting(
        0.0, "largest size of one gradient element; 0 for none", minimum=0, section="Optimization"
    )
    weight_decay_input: float = setting(
        0.03, "weight decay of input weights", minimum=0, section="Optimization"
    )
    weight_decay_recurrent: float = setting(
        0.03, "weight decay of recurrent weights", minimum=0, section="Optimization"
    )
    weight_decay_output: float = setting(
        0.03, "weight decay of output weights that are not tied", minimum=0, section="Optimization"
    )
    weight_decay_embedding: float = setting(
        0.0, "weight decay of embeddings", minimum=0, section="Optimization"
    )
    weight_decay_bias: float = setting(
        0.0, "weight decay of biases and initial states", minimum=0, section="Optimization"
    )
    ema_decay: float = setting(
        0.99,
        "memory of the weight average that is evaluated and kept; 0 for none",
        minimum=0,
        maximum=0.99999,
        section="Optimization",
    )

    seed: int = setting(
        1, "of every random choice", minimum=0, maximum=2**63 - 1, section="Machine"
    )
    device: str = setting(
        "auto", "where to train", choices=("auto", "cpu", "cuda", "mps"), section="Machine"
    )
    precision: str = setting(
        "auto",
        "of matrix products",
        choices=("auto", "fp32", "bf16", "fp16"),
        section="Machine",
    )
    threads: int | None = setting(
        None, "processor threads", unset="all", minimum=1, maximum=1024, section="Machine"
    )
    cuda_graph: bool = setting(
        False,
        "record a step as a CUDA graph and launch it as one; not tried on a GPU yet",
        section="Machine",
    )
    deterministic: bool = setting(
        False,
        "take only operations that repeat bit by bit; on a CPU all do",
        section="Machine",
    )

    def __post_init__(self) -> None:
        validate(self)
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} both say how long to train; give one")
        if self.budget is not None:
            parse_duration(self.budget)
        if self.decay_rate != _DECAY_RATE and self.lr_schedule != "exponential":
            raise ConfigError(
                f"decay_rate goes with schedule exponential, not {self.lr_schedule}; leave "
                "--decay-rate out, or use --lr-schedule exponential"
            )

    @property
    def budget_seconds(self) -> float | None:
        """The time allowed, or None where steps or epochs say how long."""
        if self.steps is not None or self.epochs is not None:
            return None
        return parse_duration(self.budget or DEFAULT_BUDGET)


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a run's files go, and whether it is a new one."""

    name: str | None = setting(None, "name of the run", unset="after the corpus")
    checkpoints: str = setting("checkpoints", "folder of all runs")
    resume: str | None = setting(None, "go on with this run: its name or folder")
    on_unfinished: str = setting(
        "ask",
        "what to do with a run of the same command that did not end; without a terminal, ask means "
        "resume",
        choices=("ask", "resume", "new"),
    )
    keep_checkpoints: int = setting(
        2, "how many of the newest states to keep to go on from", minimum=1
    )
    init_from: str | None = setting(
        None, "start a new run from a model's weights: a run's name, folder or file"
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class DynamicConfig:
    """How a model goes on learning from the text that it is scored on."""

    dynamic_rate: float = setting(
        5e-4, "how far --dynamic moves a weight with a window", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        validate(self)
