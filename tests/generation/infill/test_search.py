"""The prefixes that a search keeps: in blocks as in one, and with unbiased weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.generation.infill import fill as search
from charrnn.generation.infill.fill import resample, select_likeliest
from charrnn.tasks.model import Model
from tests.generation.random_models import NGRAMS
from tests.reference.filling import ALPHABET, brute_force, ids_of, search_with

Make = Callable[..., ModelFile]


@pytest.fixture(params=[{}, NGRAMS], ids=["characters", "n-grams"])
def model(make_model: Make, request: pytest.FixtureRequest) -> Model:
    return Model(make_model(**request.param))


@pytest.mark.parametrize("pattern", ["_a*b_", "____"])
@pytest.mark.parametrize("width", [2, 7, 60])
def test_prefixes_are_extended_in_blocks_to_the_same_result(
    model: Model, monkeypatch: pytest.MonkeyPatch, pattern: str, width: int
) -> None:
    whole = search_with(model, pattern, search.BeamOptions(width, 1.0, select_likeliest))
    monkeypatch.setattr(search, "_MAX_LOGITS", 3 * len(ALPHABET))

    blocks = search_with(model, pattern, search.BeamOptions(width, 1.0, select_likeliest))

    assert ids_of(blocks) == ids_of(whole)
    assert blocks.heaviest_dropped == pytest.approx(whole.heaviest_dropped)


def test_the_heaviest_dropped_of_a_block_is_kept() -> None:
    def block(*weights: float) -> search._Candidates:
        numbers = np.arange(len(weights))
        return search._Candidates(
            numbers, numbers, 0 * numbers, np.array(weights), np.array(weights)
        )

    options = search.BeamOptions(2, 1.0, select_likeliest)

    kept, dropped = search._prune_blocks([block(-1, -2, -3), block(-4, -5)], options)

    assert (kept.log_weights.tolist(), dropped) == ([-1, -2], -3)


def particles_of(model: Model, pattern: str, temperature: float, seed: int) -> dict[str, float]:
    """Return the weight of each text that ends the search with four particles a cell."""
    options = search.BeamOptions(4, temperature, partial(resample, np.random.default_rng(seed)))
    ended = search_with(model, pattern, options)
    texts = [model.vocab.decode(ids) for ids in ids_of(ended)]
    assert len({*texts}) == len(texts)
    return dict(zip(texts, np.exp(ended.log_weights).tolist(), strict=True))


@pytest.mark.no_cover  # draws thousands
@pytest.mark.parametrize("pattern", ["_ab__", "a*b_", "*_a"])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_the_weights_of_few_particles_are_unbiased(
    model: Model, pattern: str, temperature: float
) -> None:
    """On average over searches, each text has the weight that it has by enumeration."""
    bits = brute_force(model, pattern)
    true = 2.0 ** (-np.array([*bits.values()]) / temperature)
    index_of = {text: index for index, text in enumerate(bits)}
    estimates = np.zeros((300, len(bits)))
    for seed in range(len(estimates)):
        for text, weight in particles_of(model, pattern, temperature, seed).items():
            estimates[seed, index_of[text]] = weight

    mean, spread = estimates.mean(0), estimates.std(0) / math.sqrt(len(estimates))
    is_seen = (estimates > 0).sum(0) > 20  # of the others the spread is not known
    assert is_seen.sum() > 5
    assert (np.abs(mean - true)[is_seen] < 5 * spread[is_seen] + 1e-5).all()
    sums = estimates.sum(1)
    assert abs(sums.mean() - true.sum()) < 4 * sums.std() / math.sqrt(len(sums))
