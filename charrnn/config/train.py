"""How a model is trained: the network and optimization, where the run goes, dynamic evaluation.

A setting whose default is None is chosen later, from the corpus and the budget.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import pairwise
from typing import Any

from charrnn.config.fields import plain, setting, validate
from charrnn.config.model import ModelConfig, check_ngram_rows
from charrnn.errors import ConfigError

DEFAULT_BUDGET = "5m"
LONGEST_TOKENS = 512
"""That are read of a text by a network that reads it whole, unless seq_len says how many."""
LENGTHS = ("budget", "epochs", "steps")
"""The settings that say how long to train; at most one of them is given."""

_UNIT_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT = r"(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
_AMOUNT = re.compile(rf"([0-9]+(?:\.[0-9]+)?)\s*{_UNIT}\s*")
_DURATION = re.compile(rf"({_AMOUNT.pattern})+")
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_MAX_DURATION_SECONDS = 1e9  # 32 years
_WHOLE = r"[0-9]{1,3}(?:_[0-9]{3}){1,6}|[0-9]{1,3}(?:,[0-9]{3}){1,6}|[0-9]{1,20}"
_COUNT = re.compile(rf"((?:{_WHOLE})(?:\.[0-9]{{1,20}})?)\s*([kmg]?)")
_UNIT_COUNTS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}
_MAX_COUNT = 10**12
_CHANGE = re.compile(r"[0-9]{1,15}:[1-9][0-9]{0,14}:[1-9][0-9]{0,14}")


def parse_duration(text: str) -> float:
    """Return the seconds of "90s", "10 min", "1h30m", "2 hours" or a bare number of seconds.

    Raises:
        ConfigError: the text is not a duration, or not above zero.

    >>> parse_duration("1h30m"), parse_duration("2 hours")
    (5400.0, 7200.0)
    """
    cleaned = text.strip().lower()
    cleaned += "s" * bool(_NUMBER.fullmatch(cleaned))
    amounts = _AMOUNT.findall(cleaned) if _DURATION.fullmatch(cleaned) else []
    seconds = sum(float(number) * _UNIT_SECONDS[unit[0]] for number, unit in amounts)
    if not 0 < seconds < _MAX_DURATION_SECONDS:
        raise ConfigError(f"{text!r} is not a length of time; write 90s, 10 min or 1h30m")
    return seconds


def parse_count(text: str) -> int:
    """Return the number that "250k", "1.5M" or "1_000_000" stands for.

    A comma or an underscore stands before each three digits; a point begins the fraction.

    Raises:
        ConfigError: the text is no such number, or not above zero.

    >>> parse_count("250k"), parse_count("1.5M"), parse_count("1_000_000")
    (250000, 1500000, 1000000)
    """
    match = _COUNT.fullmatch(text.strip().lower())
    count = 0
    if match is not None:
        number = float(match[1].replace("_", "").replace(",", ""))
        count = round(number * _UNIT_COUNTS[match[2]])
    if not 0 < count <= _MAX_COUNT:
        raise ConfigError(f"{text!r} is not a number of parameters; write 250k, 1.5M or 1_000_000")
    return count


@dataclass(frozen=True)
class Length:
    """After `step`, a run by budget settles on `total_steps`, evaluated every `eval_every`."""

    step: int
    total_steps: int
    eval_every: int


def parse_length_history(text: str) -> list[Length]:
    """Return the changes that "STEP:STEPS:SPACING …" lists, the first one first.

    Raises:
        ConfigError: the text is no such list, or its steps do not rise.

    >>> parse_length_history("16:3843:193 579:3790:193")[1].total_steps
    3790
    """
    parts = text.split()
    if not parts or not all(_CHANGE.fullmatch(part) for part in parts):
        raise ConfigError(
            f"length_history is {text!r}; give STEP:STEPS:SPACING, one or more, as resolved.toml "
            "has it"
        )
    changes = [Length(*map(int, part.split(":"))) for part in parts]
    is_rising = all(earlier.step <= later.step for earlier, later in pairwise(changes))
    if not is_rising or any(each.step >= each.total_steps for each in changes):
        raise ConfigError(
            f"length_history is {text!r}; each STEP must be below its STEPS, and none before the "
            "last one"
        )
    return changes


def format_length_history(changes: Iterable[Length]) -> str:
    """Return the changes as `parse_length_history` reads them."""
    return " ".join(f"{each.step}:{each.total_steps}:{each.eval_every}" for each in changes)


_MODEL_FIELDS = {item.name: item for item in fields(ModelConfig)}


def _model(name: str, unset: str = "") -> Any:
    """Return ModelConfig's setting of that name; with `unset`, its default is None."""
    item = _MODEL_FIELDS[name]
    metadata = {**item.metadata, "section": "Model", "unset": unset}
    return field(default=None if unset else item.default, metadata=metadata)


# One constructor for each section of the help page.
_length = partial(setting, section="Length")
_optimization = partial(setting, section="Optimization")
_machine = partial(setting, section="Machine")
_DECAY_RATE = 0.9995
_NGRAM_DECAY_UPDATES = 1e6 / 1024  # in a reading of the text, for a decay of 1 (LOG.md)
_EMBEDDING_DECAY = 0.1  # of tasks; of names in 18 languages it took 0.02 nats off (LOG.md)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The settings of a training run; None is chosen from the corpus and the budget."""

    # The network; ModelConfig has the ranges.
    task: str | None = _model("task", unset="what --pairs, --tags or --restore say, else text")
    cell: str = _model("cell")
    nonlinearity: str = _model("nonlinearity")
    hidden_size: int | None = _model("hidden_size", unset="automatic")
    parameters: str | None = setting(
        None,
        "number of weights, such as 250k or 1M, instead of --hidden-size: the most units that need "
        "no more, those of n-grams not counted",
        section="Model",
    )
    num_layers: int = _model("num_layers")
    embedding_size: int | None = _model("embedding_size", unset="automatic")
    ngram_order: int | None = _model("ngram_order", unset="5; 1 for other tasks than text")
    ngram_rows: int | None = _model("ngram_rows", unset="automatic")
    tie_embeddings: bool | None = _model(
        "tie_embeddings", unset="on if the vocabulary has 1,000 tokens or more"
    )
    residual: bool = _model("residual")
    initial_state: str | None = _model("initial_state", unset="learned for records, else zero")
    label_size: int | None = _model("label_size", unset="automatic")
    label_dropout: float = setting(
        0.1,
        "fraction of records whose labels are hidden in training, so that the model also works "
        "without",
        section="Model",
        ge=0,
        le=1,
    )
    dropout: float | None = _model("dropout", unset="automatic")
    bidirectional: bool | None = _model(
        "bidirectional", unset="on for every task but text, which cannot know what follows"
    )
    pooling: str = _model("pooling")
    head_size: int = _model("head_size")
    transitions: bool | None = _model("transitions", unset="on where tags are those of words")
    attention: str = _model("attention")

    # How long to train, and when to evaluate on the held-out text.
    budget: str | None = _length(
        None,
        "training time with a unit: s, m, h or d, such as 90s, 10m or 1h30m",
        unset=DEFAULT_BUDGET,
    )
    epochs: float | None = _length(
        None, "passes over the training text, instead of --budget", gt=0, le=1e9
    )
    steps: int | None = _length(None, "optimizer updates, instead of --budget", ge=1)
    length_history: str | None = _length(
        None,
        "with --steps: how the length of a run by --budget changed on its way, as its "
        "resolved.toml records it, to repeat it bit for bit",
    )
    patience: int = _length(
        8,
        "stop after this many evaluations in a row with a loss over 2% above the best; 0 turns it "
        "off",
        ge=0,
    )
    eval_every: int | None = _length(
        None, "steps between evaluations", unset="1/20 of the run, more if evaluation is slow", ge=1
    )
    eval_chars: int = _length(
        2_000_000,
        "held-out tokens (characters, or bytes of rare ones) per evaluation, 10,000,000 at the "
        "end; 0 for all",
        ge=0,
    )

    snapshots: int = _length(
        0,
        "keep the weights at so many steps, from the first to the last, closer together early on, "
        "for charrnn inspect to show how they came about; 256 MB at most",
        ge=0,
        le=1000,
    )

    samples: bool = _length(
        True, "let the model write a little at each evaluation, to be seen and kept in samples.txt"
    )
    sample_prompt: str | None = _length(
        None,
        "how these texts begin; of a network that decides, a text to decide on",
        unset="as texts do; held-out records",
    )

    # Batches, updates and what is averaged over them.
    seq_len: int | None = _optimization(
        None, "tokens per window: how far back gradients flow", unset="automatic", ge=1
    )
    written_lanes: int | None = _optimization(
        None,
        "of the lanes, how many read what teachers write",
        ge=1,
        unset="with teachers half or more, by how often the others would read the text",
    )
    batch_size: int | None = _optimization(
        None,
        "batch size: number of lanes, each a contiguous stretch of the text",
        unset="automatic",
        ge=1,
    )
    optimizer: str = _optimization(  # Muon: Jordan et al. 2024
        "muon",
        "optimizer of the recurrent layers' matrices; AdamW updates the rest",
        choices=("muon", "adamw"),
    )
    learning_rate: float | None = _optimization(
        None, "peak learning rate", unset="automatic", gt=0, le=10
    )
    lr_schedule: str = _optimization(
        "cosine",
        "how the learning rate changes after the warm-up",
        choices=("linear", "cosine", "exponential", "constant"),
    )
    decay_rate: float = _optimization(
        _DECAY_RATE, "with the exponential schedule: factor of the rate per step", gt=0, le=1
    )
    warmup_steps: int = _optimization(100, "steps until the learning rate reaches its peak", ge=0)
    clip_grad_norm: float = _optimization(  # Pascanu et al. 2013
        1.0, "clip the global L2 norm of the gradient to this; 0 turns it off", ge=0
    )
    clip_grad_value: float = _optimization(
        0.0, "clip each gradient element to this absolute value; 0 turns it off", ge=0
    )
    weight_decay_input: float = _optimization(0.03, "weight decay of input weights", ge=0)
    weight_decay_recurrent: float = _optimization(0.03, "weight decay of recurrent weights", ge=0)
    weight_decay_output: float = _optimization(
        0.03, "weight decay of output weights that are not tied", ge=0
    )
    weight_decay_embedding: float | None = _optimization(
        None, "weight decay of embeddings", unset="0.1 where whole texts are read, else 0", ge=0
    )
    weight_decay_ngrams: float | None = _optimization(
        None,
        "weight decay of the embeddings of n-grams: how fast seldom read ones fade",
        unset="the more, the shorter the text: 1 for a million characters",
        ge=0,
    )
    weight_decay_bias: float = _optimization(0.0, "weight decay of biases and initial states", ge=0)
    max_norm_input: float | None = _optimization(  # Srivastava et al. 2014
        None,
        "largest L2 norm of the input weights of each unit, of each gate apart, after every update",
        unset="no limit",
        gt=0,
    )
    max_norm_recurrent: float | None = _optimization(
        None, "the same of the recurrent weights", unset="no limit", gt=0
    )
    max_norm_output: float | None = _optimization(
        None, "the same of the output weights of each token, tied ones too", unset="no limit", gt=0
    )
    ema_decay: float = _optimization(
        0.99, "decay of the weight average (EMA); 0 turns it off", ge=0, le=0.99999
    )

    # What it runs on, and what makes it repeatable.
    seed: int = _machine(1, "seed of all random numbers", ge=0, le=2**63 - 1)
    device: str = _machine(
        "auto",
        "device to use; auto takes a GPU if there is one",
        choices=("auto", "cpu", "cuda", "mps"),
    )
    precision: str = _machine(
        "auto", "number format of matrix products", choices=("auto", "fp32", "bf16", "fp16")
    )
    threads: int | None = _machine(None, "CPU threads", unset="all", ge=1, le=1024)
    cuda_graph: bool = _machine(False, "capture each step as a CUDA graph (experimental)")
    deterministic: bool = _machine(
        False, "make a GPU repeat the same --steps or --epochs bit for bit; a CPU always does"
    )

    def __post_init__(self) -> None:
        budget: Any = plain(self.budget)
        if isinstance(budget, int | float):  # a number of seconds
            object.__setattr__(self, "budget", f"{budget}s")
        count: Any = plain(self.parameters)
        if isinstance(count, int | float) and not isinstance(count, bool):
            object.__setattr__(self, "parameters", str(int(count)))
        validate(self)
        if self.parameters is not None:
            parse_count(self.parameters)
            if self.hidden_size is not None:
                raise ConfigError(
                    f"hidden_size {self.hidden_size} and parameters {self.parameters} both say how "
                    "large the network is; leave --hidden-size or --parameters out"
                )
        given = [name for name in LENGTHS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ConfigError(f"{' and '.join(given)} both say how long to train; give one")
        if self.budget is not None:
            parse_duration(self.budget)  # a bad one is refused here, not in the middle of a run
        if self.length_history is not None:
            last = parse_length_history(self.length_history)[-1]
            if last.total_steps != self.steps:
                raise ConfigError(
                    f"length_history ends with {last.total_steps} steps; give steps="
                    f"{last.total_steps} with it, or leave length_history out"
                )
        check_ngram_rows(self.ngram_rows or 0)
        if self.ngram_order == 1 and self.ngram_rows:
            raise ConfigError(
                f"ngram_rows {self.ngram_rows} works only with ngram_order 2 or more, not 1; leave "
                "--ngram-rows out, or give a larger --ngram-order"
            )
        if self.weight_decay_ngrams not in (None, 1.0):  # files of older versions all have 1
            for name, none in (("ngram_order", 1), ("ngram_rows", 0)):
                if getattr(self, name) == none:
                    flag = "--" + name.replace("_", "-")
                    raise ConfigError(
                        f"weight_decay_ngrams {self.weight_decay_ngrams:g} does nothing with "
                        f"{name} {none}; leave --weight-decay-ngrams or {flag} out"
                    )
        if self.decay_rate != _DECAY_RATE and self.lr_schedule != "exponential":
            raise ConfigError(
                f"decay_rate works only with lr_schedule exponential, not {self.lr_schedule}; "
                "leave --decay-rate out, or use --lr-schedule exponential"
            )

    def check_task(self, task: str) -> None:
        """Refuse settings that do nothing in this task.

        Raises:
            ConfigError: one is given.
        """
        for name, (tasks, *neutral) in _OF_TASKS.items():
            value = getattr(self, name)
            is_given = value not in (_DEFAULT_OF[name], *neutral)
            if is_given and task not in tasks:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(
                    f"{name} works only with task {' or '.join(tasks)}, not {task}; leave {flag} "
                    "out"
                )

    @property
    def parameter_count(self) -> int | None:
        """The most weights that the network may have; None if hidden_size says its size."""
        return None if self.parameters is None else parse_count(self.parameters)

    @property
    def longest_tokens(self) -> int:
        """The most tokens that are read of a text as a whole."""
        return self.seq_len or LONGEST_TOKENS

    def embedding_decay(self, task: str) -> float:
        """Return the weight decay of embeddings in this task."""
        if self.weight_decay_embedding is not None:
            return self.weight_decay_embedding
        return 0.0 if task == "text" else _EMBEDDING_DECAY

    def ngram_decay(self, updates: float = _NGRAM_DECAY_UPDATES) -> float:
        """Return the weight decay of n-grams. updates: in a reading of the training text.

        What a short text says often is sooner learned by heart, so there rows fade faster.
        """
        if self.weight_decay_ngrams is not None:
            return self.weight_decay_ngrams
        return float(f"{(_NGRAM_DECAY_UPDATES / max(updates, 1.0)) ** (2 / 3):.2g}")

    @property
    def length_changes(self) -> list[Length]:
        """The changes to repeat, in order; [] if there are none."""
        return parse_length_history(self.length_history) if self.length_history else []

    @property
    def budget_seconds(self) -> float | None:
        """The training time; None if steps or epochs set the length instead."""
        if self.steps is not None or self.epochs is not None:
            return None
        return parse_duration(self.budget or DEFAULT_BUDGET)


_OF_TASKS: dict[str, tuple[Any, ...]] = {
    "tie_embeddings": (("text",), False),
    "ngram_order": (("text",), 1),
    "ngram_rows": (("text",), 0),
    "weight_decay_ngrams": (("text",),),
    "label_size": (("text",), 0),
    "label_dropout": (("text",),),
    "bidirectional": (("classification", "tagging", "seq2seq"), False),
    "pooling": (("classification",),),
    "head_size": (("classification", "tagging"),),
    "transitions": (("tagging",), False),
    "attention": (("seq2seq",),),
}
"""The tasks of settings that only some have, and values besides the default that change nothing."""
_DEFAULT_OF = {item.name: item.default for item in fields(TrainConfig)}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Where a run's files go, and whether it is a new one."""

    name: str | None = setting(None, "name of the run", unset="named after the corpus")
    checkpoints: str = setting("checkpoints", "folder that holds the runs")
    resume: str | None = setting(None, "continue this run: its name or folder")
    on_unfinished: str = setting(
        "ask",
        "if the same command has an unfinished run: ask, resume it or start a new one; without a "
        "terminal, ask resumes",
        choices=("ask", "resume", "new"),
    )
    keep_checkpoints: int = setting(2, "how many recent checkpoints to keep", ge=1)
    init_from: str | None = setting(
        None, "start a new run from a model's weights: a run's name, folder or file"
    )
    distill_from: tuple[str, ...] = setting(
        (), "learn from this model too: what it writes, and how likely it finds each character"
    )
    teachers: int | None = setting(
        None,
        "networks to train first, in a part of the budget, that the run then learns from; 0 for "
        "none",
        ge=0,
        le=16,
        unset="as many as pay, by the text and the budget",
    )
    tensorboard: str | None = setting(
        None, "folder for files of TensorBoard, in which each run has a folder", unset="none"
    )
    overwrite: bool = setting(
        False, "replace the run of this --name, once the new one has saved its first state"
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.overwrite and self.resume is not None:
            raise ConfigError(
                "resume continues a run, and overwrite starts it from the beginning; give one"
            )
        if self.overwrite and self.name is None:
            raise ConfigError("overwrite replaces the run of a given name; give --name too")
        if self.distill_from and self.teachers:
            raise ConfigError(
                "distill_from names the models to learn from, and teachers trains others; give one"
            )


@dataclass(frozen=True, kw_only=True)
class DynamicConfig:
    """How a model keeps learning from the text that it is scored on."""

    dynamic_rate: float = setting(5e-4, "learning rate of --dynamic", ge=0, le=1)

    def __post_init__(self) -> None:
        validate(self)
