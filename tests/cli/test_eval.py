"""charrnn eval: which text is scored, by whom, what is shown, and every way it is refused."""

from __future__ import annotations

import json
import shutil
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import charrnn
from tests.cli.program import Text, complaint, end_of

SETTINGS: dict[str, Any] = {"steps": 6, "precision": "fp32", "threads": 1}
BOOK = "ab éa\n" * 250
LINES = [f"ab {'éab'[i % 3 :]}{'a' * (i % 17)}\n" for i in range(400)]


def output_of(capsys: Text, *arguments: str) -> str:
    """Return what a command writes to stdout; to stderr at most that its models differ."""
    assert end_of(*arguments) == 0
    out, err = capsys.readouterr()
    assert not err or err.startswith("these models differ in ")
    return out


def objects_of(capsys: Text, *arguments: str) -> list[dict[str, Any]]:
    """Return the JSON objects that a command writes."""
    return [json.loads(line) for line in output_of(capsys, *arguments, "--json").splitlines()]


def test_models_that_differ_in_more_than_their_seed_are_told_apart(capsys: Text) -> None:
    assert end_of("eval", "book", "gru") == 0
    note = capsys.readouterr().err

    assert note.startswith("these models differ in ")
    assert "cell" in note
    assert "seed," not in note


def train(corpus: str, name: str, **settings: Any) -> None:
    """Leave a run of that name in checkpoints/."""
    sizes = {"hidden_size": 8} | SETTINGS | settings
    assert [type(r).__name__ for r in charrnn.train(corpus, name=name, **sizes)][
        -1
    ] == "RunFinished"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with texts and the runs trained on them there."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARRNN_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        Path("book.txt").write_text(BOOK, encoding="utf-8")
        Path("other.txt").write_text(BOOK + "ab", encoding="utf-8")
        Path("more.txt").write_text(BOOK + "z", encoding="utf-8")
        train("book.txt", "book")
        train("book.txt", "gru", cell="gru", hidden_size=6, seed=2)
        train("book.txt", "wide", hidden_size=12, seed=3)
        train("book.txt", "fifth", val_fraction=0.2, steps=1)
        train("book.txt", "nfc", normalize="nfc", steps=1)
        train("book.txt", "held", val_file="other.txt", steps=1)
        Path("list.txt").write_text("".join(LINES), encoding="utf-8")
        train("list.txt", "ended", document_end="\n", steps=1)
        train("list.txt", "lined", lines=True, steps=1)
        train("other.txt", "other", steps=1)
        train("more.txt", "more", steps=1)
    return folder


@pytest.fixture(autouse=True)
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "120")
    yield
    Path("book.txt").write_text(BOOK, encoding="utf-8")


def evaluate(capsys: Text, *arguments: str) -> dict[str, Any]:
    """Return the JSON object of a command that ends well."""
    (result,) = objects_of(capsys, "eval", *arguments)
    return result


def info_of(capsys: Text, run: str) -> dict[str, Any]:
    (description,) = objects_of(capsys, "info", run)
    return description


# ── which text ──


def test_without_a_text_it_is_what_training_held_out(capsys: Text) -> None:
    info = info_of(capsys, "book")

    result = evaluate(capsys, "book")

    (model,) = result["models"]
    assert (result["texts"], result["split"]) == (["book.txt"], "val")
    assert model["carried"]["nats"] == pytest.approx(info["val_nats"], rel=1e-6)
    assert model["windowed"]["nats"] == pytest.approx(info["val_windowed_nats"], rel=1e-6)
    assert result["chars"] == info["corpus"]["val_chars"] - 1


@pytest.mark.parametrize("split", ["tail", "blocks", "records"])
@pytest.mark.parametrize("lines", [False, True])
def test_the_test_part_is_scored_and_is_none_of_the_others(
    capsys: Text, split: str, lines: bool
) -> None:
    run = f"three-{split}-{lines}"
    given = 0 if lines else 1  # character of each part, where the end before a record is none
    Path("lines.txt").write_text("".join(f"{i:b}\n" for i in range(300)))
    train("lines.txt", run, steps=1, test_fraction=0.2, split=split, lines=lines)

    chars = {
        part: evaluate(capsys, run, "--split", part)["chars"] + given
        for part in ("train", "val", "test", "all")
    }

    assert chars.pop("all") == sum(chars.values()) == Path("lines.txt").stat().st_size
    corpus = info_of(capsys, run)["corpus"]
    assert chars == {part: corpus[f"{part}_chars"] for part in ("train", "val", "test")}
    shown = output_of(capsys, "eval", run, "--split", "test")
    assert shown.endswith(", the test part of lines.txt\n")


def test_the_tail_of_another_text_is_cut_as_training_would(capsys: Text) -> None:
    train("book.txt", "thirds", steps=1, test_fraction=0.2, val_fraction=0.3, split="tail")
    named = ["thirds", "--text", BOOK[:100] + "ß"]

    results = [evaluate(capsys, *named, "--split", part) for part in ("train", "val", "test")]

    assert [(each["chars"] + 1, each["unseen_chars"]) for each in results] == [
        (50, 0),
        (30, 0),
        (20, 1),
    ]


@pytest.mark.parametrize(
    ("named", "way_out"),
    [([], "score another text by --file"), (["--file", "book.txt"], "leave --split out")],
)
def test_a_run_without_a_test_part_says_so(capsys: Text, named: list[str], way_out: str) -> None:
    code, line = complaint(capsys, "eval", "book", *named, "--split", "test")

    assert code == 3
    assert "book was trained with no test part; train with --test-fraction, or " + way_out in line


@pytest.mark.parametrize("named", [[], ["--file", "book.txt"]], ids=["own", "named"])
def test_the_splits_and_the_whole_count_each_character_once(capsys: Text, named: list[str]) -> None:
    parts = ("train", "val", "all")
    counts = [evaluate(capsys, "book", *named, "--split", s)["chars"] + 1 for s in parts]

    assert counts == [1350, 150, 1500]


def test_a_named_text_is_scored_as_a_whole(capsys: Text) -> None:
    result = evaluate(capsys, "book", "--file", "other.txt", "--file", "book.txt")

    assert result["texts"] == ["other.txt", "book.txt"]
    assert (result["split"], result["chars"]) == ("all", 1502 + 1 + 1500 - 1)


def test_a_text_that_is_named_twice_is_read_and_shown_once(capsys: Text) -> None:
    result = evaluate(capsys, "book", "--file", "book.txt", "--file", "book.txt")

    assert (result["texts"], result["chars"]) == (["book.txt"], 1499)


@pytest.mark.parametrize(("content", "is_enough"), [("好", False), ("é", False), ("好a", True)])
def test_a_character_of_several_tokens_is_one_to_score(
    capsys: Text, tmp_path: Path, content: str, is_enough: bool
) -> None:
    train("book.txt", "bytes", steps=1, min_count=9999, checkpoints=str(tmp_path))
    (text := tmp_path / "text.txt").write_text(content, encoding="utf-8")
    arguments = [str(tmp_path / "bytes"), "--file", str(text)]

    if is_enough:
        assert evaluate(capsys, *arguments)["chars"] == 1
    else:
        code, line = complaint(capsys, "eval", *arguments)
        assert code == 3
        assert "leaves 1 character to score; at least 2 are needed" in line


def test_a_text_held_out_as_a_file_is_found_again(capsys: Text) -> None:
    info = info_of(capsys, "held")

    result = evaluate(capsys, "held")

    assert (result["texts"], result["chars"]) == (["other.txt"], 1502 - 1)
    assert result["models"][0]["carried"]["nats"] == pytest.approx(info["val_nats"], rel=1e-6)
    assert evaluate(capsys, "held", "--split", "all")["chars"] == 1500 + 1502 - 1


def test_a_text_in_another_encoding_is_scored_the_same(capsys: Text, tmp_path: Path) -> None:
    latin = tmp_path / "latin.txt"
    latin.write_bytes(BOOK.encode("latin-1"))

    result = evaluate(capsys, "book", "--file", str(latin), "--encoding", "latin-1")

    assert result["models"] == evaluate(capsys, "book", "--file", "book.txt")["models"]


def test_reading_the_own_text_does_not_need_the_ids_of_training(
    capsys: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = evaluate(capsys, "book")
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "empty"))

    assert evaluate(capsys, "book") == before


def test_a_literal_text_is_scored_as_a_file_of_it_is(capsys: Text, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("ab éa\nb", encoding="utf-8")

    result = evaluate(capsys, "book", "--text", "ab éa\nb")

    assert (result["texts"], result["split"], result["chars"]) == (["text given"], "all", 6)
    assert result["models"] == evaluate(capsys, "book", "--file", str(file))["models"]


# ── what is shown ──


def test_the_figures_are_one_number_in_three_units(capsys: Text) -> None:
    (model,) = evaluate(capsys, "book", "--dynamic")["models"]

    for protocol in ("carried", "windowed", "dynamic"):
        figures = model[protocol]
        assert 2 ** figures["bpc"] == pytest.approx(figures["perplexity"])
        assert figures["bpc"] * 0.6931471805599453 == pytest.approx(figures["nats"])


def test_several_models_are_followed_by_their_ensemble(capsys: Text) -> None:
    alone = [evaluate(capsys, name)["models"][0] for name in ("book", "gru")]

    result = evaluate(capsys, "book", "gru")

    assert result["models"] == alone
    assert (result["ensemble"]["model"], result["ensemble"]["path"]) == ("ensemble of 2", None)
    for protocol in ("carried", "windowed"):
        mean = sum(model[protocol]["nats"] for model in alone) / 2
        assert result["ensemble"][protocol]["nats"] < mean
    assert result["ensemble"]["dynamic"] is None


def test_mean_and_sd_are_of_the_figures_of_single_models(capsys: Text) -> None:
    result = evaluate(capsys, "book", "gru", "wide")

    assert [result[each]["model"] for each in ("mean", "sd")] == ["mean of 3", "sd of 3"]
    for unit in ("nats", "bpc", "perplexity", "bpc_with_unseen", "bits_per_byte"):
        figures = [model["windowed"][unit] for model in result["models"]]
        assert result["mean"]["windowed"][unit] == pytest.approx(statistics.mean(figures))
        assert result["sd"]["windowed"][unit] == pytest.approx(statistics.stdev(figures))  # n − 1
    shown = " ".join(output_of(capsys, "eval", "book", "gru", "wide").split())
    mean, sd = (result[each]["carried"]["bpc"] for each in ("mean", "sd"))
    assert "mean ± sd of 3 state carried windows of 256" in shown
    assert f" bits per character {mean:.4f} ± {sd:.4f} " in shown
    assert "ensemble of 3" in shown


def test_one_model_has_no_ensemble_mean_or_sd(capsys: Text) -> None:
    result = evaluate(capsys, "book")

    assert [result[each] for each in ("ensemble", "mean", "sd")] == [None] * 3
    assert "±" not in output_of(capsys, "eval", "book")


def test_bits_per_byte_share_the_bits_of_the_text_among_its_bytes(
    capsys: Text, tmp_path: Path
) -> None:
    train("book.txt", "spelled", steps=1, min_count=9999, checkpoints=str(tmp_path))
    text = "ab éa\nb 中"

    for model in (str(tmp_path / "spelled"), "book"):
        result = evaluate(capsys, model, "--text", text)
        known = text if model != "book" else text.removesuffix("中")
        scored = known[1:]
        carried = result["models"][0]["carried"]
        assert (result["chars"], result["utf8_bytes"]) == (len(scored), len(scored.encode()))
        assert carried["bits_per_byte"] == pytest.approx(
            carried["bpc"] * len(scored) / len(scored.encode())
        )
        (_, _, whole) = objects_of(capsys, "score", model, "--text", text, "--json")
        assert whole["utf8_bytes"] == result["utf8_bytes"]
        assert whole["bits_per_byte"] == pytest.approx(carried["bits_per_byte"], rel=1e-4)


def test_a_model_of_bytes_has_bits_per_byte_alone(capsys: Text, tmp_path: Path) -> None:
    train("book.txt", "raw", steps=1, unit="byte", checkpoints=str(tmp_path))

    result = evaluate(capsys, str(tmp_path / "raw"), "--text", "ab é")

    assert (result["chars"], result["utf8_bytes"]) == (4, 4)
    shown = output_of(capsys, "eval", str(tmp_path / "raw"), "--text", "ab é")
    assert " byte" not in shown


def test_bits_per_byte_are_shown_where_they_differ(capsys: Text) -> None:
    figure = evaluate(capsys, "book")["models"][0]["carried"]["bits_per_byte"]
    shown = output_of(capsys, "eval", "book")
    assert f" {figure:.4f} " in shown
    assert "byte" in shown
    assert "byte" not in output_of(capsys, "eval", "book", "--text", "ab a")


def test_model_is_the_name_given_and_path_the_file(capsys: Text) -> None:
    path = str(Path("checkpoints/book/best.safetensors"))
    (eval_row,) = evaluate(capsys, "book")["models"]
    (*_, named) = objects_of(capsys, "score", "book", "book.txt", "--json")
    (*_, newest) = objects_of(capsys, "score", "book.txt", "--json")

    assert (eval_row["model"], eval_row["path"]) == ("book", path)
    assert (named["model"], named["path"], named["texts"]) == ("book", path, ["book.txt"])
    assert newest["path"] == str(Path("checkpoints", newest["model"], "best.safetensors"))
    assert info_of(capsys, "book")["path"] == path


def test_dynamic_figures_stand_apart_from_the_static_ones(capsys: Text) -> None:
    static = evaluate(capsys, "book", "gru")

    result = evaluate(capsys, "book", "gru", "--dynamic", "--dynamic-rate", "0.01")

    rows = [*result["models"], *(result[each] for each in ("ensemble", "mean", "sd"))]
    learned = [row.pop("dynamic") for row in rows]
    befores = [*static["models"], *(static[each] for each in ("ensemble", "mean", "sd"))]
    for row, before in zip(rows, befores, strict=True):
        assert before.pop("dynamic") is None
        assert row == before
    assert all(
        figures["nats"] < row["carried"]["nats"]
        for figures, row in zip(learned[:4], rows[:4], strict=True)
    )


def test_a_rate_of_0_learns_nothing(capsys: Text) -> None:
    (model,) = evaluate(capsys, "book", "--dynamic", "--dynamic-rate", "0")["models"]

    assert model["dynamic"]["nats"] == pytest.approx(model["carried"]["nats"], abs=1e-5)


def test_dynamic_leaves_the_model_file_as_it_was(capsys: Text) -> None:
    files = {path: path.read_bytes() for path in Path("checkpoints/book").iterdir()}

    evaluate(capsys, "book", "--dynamic")

    assert {path: path.read_bytes() for path in Path("checkpoints/book").iterdir()} == files


def test_a_person_sees_a_row_for_each_model_and_protocol(capsys: Text) -> None:
    arguments = ["book", "gru", "--dynamic"]
    result = evaluate(capsys, *arguments)

    shown = output_of(capsys, "eval", *arguments)

    rows = [*result["models"], result["ensemble"]]
    labels = ["state carried", "windows of 256", "dynamic, state carried"]
    expected = [
        [
            label if row is rows[0] else "",
            row["model"],
            *(f"{row[key][unit]:.4f}" for unit in ("nats", "bpc", "bits_per_byte", "perplexity")),
        ]
        for label, key in zip(labels, ("carried", "windowed", "dynamic"), strict=True)
        for row in rows
    ]
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert [line for line in lines if line in {" ".join(e).strip() for e in expected}] == [
        " ".join(each).strip() for each in expected
    ]
    assert shown.endswith("over 149 characters, the val part of book.txt\n")


def test_unseen_characters_are_shown_apart(capsys: Text) -> None:
    result = evaluate(capsys, "book", "--text", "ab éaß—")

    shown = output_of(capsys, "eval", "book", "--text", "ab éaß—")

    (row,) = result["models"]
    assert (result["chars"], result["unseen_chars"]) == (4, 2)
    for protocol in ("carried", "windowed"):
        assert f"{row[protocol]['bpc_with_unseen']:.4f}" in shown
    assert shown.endswith(
        "over 4 characters, all of text given\n"
        f"2 characters the model never saw: {row['unseen_bits']:,.0f} bits, counted apart\n"
    )
    assert "never" not in output_of(capsys, "eval", "book", "--text", "ab éa")


def test_unknown_characters_can_be_refused_or_mapped(capsys: Text) -> None:
    code, line = complaint(capsys, "eval", "book", "--text", "AB éa", "--unknown", "error")
    assert code == 3
    assert "never saw 'A' (U+0041 LATIN CAPITAL LETTER A)" in line
    assert ": it knows only lower case; pass --unknown map (A → a, B → b)" in line

    assert end_of("eval", "book", "--text", "AB éa", "--unknown", "map", "--json") == 0
    out, err = capsys.readouterr()
    assert err == "mapped: A → a (1 time), B → b (1)\n"
    plain = evaluate(capsys, "book", "--text", "ab éa")
    assert json.loads(out) == plain | {"mapped": {"A → a": 1, "B → b": 1}}


# ── refusals ──


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"zzza", "leaves 1 character to score"),
        (b"a", "leaves 1 character to score"),
        (b"a\xe9b " * 9, "is not utf-8"),
    ],
    ids=["unseen", "short", "undecodable"],
)
def test_a_text_that_cannot_be_scored_ends_with_3(
    capsys: Text, tmp_path: Path, content: bytes, message: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(content)

    code, line = complaint(capsys, "eval", "book", "--file", str(text))

    assert code == 3
    assert message in line


def test_an_own_text_that_is_gone_ends_with_3(capsys: Text) -> None:
    Path("book.txt").unlink()

    code, line = complaint(capsys, "eval", "book")

    assert code == 3
    assert f"cannot find 'book.txt', of the text of book, in {Path.cwd()}; " in line
    assert "if you moved it: charrnn eval book --file NEW_PLACE --split val" in line


@pytest.mark.parametrize(
    ("texts", "settings"),
    [
        (["a.txt"], {}),
        (["a.txt"], {"split": "records", "test_fraction": 0.2}),
        (["stories"], {"test_fraction": 0.1}),
        (["stories"], {"document_end": "b\n", "min_count": 99}),
        (["stories"], {"lines": False}),
        (["stories", "a.txt"], {}),
        (["stories"], {"val_file": "held.txt"}),
        (["stories"], {"val_file": "held.txt", "test_fraction": 0.2}),
    ],
)
def test_a_text_that_was_moved_is_scored_by_the_command_that_the_message_names(
    capsys: Text,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    texts: list[str],
    settings: dict[str, Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text("".join(LINES) + "ab", encoding="utf-8")
    Path("held.txt").write_text(BOOK, encoding="utf-8")
    Path("stories").mkdir()
    for name in ("1.txt", "2.txt"):
        Path("stories", name).write_text("".join(LINES[len(name) :]), encoding="utf-8")
    train(texts, "moved", steps=1, **settings)  # type: ignore[arg-type]
    splits = ["val", "test"] if "test_fraction" in settings else ["val"]
    before = {split: evaluate(capsys, "moved", "--split", split) for split in splits}

    Path(texts[0]).rename("elsewhere")

    for split in splits:
        code, line = complaint(capsys, "eval", "moved", "--split", split)
        command = line.split("if you moved it: charrnn eval ")[1]
        after = evaluate(capsys, *command.replace("NEW_PLACE", "elsewhere").split())
        assert code == 3
        assert after["models"] == before[split]["models"]
        assert after["split"] == split


def test_a_held_out_file_that_was_moved_is_scored_by_the_command_that_the_message_names(
    capsys: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.txt", "held.txt"):
        Path(name).write_text(BOOK, encoding="utf-8")
    train("a.txt", "moved", steps=1, val_file="held.txt")
    before = evaluate(capsys, "moved")

    Path("held.txt").rename("elsewhere")

    _, line = complaint(capsys, "eval", "moved")
    assert line.endswith("charrnn eval moved --file NEW_PLACE\n")
    assert evaluate(capsys, "moved", "--file", "elsewhere")["models"] == before["models"]


def test_an_own_text_that_has_changed_ends_with_3(capsys: Text) -> None:
    Path("book.txt").write_text(BOOK.replace("ab", "ba", 1), encoding="utf-8")

    code, line = complaint(capsys, "eval", "book")

    assert code == 3
    assert "book.txt has changed since book was trained on it" in line
    assert evaluate(capsys, "book", "--file", "book.txt")["chars"] == 1499


def test_a_model_of_standard_input_says_that_its_text_is_not_kept(
    capsys: Text, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("book.txt").open(encoding="utf-8") as book:
        monkeypatch.setattr(sys, "stdin", book)
        train("-", "piped", steps=1, checkpoints=str(tmp_path))

    code, line = complaint(capsys, "eval", "piped", "--checkpoints", str(tmp_path))

    assert code == 3
    assert "piped was trained on standard input, which is not kept; name a text by --file" in line


def test_a_model_that_does_not_say_its_text_needs_one(
    capsys: Text, tmp_path: Path, make_model: Any
) -> None:
    from charrnn.checkpoint.run_folder import RunFolder

    run = RunFolder(tmp_path / "old")
    run.save_state(make_model(), step=7, kept=2)

    code, line = complaint(capsys, "eval", str(run.path))

    assert code == 3
    assert "does not say which text it was trained on; name a text by --file" in line
    assert evaluate(capsys, str(run.path), "--file", "book.txt")["chars"] == 1499


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["book", "more"], "book and more have different vocabularies"),
        (["book", "more", "--file", "book.txt"], "book and more have different vocabularies"),
        (["book", "other"], "book and other were trained on different texts; name the text"),
        (["book", "fifth"], "book and fifth were trained with val_fraction 0.1 and 0.2"),
        (["book", "nfc"], "book and nfc were trained with normalize none and nfc"),
        (["book", "nfc", "--file", "book.txt"], "normalize none and nfc"),
        (["lined", "ended"], "lined and ended were trained with lines True and None, so"),
        (["lined", "--split", "val", "--text", "ab"], "lined held out a part of its own records"),
        (["book", "held", "--file", "book.txt", "--split", "val"], "val_file None and other.txt"),
        (["held", "--file", "more.txt", "--split", "val"], "held held out other.txt, not a part"),
        (["book", "--encoding", "latin-1"], "--encoding says how to read the text of --file"),
        (["book", "--text", "ab", "--encoding", "utf-8"], "--encoding says how to read"),
        (["book", "--text", "ab", "--file", "book.txt"], "--file and --text both name the text"),
        (
            ["book", "--dynamic-rate", "0.1"],
            "--dynamic-rate is the learning rate of --dynamic",
        ),
        (["book", "--dynamic", "--dynamic-rate", "2"], "'--dynamic-rate': 2.0 is not in the range"),
        ([], "Missing argument 'MODEL...'"),
    ],
)
def test_what_clashes_ends_with_2(capsys: Text, arguments: list[str], message: str) -> None:
    code, line = complaint(capsys, "eval", *arguments)

    assert code == 2
    assert message in line


@pytest.mark.parametrize("pair", [["book", "fifth", "--split", "all"], ["book", "other"]])
def test_models_that_share_a_vocabulary_score_one_named_text(capsys: Text, pair: list[str]) -> None:
    assert evaluate(capsys, *pair, "--file", "book.txt")["chars"] == 1499


def test_a_model_file_elsewhere_finds_the_text_from_here(capsys: Text, tmp_path: Path) -> None:
    file = tmp_path / "sent.safetensors"
    shutil.copy("checkpoints/book/best.safetensors", file)

    result = evaluate(capsys, str(file))

    assert result["models"][0]["model"] == str(file)
    assert result["chars"] == 149
