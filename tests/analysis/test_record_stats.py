"""The figures of records: lengths, repeats and labels."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis.record_stats import LabelBalance, RecordMeter
from charrnn.data.labels import NO_LABELS, LabelColumn, Labels

TEXTS = st.lists(st.text(st.sampled_from("abé"), min_size=1, max_size=5), min_size=1)


def test_lengths_and_repeats_are_those_of_all_records() -> None:
    meter = RecordMeter()
    meter.add(["a" * size for size in range(1, 101)])
    meter.add(["aa", "b" * 7])
    stats = meter.stats("line", NO_LABELS)

    assert (stats.kind, stats.number) == ("line", 102)
    assert (stats.p50_chars, stats.p95_chars, stats.max_chars) == (49, 94, 100)
    assert stats.duplicates == 1
    assert stats.as_json()["duplicate_share"] == pytest.approx(1 / 102)


@given(TEXTS, st.integers(1, 4))
def test_the_figures_do_not_depend_on_how_many_come_at_a_time(texts: list[str], some: int) -> None:
    meters = [RecordMeter(), RecordMeter()]
    meters[0].add(texts)
    for start in range(0, len(texts), some):
        meters[1].add(texts[start : start + some])
    whole, parts = (meter.stats("row", NO_LABELS) for meter in meters)

    assert whole == parts
    assert whole.duplicates == len(texts) - len(set(texts))


def test_balance_tells_what_a_guess_is_worth() -> None:
    even = LabelBalance.of({"a": 5, "b": 5, "c": 5, "d": 5})
    uneven = LabelBalance.of({"a": 9, "b": 1, "c": 0})

    assert (even.majority_share, even.entropy_bits) == (0.25, 2)
    assert uneven.majority_share == 0.9
    assert uneven.entropy_bits == pytest.approx(-0.9 * math.log2(0.9) - 0.1 * math.log2(0.1))


def test_labels_are_measured_by_column() -> None:
    columns = (LabelColumn("who", ("a", "b"), (1, 3)), LabelColumn("year", ("1", "2"), (2, 2)))
    meter = RecordMeter()
    meter.add(["x"])
    record = meter.stats("speech", Labels(columns)).as_json()

    assert record["labels"]["who"]["counts"] == {"a": 1, "b": 3}
    assert record["labels"]["year"]["majority_share"] == 0.5
