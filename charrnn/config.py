"""Every setting with its default, unit and range: the one home of each, read by the command line,
by configuration files and by the docs.

A setting whose default is None is chosen later from the corpus and the budget. The classes are
frozen; making one checks every range. It knows nothing of files, torch or the terminal.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import Any

from charrnn.errors import ConfigError
from charrnn.rules import check, setting

GATES = {"rnn": 1, "lstm": 4, "gru": 3}
"""Blocks of H rows in a layer's weights, in torch's order.

lstm: input, forget, cell, output; gru: reset, update, new.
"""

CELLS = tuple(GATES)
DEFAULT_BUDGET = "5m"
LENGTHS = ("budget", "epochs", "steps")
"""The settings that say how long to train; one of them is given, or none."""
_DECAY_RATE = 0.9995
LIBRARY_FOLDER = "corpora"


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How bytes become ids, and which part of them is held out."""

    encoding: str = setting("utf-8", "any codec Python knows: gb18030, cp1251, utf-16, ...")
    normalize: str = setting("none", "Unicode normal form", choices=("none", "nfc", "nfkc"))
    min_count: int = setting(
        1, "characters seen fewer times than this are written as UTF-8 bytes", minimum=1
    )
    val_fraction: float = setting(
        0.1, "share of the text, from its end, held out for validation", above=0, maximum=0.5
    )
    val_file: str | None = setting(
        None, "hold out this file instead, and train on all of the corpus"
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a network, complete: what a model file stores.

    V = vocab_size, E = embedding_size, H = hidden_size, L = num_layers.
    """

    cell: str = setting("lstm", "recurrent cell", choices=CELLS)
    nonlinearity: str = setting("tanh", "of cell rnn", choices=("tanh", "relu", "logistic"))
    vocab_size: int = setting(1, "symbols", minimum=1, maximum=2_000_000)
    embedding_size: int = setting(1, "numbers that stand for a symbol", minimum=1, maximum=65_536)
    hidden_size: int = setting(1, "units in a layer", minimum=1, maximum=65_536)
    num_layers: int = setting(1, "layers", minimum=1, maximum=256)
    tie_output: bool = setting(False, "the output weights are the embedding's")
    skip: bool = setting(False, "layers above the first add their input to their output")
    dropout: float = setting(0.0, "share of features dropped", minimum=0, maximum=0.95)
    initial_state: str = setting("zero", "state before the text", choices=("zero", "learned"))

    def __post_init__(self) -> None:
        check(self)
        if self.nonlinearity != "tanh" and self.cell != "rnn":
            raise ConfigError(
                f"nonlinearity {self.nonlinearity!r} goes with cell rnn; "
                f"cell {self.cell} has its own (leave --nonlinearity out, or use --cell rnn)"
            )

    @property
    def has_projection(self) -> bool:
        """Whether a projection (E, H) takes the state to a tied table of another width."""
        return self.tie_output and self.embedding_size != self.hidden_size

    @property
    def embedding_scale(self) -> float:
        """What the embedding is multiplied by where the first layer reads it.

        A tied table starts as output weights do, too small for an input (Vaswani et al. 2017).
        """
        return math.sqrt(self.embedding_size) if self.tie_output else 1.0


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
    tie_output: bool | None = setting(
        None,
        "use the embedding as output weights, by a projection where sizes differ",
        unset="for large alphabets",
        section="Model",
    )
    skip: bool = setting(
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
        "held-out symbols used by evaluations on the way; 0 for all",
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
    schedule: str = setting(
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

    def __post_init__(self) -> None:
        check(self)
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} both say how long to train; give one")
        if self.budget is not None:
            parse_duration(self.budget)
        if self.decay_rate != _DECAY_RATE and self.schedule != "exponential":
            raise ConfigError(
                f"decay_rate goes with schedule exponential, not {self.schedule}; leave "
                "--decay-rate out, or use --schedule exponential"
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
    unfinished: str = setting(
        "ask",
        "what to do with a run of the same command that did not end; without a terminal, ask means "
        "resume",
        choices=("ask", "resume", "new"),
    )
    keep: int = setting(2, "how many of the newest states to keep to go on from", minimum=1)
    init_from: str | None = setting(
        None, "start a new run from a model's weights: a run's name, folder or file"
    )

    def __post_init__(self) -> None:
        check(self)


STYLES: dict[str, dict[str, Any]] = {
    "careful": {"temperature": 0.5, "top_p": 0.95, "loop_penalty": 0.5},
    "plain": {"temperature": 1.0},
    "wild": {"temperature": 1.4, "temperature_range": 0.4, "min_p": 0.02},
}
"""Settings of SampleConfig that go together."""


@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """How characters are drawn from a model; settings stand in the order in which they act."""

    repetition_penalty: float = setting(
        1.0,
        "divides the logits of characters just written; 1 for none",
        minimum=1,
        maximum=10,
        section="Penalties",
    )
    presence_penalty: float = setting(
        0.0,
        "taken from the logits of characters just written",
        minimum=-10,
        maximum=10,
        section="Penalties",
    )
    frequency_penalty: float = setting(
        0.0,
        "taken from a character's logit for each time that it was just written",
        minimum=-10,
        maximum=10,
        section="Penalties",
    )
    loop_penalty: float = setting(
        0.0,
        "taken from what would go on with a repetition, for each character that it is too long",
        minimum=0,
        maximum=100,
        section="Penalties",
    )
    loop_length: int = setting(
        12,
        "a repetition is too long from so many characters on",
        minimum=1,
        maximum=10_000,
        section="Penalties",
    )
    penalty_window: int = setting(
        256,
        "characters that penalties look back on, those of the prompt too",
        minimum=1,
        maximum=10_000,
        section="Penalties",
    )
    bias: tuple[str, ...] = setting(
        (),
        "add to the logits of characters, as e=-2 or digits=1.5; may be given again",
        section="Characters",
    )
    only: tuple[str, ...] = setting(
        (),
        "write these alone: ascii, letters, digits, a Unicode category such as Lu, or the "
        "characters themselves; may be given again",
        section="Characters",
    )
    ban: tuple[str, ...] = setting(
        (), "never write these, named as for --only; may be given again", section="Characters"
    )
    temperature: float = setting(
        0.8,
        "divides the logits: below 1 safer, above 1 wilder, 0 greedy",
        minimum=0,
        maximum=1000,
        section="Filters",
    )
    temperature_range: float = setting(
        0.0,
        "lower the temperature by up to this where the model is sure, raise it where it is not",
        minimum=0,
        maximum=1000,
        section="Filters",
    )
    top_n_sigma: float = setting(
        0.0,
        "keep logits within so many standard deviations of the largest; 0 for all",
        minimum=0,
        maximum=100,
        section="Filters",
    )
    top_k: int = setting(
        0, "keep only the k most likely characters; 0 for all", minimum=0, section="Filters"
    )
    typical: float = setting(
        1.0,
        "keep the characters of most expected surprisal whose probabilities reach this sum",
        above=0,
        maximum=1,
        section="Filters",
    )
    top_p: float = setting(
        1.0,
        "keep the fewest characters whose probabilities reach this sum",
        above=0,
        maximum=1,
        section="Filters",
    )
    min_p: float = setting(
        0.0,
        "drop characters below this share of the likeliest one",
        minimum=0,
        maximum=1,
        section="Filters",
    )
    xtc: float = setting(
        0.0,
        "how often to exclude top choices: of those above the threshold only the last stays",
        minimum=0,
        maximum=1,
        section="Filters",
    )
    xtc_threshold: float = setting(
        0.1, "probability that makes a top choice", above=0, maximum=0.5, section="Filters"
    )
    mirostat: float = setting(
        0.0,
        "hold the surprisal at so many bits per character; 0 lets it go",
        minimum=0,
        maximum=20,
        section="Filters",
    )
    mirostat_rate: float = setting(
        0.1, "how fast --mirostat follows", above=0, maximum=1, section="Filters"
    )
    length: int = setting(
        500, "characters to write, the prompt not counted", minimum=0, section="End"
    )
    seconds: float | None = setting(None, "write no longer than this", above=0, section="End")
    lines: int | None = setting(None, "end after so many lines", minimum=1, section="End")
    sentences: int | None = setting(None, "end after so many sentences", minimum=1, section="End")
    stop: tuple[str, ...] = setting((), "end before this text; may be given again", section="End")
    stop_regex: str | None = setting(
        None, "end before a match of this pattern, one of Python's re", section="End"
    )
    seed: int | None = setting(None, "same seed, same text", minimum=0, unset="a fresh one")

    def __post_init__(self) -> None:
        check(self)
        for name in ("stop", "only", "ban"):
            if "" in getattr(self, name):
                raise ConfigError(f"{name} is empty; it must hold at least one character")
        for text in self.bias:
            parse_bias(text)
        if self.stop_regex is not None:
            _check_pattern(self.stop_regex)

    @classmethod
    def in_style(cls, style: str, **settings: Any) -> SampleConfig:
        """Give the settings of a style; those given go before its own.

        Raises:
            ConfigError: there is no such style, or a setting is out of range.
        """
        if style not in STYLES:
            raise ConfigError(f"style is {style!r}; choose from {', '.join(STYLES)}")
        return cls(**STYLES[style] | settings)


_LARGEST_BIAS = 1000


def parse_bias(text: str) -> tuple[str, float]:
    """Turn "e=-2" into the characters' name and the number.

    Raises:
        ConfigError: it is not such a text, or the number is too large.
    """
    name, _, number = text.rpartition("=")
    try:
        amount = float(number)
    except ValueError:
        amount = math.nan
    if not name or not abs(amount) <= _LARGEST_BIAS:
        raise ConfigError(
            f"bias is {text!r}; write characters=number, such as e=-2 or digits=1.5, "
            f"from -{_LARGEST_BIAS} to {_LARGEST_BIAS}"
        )
    return name, amount


def _check_pattern(pattern: str) -> None:
    """Refuse what is no pattern, and one that would end every text before it begins."""
    try:
        is_empty = re.compile(pattern).search("") is not None
    except (re.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"stop_regex is {pattern!r}, which is no pattern: {error}") from error
    if is_empty:
        raise ConfigError(f"stop_regex is {pattern!r}, which matches an empty text; ask for more")


@dataclass(frozen=True, kw_only=True)
class DynamicConfig:
    """How a model goes on learning from the text that it is scored on."""

    dynamic_rate: float = setting(
        5e-4, "how far --dynamic moves a weight with a window", minimum=0, maximum=1
    )

    def __post_init__(self) -> None:
        check(self)


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


def as_dict(config: Any) -> dict[str, Any]:
    """Give a settings object as plain values, tuples as lists, ready for JSON or TOML."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
