"""charrnn info and charrnn list: what is shown of models and runs, damaged and missing ones too."""

from __future__ import annotations

import io
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli import console
from charrnn.storage import format_bytes
from charrnn.text.vocab import Vocab
from tests.cli.program import Text, complaint, end_of, objects_of, output_of

Make = Callable[..., ModelFile]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which a model was trained, on book.txt, and its run book."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "book.txt").write_text("ab éa\n" * 250, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        reports = charrnn.train("book.txt", steps=6, hidden_size=8, precision="fp32", threads=1)
        assert [type(report).__name__ for report in reports][-1] == "RunFinished"
    return folder


@pytest.fixture
def new_york(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let local time be five hours behind UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "EST5")
        time.tzset()
        yield
    time.tzset()


# ── info ──


def test_info_gives_shape_and_figures_as_json(trained: Path, capsys: Text) -> None:
    path = trained / "checkpoints" / "book"

    (description,) = objects_of(capsys, "info", str(path))

    assert description["path"] == str(path / "best.safetensors")
    assert {key: description[key] for key in ("cell", "hidden_size", "num_layers", "step")} == {
        "cell": "lstm",
        "hidden_size": 8,
        "num_layers": 1,
        "step": 6,
    }
    assert description["alphabet"] == "\n abé"
    assert description["vocab_size"] == 5
    assert description["parameters"] == 5 * 8 + 4 * 8 * (8 + 8 + 2) + 8 * 5 + 5
    assert description["val_bpc"] == pytest.approx(description["val_nats"] / 0.6931471805599453)
    assert description["val_windowed_nats"] == pytest.approx(description["val_nats"], abs=0.1)
    assert description["chars_seen"] > 6 * 8


def test_info_shows_the_newest_run_where_none_is_named(runs: list[RunFolder], capsys: Text) -> None:
    assert objects_of(capsys, "info")[0]["path"] == str(runs[0].states[0])


def test_info_prefers_the_best_model_of_a_run_to_the_last(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    runs[1].save_best(make_model(step=3))

    assert objects_of(capsys, "info", "alpha")[0]["step"] == 3


def test_info_tells_parameters_in_n_grams_apart(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    runs[1].save_best(make_model(num_layers=1, ngram_order=3, ngram_rows=400))

    line = output_of(capsys, "info", "alpha").splitlines()[0].rstrip()

    dense = 5 * 3 + 4 * 4 * (3 + 4 + 2) + 4 * 5 + 5
    assert line.endswith(f"units, {dense} parameters + 1.2k in n-grams up to 3")


def test_info_of_a_model_of_bytes_counts_them(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    runs[1].save_best(replace(make_model(vocab_size=256), vocab=Vocab.of_bytes()))

    lines = output_of(capsys, "info", "alpha").splitlines()
    assert ["alphabet", "the", "256", "bytes"] in [line.split() for line in lines]


def test_info_tells_a_person_ten_things(
    trained: Path, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)

    lines = [line.strip() for line in output_of(capsys, "info", "book").splitlines()]

    assert [line.split("  ")[0] for line in lines] == [
        *("model", "text", "alphabet", "trained", "settings", "score"),
        *(lines[6], lines[7], "file", "to continue"),
    ]
    assert lines[0].endswith("lstm, 1 layer of 8 units, 661 parameters")
    assert lines[1].endswith("book: 1,350 characters, 150 more held out")
    assert re.search(r"6 steps in 0:0\d, 1\.\d epochs", lines[3])
    assert re.search(r"\d\.\d{3} bits per character on text it never saw$", lines[5])
    assert re.match(r"(\d\.\d{3}) nats per character, \d\.\d{3} bits per byte$", lines[6])
    assert re.match(r"a choice of [345]\.\d characters \(English prose: letters at 3", lines[7])
    path = Path("checkpoints", "book", "best.safetensors")
    assert re.search(rf"{path} \([\d.]+ kB, saved 20\d\d-\d\d-\d\d \d\d:\d\d\)$", lines[8])
    assert "finished; charrnn train --resume book with a longer --budget" in lines[9]


def test_info_shows_the_settings_that_were_in_force(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    model = make_model()
    resolved = {"learning_rate": 2e-5, "batch_size": 16, "seq_len": 64, "dropout": 0.1, "x": 1}
    runs[0].save_best(replace(model, summary=model.summary | {"resolved": resolved}))

    shown = output_of(capsys, "info", "beta")

    assert "learning rate 2e-05, lanes 16, window 64, dropout 0.1\n" in re.sub(" +\n", "\n", shown)


def test_info_names_the_command_that_continues_a_run(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    progress = {"step": 372, "plan": {"total_steps": 3843}, "is_finished": False}
    runs[0].save_state(replace(make_model(), progress=progress), step=372, kept=1)
    runs[1].save_best(make_model())
    runs[1].states[0].unlink()

    assert "charrnn train --resume beta (372 of 3,843 steps made)" in output_of(
        capsys, "info", "beta"
    )
    assert f"no training state; charrnn train TEXT --init-from {runs[1].best}" in output_of(
        capsys, "info", "alpha"
    )


def test_info_shows_a_person_every_field(runs: list[RunFolder], capsys: Text) -> None:
    shown = output_of(capsys, "info", "beta", "--all")
    rows = [line.split(maxsplit=1) for line in shown.splitlines()]

    table = {row[0]: row[1].strip() for row in rows}
    assert table["path"] == str(runs[0].states[0])
    assert (table["hidden_size"], table["step"], table["val_nats"]) == ("4", "20", "2.0000")
    assert table["alphabet"] == "␤ abé"
    assert table["corpus.name"] == "book"


def test_info_lets_no_control_character_of_a_file_through(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    model = make_model()
    summary = model.summary | {"corpus": {"name": "\x1b[31mred[/red]"}}
    runs[0].save_state(replace(model, summary=summary), step=20, kept=2)

    shown = output_of(capsys, "info", "beta") + output_of(capsys, "list")

    assert "\x1b" not in shown
    assert shown.count("␛[31mred[/red]") == 2


# ── list ──


def test_list_has_the_newest_run_first(runs: list[RunFolder], capsys: Text) -> None:
    rows = objects_of(capsys, "list")

    assert [row["name"] for row in rows] == ["beta", "alpha", "gamma"]
    assert rows[2] == {
        "name": "gamma",
        "corpus": "book",
        "model": "lstm 2×4",
        "parameters": 344,
        "step": 22,
        "val_bpc": pytest.approx(2.25 / 0.6931471805599453),
        "scores": {},
        "created": "2031-02-03T04:05:06+00:00",
        "last_step": 22,
        "total_steps": None,
        "is_finished": False,
        "elapsed_seconds": None,
        "saved": "2031-02-03T04:05:06+00:00",
        "task": "text",
        "cell": "lstm",
        "disk_bytes": sum(path.stat().st_size for path in runs[2].path.iterdir()),
    }


def test_list_shows_a_person_one_line_a_run(
    runs: list[RunFolder], capsys: Text, make_model: Make, new_york: None
) -> None:
    progress = {"step": 20, "plan": {"total_steps": 3843}}
    model = make_model(step=7, val_nats=2.0)
    timed = replace(model, summary=model.summary | {"elapsed_seconds": 75.4})
    runs[0].save_best(timed)
    runs[0].save_state(replace(timed, progress=progress), step=20, kept=1)
    ended = replace(timed, progress=progress | {"is_finished": True})
    runs[1].save_state(ended, step=21, kept=1)

    lines = [line.split() for line in output_of(capsys, "list").splitlines()]

    when = ["2031-02-02", "23:05"]
    sizes = [format_bytes(runs[i].disk_bytes).split() for i in (1, 0, 2)]
    assert [line for line in lines if line and line[0] in {"alpha", "beta", "gamma"}] == [
        ["alpha", "book", "lstm", "2×4", "2.885", "all", "20", "1:15", *sizes[0], *when],
        ["beta", "book", "lstm", "2×4", "2.885", "20", "of", "3,843", "1:15", *sizes[1], *when],
        ["gamma", "book", "lstm", "2×4", "3.246", "22", "of", "?", *sizes[2], *when],
    ]


def test_list_names_the_text_where_a_run_is_not_named_after_it(
    runs: list[RunFolder], capsys: Text
) -> None:
    heading = output_of(capsys, "list").splitlines()[0]
    for run in runs:
        run.path.rename(run.path.with_name(f"book-{run.name}"))

    assert "corpus" in heading
    assert "corpus" not in output_of(capsys, "list")


@pytest.mark.parametrize(
    ("columns", "left_out"),
    [(100, []), (60, ["corpus", "size"]), (50, ["corpus", "time", "size"])],
)
def test_list_leaves_columns_out_rather_than_breaking_a_name(
    runs: list[RunFolder],
    capsys: Text,
    monkeypatch: pytest.MonkeyPatch,
    make_model: Make,
    columns: int,
    left_out: list[str],
) -> None:
    for run in runs:
        timed = make_model(step=7, val_nats=2.0)
        run.save_best(replace(timed, summary=timed.summary | {"elapsed_seconds": 75.4}))
        run.path.rename(run.path.with_name(f"{run.name}-of-tales"))
    monkeypatch.setattr(console, "make_stdout", lambda _=0: console.Output(width=columns))

    shown = output_of(capsys, "list")

    headings = shown.splitlines()[0].split()
    assert [name for name in ("corpus", "time", "size") if name not in headings] == left_out
    assert "beta-of-tales" in shown


def test_list_can_begin_with_the_best_run(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    runs[2].save_best(make_model(val_nats=1.0))
    runs[0].save_best(make_model(val_nats=math.nan))

    rows = objects_of(capsys, "list", "--sort", "bpc")

    assert [row["name"] for row in rows] == ["gamma", "alpha", "beta"]


def test_list_can_begin_with_the_largest_run(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    runs[1].save_best(make_model())

    rows = objects_of(capsys, "list", "--sort", "size")

    assert rows[0]["name"] == "alpha"
    sizes = [row["disk_bytes"] for row in rows]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        (["*a"], ["alpha", "beta", "gamma"]),
        (["al*", "gamma"], ["alpha", "gamma"]),
        (["--cell", "lstm"], ["alpha", "beta", "gamma"]),
        (["--cell", "gru"], []),
        (["--task", "tagging"], []),
        (["--corpus", "book", "b*"], ["beta"]),
        (["--corpus", "letters"], []),
        (["--unfinished"], ["beta", "gamma"]),
    ],
)
def test_list_shows_the_runs_that_fit(
    runs: list[RunFolder],
    capsys: Text,
    make_model: Make,
    filters: list[str],
    names: list[str],
) -> None:
    progress = {"step": 22, "is_finished": True}
    runs[1].save_state(replace(make_model(), progress=progress), step=22, kept=1)

    assert end_of("list", "--json", *filters) == 0

    out, err = capsys.readouterr()
    assert sorted(json.loads(line)["name"] for line in out.splitlines()) == names
    if not names:
        assert "none of 3 runs in" in err or not err


def test_list_says_how_much_disk_the_runs_take(
    runs: list[RunFolder], capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "is_screen", lambda _: True)

    assert end_of("list") == 0

    total = format_bytes(sum(run.disk_bytes for run in runs))
    assert capsys.readouterr().err == f"3 runs, {total} in checkpoints\n"


def test_remove_removes_the_named_runs(runs: list[RunFolder], capsys: Text) -> None:
    assert end_of("remove", "alpha", "gamma", "--yes") == 0

    assert "removed checkpoints/alpha (" in capsys.readouterr().err
    assert [row["name"] for row in objects_of(capsys, "list")] == ["beta"]


def test_remove_takes_no_file_for_its_run(runs: list[RunFolder], capsys: Text) -> None:
    code, line = complaint(capsys, "remove", "checkpoints/alpha/best.safetensors", "--yes")

    assert code == 2
    assert "is a file of the run 'alpha'; for the whole run, give its name or folder" in line
    assert end_of("remove", "checkpoints/beta", "--yes") == 0
    capsys.readouterr()
    assert {row["name"] for row in objects_of(capsys, "list")} == {"alpha", "gamma"}


def test_remove_asks_first(
    runs: list[RunFolder], capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    monkeypatch.setattr(sys, "stderr", err := Terminal())

    assert end_of("remove", "alpha") == 130

    assert "alpha: lstm 2×4, 21 of ? steps, " in err.getvalue()
    assert "Remove 1 run? [y/N]" in err.getvalue()
    assert runs[1].has_model


def test_remove_wants_yes_where_nobody_can_answer(runs: list[RunFolder], capsys: Text) -> None:
    code, line = complaint(capsys, "remove", "alpha")

    assert code == 2
    assert "give --yes" in line
    assert runs[1].has_model


def test_list_names_a_damaged_run_and_shows_the_others(runs: list[RunFolder], capsys: Text) -> None:
    runs[0].states[0].write_bytes(runs[0].states[0].read_bytes()[:-1])

    rows = objects_of(capsys, "list")

    errors_by_name = {row["name"]: row.get("error") for row in rows}
    assert "is damaged" in errors_by_name.pop("beta")
    assert errors_by_name == {"alpha": None, "gamma": None}


def test_list_shows_a_file_of_nonsense_with_a_right_checksum_as_damaged(
    runs: list[RunFolder], capsys: Text, make_model: Make
) -> None:
    model = make_model()
    forged = replace(model, summary=model.summary | {"val_bpc": "x"})
    runs[0].save_state(forged, step=20, kept=2)

    shown = output_of(capsys, "list")

    assert "is damaged: it does not say how it was trained" in shown
    assert "3.066" in shown


def test_list_of_no_runs_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    monkeypatch.chdir(tmp_path)

    assert end_of("list") == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        f"no runs in {tmp_path / 'checkpoints'}. Runs are kept in the folder where"
    )
    assert err.endswith("pass --checkpoints FOLDER. To make one: charrnn train corpus.txt\n")


@pytest.mark.parametrize("command", ["list", "info"])
def test_the_folder_of_runs_can_be_named(
    runs: list[RunFolder], capsys: Text, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    there = output_of(capsys, command, "--json")
    Path("checkpoints").rename("elsewhere")
    by_option = output_of(capsys, command, "--json", "--checkpoints", "elsewhere")
    monkeypatch.setenv("CHARRNN_CHECKPOINTS", "elsewhere")

    assert by_option == there.replace("checkpoints", "elsewhere")
    assert output_of(capsys, command, "--json") == by_option


# ── damaged and missing files ──


@pytest.mark.parametrize("command", ["info", "sample", "eval"])
@pytest.mark.parametrize("damage", [b"", b"no model at all", None], ids=["empty", "other", "bit"])
def test_a_damaged_file_ends_with_4_and_one_line(
    runs: list[RunFolder], capsys: Text, command: str, damage: bytes | None
) -> None:
    raw = bytearray(runs[0].states[0].read_bytes())
    raw[-9] ^= 1
    runs[0].states[0].write_bytes(raw if damage is None else damage)

    code, line = complaint(capsys, command, "beta")

    assert code == 4
    assert str(runs[0].states[0]) in line


@pytest.mark.parametrize("command", ["info", "sample", "eval"])
def test_a_missing_model_ends_with_4_and_one_line(
    runs: list[RunFolder], capsys: Text, command: str
) -> None:
    code, line = complaint(capsys, command, "delta")

    assert code == 4
    assert "there is no run or model file 'delta'" in line


@pytest.mark.parametrize("command", [["list"], ["info"], ["sample"], ["info", "beta"]])
def test_a_folder_that_cannot_be_read_ends_with_4_and_one_line(
    command: list[str], capsys: Text
) -> None:
    code, line = complaint(capsys, *command, "--checkpoints", "x" * 300)

    assert code == 4
    assert line.startswith("charrnn: cannot read xxx")
    assert line.endswith("x: File name too long\n")
