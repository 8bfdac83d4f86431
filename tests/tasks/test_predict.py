"""Labels of texts: how they are named, how files are read, and what training measures of both."""

from __future__ import annotations

import io
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.checkpoint.model_file import ModelFile, pack_model, unpack_model
from charrnn.config import TextConfig
from charrnn.data.corpus import Corpus
from charrnn.data.labels import LabelColumn
from charrnn.data.records import Records
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.generation.bayes import LabelClassifier, posteriors
from charrnn.storage import write_atomically
from charrnn.tasks.predict import iter_predictions
from charrnn.tasks.predict_labels import LabelPredictor, calibrate_labels
from charrnn.tasks.predictions import Prediction, PredictRequest
from charrnn.tasks.read_texts import STDIN, TextReader
from charrnn.text.vocab import END
from tests.cli.program import give_input
from tests.generation.record_models import WHO, YEAR, make_records_file

FILE = make_records_file(labels=(YEAR,))
BOTH = make_records_file(labels=(WHO, YEAR))
TEXTS = ["ab", "", "é ba", "b"]


def predict(texts: list[str], file: ModelFile = FILE, **settings: Any) -> list[Prediction]:
    return list(iter_predictions(file, texts, PredictRequest(**settings)))


def probabilities(prediction: Prediction) -> dict[str, float]:
    return dict(prediction.top)


def with_figures(file: ModelFile, **figures: Any) -> ModelFile:
    return replace(file, summary=file.summary | {"classification": {"year": figures}})


def test_each_text_gets_its_likeliest_labels_in_order() -> None:
    found = predict(TEXTS, top=3)
    classifier = LabelClassifier(FILE, "year")
    ratios = classifier.log_ratios([FILE.vocab.encode(text) for text in TEXTS])
    expected = posteriors(ratios, np.array(YEAR.counts))

    assert [each.text for each in found] == TEXTS
    for each, row in zip(found, expected, strict=True):
        assert probabilities(each) == pytest.approx(
            dict(zip(YEAR.values, row.tolist(), strict=True))
        )
        assert [p for _, p in each.top] == sorted(probabilities(each).values(), reverse=True)
        assert (each.label, each.probability) == each.top[0]
        assert sum(probabilities(each).values()) == pytest.approx(1, abs=1e-15)


def test_top_names_as_many_labels_as_there_are() -> None:
    assert [len(predict(["a"], top=top)[0].top) for top in (1, 2, 9)] == [1, 2, 3]


def test_a_label_below_the_threshold_is_not_named() -> None:
    (bare,) = predict(["ab"])
    above, below = (
        predict(["ab"], threshold=bare.probability + shift)[0] for shift in (-1e-9, 1e-9)
    )

    assert (above.label, below.label) == (bare.label, None)
    assert below.probability == bare.probability


def test_a_blank_text_has_the_prior() -> None:
    (found,) = predict([""], top=3)
    (uniform,) = predict(["\n"], top=3, prior="uniform")

    shares = {value: (count + 1) / 15 for value, count in zip(YEAR.values, YEAR.counts)}  # noqa: B905
    assert probabilities(found) == pytest.approx(shares)
    assert probabilities(uniform) == pytest.approx(dict.fromkeys(YEAR.values, 1 / 3))


def test_a_blank_text_has_the_prior_whatever_the_temperature_is() -> None:
    (found,) = predict(["\n"], with_figures(FILE, temperature=2.0), top=3)

    assert found.top == predict([""], top=3)[0].top


def test_the_prior_moves_labels_by_their_shares() -> None:
    train, uniform = (
        probabilities(predict(["ab"], top=3, prior=prior)[0]) for prior in ("train", "uniform")
    )

    odds = train["1597"] / train["1603"] / (uniform["1597"] / uniform["1603"])
    assert odds == pytest.approx(6 / 4)


def test_the_end_counts_unless_texts_are_beginnings() -> None:
    whole, beginning = (predict(["ab"], top=3, is_whole=is_whole)[0] for is_whole in (True, False))

    assert probabilities(whole) != pytest.approx(probabilities(beginning), abs=1e-3)


def test_the_files_temperature_makes_answers_less_sure() -> None:
    sure, unsure, none = (
        predict(["ab"], with_figures(FILE, **figures), top=3, prior="uniform")[0]
        for figures in ({"temperature": 1.0}, {"temperature": 4.0}, {})
    )

    roots = {label: p**0.25 for label, p in probabilities(sure).items()}
    expected = {label: root / sum(roots.values()) for label, root in roots.items()}
    assert probabilities(unsure) == pytest.approx(expected)
    assert sure == none


@pytest.mark.parametrize("temperature", [1e-320, -1.0, 1e300])
def test_a_temperature_that_no_calibration_finds_does_no_harm(temperature: float) -> None:
    (found,) = predict(["ab"], with_figures(FILE, temperature=temperature), top=3)

    assert sum(probabilities(found).values()) == pytest.approx(1)


def test_what_the_model_never_saw_is_mapped_left_out_and_counted() -> None:
    predictor = LabelPredictor(FILE, PredictRequest(top=3))
    odd, plain = predictor.predict([f"A☃b{END}\r\n", "ab"])

    assert odd.top == plain.top
    assert odd.text == f"A☃b{END}\r\n"
    assert predictor.changes == {"A → a": 1, "☃ → nothing": 1, "U+10FFFF → nothing": 1}


def test_texts_come_in_blocks_as_soon_as_they_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.tasks.predictions._BLOCK_TEXTS", 2)
    taken: list[int] = []

    def texts() -> Any:
        for number in range(5):
            taken.append(number)
            yield "ab"

    found = iter_predictions(FILE, texts())
    next(found)
    assert taken == [0, 1]
    assert len(list(found)) == 4


def test_a_model_of_bytes_names_labels_too() -> None:
    file = make_records_file(alphabet="", has_bytes=True, labels=(YEAR,))
    binary = replace(file, vocab=type(file.vocab).of_bytes(has_end=True))

    assert predict(["é"], binary, top=3)[0].top == predict(["é"], file, top=3)[0].top
    assert predict(["é"], binary)[0].top == predict(["\udcc3\udca9"], binary)[0].top


@pytest.mark.parametrize(
    ("file", "column", "words"),
    [
        (make_records_file(), None, "trained without labels.*--label-regex"),
        (BOTH, None, "several columns.*--column, of 'who', 'year'"),
        (BOTH, "speaker", "no column 'speaker'.*'who', 'year'"),
    ],
    ids=["none", "several", "unknown"],
)
def test_a_column_that_cannot_be_named_is_refused(
    file: ModelFile, column: str | None, words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        predict(["a"], file, column=column)
    assert re.search(words, refused.value.message)


def test_one_of_several_columns_is_named() -> None:
    assert predict(["a"], BOTH, column="who")[0].label in WHO.values
    assert predict(["a"], BOTH, column="year")[0].label in YEAR.values


def test_what_is_no_text_is_refused_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"text 2: .*int"):
        predict(["a", 3])  # type: ignore[list-item]


def test_python_names_labels_by_a_models_path(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    write_atomically(path, pack_model(FILE))

    found = charrnn.predict(TEXTS, path, top=2, prior="uniform")

    assert found == predict(TEXTS, top=2, prior="uniform")
    assert charrnn.predict("ab", path) == predict(["ab"])
    with pytest.raises(ConfigError, match="did you mean 'prior'"):
        charrnn.predict(["a"], path, priors="uniform")


# What training measures.


def make_corpus(texts: list[str], rows: list[int], file: ModelFile = FILE) -> Corpus:
    """Return a corpus that holds these records out; rows: their labels in the first column."""
    ids = file.vocab.encode(END.join(["", *texts, ""]))
    ends = np.cumsum([1] + [len(file.vocab.encode(text)) + 1 for text in texts])[1:]
    labels = np.zeros((len(texts), len(file.labels.columns)), np.int32)
    labels[:, 0] = rows
    records = Records(ends, labels)
    return Corpus("names", "0" * 64, file.vocab, ids, ids, 9, 9, val_records=records)


def draw_records(file: ModelFile, count: int) -> tuple[list[str], list[int]]:
    """Return texts that the models of the labels in turn have written, and their rows."""
    model = charrnn.Model
    texts: list[str] = []
    rows: list[int] = []
    values = file.labels.columns[0].values
    for row, value in enumerate(values, 1):
        samples = model(file, [value]).generate_many(count=count, length=9, seed=3)
        kept = [each.text for each in samples if each.text and each.has_end]
        texts += kept
        rows += [row] * len(kept)
    return texts, rows


def test_held_out_records_say_how_often_labels_are_right() -> None:
    even = LabelColumn("year", YEAR.values, (4, 4, 4))
    file = make_records_file(labels=(even,), spread=1.5)
    texts, rows = draw_records(file, 60)
    found = calibrate_labels(file, make_corpus(texts, rows, file))["year"]

    named = predict(texts, file)
    right = [even.index_of[str(each.label)] + 1 == row for each, row in zip(named, rows)]  # noqa: B905
    assert found["records"] == len(texts)
    assert found["accuracy"] == pytest.approx(np.mean(right), abs=0.06)
    assert found["accuracy"] > 0.5
    # They are its own texts, so it is as sure as it should be.
    assert 0.6 < found["temperature"] < 1.6
    assert found == calibrate_labels(file, make_corpus(texts, rows, file))["year"]


def test_records_without_a_label_do_not_count() -> None:
    texts, rows = draw_records(FILE, 30)
    known = [row * (i % 3 > 0) for i, row in enumerate(rows)]

    found = calibrate_labels(FILE, make_corpus(texts, known))["year"]

    assert found["records"] == np.count_nonzero(known)


def test_too_few_records_and_running_text_are_not_measured() -> None:
    assert calibrate_labels(FILE, make_corpus(["ab"] * 19, [1] * 19)) == {}
    assert calibrate_labels(FILE, replace(make_corpus(["ab"], [1]), val_records=None)) == {}
    assert calibrate_labels(make_records_file(), make_corpus(["ab"] * 30, [1] * 30)) == {}


def test_of_many_records_some_are_read_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.tasks.predict_labels._MAX_PAIR_STEPS", 300)
    monkeypatch.setattr("charrnn.tasks.predict_labels._MIN_PAIR_STEPS", 0)
    monkeypatch.setattr("charrnn.tasks.predict_labels._BLOCK_PAIRS", 60)
    corpus = make_corpus(["ab"] * 100, [1, 2] * 50)  # 9 steps each: 3 labels, 3 tokens

    # Two of five blocks of 20 are 360 steps.
    assert calibrate_labels(FILE, corpus)["year"]["records"] == 40


def test_a_table_of_n_grams_takes_no_records_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.tasks.predict_labels._MIN_PAIR_STEPS", 0)
    monkeypatch.setattr("charrnn.tasks.predict_labels._BLOCK_PAIRS", 60)
    products = 300 * FILE.config.num_parameters
    monkeypatch.setattr("charrnn.tasks.predict_labels._MAX_PRODUCTS", products)
    corpus = make_corpus(["ab"] * 100, [1, 2] * 50)
    file = make_records_file(labels=(YEAR,), ngram_order=3, ngram_rows=4_000)

    for each in (FILE, file):
        assert calibrate_labels(each, corpus)["year"]["records"] == 40


def test_records_that_take_too_long_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("charrnn.tasks.predict_labels._MIN_PAIR_STEPS", 0)
    corpus = make_corpus(["ab"] * 30, [1] * 30)  # 20 of them take 180 steps

    monkeypatch.setattr("charrnn.tasks.predict_labels._MAX_PAIR_STEPS", 90)
    assert calibrate_labels(FILE, corpus)["year"]["records"] == 30
    monkeypatch.setattr("charrnn.tasks.predict_labels._MAX_PAIR_STEPS", 89)
    assert calibrate_labels(FILE, corpus) == {}


def test_a_second_column_is_measured_by_its_own_rows() -> None:
    texts, _ = draw_records(BOTH, 30)
    corpus = make_corpus(texts, [0] * len(texts), BOTH)
    assert corpus.val_records is not None
    named = predict(texts, BOTH, column="year")
    first = 1 + len(WHO.values)
    rows = [first + YEAR.index_of[str(each.label)] for each in named]
    corpus.val_records.labels[:, 1] = rows

    found = calibrate_labels(BOTH, corpus)

    assert set(found) == {"year"}
    assert found["year"]["accuracy"] > 0.9


def test_a_file_keeps_the_figures_and_refuses_bad_ones() -> None:
    figures = {"temperature": 1.2, "error": 0.01}
    kept = unpack_model(pack_model(with_figures(FILE, **figures)), "kept")
    assert kept.summary["classification"] == {"year": figures}

    for bad in ({"temperature": "hot"}, {"error": [True]}, {"records": -1}):
        with pytest.raises(CheckpointError, match="classification"):
            unpack_model(pack_model(with_figures(FILE, **bad)), "bad")


# How texts are read.


def read(*names: str, **settings: Any) -> list[str]:
    reader = TextReader(TextConfig(**settings))
    return [text for _, block in reader.iter_blocks(names) for text in block]


def write(path: Path, text: str) -> str:
    path.write_bytes(text.encode())
    return str(path)


def test_each_line_of_a_file_is_a_text_blank_ones_too(tmp_path: Path) -> None:
    name = write(tmp_path / "a.txt", "\ufeffone\r\n\n two \n\nlast")

    assert read(name) == ["one", "", " two ", "", "last"]
    assert read(name, files=True) == ["one\n\n two \n\nlast"]


def test_lines_are_cut_the_same_wherever_the_bytes_are(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = "\ufeffäb\r\n\nc€d\n\n".encode()
    for size in range(1, 9):
        monkeypatch.setattr("charrnn.tasks.read_texts._CHUNK_BYTES", size)
        give_input(monkeypatch, raw)
        assert read("-") == ["äb", "", "c€d", ""]


@given(raw=st.lists(st.sampled_from(["a", "é", "\r", "\n", "\r\n", " ", "\u2028", "\ufeff"])))
def test_a_pipe_has_the_lines_of_a_file(tmp_path_factory: Any, raw: list[str]) -> None:
    path = tmp_path_factory.mktemp("lines") / "a.txt"
    text = "b" + "".join(raw)
    name = write(path, text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("charrnn.tasks.read_texts._CHUNK_BYTES", 3)
        give_input(patch, text.encode())
        lines = read("-")
    assert lines == read(name)
    newlines = text.replace("\r\n", "\n").replace("\r", "\n")
    assert lines == newlines.removesuffix("\n").split("\n")


def test_lines_of_a_pipe_come_when_they_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.chunks = [b"", b"c\nd", b"a\nb"]  # the last is read first

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            chunk = self.chunks.pop()
            buffer[: len(chunk)] = chunk
            return len(chunk)

    pipe = Pipe()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(pipe)))
    blocks = TextReader(TextConfig()).iter_blocks(["-"])

    assert next(blocks) == (STDIN, ["a"])
    assert pipe.chunks == [b"", b"c\nd"]
    assert [*blocks] == [(STDIN, ["bc"]), (STDIN, ["d"])]


def test_input_that_is_not_in_the_encoding_names_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = b"a\nb\n\xe9\n"
    give_input(monkeypatch, raw)
    with pytest.raises(CorpusError, match="standard input, line 3 is not utf-8"):
        read("-")
    give_input(monkeypatch, raw)
    assert read("-", encoding="latin-1") == ["a", "b", "é"]
    give_input(monkeypatch, raw)
    assert read("-", errors="skip") == ["a", "b", ""]
    give_input(monkeypatch, raw)
    assert read("-", unit="byte") == ["a", "b", "\udce9"]


def test_rows_of_a_table_may_be_blank_or_left_out(tmp_path: Path) -> None:
    csv = write(tmp_path / "a.csv", 'x,text\n1,"one\ntwo"\n2,\n3,b\n')
    lines = write(tmp_path / "b.jsonl", '{"text": "a"}\n{"text": ""}\nno\n{"text": "b"}\n')

    assert read(csv, text_column="text") == ["one\ntwo", "", "b"]
    with pytest.raises(CorpusError, match=r"b\.jsonl:3"):
        read(lines, text_column="text")
    reader = TextReader(TextConfig(text_column="text", skip_bad=True))
    assert [block for _, block in reader.iter_blocks([lines])] == [["a", "", "b"]]
    assert reader.notes == [f"left out 1 row: {lines}:3"]


def test_names_are_read_in_the_order_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    give_input(monkeypatch, b"in\n")
    first = write(tmp_path / "b.txt", "b\n")
    write(tmp_path / "c.txt", "c\n")

    assert read(first, "-", str(tmp_path), first) == ["b", "in", "b", "c", "b"]
    with pytest.raises(CorpusError, match="nowhere"):
        read(first, str(tmp_path / "nowhere"))
