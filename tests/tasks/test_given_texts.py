"""A literal text is scored as a file with the same characters is, in the model's normal form."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.errors import ConfigError, CorpusError, VocabError
from charrnn.tasks.eval_text import EvalTextRequest, NamedModel, read_eval_text
from charrnn.tasks.model import Model
from charrnn.tasks.score import ScoredText
from charrnn.text.files import Source

TEXT = "ab\na é" * 5
DECOMPOSED = TEXT.replace("é", "e\u0301")

Make = Callable[..., ModelFile]


@pytest.fixture
def model(make_model: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelFile:
    """Return a model that reads texts in NFC; stand in a folder that has its text as a file."""
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(DECOMPOSED, encoding="utf-8")
    return replace(make_model(), summary={"settings": {"normalize": "nfc"}})


@pytest.fixture
def path(model: ModelFile) -> Path:
    """Return the path of that model's file."""
    run = RunFolder(Path("checkpoints/tiny"))
    run.save_best(model)
    return next(run.path.glob("*.safetensors"))


@pytest.mark.parametrize("split", [None, "all", "train", "val"])
def test_eval_reads_a_literal_text_as_it_reads_a_file(model: ModelFile, split: str | None) -> None:
    models = [NamedModel("tiny", model)]

    given = read_eval_text(models, EvalTextRequest(text=DECOMPOSED, split=split))
    of_file = read_eval_text(models, EvalTextRequest(files=("text.txt",), split=split))

    assert (given.texts, given.split) == (["text given"], split or "all")
    assert np.array_equal(given.ids, of_file.ids)
    if given.split == "all":
        assert given.ids.tolist() == model.vocab.encode(TEXT).tolist()


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (EvalTextRequest(text="ab", files=("text.txt",)), ConfigError, "files and text both"),
        (EvalTextRequest(text="ab", encoding="utf-8"), ConfigError, "encoding says how to read"),
        (EvalTextRequest(text=r"a\nb"), ConfigError, "text is .* with backslashes"),
        (EvalTextRequest(text=""), CorpusError, "text given leaves 0 characters to score"),
        (EvalTextRequest(text="a"), CorpusError, "text given leaves 1 character to score"),
        (EvalTextRequest(text="abß", unknown="error"), VocabError, "never saw 'ß'"),
        (EvalTextRequest(text="aß"), CorpusError, "text given leaves 1 character to score"),
        (EvalTextRequest(unknown="map"), ConfigError, "unknown is for a text of files or"),
    ],
)
def test_eval_refuses_a_literal_text_that_cannot_be_scored(
    model: ModelFile, request_: EvalTextRequest, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        read_eval_text([NamedModel("tiny", model)], request_)


def test_score_reads_a_literal_text_as_it_reads_a_file(path: Path) -> None:
    scored = [ScoredText(path, text) for text in (DECOMPOSED, [Source(Path("text.txt"), "t")])]
    lines = [
        [(line.number, line.text, line.bits.tolist()) for line in each.lines()] for each in scored
    ]

    assert lines[0] == lines[1]
    assert [each.name for each in scored] == ["text given", "t"]
    assert scored[0].chars == len(TEXT)


def test_the_figures_of_a_text_leave_its_first_character_out(path: Path) -> None:
    bits = Model.from_file(path).score(TEXT).bits[1:]
    scored = ScoredText(path, TEXT)
    progress: list[int] = []

    for _ in scored.lines(progress.append):
        pass

    figures: dict[str, Any] = scored.figures()
    assert sum(progress) == len(TEXT)
    assert (figures["path"], figures["texts"]) == (str(path), ["text given"])
    assert figures["chars"] == len(bits)
    assert figures["bits"] == pytest.approx(bits.sum())
    assert figures["bpc"] == pytest.approx(bits.mean())
    assert figures["perplexity"] == pytest.approx(2 ** bits.mean())
    assert math.isfinite(figures["chars_per_second"])
    json.dumps(figures)


@pytest.mark.parametrize("text", ["", "a"])
def test_score_needs_two_characters(path: Path, text: str) -> None:
    has = {"": "0 characters", "a": "1 character"}[text]
    with pytest.raises(CorpusError, match=f"text given has {has}; at least 2"):
        ScoredText(path, text)


ODD = "ß" + "ab\na—é" * 6 + "—ß"  # ß and — are not in the model's alphabet


@pytest.mark.parametrize("split", ["all", "train", "val"])
def test_unseen_characters_are_counted_in_the_part_that_they_stand_in(
    model: ModelFile, split: str
) -> None:
    request = EvalTextRequest(text=ODD, split=split)
    known = EvalTextRequest(text=ODD.replace("ß", "").replace("—", ""), split=split)
    models = [NamedModel("tiny", model)]

    given = read_eval_text(models, request)

    assert given.unseen_chars == {"all": 9, "train": 6, "val": 3}[split]
    assert given.ids.tolist() == read_eval_text(models, known).ids.tolist()


def test_score_and_eval_count_unseen_characters_alike(path: Path) -> None:
    scored = ScoredText(path, ODD)
    for _ in scored.lines():
        pass
    figures = scored.figures()

    result = charrnn.evaluate(str(path), text=ODD)

    (row,) = result.models
    assert (figures["chars"], figures["unseen_chars"]) == (result.chars, result.unseen_chars)
    assert (figures["chars"], figures["unseen_chars"]) == (6 * 5 - 1, 9)
    assert figures["unseen_bits"] == pytest.approx(row.unseen_bits)
    assert figures["bpc"] == pytest.approx(row.carried.bpc, rel=1e-5)
    assert figures["bpc_with_unseen"] == pytest.approx(row.carried.bpc_with_unseen, rel=1e-5)
    assert figures["bpc_with_unseen"] > figures["bpc"]


def test_an_ensemble_gives_an_unseen_character_their_mean_probability(
    model: ModelFile, tmp_path: Path
) -> None:
    for name, train_chars in (("short", 9), ("long", 99_999)):
        corpus = {"corpus": {"name": name, "sha256": "0" * 64, "train_chars": train_chars}}
        RunFolder(Path("checkpoints") / name).save_best(replace(model, summary=corpus))

    result = charrnn.evaluate(["short", "long"], text="abß")

    assert result.ensemble is not None
    mean = np.mean([2**-row.unseen_bits for row in result.models])
    assert 2**-result.ensemble.unseen_bits == pytest.approx(mean)


@pytest.mark.parametrize(
    ("unknown", "chars", "unseen_chars", "mapped"),
    [
        ("cost", 3, 2, {}),
        ("skip", 3, 0, {"ß → nothing": 1, "É → nothing": 1}),
        ("map", 4, 1, {"É → é": 1}),  # nothing is near ß
    ],
)
def test_unknown_says_what_becomes_of_unseen_characters(
    path: Path, unknown: str, chars: int, unseen_chars: int, mapped: dict[str, int]
) -> None:
    text = "abßÉba"
    scored = ScoredText(path, text, unknown=unknown)
    for _ in scored.lines():
        pass
    figures = scored.figures()

    result = charrnn.evaluate(str(path), text=text, unknown=unknown)

    assert (result.chars, result.unseen_chars, result.mapped) == (chars, unseen_chars, mapped)
    assert (figures["chars"], figures["unseen_chars"], figures["mapped"]) == (
        chars,
        unseen_chars,
        mapped,
    )
