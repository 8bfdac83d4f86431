"""Completions of blanks and gaps against all texts that fit, one by one."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.format import ModelFile
from charrnn.config import FillConfig
from charrnn.errors import DivergedError
from charrnn.inference import search
from charrnn.inference.fill import Filling
from charrnn.inference.generator import Model
from charrnn.inference.pattern import make_pattern
from charrnn.inference.resampling import keep_likeliest, resample
from charrnn.text.vocab import Vocab

Make = Callable[..., ModelFile]
ALPHABET = "\n abé"  # of make_model
GAP = 2
PATTERNS = [
    *("_", "a_", "_a", "a_b", "__", "a__b_", "_ab_é_"),
    *("*a", "a*b", "*_", "_*b", "a*b*a", "*ab*ab", "a**b", "aa*a_", "*éa b"),
]


@pytest.fixture
def model(make_model: Make) -> Model:
    return Model(make_model())


def find(model: Model, text: str, **settings: Any) -> Filling:
    return model.fill(text, max_gap=GAP, **settings)


def bits_of(model: Model, text: str) -> float:
    """Give what a text costs that begins a line."""
    return float(model.score("\n" + text).bits[1:].sum())


def brute_force(model: Model, pattern: str, fillers: str = ALPHABET) -> dict[str, float]:
    """Give every text that fits with its bits, the likeliest first."""
    stretches = ["".join(way) for size in range(GAP + 1) for way in product(fillers, repeat=size)]
    ways = {"_": list(fillers), "*": stretches}
    texts = {"".join(parts) for parts in product(*(ways.get(char, [char]) for char in pattern))}
    bits = {text: bits_of(model, text) for text in texts}
    return dict(sorted(bits.items(), key=lambda each: each[1]))


def search_with(model: Model, pattern: str, how: search.How) -> search.Search:
    """Search from the start of a line, as `fill` does."""
    runtime = model._runtime
    state = runtime.advance(ALPHABET.index("\n"), runtime.initial_state())
    machine = make_pattern(pattern, FillConfig(max_gap=GAP), model.vocab, str)
    return search.search_pattern(runtime, state, machine, how, lambda done, total: None)


def ids_of(ended: search.Search) -> list[list[int]]:
    return [ended.ids_of(index) for index in range(len(ended.found.rows))]


def texts_of(filling: Filling) -> list[str]:
    return [each.text for each in filling.completions]


# ── the likeliest ──


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_likeliest_and_their_bits_are_those_of_all_texts(model: Model, pattern: str) -> None:
    expected = brute_force(model, pattern)

    found = find(model, pattern, count=5000)

    assert found.is_exact
    assert texts_of(found) == [*expected]
    bits = [each.bits for each in found.completions]
    assert bits == pytest.approx([*expected.values()], abs=1e-4)


@pytest.mark.parametrize("pattern", ["_a__", "a*b_", "_*b"])
def test_a_wide_beam_proves_the_best_few(model: Model, pattern: str) -> None:
    expected = [*brute_force(model, pattern)]
    for count in (1, 3, 20):
        found = find(model, pattern, count=count, beam_width=5000)

        assert found.is_exact
        assert texts_of(found) == expected[:count]


@pytest.mark.parametrize("sureness", [1, 5])
def test_what_is_called_proven_is_the_likeliest_and_not_all_is(
    make_model: Make, sureness: float
) -> None:
    file = make_model()
    file.weights["output.weight"] *= sureness
    model, proven = Model(file), []
    for pattern in PATTERNS:
        least = np.array([*brute_force(model, pattern).values()])
        for width, count in product((1, 2, 5, 25), (1, 4)):
            found = find(model, pattern, count=count, beam_width=width)
            bits = np.array([each.bits for each in found.completions])
            proven.append(found.is_exact)
            assert not found.is_exact or bits == pytest.approx(least[:count], abs=1e-4)
    assert len(proven) / 10 < sum(proven) < len(proven) * 9 / 10


def test_a_search_that_dropped_better_ones_is_not_called_proven(model: Model) -> None:
    """A beam of one is greedy, which the letters that follow lead astray."""
    missed = []
    for following in product(ALPHABET, repeat=2):
        pattern = f"__{''.join(following)}"
        found = find(model, pattern, count=1, beam_width=1)
        if texts_of(found) != [*brute_force(model, pattern)][:1]:
            missed.append(found.is_exact)

    assert len(missed) > 3
    assert not any(missed)


def test_what_no_dropped_beginning_can_beat_is_proven(make_model: Make) -> None:
    file = make_model()
    file.weights["output.weight"] *= 20  # it is sure of what comes next
    model = Model(file)

    found = find(model, "a___", count=2, beam_width=9)

    assert found.found == 9
    assert found.is_exact
    assert texts_of(found) == [*brute_force(model, "a___")][:2]


def test_the_best_alone_is_no_proof_of_the_others(make_model: Make) -> None:
    file, random = make_model(), np.random.default_rng(35)  # of which this is so
    weights = {name: random.normal(size=each.shape) for name, each in file.weights.items()}
    weights["output.weight"] *= 5
    float32 = {name: each.astype(np.float32) for name, each in weights.items()}
    model = Model(replace(file, weights=float32))
    expected = [*brute_force(model, "__")]

    found = find(model, "__", count=3, beam_width=3)

    assert texts_of(found)[0] == expected[0]
    assert texts_of(found) != expected[:3]
    assert not found.is_exact
    assert find(model, "__", count=1, beam_width=3).is_exact


def test_fewer_completions_than_were_asked_for_are_all_there_are(model: Model) -> None:
    found = find(model, "a_", count=99)

    assert len(found.completions) == found.found == len(ALPHABET)
    assert found.is_exact


def test_a_beam_is_never_narrower_than_what_is_asked_for(model: Model) -> None:
    assert len(find(model, "__", count=20, beam_width=1).completions) == 20


def test_shares_are_of_all_that_fits(model: Model) -> None:
    bits = np.array([*brute_force(model, "a*b_").values()])
    shares = 2.0**-bits / (2.0**-bits).sum()

    found = find(model, "a*b_", count=9)

    assert [each.share for each in found.completions] == pytest.approx(shares[:9], rel=1e-3)


def test_bits_per_character_count_each_one(model: Model) -> None:
    (best,) = find(model, "a_b_", count=1).completions

    assert best.bpc == pytest.approx(bits_of(model, best.text) / 4, abs=1e-4)


@pytest.mark.parametrize("pattern", ["_a*b_", "____"])
@pytest.mark.parametrize("width", [2, 7, 60])
def test_beginnings_are_read_in_blocks_to_the_same_end(
    model: Model, monkeypatch: pytest.MonkeyPatch, pattern: str, width: int
) -> None:
    whole = search_with(model, pattern, search.How(width, 1.0, keep_likeliest))
    monkeypatch.setattr(search, "_LARGEST_LOGITS", 3 * len(ALPHABET))

    blocks = search_with(model, pattern, search.How(width, 1.0, keep_likeliest))

    assert ids_of(blocks) == ids_of(whole)
    assert blocks.heaviest_dropped == pytest.approx(whole.heaviest_dropped)


def test_what_a_block_drops_is_not_forgotten() -> None:
    def block(*weights: float) -> search._Candidates:
        numbers = np.arange(len(weights))
        return search._Candidates(
            numbers, numbers, 0 * numbers, np.array(weights), np.array(weights)
        )

    how = search.How(2, 1.0, keep_likeliest)

    kept, dropped = search._thin([block(-1, -2, -3), block(-4, -5)], how)

    assert (kept.log_weights.tolist(), dropped) == ([-1, -2], -3)


def test_progress_goes_from_none_to_all_but_the_last(model: Model) -> None:
    told: list[tuple[int, int]] = []

    find(model, "a_b*a", watch=lambda *numbers: told.append(numbers))

    assert told == [(done, 6) for done in range(6)]


def test_a_model_beyond_all_numbers_is_refused(make_model: Make) -> None:
    file = make_model()
    file.weights["output.weight"][2] = np.inf

    with pytest.raises(DivergedError, match="not a finite number"):
        find(Model(file), "a_")


def test_a_model_without_a_newline_begins_where_it_begins(make_model: Make) -> None:
    model = Model(replace(make_model(), vocab=Vocab(" abcé")))

    (best,) = find(model, "a_", count=1).completions

    assert best.bits == pytest.approx(float(model.score(best.text).bits.sum()), abs=1e-4)


# ── draws ──


def deviation(model: Model, pattern: str, draws: list[str], temperature: float) -> float:
    """Give chi-square of draws from p(text | pattern) in parts of its bound at 0.0001.

    Rare texts count as one; the bound is that of Wilson and Hilferty (1931).
    """
    bits = brute_force(model, pattern)
    assert set(draws) <= bits.keys()
    weights = 2.0 ** (-np.array([*bits.values()]) / temperature)
    expected = weights / weights.sum() * len(draws)
    counts = np.array([draws.count(text) for text in bits])
    is_rare = expected < 5
    counts = np.append(counts[~is_rare], counts[is_rare].sum())
    expected = np.append(expected[~is_rare], expected[is_rare].sum() or 1e-9)
    degrees = len(counts) - 1
    variance = 2 / (9 * degrees)
    bound = degrees * (1 - variance + 3.719 * math.sqrt(variance)) ** 3
    return float(((counts - expected) ** 2 / expected).sum() / bound)


@pytest.mark.parametrize("pattern", ["_", "a_b_", "*_", "a*b", "*ab_"])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_draws_from_all_come_as_often_as_their_probability_says(
    model: Model, pattern: str, temperature: float
) -> None:
    found = find(model, pattern, sample=True, count=5000, temperature=temperature, seed=1)

    assert found.is_exact
    assert deviation(model, pattern, texts_of(found), temperature) < 1
    if temperature == 2:
        assert deviation(model, pattern, texts_of(found), 1.5) > 1


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_shares_of_draws_are_those_at_their_temperature(model: Model, temperature: float) -> None:
    weights = {t: 2 ** (-bits / temperature) for t, bits in brute_force(model, "a*b").items()}

    found = find(model, "a*b", sample=True, count=9, temperature=temperature, seed=1)

    for each in found.completions:
        assert each.share == pytest.approx(weights[each.text] / sum(weights.values()), rel=1e-3)


def test_draws_by_many_particles_come_nearly_as_often(model: Model) -> None:
    draws = [
        text
        for seed in range(40)
        for text in texts_of(find(model, "_a__", sample=True, count=50, beam_width=60, seed=seed))
    ]

    assert deviation(model, "_a__", draws, 1.0) < 1


def particles_of(model: Model, pattern: str, temperature: float, seed: int) -> dict[str, float]:
    """Give the weight of each text that four particles a place end in."""
    how = search.How(4, temperature, partial(resample, np.random.default_rng(seed)))
    ended = search_with(model, pattern, how)
    texts = [model.vocab.decode(ids) for ids in ids_of(ended)]
    assert len({*texts}) == len(texts)
    return dict(zip(texts, np.exp(ended.found.log_weights).tolist(), strict=True))


@pytest.mark.parametrize("pattern", ["_ab__", "a*b_", "*_a"])
@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_the_weights_of_few_particles_are_unbiased(
    model: Model, pattern: str, temperature: float
) -> None:
    """On average over searches, each text has the weight that it has by enumeration."""
    bits = brute_force(model, pattern)
    true = 2.0 ** (-np.array([*bits.values()]) / temperature)
    places = {text: index for index, text in enumerate(bits)}
    estimates = np.zeros((300, len(bits)))
    for seed in range(len(estimates)):
        for text, weight in particles_of(model, pattern, temperature, seed).items():
            estimates[seed, places[text]] = weight

    mean, spread = estimates.mean(0), estimates.std(0) / math.sqrt(len(estimates))
    is_seen = (estimates > 0).sum(0) > 20  # of the others the spread is not known
    assert is_seen.sum() > 5
    assert (np.abs(mean - true)[is_seen] < 5 * spread[is_seen] + 1e-5).all()
    sums = estimates.sum(1)
    assert abs(sums.mean() - true.sum()) < 4 * sums.std() / math.sqrt(len(sums))


def test_a_seed_draws_the_same_and_another_does_not(model: Model) -> None:
    draws = [
        texts_of(find(model, "a*b__", sample=True, count=20, beam_width=9, seed=seed))
        for seed in (1, 1, 2)
    ]

    assert draws[0] == draws[1] != draws[2]


def test_few_particles_are_not_called_exact(model: Model) -> None:
    found = find(model, "___", sample=True, beam_width=9, seed=1)

    assert not found.is_exact
    assert found.found == 9


def test_near_temperature_zero_the_likeliest_is_drawn(model: Model) -> None:
    best = texts_of(find(model, "_a*b", count=1))

    draws = find(model, "_a*b", sample=True, count=50, temperature=0.01, seed=1)

    assert texts_of(draws) == best * 50
