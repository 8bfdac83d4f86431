"""The likeliest completions of blanks and gaps against all texts that fit, one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.errors import DivergedError
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.generation.random_models import NGRAMS
from tests.reference.filling import ALPHABET, bits_of, brute_force, find, texts_of

Make = Callable[..., ModelFile]
PATTERNS = [
    *("_", "a_", "_a", "a_b", "__", "a__b_", "_ab_é_"),
    *("*a", "a*b", "*_", "_*b", "a*b*a", "*ab*ab", "a**b", "aa*a_", "*éa b"),
]


@pytest.fixture(params=[{}, NGRAMS], ids=["characters", "n-grams"])
def model(make_model: Make, request: pytest.FixtureRequest) -> Model:
    return Model(make_model(**request.param))


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


@pytest.mark.no_cover  # long
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


@pytest.mark.parametrize("model", [{}], indirect=True)  # of which this is so
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


def test_what_no_dropped_prefix_can_beat_is_proven(make_model: Make) -> None:
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


def test_progress_goes_from_none_to_all_but_the_last(model: Model) -> None:
    seen: list[tuple[int, int]] = []

    find(model, "a_b*a", on_progress=lambda *numbers: seen.append(numbers))

    assert seen == [(done, 6) for done in range(6)]


def test_probabilities_that_are_not_finite_are_an_error(make_model: Make) -> None:
    file = make_model()
    file.weights["output.weight"][2] = np.inf

    with pytest.raises(DivergedError, match="not a finite number"):
        find(Model(file), "a_")


def test_a_model_without_a_newline_begins_with_its_initial_state(make_model: Make) -> None:
    model = Model(replace(make_model(), vocab=Vocab(" abcé")))

    (best,) = find(model, "a_", count=1).completions

    assert best.bits == pytest.approx(float(model.score(best.text).bits.sum()), abs=1e-4)
