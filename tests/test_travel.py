"""Gradients leave for the other processes layer by layer, and come back as sums."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from charrnn.config import ModelConfig, TrainConfig
from charrnn.errors import PeersLostError
from charrnn.model.network import CharRNN, copy_model
from charrnn.text.corpus import corpus_from_text
from charrnn.training.distributed import ALONE, Peers, join
from charrnn.training.reports import Finished
from charrnn.training.trainer import train
from charrnn.training.travel import Travel, blocks_of
from tests.processes import start_together

IDS = torch.tensor([[0, 1, 2, 3], [4, 0, 3, 1], [2, 2, 0, 4]])
TARGETS = IDS.flip(1)
FIGURES = torch.tensor([3.0, 0.0])


@dataclass(frozen=True)
class Twins(Peers):
    """Two processes with the same gradients: a sum is twice what one has. Keeps what was sent."""

    world_size: int = 2
    sent: list[list[Tensor]] = field(default_factory=list)

    def start_sum(self, tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
        self.sent.append(list(tensors))
        return lambda: [2 * tensor for tensor in tensors]


def make_network(**settings: Any) -> CharRNN:
    shape: dict[str, Any] = {"vocab_size": 5, "embedding_size": 3, "hidden_size": 4}
    torch.manual_seed(1)
    return CharRNN(ModelConfig(**shape | {"num_layers": 3} | settings))


def read(model: CharRNN, rows: slice = slice(None)) -> None:
    """Leave the gradients of these lanes."""
    model.total_nats(IDS[rows], TARGETS[rows], None, None)[0].backward()


def grads_of(model: CharRNN) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_twice(model: CharRNN, single: CharRNN) -> None:
    expected = grads_of(single)
    for name, grad in grads_of(model).items():
        if (once := expected[name]) is None:
            assert grad is None
        else:
            torch.testing.assert_close(grad, 2 * once, msg=name)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(
    "settings", [{}, {"tie_output": True, "initial_state": "learned"}, {"num_layers": 1}]
)
def test_every_learned_weight_travels_once_and_comes_back_as_a_sum(
    cell: str, settings: dict[str, Any]
) -> None:
    model, twins = make_network(cell=cell, **settings), Twins()
    single, travel = copy_model(model), Travel(model, twins)
    blocks = blocks_of(model)
    travel.begin_pass(is_last=True)
    read(model)
    read(single)

    assert travel.bring_back(FIGURES).tolist() == [6.0, 0.0]
    assert_twice(model, single)
    assert len(twins.sent) == len(blocks) + 1 == model.config.num_layers + 3
    learned = {parameter for parameter in model.parameters() if parameter.requires_grad}
    assert set(chain(*blocks)) == learned
    assert sum(map(len, blocks)) == len(learned)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_layer_has_left_before_the_one_below_it_is_done(cell: str) -> None:
    model, twins = make_network(cell=cell), Twins()
    travel = Travel(model, twins)
    sent: list[int] = []
    weights = [layer.cell.weight_hh_l0 for layer in reversed(list(model.layers))]
    for weight in (*weights, model.embedding.weight):
        weight.register_hook(lambda _: sent.append(len(twins.sent)))
    travel.begin_pass(is_last=True)
    read(model)

    assert sent == [1, 2, 3, 4]  # the output's block, then that of each layer


def test_nothing_leaves_before_the_last_slice_of_a_window() -> None:
    model, twins = make_network(), Twins()
    single, travel = copy_model(model), Travel(model, twins)
    travel.begin_pass(is_last=False)
    read(model, slice(0, 2))

    assert twins.sent == []
    travel.begin_pass(is_last=True)
    read(model, slice(2, 3))
    travel.bring_back(FIGURES)
    read(single)
    assert_twice(model, single)


def test_a_window_read_again_for_want_of_memory_sends_no_block_twice() -> None:
    model, twins = make_network(), Twins()
    single, travel = copy_model(model), Travel(model, twins)
    travel.begin_pass(is_last=True)
    lack = model.layers[1].cell.weight_hh_l0.register_hook(run_out_of_memory)
    with pytest.raises(MemoryError):
        read(model)
    lack.remove()
    assert len(twins.sent) == 2
    model.zero_grad()
    for rows in (slice(0, 2), slice(2, 3)):
        assert len(twins.sent) == 2
        travel.begin_pass(is_last=rows.stop == 3)
        read(model, rows)
    travel.bring_back(FIGURES)

    read(single)
    assert_twice(model, single)
    assert len(twins.sent) == len(blocks_of(model)) + 1


def run_out_of_memory(_: Tensor) -> None:
    raise MemoryError


def test_an_initial_state_that_a_window_did_not_use_stays_without_a_gradient() -> None:
    model = make_network(initial_state="learned")
    travel = Travel(model, Twins())
    travel.begin_pass(is_last=True)
    state = tuple(tuple(torch.ones(3, 4) for _ in range(2)) for _ in range(3))
    model.total_nats(IDS, TARGETS, state, None)[0].backward()
    travel.bring_back(FIGURES)

    missing = {name for name, grad in grads_of(model).items() if grad is None}
    assert missing == {f"layers.{depth}.initial" for depth in range(3)}


def test_a_lost_process_is_told_of_from_within_a_backward_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lose(*_: object) -> None:
        raise PeersLostError("gone")

    model = make_network()
    travel = Travel(model, Peers(0, 2))
    monkeypatch.setattr(Peers, "start_sum", lose)
    travel.begin_pass(is_last=True)
    with pytest.raises(PeersLostError, match="gone"):
        read(model)


def test_alone_nothing_travels() -> None:
    model = make_network()
    single, travel = copy_model(model), Travel(model, ALONE)
    travel.begin_pass(is_last=True)
    read(model)
    read(single)

    assert travel.bring_back(FIGURES) is FIGURES
    torch.testing.assert_close(grads_of(model), grads_of(single))


def test_three_processes_end_with_the_same_weights_to_the_last_bit(tmp_path: Path) -> None:
    call = f"from tests.test_travel import train_and_tell; train_and_tell({str(tmp_path)!r})"
    three = start_together(3, tmp_path / "three", program=[sys.executable, "-c", call])

    assert three.wait() == [0, 0, 0], three.complaints()
    digests = [(tmp_path / f"{rank}.sha256").read_text() for rank in range(3)]
    assert digests == digests[:1] * 3


def train_and_tell(folder: str) -> None:
    """Train as one of several processes, and write down the digest of the weights at the end."""
    corpus = corpus_from_text("the cat sat on the mat. " * 40)
    config = TrainConfig(
        steps=20,
        hidden_size=7,
        num_layers=2,
        batch_size=5,
        seq_len=6,
        dropout=0.2,
        initial_state="learned",
        tie_output=True,
        threads=1,
    )
    with join() as peers:
        *_, finished = train(corpus, config, peers=peers)
    assert isinstance(finished, Finished)
    weights = finished.snapshot.weights
    written = b"".join(weights[name].tobytes() for name in sorted(weights))
    Path(folder, f"{peers.rank}.sha256").write_text(sha256(written).hexdigest())
