"""What the page says of each view is plain, whole, and true of the code."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

import charrnn
from charrnn.interpret.explanations import EXPLANATIONS, Explanation

ROOT = Path(charrnn.__file__).parent.parent
EACH = pytest.mark.parametrize("explanation", EXPLANATIONS.values(), ids=EXPLANATIONS)


def test_every_view_is_explained() -> None:
    named = "text guesses gates memory gradients links neurons neuron step unrolled training errors"
    assert list(EXPLANATIONS) == named.split()


@EACH
def test_a_view_answers_a_question_in_a_few_sentences(explanation: Explanation) -> None:
    assert explanation.question.endswith("?")
    assert 3 <= explanation.reading.count(". ") + 1 <= 8


@EACH
def test_a_formula_and_its_symbols_are_well_formed_mathml(explanation: Explanation) -> None:
    for formula in (explanation.formula, *(symbol for symbol, _ in explanation.symbols)):
        root = ElementTree.fromstring(formula)
        assert root.tag == "math"
        for part in root.iter():
            if part.tag in {"msub", "mfrac", "munder"}:
                assert len(part) == 2, ElementTree.tostring(part)


@EACH
def test_words_in_a_formula_keep_their_distance(explanation: Explanation) -> None:
    for node in ElementTree.fromstring(explanation.formula).iter("mtext"):
        assert node.text == (node.text or "").strip()  # browsers drop the space


@EACH
def test_each_symbol_of_a_formula_is_explained_once(explanation: Explanation) -> None:
    letters = [letter for letter, _ in explanation.symbols]
    assert letters
    assert len(set(letters)) == len(letters)
    for letter, meaning in (*explanation.symbols, *explanation.words):
        assert letter
        assert meaning
        assert not meaning.endswith(".")


@EACH
def test_what_is_drawn_is_told_in_at_most_three_sentences(explanation: Explanation) -> None:
    assert 1 <= explanation.drawing.count(". ") + 1 <= 3
    assert explanation.drawing.endswith(".")


@EACH
def test_no_view_speaks_of_signs_that_a_text_may_lack(explanation: Explanation) -> None:
    words = f"{explanation.question} {explanation.reading} {explanation.drawing}".lower()
    assert "quot" not in words
    assert "bracket" not in words


@EACH
def test_colours_are_named_as_in_light_and_in_dark(explanation: Explanation) -> None:
    words = f"{explanation.reading} {explanation.drawing}".lower()
    assert "white" not in words
    assert "dark" not in words


@EACH
def test_the_quoted_line_stands_in_the_code(explanation: Explanation) -> None:
    assert explanation.code in (ROOT / explanation.path).read_text(encoding="utf-8")
