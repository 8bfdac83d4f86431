"""A model's own text is opened again, to find what is copied from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import TextConfig
from charrnn.data.corpus import open_corpus
from charrnn.errors import CorpusError
from charrnn.tasks.originality import OwnText, open_own_text

LINES = "aab\nbbé\n\nab a\n" * 9 + "ebbé\n"  # the last tenth is held out
BOOK = LINES.replace("e", "é")

Train = Callable[..., ModelFile]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Any) -> Train:
    """Return a function that makes a model which says it was trained on the given files."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(BOOK, encoding="utf-8")

    def make(*paths: str, **settings: Any) -> ModelFile:
        corpus = open_corpus(paths, TextConfig(**settings))
        about = {"paths": list(paths), "sha256": corpus.sha256}
        file: ModelFile = make_model()
        summary = file.summary | {"corpus": about, "settings": settings}
        return replace(file, vocab=corpus.vocab, summary=summary)

    return make


@pytest.fixture
def own(train: Train) -> OwnText:
    return open_own_text("n", train("book.txt"))


def test_copies_are_found_in_the_training_part_and_not_in_the_held_out_part(own: OwnText) -> None:
    learned = own.find_copies("ab a\naab\nbbé", least=5)

    assert learned.spans == ((0, 12),)
    assert learned.line == 4
    assert own.find_copies("éabbé\naé", least=5).spans == ()
    assert own.find_copies("\nébbé", least=5).spans == ()


def test_the_longest_copy_is_named_with_its_file_and_line(train: Train) -> None:
    first = "".join(f"the first book, line {i}\n" for i in range(60))
    for name, text in (("1.txt", first), ("2.txt", "aa\n" * 9 + "bb ab\n" * 90)):
        Path(name).write_text(text, encoding="utf-8")
    own = open_own_text("n", train("1.txt", "2.txt", split="tail", lines=False))

    learned = own.corpus.vocab.decode(own.corpus.train)
    edge = learned.index("aa\naa")  # where the second file begins

    found = own.find_copies("oo bb ab", least=3)
    across = own.find_copies(learned[edge - 9 : edge + 9], least=18)

    expected = {"text": "bb ab", "characters": 5, "line": 10, "file": "2.txt"}
    assert found.as_json()["longest"] == expected
    assert (len(across.longest), across.file) == (18, None)


def test_copies_of_a_text_with_a_weight_are_named_with_its_file(train: Train) -> None:
    Path("2.txt").write_text("aa\n" * 9 + "bb ab\n" * 90, encoding="utf-8")
    own = open_own_text("n", train("book.txt", "2.txt:3", lines=False))

    found = own.find_copies("éébb ab\n", least=6)

    assert (found.longest, found.file) == ("bb ab\n", "2.txt")


def test_the_default_least_span_is_20(own: OwnText) -> None:
    assert own.find_copies(BOOK[:19]).spans == ()
    assert own.find_copies(BOOK[:20]).spans == ((0, 20),)


def test_no_copy_bans_what_continues_a_run_of_the_training_part(own: OwnText) -> None:
    constraint, encode = own.no_copy(2), own.corpus.vocab.encode
    bias = constraint.mask(constraint.initial_state(encode("bb")))

    assert bias is not None
    assert np.flatnonzero(bias).tolist() == encode("é").tolist()
    assert constraint.mask(constraint.initial_state(encode("éb"))) is None  # held out


def test_held_out_lines_are_known_too(own: OwnText) -> None:
    assert "ébbé" in own.lines
    assert "bé" not in own.lines  # where the text is cut in two
    assert "".join(own.lines.iter_new(["bbé\nbb\né", "bbé\n"])) == "bb\n"


def test_lines_held_out_for_testing_are_known_too(train: Train) -> None:
    own = open_own_text("n", train("book.txt", test_fraction=0.3))

    assert own.corpus.test_chars
    assert "ébbé" in own.lines


def test_a_held_out_file_begins_a_line(train: Train) -> None:
    Path("val.txt").write_text("éé\n", encoding="utf-8")
    Path("cut.txt").write_text("bb\naa", encoding="utf-8")

    lines = open_own_text("n", train("cut.txt", val_file="val.txt")).lines

    assert "aa" in lines
    assert "éé" in lines
    assert "aaéé" not in lines


def test_copies_of_characters_written_as_bytes_are_found(train: Train) -> None:
    own = open_own_text("n", train("book.txt", min_count=30))
    assert own.corpus.vocab.has_bytes

    assert own.find_copies("bbé\n\nab", least=3).spans == ((0, 7),)
    assert "bbé" in own.lines


# ── the text cannot be opened ──


def complaint(file: ModelFile) -> str:
    with pytest.raises(CorpusError) as caught:
        open_own_text("poet", file)
    return caught.value.message


def test_a_changed_text_is_refused(train: Train) -> None:
    file = train("book.txt")
    Path("book.txt").write_text(BOOK.replace("aab", "aba", 1), encoding="utf-8")

    assert complaint(file) == (
        "book.txt has changed since poet was trained on it (its SHA-256 differs); bring the old "
        "text back, or leave --max-copy, --mark-copies and --skip-known-lines out"
    )


def test_a_missing_text_is_named(train: Train) -> None:
    file = train("book.txt")
    Path("book.txt").unlink()

    assert complaint(file).startswith(
        f"cannot find 'book.txt', of the text of poet, in {Path.cwd()}; bring it back"
    )
    assert complaint(file).endswith(
        ", or leave --max-copy, --mark-copies and --skip-known-lines out"
    )


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["-"], "poet was trained on standard input, which is not kept; leave --max-copy"),
        ([], "poet was trained on a text in memory, or elsewhere, which is not kept; leave "),
        (None, "poet does not say which text it was trained on; leave --max-copy"),
    ],
)
def test_an_unknown_text_is_refused(train: Train, paths: Any, why: str) -> None:
    file = train("book.txt")
    file.summary["corpus"]["paths"] = paths

    assert complaint(file).startswith(why)


@pytest.mark.parametrize(
    ("text", "settings", "between"),
    [
        ("ab\nba é\nbb\n", {"lines": True}, "\n"),
        ("ab\n--\nba é\n--\nbb\n", {"document_end": "--"}, "\n--\n"),
    ],
)
def test_a_copy_may_reach_over_the_end_of_a_record(
    text: str, settings: dict[str, Any], between: str, train: Train
) -> None:
    Path("records.txt").write_text(text, encoding="utf-8")
    own = open_own_text("n", train("records.txt", val_fraction=0.0, **settings))

    found = own.find_copies(f"ééab{between}baéé", least=4)

    assert found.spans == ((2, 6 + len(between)),)
    assert (found.longest, found.line) == (f"ab{between}ba", 1)
