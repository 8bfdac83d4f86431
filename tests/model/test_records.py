"""Records inside a window: the state is set anew at each start, on every cell, by every kernel."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from charrnn.config import ModelConfig
from charrnn.model.kernels import Resets, run_gru, run_plain, run_rnn
from charrnn.model.network import CharRNN, State

V, E, H, L, A = 6, 3, 5, 2, 2
END = V - 1
CELLS = [("lstm", "tanh"), ("gru", "tanh"), ("rnn", "tanh"), ("rnn", "relu"), ("rnn", "logistic")]
RECORDS = [[0, 1, 2], [3], [], [4, 4, 1, 0, 2], [2, 3]]
LABELS = [1, 0, 3, 2, 3]


def make_model(cell: str, nonlinearity: str, label_count: int = 3, **settings: Any) -> CharRNN:
    torch.manual_seed(3)
    config = ModelConfig(
        cell=cell,
        nonlinearity=nonlinearity,
        vocab_size=V,
        embedding_size=E,
        hidden_size=H,
        num_layers=L,
        initial_state="learned",
        has_end=True,
        label_count=label_count,
        label_size=A if label_count else 0,
        **settings,
    )
    model = CharRNN(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight += 0.3 * torch.randn_like(weight)
            if name.endswith("initial") and cell == "lstm":
                weight[1] = 0
    return model


def stream() -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs, targets and labels (1, T) of all records, one after the other."""
    ids = [END]
    labels = []
    for record, label in zip(RECORDS, LABELS, strict=True):
        ids += [*record, END]
        labels += [label] * (len(record) + 1)
    whole = torch.tensor([ids])
    return whole[:, :-1], whole[:, 1:], torch.tensor(labels)[None, :, None]


def alone(model: CharRNN) -> Iterator[Tensor]:
    """Yield the logits (1, n + 1, V) of each record read by itself, cell by cell."""
    for record, label in zip(RECORDS, LABELS, strict=True):
        ids = torch.tensor([[END, *record]])
        yield model(ids, None, None, torch.full((1, len(record) + 1, 1), label))[0]


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
def test_a_window_of_records_reads_each_as_if_it_were_alone(
    cell: str, nonlinearity: str, residual: bool
) -> None:
    model = make_model(cell, nonlinearity, residual=residual)
    inputs, _, labels = stream()

    together, _ = model(inputs, None, None, labels)

    torch.testing.assert_close(together, torch.cat([*alone(model)], 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("cut", range(1, 16))
@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
def test_a_record_goes_on_over_the_edge_of_a_window(cell: str, nonlinearity: str, cut: int) -> None:
    model = make_model(cell, nonlinearity)
    inputs, _, labels = stream()
    whole, last = model(inputs, None, None, labels)

    first, state = model(inputs[:, :cut], None, None, labels[:, :cut])
    second, after = model(inputs[:, cut:], state, None, labels[:, cut:])

    torch.testing.assert_close(torch.cat((first, second), 1), whole, rtol=0, atol=1e-6)
    for layer, other in zip(after, last, strict=True):
        torch.testing.assert_close(layer, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
def test_gradients_are_those_of_each_record_alone(cell: str, nonlinearity: str) -> None:
    model = make_model(cell, nonlinearity)
    inputs, targets, labels = stream()
    loss, _ = model.loss_sum(inputs, targets, None, None, labels)
    loss.backward()
    together = {name: weight.grad.clone() for name, weight in learned(model)}
    model.zero_grad()

    parts = []
    at = 0
    for logits in alone(model):
        rows = logits.flatten(0, 1)
        part = targets[0, at : at + len(rows)]
        parts.append(torch.nn.functional.cross_entropy(rows, part, reduction="sum"))
        at += len(rows)
    sum(parts).backward()

    torch.testing.assert_close(loss, sum(parts), rtol=0, atol=1e-5)
    for name, weight in learned(model):
        torch.testing.assert_close(together[name], weight.grad, rtol=1e-4, atol=1e-5, msg=name)


def learned(model: CharRNN) -> list[tuple[str, Any]]:
    return [(n, w) for n, w in model.named_parameters() if w.grad is not None or w.requires_grad]


@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
def test_the_state_before_a_start_has_no_say_in_what_follows(cell: str, nonlinearity: str) -> None:
    model = make_model(cell, nonlinearity)
    inputs, _, labels = stream()
    lost: State = tuple(
        tuple(torch.full_like(part, 99.0) for part in layer) for layer in model.initial_state(1)
    )

    logits, after = model(inputs, lost, None, labels)
    expected, last = model(inputs, None, None, labels)

    assert torch.equal(logits, expected)
    for layer, other in zip(after, last, strict=True):
        assert all(map(torch.equal, layer, other))


@pytest.mark.parametrize(("cell", "nonlinearity"), CELLS)
def test_the_first_character_is_predicted_from_the_initial_state(
    cell: str, nonlinearity: str
) -> None:
    model = make_model(cell, nonlinearity, label_count=0)

    logits, state = model(torch.tensor([[END]]))

    first = model.initial_state(1)[-1][0]
    torch.testing.assert_close(logits[0], model.output(first), rtol=0, atol=1e-6)
    for layer, other in zip(state, model.initial_state(1), strict=True):
        torch.testing.assert_close(layer, other, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["gru", "tanh", "relu", "logistic"])
def test_our_kernels_set_states_anew_as_plain_operations_do(kind: str) -> None:
    gates = 3 if kind == "gru" else 1
    draw = torch.Generator().manual_seed(7)

    def random(*size: int) -> Tensor:
        return torch.randn(*size, generator=draw, dtype=torch.float64).requires_grad_()

    inputs, state = random(6, 2, E), random(2, H)
    weights = (random(gates * H, E), random(gates * H, H), random(gates * H), random(gates * H))
    is_reset = torch.tensor([[1, 0], [0, 0], [0, 1], [1, 1], [0, 0], [0, 1]]).double()[..., None]
    first = random(6, 2, H)

    def gradients(outputs: Tensor) -> list[Tensor]:
        factors = torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64)
        loss = (outputs.flatten() * factors).sum()
        return [outputs, *torch.autograd.grad(loss, [inputs, state, *weights, first])]

    if kind == "gru":
        ours = gradients(run_gru(inputs, state, weights, Resets(is_reset, is_reset * first)))
    else:
        resets = Resets(is_reset, is_reset * first)
        ours = gradients(run_rnn(inputs, state, weights, kind, resets))
    resets = Resets(is_reset, is_reset * first)
    plain = gradients(run_plain(kind, inputs, (state,), weights, resets)[0])

    torch.testing.assert_close(ours, plain)
