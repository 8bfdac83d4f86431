"""What a run remembers of its losses."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.training.stats import LossTracker, MeanLoss


def spikes_in(losses: list[float]) -> list[int]:
    level = LossTracker()
    return [place for place, nats in enumerate(losses) if level.add(nats)]


def falling(count: int) -> list[float]:
    noise = np.random.default_rng(1).normal(scale=0.05, size=count)
    return [3 * 0.98**i + 1.3 + float(noise[i]) for i in range(count)]


def test_a_loss_that_falls_unevenly_has_no_spike() -> None:
    assert spikes_in(falling(3000)) == []


@pytest.mark.parametrize("place", [300, 1000, 2999])
def test_a_loss_far_above_all_before_is_a_spike(place: int) -> None:
    losses = falling(3000)
    losses[place] *= 2

    assert spikes_in(losses) == [place]


def test_the_first_losses_are_none() -> None:
    assert spikes_in([4.0, 9.0, *[1.0] * 30, 8.0]) == []


def test_a_new_level_is_got_used_to() -> None:
    assert len(spikes_in([1.0] * 200 + [2.0] * 400)) < 20


def test_a_mean_is_of_what_was_added_since_the_last_reset() -> None:
    mean_loss = MeanLoss()
    assert mean_loss.mean() == 0
    for nats, chars in ((6.0, 2), (3.0, 4)):
        mean_loss.add(nats, chars)

    assert mean_loss.mean() == 1.5
    assert mean_loss.reset() == 1.5
    assert mean_loss == MeanLoss()
