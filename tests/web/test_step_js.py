"""One step with all its numbers, as the page computes it."""

from __future__ import annotations

import dataclasses
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.generation.network import Network
from charrnn.interpret.derivatives import Derivatives, grad_features, grad_of_nats
from charrnn.interpret.one_step import OneStep
from charrnn.interpret.step_backward import backward_lines
from charrnn.interpret.step_forward import forward_lines
from charrnn.interpret.trace import Trace, record
from charrnn.interpret.unit_step import UnitStep
from charrnn.state import map_state, select_row
from charrnn.text.ngrams import NO_CHECK, hash_ngrams
from charrnn.web.assets import read_asset
from tests.interpret.networks import CELLS, make_ids, make_network
from tests.web.browser import Browser, Page
from tests.web.ngrams import give_ngrams
from tests.web.test_network_js import make_page, packed

AT = 7
UNIT = 2

SHAPES: list[dict[str, Any]] = [
    {"cell": cell, "nonlinearity": f, **shape}
    for cell, f in CELLS
    for shape in (
        {"num_layers": 1},
        {"num_layers": 3, "residual": True, "tie_embeddings": True, "hidden_size": 9},
        {"num_layers": 2, "tie_embeddings": True, "ngram_order": 4, "ngram_rows": 40},
    )
]
EACH_SHAPE = pytest.mark.parametrize(
    "shape", SHAPES, ids=lambda shape: "-".join(str(value) for value in shape.values())
)


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("step")
    names = ("network.js", "gradients.js", "step.js")
    return browser.open(make_page(folder, *map(read_asset, names)))


def ask(page: Page, trace: Trace, depth: int, at: int = AT, target: int | None = None) -> Any:
    """Return what the page finds of a step."""
    config = json.dumps(dataclasses.asdict(trace.config))
    question = json.dumps({"at": at, "depth": depth, "unit": UNIT, "target": target})
    return page.evaluate(f"""(() => {{
        const weights = charrnn.decodeWeights(...{json.dumps(packed(trace.network))});
        const trace = charrnn.makeNetwork({config}, weights).read({trace.ids.tolist()});
        return charrnn.step(trace, {question});
    }})()""")


def make_trace(shape: dict[str, Any]) -> Trace:
    network = make_network(**shape)
    ids = make_ids(11)
    if network.config.ngram_rows:
        give_ngrams(network.config, network.weights, ids, seed=2)
        network = Network(network.config, network.weights)
    return record(network, ids)


def number(text: str) -> Decimal:
    """Return the number that was printed."""
    return Decimal(text.replace("−", "-"))


@EACH_SHAPE
def test_the_values_are_those_of_the_text_as_it_was_read(page: Page, shape: dict[str, Any]) -> None:
    trace = make_trace(shape)
    target = int(trace.ids[AT + 1])

    for depth in trace.depths:
        lines = ask(page, trace, depth, target=target)["forward"]

        found = {line["name"]: line["value"] for line in lines}
        expected = {f"h[{UNIT}]": trace.hidden(depth)[AT + 1, UNIT]}
        if shape["cell"] == "lstm":
            expected[f"c[{UNIT}]"] = trace.memory(depth)[AT + 1, UNIT]
        for name, gate in trace.gates(depth).items():
            expected[f"{name}[{UNIT}]"] = gate[AT, UNIT]
        expected[f"logit[«{target}»]"] = trace.logits[AT, target]
        expected[f"p[«{target}»]"] = np.exp(trace.log_probabilities[AT, target])
        expected["ℓ"] = -trace.log_probabilities[AT, target]
        assert expected.keys() <= found.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name


@EACH_SHAPE
def test_the_terms_add_up_to_the_sum_digit_for_digit(page: Page, shape: dict[str, Any]) -> None:
    trace = make_trace(shape)
    sums = 0
    for depth in trace.depths:
        answer = ask(page, trace, depth)
        for line in answer["forward"] + answer["backward"]:
            if line["sign"] == "+":
                terms = [number(piece["number"]) for piece in line["pieces"]]
                assert sum(terms) == number(line["shown"]), line["name"]
                sums += 1
            assert float(number(line["shown"])) == pytest.approx(line["value"], rel=1e-3, abs=1e-4)
    assert sums >= 5


@EACH_SHAPE
def test_a_small_change_proves_each_derivative(page: Page, shape: dict[str, Any]) -> None:
    trace = make_trace(shape)

    for depth in trace.depths:
        for line in ask(page, trace, depth)["backward"]:
            assert line["measured"] == pytest.approx(line["value"], rel=1e-5, abs=1e-9), line[
                "name"
            ]


@EACH_SHAPE
def test_the_derivatives_are_those_of_numpy(page: Page, shape: dict[str, Any]) -> None:
    trace = make_trace(shape)
    target = int(trace.ids[AT + 1])
    grad = grad_of_nats(trace.log_probabilities[AT], np.array(target))
    nothing = map_state(lambda array: np.zeros_like(array[0]), trace.states)
    step = Derivatives(trace).back(AT, nothing, grad_features(trace.network, grad))

    for depth in trace.depths:
        lines = ask(page, trace, depth, target=target)["backward"]

        found = {line["name"]: line["value"] for line in lines}
        for name, before in zip(("h", "c"), step.state[depth], strict=False):
            value = found[f"∂ℓ/∂{name}′[{UNIT}]"]
            assert value == pytest.approx(before[UNIT], rel=1e-3, abs=1e-6)
        assert found[f"∂ℓ/∂logit[«{target}»]"] == pytest.approx(grad[target], rel=1e-4)


@EACH_SHAPE
def test_the_lines_are_those_of_the_view(page: Page, shape: dict[str, Any]) -> None:
    trace = make_trace(shape)
    target = int(trace.ids[AT + 1])
    names = [f"«{token}»" for token in range(trace.network.vocab_size)]

    for depth in trace.depths:
        answer = ask(page, trace, depth, target=target)

        before = select_row(trace.states, AT)
        step = OneStep(trace.network, int(trace.ids[AT]), target, before)
        own = UnitStep(step, depth, UNIT, names)
        expected = [*forward_lines(own), *backward_lines(own)]
        found = answer["forward"] + answer["backward"]
        assert [each["name"] for each in found] == [each.name for each in expected]
        for line, other in zip(found, expected, strict=True):
            assert (line["formula"], line["meaning"]) == (other.formula, other.meaning)
            symbols = [piece.symbol for piece in other.pieces[2:] if piece.symbol not in "+·"]
            assert [piece["symbol"] for piece in line["pieces"]] == symbols
            assert line["value"] == pytest.approx(other.value, rel=1e-3, abs=1e-6)


def test_what_is_read_is_the_sum_of_a_character_and_its_n_grams(page: Page) -> None:
    network = make_network(cell="gru", num_layers=2, ngram_order=3, ngram_rows=40)
    weights = network.weights
    weights["ngrams.key"] = np.arange(1, 8, dtype=np.float32)
    weights["ngrams.check"][:] = NO_CHECK
    for keys in ([3, 2], [3, 2, 0], [4, 3]):  # «1»«2», at the start of a text; «2»«3»
        *_, (bucket, check) = hash_ngrams(keys, 40)
        weights["ngrams.check"][4 * bucket + 1] = check
    trace = record(Network(network.config, weights), np.array([1, 2, 3, 1, 2]))
    found = []
    for at in range(len(trace)):
        line = ask(page, trace, 0, at=at)["forward"][0]
        x = trace.inputs(0)[at]
        k = int(np.abs(x).argmax())
        assert line["name"] == f"x[{k}]"
        assert line["value"] == pytest.approx(x[k], rel=1e-5)
        assert line["formula"] == "E[c,k] + Σ_g G[g,k]"
        found.append([piece["symbol"].removesuffix(f",{k}]") for piece in line["pieces"]])
        assert not ask(page, trace, 1, at=at)["forward"][0]["name"].startswith("x")

    assert found == [
        ["E[«1»"],
        ["E[«2»", "G['«1»«2»'", "G['?«1»«2»'"],
        ["E[«3»", "G['«2»«3»'"],
        ["E[«1»"],
        ["E[«2»", "G['«1»«2»'"],
    ]


def test_a_long_sum_shows_its_largest_terms_and_the_rest(page: Page) -> None:
    trace = make_trace({"cell": "rnn", "hidden_size": 16})
    line = ask(page, trace, 0)["forward"][1]
    row = trace.network.weights["layers.0.weight_hh"][UNIT] * trace.hidden(0)[AT]
    largest = np.sort(np.argsort(-np.abs(row))[:6])

    assert [piece["symbol"] for piece in line["pieces"]] == [
        *(f"W[{UNIT},{k}]·h′[{k}]" for k in largest),
        "the other 10",
    ]


def test_without_a_target_it_is_the_likeliest_token(page: Page) -> None:
    trace = make_trace({"cell": "gru"})

    answer = ask(page, trace, 0)

    assert answer["target"] == trace.logits[AT].argmax() == answer["guesses"][0]["token"]


def test_the_end_of_a_record_has_no_step(page: Page) -> None:
    network = make_network(has_end=True)
    trace = record(network, np.array([1, network.vocab_size - 1, 2]))

    assert ask(page, trace, 0, at=1) is None
    assert ask(page, trace, 0, at=2) is not None


def test_the_scripts_of_the_worker_run_together(browser: Browser, tmp_path: Path) -> None:
    names = ("network.js", "gradients.js", "step.js", "worker.js")
    page = browser.open(make_page(tmp_path, "\n".join(map(read_asset, names))))

    assert page.evaluate("typeof charrnn.answer") == "function"
    assert not page.errors
