"""charrnn corpus: what it lists, builds, fetches and measures."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn.analysis.baselines import score_baselines
from charrnn.config import TextConfig, TrainConfig
from charrnn.corpora import library
from charrnn.corpora.library import LIBRARY
from charrnn.data.corpus import corpus_from_text
from charrnn.errors import CorpusError
from charrnn.tasks.corpus_stats import summarise_corpus
from charrnn.training.loop import train
from charrnn.training.plan import make_plan
from tests.cli.program import end_of

TEXT = "the cat sat on the mat.\n" * 50 + "naïve\n"


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "book.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let python-docs be built from one page."""
    monkeypatch.setitem(library._BUILDERS, "python-docs", lambda: iter([TEXT]))


def test_the_list_says_which_texts_are_here(
    book: Path, docs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "build", "python-docs") == 0
    capsys.readouterr()
    assert end_of("corpus", "list", "--json") == 0

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    paths = {row["name"]: row["path"] for row in rows}
    assert paths["python-docs"] == "corpora/python-docs.txt"
    assert paths["tiny-shakespeare"] is None


def test_the_network_that_train_would_choose_has_its_n_grams_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "long.txt"
    path.write_text(TEXT * 6, encoding="utf-8")

    assert end_of("corpus", "stats", str(path)) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert re.search(r"lstm 1×\d+ \+ n-grams up to 5 \([\d,]+ rows\), dropout", shown)


def test_the_list_is_a_table_for_people(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of("corpus", "list") == 0

    shown = capsys.readouterr().out
    assert "python-docs" in shown
    assert "to download" in shown


def test_a_built_text_is_named_on_stdout_and_described_on_stderr(
    book: Path, docs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "build", "python-docs", "--dir", "mine") == 0

    out, err = capsys.readouterr()
    assert out == "mine/python-docs.txt\n"
    assert "built from this Python; SHA-256" in err
    assert Path("mine/python-docs.txt").read_text(encoding="utf-8") == TEXT


def test_a_text_that_is_here_needs_no_network(
    book: Path, docs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "build", "python-docs") == 0
    assert end_of("corpus", "get", "python-docs") == 0

    assert capsys.readouterr().out.splitlines()[-1] == "corpora/python-docs.txt"


@pytest.fixture
def silent_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let tiny-shakespeare be at a server that never answers."""
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        there = replace(LIBRARY["tiny-shakespeare"], url=url)
        monkeypatch.setitem(LIBRARY, "tiny-shakespeare", there)
        yield


def test_a_text_that_does_not_come_in_time_is_replaced_by_another(
    book: Path, docs: None, silent_host: None, capsys: pytest.CaptureFixture[str]
) -> None:
    replacement = ("--timeout", "0.2s", "--else", "python-docs")

    assert end_of("corpus", "get", "tiny-shakespeare", *replacement) == 0
    out, err = capsys.readouterr()
    assert out == "corpora/python-docs.txt\n"
    assert err.startswith(
        "python-docs instead of tiny-shakespeare: it did not arrive within 0.2 s\n"
        "python-docs: built from this Python; SHA-256 "
    )


def test_a_text_that_does_not_come_in_time_ends_with_3(
    book: Path, silent_host: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "get", "tiny-shakespeare", "--timeout", "0.2") == 3
    assert "it did not arrive within 0.2 s; try again later" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", [("--timeout", "soon"), ("--else", "python-doc")])
def test_a_wrong_time_or_replacement_is_refused_before_anything_is_fetched(
    book: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "get", "python-docs", *wrong) in (2, 3)
    assert wrong[1] in capsys.readouterr().err
    assert not Path("corpora").exists()


def test_an_unknown_name_ends_with_the_nearest_one(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "get", "tiny-shakespear") == 3

    assert "did you mean tiny-shakespeare?" in capsys.readouterr().err


def test_the_measures_of_a_text(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of("corpus", "stats", "book.txt", "--json") == 0

    stats = json.loads(capsys.readouterr().out)
    assert stats["characters"] == len(TEXT)
    assert stats["utf8_bytes"] == len(TEXT) + 1
    assert stats["alphabet"]["ï"] == 1
    assert stats["vocab_size"] == len(set(TEXT))
    assert stats["train_would_choose"]["model"]["cell"] == "lstm"


def test_documents_are_counted_where_an_option_names_what_ends_them(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("more.txt").write_text("naïve")
    assert end_of("corpus", "stats", "book.txt", "more.txt", "--json") == 0
    joined = json.loads(capsys.readouterr().out)
    mark = ["--document-end", "mat.\n"]
    arguments = ["corpus", "stats", "book.txt", "more.txt", *mark, "--split", "tail"]
    assert end_of(*arguments, "--json") == 0
    ended = json.loads(capsys.readouterr().out)
    assert end_of(*arguments) == 0

    assert joined["records"] is None
    assert (ended["records"]["kind"], ended["records"]["number"]) == ("document", 52)
    # Each mark becomes one end, and the last file gets one.
    assert ended["characters"] == joined["characters"] - 50 * (len("mat.\n") - 1) + 1
    assert re.search(r"records +52 \(documents\)", capsys.readouterr().out)


def test_rare_characters_are_counted_out_of_the_vocabulary(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "stats", "book.txt", "--json", "--min-count", "2") == 0

    stats = json.loads(capsys.readouterr().out)
    assert stats["vocab_size"] == 256 + sum(TEXT.count(char) > 1 for char in set(TEXT))


def test_the_table_names_the_rarest_character(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "stats", "book.txt") == 0

    shown = capsys.readouterr().out
    assert "LATIN SMALL LETTER I WITH DIAERESIS" in shown
    assert "none found" in shown
    assert "train would use" in shown


def test_a_text_has_figures_to_beat_if_it_is_long_enough(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "stats", "book.txt") == 0
    short = capsys.readouterr().out
    book.write_text(TEXT * 9, encoding="utf-8")
    assert end_of("corpus", "stats", "book.txt") == 0

    assert "fewer than 1,000 characters" in short
    assert re.search(
        r"gzip [\d.]+, xz [\d.]+, 5-gram [\d.]+ bits per character on the held-out",
        capsys.readouterr().out,
    )


@pytest.mark.parametrize("val_fraction", [0.1, 0.1002])
def test_what_train_holds_out_is_found_in_pieces_and_with_bytes_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, val_fraction: float
) -> None:
    monkeypatch.setattr("charrnn.text.files.CHUNK_BYTES", 1000)
    monkeypatch.setattr("charrnn.tasks.corpus_stats.TRAINED_TOKENS", 5000)
    monkeypatch.setattr("charrnn.tasks.corpus_stats.HELD_OUT_TOKENS", 1500)
    text = "".join(f"{chr(0x4E00 + i)}{i % 7:06b}" for i in range(4000))  # each ideograph once
    path = tmp_path / "book.txt"
    path.write_text(text, encoding="utf-8")
    config = TextConfig(min_count=2, val_fraction=val_fraction)
    corpus = corpus_from_text(text, config)

    expected = score_baselines(corpus.train[-5000:], corpus.val[:1500], corpus.vocab)

    assert expected
    assert summarise_corpus([str(path)], config).baselines_bpc == expected


def test_the_files_that_were_read_are_listed_with_their_encoding(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("texts").mkdir()
    for number in range(11):
        Path("texts", f"{number:02}.txt").write_text("no newline", encoding="utf-8")
    Path("texts/00.txt").write_text("déjà vu, café crème, naïve garçon\n" * 9, encoding="cp1252")
    arguments = ["corpus", "stats", "texts", "book.txt", "--encoding", "auto"]
    assert end_of(*arguments, "--json") == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert end_of(*arguments) == 0

    assert files[0] == {"name": "texts/00.txt", "characters": 306, "encoding": "cp1252"}
    assert [each["characters"] for each in files] == [306, *[11] * 10, len(TEXT)]  # with newlines
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0].split(maxsplit=1) == ["files", "texts/00.txt: 306 characters, cp1252"]
    assert lines[1] == "texts/01.txt: 11 characters"
    assert lines[9:11] == ["texts/09.txt: 11 characters", "… and 2 more"]


def test_characters_that_occur_once_are_counted_and_named_only_among_others(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "stats", "book.txt") == 0
    few = capsys.readouterr().out
    book.write_text(TEXT + "床前明月光疑是地上霜举头", encoding="utf-8")
    assert end_of("corpus", "stats", "book.txt") == 0
    many = capsys.readouterr().out

    assert "2 occur once, 2 fewer than 5 times (see --min-count)" in few
    assert "14 occur once, 14 fewer than 5 times (see --min-count)" in many
    assert ("code point" in few, "code point" in many) == (True, False)


def test_the_entropies_are_explained(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of("corpus", "stats", "book.txt") == 0

    shown = " ".join(capsys.readouterr().out.split())
    costs = r"guessing by frequency costs [34]\.\d+ bits per character; knowing the one before, "
    assert re.search(costs + r"0\.8\d+; the two before, 0\.2\d+", shown)


def test_a_weight_counts_in_what_train_would_choose_and_not_in_the_figures(
    book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stats = []
    for weight in ("", ":40"):
        assert end_of("corpus", "stats", f"book.txt{weight}", "--json") == 0
        stats.append(json.loads(capsys.readouterr().out))

    assert stats[0]["characters"] == stats[1]["characters"]
    assert stats[1]["notes"] == ["book.txt counts 40 times", *stats[0]["notes"]]
    assert stats[0]["train_would_choose"] != stats[1]["train_would_choose"]


def test_trouble_is_named(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    book.write_text(TEXT + "caf\ufffd cafÃ© \x07", encoding="utf-8")
    assert end_of("corpus", "stats", "book.txt") == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert "1 replacement characters" in shown
    assert "1 control characters" in shown
    assert "1 pairs like Ã©" in shown


@pytest.mark.parametrize(
    ("options", "nouns"),
    [
        (("--pairs", "--source-unit", "space"), "pairs"),
        (("--target-file", "book.txt"), "pairs"),
        (("--tags", "spaces"), "tags"),
        (("--restore", "case"), "tags"),
    ],
)
def test_pairs_and_tags_are_not_measured(
    options: tuple[str, ...], nouns: str, book: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", "stats", "book.txt", *options) == 2

    flag = options[0]
    assert capsys.readouterr().err == (
        f"charrnn: corpus stats measures a text, and {flag} makes {nouns} of it; leave {flag} out "
        f"to measure the characters of the files, and charrnn train with {flag} says what the "
        f"{nouns} are before it trains\n"
    )


@pytest.mark.parametrize("weight", ["", ":2"])
def test_training_takes_the_name_of_a_text(book: Path, docs: None, weight: str) -> None:
    sizes = ["--steps", "1", "--hidden-size", "4", "--eval-chars", "100", "--threads", "1"]

    assert end_of("train", f"python-docs{weight}", *sizes, "--quiet") == 0
    assert Path("checkpoints/python-docs/best.safetensors").exists()
    assert Path("corpora/python-docs.txt").exists()


@pytest.mark.parametrize("command", [["list"], ["get", "python-docs"], ["get", "text8"]])
def test_a_folder_that_cannot_be_read_ends_with_3(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert end_of("corpus", *command, "--dir", "x" * 300) == 3

    assert re.fullmatch(r"charrnn: cannot read x+: File name too long\n", capsys.readouterr().err)


@pytest.mark.parametrize("val_fraction", [0.1, 0.5])
@pytest.mark.parametrize("length", [1, 9, 10, 11, 12, 16, 17, 18, 20, 21, 300])
def test_what_train_would_use_is_not_shown_of_a_text_that_it_refuses(
    tmp_path: Path, length: int, val_fraction: float, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "book.txt"
    path.write_text(("ab" * length)[:length])
    corpus = corpus_from_text(path.read_text(), TextConfig(val_fraction=val_fraction))
    try:
        next(train(corpus, TrainConfig(steps=1, threads=1)))
        is_trained = True
    except CorpusError:
        is_trained = False

    arguments = ["corpus", "stats", str(path), "--val-fraction", str(val_fraction)]
    assert end_of(*arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert end_of(*arguments, "--json") == 0
    chosen = json.loads(capsys.readouterr().out)["train_would_choose"]

    assert (chosen is not None) == is_trained
    assert ("the text is too short to train on" in shown) == (not is_trained)
    assert ("as fast as that of docs/figures.md" in shown) == is_trained


def test_what_train_would_use_goes_by_tokens(tmp_path: Path) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(4000))  # each once: three bytes each
    path = tmp_path / "book.txt"
    path.write_text(text, encoding="utf-8")
    config = TextConfig(min_count=2)
    corpus = corpus_from_text(text, config)

    assert len(corpus.train) == 3 * 3600
    assert summarise_corpus([str(path)], config).plan == make_plan(
        TrainConfig(), corpus.vocab.size, len(corpus.train)
    )
    assert summarise_corpus([str(path)], config).plan != make_plan(
        TrainConfig(), corpus.vocab.size, corpus.train_chars
    )


def test_a_sorted_list_is_named_with_what_is_held_out_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list.txt").write_text("".join(f"{number:05}\n" for number in range(999)))
    assert end_of("corpus", "stats", "list.txt") == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert "sorted: 100% of the lines" in shown
    assert re.search(r"held out \d+ of 999 lines, drawn by hash", shown)


def test_files_that_were_left_out_or_are_unlike_the_others_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        (tmp_path / f"texts/{name}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / f"texts/{name}.txt").write_text("the night was still, she said. \n\n" * 40)
    (tmp_path / "texts/d.txt").write_text(
        "снег лежал на крышах, и ветер стих. \n\n" * 40, encoding="cp1251"
    )
    (tmp_path / "texts/logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0")
    assert end_of("corpus", "stats", "texts", "--encoding", "auto") == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert "left out, as a PNG image: texts/logo.png; read as cp1251: texts/d.txt" in shown
    assert "unlike the other files texts/d.txt (" in shown


def test_the_part_for_testing_is_named_too(book: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert end_of("corpus", "stats", "book.txt", "--test-fraction", "0.2") == 0

    shown = " ".join(capsys.readouterr().out.split())
    assert "the last 30% of the text: 10% for validation, 20% for testing" in shown


def test_held_out_lines_that_stand_in_the_rest_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "twice.txt").write_text("".join(f"Line number {i % 50}.\n\n" for i in range(500)))
    assert end_of("corpus", "stats", "twice.txt") == 0

    assert "100.0% of its lines stand in the training part too" in capsys.readouterr().out


def test_the_rows_of_a_table_are_measured_with_their_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"text {number % 50},{'xyz'[number % 3 % 2]}\n" for number in range(90))
    Path("t.csv").write_text("text,kind\n" + rows)
    arguments = ["corpus", "stats", "t.csv", "--text-column", "text", "--label-column", "kind"]
    assert end_of(*arguments, "--json") == 0
    records = json.loads(capsys.readouterr().out)["records"]
    assert end_of(*arguments) == 0
    shown = " ".join(capsys.readouterr().out.split())

    assert (records["kind"], records["number"], records["duplicates"]) == ("row", 90, 40)
    assert (records["p50_chars"], records["max_chars"]) == (7, 7)
    assert records["labels"]["kind"]["counts"] == {"x": 60, "y": 30}
    assert records["labels"]["kind"]["majority_share"] == pytest.approx(2 / 3)
    assert "records 90 (rows); half have 7 characters or fewer" in shown
    assert "label kind 60 x, 30 y; guessing the commonest is right in 66.7%" in shown
    assert "t.csv: 90 records, column text; kind: 60 x, 30 y; 0 rows skipped" in shown
