"""What a training run reports: frozen values that the caller shows and records.

A run yields one Started, then any number of Progress, Length, Evaluation, Snapshot, KeptWeights
and Incident reports, and at the end one Finished. Losses are nats per character of the text, also
where a character took several tokens.
"""

from dataclasses import dataclass, field
from typing import Any

from charrnn.config import Length, ModelConfig
from charrnn.state import Arrays
from charrnn.text.ngrams import RowCounts
from charrnn.training.plan import Plan
from charrnn.training.trouble import Trouble


@dataclass(frozen=True)
class Started:
    """The run is set up: what will be trained, and on what.

    val_chars: the characters of the held-out text that are used. state_bytes: the size of a
    snapshot's arrays without lane states; model_bytes: of the weights alone. micro_batches: the
    parts in which the lanes of a window are read. processes: they train together, with `threads`
    each. length_history: how the length of a resumed run changed before; None if that is not all
    that it takes to repeat the run. snapshots_bytes: of the weights that are kept along the way.
    row_counts: how the text's n-grams found rows in a new run's table, where its size was given, or
    is that of the model that the run starts from.
    """

    plan: Plan
    parameters: int
    device: str
    precision: str
    threads: int
    train_chars: int
    val_chars: int
    state_bytes: int
    model_bytes: int
    micro_batches: int
    resumed_from_step: int = 0
    processes: int = 1
    length_history: tuple[Length, ...] | None = ()
    snapshots_bytes: int = 0
    row_counts: RowCounts | None = None


@dataclass(frozen=True)
class Progress:
    """How it goes, a few times a second; every tenth of an evaluation interval it is a milestone.

    train_nats: the mean since the last milestone. total_steps: None until the first steps have
    shown how many fit the budget.
    """

    step: int
    total_steps: int | None
    epoch: float
    chars_seen: int
    train_nats: float
    learning_rate: float
    gradient_norm: float
    chars_per_second: float
    elapsed_seconds: float
    memory_bytes: int
    is_milestone: bool


@dataclass(frozen=True)
class Evaluation:
    """The averaged weights on the held-out text, and those weights.

    train_nats: the mean since the evaluation before, with dropout, of weights that moved.
    train_eval_nats: of training text scored as the held-out text is, in a run's last evaluation.
    val_nats, best_val_nats: None where nothing is held out; the last weights are the best then.
    temperature: by which the logits of the averaged weights are divided, in `weights`.
    learning_rate: of the last step; clipped: the share of the steps since the evaluation before
    whose gradient was above clip_grad_norm; groups: norms of the weights being trained, of the last
    step's gradient and of its update, by group such as "recurrent.f" (groups.py); {} where that
    step was not known to be the last before an evaluation.
    """

    step: int
    chars_seen: int
    elapsed_seconds: float
    train_nats: float
    train_eval_nats: float | None
    val_nats: float | None
    best_val_nats: float | None
    is_best: bool
    weights: Arrays = field(repr=False)
    temperature: float = 1.0
    learning_rate: float = 0.0
    clipped: float = 0.0
    groups: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Snapshot:
    """All that a run needs to continue as if nothing had happened.

    weights are those being trained; arrays hold moments, average, lane states; progress is JSON.
    """

    step: int
    model: ModelConfig
    weights: Arrays = field(repr=False)
    arrays: Arrays = field(repr=False)
    progress: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class KeptWeights:
    """The averaged weights after a step, which --snapshots keeps to be looked at later."""

    step: int
    weights: Arrays = field(repr=False)


@dataclass(frozen=True)
class Incident:
    """Something went wrong that the run survived.

    kind: "dropped": loss or gradient were not finite, and no weight moved; "spike": a loss far
    above its level; "rollback": back to the last snapshot, at half the learning rate; "memory":
    the lanes are read in more micro-batches; "graph": a step could not be captured as a CUDA
    graph; "worse": the model is worse than it should be, said once in a run.

    position: where the window starts in the first lane; the others are lane_length tokens apart.
    train_nats: of this window, per character; level_nats: of the windows before it. back_to_step:
    where a rollback goes to; rate_factor: what multiplies every learning rate after it. reason: why
    a step could not be captured. trouble: what "worse" means; level_nats is what the held-out text
    should cost less than then.
    """

    kind: str
    step: int
    epoch: float
    position: int
    lane_length: int
    train_nats: float
    level_nats: float
    back_to_step: int | None = None
    rate_factor: float | None = None
    micro_batches: int | None = None
    reason: str = ""
    trouble: Trouble | None = None


@dataclass(frozen=True)
class Finished:
    """Why and how the run ended. best_weights scored best_val_nats at best_step.

    reason: "length": it ran its length; "patience": it got clearly worse; "stopped": it was asked
    to. Unless it was stopped, the figures are of the held-out text as a whole, up to 10,000,000
    tokens of it unless eval_chars is 0.

    epochs: how often the text was read. train_nats: None before the first evaluation. got_worse:
    the last evaluation was worse than the best by more than chance. trouble: what is wrong
    with its model. best_train_nats: the mean
    before that evaluation, with dropout; best_train_eval_nats: of training text scored as the
    held-out text is, so that the two compare. best_val_windowed_nats: None where the run was
    stopped, as best_train_eval_nats may be. best_val_compared_nats: on as much held-out text as the
    baselines are scored on. best_val_end_nats: of the end of a record, None for running text;
    best_val_unlabelled_nats: where no label is known, None without labels.
    best_val_by_source_nats: of the held-out text of each path, where several paths have any; {}
    where it was stopped. best_weights: None where
    it was stopped before the first evaluation. What is best of the held-out text is None then, and
    where nothing is held out. snapshot: the state at the end, which knows whether there is anything
    left to do.
    """

    reason: str
    step: int
    best_step: int
    chars_seen: int
    epochs: float
    elapsed_seconds: float
    train_nats: float | None
    got_worse: bool
    trouble: Trouble | None
    best_val_nats: float | None
    best_train_nats: float
    best_train_eval_nats: float | None
    best_val_windowed_nats: float | None
    best_val_compared_nats: float | None
    best_weights: Arrays | None = field(repr=False)
    snapshot: Snapshot = field(repr=False)
    best_val_end_nats: float | None = None
    best_val_unlabelled_nats: float | None = None
    best_val_by_source_nats: dict[str, float] = field(default_factory=dict)


Report = Started | Progress | Length | Evaluation | Snapshot | KeptWeights | Incident | Finished
