"""What each penalty subtracts, against twins that read the whole history again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.config import SampleConfig
from charrnn.generation.filters import Logits
from charrnn.generation.penalties import (
    TokenHistory,
    append_token,
    count_costs,
    divide_repeats,
    iter_penalties,
    make_history,
    subtract_counts,
    subtract_dry,
)

V = 5
KINDS = ["repetition", "presence", "frequency", "dry"]
some_logits = st.lists(st.floats(-30, 30), min_size=V, max_size=V).map(np.array)
some_ids = st.lists(st.integers(0, 2), max_size=25)  # few, so that they repeat
windows = st.integers(1, 12)


def history_of(ids: list[int], window: int = 100) -> TokenHistory:
    return make_history(ids, V, window, has_dry=True)


def shared_length(left: list[int], right: list[int]) -> int:
    """The slow twin of a match: how many ids at the ends of both are the same."""
    count = 0
    while count < min(len(left), len(right)) and left[-count - 1] == right[-count - 1]:
        count += 1
    return count


def longest_run(ids: list[int], window: int, token: int) -> int:
    """The slow twin of DRY: the longest run of the history that `token` would continue."""
    start = max(0, len(ids) - window)
    indices = [index for index in range(start, len(ids)) if ids[index] == token]
    return max((shared_length(ids[:index], ids) for index in indices), default=0)


@given(some_ids, windows)
def test_the_history_is_the_last_ids_and_their_counts(ids: list[int], window: int) -> None:
    history = history_of(ids, window)

    assert history.ids.tolist() == ids[-window:]
    assert history.counts.tolist() == [ids[-window:].count(token) for token in range(V)]


def test_appending_leaves_the_history_before_as_it_was() -> None:
    before = history_of([0, 1, 0], window=3)

    append_token(before, 2, window=3)

    assert (before.ids.tolist(), before.counts.tolist()) == ([0, 1, 0], [2, 1, 0, 0, 0])


@given(some_logits, some_ids, windows, st.floats(1, 10))
def test_a_repetition_penalty_makes_recent_tokens_less_likely_on_either_side_of_zero(
    logits: Logits, ids: list[int], window: int, strength: float
) -> None:
    expected = [
        logit if token not in ids[-window:] else logit / strength if logit > 0 else logit * strength
        for token, logit in enumerate(logits.tolist())
    ]

    assert divide_repeats(logits, history_of(ids, window), strength).tolist() == expected


@given(some_logits, some_ids, windows, st.floats(-10, 10))
def test_presence_counts_once_and_frequency_each_time(
    logits: Logits, ids: list[int], window: int, amount: float
) -> None:
    history, counts = history_of(ids, window), [ids[-window:].count(token) for token in range(V)]

    once = [logit - amount * min(n, 1) for logit, n in zip(logits, counts, strict=True)]
    each = [logit - amount * n for logit, n in zip(logits, counts, strict=True)]
    costs = count_costs(amount, 0, window), count_costs(0, amount, window)
    results = [subtract_counts(logits, history, each_one) for each_one in costs]
    assert results[0] == pytest.approx(once, rel=1e-5, abs=1e-5)
    assert results[1] == pytest.approx(each, rel=1e-5, abs=1e-5)


@given(some_logits, some_ids, windows, st.integers(1, 4))
def test_the_dry_penalty_grows_with_the_run_that_would_continue(
    logits: Logits, ids: list[int], window: int, shortest: int
) -> None:
    beyond = [max(0, longest_run(ids, window, token) - shortest + 1) for token in range(V)]

    result = subtract_dry(logits, history_of(ids, window), 0.5, shortest)

    assert result == pytest.approx(logits - 0.5 * np.array(beyond))


def test_only_the_token_that_continues_the_repetition_is_penalized() -> None:
    result = subtract_dry(np.zeros(V), history_of([0, 1, 2, 0, 1, 2, 0, 1]), 1.0, length=3)

    assert result.tolist() == [0, 0, -3, 0, 0]  # five ids repeat, the third is the first too many


def test_a_run_that_is_short_enough_is_left_alone() -> None:
    logits = np.zeros(V)

    assert subtract_dry(logits, history_of([0, 1, 2, 0, 1]), 1.0, length=3) is logits


def test_neutral_penalties_are_none() -> None:
    assert [*iter_penalties(SampleConfig())] == []


def test_penalties_stand_in_a_fixed_order() -> None:
    config = SampleConfig(
        dry_penalty=1, frequency_penalty=1, presence_penalty=1, repetition_penalty=2
    )

    words = ", ".join(words for words, _ in iter_penalties(config)).lower().split()
    assert [name for name in words if name in KINDS] == KINDS


@pytest.mark.parametrize("name", KINDS)
def test_a_penalty_leaves_the_logits_it_was_given_as_they_were(name: str) -> None:
    logits = np.array([0.5, 2, -1, 2, 0], np.float32)
    before = logits.copy()
    settings = {f"{name}_penalty": 2} | ({"dry_length": 1} if name == "dry" else {})
    config = SampleConfig(**settings)
    ((_, penalize),) = iter_penalties(config)

    changed = penalize(logits, history_of([0, 1, 0, 1]))

    assert np.array_equal(logits, before)
    assert not np.array_equal(changed, before)
