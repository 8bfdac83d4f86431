"""What a training run says of itself: frozen values that the edge shows and keeps.

A run yields one Started, then any number of Progress, Evaluation, Snapshot and Incident reports,
and at the end one Finished. Losses are nats per character of the text, also where a character took
several tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from charrnn.config import ModelConfig
from charrnn.training.lane_states import Arrays
from charrnn.training.plan import Plan


@dataclass(frozen=True)
class Started:
    """The run is set up: what will be trained, and on what."""

    plan: Plan
    parameters: int
    device: str
    precision: str
    threads: int
    train_chars: int
    val_chars: int
    """Characters of the held-out text that are used."""
    state_bytes: int
    """Of a snapshot's arrays, lane states left out."""
    model_bytes: int
    """Of the weights alone."""
    micro_batches: int
    """Parts in which the lanes of a window are read, so that memory suffices."""
    resumed_from_step: int = 0
    processes: int = 1
    """Those that train together, of so many threads each."""


@dataclass(frozen=True)
class Progress:
    """How it goes, a few times a second; every tenth of an evaluation interval it is a milestone.

    train_nats is the mean since the last milestone. total_steps is None until the first steps
    have shown how many fit the budget.
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
    """The averaged weights on the held-out text, and those weights."""

    step: int
    chars_seen: int
    elapsed_seconds: float
    train_nats: float
    val_nats: float
    best_val_nats: float
    is_best: bool
    weights: Arrays = field(repr=False)


@dataclass(frozen=True)
class Snapshot:
    """All that is needed to go on as if nothing had happened.

    weights are those being trained; arrays hold moments, average, lane states; progress is JSON.
    """

    step: int
    model: ModelConfig
    weights: Arrays = field(repr=False)
    arrays: Arrays = field(repr=False)
    progress: dict[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Incident:
    """Something went wrong that the run survived.

    position: where the window starts in the first lane; the others are lane_length tokens apart.
    """

    kind: str
    """"dropped": loss or gradient were not finite, and no weight was moved; "spike": a loss far
    above its level; "rollback": back to what was saved last, at half the learning rate; "memory":
    the lanes are read in more micro-batches; "graph": a step could not be captured as a
    CUDA graph."""
    step: int
    epoch: float
    position: int
    lane_length: int
    train_nats: float
    """Of this window, per character."""
    level_nats: float
    """Of the windows before it."""
    back_to_step: int | None = None
    """The step that a rollback goes back to."""
    rate_factor: float | None = None
    """What every learning rate is multiplied by after it."""
    micro_batches: int | None = None
    """Parts in which the lanes of a window are read from here on."""
    reason: str = ""
    """Why a step could not be recorded."""


@dataclass(frozen=True)
class Finished:
    """Why and how the run ended. best_weights scored best_val_nats at best_step.

    Unless the run was stopped, the figures are of the held-out text as a whole, up to 10,000,000
    tokens of it unless eval_chars is 0.
    """

    reason: str
    """"length": it ran its length; "patience": it got clearly worse; "stopped": it was asked to."""
    step: int
    best_step: int
    chars_seen: int
    epochs: float
    """How many times the text was read."""
    elapsed_seconds: float
    train_nats: float | None
    """None where it was stopped before the first evaluation."""
    got_worse: bool
    """The last evaluation was worse than the best by more than chance."""
    best_val_nats: float
    best_train_nats: float
    best_val_windowed_nats: float | None
    """None where the run was stopped: it is measured at the end."""
    best_val_compared_nats: float
    """On as much of the held-out text as simpler models are scored on (analysis/baselines.py)."""
    best_weights: Arrays | None = field(repr=False)
    """None where it was stopped before the first evaluation; best_val_nats is inf then."""
    snapshot: Snapshot = field(repr=False)
    """The state at the end, which knows whether there is anything left to do."""


Report = Started | Progress | Evaluation | Snapshot | Incident | Finished
