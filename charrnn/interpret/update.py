"""What training would do after a window: clipping, and the update of one weight by AdamW.

The window is the run's own length and ends at the place in view; its mean loss is that of one lane,
where training averages over all lanes of a batch. Muon, which updates the matrices of recurrent
layers unless a run says `--optimizer adamw`, turns a whole block at once and cannot be shown by one
number, so there the weight is one of the output layer.

T = tokens of the window.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from charrnn.config import TrainConfig
from charrnn.interpret.derivatives import Derivatives, grad_of_nats
from charrnn.interpret.digits import decimals_for, read_number, share_digits, shown
from charrnn.interpret.subject import Subject

BETAS = (0.9, 0.99)
EPSILON = 1e-8
"""Those of training/optimizer.py."""


@dataclass(frozen=True)
class WeightUpdate:
    """Clipping, and the update of a weight.

    tokens: of the window; seq_len: of the run. norm: of the gradient of all weights but those of
    n-grams. factor: by which it is clipped. weight: its name. gradient: by the mean loss, before
    clipping. first, second: the moments after the update; update: its number, from 1, which is 1
    where the run's moments are not at hand. before, after: the weight. lines: name, formula,
    numbers and meaning.
    """

    tokens: int
    seq_len: int
    optimizer: str
    norm: float
    clip_norm: float
    factor: float
    weight: str
    gradient: float
    first: float
    second: float
    update: int
    learning_rate: float
    decay: float
    before: float
    after: float
    lines: tuple[tuple[str, str, str, str], ...]


def update_of(subject: Subject, at: int, depth: int, unit: int) -> WeightUpdate | None:
    """Return the update after the window that ends at a place; None of a text of one token."""
    stop = min(at + 1, len(subject.ids) - 1)
    settings = _settings(subject)
    seq_len = int(settings["seq_len"] or 64)
    start = max(0, stop - seq_len)
    if stop <= start:
        return None
    window = subject.trace.part(start, stop)
    targets = subject.ids[start + 1 : stop + 1]
    grad_logits = grad_of_nats(window.log_probabilities, targets) / len(window)
    found = Derivatives(window).gradients(grad_logits).weights()
    found.pop("ngrams.weight", None)  # it has an optimizer of its own, and is not clipped
    if settings["clip_grad_value"]:
        limit = settings["clip_grad_value"]
        found = {name: grad.clip(-limit, limit) for name, grad in found.items()}
    norm = math.sqrt(sum(float(np.sum(np.float64(grad) ** 2)) for grad in found.values()))
    name, index = _choose(subject, settings, int(targets[-1]), (depth, unit))
    return _update(subject, settings, len(window), norm, name, index, float(found[name][index]))


def _settings(subject: Subject) -> dict[str, Any]:
    """Return what the run was trained with; defaults where the file does not say."""
    defaults = vars(TrainConfig())
    resolved = subject.file.summary.get("resolved") or {}
    plan = (subject.file.progress or {}).get("plan") or {}
    return {**defaults, **resolved, **plan}


def _choose(
    subject: Subject, settings: dict[str, Any], target: int, place: tuple[int, int]
) -> tuple[str, tuple[int, int]]:
    """Return a weight that AdamW updates, by its name and index."""
    depth, unit = place
    if settings["optimizer"] == "adamw":
        state = np.abs(subject.trace.hidden(depth)[-1])
        return f"layers.{depth}.weight_hh", (unit, int(state.argmax()))
    if subject.config.tie_embeddings:
        return "embedding.weight", (target, 0)
    return "output.weight", (target, unit)


def _decay(settings: dict[str, Any], name: str) -> float:
    if name.startswith("embedding"):
        return float(settings["weight_decay_embedding"] or 0.0)
    kind = "output" if name.startswith("output") else "recurrent"
    return float(settings[f"weight_decay_{kind}"])


def _update(
    subject: Subject,
    settings: dict[str, Any],
    tokens: int,
    norm: float,
    name: str,
    index: tuple[int, int],
    gradient: float,
) -> WeightUpdate:
    clip_norm = float(settings["clip_grad_norm"])
    factor = min(1.0, clip_norm / norm) if clip_norm and norm else 1.0
    training = subject.file.training
    has_moments = f"first_moment.{name}" in training
    updates = int((subject.file.progress or {}).get("updates", 0)) if has_moments else 0
    moments = [
        float(training[f"{kind}_moment.{name}"][index]) if has_moments else 0.0
        for kind in ("first", "second")
    ]
    count = updates + 1
    g = gradient * factor
    first = BETAS[0] * moments[0] + (1 - BETAS[0]) * g
    second = BETAS[1] * moments[1] + (1 - BETAS[1]) * g * g
    root = math.sqrt(second / (1 - BETAS[1] ** count)) + EPSILON
    direction = first / (1 - BETAS[0] ** count) / root
    rate = float(settings["learning_rate"] or 0.002)
    decay = _decay(settings, name)
    before = float(subject.file.weights[name][index])
    after = before - rate * decay * before - rate * direction
    label = f"{name}[{index[0]},{index[1]}]"
    lines = _lines(norm, clip_norm, factor, gradient, moments, count, first, second, direction)
    lines.append(_new_weight(label, rate, decay, direction, before, after))
    seq_len = int(settings["seq_len"] or 64)
    optimizer = str(settings["optimizer"])
    return WeightUpdate(
        tokens, seq_len, optimizer, norm, clip_norm, factor, label, gradient, first, second, count,
        rate, decay, before, after, tuple(lines),
    )  # fmt: skip


def _lines(
    norm: float,
    clip_norm: float,
    factor: float,
    gradient: float,
    moments: list[float],
    count: int,
    first: float,
    second: float,
    direction: float,
) -> list[tuple[str, str, str, str]]:
    """Return name, formula, numbers and meaning of each equation up to the direction."""
    g = gradient * factor

    def number(value: float) -> str:
        return f"{value:.4g}".replace("-", "−")

    return [
        ("‖g‖", "√Σ g²", number(norm), "the length of the gradient of all weights"),
        (
            "factor",
            "min(1, G / ‖g‖)",
            f"min(1, {number(clip_norm)} / {number(norm)}) = {number(factor)}"
            if clip_norm
            else "1 (clipping is off)",
            "clipping: a longer gradient is shortened to G and keeps its direction",
        ),
        ("g", "factor · ∂L/∂w", f"{number(factor)} · {number(gradient)} = {number(g)}",
         "the gradient of this weight: all steps of the window, not this one alone"),
        ("m", "β₁·m + (1 − β₁)·g", f"0.9 · {number(moments[0])} + 0.1 · {number(g)} = "
         f"{number(first)}", "the mean of the last gradients, about 10"),
        ("v", "β₂·v + (1 − β₂)·g²", f"0.99 · {number(moments[1])} + 0.01 · {number(g * g)} = "
         f"{number(second)}", "the mean of their squares, about 100"),
        ("d", "(m / (1 − β₁ⁿ)) / (√(v / (1 − β₂ⁿ)) + ε)",
         f"({number(first)} / {number(1 - BETAS[0] ** count)}) / (√({number(second)} / "
         f"{number(1 - BETAS[1] ** count)}) + {number(EPSILON)}) = {number(direction)}",
         f"update {count}: near 1 or −1 if the gradients agree, near 0 if they do not"),
    ]  # fmt: skip


def _new_weight(
    label: str, rate: float, decay: float, direction: float, before: float, after: float
) -> tuple[str, str, str, str]:
    """Return the last equation, whose printed terms add up to the printed weight."""
    steps = [-rate * decay * before, -rate * direction]
    decimals = decimals_for([max(map(abs, steps))])
    said = shown(after, decimals)
    parts = share_digits([before, *steps], read_number(said), decimals)
    numbers = " + ".join(parts) + f" = {said}"
    formula = f"w − η·λ·w − η·d, with η = {rate:g}, λ = {decay:g}"
    return label, formula, numbers, "the new weight: the old one, decay, and the step"
