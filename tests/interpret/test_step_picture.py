"""The picture of one step."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.interpret.pictures.step import draw_step
from charrnn.interpret.step import StepReport, inspect_step
from tests.interpret.networks import CELLS, WITH_NGRAMS, make_ids, make_network, make_subject

EACH_CELL = pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)


def make_report(*, train: bool = False, **shape: Any) -> StepReport:
    subject = make_subject(make_network(**shape), make_ids(14))
    return inspect_step(subject, InspectConfig(at=9, train=train))


def words_of(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return [node.text or "" for node in root.iter() if node.tag.endswith("text")]


@EACH_CELL
@pytest.mark.parametrize("hidden_size", [6, 11])
def test_it_is_xml_that_holds_every_value_of_the_unit(
    cell: str, nonlinearity: str, hidden_size: int
) -> None:
    report = make_report(cell=cell, nonlinearity=nonlinearity, hidden_size=hidden_size, train=True)
    svg = draw_step({"book": report})
    words = words_of(svg)

    assert "nan" not in svg.lower().replace("nano", "")
    for line in report.forward:
        if line.name in (f"h[{report.unit}]", f"c[{report.unit}]", f"i[{report.unit}]"):
            assert f"{line.name} = {line.shown}" in words
    assert any(word.startswith("ℓ = −ln p") for word in words)


def test_a_small_layer_is_drawn_whole_and_a_large_one_is_not() -> None:
    small, large = draw_step({"a": make_report()}), draw_step({"a": make_report(hidden_size=11)})

    assert "∂ℓ/∂W_f" in words_of(small)
    assert "∂ℓ/∂W_f" not in words_of(large)


def test_the_input_says_of_which_rows_it_is_the_sum() -> None:
    plain, summed = draw_step({"a": make_report()}), draw_step({"a": make_report(**WITH_NGRAMS)})

    assert "its row of E" in words_of(plain)
    assert "E + n-grams" in words_of(summed)


def test_several_models_stand_one_below_the_other_and_the_bytes_stay_the_same() -> None:
    reports = {"<first>": make_report(), "second": make_report(cell="gru")}
    svg = draw_step(reports)

    assert svg == draw_step(reports)
    assert {word.split(":")[0] for word in words_of(svg)} >= {"<first>", "second"}
