"""The costs of a prompt's characters are those of the score, one for each character."""

from __future__ import annotations

import math

import numpy as np
import pytest

from charrnn.errors import DivergedError
from charrnn.generation.samples import Cost
from charrnn.server.scoring import iter_prompt_costs
from charrnn.tasks.model import Model, blend
from tests.generation.record_models import make_records_file
from tests.server.tiny_models import make_files

TEXTS = {
    "book": "Abc, dé\nBad.",
    "tang": "ab月月\nb",
    "marks": "aña\u0301b\u0301a",
    "bytes": "aé月b",
}


def costs_of(model: Model, text: str, top: int = 0) -> list[Cost | None]:
    return [cost for costs in iter_prompt_costs(model, text, top) for cost in costs]


@pytest.mark.parametrize("name", TEXTS)
def test_a_running_text_costs_what_its_score_says_and_its_first_character_nothing(
    name: str,
) -> None:
    model = Model(make_files()[name])
    text = TEXTS[name] * 40  # several slices

    costs = costs_of(model, text)

    scores = model.score(model.vocab.spell(text))
    assert len(costs) == len(text)
    assert costs[0] is None
    nats = math.fsum(cost.nats for cost in costs if cost)
    if name == "bytes":  # where the first of several bytes is given, the score counts the others
        assert len(scores.bits) > len(text)
    assert nats == pytest.approx(scores.bits[1:].sum() * math.log(2), rel=1e-6)


def test_a_record_costs_its_first_character_too_and_its_end_is_a_newline() -> None:
    model = Model(make_files()["names"])

    costs = costs_of(model, "abc\nd\n")

    assert None not in costs
    nats = [cost.nats for cost in costs if cost]
    assert nats == pytest.approx(model.score("abc\nd\n").bits * math.log(2), rel=1e-5)


def test_the_mark_of_a_document_costs_as_much_as_its_end() -> None:
    model = Model(make_records_file("document", alphabet="\n ab", document_end="--"))

    costs = costs_of(model, "ab\n--\nb")

    nats = [cost.nats for cost in costs if cost]
    scores = model.score("ab\n--\nb\n--\n")
    assert nats[:2] + nats[6:] == pytest.approx(scores.bits * math.log(2), rel=1e-5)
    assert nats[2] == pytest.approx(scores.ends[0][1] * math.log(2), rel=1e-5)
    assert nats[3:6] == [0, 0, 0]


def test_alternatives_are_the_likeliest_tokens_in_the_place() -> None:
    model = Model(make_files()["book"])

    costs = costs_of(model, "Abc", top=3)

    cost = costs[2]
    assert cost is not None
    expected = model.next_chars("Ab", 3)
    assert [name for name, _ in cost.top] == [name for name, _ in expected]
    assert [nats for _, nats in cost.top] == pytest.approx([-math.log(p) for _, p in expected])


def test_several_models_cost_a_text_as_one() -> None:
    files = make_files()
    models = [Model(files["book"]), Model(files["marks"])]
    both = blend([(models[0], 1.0), (models[1], 3.0)])

    [costs] = iter_prompt_costs(both, "abab", 0)

    p = [math.exp(-cost.nats) for cost in costs if cost]
    parts = [[math.exp(-c.nats) for c in costs_of(model, "abab") if c] for model in models]
    assert p == pytest.approx(np.average(parts, axis=0, weights=[1, 3]), rel=1e-4)


def test_an_empty_text_has_no_costs() -> None:
    assert costs_of(Model(make_files()["book"]), "") == []


def test_a_network_that_is_no_network_any_more_is_refused() -> None:
    file = make_files()["book"]
    file.weights["output.bias"][:] = np.nan

    with pytest.raises(DivergedError, match="finite"):
        costs_of(Model(file), "abc")
