"""Runs beside each other: what differs, and whether one predicts better."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

import charrnn
from charrnn.analysis.bootstrap import bootstrap
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.errors import ConfigError
from charrnn.tasks import compare
from charrnn.tasks.compare import Comparison, Difference, block_ends
from tests.cli.program import Text, complaint, end_of

TEXT = "the cat sat on a mat and ran to see. "


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three runs: short and long, which differ in steps, and other."""
    folder = tmp_path_factory.mktemp("compared")
    (folder / "book.txt").write_text(TEXT * 1800, encoding="utf-8")
    (folder / "other.txt").write_text("xyz " * 1000, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        common = {"hidden_size": 8, "threads": 1, "precision": "fp32"}
        charrnn.fit("book.txt", name="short", steps=4, **common)
        charrnn.fit("book.txt", name="long", steps=60, **common)
        charrnn.fit("other.txt", name="other", steps=4, **common)
    return folder


@pytest.fixture
def found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Comparison:
    monkeypatch.setenv("CHARRNN_CACHE", str(folder / "cache"))
    monkeypatch.chdir(folder)
    return charrnn.compare(["short", "long"])


def test_only_settings_that_differ_are_told(found: Comparison) -> None:
    assert found.settings["steps"] == [4, 60]
    assert "hidden_size" not in found.settings
    assert "name" not in found.settings
    assert "corpus" not in found.settings


def test_the_losses_are_those_of_eval(found: Comparison) -> None:
    scored = charrnn.evaluate(["short", "long"])

    carried = {row.model: row.carried.nats for row in scored.models if row.carried}
    assert found.nats == pytest.approx(carried, rel=1e-6)
    assert found.chars == scored.chars


def test_the_better_run_is_named_with_an_interval_around_the_difference(found: Comparison) -> None:
    (each,) = found.differences

    assert (each.better, each.worse) == ("long", "short")
    assert each.nats.value == pytest.approx(found.nats["short"] - found.nats["long"])
    assert 0 < each.nats.low < each.nats.value < each.nats.high
    assert each.is_clear
    assert each.blocks >= 20


def test_equal_runs_are_not_told_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    shutil.copytree("checkpoints/long", "checkpoints/copy", dirs_exist_ok=True)
    again = charrnn.compare(["long", "copy"])

    assert again.differences[0].nats == (0, 0, 0)
    assert not again.differences[0].is_clear


def test_the_interval_is_narrower_than_that_of_unpaired_losses() -> None:
    random = np.random.default_rng(1)
    hard = random.normal(2, 0.5, 200)  # passages differ far more than models do
    interval = charrnn_bootstrap(hard + 0.02 + random.normal(0, 0.01, 200), hard)

    assert interval.is_clear
    assert interval.margin_nats < 0.005
    assert interval.nats.value == pytest.approx(0.02, abs=0.003)


def charrnn_bootstrap(worse: np.ndarray, better: np.ndarray) -> Difference:
    chars = np.ones(len(worse), np.int64)
    scored = compare._Scored(np.stack([worse, better]), chars)
    return compare._differences(scored, ["worse", "better"])[0]


def test_runs_on_other_texts_are_compared_but_not_scored(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)

    found = charrnn.compare(["short", "other"])

    assert found.settings["corpus"] == ["book", "other"]
    assert found.differences == []
    assert found.nats == {}
    assert any(
        "not scored on one text: short and other have different vocabularies" in note
        for note in found.notes
    )


@pytest.mark.parametrize(
    "names", [["short"], ["short", "short"], ["short", "checkpoints/short"], []]
)
def test_fewer_than_two_runs_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    monkeypatch.chdir(folder)

    with pytest.raises(ConfigError, match="name two or more, each once"):
        charrnn.compare(names)


def test_blocks_end_with_records_and_cover_the_text() -> None:
    ends = np.cumsum(np.random.default_rng(2).integers(1, 90, 500)) + 1

    found = block_ends(int(ends[-1]), ends)

    assert found[-1] == ends[-1]
    assert set(found.tolist()) <= set(ends.tolist())
    assert (np.diff(found) > 0).all()
    assert 60 < len(found) <= 80  # of about 22,000 tokens
    assert block_ends(3).tolist() == [3]


def test_too_few_blocks_tell_nothing() -> None:
    few = np.ones((2, compare.MIN_BLOCKS - 1))

    scored = compare._Scored(few * [[1.0], [2.0]], np.full(compare.MIN_BLOCKS - 1, 300))
    assert compare._differences(scored, ["a", "b"]) == []


def test_the_interval_of_alike_neighbours_holds_what_it_says() -> None:
    random = np.random.default_rng(5)
    missed = 0
    for _ in range(100):
        shocks = random.normal(size=12_000)
        gain = np.empty_like(shocks)  # of two models that are equally good
        last = 0.0
        for at, shock in enumerate(shocks):
            last = 0.95 * last + shock
            gain[at] = last
        ends = block_ends(len(gain))
        blocks = np.add.reduceat(gain, [0, *ends[:-1]])
        chars = np.diff([0, *ends])
        interval = bootstrap(
            lambda w, b=blocks, c=chars: float(b[w].sum() / c[w].sum()), len(blocks), 200
        )
        missed += not interval.low <= 0 <= interval.high

    assert missed <= 12  # 5 are expected


def test_the_command_tells_which_is_better(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.chdir(folder)

    assert end_of("compare", "short", "long", "--svg", "curves.svg") == 0

    out, err = capsys.readouterr()
    assert err == "" or "had unequal time to learn" in err
    assert "long is better than short: by " in out
    assert "95% interval, paired bootstrap over " in out
    assert "lstm 1×8 + n-grams" in out
    assert "Loss against steps" in out
    assert "1 ─── short, held-out text" in out
    words = [each.text for each in ElementTree.parse("curves.svg").iter() if each.text]
    assert "long, held out" in words


def test_the_command_prints_json(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.chdir(folder)

    assert end_of("compare", "short", "long", "--no-score", "--json") == 0

    record = json.loads(capsys.readouterr().out)
    assert record["settings"]["steps"] == [4, 60]
    assert record["differences"] == []
    assert [run["name"] for run in record["runs"]] == ["short", "long"]


def test_a_missing_run_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.chdir(folder)

    code, line = complaint(capsys, "compare", "short", "lonk")

    assert code == 4
    assert "did you mean 'long'?" in line


def test_a_run_that_was_stopped_is_not_called_worse_without_a_word(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for report in charrnn.train(
        "book.txt", name="half", steps=60, eval_every=5, hidden_size=8, threads=1, precision="fp32"
    ):
        if type(report).__name__ == "Evaluation":
            break

    found = charrnn.compare(["half", "long"])

    assert found.notes[0].startswith("half was stopped after ")
    assert " of 60 steps, so its loss is not yet that of its settings" in found.notes[0]


def test_unequal_time_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    runs = [
        compare.ComparedRun(
            name, read_model(Path(f"checkpoints/{name}/best.safetensors")), {}, None
        )
        for name in ("short", "long")
    ]
    runs[0].file.summary["elapsed_seconds"] = 42.0
    runs[1].file.summary["elapsed_seconds"] = 55.0

    assert compare._unfairness(runs) == [
        "the best models had unequal time to learn: short 42 s, long 55 s"
    ]
    runs[1].file.summary["elapsed_seconds"] = 44.0
    assert compare._unfairness(runs) == []


@pytest.mark.parametrize(
    ("times", "shown"),
    [
        ((0.8, 1.2), ["0.8 s", "1.2 s"]),
        ((9.7, 10.8), ["9.7 s", "10.8 s"]),
        ((99.6, 12_345.6), ["99.6 s", "12346 s"]),
    ],
)
def test_unequal_times_are_shown_by_figures_that_differ(
    make_model: Callable[..., ModelFile], times: tuple[float, float], shown: list[str]
) -> None:
    files = [replace(make_model(), summary={"elapsed_seconds": time}) for time in times]
    named = zip("ab", files, strict=True)
    runs = [compare.ComparedRun(name, file, {}, None) for name, file in named]

    assert compare._unfairness(runs)[0].endswith(f": a {shown[0]}, b {shown[1]}")
