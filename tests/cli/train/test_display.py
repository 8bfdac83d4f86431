"""What is shown while a model learns, and that no text it shows can touch the terminal."""

from __future__ import annotations

import io
import json
import math
import re
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.train.display import JsonLines, PlainLines, Silent, make_display
from charrnn.cli.train.panel import LivePanel
from charrnn.data.corpus import corpus_from_text
from charrnn.tasks.recorder import RunFinished, Written
from charrnn.tasks.train import Opened, Reading, RunReport
from tests.cli.train.sample_reports import (
    BIT,
    EVALUATION,
    FINISHED,
    OPENED,
    PROGRESS,
    RUN,
    RUN_FINISHED,
    SNAPSHOT,
    STARTED,
    STOPPED,
    TROUBLE,
    WRITTEN,
)


class Screen(io.StringIO):
    """What a terminal was sent."""

    def isatty(self) -> bool:
        return True


def make_console(width: int = 100) -> tuple[Console, io.StringIO]:
    """Return a terminal of 25 rows without colours, and what it was sent."""
    stream = Screen()
    console = Console(file=stream, force_terminal=True, width=width, height=25, color_system=None)
    return console, stream


def rows_of(shown: str) -> list[str]:
    """Return the rows inside the last frame."""
    frame = shown[shown.rindex("╭") :].splitlines()
    return [row[1:-1].strip() for row in frame if row.startswith("│")]


def on_a_screen(shown: str) -> list[str]:
    """Return the lines that a terminal has after what it was sent, as tall as they need."""
    lines = [""]
    row = column = 0
    for code, char in re.findall(r"\x1b\[([?\d]*[A-Za-z])|(.)", shown, re.DOTALL):
        if code == "1A":
            row -= 1
        elif code == "2K":
            lines[row] = ""
        elif char == "\n":
            row += 1
            column = 0
            lines += [""] * (row == len(lines))
        elif char == "\r":
            column = 0
        elif char:
            lines[row] = lines[row][:column].ljust(column) + char + lines[row][column + 1 :]
            column += 1
        else:
            assert code in ("?25l", "?25h"), code
    assert lines.pop() == ""
    return [line.rstrip() for line in lines]


def on_a_panel(*reports: RunReport) -> str:
    """Return what a terminal is sent while a panel shows `reports`."""
    console, stream = make_console()
    with closing(LivePanel(console)) as panel:
        for report in reports:
            panel.show(report)
    return stream.getvalue()


def as_lines(*reports: RunReport) -> list[str]:
    """Return the lines that stand for `reports` off a terminal."""
    stream = io.StringIO()
    with closing(PlainLines(Console(file=stream, width=100))) as lines:
        for report in reports:
            lines.show(report)
    return stream.getvalue().splitlines()


def as_json(capsys: pytest.CaptureFixture[str], report: RunReport) -> list[dict[str, Any]]:
    """Return the objects written for `report`, held to JSON, which has no NaN and no Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    JsonLines().show(report)
    lines = capsys.readouterr().out.splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


# ── the panel ──


def test_the_panel_shows_text_network_and_folder() -> None:
    shown = on_a_panel(OPENED, STARTED)

    assert "book: 1,500 characters, 5 tokens" in shown
    assert "lstm 2×4, dropout 0.1, 1,234 parameters · 8 lanes × 16 characters" in shown
    assert str(RUN.path) in shown


def test_the_panel_shows_the_losses_in_bits_per_character() -> None:
    shown = on_a_panel(OPENED, STARTED, PROGRESS, EVALUATION)

    losses = "train (with dropout) 2.750  val 2.500  best val 2.250"
    assert f"{losses} bits per character" in shown


def test_the_panel_shows_speed_rate_gradient_and_memory() -> None:
    shown = on_a_panel(OPENED, STARTED, PROGRESS)

    assert "speed 12.3k chars/s" in shown
    assert "learning rate 3.0e-03  gradient 0.62  memory 123.0 MB" in shown


def test_a_speed_that_is_not_yet_measured_is_a_dash() -> None:
    first = replace(PROGRESS, chars_per_second=0.0, elapsed_seconds=31)

    assert "speed - chars/s" in on_a_panel(OPENED, STARTED, first)
    assert as_lines(OPENED, STARTED, first)[-1].endswith(
        "train (with dropout) 2.750 bpc, - chars/s"
    )


def test_the_panel_shows_how_far_the_run_is_and_how_long_it_takes() -> None:
    assert "step 50/200 · epoch 1.5 · 0:10, 0:30 to go" in on_a_panel(OPENED, STARTED, PROGRESS)


def test_under_a_budget_the_panel_shows_the_time_that_is_allowed() -> None:
    shown = on_a_panel(replace(OPENED, budget_seconds=90), STARTED, PROGRESS)

    assert "step 50/200 · epoch 1.5 · 0:10 of 1:30" in shown


def test_the_panel_draws_the_training_loss_from_its_milestones() -> None:
    falling = [replace(PROGRESS, train_nats=bits * BIT) for bits in (3, 2, 1)]
    between = replace(PROGRESS, train_nats=9, is_milestone=False)

    assert "train loss  █▅▁  3.00 → 1.00 bits" in on_a_panel(OPENED, STARTED, *falling, between)


def test_the_curve_of_a_resumed_run_begins_where_the_run_did(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.log_metrics({"event": "progress", "train_nats": math.nan})
    run.log_metrics({"event": "evaluation", "train_nats": 9.0})
    run.metrics.write_bytes(run.metrics.read_bytes() + b"\xff[\n3\n")
    for bits in (5.0, 4.0):
        run.log_metrics({"event": "progress", "train_nats": bits * BIT})
    run.metrics.write_bytes(run.metrics.read_bytes() + b'{"event": "progress", "train')
    opened = replace(OPENED, run=run, resumed_step=40)
    last = replace(PROGRESS, train_nats=1.0 * BIT)

    assert "train loss  █▆▁  5.00 → 1.00 bits" in on_a_panel(opened, STARTED, last)


def test_the_panel_shows_what_the_model_writes() -> None:
    shown = on_a_panel(OPENED, STARTED, PROGRESS, EVALUATION, WRITTEN)

    assert "it writes, at step 50:" in shown
    assert "│ once upon a time " in shown
    assert "│ there was " in shown


def test_the_panel_lets_no_escape_sequence_and_no_markup_of_a_sample_through() -> None:
    harmless = on_a_panel(OPENED, STARTED, PROGRESS, EVALUATION, Written(50, "S[31mX\u2026Y"))
    shown = on_a_panel(
        OPENED, STARTED, PROGRESS, EVALUATION, Written(50, "\x1b[31mX[red]Y[/red]\x9b2J\u202eZ")
    )

    assert "␛[31mX[red]Y[/red]<9B>2J<202E>Z" in shown
    assert shown.count("\x1b") == harmless.count("\x1b")
    assert not {"\x9b", "\u202e"} & set(shown)


@given(st.text(st.characters(categories=["Cc", "Cf", "Zl", "Zp"]), max_size=30))
def test_no_control_character_of_a_sample_reaches_the_terminal(text: str) -> None:
    reports = OPENED, STARTED, PROGRESS, EVALUATION
    rows = text.count("\n")
    own = set(on_a_panel(*reports, Written(50, "x" + "\nx" * rows)))

    shown = on_a_panel(*reports, Written(50, f"x{text}x"))

    forbidden = {chr(code) for code in (*range(32), *range(127, 160), *range(0x202A, 0x202F))}
    assert not (set(shown) & forbidden) - own


def test_the_panel_lets_no_control_character_of_a_name_through() -> None:
    run = RunFolder(Path("checkpoints") / "a\x1b[31mb")
    corpus = corpus_from_text("ab" * 9, name="c\x1b]0;d[bold]")

    shown = on_a_panel(Opened(run, corpus, None, 0), STARTED)

    assert "a␛[31mb" in shown
    assert "c␛]0;d[bold]: 18 characters" in shown


def test_the_sample_is_wrapped_at_words_into_the_rows_that_are_free() -> None:
    words = " ".join(["twelve chars"] * 40)  # 519 characters: six rows of 96

    shown = on_a_panel(OPENED, STARTED, PROGRESS, EVALUATION, Written(50, words))

    last = rows_of(shown)
    start = last.index("it writes, at step 50:")
    assert last[start + 1 :] == [words[i : i + 90] for i in range(0, 519, 91)]


def test_a_sample_longer_than_the_screen_is_cut_to_it() -> None:
    shown = on_a_panel(OPENED, STARTED, PROGRESS, EVALUATION, Written(50, "x\n" * 99))

    assert len(rows_of(shown)) == 25 - len("╭╰^")  # of 25 rows


@pytest.mark.parametrize("width", [60, 80])
def test_a_figure_is_never_torn_from_its_unit(width: int) -> None:
    console, stream = make_console(width)
    progress = replace(PROGRESS, memory_bytes=348_700_000)
    with closing(LivePanel(console)) as panel:
        for report in (OPENED, STARTED, progress, EVALUATION):
            panel.show(report)

    shown = "\n".join(rows_of(stream.getvalue()))
    figures = ("speed 12.3k chars/s", "gradient 0.62", "memory 348.7 MB", "val 2.500")
    assert all(figure in shown for figure in (*figures, "best val 2.250 bits per character"))
    assert len(shown.splitlines()) == {60: 8, 80: 6}[width]


# ── the last frame ──


ALL = OPENED, STARTED, PROGRESS, EVALUATION, WRITTEN, SNAPSHOT, FINISHED, RUN_FINISHED


def test_the_last_frame_stays_once_above_the_summary() -> None:
    lines = on_a_screen(on_a_panel(*ALL))

    assert lines[0].startswith("╭─ charrnn → checkpoints/tiny")
    assert sum("╭" in line for line in lines) == 1
    assert "step 200/200 · epoch 4.0 · 1:15 │" in lines[3]
    assert lines[[line[:11] for line in lines].index("│ there was") + 1].startswith("╰")
    assert lines[-1] == "next:  charrnn sample tiny --temp 0.8"
    assert "" not in lines


def test_a_run_that_is_stopped_leaves_its_bar_where_it_was() -> None:
    stopped = replace(RUN_FINISHED, finished=replace(FINISHED, reason="stopped", step=60))

    lines = on_a_screen(on_a_panel(*ALL[:5], stopped))

    assert "step 60/200 · epoch 4.0 · 1:15, 2:55 to go │" in lines[3]
    assert sum("it writes, at step 50:" in line for line in lines) == 1


def test_a_run_that_fails_leaves_its_last_frame() -> None:
    lines = on_a_screen(on_a_panel(*ALL[:4]))

    assert lines[0].startswith("╭─ charrnn")
    assert lines[-1].startswith("╰")


def test_a_question_stands_where_the_reading_was_and_stays_there() -> None:
    console, stream = make_console()
    with closing(LivePanel(console)) as panel:
        panel.show(Reading(["book.txt"]))
        panel.close()
        stream.write("Continue? y\n")
        for report in ALL:
            panel.show(report)

    lines = on_a_screen(stream.getvalue())
    assert lines[:2] == ["Continue? y", lines[1]]
    assert lines[1].startswith("╭─ charrnn → checkpoints/tiny")
    assert not [line for line in lines if "reading" in line]


# ── plain lines ──


def test_the_first_lines_name_what_is_trained_and_where() -> None:
    assert as_lines(OPENED, STARTED) == [
        f"book: 1,500 characters, 5 tokens → {RUN.path} (disk: up to 2.5 MB)",
        "lstm 2×4, dropout 0.1, 1,234 parameters · 8 lanes × 16 characters · cpu fp32, 2 threads",
    ]


def test_the_n_grams_of_a_network_and_their_parameters_are_named() -> None:
    plan = STARTED.plan
    model = replace(plan.model, ngram_order=5, ngram_rows=400)
    started = replace(STARTED, plan=replace(plan, model=model), parameters=1234 + 3 * 400)

    assert as_lines(OPENED, started)[1].startswith(
        "lstm 2×4 + n-grams up to 5 (400 rows), dropout 0.1, "
        "1,234 parameters + 1.2k in n-grams · 8 lanes"
    )


def test_processes_that_train_together_are_counted() -> None:
    assert as_lines(OPENED, replace(STARTED, processes=3, threads=1))[1].endswith(
        "cpu fp32, 3 processes of 1 thread"
    )


def test_each_evaluation_is_one_line() -> None:
    best = replace(EVALUATION, is_best=True, val_nats=2.125 * BIT, best_val_nats=2.125 * BIT)

    lines = as_lines(OPENED, STARTED, PROGRESS, EVALUATION, SNAPSHOT, WRITTEN, PROGRESS, best)[2:]

    when = "step 50 · 0:10"
    assert lines == [
        f"{when} · train (with dropout) 2.750, val 2.500 bpc, best 2.250",
        f"{when} · train (with dropout) 2.750, val 2.125 bpc (best)",
    ]


@pytest.mark.parametrize("report", [PROGRESS, EVALUATION])
def test_a_loss_without_dropout_is_called_train(report: RunReport) -> None:
    model = replace(STARTED.plan.model, dropout=0.0)
    started = replace(STARTED, plan=replace(STARTED.plan, model=model))
    late = replace(report, elapsed_seconds=31)  # type: ignore[type-var]

    assert "· train 2.750" in as_lines(OPENED, started, late)[-1]
    assert "train 2.750" in on_a_panel(OPENED, started, PROGRESS)


def test_without_a_held_out_text_only_the_training_loss_is_shown() -> None:
    evaluation = replace(EVALUATION, val_nats=None, best_val_nats=None, is_best=True)

    assert as_lines(OPENED, STARTED, evaluation)[-1].endswith("train (with dropout) 2.750 bpc")
    assert "dropout) 2.750 bits per" in on_a_panel(OPENED, STARTED, PROGRESS, evaluation)


def test_the_summary_of_a_run_without_a_held_out_text_says_what_is_lost() -> None:
    finished = replace(
        FINISHED,
        best_val_nats=None,
        best_val_compared_nats=None,
        best_val_windowed_nats=None,
        best_train_eval_nats=None,
    )
    lines = as_lines(replace(RUN_FINISHED, finished=finished, baselines_bpc={}, val_chars=0))

    assert lines[:2] == [
        "trained 200 steps in 1:15",
        "nothing was held out: no early stopping, no verdict",
    ]


def test_a_line_breaks_every_silence_of_thirty_seconds() -> None:
    seconds = [5, 29, 30, 45, 59, 61, 90, 100]
    progress = [replace(PROGRESS, elapsed_seconds=s, total_steps=None) for s in seconds]

    lines = as_lines(OPENED, STARTED, *progress)[2:]

    assert lines == [
        f"step 50 · epoch 1.5 · {time} · train (with dropout) 2.750 bpc, 12.3k chars/s"
        for time in ("0:30", "1:01", "1:40")
    ]


def test_an_evaluation_breaks_the_silence_too() -> None:
    evaluation = replace(EVALUATION, elapsed_seconds=29)
    progress = [replace(PROGRESS, elapsed_seconds=seconds) for seconds in (28, 31, 58, 59)]

    lines = as_lines(OPENED, STARTED, progress[0], evaluation, *progress[1:])[2:]

    assert [" val " in line for line in lines] == [True, False]
    assert "0:59" in lines[1]


def test_a_long_line_stays_one_line_off_a_terminal() -> None:
    corpus = corpus_from_text("ab" * 9, name="x" * 300)

    assert len(as_lines(Opened(RUN, corpus, None, 0))) == 1


def test_lines_let_no_control_character_and_no_markup_of_a_name_through() -> None:
    corpus = corpus_from_text("ab" * 9, name="a\x1b[31m[red]b")

    assert as_lines(Opened(RUN, corpus, None, 0))[0].startswith("a␛[31m[red]b: 18 characters")


# ── the summary ──


def test_the_summary_ends_with_the_next_command() -> None:
    assert as_lines(RUN_FINISHED)[-3:] == [
        f"model: {RUN.model}",
        f"settings, to repeat the run: {RUN.resolved}",
        "next:  charrnn sample tiny --temp 0.8",
    ]


def test_the_summary_says_how_good_the_best_model_is() -> None:
    lines = as_lines(OPENED, RUN_FINISHED)[1:]

    assert lines[0] == "trained 200 steps in 1:15"
    assert lines[1] == ("best model (step 150): 2.250 bits per character on text it never saw")
    assert lines[2] == "1.560 nats per character, 1.125 bits per byte"
    assert lines[3] == (
        "a choice of 4.8 characters (English prose: letters at 3, words 2.3, grammar 1.6)"
    )
    assert "model 2.25, gzip 3.00, xz 3.50; the model needs 25% less than gzip" in lines[4]


def test_the_scale_of_english_is_not_shown_of_chinese() -> None:
    chinese = replace(OPENED, corpus=corpus_from_text("床前明月光，疑是地上霜。\n" * 9 + "Li Bai"))

    assert as_lines(chinese, RUN_FINISHED)[4] == "a choice of 4.8 characters"


def test_the_summary_compares_on_the_text_that_simpler_models_were_scored_on() -> None:
    lines = as_lines(
        RunFinished(RUN, replace(FINISHED, best_val_compared_nats=1.5 * BIT), {"xz": 2.0}, 150)
    )

    assert (
        "on the beginning of the held-out text: model 1.50, xz 2.00; the model needs 25%"
        in (lines[4])
    )


def test_the_summary_of_too_little_held_out_text_gives_no_verdict() -> None:
    assert as_lines(RunFinished(RUN, FINISHED, {}, 150))[4:6] == [
        "the held-out part is too short (150 characters) for a reliable score",
        f"model: {RUN.model}",
    ]


@pytest.mark.parametrize("is_screen", [True, False])
def test_a_summary_is_folded_on_a_screen_alone(
    monkeypatch: pytest.MonkeyPatch, is_screen: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # colours make no terminal of a file
    monkeypatch.setenv("TERM", "xterm")
    stream = Screen() if is_screen else io.StringIO()

    PlainLines(Console(file=stream, width=60)).show(RUN_FINISHED)

    lines = stream.getvalue().splitlines()
    assert any(line.startswith("best model (step 150)") for line in lines)
    assert (max(map(len, lines)) <= 60) == is_screen


def test_the_summary_of_a_run_that_got_worse_does_not_ask_for_more_steps() -> None:
    lines = as_lines(RunFinished(RUN, replace(FINISHED, got_worse=True), {"5-gram": 2.0}, 150))

    assert lines[4].endswith("model 2.25, 5-gram 2.00; the 5-gram is better here")
    assert lines[5].startswith("it overfits")
    assert "training twice as long: no gain" in lines[6]


def test_a_run_that_was_stopped_before_it_was_evaluated_is_not_worth_sampling() -> None:
    lines = as_lines(RunFinished(RUN, STOPPED, {}, 150))

    assert lines == [
        "trained for 1:15",
        f"model: {RUN.model}",
        f"settings, to repeat the run: {RUN.resolved}",
    ]


def test_a_stopped_run_is_not_judged() -> None:
    stopped = replace(FINISHED, reason="stopped", best_val_windowed_nats=None)
    lines = as_lines(RunFinished(RUN, stopped, {}, 150))

    assert lines[1].startswith("best model (step 150): 2.250 bits per character")
    assert lines[4].startswith("model: ")


def test_a_command_can_be_pasted_into_a_shell() -> None:
    run = RunFolder(Path("checkpoints") / "my run; rm")

    assert (
        as_lines(RunFinished(run, FINISHED, {}, 150))[-1]
        == "next:  charrnn sample 'my run; rm' --temp 0.8"
    )


@pytest.mark.parametrize("parent", ["elsewhere", "elsewhere/checkpoints"])
def test_a_run_outside_the_usual_folder_is_named_by_its_path(parent: str) -> None:
    run = RunFolder(Path(parent) / "tiny")

    assert (
        as_lines(RunFinished(run, FINISHED, {}, 150))[-1]
        == f"next:  charrnn sample {run.path} --temp 0.8"
    )


# ── JSON lines ──


def test_json_lines_name_the_event_and_carry_its_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (record,) = as_json(capsys, EVALUATION)

    expected = {k: v for k, v in vars(EVALUATION).items() if k != "weights"}
    assert record == {"event": "evaluation"} | expected


def test_json_lines_leave_out_what_is_for_files_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, SNAPSHOT) == []


def test_json_lines_report_the_end_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert as_json(capsys, FINISHED) == []
    (record,) = as_json(capsys, RUN_FINISHED)

    assert record["event"] == "finished"
    assert record["best_val_nats"] == FINISHED.best_val_nats
    assert record["baselines_bpc"] == {"gzip": 3.0, "xz": 3.5}
    assert record["model"] == str(RUN.model)


def test_json_lines_of_a_run_without_an_evaluation_are_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (record,) = as_json(capsys, RunFinished(RUN, STOPPED, {}, 150))

    assert record["best_val_nats"] is None
    assert record["train_nats"] is None


# ── which display ──


def test_json_lines_say_what_is_wrong_with_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    finished = replace(FINISHED, trouble=TROUBLE)
    JsonLines().show(replace(RUN_FINISHED, finished=finished))

    trouble = json.loads(capsys.readouterr().out)["trouble"]
    assert trouble == asdict(TROUBLE)
    assert trouble["worse_than"] == "guessing"


def test_quiet_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with closing(make_display(quiet=True, as_json=False)) as display:
        for report in (OPENED, STARTED, PROGRESS, EVALUATION, WRITTEN, RUN_FINISHED):
            display.show(report)

    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("quiet", "as_json", "kind"),
    [(False, True, JsonLines), (True, True, JsonLines), (True, False, Silent)],
)
def test_flags_go_before_the_terminal(quiet: bool, as_json: bool, kind: type) -> None:
    assert type(make_display(quiet=quiet, as_json=as_json)) is kind


def test_a_text_that_is_being_read_is_named() -> None:
    assert "reading book.txt, ␛[31m.txt …" in on_a_panel(Reading(["book.txt", "\x1b[31m.txt"]))


@pytest.mark.parametrize(
    ("is_terminal", "term", "kind"),
    [(True, "xterm", LivePanel), (True, "dumb", PlainLines), (False, "xterm", PlainLines)],
)
def test_without_flags_a_terminal_gets_the_panel_and_all_else_the_lines(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, term: str, kind: type
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # colours make no terminal of a file
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stderr.isatty", lambda: is_terminal, raising=False)

    display = make_display(quiet=False, as_json=False)

    assert type(display) is kind
