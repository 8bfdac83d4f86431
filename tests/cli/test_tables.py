"""Tables: no figure is broken or lost, on a narrow terminal or in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.cli.corpus import show_corpus_summary
from charrnn.cli.eval import show_eval_result
from charrnn.cli.info import show_model, show_runs
from charrnn.config import TextConfig
from charrnn.tasks.corpus_stats import summarise_corpus
from charrnn.tasks.evaluate import EvalResult, Metrics, ModelScores

Text = pytest.CaptureFixture[str]

FIGURES = Metrics(
    nats=1.2345, bpc=1.781, perplexity=3.4367, bpc_with_unseen=1.781, bits_per_byte=1.781
)
LONG = "checkpoints/a-run-with-a-long-name-of-many-words-and-more/best.safetensors"
RUN = {
    "name": "tiny-shakespeare-with-a-long-name",
    "corpus": "tiny-shakespeare",
    "model": "lstm 2×512",
    "parameters": 3_456_789,
    "step": 123_456,
    "val_bpc": 1.98765,
    "created": "2031-02-03T04:05:06+00:00",
    "last_step": 123_456,
    "total_steps": 234_567,
    "is_finished": False,
    "elapsed_seconds": 3723.4,
    "saved": "2031-02-03T04:05:06",
    "disk_bytes": 123_456_789,
}


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that makes stdout a terminal of so many columns."""

    def make(columns: int) -> None:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TTY_COMPATIBLE", "0")  # no colours
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    return make


def result_of(*names: str) -> EvalResult:
    rows = [ModelScores(name, carried=FIGURES, windowed=FIGURES) for name in names]
    return EvalResult(["book.txt"], "val", 149, rows, utf8_bytes=149)


def words(text: str) -> list[str]:
    """Return the words of what was shown; all that was printed is in them."""
    return text.split()


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_scores_are_whole_whatever_the_length_of_a_name(
    terminal: Callable[[int], None], columns: int, capsys: Text
) -> None:
    terminal(columns)
    show_eval_result(result_of(LONG, "gru"))

    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    assert [words(out).count(figure) for figure in ("1.2345", "1.7810", "3.4367")] == [4, 4, 4]
    assert {"nats", "character", "perplexity"} <= set(words(out))
    assert "…" not in out


@pytest.mark.parametrize("columns", [50, 80, 200])
def test_mean_and_sd_are_whole_too(
    terminal: Callable[[int], None], columns: int, capsys: Text
) -> None:
    terminal(columns)
    row = ModelScores(LONG, carried=FIGURES, windowed=FIGURES)
    several = replace(result_of(LONG, "gru"), ensemble=row, mean=row, sd=row, unseen_chars=3)
    show_eval_result(replace(several, utf8_bytes=160))  # with every unit there is

    out, _, below = capsys.readouterr().out.partition("\nover 149 characters")
    assert max(map(len, out.splitlines())) <= columns
    assert below
    assert out.count("1.2345 ± 1.2345") == 2
    assert out.count("1.7810 ± 1.7810") == 6
    assert "…" not in out


def test_scores_go_into_a_pipe_one_line_a_row(capsys: Text) -> None:
    show_eval_result(result_of(LONG, "gru"))

    rows = [words(line) for line in capsys.readouterr().out.splitlines()]
    assert ["state", "carried", LONG, "1.2345", "1.7810", "3.4367"] in rows


@pytest.mark.parametrize("columns", [50, 80])
def test_a_list_on_a_narrow_terminal_breaks_words_and_no_figures(
    terminal: Callable[[int], None], columns: int, capsys: Text
) -> None:
    terminal(columns)
    show_runs([RUN])

    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    figures = {"123,456", "of", "234,567", "1.988", "2031-02-03", "04:05"}
    assert figures <= set(words(out))


@pytest.mark.parametrize("row", [RUN, RUN | {"last_step": 1_234_567_890}], ids=["narrow", "wide"])
def test_what_has_no_room_is_broken_by_the_terminal_and_not_cut(
    terminal: Callable[[int], None], row: dict[str, Any], capsys: Text
) -> None:
    terminal(24)
    show_runs([row])

    figures = {f"{row['last_step']:,}", "234,567", "1.988", "2031-02-03", "04:05"}
    assert figures <= set(words(capsys.readouterr().out))


def test_a_description_goes_into_a_pipe_one_line_a_field(capsys: Text) -> None:
    corpus = {"paths": ["a.txt", "b" * 300], "sha256": "0123456789abcdef" * 4}
    show_model(LONG, {"alphabet": "ab", "corpus": corpus, "baselines_bpc": {}})

    assert [words(line) for line in capsys.readouterr().out.splitlines()] == [
        ["path", LONG],
        ["alphabet", "ab"],
        ["baselines_bpc", "-"],
        ["corpus.paths", "a.txt,", "b" * 300],
        ["corpus.sha256", "0123456789abcdef" * 4],
    ]


def test_settings_are_shown_to_six_digits(capsys: Text) -> None:
    settings: dict[str, Any] = {
        "learning_rate": 2e-5,
        "ema_decay": 0.99999,
        "dropout": None,
        "decay_rate": 0.9995,
        "eval_chars": 2_000_000,
        "clip_grad_norm": 1.0,
    }
    show_model("model", {"alphabet": "", "settings": settings})

    lines = capsys.readouterr().out.splitlines()
    assert dict(line.split() for line in lines if line.startswith("settings.")) == {
        "settings.learning_rate": "2e-05",
        "settings.ema_decay": "0.99999",
        "settings.dropout": "-",
        "settings.decay_rate": "0.9995",
        "settings.eval_chars": "2,000,000",
        "settings.clip_grad_norm": "1",
    }


def test_only_a_text_that_was_compressed_in_part_says_so(tmp_path: Path, capsys: Text) -> None:
    path = tmp_path / "book.txt"
    path.write_text("the cat sat on the mat\n" * 99)
    summary = summarise_corpus([str(path)], TextConfig())
    large = replace(summary, stats=replace(summary.stats, utf8_bytes=(32 << 20) + 1))

    for each, part in ((summary, False), (large, True)):
        show_corpus_summary(each, rarest=1)
        assert ("character (first 32 MiB)" in capsys.readouterr().out) == part
