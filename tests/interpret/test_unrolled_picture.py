"""The picture of the unrolled network."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.interpret.colors import CURVES
from charrnn.interpret.pictures.unrolled import draw_unrolled
from charrnn.interpret.unrolled import UnrolledReport, inspect_unrolled
from tests.interpret.networks import CELLS, make_ids, make_network, make_subject

GOLDEN = Path(__file__).parents[1] / "golden" / "unrolled.svg"


def make_report(count: int = 30, **shape: Any) -> UnrolledReport:
    subject = make_subject(make_network(**shape), make_ids(count))
    return inspect_unrolled(subject, InspectConfig(at=count // 2))


def golden_report() -> UnrolledReport:
    """Return a report of numbers that no machine computes otherwise."""
    return UnrolledReport(
        name="book",
        cell="lstm",
        hidden_size=4,
        embedding_size=3,
        num_layers=2,
        residual=False,
        start=5,
        at=6,
        layer=1,
        symbols=("a", "<", "\n"),
        guesses=("b", " ", "<E4>"),
        chances=np.array([0.5, 0.25, 1.0]),
        truth=np.array([0.5, 0.125, np.nan]),
        strengths=np.array([[0.0, 0.5], [0.25, 1.0], [0.75, 0.125]]),
        scale=1.0,
        gates={name: np.array([0.5, 0.25, 0.75]) for name in "ifgo"},
        gradients=np.array([[0.001, 0.01], [0.1, 1.0], [0.0, 0.0]]),
        seq_len=6,
        cuts=(1,),
        ends=(),
    )


@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
@pytest.mark.parametrize("num_layers", [1, 3])
def test_it_is_xml_with_one_node_for_each_character_and_layer(
    cell: str, nonlinearity: str, num_layers: int
) -> None:
    report = make_report(cell=cell, nonlinearity=nonlinearity, num_layers=num_layers)
    svg = draw_unrolled({"book": report})
    nodes = [node.get("id") for node in ElementTree.fromstring(svg).iter() if node.get("id")]

    places = range(report.start, report.start + len(report.symbols))
    layers = range(1, num_layers + 1)
    assert sorted(filter(None, nodes)) == sorted(f"m0-t{t}-l{n}" for t in places for n in layers)
    assert "nan" not in svg.lower()


def test_each_matrix_has_one_colour_and_its_name_beside_an_arrow() -> None:
    svg = draw_unrolled({"book": make_report(num_layers=2)})
    words = {
        node.text: node.get("fill")
        for node in ElementTree.fromstring(svg).iter()
        if node.tag.endswith("text")
    }

    assert [words[name] for name in ("U1", "U2", "W1", "W2", "V")] == [
        *CURVES[:1] * 2,
        *CURVES[1:2] * 2,
        CURVES[2],
    ]


def test_no_state_crosses_the_end_of_a_record() -> None:
    ids = np.array([1, 2, 6, 3, 4])
    subject = make_subject(make_network(has_end=True), ids)
    svg = draw_unrolled({"book": inspect_unrolled(subject, InspectConfig(at=3))})

    assert svg.count(">set back<") == 1


def test_the_ids_of_two_models_differ() -> None:
    svg = draw_unrolled({"one": make_report(), "two": make_report(cell="gru")})
    ids = [node.get("id") for node in ElementTree.fromstring(svg).iter() if node.get("id")]

    assert len(ids) == len(set(ids)) == 24


def test_the_picture_is_the_golden_one() -> None:
    # To change it on purpose: GOLDEN.write_text(draw_unrolled({"book": golden_report()})).
    assert draw_unrolled({"book": golden_report()}) == GOLDEN.read_text(encoding="utf-8")
