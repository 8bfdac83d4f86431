"""charrnn fill: which text, what is shown of its completions and how, and what is refused."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.generation.network import Network
from charrnn.text.vocab import Vocab
from tests.cli.program import Text, complaint, end_of, give_input, objects_of, run_without

Make = Callable[..., ModelFile]


@pytest.fixture(autouse=True)
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Make) -> None:
    """Stand in a folder with three runs: `tiny` knows newline, space, a, b, é; `newest` _ too."""
    monkeypatch.chdir(tmp_path)
    of_bytes = replace(make_model(vocab_size=256), vocab=Vocab.of_bytes())
    RunFolder(Path("checkpoints/bytes")).save_best(of_bytes)
    RunFolder(Path("checkpoints/tiny")).save_best(make_model())
    other = replace(make_model(), vocab=Vocab("\x1b_abé"))
    RunFolder(Path("checkpoints/newest")).save_best(other)


def shown_by(capsys: Text, *arguments: str) -> tuple[list[str], str]:
    """Return the lines of stdout, and stderr, of a command that ends well."""
    assert end_of("fill", *arguments) == 0
    out, err = capsys.readouterr()
    return out.splitlines(), err


# ── what is shown ──


def test_a_person_sees_a_row_for_each_completion(capsys: Text) -> None:
    best, second = charrnn.load("tiny").fill("a_b", count=2).completions

    rows, note = shown_by(capsys, "tiny", "a_b", "-n", "2")

    assert rows[0].split() == ["share", "bits", "bpc", "text"]
    for row, each in zip(rows[1:], (best, second), strict=True):
        figures, text = row[:25].split(), row[27:]
        shown = f"{100 * each.share:.2f}%", f"{each.bits:.3f}", f"{each.bpc:.3f}"
        assert tuple(figures) == shown
        assert text == each.text.replace("\n", "␤")
    assert note == "no other completion is more probable; shares are of 5 completions found\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a__", "--beam", "2", "-n", "2"], "these may not be the very best; --beam 20 searches"),
        (["a__", "--sample"], "sampled from all 25 completions that fit"),
        (["a__", "--sample", "--beam", "9"], "sampled from 9 completions that represent all"),
    ],
)
def test_what_is_known_of_them_is_said_on_stderr(
    capsys: Text, arguments: list[str], words: str
) -> None:
    assert shown_by(capsys, "tiny", *arguments)[1].startswith(words)


def test_json_has_all_of_a_completion(capsys: Text) -> None:
    expected = charrnn.load("tiny").fill("a_*b", count=3, max_gap=2)

    found = objects_of(capsys, "fill", "tiny", "a_*b", "-n", "3", "--max-gap", "2")

    for index, (each, given) in enumerate(zip(expected.completions, found, strict=True)):
        (_, second) = each.filled
        assert given == {
            "index": index,
            "text": each.text,
            "filled": [each.text[1], each.text[second[0] : second[1]]],
            "bits": each.bits,
            "bpc": each.bpc,
            "share": each.share,
            "exact": expected.is_exact,
        }


def test_samples_name_the_seed_that_repeats_them(capsys: Text) -> None:
    samples = objects_of(capsys, "fill", "tiny", "____", "--sample", "-n", "9")
    (seed,) = {str(each["seed"]) for each in samples}

    assert (
        objects_of(capsys, "fill", "tiny", "____", "--sample", "-n", "9", "--seed", seed) == samples
    )
    assert objects_of(capsys, "fill", "tiny", "____", "--sample", "-n", "9") != samples


def test_a_temperature_near_zero_samples_the_likeliest(capsys: Text) -> None:
    (best,) = objects_of(capsys, "fill", "tiny", "a__", "-n", "1")

    samples = objects_of(
        capsys, "fill", "tiny", "a__", "--sample", "--temp", "0.001", "--seed", "1"
    )

    assert {each["text"] for each in samples} == {best["text"]}


def test_what_fills_the_blanks_is_marked_on_a_terminal(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    (best,) = objects_of(capsys, "fill", "tiny", "a_b_", "-n", "1", "--only", "é")
    rows, _ = shown_by(capsys, "tiny", "a_b_", "-n", "1", "--only", "é")

    assert best["text"] == "aébé"
    assert rows[1].endswith("  a\x1b[1;4mé\x1b[0mb\x1b[1;4mé\x1b[0m")


def test_no_completion_commands_the_terminal(capsys: Text) -> None:
    rows, _ = shown_by(capsys, "newest", "?a", "--blank", "?", "-n", "9")

    assert any("␛a" in row for row in rows)
    assert not any("\x1b" in row for row in rows)


# ── which text, which model ──


def test_one_name_is_the_text_and_the_newest_run_fills_it(capsys: Text) -> None:
    newest = objects_of(capsys, "fill", "newest", "?a", "--blank", "?")

    assert objects_of(capsys, "fill", "?a", "--blank", "?") == newest
    assert newest != objects_of(capsys, "fill", "tiny", "?a", "--blank", "?")


def test_standard_input_is_read_with_its_line_end(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = objects_of(capsys, "fill", "tiny", "é_\n*b\n", "--max-gap", "1")
    give_input(monkeypatch, "é_\r\n*b\r\n".encode())

    assert objects_of(capsys, "fill", "tiny", "-", "--max-gap", "1") == expected


def test_other_signs_a_line_and_sets_of_characters_count(capsys: Text) -> None:
    arguments = ["--blank", "?", "--gap", "", "--line", "--ban", "letters", "-n", "99"]

    texts = {each["text"] for each in objects_of(capsys, "fill", "tiny", "a?é", *arguments)}

    assert texts == {"a é\n"}


def test_unseen_characters_around_a_blank_can_be_mapped(capsys: Text) -> None:
    expected = objects_of(capsys, "fill", "tiny", "ab_é")

    assert end_of("fill", "tiny", "aB_É", "--unknown", "map", "--json") == 0

    out, err = capsys.readouterr()
    assert err == "mapped: B → b (1 time), É → é (1)\n"
    assert [json.loads(line) for line in out.splitlines()] == expected
    assert "pass --unknown map (B → b)" in complaint(capsys, "fill", "tiny", "aB_")[1]


@pytest.mark.parametrize("view", [[], ["--json"]])
def test_a_file_holds_what_stdout_would(capsys: Text, view: list[str]) -> None:
    assert end_of("fill", "tiny", "a_", *view) == 0
    expected = capsys.readouterr().out

    assert end_of("fill", "tiny", "a_", *view, "-o", "out.txt") == 0

    assert capsys.readouterr().out == ""
    assert Path("out.txt").read_text("utf-8") == expected
    assert end_of("fill", "tiny", "a_", "-o", "checkpoints") == 2


# ── what is refused ──


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "got 0 arguments; give a model and a text, or only a text"),
        (["tiny", "a_", "b_"], 2, "got 3 arguments"),
        (["tiny", "ab"], 2, "nothing to fill: write _ for an unknown character or * for any"),
        (["tiny", r"a\nb_"], 2, r"TEXT is a\nb_ with backslashes, which are taken literally"),
        (["tiny", "a*"], 2, "ends with the gap *, which nothing ends"),
        (["tiny", "q_"], 3, "the model never saw 'q'"),
        (["tiny", "a_", "--temp", "2"], 2, "--temp needs --sample; add --sample, or remove --temp"),
        (["tiny", "a_", "--seed", "2"], 2, "--seed needs --sample"),
        (["tiny", "a_", "--blank", "ab"], 2, "blank is 'ab'; it must be one character"),
        (["tiny", "a_", "--beam", "0"], 2, "--beam"),
        (["nothing", "a_"], 4, "nothing"),
        (["bytes", "a_"], 2, "fill works with characters, and this model is of bytes"),
    ],
)
def test_what_cannot_be_done_is_refused(
    capsys: Text, arguments: list[str], code: int, words: str
) -> None:
    ended, line = complaint(capsys, "fill", *arguments)

    assert ended == code
    assert words in line


@pytest.mark.parametrize(
    ("raw", "words"),
    [(b"a_\xff", "not UTF-8 (byte 2)"), (b"_" * (1 << 20) + b"a", "give at most 10,000")],
)
def test_standard_input_that_is_no_text_is_refused(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, raw: bytes, words: str
) -> None:
    give_input(monkeypatch, raw)

    code, line = complaint(capsys, "fill", "tiny", "-")

    assert code == 2
    assert words in line


def test_closed_standard_input_is_refused(capsys: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)

    assert "standard input is closed" in complaint(capsys, "fill", "tiny", "-")[1]


def test_too_wide_a_beam_for_the_memory_is_refused(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(Network, "advance_all", read)

    code, line = complaint(capsys, "fill", "tiny", "__", "--beam", "20000")

    assert code == 6
    assert "no memory to keep 20,000 partial texts; lower --beam or --max-gap" in line


def test_a_setting_of_sample_in_the_environment_is_no_mistake(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_TEMPERATURE", "0.5")
    monkeypatch.setenv("CHARRNN_SEED", "1")

    assert len(objects_of(capsys, "fill", "tiny", "a_", "-n", "2")) == 2


def test_it_runs_without_torch() -> None:
    run_without("torch", "fill", "tiny", "a_")
