"""The curves of what more time or more text brings."""

from __future__ import annotations

import pytest

from charrnn.training.plan import TEXT_EPOCHS, TIME_EPOCHS, extrapolate


def test_the_more_often_a_text_was_read_the_less_time_brings_and_the_more_text() -> None:
    outlooks = [extrapolate(epochs) for epochs in (0.5, 2, 8, 32)]

    by_time = [outlook.twice_the_time for outlook in outlooks]
    by_text = [outlook.twice_the_text for outlook in outlooks]
    assert by_time == sorted(by_time, reverse=True)
    assert by_text == sorted(by_text)
    assert all(0 <= share < 0.5 for share in by_time + by_text)


@pytest.mark.parametrize(
    ("name", "measured"), [("twice_the_time", TIME_EPOCHS), ("twice_the_text", TEXT_EPOCHS)]
)
def test_beyond_what_was_measured_a_curve_stays_level(
    name: str, measured: tuple[float, float]
) -> None:
    fewest, most = measured
    epochs = (0.0, fewest, most, most * 1.01, 1e9)
    none, low, high, above, endless = (getattr(extrapolate(each), name) for each in epochs)

    assert none == low != high == above == endless
