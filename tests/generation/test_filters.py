"""What each filter keeps, against slow and obvious twins, and the order of the filters."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charrnn.config import SampleConfig
from charrnn.generation.filters import (
    Logits,
    describe_temperature,
    divide_by_temperature,
    drop_top_choices,
    entropy_temperature,
    iter_filters,
    keep_min_p,
    keep_top_k,
    keep_top_n_sigma,
    keep_top_p,
    keep_typical,
    make_filter,
    softmax,
)

LAW = settings(deadline=None)  # a busy machine breaks no law
some_logits = st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12).map(
    lambda values: np.array(values, np.float32)
)
shares = st.floats(0.001, 1)
ALL = SampleConfig(
    temperature=0.7,
    dynamic_temperature=0.2,
    top_n_sigma=1.5,
    top_k=4,
    typical=0.9,
    top_p=0.8,
    min_p=0.1,
    xtc=0.5,
)
FILTERS: list[Callable[[Logits], Logits]] = [
    lambda logits: divide_by_temperature(logits, 0.3),
    lambda logits: keep_top_n_sigma(logits, 1),
    lambda logits: keep_top_k(logits, 2),
    lambda logits: keep_typical(logits, 0.4),
    lambda logits: keep_top_p(logits, 0.4),
    lambda logits: keep_min_p(logits, 0.4),
    lambda logits: drop_top_choices(logits, 0.2),
    make_filter(SampleConfig(temperature=0.7, top_k=3, top_p=0.8, min_p=0.1)),
]


def logits_of(*probabilities: float) -> Logits:
    return np.log(np.array(probabilities))


def kept(logits: Logits) -> list[int]:
    """Return the ids that were not left out."""
    return np.flatnonzero(logits > -np.inf).tolist()


def likeliest_first(logits: Logits) -> list[int]:
    """The slow twin's order: by falling logit, then by id."""
    return sorted(range(len(logits)), key=lambda i: (-float(logits[i]), i))


def probabilities_of(logits: Logits) -> list[float]:
    """The slow twin of softmax."""
    top = max(map(float, logits))
    likelihoods = [math.exp(float(logit) - top) for logit in logits]
    return [each / sum(likelihoods) for each in likelihoods]


@LAW
@given(some_logits)
def test_softmax_is_each_exponential_over_the_sum(logits: Logits) -> None:
    assert softmax(logits) == pytest.approx(probabilities_of(logits), rel=1e-5, abs=1e-12)


def test_softmax_of_huge_logits_does_not_overflow() -> None:
    logits = np.array([1e4, 1e4, -1e4], np.float32)

    assert softmax(logits) == pytest.approx([0.5, 0.5, 0])


@LAW
@given(some_logits, st.floats(0.01, 100))
def test_temperature_divides_every_distance_between_logits(
    logits: Logits, temperature: float
) -> None:
    scaled = divide_by_temperature(logits, temperature)

    expected = [(float(logit) - float(logits[0])) / temperature for logit in logits]
    assert scaled - scaled[0] == pytest.approx(expected, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("temperature", [1e-6, 1e-45, 5e-324])
def test_a_tiny_temperature_is_the_greedy_choice(temperature: float) -> None:
    logits = np.array([1.5, 3.25, -2, 3.0], np.float32)

    probabilities = softmax(divide_by_temperature(logits, temperature))

    assert probabilities.tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("temperature", [1e-45, 5e-324])
def test_a_tiny_temperature_passes_through_all_the_other_filters(temperature: float) -> None:
    keep = make_filter(SampleConfig(temperature=temperature, top_k=3, top_p=0.9, min_p=0.1))

    assert kept(keep(np.array([1.5, 3.25, -2, 3.0], np.float32))) == [1]


@LAW
@given(some_logits, st.integers(1, 14))
def test_top_k_keeps_the_k_likeliest_as_they_are(logits: Logits, k: int) -> None:
    result = keep_top_k(logits, k)

    assert kept(result) == sorted(likeliest_first(logits)[:k])
    assert (result[kept(result)] == logits[kept(result)]).all()


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_top_k_keeps_exactly_k_of_equal_ones(k: int) -> None:
    assert kept(keep_top_k(np.zeros(5), k)) == list(range(k))


@LAW
@given(some_logits, shares)
def test_top_p_keeps_the_first_of_the_likeliest(logits: Logits, p: float) -> None:
    chosen = kept(keep_top_p(logits, p))

    assert chosen == sorted(likeliest_first(logits)[: len(chosen)])


@LAW
@given(some_logits, shares)
def test_top_p_keeps_the_fewest_that_reach_the_sum(logits: Logits, p: float) -> None:
    probabilities = probabilities_of(logits)
    in_order = [probabilities[i] for i in likeliest_first(logits)]

    count = len(kept(keep_top_p(logits, p)))

    assert sum(in_order[:count]) > p - 1e-5
    assert count == 1 or sum(in_order[: count - 1]) < p + 1e-5


@pytest.mark.parametrize(("p", "count"), [(0.3, 1), (0.5, 1), (0.51, 2), (0.75, 2), (0.76, 3)])
def test_top_p_stops_where_the_sum_is_reached(p: float, count: int) -> None:
    logits = np.array([0, 2, 0, 1, -9]) * math.log(2)  # powers of two: sums without rounding
    logits[4] = -np.inf

    assert len(kept(keep_top_p(logits, p))) == count


@LAW
@given(some_logits, shares)
def test_min_p_has_its_floor_at_a_share_of_the_likeliest(logits: Logits, p: float) -> None:
    ratios = [math.exp(float(logit) - float(logits.max())) for logit in logits]
    assume(all(abs(ratio / p - 1) > 1e-4 for ratio in ratios))

    assert kept(keep_min_p(logits, p)) == [i for i, ratio in enumerate(ratios) if ratio > p]


def test_min_p_of_one_keeps_all_that_are_as_likely_as_the_likeliest() -> None:
    assert kept(keep_min_p(np.array([1.0, 4.0, 0.5, 4.0]), 1)) == [1, 3]


@LAW
@given(some_logits, st.floats(0.1, 4))
def test_top_n_sigma_keeps_what_is_within_n_deviations_of_the_largest(
    logits: Logits, n: float
) -> None:
    values = [float(logit) for logit in logits]
    mean = sum(values) / len(values)
    sigma = math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
    floor = max(values) - n * sigma
    assume(all(abs(value - floor) > 1e-4 for value in values))

    expected = [i for i, value in enumerate(values) if value >= floor]
    assert kept(keep_top_n_sigma(logits, n)) == expected


def test_top_n_sigma_does_not_count_what_is_left_out_already() -> None:
    logits = np.array([-np.inf, 3, 1, -1, -np.inf])  # sigma of 3, 1, -1 is 1.63

    assert kept(keep_top_n_sigma(logits, 1.2)) == [1]
    assert kept(keep_top_n_sigma(logits, 1.3)) == [1, 2]


@pytest.mark.parametrize("temperature", [5e-324, 0.2, 1.0, 7.0])
def test_top_n_sigma_keeps_the_same_at_every_temperature(temperature: float) -> None:
    logits = np.array([2.0, 1.5, 0.3, -1, -4])
    keep = make_filter(SampleConfig(temperature=temperature, top_n_sigma=0.6))

    assert kept(keep(logits)) == [0, 1]


def typical_first(logits: Logits) -> list[int]:
    """The slow twin's order: by the distance of the surprisal from the entropy, then by id."""
    probabilities = probabilities_of(logits)
    entropy = -sum(p * math.log(p) for p in probabilities if p)
    return sorted(range(len(logits)), key=lambda i: (abs(-math.log(probabilities[i]) - entropy), i))


@LAW
@given(st.lists(st.integers(-20, 20), min_size=1, max_size=12, unique=True), shares)
def test_typical_keeps_the_fewest_of_about_the_expected_surprisal(
    values: list[int], p: float
) -> None:
    logits = np.array(values) / 7
    order, probabilities = typical_first(logits), probabilities_of(logits)

    chosen = kept(keep_typical(logits, p))

    assert chosen == sorted(order[: len(chosen)])
    assert sum(probabilities[i] for i in chosen) > p - 1e-9
    assert sum(probabilities[i] for i in order[: len(chosen) - 1]) < p + 1e-9


def test_typical_leaves_out_the_likeliest_where_it_is_too_likely() -> None:
    logits = logits_of(0.6, 0.1, 0.1, 0.1, 0.1)  # entropy 1.23 nats; surprisals 0.51 and 2.30

    assert kept(keep_typical(logits, 0.5)) == [0]
    assert kept(keep_typical(logits_of(0.4, *[0.1] * 6), 0.5)) == [1, 2, 3, 4, 5]


def test_typical_never_keeps_what_is_left_out_already() -> None:
    assert kept(keep_typical(np.array([-np.inf, 0, -np.inf, 1]), 1)) == [1, 3]


@LAW
@given(some_logits, st.floats(0.01, 0.5))
def test_xtc_keeps_the_least_likely_of_the_likely_and_all_below(
    logits: Logits, threshold: float
) -> None:
    probabilities = probabilities_of(logits)
    assume(all(abs(p - threshold) > 1e-5 for p in probabilities))
    likely = [float(z) for z, p in zip(logits, probabilities, strict=True) if p > threshold]
    expected = [i for i, z in enumerate(logits) if not likely or z <= min(likely)]

    assert kept(drop_top_choices(logits, threshold)) == expected


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threshold", [1e-50, 5e-324])
def test_xtc_keeps_a_token_that_can_be_sampled_at_any_threshold(
    threshold: float, dtype: type
) -> None:
    logits = np.array([0, -1000, -1, -np.inf], dtype)  # −1000: its probability rounds to 0

    assert kept(drop_top_choices(logits, threshold)) == [1, 2]


def test_xtc_acts_as_often_as_it_is_asked_to() -> None:
    keep = make_filter(SampleConfig(temperature=1, xtc=0.3))

    logits = logits_of(0.5, 0.3, 0.15, 0.05)
    kept_each_time = [kept(keep(logits, xtc_uniform)) for xtc_uniform in (0.29, 0.3, 0.0, 0.99)]

    assert kept_each_time == [[2, 3], [0, 1, 2, 3], [2, 3], [0, 1, 2, 3]]


@LAW
@given(some_logits, st.floats(0, 2), st.floats(0, 2))
def test_the_temperature_goes_with_the_entropy(logits: Logits, low: float, width: float) -> None:
    probabilities = probabilities_of(logits)
    entropy = -sum(p * math.log(p) for p in probabilities if p)
    share = entropy / math.log(len(logits)) if len(logits) > 1 else 0

    expected = low + width * share
    assert entropy_temperature(logits, low, low + width) == pytest.approx(expected, abs=1e-5)


def test_the_temperature_is_lowest_where_one_is_sure_and_highest_where_all_are_alike() -> None:
    assert entropy_temperature(np.array([0.0, 99, 0]), 0.5, 1.5) == pytest.approx(0.5)
    assert entropy_temperature(np.array([2.0, 2, -np.inf, 2]), 0.5, 1.5) == pytest.approx(1.5)


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_a_range_of_temperatures_may_begin_at_greedy(spread: float) -> None:
    keep = make_filter(SampleConfig(temperature=0.5, dynamic_temperature=spread))

    assert softmax(keep(np.array([0.0, 99, 0]))).tolist() == [0, 1, 0]


@LAW
@given(some_logits, st.floats(0, 1, exclude_max=True))
def test_all_filters_together_leave_something_to_sample(logits: Logits, uniform: float) -> None:
    result = make_filter(ALL)(logits, uniform)

    assert kept(result)
    assert softmax(result).sum() == pytest.approx(1)


def test_the_order_of_all_filters_is_fixed() -> None:
    words = [*describe_temperature(ALL), *(words for words, _ in iter_filters(ALL))]
    words = [each.split()[0] for each in words]

    assert words == ["temperature", "top-n-sigma", "top-k", "typical", "top-p", "min-p", "XTC"]


def test_top_k_comes_before_typical() -> None:
    keep = make_filter(SampleConfig(temperature=1, top_k=1, typical=0.5))

    assert kept(keep(logits_of(0.4, *[0.1] * 6))) == [0]  # typical alone keeps 5 others


def test_typical_comes_before_top_p() -> None:
    keep = make_filter(SampleConfig(temperature=1, top_p=0.4, typical=0.5))

    assert kept(keep(logits_of(0.4, *[0.1] * 6))) == [1, 2]  # after top-p it would keep 0 alone


def test_min_p_comes_before_xtc() -> None:
    keep = make_filter(SampleConfig(temperature=1, min_p=0.9, xtc=1))

    assert kept(keep(logits_of(0.5, 0.3, 0.2), 0.5)) == [0]  # after XTC it would keep 2


@LAW
@given(some_logits, st.integers(1, 12), shares, st.floats(0, 1), st.floats(0.01, 50))
def test_the_likeliest_character_passes_every_filter(
    logits: Logits, k: int, top_p: float, min_p: float, temperature: float
) -> None:
    config = SampleConfig(temperature=temperature, top_k=k, top_p=top_p, min_p=min_p)

    result = make_filter(config)(logits)

    assert np.isfinite(result[likeliest_first(logits)[0]])


@LAW
@given(some_logits, st.integers(1, 12), shares, shares, st.floats(0.01, 50))
def test_the_chain_is_temperature_then_top_k_then_top_p_then_min_p(
    logits: Logits, k: int, top_p: float, min_p: float, temperature: float
) -> None:
    config = SampleConfig(temperature=temperature, top_k=k, top_p=top_p, min_p=min_p)
    scaled = divide_by_temperature(logits, temperature)
    by_hand = keep_top_p(keep_top_k(scaled, k), top_p) if top_p < 1 else keep_top_k(scaled, k)

    assert np.array_equal(make_filter(config)(logits), keep_min_p(by_hand, min_p))


def test_temperature_comes_before_top_p() -> None:
    keep = make_filter(SampleConfig(temperature=0.1, top_p=0.9))  # top-p alone would keep 3

    assert kept(keep(logits_of(0.4, 0.3, 0.2, 0.1))) == [0]


def test_temperature_comes_before_min_p() -> None:
    keep = make_filter(SampleConfig(temperature=0.1, min_p=0.5))  # min-p alone would keep 3

    assert kept(keep(logits_of(0.4, 0.3, 0.2, 0.1))) == [0]


def test_top_k_comes_before_top_p() -> None:
    keep = make_filter(SampleConfig(temperature=1, top_k=2, top_p=0.55))  # top-p alone keeps 2

    assert kept(keep(logits_of(0.4, 0.3, 0.2, 0.1))) == [0]


def test_top_p_comes_before_min_p() -> None:
    keep = make_filter(SampleConfig(temperature=1, top_p=0.5, min_p=0.6))  # after min-p it keeps 1

    assert kept(keep(logits_of(0.4, 0.3, 0.2, 0.1))) == [0, 1]


def test_without_settings_no_filter_is_applied() -> None:
    logits = logits_of(0.4, 0.3, 0.3)

    assert (make_filter(SampleConfig(temperature=1))(logits) == logits - logits[0]).all()


@pytest.mark.parametrize("keep", FILTERS)
def test_a_filter_leaves_the_logits_it_was_given_as_they_were(
    keep: Callable[[Logits], Logits],
) -> None:
    logits = np.array([0.5, 2, -1, 2, 0], np.float32)
    before = logits.copy()

    keep(logits)

    assert np.array_equal(logits, before)


@LAW
@given(
    st.integers(1, 9).flatmap(
        lambda size: st.lists(
            st.lists(st.floats(-30, 30, width=32), min_size=size, max_size=size),
            min_size=1,
            max_size=4,
        )
    ),
    st.sampled_from(range(len(FILTERS))),
)
def test_rows_are_filtered_as_each_is_alone(rows: list[list[float]], which: int) -> None:
    logits, keep = np.array(rows, np.float32), FILTERS[which]

    together = keep(logits)

    assert together.shape == logits.shape
    for row, alone in zip(together, map(keep, logits), strict=True):
        assert kept(row) == kept(alone)
        assert row == pytest.approx(alone, rel=1e-5)


def test_each_row_has_its_own_temperature_and_xtc_uniform() -> None:
    logits = np.log([[0.5, 0.3, 0.2]] * 2)
    keep = make_filter(SampleConfig(temperature=1, xtc=0.5, xtc_threshold=0.25))

    hot, mild = keep(logits, np.array([[0.9], [0.1]]), np.array([[2.0], [1.0]]))

    assert softmax(hot) == pytest.approx(softmax(np.log([0.5, 0.3, 0.2]) / 2))
    assert kept(mild) == [1, 2]


@LAW
@given(some_logits, st.integers(1, 12), shares)
def test_top_p_among_the_likeliest_is_top_p_after_top_k(logits: Logits, k: int, p: float) -> None:
    assert kept(keep_top_p(logits, p, k)) == kept(keep_top_p(keep_top_k(logits, k), p))
