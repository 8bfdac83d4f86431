"""The four figures of a memory stand side by side, with their controls, for every cell."""

from __future__ import annotations

import json
from functools import cache
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.generation.network import Network
from charrnn.interpret.colors import contrast
from charrnn.interpret.memory import (
    BACKS,
    MemoryReport,
    WordReport,
    inspect_memory,
)
from charrnn.interpret.pictures.memory import BOUNDS, LEVELS, background, draw_memory, level_of
from charrnn.interpret.report import as_json
from charrnn.interpret.subject import Subject
from tests.interpret.networks import WITH_NGRAMS, make_network, make_subject


def make_memory_subject(count: int = 1_500, **shape: Any) -> Subject:
    """Return a subject with a text of words of one and two letters, some of them rare."""
    sizes = {"vocab_size": 7, **shape}
    ids = np.random.default_rng(8).choice(7, count, p=[0.3, 0.2, 0.2, 0.1, 0.1, 0.05, 0.05])
    return make_subject(make_network(**sizes), ids[:90], ids)


@cache
def report_of(config: InspectConfig | None = None, **shape: Any) -> MemoryReport:
    return inspect_memory(make_memory_subject(**shape), config or InspectConfig())


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_report_has_all_figures_that_its_cell_allows(cell: str) -> None:
    report = report_of(cell=cell, num_layers=2)

    assert (report.layer, report.at) == (2, 89)
    assert (report.ledger is None) == (cell == "rnn")
    if report.ledger:
        assert report.ledger.kind == {"lstm": "c", "gru": "h"}[cell]
        assert report.ledger.residual < 1e-5
        assert report.ledger.shares.sum() + report.ledger.initial_share == pytest.approx(1)
    assert report.words
    assert report.decoding
    assert report.context
    assert report.shades().shape == (90,)
    assert report.shades().max() > 0
    assert report.words.mean_bits[0] > report.words.mean_bits[-1]
    assert report.decoding.backs == list(BACKS)
    assert report.decoding.information_bits[0] > 0.5
    assert report.context.contexts == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


def test_controls_stand_beside_the_decoder() -> None:
    decoding = report_of(cell="lstm").decoding

    assert decoding
    assert len(decoding.untrained_information_bits) == len(decoding.backs)
    assert len(decoding.untrained_accuracy) == len(decoding.backs)
    assert decoding.misaligned_information_bits == pytest.approx(0, abs=0.05)
    # On a random text nothing is left of what stands far back.
    assert decoding.information_bits[-1] == pytest.approx(0, abs=0.05)


def test_a_place_and_a_layer_can_be_chosen() -> None:
    report = report_of(InspectConfig(at=20, layer=1), cell="gru", num_layers=2)

    assert (report.layer, report.at, len(report.symbols)) == (1, 20, 21)
    assert report.words
    assert report.words.stops.max() <= 21


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (InspectConfig(at=90), "at=90 lies after the text.*0 to 89"),
        (InspectConfig(layer=3), "no layer 3.*1 to 2"),
    ],
)
def test_what_is_not_there_is_an_error_that_says_what_is(
    config: InspectConfig, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        report_of(config, cell="gru", num_layers=2)


def test_an_empty_text_is_an_error() -> None:
    subject = make_subject(make_network(cell="gru"), np.zeros(0, np.int64))

    with pytest.raises(ConfigError, match="the text is empty"):
        inspect_memory(subject, InspectConfig())


@pytest.mark.parametrize("count", [1, 2, 30, 999])
def test_a_short_held_out_text_leaves_out_what_it_cannot_measure(count: int) -> None:
    report = report_of(cell="lstm", count=count)

    assert report.ledger
    assert report.decoding is report.context is None
    json.dumps(as_json(report))


def test_a_text_without_words_has_no_figure_of_words() -> None:
    network = make_network(cell="lstm")
    ids = np.zeros(1_200, np.int64)  # newlines

    report = inspect_memory(make_subject(network, ids[:50], ids), InspectConfig())

    assert report.words is None
    assert report.context
    json.dumps(as_json(report), allow_nan=False)


def test_a_network_whose_state_never_changes_holds_nothing() -> None:
    network = make_network(cell="rnn", nonlinearity="relu")
    weights = {name: np.zeros_like(array) for name, array in network.weights.items()}
    subject = make_memory_subject(cell="rnn", nonlinearity="relu")
    dead = make_subject(Network(network.config, weights), subject.ids, subject.held_out)

    report = inspect_memory(dead, InspectConfig())

    assert report.words
    assert report.decoding
    assert not report.words.mean_distances.any()
    assert report.decoding.information_bits == pytest.approx([0] * len(BACKS), abs=1e-5)
    assert max(report.decoding.untrained_information_bits) > 0.5


def test_records_with_ends_are_inspected_too() -> None:
    subject = make_memory_subject(cell="gru", has_end=True, vocab_size=8)
    subject.held_out[::11] = 7
    subject = make_subject(subject.network, subject.held_out[:90], subject.held_out)

    report = inspect_memory(subject, InspectConfig())

    assert report.ledger
    assert not report.ledger.shares[:88].any()  # the last end is token 88


def test_a_network_with_ngrams_is_inspected_too() -> None:
    subject = make_memory_subject(cell="gru", has_end=True, vocab_size=8, **WITH_NGRAMS)
    subject.held_out[::11] = 7
    subject = make_subject(subject.network, subject.held_out[:90], subject.held_out)

    report = inspect_memory(subject, InspectConfig())

    assert report.ledger
    assert report.words
    assert report.decoding
    assert report.context
    assert report.ledger.residual < 1e-5
    assert not report.ledger.shares[:88].any()  # the last end is token 88
    # A record has at most ten characters before the one that is predicted.
    assert report.context.alone_bits[4] == pytest.approx(report.context.whole_bits, abs=0.02)


def test_the_work_of_a_step_is_the_same_with_more_ngrams() -> None:
    few, many, none = (
        make_network(cell="lstm", **shape).config.num_dense_parameters
        for shape in (WITH_NGRAMS, {"ngram_order": 3, "ngram_rows": 1_000}, {})
    )

    assert few == many == none


def test_the_same_seed_gives_the_same_report() -> None:
    first, again, other = (
        as_json(inspect_memory(make_memory_subject(cell="gru"), InspectConfig(seed=seed)))
        for seed in (0, 0, 1)
    )

    assert first == again
    assert first != other


def test_progress_ends_with_all_that_is_to_do() -> None:
    said: list[tuple[int, int]] = []

    inspect_memory(
        make_memory_subject(cell="lstm"), InspectConfig(), lambda *each: said.append(each)
    )

    total = said[0][1]
    assert said == [(done, total) for done in range(1, total + 1)]


def test_a_table_has_a_row_for_each_point_of_each_curve() -> None:
    report = report_of(cell="lstm")

    columns, rows = report.table()

    assert all(len(row) == len(columns) for row in rows)
    assert {row[0] for row in rows} == {
        "ledger",
        "mean ledger",
        "other words",
        "decoding",
        "context",
    }
    ledger = [row for row in rows if row[0] == "ledger"]
    assert [row[1] for row in ledger] == list(range(89, -1, -1))
    assert report.ledger
    assert [row[2] for row in ledger] == report.ledger.shares.tolist()
    decoding = [row for row in rows if row[0] == "decoding"]
    assert [row[1] for row in decoding] == list(BACKS)
    assert all(isinstance(value, int | float | str | None) for row in rows for value in row)


def make_reports() -> dict[str, MemoryReport]:
    """Return the reports of three cells with names to escape, and one of little text."""
    reports = {f"<{cell}> & co": report_of(cell=cell) for cell in ("rnn", "lstm", "gru")}
    return reports | {"short": report_of(cell="lstm", count=30)}


def test_the_picture_has_a_curve_of_each_model_in_each_chart() -> None:
    reports = make_reports()

    svg = draw_memory(reports)

    ElementTree.fromstring(svg)
    assert "NaN" not in svg.replace("nan", "NaN")
    assert svg.count("<g ") == 6
    assert "&lt;rnn&gt; &amp; co" in svg
    words, loss = (svg.split("<g ")[number] for number in (3, 2))
    assert words.count("<polyline") >= 3
    assert loss.count("<polyline") == 3
    assert svg == draw_memory(reports)


def test_a_picture_of_an_rnn_alone_has_no_ledger() -> None:
    svg = draw_memory({"book": report_of(cell="rnn")})

    assert "no ledger in an rnn" in svg
    assert svg.count("<g ") == 5


def test_what_cannot_be_measured_is_not_drawn() -> None:
    report = report_of(cell="lstm", count=1)

    svg = draw_memory({"book": report})

    ElementTree.fromstring(svg)
    assert svg.count("<g ") == 1


@pytest.mark.parametrize(
    ("share", "level"), [(0, 0), (0.0003, 1), (0.0099, 3), (0.01, 4), (0.1, 6), (1, 6)]
)
def test_a_background_stands_for_a_share(share: float, level: int) -> None:
    assert level_of(share) == level
    assert len(LEVELS) == len(BOUNDS) + 1


def test_a_network_that_forgets_at_once_has_curves_without_points() -> None:
    nothing = np.zeros(3)
    words = WordReport(
        starts=np.array([0]),
        stops=np.array([2]),
        bits=np.zeros(1),
        distances=np.zeros(1),
        mean_bits=nothing,
        mean_distances=nothing,
        lasting_bits={},
        lasting_distances={},
        words=4,
        replacements=16,
    )
    report = MemoryReport("rnn", 1, 2, ["a", "b", " "], None, words, None, None)

    svg = draw_memory({"book": report})

    ElementTree.fromstring(svg)
    assert svg.count("<g ") == 2
    assert svg.count("<polyline") == 0


def test_backgrounds_grow_darker() -> None:
    grounds = [contrast("#ffffff", background(level)) for level in range(7)]

    assert grounds == sorted(grounds)
    assert len(set(grounds)) == 7
