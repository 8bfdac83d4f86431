"""The view `step`: equations whose printed numbers add up, and derivatives that are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.config import TrainConfig
from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.interpret.derivatives import Derivatives, grad_of_nats
from charrnn.interpret.digits import decimals_for, read_number, share_digits, shown
from charrnn.interpret.equations import Line
from charrnn.interpret.report import as_json
from charrnn.interpret.step import StepReport, inspect_step
from tests.interpret.networks import (
    CELLS,
    EACH_SHAPE,
    WITH_NGRAMS,
    H,
    make_ids,
    make_network,
    make_subject,
)
from tests.reference import recurrent

AT = 9
ROOT = Path(charrnn.__file__).parents[1]
EACH_CELL = pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)


def make_report(
    config: InspectConfig | None = None, dtype: Any = np.float64, **shape: Any
) -> StepReport:
    subject = make_subject(make_network(dtype=dtype, **shape), make_ids(14))
    return inspect_step(subject, config or InspectConfig(at=AT))


def lines_of(report: StepReport) -> tuple[Line, ...]:
    return report.forward + report.backward


def units_of(text: str) -> int:
    """Return a printed number as a whole number of its last digit."""
    return int(text.replace("−", "-").replace(".", ""))


@EACH_SHAPE
def test_the_printed_terms_of_every_sum_add_up_to_the_printed_sum(shape: dict[str, Any]) -> None:
    for line in lines_of(make_report(**shape)):
        if line.terms:
            assert sum(map(units_of, line.terms)) == units_of(line.shown), line.name


@pytest.mark.parametrize("hidden_size", [11, 40])
def test_so_do_those_of_a_sum_too_long_to_be_shown_whole(hidden_size: int) -> None:
    report = make_report(hidden_size=hidden_size, cell="lstm")
    long = [line for line in lines_of(report) if any("other" in p.symbol for p in line.pieces)]

    assert long
    for line in long:
        assert sum(map(units_of, line.terms)) == units_of(line.shown), line.name


@EACH_SHAPE
def test_every_derivative_is_what_a_small_change_does(shape: dict[str, Any]) -> None:
    for line in make_report(**shape).backward:
        assert line.measured == pytest.approx(line.value, abs=1e-6), line.name


@EACH_CELL
def test_every_layer_and_unit_of_the_real_precision_passes_too(
    cell: str, nonlinearity: str
) -> None:
    for layer, unit in ((1, 0), (2, H - 1)):
        config = InspectConfig(at=AT, neurons=(f"h{layer}.{unit}",))
        report = make_report(
            config, np.float32, cell=cell, nonlinearity=nonlinearity, num_layers=2, residual=True
        )
        assert (report.layer, report.unit) == (layer, unit)
        for line in report.backward:
            assert line.measured == pytest.approx(line.value, abs=1e-6), line.name


@EACH_SHAPE
def test_the_numbers_are_those_of_the_reference(shape: dict[str, Any]) -> None:
    network = make_network(dtype=np.float64, **shape)
    ids = make_ids(14)
    report = inspect_step(make_subject(network, ids), InspectConfig(at=AT, layer=1))
    read = recurrent.forward(network.config, network.weights, ids[None, : AT + 1])
    loss, _ = recurrent.cross_entropy(read.logits[:, AT:], ids[None, AT + 1 : AT + 2])
    state = recurrent.forward(network.config, network.weights, ids[None, :AT]).state
    _, gradients, _ = recurrent.bptt(
        network.config, network.weights, ids[None, AT : AT + 1], ids[None, AT + 1 : AT + 2], state
    )
    values = {line.name: line.value for line in lines_of(report)}
    unit = report.unit

    tolerance = 1e-6  # of √E in single precision, where the output is tied
    assert values["ℓ"] == pytest.approx(loss, rel=tolerance)
    assert values[f"h[{unit}]"] == pytest.approx(read.state[0][0][0, unit], rel=tolerance)
    assert values[f"∂ℓ/∂h′[{unit}]"] == pytest.approx(gradients.state[0][0][0, unit], abs=1e-7)
    weights = {name: value for name, value in values.items() if name.startswith("∂ℓ/∂W")}
    gates = {"rnn": [""], "lstm": list("ifgo"), "gru": list("rzn")}[network.config.cell]
    for gate, (name, value) in zip(gates, weights.items(), strict=True):
        column = int(name.split(",")[1][:-1])
        row = gates.index(gate) * H + unit
        expected = gradients.weights["layers.0.weight_hh"][row, column]
        assert value == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("output", [{}, {"tie_embeddings": True}], ids=["untied", "projected"])
def test_what_is_read_is_shown_as_a_sum_of_embeddings(output: dict[str, Any]) -> None:
    network = make_network(dtype=np.float64, cell="gru", **WITH_NGRAMS, **output)
    ids = make_ids(40)
    subject = make_subject(network, ids)
    known = subject.trace.ngrams[1].sum(0)

    for count in (0, 1, 2):
        at = int(np.flatnonzero(known[2:-1] == count)[0]) + 2
        line = inspect_step(subject, InspectConfig(at=at)).forward[0]
        k = int(line.name[2:-1])
        x = subject.trace.inputs(0)[at]

        assert line.value == pytest.approx(x[k])
        assert abs(line.value) == pytest.approx(np.abs(x).max())
        assert len(line.terms) == 1 + count
        assert sum(map(units_of, line.terms)) == units_of(line.shown)
        assert ("none of them" in line.meaning) == (count == 0)
        scale = "s·" if output else ""
        symbols = [piece.symbol for piece in line.pieces[2::2]]
        letters = "".join(subject.symbols[at - 2 : at + 1])
        assert symbols[0] == f"{scale}E[{subject.symbols[at]!r},{k}]"
        if count == 2:
            assert symbols[1:] == [f"G[{letters[1:]!r},{k}]", f"G[{letters!r},{k}]"]
        path, quoted = line.code.split(": ", 1)
        assert quoted in (ROOT / path).read_text(encoding="utf-8")


def test_only_the_lowest_layer_reads_embeddings() -> None:
    lower, upper = (
        inspect_step(
            make_subject(make_network(cell="lstm", num_layers=2, **WITH_NGRAMS), make_ids(14)),
            InspectConfig(at=AT, layer=layer),
        )
        for layer in (1, 2)
    )

    assert lower.forward[0].name.startswith("x[")
    assert upper.forward[0].name.startswith("(U_i x)")


def test_without_ngrams_a_step_begins_with_what_the_input_adds() -> None:
    assert make_report().forward[0].name.startswith("(U_i x)")


@EACH_CELL
def test_a_digit_that_is_printed_twice_is_the_same(cell: str, nonlinearity: str) -> None:
    report = make_report(cell=cell, nonlinearity=nonlinearity)
    printed = {line.name: line.shown for line in report.forward}
    parts = [(piece.symbol, piece.number) for line in report.forward for piece in line.pieces[2:]]

    found = [name for name, number in parts if name in printed]
    assert found
    for name, number in parts:
        assert printed.get(name, number) == number, name


@EACH_CELL
def test_every_equation_quotes_a_line_of_the_code(cell: str, nonlinearity: str) -> None:
    for line in lines_of(make_report(cell=cell, nonlinearity=nonlinearity, num_layers=2)):
        path, quoted = line.code.split(": ", 1)
        source = " ".join((ROOT / path).read_text(encoding="utf-8").split())
        assert quoted in source, line.code


def test_without_a_unit_it_is_the_one_that_changes_most() -> None:
    subject = make_subject(make_network(cell="gru"), make_ids(14))
    h = subject.trace.hidden(0)
    report = inspect_step(subject, InspectConfig(at=AT))

    assert report.unit == int(np.abs(h[AT + 1] - h[AT]).argmax())


def test_where_the_text_ends_the_likeliest_character_is_the_target() -> None:
    report = make_report(InspectConfig())

    assert report.at == 13
    assert report.is_guess
    assert max(report.guesses, key=lambda guess: guess.probability).is_target


def test_probabilities_add_up_to_one_as_printed() -> None:
    report = make_report()

    assert sum(units_of(guess.shown) for guess in report.guesses) == 10_000
    assert [guess.is_target for guess in report.guesses].count(True) == 1


def test_a_small_layer_has_its_whole_matrices_and_a_large_one_none() -> None:
    small, large = make_report(), make_report(hidden_size=11)
    w, h, a = (small.matrices[name] for name in ("W_f", "h′", "a_f"))
    u, x, b = (small.matrices[name] for name in ("U_f", "x", "b_f"))

    np.testing.assert_allclose(w @ h + u @ x + b, a)
    assert not large.matrices


def test_a_named_unit_is_shown_in_its_own_layer() -> None:
    report = make_report(InspectConfig(at=AT, layer=2, neurons=("h1.3",)), num_layers=2)

    assert (report.layer, report.unit) == (1, 3)


def test_it_becomes_json_and_a_table() -> None:
    report = make_report(InspectConfig(at=AT, train=True))
    columns, rows = report.table()

    assert all(len(row) == len(columns) for row in rows)
    assert as_json(report)["forward"][0]["pieces"][0]["symbol"].startswith("(U_i x)")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"at": 99}, "at=99 lies after the text.*0 to 13"),
        ({"layer": 3}, "no layer 3"),
        ({"neurons": ("h1.6",)}, "units 0 to 5"),
        ({"neurons": ("seven",)}, "'seven' is not the name of a unit"),
    ],
)
def test_a_place_that_is_not_there_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_report(InspectConfig(**settings))


def test_no_step_is_computed_at_the_end_of_a_record() -> None:
    network = make_network(has_end=True)
    ids = np.array([1, 2, 6, 3, 6])
    subject = make_subject(network, ids)

    assert inspect_step(subject, InspectConfig()).at == 3
    with pytest.raises(ConfigError, match="ends a record"):
        inspect_step(subject, InspectConfig(at=2))


# ── training ──


def test_the_update_is_that_of_the_optimizer() -> None:
    torch = pytest.importorskip("torch")
    from charrnn.training.optimizer import AdamW

    report = make_report(InspectConfig(at=AT, train=True))
    update = report.update
    assert update is not None
    weight = torch.nn.Parameter(torch.tensor([update.before]))
    weight.grad = torch.tensor([update.gradient * update.factor])
    AdamW({"w": weight}, {"w": update.decay}).step(update.learning_rate, update.update)

    assert update.after == pytest.approx(float(weight.detach()), rel=1e-6)
    assert update.decay == TrainConfig().weight_decay_output


def test_a_long_gradient_is_shortened_to_the_limit_of_the_run() -> None:
    subject = make_subject(make_network(), make_ids(14))
    file = replace(subject.file, summary={"resolved": {"clip_grad_norm": 0.1, "seq_len": 4}})
    report = inspect_step(replace(subject, file=file), InspectConfig(at=AT, train=True))
    update = report.update
    assert update is not None

    assert update.norm > 0.1
    assert update.factor == pytest.approx(0.1 / update.norm)
    assert update.tokens == update.seq_len == 4


def test_the_length_of_the_gradient_is_without_that_of_ngrams() -> None:
    subject = make_subject(make_network(**WITH_NGRAMS), make_ids(14))
    window = subject.trace.part(0, AT + 1)
    grad_logits = grad_of_nats(window.log_probabilities, subject.ids[1 : AT + 2]) / len(window)
    gradients = Derivatives(window).gradients(grad_logits).weights()
    ngrams = gradients.pop("ngrams.weight")

    update = inspect_step(subject, InspectConfig(at=AT, train=True)).update

    assert update is not None
    assert ngrams.any()
    assert update.norm == pytest.approx(
        np.sqrt(sum(float((each**2).sum()) for each in gradients.values())), rel=1e-5
    )


def test_the_printed_terms_of_the_new_weight_add_up() -> None:
    update = make_report(InspectConfig(at=AT, train=True)).update
    assert update is not None
    terms, total = update.lines[-1][2].split(" = ")

    assert sum(map(units_of, terms.split(" + "))) == units_of(total)


# ── digits ──


def test_random_sums_add_up_and_no_term_is_off_by_a_unit() -> None:
    random = np.random.default_rng(5)
    for count in (1, 2, 7, 30):
        for decimals in (2, 4, 9):
            terms = random.normal(size=count).tolist()
            total = sum(terms)
            digits = share_digits(terms, total, decimals)
            assert sum(map(units_of, digits)) == units_of(shown(total, decimals))
            for term, said in zip(terms, digits, strict=True):
                assert abs(read_number(said) - term) < 1.0001 * 10**-decimals


def test_a_total_that_is_off_by_units_is_met_too() -> None:
    assert share_digits([0.1, 0.2], 0.33, 2) == ["0.12", "0.21"]
    assert share_digits([0.1, 0.2], 0.27, 2) == ["0.09", "0.18"]


def test_small_numbers_have_more_decimals() -> None:
    assert decimals_for([0.00002, -0.03]) == 5
    assert shown(0.0000123456, decimals_for([0.0000123456])) == "0.00001235"
