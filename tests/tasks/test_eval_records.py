"""A model of records is scored on records: those of its corpus, or a given text read like them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import TextConfig
from charrnn.data.corpus import open_corpus
from charrnn.data.labels import LabelColumn, Labels
from charrnn.errors import ConfigError, CorpusError
from charrnn.tasks.eval_text import EvalText, EvalTextRequest, NamedModel, read_eval_text
from charrnn.tasks.originality import open_own_text
from charrnn.text.vocab import END, Vocab

LINES = "".join(f"__label__{'ab'[i % 2]} {'ab' * (1 + i % 3)} {i:b}\n" for i in range(60))
OF_LINES: dict[str, Any] = {"lines": True, "label": "prefix"}

Make = Callable[..., ModelFile]


@pytest.fixture(autouse=True)
def _at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def trained(make_model: Make) -> Callable[..., NamedModel]:
    """Return a function that makes a model which says it was trained on a file of that content."""

    def make(content: str, name: str = "text.txt", **settings: Any) -> NamedModel:
        Path(name).write_text(content, encoding="utf-8")
        corpus = open_corpus([name], TextConfig(**settings))
        about = {"paths": [name], "sha256": corpus.sha256}
        summary = {"corpus": about, "settings": settings}
        file = replace(make_model(), vocab=corpus.vocab, labels=corpus.labels, summary=summary)
        return NamedModel("m", file)

    return make


def scored(text: EvalText, model: NamedModel) -> tuple[str, list[list[int]]]:
    """Return the characters that are scored, and the labels of the records."""
    assert text.records is not None
    assert text.records.ends[-1] == len(text.ids)
    return model.file.vocab.decode(text.ids), text.records.labels.tolist()


def test_each_part_is_that_of_the_corpus_and_all_is_their_sum(
    trained: Callable[..., NamedModel],
) -> None:
    model = trained(LINES, test_fraction=0.2, **OF_LINES)
    corpus = open_corpus(["text.txt"], model.text)
    texts = {
        split: read_eval_text([model], EvalTextRequest(split=split))
        for split in ("train", "val", "test", "all")
    }

    for part in ("train", "val", "test"):
        ids, rows = scored(texts[part], model)
        assert ids == corpus.vocab.decode(getattr(corpus, part))
        assert rows == getattr(corpus, f"{part}_records").labels.tolist()
    ids, rows = scored(texts["all"], model)
    assert ids.count(END) == 61
    assert END + END not in ids
    assert len(rows) == 60


@pytest.mark.parametrize("is_file", [True, False])
def test_a_given_text_is_read_as_records_with_the_models_labels(
    trained: Callable[..., NamedModel], is_file: bool
) -> None:
    model = trained(LINES, **OF_LINES)
    given = "__label__b ab\n\n__label__new b\na\n"
    Path("given.txt").write_text(given)
    request = EvalTextRequest(files=("given.txt",)) if is_file else EvalTextRequest(text=given)

    text = read_eval_text([model], request)

    assert scored(text, model) == (f"{END}ab{END}b{END}a{END}", [[2], [0], [0]])
    assert text.texts == ["given.txt"] if is_file else ["text given"]


def test_lines_that_were_chosen_by_the_text_are_known_to_the_model(
    trained: Callable[..., NamedModel],
) -> None:
    model = trained("".join(f"a{i:b}\n" for i in range(60)))

    assert model.text.lines is True
    assert scored(read_eval_text([model], EvalTextRequest(text="a1\na0")), model) == (
        f"{END}a1{END}a0{END}",
        [[], []],
    )


def test_a_literal_is_one_record_to_a_model_of_rows(trained: Callable[..., NamedModel]) -> None:
    table = "text,label\n" + "".join(f"ab {i:b},{'xy'[i % 2]}\n" for i in range(20))
    settings = {"text_column": "text", "label_column": "label", "skip_bad": True}
    model = trained(table, "t.csv", **settings)
    Path("other.csv").write_text("label,text\ny,ab 1\nz,a\nw\n")

    literal = read_eval_text([model], EvalTextRequest(text="ab\n"))
    of_file = read_eval_text([model], EvalTextRequest(files=("other.csv",)))

    assert scored(literal, model) == (f"{END}ab{END}", [[0]])
    assert scored(of_file, model) == (f"{END}ab 1{END}a{END}", [[2], [0]])
    assert of_file.notes == ("1 row skipped: other.csv:4",)


def test_a_table_whose_name_does_not_say_its_layout_is_read_as_the_models_own(
    trained: Callable[..., NamedModel],
) -> None:
    table = "text\tlabel\n" + "".join(f"ab {i:b}\t{'xy'[i % 2]}\n" for i in range(20))
    settings = {"text_column": "text", "label_column": "label", "header": True}
    model = trained(table, "t.tsv", **settings)
    Path("rows.txt").write_text("label\ttext\ny\tab 1\n")
    Path("rows.csv").write_text("label,text\nx,b\n")

    for name, row, label in (("rows.txt", "ab 1", 2), ("rows.csv", "b", 1)):
        text = read_eval_text([model], EvalTextRequest(files=(name,)))
        assert scored(text, model) == (f"{END}{row}{END}", [[label]])


def test_a_table_that_is_scored_needs_no_groups(trained: Callable[..., NamedModel]) -> None:
    table = "text,author\n" + "".join(f"ab {i:b},{i % 5}\n" for i in range(20))
    settings = {"text_column": "text", "group_column": "author", "split": "records"}
    model = trained(table, "t.csv", **settings)
    Path("other.csv").write_text("text\nab 1\n")

    text = read_eval_text([model], EvalTextRequest(files=("other.csv",)))

    assert scored(text, model) == (f"{END}ab 1{END}", [[]])


def test_unseen_characters_have_no_ids_and_are_counted(
    trained: Callable[..., NamedModel],
) -> None:
    model = trained(LINES, **OF_LINES)
    text = read_eval_text([model], EvalTextRequest(text="a§b\n§\nb"))

    assert scored(text, model) == (f"{END}ab{END}{END}b{END}", [[0], [0], [0]])
    assert text.unseen_chars == 2


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        (
            EvalTextRequest(text="ab", split="val"),
            ConfigError,
            "held out a part of its own",
        ),
        (EvalTextRequest(text="\n\n"), CorpusError, "text given leaves 0 characters to score"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    trained: Callable[..., NamedModel],
    request_: EvalTextRequest,
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        read_eval_text([trained(LINES, **OF_LINES)], request_)


def test_models_of_other_labels_or_records_are_not_compared(
    trained: Callable[..., NamedModel],
) -> None:
    model = trained(LINES, **OF_LINES)
    other_labels = Labels((LabelColumn("label", ("a", "c"), (30, 30)),))
    labelled = NamedModel("other", replace(model.file, labels=other_labels))
    summary = model.file.summary | {"settings": OF_LINES | {"label_prefix": "#"}}
    read = NamedModel("other", replace(model.file, summary=summary))

    with pytest.raises(ConfigError, match="m and other have different labels"):
        read_eval_text([model, labelled], EvalTextRequest(text="ab"))
    with pytest.raises(ConfigError, match="trained with label_prefix __label__ and #"):
        read_eval_text([model, read], EvalTextRequest(text="ab"))


def test_an_older_model_of_documents_says_that_its_text_is_read_otherwise_now(
    trained: Callable[..., NamedModel],
) -> None:
    model = trained("ab--a--b", document_end="--", val_fraction=0)
    older = NamedModel("old", replace(model.file, vocab=Vocab("-ab"), labels=Labels()))

    with pytest.raises(CorpusError, match="trained by an older version, to which the end of a"):
        read_eval_text([older], EvalTextRequest(split="train"))
    assert read_eval_text([older], EvalTextRequest(text="ab--a")).records is None


# ── what is copied ──


@pytest.mark.parametrize("mark", ["\n", "--\n"])
def test_copies_are_found_across_marks_where_they_stand_in_the_text(
    trained: Callable[..., NamedModel], mark: str
) -> None:
    names = [f"ab{i:06b}" for i in range(40)]
    kind = {"lines": True} if mark == "\n" else {"document_end": mark}
    model = trained("".join(name + mark for name in names), split="tail", **kind)
    own = open_own_text("m", model.file)
    text = f"b{mark}{names[3]}{mark}{names[4]}{mark}ba"

    report = own.find_copies(text, least=10)

    (span,) = report.spans
    assert text[slice(*span)] == report.longest == f"{mark}{names[3]}{mark}{names[4]}{mark}"
    assert report.text == text
    of_one = own.find_copies(f"a{names[3]}b", least=8)
    assert (of_one.longest, of_one.file, of_one.line) == (names[3], "text.txt", 4)
    assert names[3] in own.records
    assert names[3] in own.lines
