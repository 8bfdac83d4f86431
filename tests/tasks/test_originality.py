"""A model's own text is found again, and tells what is copied from what is new."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import TextConfig
from charrnn.errors import CorpusError
from charrnn.tasks.originality import OwnText, open_own_text
from charrnn.text.corpus import open_corpus

LINES = "aab\nbbé\n\nab a\n" * 9 + "ebbé\n"  # the last tenth is held out
BOOK = LINES.replace("e", "é")

Train = Callable[..., ModelFile]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Any) -> Train:
    """Give a function that makes a model that says it was trained on the files it is given."""
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


def test_what_was_learned_from_is_copied_and_what_was_held_out_is_not(own: OwnText) -> None:
    learned = own.find_copied("ab a\naab\nbbé", least=5)

    assert learned.spans == ((0, 12),)
    assert learned.line == 4
    assert own.find_copied("éabbé\naé", least=5).spans == ()
    assert own.find_copied("\nébbé", least=5).spans == ()


def test_the_least_span_is_20_unless_it_is_said(own: OwnText) -> None:
    assert own.find_copied(BOOK[:19]).spans == ()
    assert own.find_copied(BOOK[:20]).spans == ((0, 20),)


def test_a_guide_forbids_what_was_learned_from(own: OwnText) -> None:
    guide, encode = own.novelty(2), own.corpus.vocab.encode
    bias = guide.bias(guide.start(encode("bb")))

    assert bias is not None
    assert np.flatnonzero(bias).tolist() == encode("é").tolist()
    assert guide.bias(guide.start(encode("éb"))) is None  # held out


def test_a_line_that_was_held_out_is_no_new_line(own: OwnText) -> None:
    assert "ébbé" in own.lines
    assert "bé" not in own.lines  # where the text is cut in two
    assert "".join(own.lines.iter_new(["bbé\nbb\né", "bbé\n"])) == "bb\n"


def test_a_file_that_is_held_out_begins_a_line(train: Train) -> None:
    Path("val.txt").write_text("éé\n", encoding="utf-8")
    Path("cut.txt").write_text("bb\naa", encoding="utf-8")

    lines = open_own_text("n", train("cut.txt", val_file="val.txt")).lines

    assert "aa" in lines
    assert "éé" in lines
    assert "aaéé" not in lines


def test_texts_of_rare_characters_are_told_apart_too(train: Train) -> None:
    own = open_own_text("n", train("book.txt", min_count=30))
    assert own.corpus.vocab.has_bytes

    assert own.find_copied("bbé\n\nab", least=3).spans == ((0, 7),)
    assert "bbé" in own.lines


# ── where it is not to be had ──


def complaint(file: ModelFile) -> str:
    with pytest.raises(CorpusError) as caught:
        open_own_text("poet", file)
    return str(caught.value)


def test_a_text_that_has_changed_is_refused(train: Train) -> None:
    file = train("book.txt")
    Path("book.txt").write_text(BOOK.replace("aab", "aba", 1), encoding="utf-8")

    assert complaint(file) == (
        "book.txt has changed since poet was trained on it (its SHA-256 is another); bring the old "
        "text back, or leave --max-copy, --mark-copies and --skip-known-lines out"
    )


def test_a_text_that_is_gone_is_named(train: Train) -> None:
    file = train("book.txt")
    Path("book.txt").unlink()

    assert complaint(file).startswith("the text of poet cannot be read: no text at 'book.txt'")
    assert complaint(file).endswith(
        "; or leave --max-copy, --mark-copies and --skip-known-lines out"
    )


@pytest.mark.parametrize(
    ("paths", "why"),
    [
        (["-"], "poet was trained on standard input, which is not kept; leave --max-copy"),
        ([], "poet does not say which text it was trained on; leave --max-copy"),
        (None, "poet does not say which text it was trained on; leave --max-copy"),
    ],
)
def test_a_text_that_is_not_known_is_refused(train: Train, paths: Any, why: str) -> None:
    file = train("book.txt")
    file.summary["corpus"]["paths"] = paths

    assert complaint(file).startswith(why)
