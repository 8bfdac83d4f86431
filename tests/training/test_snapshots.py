"""--snapshots: at which steps weights are kept, and that they are those of the run."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import charrnn
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.snapshot_file import pack_snapshot, read_snapshot
from charrnn.config import ModelConfig
from charrnn.config.model import NOT_LEARNED
from charrnn.errors import CheckpointError, ConfigError
from charrnn.training.reports import Evaluation
from charrnn.training.snapshots import check_size, estimate_steps, place_of, snapshot_bytes
from tests.training.small_runs import SMALL, stop_after

pytestmark = pytest.mark.usefixtures("counted_steps")


def fit(book: str, name: str, **settings: Any) -> RunFolder:
    return RunFolder(charrnn.fit(book, name=name, **{**SMALL, **settings}).path)


def as_kept(name: str, array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a weight as a snapshot has it: which n-grams there are is not rounded."""
    return array if name in NOT_LEARNED else np.float32(np.float16(array))


def steps_of(run: RunFolder) -> list[int]:
    return [step for step, _ in run.read_snapshots()]


def assert_same_snapshots(first: RunFolder, second: RunFolder) -> None:
    assert steps_of(first) == steps_of(second)
    for (_, one), (_, two) in zip(first.read_snapshots(), second.read_snapshots(), strict=True):
        assert one.keys() == two.keys()
        assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(("total", "count"), [(1, 2), (10, 24), (99, 3), (5000, 24), (10**6, 1000)])
def test_places_begin_with_the_start_and_end_with_the_last_step(total: int, count: int) -> None:
    places = [place_of(step, total, count) for step in range(min(total, 20_000))]

    assert places[0] == 0
    assert places == sorted(places)
    assert max(places) <= count - 2
    assert place_of(total, total, count) == place_of(total + 5, total, count) == count - 1


def test_places_are_even_on_a_logarithm() -> None:
    due = [next(s for s in range(1000) if place_of(s, 999, 4) >= k) for k in range(4)]

    assert due == [0, 9, 99, 999]


def test_a_run_by_budget_is_as_long_as_it_seems() -> None:
    assert estimate_steps(20, elapsed_seconds=5, budget_seconds=60) == 240
    assert estimate_steps(20, elapsed_seconds=90, budget_seconds=60) == 20


def test_a_run_keeps_its_first_weights_its_last_and_some_between(book: str) -> None:
    run = fit(book, "a", steps=60, snapshots=7, eval_every=20)
    steps = steps_of(run)

    assert (steps[0], steps[-1], len(steps)) == (0, 60, 7)
    assert all(later - earlier <= 60 for earlier, later in pairwise(steps))
    assert steps[1] < 5  # close together early on


def test_the_last_ones_are_the_last_weights_in_half_precision(book: str) -> None:
    reports: list[Any] = []
    settings = {**SMALL, "ngram_order": 3, "ngram_rows": 16, "steps": 20, "snapshots": 4}
    charrnn.fit(book, name="a", **settings, on_report=reports.append)
    last = [report for report in reports if isinstance(report, Evaluation)][-1]
    step, weights = RunFolder(Path("checkpoints/a")).read_snapshots()[-1]

    assert step == last.step == 20
    assert weights.keys() == last.weights.keys()
    assert "ngrams.check" in weights
    for name, array in last.weights.items():
        np.testing.assert_array_equal(weights[name], as_kept(name, array))


def test_the_first_ones_are_those_that_training_begins_with(book: str) -> None:
    fit(book, "first", steps=3)
    run = fit(book, "second", steps=3, snapshots=2, init_from="first")
    step, weights = run.read_snapshots()[0]
    started_from = read_model(Path("checkpoints/first/best.safetensors")).weights

    assert step == 0
    for name, array in started_from.items():
        np.testing.assert_array_equal(weights[name], as_kept(name, array))


def test_one_snapshot_is_the_last(book: str) -> None:
    assert steps_of(fit(book, "a", steps=9, snapshots=1)) == [9]


def test_without_the_setting_there_is_no_folder(book: str) -> None:
    assert not (fit(book, "a", steps=9).path / "snapshots").exists()


def test_a_run_stopped_and_resumed_keeps_the_same(book: str) -> None:
    settings = {**SMALL, "steps": 60, "snapshots": 9, "eval_every": 20}
    whole = fit(book, "whole", **settings)
    charrnn.fit(book, name="cut", should_stop=stop_after(23), **settings)
    cut = RunFolder(Path("checkpoints/cut"))
    assert steps_of(cut)[-1] <= 23
    cut.save_snapshot(24, {})  # as a killed process leaves it, after its last state
    charrnn.fit(resume="cut")

    assert_same_snapshots(whole, cut)


def test_a_run_that_goes_on_after_its_end_keeps_more(book: str) -> None:
    run = fit(book, "a", steps=20, snapshots=5)
    before = steps_of(run)
    charrnn.fit(resume="a", steps=200)
    after = steps_of(run)

    assert after[: len(before)] == before
    assert after[-1] == 200
    assert len(after) <= len(before) + 3


def test_a_run_by_budget_keeps_about_as_many_as_asked_for(book: str) -> None:
    run = fit(book, "a", budget="2s", snapshots=8)
    steps = steps_of(run)

    assert steps[0] == 0
    assert steps[-1] == read_model(run.states[0]).progress["step"]  # type: ignore[index]
    assert 4 <= len(steps) <= 8


def test_a_settled_run_is_left_alone_by_the_same_command(book: str) -> None:
    run = fit(book, "a", steps=20, snapshots=5, overwrite=True)
    again = fit(book, "a", steps=20, snapshots=5, overwrite=True)

    assert_same_snapshots(run, again)
    assert not again.replaced.exists()


def test_too_much_room_is_refused_before_training(book: str) -> None:
    with pytest.raises(ConfigError, match=r"take .* MB, more than the 256\.0 MB") as caught:
        fit(book, "a", steps=9, snapshots=1000, hidden_size=200)
    fitting = int(str(caught.value).partition("give snapshots=")[2].partition(",")[0])

    assert not Path("checkpoints").exists()
    vocab_size = len(set(Path(book).read_text()))
    check_size(ModelConfig(vocab_size=vocab_size, embedding_size=3, hidden_size=200), fitting)


@pytest.mark.parametrize("ngrams", [{}, {"ngram_order": 3, "ngram_rows": 4_000}])
def test_the_size_is_known_before(
    make_model: Callable[..., ModelFile], ngrams: dict[str, int]
) -> None:
    model = make_model(hidden_size=60, **ngrams)
    size = len(pack_snapshot(10**6, model.weights))

    assert 0 <= snapshot_bytes(model.config) - size < 4_000


def test_a_network_too_large_for_one_says_so() -> None:
    with pytest.raises(ConfigError, match="leave snapshots out, or train a smaller"):
        check_size(ModelConfig(vocab_size=50_000, embedding_size=2_048, hidden_size=512), 1)


def test_where_n_grams_take_the_room_fewer_rows_are_advised() -> None:
    config = ModelConfig(vocab_size=9, embedding_size=64, ngram_order=5, ngram_rows=65_536)
    check_size(config, 24)

    with pytest.raises(ConfigError, match="29, fewer ngram_rows than 65,536, or train a smaller"):
        check_size(config, 30)


def test_a_snapshot_keeps_which_n_grams_there_are_to_the_last_bit(
    make_model: Callable[..., ModelFile], tmp_path: Path
) -> None:
    weights = make_model(ngram_order=4, ngram_rows=24).weights
    weights["ngrams.check"][5] = 2**24 - 1
    path = tmp_path / "a.safetensors"
    path.write_bytes(pack_snapshot(3, weights))
    step, read = read_snapshot(path)

    assert step == 3
    for name, array in weights.items():
        np.testing.assert_array_equal(read[name], as_kept(name, array))


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("ngrams.check", [7, 7], "ngrams.check holds 7 twice in a bucket of 4, expected once"),
        ("ngrams.check", [1.5, 7], "ngrams.check holds 1.5, expected whole numbers from -1 to"),
        ("ngrams.key", [2**24, 1], "ngrams.key holds 16777216, expected whole numbers from 1 to"),
    ],
)
def test_a_snapshot_with_n_grams_that_no_run_writes_is_refused(
    make_model: Callable[..., ModelFile],
    tmp_path: Path,
    name: str,
    values: list[float],
    reason: str,
) -> None:
    weights = make_model(ngram_order=4, ngram_rows=24).weights
    weights[name][:2] = values
    path = tmp_path / "a.safetensors"
    path.write_bytes(pack_snapshot(3, weights))

    with pytest.raises(CheckpointError, match=re.escape(reason)):
        read_snapshot(path)
