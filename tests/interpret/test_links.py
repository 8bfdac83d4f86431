"""What a prediction rests on, against finite differences and networks that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.generation.network import Network
from charrnn.interpret.links import (
    GAP,
    WINDOWS,
    ablation_links,
    gradient_links,
    input_rows,
    inspect_links,
    integrated_links,
    network_of_rows,
    scale_share,
)
from charrnn.interpret.pictures.links import draw_links
from charrnn.interpret.report import as_json
from charrnn.interpret.trace import Array, record
from charrnn.state import select_row
from tests.interpret.networks import (
    EACH_SHAPE,
    ORDER,
    WITH_NGRAMS,
    V,
    added_by_ngrams,
    make_ids,
    make_network,
    make_subject,
)
from tests.interpret.svg_checks import assert_is_picture

T = 5


def logits_of(network: Network, rows: Array) -> Array:
    """Return the logits (V,) after reading rows of a table, one after the other."""
    reader = network_of_rows(network, rows)
    return reader.logits(reader.prefill(range(len(rows)), network.initial_state()))


@EACH_SHAPE
def test_gradient_links_are_finite_differences(shape: dict[str, Any]) -> None:
    network = make_network(dtype=np.float64, **shape)
    ids = make_ids(T)
    table = network.weights["embedding.weight"]
    rows = input_rows(record(network, ids))
    expected = np.zeros((T, V))
    for s in range(T):
        for token in range(V):  # x_s is one-hot: more of a token is more of its row
            step = np.zeros_like(rows)
            step[s] = 1e-6 * table[token]
            up, down = (logits_of(network, rows + sign * step)[2] for sign in (1, -1))
            expected[s, token] = (up - down) / 2e-6

    found = gradient_links(record(network, ids), np.array([T - 1]), np.array([2]))

    assert found[0] == pytest.approx(np.linalg.norm(expected, axis=1), rel=1e-5)


@EACH_SHAPE
def test_integrated_gradients_sum_to_the_difference_of_logits(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    ids = make_ids(12)
    rows = input_rows(record(network, ids))
    baseline = rows.mean(0)

    found, gaps = integrated_links(record(network, ids), np.array([2, 5]), baseline)

    # A relu's slope jumps on the way, where more points help little.
    tolerance = 0.05 if shape["nonlinearity"] == "relu" else GAP
    assert np.abs(gaps).max() < tolerance
    ends = [logits_of(network, each) for each in (rows, np.tile(baseline, (12, 1)))]
    assert found.sum(1) == pytest.approx((ends[0] - ends[1])[[2, 5]], abs=2 * tolerance)


@EACH_SHAPE
def test_input_rows_are_what_the_network_reads(shape: dict[str, Any]) -> None:
    network = make_network(**shape)
    trace = record(network, make_ids(12))

    rows = input_rows(trace)

    assert logits_of(network, rows) == pytest.approx(trace.logits[-1], abs=2e-5)
    scaled = np.float32(network.config.embedding_scale) * rows
    assert np.allclose(scaled, trace.inputs(0), atol=1e-6)


def test_integrated_gradients_begin_at_what_is_read_on_average() -> None:
    network = make_network(cell="gru", has_end=True, **WITH_NGRAMS)
    held_out = make_ids(90, seed=6)
    ids = make_ids(12, size=V - 1)
    subject = make_subject(network, ids, held_out)
    state = network.initial_state()
    read = []
    for token in held_out.tolist():
        if token != V - 1:
            ngrams = added_by_ngrams(network, token, state[-1][0])
            read.append(network.weights["embedding.weight"][token] + ngrams)
        state = network.advance(token, state)

    links = inspect_links(subject, InspectConfig(method="ig")).links[0]

    token = subject.vocab.encode(links.symbol)[0]
    baseline = np.tile(np.mean(read, 0), (12, 1))
    ends = [logits_of(network, rows) for rows in (input_rows(subject.trace), baseline)]
    expected = (ends[0] - ends[1])[token]
    assert links.strengths.sum() == pytest.approx(expected, abs=2 * GAP)


@pytest.mark.parametrize("ngrams", [{}, WITH_NGRAMS], ids=["without", "with"])
def test_ablation_links_are_those_of_texts_written_out(ngrams: dict[str, Any]) -> None:
    network = make_network(cell="lstm", num_layers=2, **ngrams)
    ids = make_ids(T)
    draws = make_ids(T, 3, seed=8)

    found = ablation_links(record(network, ids), np.array([2, 6]), draws)

    def log2_p(text: Array) -> Array:
        return record(network, text).log_probabilities[-1][[2, 6]] / np.log(2)

    for s in range(T):
        texts = [np.concatenate((ids[:s], [draw], ids[s + 1 :])) for draw in draws[s]]
        expected = log2_p(ids) - np.mean([log2_p(text) for text in texts], axis=0)
        assert found[:, s] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("method", ["gradient", "ablate", "ig"])
def test_an_ngram_counts_for_its_last_character_and_where_others_are_tried_for_all(
    method: str,
) -> None:
    network = make_network(cell="gru", **WITH_NGRAMS)
    network.weights["layers.0.weight_hh"][:] = 0
    network.weights["layers.0.bias_ih"].reshape(3, -1)[1] = -100  # no memory, only n-grams
    ids = make_ids(40, seed=5)
    subject = make_subject(Network(network.config, network.weights), ids)
    at = int(np.flatnonzero(subject.trace.ngrams[1][0, 20:])[0]) + 20  # a pair with a row

    report = inspect_links(subject, InspectConfig(at=at, method=method))

    strengths = np.abs(report.links[0].strengths)
    assert strengths[-1] > 1e-3
    assert (strengths[-2] > 1e-3) == (method == "ablate")
    assert strengths[:-ORDER].max() < 1e-6


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("method", ["gradient", "ablate", "ig"])
def test_a_bigram_network_rests_on_the_last_character_alone(cell: str, method: str) -> None:
    network = make_network(cell=cell)
    network.weights["layers.0.weight_hh"][:] = 0
    bias = network.weights["layers.0.bias_ih"].reshape(-1, network.config.hidden_size)
    if cell != "rnn":
        bias[1] = -100  # the forget gate of an lstm, the update gate of a gru
    subject = make_subject(Network(network.config, network.weights), make_ids(20))

    report = inspect_links(subject, InspectConfig(at=10, method=method))

    for links in report.links:
        assert np.abs(links.strengths[:-1]).max() < 1e-6
        assert abs(links.strengths[-1]) > 1e-3
        assert abs(links.relative[-1]) == 1


def test_both_the_next_character_and_the_likeliest_are_explained() -> None:
    subject = make_subject(make_network(cell="gru"), make_ids(20))

    report = inspect_links(subject, InspectConfig(at=10))

    true, likeliest = report.links
    log_p = subject.trace.log_probabilities[10]
    assert (true.kind, likeliest.kind) == ("true", "likeliest")
    assert true.symbol == subject.symbols[11]
    assert true.probability == pytest.approx(np.exp(log_p[subject.ids[11]]))
    assert likeliest.probability == pytest.approx(np.exp(log_p.max()))
    assert np.allclose(report.matrix[-1], true.strengths)
    assert report.followers == subject.symbols[1:12]


def test_after_the_last_character_the_likeliest_is_explained() -> None:
    report = inspect_links(make_subject(make_network(), make_ids(20)), InspectConfig())

    assert [links.kind for links in report.links] == ["likeliest"]
    assert (report.start, report.at) == (0, 19)


def test_each_row_of_the_matrix_is_a_prediction_of_its_own() -> None:
    subject = make_subject(make_network(cell="lstm"), make_ids(20))

    matrix = inspect_links(subject, InspectConfig()).matrix

    assert (np.triu(matrix, 1) == 0).all()
    row = inspect_links(subject, InspectConfig(at=7)).links[0].strengths
    assert np.allclose(matrix[7, :8], row)


def test_a_long_text_is_looked_at_in_a_window() -> None:
    subject = make_subject(make_network(), make_ids(300))

    report = inspect_links(subject, InspectConfig(at=250))

    assert report.start == 251 - WINDOWS["gradient"]
    assert len(report.symbols) == WINDOWS["gradient"]
    assert "123 characters before" in report.notes[0]
    part = record(
        subject.network,
        subject.ids[report.start : 251],
        select_row(subject.trace.states, report.start),
    )
    assert np.allclose(part.hidden(0)[-1], subject.trace.hidden(0)[251])


def test_nothing_before_the_end_of_a_record_is_looked_at() -> None:
    network = make_network(cell="gru", has_end=True)
    ids = np.array([1, 2, V - 1, 3, 4, V - 1])

    report = inspect_links(make_subject(network, ids, make_ids(50)), InspectConfig())

    assert (report.start, report.at) == (3, 4)


def test_a_scale_has_one_colour_for_a_strength_everywhere() -> None:
    assert scale_share(0.0, "ig") == 0
    assert scale_share(0.01 * 10**1.5, "ablate") == pytest.approx(0.5)
    assert scale_share(-1e9, "gradient") == -1


def test_a_report_is_a_table_and_the_same_each_time() -> None:
    subject = make_subject(make_network(cell="lstm"), make_ids(40))

    for method in WINDOWS:
        config = InspectConfig(method=method, seed=3, at=20)
        report = inspect_links(subject, config)
        assert as_json(report) == as_json(inspect_links(subject, config))
        columns, rows = report.table()
        assert len(rows) == len(report.symbols)
        assert {len(row) for row in rows} == {len(columns)}


@pytest.mark.parametrize("method", WINDOWS)
def test_models_are_drawn_one_below_the_other(method: str) -> None:
    reports = {
        f"<{cell}>": inspect_links(
            make_subject(make_network(cell=cell), make_ids(120)),
            InspectConfig(at=100, method=method),
        )
        for cell in ("rnn", "lstm")
    }

    words = assert_is_picture(draw_links(reports))

    assert {"<rnn>", "<lstm>"} <= set(words)
    assert sum("after place 100" in word for word in words) == 4
    assert draw_links(reports) == draw_links(reports)
