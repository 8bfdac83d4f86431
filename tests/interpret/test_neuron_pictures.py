"""Pictures of the search and of a card: well-formed, the same every time, safe to look at."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from charrnn.interpret.neuron import NeuronReport
from charrnn.interpret.neurons import NeuronsReport
from charrnn.interpret.pictures.neuron import draw_neuron
from charrnn.interpret.pictures.neurons import draw_neurons
from tests.interpret.planted import planted_neuron, planted_neurons


@pytest.fixture(scope="module", name="reports")
def reports_of_planted() -> tuple[NeuronsReport, NeuronReport]:
    return planted_neurons(), planted_neuron("c1.0")


def test_pictures_are_xml_without_style_script_or_nan(
    reports: tuple[NeuronsReport, NeuronReport],
) -> None:
    for svg in (draw_neurons({"a<b": reports[0]}), draw_neuron({"a<b": reports[1]})):
        ElementTree.fromstring(svg)
        assert not re.search(r"style=|<script|<style|[\"\s,]nan", svg)


def test_the_same_reports_give_the_same_bytes(reports: tuple[NeuronsReport, NeuronReport]) -> None:
    neurons, neuron = reports

    assert draw_neurons({"book": neurons}) == draw_neurons({"book": neurons})
    assert draw_neuron({"book": neuron}) == draw_neuron({"book": neuron})


def test_a_perfect_unit_stands_at_the_end_of_the_scale(
    reports: tuple[NeuronsReport, NeuronReport],
) -> None:
    svg = draw_neurons({"book": reports[0]})

    assert '<circle cx="600"' in svg
    assert "memory neuron" in svg


def test_several_models_have_one_scale(reports: tuple[NeuronsReport, NeuronReport]) -> None:
    svg = draw_neurons({"first": reports[0], "second": reports[0]})

    assert svg.count("inside ( )") == 2
    assert len(set(re.findall(r'<text x="([\d.]+)"[^>]*>0.9</text>', svg))) == 1


def test_a_search_that_found_no_feature_is_drawn(
    reports: tuple[NeuronsReport, NeuronReport],
) -> None:
    assert "none of the features" in draw_neurons({"book": replace(reports[0], findings=())})


def test_a_card_shows_snippets_histogram_and_what_is_held(
    reports: tuple[NeuronsReport, NeuronReport],
) -> None:
    svg = draw_neuron({"book": reports[1]})

    for words in ("c1.0", "highest 0.76", "Values by inside ( )", "held at 1.00"):
        assert words in svg


def test_names_that_no_picture_can_hold_are_made_visible(
    reports: tuple[NeuronsReport, NeuronReport],
) -> None:
    finding = replace(reports[0].findings[0], feature="\x1b[31m" + "long" * 20)

    ElementTree.fromstring(draw_neurons({"b\x00": replace(reports[0], findings=(finding,))}))
