"""A run's plan: chosen by what this machine can do, or that of a run which goes on."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch

from charrnn.config import LENGTHS, ModelConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.text.corpus import Corpus
from charrnn.training.budget import EVALUATIONS, Plan, make_plan
from charrnn.training.device import check_graph
from charrnn.training.distributed import Peers
from charrnn.training.gpu_sizes import size_for_gpu
from charrnn.training.learner import share_of
from charrnn.training.probe import measure_gpu, measure_speed, measure_step
from charrnn.training.reports import Snapshot


def choose_plan(
    config: TrainConfig,
    corpus: Corpus,
    device: torch.device,
    precision: torch.dtype,
    is_resumed: bool,
    peers: Peers,
) -> Plan:
    """Choose what is left open, by measured speed where a time says how long.

    Of several processes the first one's measurements count, and N are N times as fast.

    Raises:
        ConfigError: there are more processes than lanes, or they cannot use the device, or not as
            is asked.
    """
    if device.type == "mps" and peers.world_size > 1:
        raise ConfigError("several processes cannot train on mps together; give --device cpu")
    check_graph(config, device, peers.world_size)
    text = config, corpus.vocab.size, len(corpus.train)
    plan = make_plan(*text)
    if not is_resumed and config.budget_seconds is not None:
        if device.type == "cuda":
            gpu = measure_gpu(device, precision)
            together = replace(gpu, flop_per_second=gpu.flop_per_second * peers.world_size)
            config = size_for_gpu(config, together, *text[1:])
            text = config, *text[1:]
        is_sized = config.hidden_size is not None
        speed = 1.0 if is_sized else measure_speed(device, precision) * peers.world_size
        plan = make_plan(*text, speed)
        if config.dropout is None:
            own = share_of(plan, peers)
            plan = make_plan(*text, speed, measure_step(own, config, corpus, device, precision))
    return check_share(plan_from(peers.as_first(asdict(plan))), peers)


def plan_from(values: dict[str, Any]) -> Plan:
    """Give the plan that `asdict` made plain values of."""
    return Plan(**values | {"model": ModelConfig(**values["model"])})


def check_share(plan: Plan, peers: Peers) -> Plan:
    """Give the plan back if each process has a lane.

    Raises:
        ConfigError: it is not so.
    """
    if plan.batch_size < peers.world_size:
        raise ConfigError(
            f"{plan.batch_size} lanes cannot be shared out among {peers.world_size} processes; "
            f"give --batch-size {peers.world_size} or more, or start fewer"
        )
    return plan


def check_same(corpus: Corpus, config: TrainConfig, resume: Snapshot | None, peers: Peers) -> None:
    """Refuse processes that were given different things.

    Raises:
        ConfigError: text, a setting or the state to go on from is not that of the first one.
    """
    step = None if resume is None else resume.step
    own = {"the text": corpus.sha256, "the step to go on from": step} | asdict(config)
    del own["threads"]  # machines may have more or fewer
    for what, value in peers.as_first(own).items():
        if value != own[what]:
            raise ConfigError(
                f"{what} of process {peers.rank} differs from process 0's: {own[what]!r} is not "
                f"{value!r}; give all the same command, and folders with the same files"
            )


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
