"""Models looked at: what one cannot show the others still do; progress; the page of a notebook."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import charrnn
from charrnn.cli.inspect.summary import show_summary
from charrnn.config.inspect import InspectConfig
from charrnn.errors import CharRNNError, CheckpointError, ConfigError, DivergedError, VocabError
from charrnn.interpret import text as text_view
from charrnn.interpret.subject import Subject
from charrnn.tasks.inspect import inspect
from tests.interpret.networks import make_ids, make_network, make_subject


def make_named(cell: str) -> Subject:
    return replace(make_subject(make_network(cell=cell), make_ids(60)), name=cell)


def test_a_unit_that_one_model_lacks_is_shown_of_the_other() -> None:
    subjects = [make_named("rnn"), make_named("lstm")]
    found = inspect(subjects, InspectConfig(neurons=("c1.1",)), ["text", "guesses"])

    assert [*found.reports["text"]] == ["lstm"]
    assert found.left_out["text"].startswith("rnn: ")
    assert [*found.reports["guesses"]] == ["rnn", "lstm"]
    assert [*found.left_out] == ["text"]
    assert found.page()


@pytest.mark.parametrize("kind", [CheckpointError, DivergedError, VocabError])
def test_a_view_that_fails_is_left_out_whatever_the_error(
    kind: type[CharRNNError], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(subject: Subject, config: InspectConfig) -> Any:
        raise kind("its snapshots are damaged")

    monkeypatch.setattr(text_view, "inspect_text", fail)
    found = inspect([make_named("rnn"), make_named("gru")], InspectConfig(), ["text", "guesses"])

    assert found.left_out == {"text": "its snapshots are damaged"}
    assert [*found.reports] == ["guesses"]


def test_models_that_fail_for_different_reasons_are_each_named() -> None:
    subjects = [make_named("rnn"), make_named("gru")]
    found = inspect(subjects, InspectConfig(neurons=("f1.0",)), ["text"])

    assert "rnn: " in found.left_out["text"]
    assert "; gru: " in found.left_out["text"]


def test_a_view_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no view 'txt'"):
        inspect([make_named("rnn")], InspectConfig(), ["txt"])


def test_progress_rises_within_a_view_too() -> None:
    said: list[tuple[float, str]] = []
    subjects = [make_named("lstm"), make_named("gru")]
    inspect(
        subjects,
        InspectConfig(),
        ["text", "gates"],
        on_progress=lambda *each: said.append(each),
    )

    shares = [done for done, _ in said]
    assert shares == sorted(shares)
    assert {view for _, view in said} == {"text", "gates"}
    assert len({share for share in shares if 1 < share < 2}) > 1
    assert shares[-1] <= 2


def test_a_notebook_shows_the_page_in_a_frame_that_it_cannot_leave(tmp_path: Path) -> None:
    found = inspect([make_named("gru")], InspectConfig(), ["text"])
    frames = []

    class Frames(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            frames.append((tag, dict(attrs)))

    Frames().feed(found._repr_html_())
    found.save(tmp_path / "page.html")

    [(tag, attributes)] = frames  # no mark of the page itself is outside of it
    assert tag == "iframe"
    assert attributes["sandbox"] == "allow-scripts allow-downloads"
    assert attributes["srcdoc"] == found.page()
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == found.page()


@pytest.mark.parametrize(
    ("half_life", "words"),
    [(float("inf"), "the gradient does not halve"), (4.25, "halves every 4.2 characters back")],
)
def test_a_gradient_that_does_not_fade_is_not_said_to_halve(half_life: float, words: str) -> None:
    found = inspect([make_named("lstm")], InspectConfig(), ["gradients"])
    report = found.reports["gradients"]["lstm"]
    reaches = [replace(each, half_life_chars=half_life) for each in report.reaches]
    changed = {"gradients": {"lstm": replace(report, reaches=reaches)}}
    out = StringIO()

    show_summary(replace(found, reports=changed), Console(file=out, width=200))

    assert words in out.getvalue()
    assert "inf" not in out.getvalue()


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Train a tiny model named book on book.txt, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text("abba ab ba. ab (ba) aab.\n" * 90, encoding="utf-8")
    sizes = {"steps": 2, "hidden_size": 4, "batch_size": 2, "seq_len": 5, "threads": 1}
    charrnn.fit("book.txt", name="book", **sizes)


@pytest.mark.usefixtures("trained")
def test_without_a_text_a_model_reads_what_it_held_out() -> None:
    model = charrnn.load("book")
    assert isinstance(model, charrnn.Model)

    own = model.inspect(views=["text", "training"])
    by_name = charrnn.inspect("book", views=["text", "training"])

    [mine], [other] = own.subjects, by_name.subjects
    assert mine.ids.tolist() == other.ids.tolist()
    assert len(mine.ids) > 100
    assert [*own.left_out] == ["training"]  # which is of a run
    assert [*by_name.reports] == ["text", "training"]


@pytest.mark.usefixtures("trained")
def test_a_file_is_read_in_its_encoding_and_what_is_unknown_as_asked() -> None:
    Path("other.txt").write_bytes("abba é ab".encode("latin-1") * 3)

    found = charrnn.inspect("book", file="other.txt", encoding="latin-1", views=["text"])
    assert found.left_out == {}
    with pytest.raises(CharRNNError, match="utf-8"):
        charrnn.inspect("book", file="other.txt", encoding="utf-8", views=["text"])
    with pytest.raises(VocabError):
        charrnn.inspect("book", text="abéa", unknown="error", views=["text"])
    [subject] = charrnn.inspect("book", text="ab€a", unknown="skip", views=["text"]).subjects
    assert len(subject.ids) == 3
    with pytest.raises(ConfigError, match="unknown is 'drop'; choose from error, skip, map"):
        charrnn.inspect("book", text="ab", unknown="drop", views=["text"])
