"""Gradients leave for the other processes layer by layer, and come back as sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.errors import ProcessLostError
from charrnn.model.network import CharRNN, copy_model
from charrnn.text.ngrams import choose_ngrams
from charrnn.training import distributed
from charrnn.training.distributed import BucketedAllReduce, Processes, make_buckets
from charrnn.training.plan import make_plan
from charrnn.training.trainer import Trainer

IDS = torch.tensor([[0, 1, 2, 3], [4, 0, 3, 1], [2, 2, 0, 4]])
TARGETS = IDS.flip(1)
FIGURES = torch.tensor([3.0, 0.0])


@dataclass(frozen=True)
class Twins(Processes):
    """Two processes with the same gradients: a sum is twice what one has. Keeps what was sent."""

    world_size: int = 2
    sent: list[list[Tensor]] = field(default_factory=list)

    def all_reduce_async(self, tensors: Sequence[Tensor]) -> Callable[[], list[Tensor]]:
        self.sent.append(list(tensors))
        return lambda: [2 * tensor for tensor in tensors]


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_SMALLEST_BUCKET", 1)


def make_network(**settings: Any) -> CharRNN:
    shape: dict[str, Any] = {"vocab_size": 5, "embedding_size": 3, "hidden_size": 4}
    torch.manual_seed(1)
    return CharRNN(ModelConfig(**shape | {"num_layers": 3} | settings))


def read(model: CharRNN, rows: slice = slice(None)) -> None:
    """Leave the gradients of these lanes."""
    model.loss_sum(IDS[rows], TARGETS[rows], None, None)[0].backward()


def grads_of(model: CharRNN) -> dict[str, Tensor | None]:
    return {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_twice(model: CharRNN, single: CharRNN) -> None:
    expected = grads_of(single)
    for name, grad in grads_of(model).items():
        if (once := expected[name]) is None:
            assert grad is None
        else:
            assert grad is not None
            torch.testing.assert_close(grad.to_dense(), 2 * once.to_dense(), msg=name)


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize(
    "settings", [{}, {"tie_embeddings": True, "initial_state": "learned"}, {"num_layers": 1}]
)
def test_every_learned_weight_travels_once_and_comes_back_as_a_sum(
    cell: str, settings: dict[str, Any]
) -> None:
    model, twins = make_network(cell=cell, **settings), Twins()
    single, all_reduce = copy_model(model), BucketedAllReduce(model, twins)
    blocks = make_buckets(model)
    all_reduce.begin_backward(is_last=True)
    read(model)
    read(single)

    assert all_reduce.finish(FIGURES).tolist() == [6.0, 0.0]
    assert_twice(model, single)
    assert len(twins.sent) == len(blocks) == model.config.num_layers + 2
    learned = {parameter for parameter in model.parameters() if parameter.requires_grad}
    assert set(chain(*blocks)) == learned
    assert sum(map(len, blocks)) == len(learned)


def test_a_table_of_n_grams_travels_whole_and_last_even_where_no_n_gram_is_known() -> None:
    model = make_network(ngram_order=3, ngram_rows=8)
    twins = Twins()
    all_reduce = BucketedAllReduce(model, twins)
    all_reduce.begin_backward(is_last=True)
    read(model)
    all_reduce.finish(FIGURES)
    assert model.ngrams is not None
    gradient = model.ngrams.weight.grad

    assert gradient is not None
    assert gradient.shape == (8, 3)
    assert not gradient.any()
    last = {id(parameter) for parameter in make_buckets(model)[-1]}
    assert id(model.ngrams.weight) in last
    assert not last & {id(model.ngrams.check), id(model.ngrams.key)}
    model.ngrams.check.data[:] = torch.arange(8.0)
    assert not model.ngrams.is_sparse


def test_of_a_sparse_table_of_n_grams_only_the_rows_of_a_window_travel() -> None:
    model, single = (make_network(ngram_order=3, ngram_rows=8) for _ in range(2))
    for each in (model, single):
        assert each.ngrams is not None
        each.ngrams.is_sparse = True
        each.ngrams.keep(choose_ngrams(np.tile(IDS[0].numpy(), 5), 3, 8, np.arange(1, 6)))
    twins = Twins()
    all_reduce = BucketedAllReduce(model, twins)
    all_reduce.begin_backward(is_last=True)
    read(model)
    read(single)
    all_reduce.finish(FIGURES)

    (sent,) = (tensor for tensor in twins.sent[-1] if tensor.shape == (8, 3))
    assert sent.is_sparse
    assert 0 < len(sent.coalesce().values()) < 8
    assert_twice(model, single)


class Done:
    """A sum that is ready."""

    def wait(self) -> None:
        pass


def test_sparse_and_dense_tensors_come_back_as_sums_in_their_own_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def double(tensor: Tensor, *, async_op: bool) -> Done:
        tensor.add_(tensor.clone())
        return Done()

    monkeypatch.setattr(distributed.dist, "all_reduce", double)
    rows = torch.sparse_coo_tensor([[4, 1, 4]], torch.ones(3, 2), (6, 2), check_invariants=True)
    dense = (torch.arange(3.0), torch.ones(2, 4))
    sums = Processes(0, 2).all_reduce_async([dense[0], rows, dense[1]])()

    assert sums[1].is_sparse
    expected = [2 * dense[0], 2 * rows.to_dense(), 2 * dense[1]]
    for total, right in zip(sums, expected, strict=True):
        torch.testing.assert_close(total.to_dense(), right)


def test_small_layers_go_together_with_those_below(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "_SMALLEST_BUCKET", 150)  # a layer has 144 or 160
    model = make_network()
    top, middle, bottom = (list(layer.cell.parameters()) for layer in reversed(model.layers))
    output = list(model.output.parameters())

    blocks = make_buckets(model)
    expected = [[*output, *top], middle, [*bottom, model.embedding.weight]]
    assert [[id(p) for p in block] for block in blocks] == [[id(p) for p in b] for b in expected]


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_a_layer_has_left_before_the_one_below_it_is_done(cell: str) -> None:
    model, twins = make_network(cell=cell), Twins()
    all_reduce = BucketedAllReduce(model, twins)
    sent: list[int] = []
    weights = [layer.cell.weight_hh_l0 for layer in reversed(list(model.layers))]
    for weight in (*weights, model.embedding.weight):
        weight.register_hook(lambda _: sent.append(len(twins.sent)))
    all_reduce.begin_backward(is_last=True)
    read(model)

    assert sent == [1, 2, 3, 4]  # the output's block, then that of each layer


def test_nothing_leaves_before_the_last_micro_batch_of_a_window() -> None:
    model, twins = make_network(), Twins()
    single, all_reduce = copy_model(model), BucketedAllReduce(model, twins)
    all_reduce.begin_backward(is_last=False)
    read(model, slice(0, 2))

    assert twins.sent == []
    all_reduce.begin_backward(is_last=True)
    read(model, slice(2, 3))
    all_reduce.finish(FIGURES)
    read(single)
    assert_twice(model, single)


LINES = "".join(f"__label__{'ab'[i % 2]} {'xyz'[i % 3] * (i % 7)}{i}\n" for i in range(80))


@pytest.mark.parametrize(
    ("text", "settings"),
    [("the cat sat on the mat. " * 40, {}), (LINES, {"lines": True, "label": "prefix"})],
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_window_in_micro_batches_makes_the_same_update_as_in_one_piece(
    text: str, settings: dict[str, Any], cell: str
) -> None:
    corpus = corpus_from_text(text, TextConfig(**settings))
    shape: dict[str, Any] = {"cell": cell, "hidden_size": 7, "num_layers": 2}
    config = TrainConfig(steps=1, batch_size=8, seq_len=6, dropout=0.0, **shape)
    sizes = (corpus.vocab.size, len(corpus.train))
    plan = make_plan(config, *sizes, label_count=corpus.label_count)
    updates = []
    for micro_batches in (1, 3):
        trainer = Trainer(plan, config, corpus, torch.device("cpu"), torch.float32, world=Twins())
        trainer.update.set_micro_batches(micro_batches)
        updates += trainer.advance(1)

    whole, sliced = updates
    assert sliced.loss_sum == pytest.approx(whole.loss_sum, rel=1e-5)
    assert sliced.grad_norm == pytest.approx(whole.grad_norm, rel=1e-5)


def test_a_window_read_again_for_want_of_memory_sends_no_block_twice() -> None:
    model, twins = make_network(), Twins()
    single, all_reduce = copy_model(model), BucketedAllReduce(model, twins)
    all_reduce.begin_backward(is_last=True)
    lack = model.layers[1].cell.weight_hh_l0.register_hook(run_out_of_memory)
    with pytest.raises(MemoryError):
        read(model)
    lack.remove()
    assert len(twins.sent) == 2
    model.zero_grad()
    for rows in (slice(0, 2), slice(2, 3)):
        assert len(twins.sent) == 2
        all_reduce.begin_backward(is_last=rows.stop == 3)
        read(model, rows)
    all_reduce.finish(FIGURES)

    read(single)
    assert_twice(model, single)
    assert len(twins.sent) == len(make_buckets(model))


def run_out_of_memory(_: Tensor) -> None:
    raise MemoryError


def test_an_initial_state_that_a_window_did_not_use_stays_without_a_gradient() -> None:
    model = make_network(initial_state="learned")
    all_reduce = BucketedAllReduce(model, Twins())
    all_reduce.begin_backward(is_last=True)
    state = tuple(tuple(torch.ones(3, 4) for _ in range(2)) for _ in range(3))
    model.loss_sum(IDS, TARGETS, state, None)[0].backward()
    all_reduce.finish(FIGURES)

    missing = {name for name, grad in grads_of(model).items() if grad is None}
    assert missing == {f"layers.{depth}.initial" for depth in range(3)}


def test_a_lost_process_is_told_of_from_within_a_backward_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lose(*_: object) -> None:
        raise ProcessLostError("gone")

    model = make_network()
    all_reduce = BucketedAllReduce(model, Processes(0, 2))
    monkeypatch.setattr(Processes, "all_reduce_async", lose)
    all_reduce.begin_backward(is_last=True)
    with pytest.raises(ProcessLostError, match="gone"):
        read(model)
