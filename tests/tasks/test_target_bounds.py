"""How long targets may be: what training shows, and what a model that knows nothing writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import charrnn
from charrnn.tasks.predict_targets import Bounds, measure_bounds


def bounds(sources: list[int], targets: list[int]) -> Bounds:
    return measure_bounds(np.array(sources), np.array(targets))


@pytest.mark.parametrize(
    ("sources", "targets"),
    [
        ([3, 6, 9], [2, 4, 6]),
        ([3, 6, 9], [1, 2, 3]),
        ([5, 7, 4, 10], [5, 7, 4, 10]),
        ([2, 4, 5], [7, 11, 13]),
        ([4, 5, 9], [1, 2, 6]),
        ([3, 5, 8], [6, 6, 6]),
    ],
)
def test_lengths_on_a_line_leave_no_room(sources: list[int], targets: list[int]) -> None:
    found = bounds(sources, targets)
    for source, target in zip(sources, targets, strict=True):
        assert (found.fewest(source), found.most(source)) == (target, target)
    assert found.most(900) == found.fewest(900)


def test_other_lengths_have_room_on_both_sides() -> None:
    found = bounds([4, 4, 8, 8], [3, 5, 7, 9])
    assert (found.fewest(6), found.most(6)) == (3, 9)


def test_two_lengths_are_no_line() -> None:
    found = bounds([4, 8], [4, 8])
    assert (found.fewest(6), found.most(6)) == (4, 8)


def test_sources_of_one_length_say_nothing_of_others() -> None:
    found = bounds([8, 8, 8], [3, 3, 3])
    assert [found.fewest(length) for length in (4, 8, 10)] == [0, 0, 0]
    assert (found.most(8), found.most(10)) == (5, 7)
    assert found.most(1) == 1  # something, always


def test_where_targets_are_as_long_as_sources_all_that_is_written_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [f"{'ab' * n}\t{'xy' * n}\n" for n in (1, 2, 3, 4)] * 5
    Path("pairs.tsv").write_text("".join(rows), encoding="utf-8")
    settings = {"steps": 1, "hidden_size": 8, "val_fraction": 0, "precision": "fp32"}
    model = charrnn.fit("pairs.tsv", pairs=True, name="m", **settings).model

    for texts in (["ab", "ba" * 6, "a"], ["b" * 31]):
        for beam in (1, 3):
            found = model.predict(texts, beam=beam)
            assert [*map(len, found)] == [*map(len, texts)]
