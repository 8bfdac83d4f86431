"""What a training run says of itself: frozen values that the edge shows and keeps.

A run yields one Started, then any number of Progress, Evaluation and Snapshot reports, and at the
end one Finished. Losses are nats per character of the text, also where a character took several
symbols.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from charrnn.config import ModelConfig
from charrnn.training.budget import Plan
from charrnn.training.learner import Arrays


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
    resumed_from_step: int = 0


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
class Finished:
    """Why and how the run ended. best_weights scored best_val_nats at best_step.

    Unless the run was stopped, the figures are of the whole held-out text, whatever eval_chars is.
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
    """On as much of the held-out text as simpler models are scored on (text/baselines.py)."""
    best_weights: Arrays | None = field(repr=False)
    """None where it was stopped before the first evaluation; best_val_nats is inf then."""


Report = Started | Progress | Evaluation | Snapshot | Finished
