"""A run's plan: chosen by what this machine can do, or that of a run which goes on."""

from __future__ import annotations

from dataclasses import replace

import torch

from charrnn.config import LENGTHS, TrainConfig
from charrnn.text.corpus import Corpus
from charrnn.training.budget import EVALUATIONS, Plan, make_plan
from charrnn.training.probe import measure_speed, measure_step
from charrnn.training.reports import Snapshot


def choose_plan(
    config: TrainConfig,
    corpus: Corpus,
    device: torch.device,
    precision: torch.dtype,
    is_resumed: bool,
) -> Plan:
    """Choose what is left open, by measured speed where a time says how long."""
    text = config, corpus.vocab.size, len(corpus.train)
    if is_resumed or config.budget_seconds is None:
        return make_plan(*text)
    speed = 1.0 if config.hidden_size else measure_speed(device, precision)
    plan = make_plan(*text, speed)
    if config.dropout is not None:
        return plan
    return make_plan(*text, speed, measure_step(plan, config, corpus, device, precision))


def length_of(config: TrainConfig) -> list[float | str | None]:
    """Give what was asked for to say how long to train, for comparison."""
    return [getattr(config, name) for name in LENGTHS]


def take_up_plan(snapshot: Snapshot, fresh: Plan, config: TrainConfig) -> Plan:
    """Give a resumed run's plan: its own, or with a new length where another is asked for."""
    plan, progress = Plan(model=snapshot.model, **snapshot.progress["plan"]), snapshot.progress
    if progress["length"] == length_of(config):
        return replace(plan, eval_every=config.eval_every or plan.eval_every)
    if config.budget_seconds is None:
        return replace(plan, total_steps=fresh.total_steps, eval_every=fresh.eval_every)
    if plan.eval_every is None:  # stopped before its speed was known
        return replace(plan, total_steps=None, eval_every=config.eval_every)
    share = config.budget_seconds / max(progress["elapsed_seconds"], 1e-9)
    total = max(snapshot.step + 1, round(snapshot.step * share))  # corrected on the way
    spacing = max(plan.eval_every, -(-total // EVALUATIONS))
    return replace(plan, total_steps=total, eval_every=config.eval_every or spacing)
