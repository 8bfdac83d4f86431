"""Beam search against all texts there are, against greedy, and against slow twins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation.beam import Hypothesis, search_beams, top_indices
from charrnn.generation.filters import log_softmax
from charrnn.generation.network import Network
from tests.generation.random_models import NGRAMS

Make = Callable[..., ModelFile]
V, T = 5, 4  # T ids make a whole text
ALL = V**T  # a beam that never drops one
LINE_END = 0


@pytest.fixture(params=[{}, NGRAMS], ids=["characters", "n-grams"])
def network(make_model: Make, request: pytest.FixtureRequest) -> Network:
    """Return a network of random weights: V = 5, two layers."""
    model = make_model(**request.param)
    return Network(model.config, model.weights)


def ends_a_line(ids: Sequence[int]) -> bool:
    return ids[-1] == LINE_END


def search(network: Network, beam: int, count: int = ALL, **extra: Any) -> list[Hypothesis]:
    """Search from the beginning for texts of T ids; `extra` are settings, a bias or an end."""
    known = {name: extra.pop(name) for name in ("bias", "is_end", "text_of") if name in extra}
    config = SampleConfig(**{"beam": beam, "length": T} | extra)
    return search_beams(network, network.initial_state(), config, count=count, **known)


def log_prob_of(network: Network, ids: Sequence[int], bias: Any = 0) -> float:
    """Return ln p of ids, read one by one."""
    state, total = network.initial_state(), 0.0
    for token in ids:
        total += float(log_softmax(network.logits(state) + bias)[token])
        state = network.advance(token, state)
    return total


def all_texts(is_end: Callable[[Sequence[int]], bool]) -> set[tuple[int, ...]]:
    """Return every text that ends somewhere or is T ids long."""
    cut = []
    for ids in product(range(V), repeat=T):
        ends = [i for i in range(1, T) if is_end(ids[:i])]
        cut.append(ids[: min(ends, default=T)])
    return set(cut)


def brute_force(network: Network, penalty: float, bias: Any = 0) -> list[Hypothesis]:
    """Return all texts that end with the line or at T ids, the best first."""
    found = []
    for ids in all_texts(ends_a_line):
        log_prob = log_prob_of(network, ids, bias)
        found.append(Hypothesis(ids, log_prob, log_prob / len(ids) ** penalty))
    return sorted(found, key=lambda each: -each.score)


def assert_same(found: list[Hypothesis], expected: list[Hypothesis]) -> None:
    assert [each.ids for each in found] == [each.ids for each in expected]
    for figure in ("log_prob", "score"):
        numbers = [getattr(each, figure) for each in expected]
        assert [getattr(each, figure) for each in found] == pytest.approx(numbers, abs=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 3.0])
def test_a_beam_that_drops_nothing_finds_all_texts_in_order(
    network: Network, penalty: float
) -> None:
    expected = brute_force(network, penalty)

    found = search(network, ALL, is_end=ends_a_line, length_penalty=penalty)

    assert len(found) == len(expected) == 1 + 4 + 16 + 64 * V
    assert_same(found, expected)


@pytest.mark.parametrize("penalty", [0.0, 0.6, 1.0, 3.0])
@pytest.mark.parametrize("seed", range(5))
def test_where_it_stops_early_the_best_are_found(
    make_model: Make, penalty: float, seed: int
) -> None:
    model, random = make_model(), np.random.default_rng(seed)
    weights = {name: random.normal(0, 1.5, each.shape) for name, each in model.weights.items()}
    network = Network(model.config, {n: each.astype(np.float32) for n, each in weights.items()})
    expected = brute_force(network, penalty)

    for count in range(1, 9):
        found = search(network, ALL, count, is_end=ends_a_line, length_penalty=penalty)
        assert_same(found, expected[:count])


def test_the_search_stops_as_soon_as_the_best_is_certain(network: Network) -> None:
    """By ln p alone, a sure end at once cannot be beaten."""
    bias = np.array([50, 0, 0, 0, 0], np.float32)
    asked: list[Sequence[int]] = []

    def is_end(ids: Sequence[int]) -> bool:
        asked.append(ids)
        return ends_a_line(ids)

    found = search(network, 5, 1, bias=bias, is_end=is_end, length=10_000, length_penalty=0)

    assert found[0].ids == (LINE_END,)
    assert {len(ids) for ids in asked} == {1}


def test_a_beam_of_one_is_greedy(network: Network) -> None:
    state, greedy = network.initial_state(), []
    for _ in range(40):
        greedy.append(int(network.logits(state).argmax()))
        state = network.advance(greedy[-1], state)

    (found,) = search(network, 1, length=40)

    assert list(found.ids) == greedy


@pytest.mark.parametrize("network", [{}], indirect=True)  # of which this is so
def test_a_beam_of_one_ends_where_greedy_does(network: Network) -> None:
    whole = search(network, 1, length=40)[0].ids
    assert len(set(whole)) > 1
    end = whole[-1]

    (found,) = search(network, 1, length=40, is_end=lambda ids: ids[-1] == end)

    assert found.ids == whole[: whole.index(end) + 1]


def test_a_wider_beam_finds_what_greedy_misses(network: Network) -> None:
    scores = [search(network, beam, 1, length=12)[0].log_prob for beam in (1, 3, 200)]

    assert scores[0] < scores[2]
    assert scores == sorted(scores)


@pytest.mark.parametrize("network", [{}], indirect=True)  # of which this is so
def test_a_narrow_beam_keeps_the_likeliest_and_shrinks_as_they_end(network: Network) -> None:
    """Against a slow twin that scores whole texts anew at every step."""
    bias = np.array([1.5, 0, 0, 0, 0], np.float32)  # ends come early
    kept: list[tuple[int, ...]] = [()]
    ended: list[tuple[int, ...]] = []
    for _ in range(6):
        longer = [(*ids, token) for ids in kept for token in range(V)]
        longer.sort(key=lambda ids: -log_prob_of(network, ids, bias))
        kept = longer[: 4 - len(ended)]
        ended += [ids for ids in kept if ends_a_line(ids)]
        kept = [ids for ids in kept if not ends_a_line(ids)]
    assert len(ended) > 1
    assert kept

    found = search(network, 4, length=6, bias=bias, is_end=ends_a_line)

    assert {each.ids for each in found} == {*ended, *kept}


def test_a_bias_counts_and_a_ban_holds(network: Network) -> None:
    bias = np.array([0, 1.5, -np.inf, 0, -2], np.float32)
    expected = [each for each in brute_force(network, 1.0, bias) if 2 not in each.ids]

    found = search(network, ALL, bias=bias, is_end=ends_a_line)

    assert_same(found, expected)


def test_bans_that_leave_one_text_leave_one_hypothesis(network: Network) -> None:
    bias = np.array([-np.inf, 0, -np.inf, -np.inf, -np.inf], np.float32)

    assert search(network, 8, bias=bias) == [Hypothesis((1,) * T, 0.0, 0.0)]


def test_a_length_of_zero_is_the_empty_text(network: Network) -> None:
    assert search(network, 3, length=0) == [Hypothesis((), 0.0, 0.0)]


# ── texts that several hypotheses show ──


def text_before(*stops: int) -> Callable[[Sequence[int]], Sequence[int]]:
    """Return what is shown of ids that end before one of these."""
    return lambda ids: ids[:-1] if ids[-1] in stops else ids


def shown_by_brute_force(
    network: Network, penalty: float, stops: Sequence[int]
) -> dict[Sequence[int], tuple[float, float]]:
    """Return ln p of all ids that show each text, and its score."""
    log_probs: dict[Sequence[int], list[float]] = {}
    lengths: dict[Sequence[int], int] = {}
    for ids in sorted(all_texts(lambda ids: ids[-1] in stops), key=len):
        text = text_before(*stops)(ids)
        log_probs.setdefault(text, []).append(log_prob_of(network, ids))
        lengths.setdefault(text, len(ids))
    sums = {text: float(np.logaddexp.reduce(each)) for text, each in log_probs.items()}
    return {text: (total, total / lengths[text] ** penalty) for text, total in sums.items()}


@pytest.mark.parametrize("penalty", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("count", [1, 2, 7, ALL])
def test_ways_to_end_a_text_are_one_result_of_the_sum_of_their_probabilities(
    network: Network, penalty: float, count: int
) -> None:
    stops = (LINE_END, 2)
    expected = shown_by_brute_force(network, penalty, stops)
    ranked = sorted(expected, key=lambda text: -expected[text][1])

    found = search(
        network,
        ALL,
        count,
        is_end=lambda ids: ids[-1] in stops,
        text_of=text_before(*stops),
        length_penalty=penalty,
    )

    assert [text_before(*stops)(each.ids) for each in found] == ranked[:count]
    if count == ALL:  # a search that stops early has not seen all ways
        for each, text in zip(found, ranked, strict=True):
            assert (each.log_prob, each.score) == pytest.approx(expected[text], abs=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_a_beam_finds_as_many_texts_as_it_is_wide(network: Network, groups: int) -> None:
    stops = (LINE_END, 1, 2)
    bias = np.array([3, 3, 3, 0, 0], np.float32)
    show = text_before(*stops)

    found = search(
        network,
        6,
        6,
        bias=bias,
        is_end=lambda ids: ids[-1] in stops,
        text_of=show,
        **({"beam_groups": groups, "beam_diversity": 9} if groups > 1 else {}),
    )

    assert len({show(each.ids) for each in found}) == len(found) >= 6 // groups


# ── groups ──


def diverse_twin(network: Network, share: int, groups: int, diversity: float) -> set[Any]:
    """Search by groups, one text at a time, as Vijayakumar et al. 2018 write it down."""
    kept: list[list[tuple[int, ...]]] = [[()]] * groups
    for _ in range(T):
        before: list[int] = []
        for group in range(groups):
            longer = [(*ids, token) for ids in kept[group] for token in range(V)]
            longer.sort(
                key=lambda ids: diversity * before.count(ids[-1]) - log_prob_of(network, ids)
            )
            kept[group] = longer[:share]
            before += [ids[-1] for ids in kept[group]]
    return {ids for group in kept for ids in group}


@pytest.mark.parametrize("diversity", [0.3, 1.0, 10.0])
def test_groups_avoid_the_ids_of_earlier_groups(network: Network, diversity: float) -> None:
    expected = diverse_twin(network, share=2, groups=3, diversity=diversity)

    found = search(network, 6, beam_groups=3, beam_diversity=diversity)

    assert {each.ids for each in found} == expected
    for each in found:  # diversity counts for the choice alone
        assert each.log_prob == pytest.approx(log_prob_of(network, each.ids), abs=1e-5)


def test_groups_far_apart_begin_with_different_ids(network: Network) -> None:
    found = search(network, V, beam_groups=V, beam_diversity=100)

    assert {each.ids[0] for each in found} == set(range(V))


def test_groups_that_agree_are_one_text(network: Network) -> None:
    found = search(network, 4, beam_groups=4, beam_diversity=1e-6)

    assert len(found) == len({each.ids for each in found}) < 4


@pytest.mark.parametrize(("beam", "groups"), [(0, 2), (5, 2), (2, 4)])
def test_groups_must_divide_the_beam(beam: int, groups: int) -> None:
    with pytest.raises(ConfigError, match=f"beam_groups is {groups} and beam {beam}"):
        SampleConfig(beam=beam, beam_groups=groups)


# ── its parts ──


def test_log_probabilities_sum_to_one_row_by_row() -> None:
    logits = np.array([[1e4, 0, -1e4], [1, 2, 3], [0, -np.inf, 0]], np.float32)

    log_probs = log_softmax(logits)

    assert np.exp(log_probs).sum(-1) == pytest.approx([1, 1, 1])
    assert log_probs[2].tolist() == pytest.approx([np.log(0.5), -np.inf, np.log(0.5)])


def test_the_largest_come_first_and_what_is_impossible_never() -> None:
    scores = np.array([-2.0, -np.inf, 3.0, 1.0, 3.0])

    assert top_indices(scores, 3).tolist() == [2, 4, 3]
    assert top_indices(scores, 9).tolist() == [2, 4, 3, 0]
    assert top_indices(scores, 0).tolist() == []
