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
def test_a_formula_is_well_formed_mathml(explanation: Explanation) -> None:
    root = ElementTree.fromstring(explanation.formula)
    assert root.tag == "math"
    for part in root.iter():
        if part.tag in {"msub", "mfrac", "munder"}:
            assert len(part) == 2, ElementTree.tostring(part)


@EACH
def test_the_quoted_line_stands_in_the_code(explanation: Explanation) -> None:
    assert explanation.code in (ROOT / explanation.path).read_text(encoding="utf-8")
