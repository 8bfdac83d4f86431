"""View `guesses`: costs as of `charrnn score`, probabilities, ranks, and the picture."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.interpret.guesses import WINDOW, GuessesReport, guess_cells, inspect_guesses
from charrnn.interpret.pictures.guesses import draw_guesses
from charrnn.interpret.report import as_json
from charrnn.interpret.subject import Subject
from charrnn.tasks.model import Model
from tests.interpret.networks import V, make_ids, make_network, make_subject

T = 40


def make_report(subject: Subject | None = None, **settings: int) -> GuessesReport:
    subject = subject or make_subject(make_network(cell="gru"), make_ids(T))
    return inspect_guesses(subject, InspectConfig(**settings))  # type: ignore[arg-type]


def uniform_subject(ids: list[int]) -> Subject:
    """Return a model to which all tokens are equally likely."""
    network = make_network(cell="gru")
    network.weights["output.weight"][:] = 0
    network.weights["output.bias"][:] = 0
    return make_subject(network, np.array(ids))


def test_surprises_are_the_bits_of_score() -> None:
    subject = make_subject(make_network(cell="lstm", num_layers=2), make_ids(T))

    found = inspect_guesses(subject, InspectConfig()).surprise_bits

    scores = Model(subject.file).score(subject.vocab.decode(subject.ids))
    assert found == pytest.approx(scores.bits, abs=1e-5)


def test_probabilities_of_all_tokens_sum_to_one_and_descend() -> None:
    report = make_report(top=100)

    assert report.probabilities.shape == (T, V)
    assert report.probabilities.sum(-1) == pytest.approx(1, abs=1e-6)
    assert (np.diff(report.probabilities) <= 0).all()
    assert all(len(set(guesses)) == V for guesses in report.guesses)


def test_the_rank_says_where_among_the_guesses_the_true_one_is() -> None:
    report = make_report(top=3)

    assert report.probabilities.shape == (T, 3)
    for symbol, guesses, rank in zip(report.symbols, report.guesses, report.ranks, strict=True):
        assert (guesses.index(symbol) + 1 if symbol in guesses else None) == (
            rank if rank <= 3 else None
        )


def test_of_equals_the_lower_id_comes_first() -> None:
    report = make_report(uniform_subject([2, 0, 6]), top=4)

    assert report.guesses == [["\n", "a", "b", "c"]] * 3
    assert report.ranks.tolist() == [3, 1, 7]


def test_a_uniform_model_is_as_surprised_as_it_is_uncertain() -> None:
    report = make_report(uniform_subject([2, 0, 6]))

    assert report.entropy_bits == pytest.approx(np.log2(V), abs=1e-5)
    assert report.excess_bits == pytest.approx(0, abs=1e-5)
    assert report.true_probabilities == pytest.approx(1 / V)
    assert "2.81 bits of surprise" in report.described


def test_entropy_is_the_surprise_that_is_expected() -> None:
    report = make_report(top=V)

    chances = report.probabilities.astype(np.float64)
    assert report.entropy_bits == pytest.approx(-(chances * np.log2(chances)).sum(-1), abs=1e-5)


def test_a_place_after_the_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="at=40 lies after the text; give a place from 0 to 39"):
        make_report(at=T)


def test_the_window_holds_the_place_and_lies_in_the_text() -> None:
    long = make_subject(make_network(cell="rnn"), make_ids(3 * WINDOW))
    for at in (0, WINDOW, 3 * WINDOW - 1):
        window = make_report(long, at=at).window
        assert at in window
        assert len(window) == WINDOW
        assert (window.start >= 0, window.stop <= 3 * WINDOW) == (True, True)
    assert make_report().window == range(T)


def test_a_table_has_a_row_for_each_place() -> None:
    report = make_report(top=2)

    columns, rows = report.table()

    assert columns[:6] == [
        "place",
        "symbol",
        "probability",
        "rank",
        "surprise_bits",
        "entropy_bits",
    ]
    assert columns[6:] == ["guess_1", "probability_1", "guess_2", "probability_2"]
    assert len(rows) == T
    assert {len(row) for row in rows} == {len(columns)}
    assert as_json(report)["guesses"][3] == rows[3][6::2]


def test_a_column_is_as_wide_as_what_stands_in_it() -> None:
    report = make_report(uniform_subject([0, 1]), top=2)
    report.guesses[1][0] = "<E4>"
    report.guesses[0][0] = "\u0301"

    cells = guess_cells({"book": report}, lambda symbol: symbol.replace("\n", "N"))

    assert [(cell.shown, cell.columns) for cell in cells] == [("N", 1), ("a", 4)]


def test_a_picture_outlines_what_came() -> None:
    report = make_report(top=2)

    svg = draw_guesses({"book": report, "other": report})

    ElementTree.fromstring(svg)
    assert "nan" not in svg.lower()
    found = int((report.ranks <= 2).sum())
    assert svg.count('fill="none" stroke=') == 2 * found + 1  # one of the legend
    assert svg.count("bits of surprise") == 2
    assert svg == draw_guesses({"book": report, "other": report})
