"""Sampled completions: as often as their probability among all that fit says."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.tasks.model import Model
from tests.generation.random_models import NGRAMS
from tests.reference.filling import brute_force, find, texts_of

Make = Callable[..., ModelFile]


@pytest.fixture(params=[{}, NGRAMS], ids=["characters", "n-grams"])
def model(make_model: Make, request: pytest.FixtureRequest) -> Model:
    return Model(make_model(**request.param))


def deviation(model: Model, pattern: str, samples: list[str], temperature: float) -> float:
    """Return chi-square of samples from p(text | pattern) as a share of its bound at 0.0001.

    Rare texts count as one; the bound is that of Wilson and Hilferty (1931).
    """
    bits = brute_force(model, pattern)
    assert set(samples) <= bits.keys()
    weights = 2.0 ** (-np.array([*bits.values()]) / temperature)
    expected = weights / weights.sum() * len(samples)
    counts = np.array([samples.count(text) for text in bits])
    is_rare = expected < 5
    counts = np.append(counts[~is_rare], counts[is_rare].sum())
    expected = np.append(expected[~is_rare], expected[is_rare].sum() or 1e-9)
    degrees = len(counts) - 1
    variance = 2 / (9 * degrees)
    bound = degrees * (1 - variance + 3.719 * math.sqrt(variance)) ** 3
    return float(((counts - expected) ** 2 / expected).sum() / bound)


@pytest.mark.no_cover  # draws thousands
@pytest.mark.parametrize("pattern", ["_", "a_b_", "*_", "a*b", "*ab_"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_from_all_that_fit_are_as_frequent_as_they_are_probable(
    model: Model, pattern: str, temperature: float
) -> None:
    found = find(model, pattern, sample=True, count=5000, temperature=temperature, seed=1)

    assert found.is_exact
    assert deviation(model, pattern, texts_of(found), temperature) < 1
    if temperature == 2:
        assert deviation(model, pattern, texts_of(found), 1.5) > 1


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_shares_of_samples_are_those_at_their_temperature(model: Model, temperature: float) -> None:
    weights = {t: 2 ** (-bits / temperature) for t, bits in brute_force(model, "a*b").items()}

    found = find(model, "a*b", sample=True, count=9, temperature=temperature, seed=1)

    for each in found.completions:
        assert each.share == pytest.approx(weights[each.text] / sum(weights.values()), rel=1e-3)


def test_samples_by_many_particles_are_nearly_as_frequent_as_they_are_probable(
    model: Model,
) -> None:
    samples = [
        text
        for seed in range(40)
        for text in texts_of(find(model, "_a__", sample=True, count=50, beam_width=60, seed=seed))
    ]

    assert deviation(model, "_a__", samples, 1.0) < 1


def test_a_seed_samples_the_same_and_another_does_not(model: Model) -> None:
    samples = [
        texts_of(find(model, "a*b__", sample=True, count=20, beam_width=9, seed=seed))
        for seed in (1, 1, 2)
    ]

    assert samples[0] == samples[1] != samples[2]


def test_few_particles_are_not_called_exact(model: Model) -> None:
    found = find(model, "___", sample=True, beam_width=9, seed=1)

    assert not found.is_exact
    assert found.found == 9


def test_near_temperature_zero_the_likeliest_is_sampled(model: Model) -> None:
    best = texts_of(find(model, "_a*b", count=1))

    samples = find(model, "_a*b", sample=True, count=50, temperature=0.01, seed=1)

    assert texts_of(samples) == best * 50
