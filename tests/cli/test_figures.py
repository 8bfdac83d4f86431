"""Holds numbers to the way that a person reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.cli.formatting import (
    describe_sources,
    format_count,
    format_curve,
    format_duration,
)
from charrnn.storage import format_bytes

LOSSES = st.lists(st.floats(0.001, 100), min_size=1, max_size=50)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (7, "7"),
        (999, "999"),
        (999.6, "1k"),
        (1000, "1k"),
        (12_345, "12.3k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (4_500_000, "4.5M"),
        (1_234_567_890, "1.23G"),
        (-12_345, "-12.3k"),
    ],
)
def test_a_count_has_three_digits_and_a_unit(number: float, text: str) -> None:
    assert format_count(number) == text


@given(st.integers(0, 10**11))
def test_a_count_is_right_to_half_a_percent(number: int) -> None:
    text = format_count(number)
    factor = {"k": 1e3, "M": 1e6, "G": 1e9}.get(text[-1], 1)

    assert float(text.rstrip("kMG")) * factor == pytest.approx(number, rel=0.005)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (7.4, "0:07"),
        (59.6, "1:00"),
        (754, "12:34"),
        (3599.6, "1:00:00"),
        (13_506, "3:45:06"),
        (360_000, "100:00:00"),
    ],
)
def test_a_duration_reads_like_a_clock(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (1_000, "1.0 kB"),
        (1_440_000, "1.4 MB"),
        (2_000_000_000, "2.0 GB"),
        (3_210_000_000_000, "3210.0 GB"),
    ],
)
def test_bytes_are_counted_in_powers_of_ten(number: float, text: str) -> None:
    assert format_bytes(number) == text


@pytest.mark.parametrize(
    ("values", "width", "bars"),
    [
        ([], 5, ""),
        ([3.0], 5, "▁"),
        ([2.0, 2.0, 2.0], 5, "▁▁▁"),
        ([0, 1, 2, 3, 4, 5, 6, 7], 8, "▁▂▃▄▅▆▇█"),
        ([7, 0], 5, "█▁"),
        ([0, 2, 6, 8], 2, "▁█"),
        ([4, 4, 4, 4, 4], 2, "▁▁"),
        ([0, 0, 7, 14], 3, "▁▁█"),
    ],
)
def test_a_curve_is_drawn_in_eight_heights(values: list[float], width: int, bars: str) -> None:
    assert format_curve(values, width) == bars


@given(LOSSES, st.integers(1, 60))
def test_a_curve_is_as_wide_as_its_values_up_to_the_width(values: list[float], width: int) -> None:
    assert len(format_curve(values, width)) == min(len(values), width)


@given(LOSSES)
def test_a_higher_value_never_has_a_lower_bar(values: list[float]) -> None:
    bars = format_curve(sorted(values), len(values))

    assert list(bars) == sorted(bars)


@pytest.mark.parametrize(("values", "bars"), [([5e-324, 0.0], "█▁"), ([0.0, 5e-324], "▁█")])
def test_values_as_near_as_floats_can_be_are_drawn_apart(values, bars) -> None:
    assert format_curve(values, 2) == bars


def test_a_size_just_under_a_unit_is_counted_in_it() -> None:
    assert format_bytes(999_999) == "1.0 MB"


def test_of_many_texts_those_that_cost_most_are_shown() -> None:
    line = describe_sources({f"{number}.txt": number / 10 for number in range(1, 24)})

    shown = line.removesuffix(" bits per character; 3 texts with less").split(", ")
    assert [text.split()[0] for text in shown] == [f"{number}.txt" for number in range(23, 3, -1)]


def test_few_texts_are_shown_in_the_order_they_were_given() -> None:
    line = describe_sources({"a": 0.5, **{f"{number}.txt": 0.7 for number in range(19)}})

    assert line.startswith("a 0.72, 0.txt 1.01, 1.txt 1.01, ")
    assert line.endswith(", 18.txt 1.01 bits per character")
