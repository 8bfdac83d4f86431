"""n-grams in training: which rows move and how, and that nothing is lost where a run is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from charrnn.config import ModelConfig, TextConfig, TrainConfig
from charrnn.config.model import NGRAM_TABLE
from charrnn.data.corpus import corpus_from_text
from charrnn.errors import OutOfMemoryError
from charrnn.model.network import CharRNN, copy_model, load_numpy_state_dict, numpy_state_dict
from charrnn.model.ngrams import NGrams
from charrnn.text.ngrams import NO_CHECK, RowCounts, choose_ngrams, find_ngrams
from charrnn.training import memory
from charrnn.training.loop import train
from charrnn.training.memory import training_bytes
from charrnn.training.optimizer import (
    Optimizer,
    RowWiseRMSprop,
    kind_of,
    weight_decay_of,
)
from charrnn.training.plan import make_plan
from charrnn.training.reports import Evaluation, Finished, Snapshot
from charrnn.training.trainer import Trainer
from tests.training.small_runs import SMALL, stop_after

CORPUS = corpus_from_text("the cat sat on the mat. a hat! " * 24)
R, E = 8, 3
MOVES = torch.tensor(True)


def make_config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, "steps": 70, "ngram_order": 4, "ngram_rows": 64, **settings})


def make_trainer(initial: Callable[..., Any] | None = None, **settings: Any) -> Trainer:
    config = make_config(**settings)
    plan = make_plan(config, CORPUS.vocab.size, len(CORPUS.train))
    return Trainer(plan, config, CORPUS, torch.device("cpu"), torch.float32, initial)


def assert_same(one: Trainer, other: Trainer) -> None:
    for mine, theirs in zip(one.state_dict()[:2], other.state_dict()[:2], strict=True):
        assert mine.keys() == theirs.keys()
        for name in mine:
            assert np.array_equal(mine[name], theirs[name]), name


# One update


def make_table() -> nn.Parameter:
    return nn.Parameter(torch.randn(R, E, generator=torch.Generator().manual_seed(5)))


def sparse_rows(rows: list[int], values: torch.Tensor) -> torch.Tensor:
    places = torch.tensor([rows])
    return torch.sparse_coo_tensor(places, values, (R, E), check_invariants=True)


def gradient_of(rows: list[int], *, is_sparse: bool) -> torch.Tensor:
    """Return a gradient (R, E) for rows, of which some may occur twice."""
    values = torch.arange(1.0, E * len(rows) + 1).view(-1, E) * 1e-3
    sparse = sparse_rows(rows, values)
    return sparse if is_sparse else sparse.to_dense()


def moved_rows(table: nn.Parameter) -> list[int]:
    return (table != make_table()).any(1).nonzero()[:, 0].tolist()


def test_a_row_goes_against_its_gradient_by_its_own_root_mean_square() -> None:
    table = make_table()
    before = table.detach().clone()
    optimizer = RowWiseRMSprop(table, decay=0.0)
    gradient = torch.tensor([3.0, -4.0, 0.0])
    table.grad = sparse_rows([5], gradient[None])
    optimizer.step(0.01, update=1)

    mean_square = 25 / 3
    step = 4 * 0.01 * gradient / (0.01 * mean_square) ** 0.5
    torch.testing.assert_close(table[5], before[5] - step)
    assert moved_rows(table) == [5]
    assert optimizer.second_moment.nonzero()[:, 0].tolist() == [5]
    assert optimizer.second_moment[5] == pytest.approx(0.01 * mean_square)


def test_sparse_dense_and_masked_gradients_move_the_same_rows_to_the_same_place() -> None:
    tables = [make_table() for _ in range(3)]
    optimizers = [RowWiseRMSprop(table, decay=0.0) for table in tables]
    for update in range(1, 5):
        rows = [6, 1, 6, update]
        for table, is_sparse in zip(tables, (True, False, False), strict=True):
            table.grad = gradient_of(rows, is_sparse=is_sparse)
        optimizers[0].step(0.01, update)
        optimizers[1].step(0.01, update)
        optimizers[2].step_masked(torch.tensor(0.01), torch.tensor(float(update)), MOVES)

    assert moved_rows(tables[0]) == [1, 2, 3, 4, 6]
    for table, optimizer in zip(tables[1:], optimizers[1:], strict=True):
        torch.testing.assert_close(table, tables[0])
        torch.testing.assert_close(optimizer.second_moment, optimizers[0].second_moment)
        assert moved_rows(table) == moved_rows(tables[0])


def test_where_the_mask_is_false_nothing_changes() -> None:
    table = make_table()
    optimizer = RowWiseRMSprop(table, decay=0.5)
    table.grad = gradient_of([2], is_sparse=False)
    optimizer.step_masked(torch.tensor(0.01), torch.tensor(64.0), ~MOVES)

    assert moved_rows(table) == []
    assert not optimizer.second_moment.any()


def test_decay_comes_to_all_rows_once_in_64_updates_and_takes_what_64_would() -> None:
    once, masked = make_table(), make_table()
    optimizer = RowWiseRMSprop(once, decay=0.2)
    other = RowWiseRMSprop(masked, decay=0.2)
    for update in range(1, 64):
        optimizer.step(0.01, update)
        other.step_masked(torch.tensor(0.01), torch.tensor(float(update)), MOVES)
    assert moved_rows(once) == moved_rows(masked) == []

    optimizer.step(0.01, update=64)
    other.step_masked(torch.tensor(0.01), torch.tensor(64.0), MOVES)
    for table in (once, masked):
        torch.testing.assert_close(table, make_table() * (1 - 0.01 * 0.2) ** 64)


def test_at_a_high_rate_decay_leaves_what_64_updates_would_and_not_nothing() -> None:
    table, masked = make_table(), make_table()
    RowWiseRMSprop(table, decay=1.0).step(0.03, update=64)
    RowWiseRMSprop(masked, decay=1.0).step_masked(torch.tensor(0.03), torch.tensor(64.0), MOVES)

    for each in (table, masked):
        torch.testing.assert_close(each, make_table() * 0.97**64)


def test_a_decay_larger_than_a_table_ends_at_zero() -> None:
    table, masked = make_table(), make_table()
    RowWiseRMSprop(table, decay=90.0).step(0.1, update=64)
    RowWiseRMSprop(masked, decay=90.0).step_masked(torch.tensor(0.1), torch.tensor(64.0), MOVES)

    assert not table.any()
    assert not masked.any()


@pytest.mark.parametrize("is_sparse", [True, False])
@pytest.mark.parametrize("is_masked", [True, False])
def test_a_row_whose_gradient_is_zero_keeps_its_mean_square(
    is_sparse: bool, is_masked: bool
) -> None:
    optimizer = RowWiseRMSprop(table := make_table(), decay=0.0)
    optimizer.second_moment.fill_(0.5)
    gradient = sparse_rows([2, 6], torch.tensor([[0.0, 0.0, 0.0], [0.0, 3e-30, 0.0]]))
    if is_masked:
        table.grad = gradient.to_dense()
        optimizer.step_masked(torch.tensor(0.01), torch.tensor(1.0), MOVES)
    else:
        table.grad = gradient if is_sparse else gradient.to_dense()
        optimizer.step(0.01, update=1)

    assert (optimizer.second_moment != 0.5).nonzero()[:, 0].tolist() == [6]  # though 6's g² is 0


@pytest.mark.parametrize("is_masked", [True, False])
def test_rows_move_and_fade_alike_in_networks_of_all_sizes(is_masked: bool) -> None:
    tables = []
    shares = []
    for hidden_size in (4, 256):
        sizes = {"vocab_size": 5, "embedding_size": E, "hidden_size": hidden_size}
        model = CharRNN(ModelConfig(**sizes, ngram_order=3, ngram_rows=R))
        table = model.ngrams.weight
        table.data.copy_(make_table())
        config = TrainConfig(weight_decay_ngrams=0.2, optimizer="adamw")
        optimizer = Optimizer(model, config, torch.float32)
        optimizer.updates = 63
        table.grad = gradient_of([1, 6], is_sparse=False)
        rate = 0.004 * (256 / hidden_size) ** 0.75
        optimizer.step(torch.tensor(rate) if is_masked else rate, MOVES if is_masked else None)
        tables.append(table.detach())
        shares.append(optimizer.decays_at(rate)[NGRAM_TABLE])

    assert moved_rows(tables[0]) == list(range(R))
    torch.testing.assert_close(tables[0], tables[1])
    torch.testing.assert_close(tables[1][0], make_table()[0] * (1 - 0.004 * 0.2) ** 64)
    assert shares == pytest.approx([0.004 * 0.2] * 2)


def test_a_table_has_a_kind_a_decay_and_an_optimizer_of_its_own() -> None:
    config = ModelConfig(vocab_size=5, embedding_size=3, hidden_size=4, ngram_order=3, ngram_rows=8)
    optimizer = Optimizer(CharRNN(config), TrainConfig(), torch.float32)

    assert kind_of(NGRAM_TABLE) == "ngrams"
    assert weight_decay_of(NGRAM_TABLE, TrainConfig(weight_decay_ngrams=0.7)) == 0.7
    assert optimizer.state_dict()["second_moment"][NGRAM_TABLE].shape == (8,)
    assert NGRAM_TABLE in optimizer.learned
    assert NGRAM_TABLE not in optimizer.names
    assert not any("check" in name or "key" in name for name in optimizer.learned)


# Steps


def test_only_the_rows_of_a_window_move_and_those_without_an_n_gram_never() -> None:
    trainer = make_trainer(weight_decay_ngrams=0.0)
    table = trainer.model.ngrams.weight
    before = table.detach().clone()
    trainer.advance(70)
    first = (table != before).any(1)
    for _ in range(40):
        trainer.advance(70)
    free = trainer.model.ngrams.check == NO_CHECK

    assert 0 < first.sum() < 10 * 3
    assert free.any()
    torch.testing.assert_close(table[free], before[free], rtol=0, atol=0)


def test_micro_batches_add_up_to_the_same_step() -> None:
    whole, parts = make_trainer(batch_size=3), make_trainer(batch_size=3)
    parts.update.set_micro_batches(3)
    for _ in range(3):
        whole.advance(70)
        parts.advance(70)

    for name, array in whole.state_dict()[0].items():
        np.testing.assert_allclose(parts.state_dict()[0][name], array, atol=1e-4, err_msg=name)


def test_a_dense_gradient_makes_the_same_steps_as_a_sparse_one() -> None:
    sparse, dense = make_trainer(), make_trainer()
    assert sparse.model.ngrams.is_sparse
    dense.model.ngrams.is_sparse = False
    for _ in range(66):
        sparse.advance(70)
        dense.advance(70)

    table = sparse.state_dict()[0][NGRAM_TABLE]
    np.testing.assert_allclose(dense.state_dict()[0][NGRAM_TABLE], table, atol=1e-4)


@pytest.mark.parametrize("cut", [3, 64])
def test_a_resumed_run_ends_in_the_same_bits(cut: int) -> None:
    whole, first = make_trainer(), make_trainer()
    for _ in range(70):
        whole.advance(70)
    for _ in range(cut):
        first.advance(70)
    second = make_trainer()
    second.load_state_dict(*first.state_dict())
    for _ in range(70 - cut):
        second.advance(70)

    assert_same(second, whole)


@pytest.mark.parametrize("shape", [(1,), (64, 3), (63,)])
def test_a_moment_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    trainer = make_trainer()
    weights, arrays, rest = trainer.state_dict()
    arrays["second_moment.ngrams.weight"] = np.zeros(shape, np.float32)

    with pytest.raises(ValueError, match=r"second_moment\.ngrams\.weight is .*, not \(64,\)"):
        trainer.load_state_dict(weights, arrays, rest)


def test_the_average_shares_the_table_and_what_it_is_of() -> None:
    trainer = make_trainer()
    trainer.advance(70)
    own, averaged = trainer.model, trainer.averaged

    assert averaged is not own
    for name in ("weight", "check", "key"):
        assert getattr(averaged.ngrams, name) is getattr(own.ngrams, name)
    assert averaged.embedding.weight is not own.embedding.weight


def test_a_copy_of_a_model_without_n_grams_shares_nothing() -> None:
    model = CharRNN(ModelConfig(vocab_size=5, embedding_size=3, hidden_size=4))
    copied = copy_model(model)

    assert not {id(p) for p in model.parameters()} & {id(p) for p in copied.parameters()}


# Whole runs


def reports_of(**more: Any) -> list[Any]:
    return list(train(CORPUS, make_config(**more.pop("settings", {})), **more))


def test_the_best_model_is_as_it_was_evaluated_though_later_steps_move_the_same_table() -> None:
    settings = {"eval_every": 7, "learning_rate": 0.3, "lr_schedule": "constant"}  # gets worse
    settings["weight_decay_ngrams"] = 1.0
    reports = reports_of(settings=settings)
    best = [r for r in reports if isinstance(r, Evaluation) and r.is_best][-1]
    finished = reports[-1]
    assert isinstance(finished, Finished)
    assert finished.best_step < 70

    for name, array in best.weights.items():
        assert np.array_equal(finished.best_weights[name], array), name
    last = finished.snapshot
    assert last.step == 70
    assert not np.array_equal(last.weights[NGRAM_TABLE], best.weights[NGRAM_TABLE])


@pytest.mark.usefixtures("counted_steps")
def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not() -> None:
    settings = {"eval_every": 14}
    whole = reports_of(settings=settings)[-1]
    cut = reports_of(settings=settings, should_stop=stop_after(33))
    snapshot = [r for r in cut if isinstance(r, Snapshot)][-1]
    assert 0 < snapshot.step < 70
    resumed = reports_of(settings=settings, resume=snapshot)[-1]

    for name, array in whole.snapshot.weights.items():
        assert np.array_equal(resumed.snapshot.weights[name], array), name
    for name, array in whole.snapshot.arrays.items():
        assert np.array_equal(resumed.snapshot.arrays[name], array), name


def test_a_rollback_brings_the_table_back() -> None:
    trainer = make_trainer()
    for _ in range(5):
        trainer.advance(70)
    good = trainer.state_dict()
    with torch.no_grad():
        trainer.model.ngrams.weight.fill_(torch.nan)
    trainer.load_state_dict(*good)

    assert np.array_equal(trainer.state_dict()[0][NGRAM_TABLE], good[0][NGRAM_TABLE])
    assert torch.equal(trainer.averaged.ngrams.weight, trainer.model.ngrams.weight)


def test_a_resumed_run_has_the_n_grams_of_its_state_and_chooses_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    snapshot = [r for r in reports_of(settings={"steps": 9}) if isinstance(r, Snapshot)][-1]
    read = []

    def find(ids: Any, *rest: Any) -> Any:
        read.append(len(ids))
        return find_ngrams(ids, *rest)

    monkeypatch.setattr("charrnn.training.trainer.find_ngrams", find)
    resumed = reports_of(settings={"steps": 11}, resume=snapshot)[-1]

    assert sum(read) == 0
    check = resumed.snapshot.weights["ngrams.check"]
    assert (check != NO_CHECK).sum() > 30
    assert np.array_equal(check, snapshot.weights["ngrams.check"])


@pytest.mark.parametrize("is_async", [True, False])
def test_rows_add_up_to_the_same_where_a_device_has_no_embedding_bag(
    monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    ngrams = make_trainer().model.ngrams
    ngrams.is_sparse = False
    ngrams.is_async = is_async
    ids = torch.from_numpy(CORPUS.train[:10].astype(np.int64)).view(5, 2)
    found = []
    for has_bags in (True, False):
        if not has_bags:
            monkeypatch.setattr(NGrams, "has_bags", False)
            monkeypatch.setattr(functional, "embedding_bag", None)
        ngrams.weight.grad = None
        summed, context = ngrams(ids, ngrams.initial_context(2))
        (summed * torch.arange(1.0, 11.0).view(5, 2, 1)).sum().backward()
        found.append((summed, context, ngrams.weight.grad))

    assert found[0][0].any()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


# Rows of a model that a run starts from


def test_a_new_table_has_the_frequent_n_grams_of_the_text() -> None:
    ngrams = make_trainer().model.ngrams
    keys = np.arange(1, CORPUS.vocab.size + 1)
    chosen = choose_ngrams(CORPUS.train, 4, 64, keys)

    assert np.array_equal(ngrams.check.detach().numpy(), chosen)


def test_a_table_of_records_has_the_n_grams_inside_them() -> None:
    names = "\n".join(["anna", "bo", "na", "ab"] * 30)
    corpus = corpus_from_text(names, TextConfig(lines=True))
    config = make_config()
    plan = make_plan(config, corpus.vocab.size, len(corpus.train), label_count=0)
    trainer = Trainer(plan, config, corpus, torch.device("cpu"), torch.float32)
    end = corpus.vocab.size - 1
    keys = np.arange(1, end + 2)

    assert plan.model.has_end
    chosen = choose_ngrams(corpus.train, 4, 64, keys, end)
    assert np.array_equal(trainer.model.ngrams.check.detach().numpy(), chosen)
    assert not np.array_equal(chosen, choose_ngrams(corpus.train, 4, 64, keys))


def test_rows_that_came_with_a_model_keep_their_n_grams_and_free_ones_get_new_ones() -> None:
    check = np.full(64, NO_CHECK, np.float32)
    check[[0, 5, 63]] = [11, 22, 33]
    trainer = make_trainer(initial=lambda weights: weights | {"ngrams.check": check})
    filled = trainer.model.ngrams.check.detach().numpy()

    assert filled[[0, 5, 63]].tolist() == [11, 22, 33]
    assert (filled != NO_CHECK).sum() > 30


def test_it_is_counted_how_n_grams_of_a_text_found_rows() -> None:
    codes = find_ngrams(CORPUS.train, 4, np.arange(1, CORPUS.vocab.size + 1))
    new = make_trainer()
    check = new.model.ngrams.check.detach().numpy().copy()
    filled = int((check != NO_CHECK).sum())

    assert len(codes) > filled  # some found their bucket full
    assert new.row_counts == RowCounts(len(codes), taken=0, known=0, added=filled)
    # Of a model that has half of them, and one n-gram of another text.
    half = np.flatnonzero(check != NO_CHECK)[::2]
    foreign = np.full(64, NO_CHECK, np.float32)
    foreign[half] = check[half]
    free = int(np.flatnonzero(check == NO_CHECK)[0])
    foreign[free] = 11
    other = make_trainer(initial=lambda weights: weights | {"ngrams.check": foreign})
    counts = other.row_counts
    after = other.model.ngrams.check.detach().numpy()
    assert counts is not None
    assert (counts.taken, counts.known) == (len(half) + 1, len(half))
    assert counts.added == int((after != NO_CHECK).sum()) - counts.taken > 0


@pytest.mark.parametrize(("settings", "is_told"), [({}, True), ({"ngram_rows": None}, False)])
def test_rows_are_reported_where_the_text_did_not_decide_how_many(
    settings: dict[str, Any], is_told: bool
) -> None:
    first, *_, last = reports_of(settings={"steps": 9} | settings)

    assert (first.row_counts is not None) is is_told
    snapshot = last.snapshot
    resumed = reports_of(settings={"steps": 11} | settings, resume=snapshot)[0]
    assert resumed.row_counts is None


def test_keys_of_a_model_count_when_n_grams_are_chosen_and_come_back_when_it_resumes() -> None:
    keys = np.arange(1, CORPUS.vocab.size + 1, dtype=np.float32)[::-1].copy()
    trainer = make_trainer(initial=lambda weights: weights | {"ngrams.key": keys})
    chosen = choose_ngrams(CORPUS.train, 4, 64, keys.astype(np.int64))
    resumed = make_trainer()
    resumed.load_state_dict(*trainer.state_dict())

    assert np.array_equal(trainer.model.ngrams.check.detach().numpy(), chosen)
    for network in (resumed.model, resumed.averaged):
        assert np.array_equal(network.ngrams.key.detach().numpy(), keys)
        assert np.array_equal(network.ngrams.check.detach().numpy(), chosen)


# Memory


def test_a_table_counts_less_in_memory_than_weights_with_moments_of_their_size() -> None:
    plans = [
        make_plan(make_config(ngram_rows=rows), CORPUS.vocab.size, 900) for rows in (64, 64_064)
    ]
    smaller, larger = map(training_bytes, plans)

    assert larger - smaller == 4 * 3 * 64_000 * 3
    smaller, larger = (training_bytes(plan, is_dense=True) for plan in plans)
    assert larger - smaller == 4 * 4 * 64_000 * 3  # and a gradient of all rows


def test_too_large_a_table_is_refused_with_its_own_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = make_plan(make_config(ngram_rows=64_000), CORPUS.vocab.size, 900)
    room = training_bytes(plan) - plan.batch_size * 10_000
    monkeypatch.setattr(memory, "machine_memory_bytes", lambda: room)

    with pytest.raises(OutOfMemoryError, match="lower ngram_rows, hidden_size, num_layers"):
        memory.choose_micro_batches(plan, torch.device("cpu"))


def test_a_run_without_memory_says_to_lower_the_rows_only_where_there_are_some() -> None:
    pairs = replace(CORPUS, target_vocab=CORPUS.vocab)
    said = [
        memory.say_short(TrainConfig(**settings), corpus)
        for corpus, settings in (
            (CORPUS, {"ngram_order": 2}),
            (CORPUS, {}),  # too short for any
            (pairs, {"ngram_order": 2}),
            (CORPUS, {"task": "classification", "ngram_order": 2}),
        )
    ]

    assert ["--ngram-rows, --hidden-size" in each for each in said] == [True, False, False, False]
    assert all(each.endswith("--hidden-size, --num-layers or --seq-len") for each in said)


def test_weights_of_n_grams_load_into_a_network_of_the_same_shape() -> None:
    trainer = make_trainer()
    weights = numpy_state_dict(trainer.model)
    other = CharRNN(trainer.model.config)
    load_numpy_state_dict(other, weights)

    assert np.array_equal(other.ngrams.check.detach().numpy(), weights["ngrams.check"])


def test_rows_fade_faster_in_a_text_that_is_read_sooner() -> None:
    config = TrainConfig(steps=10, batch_size=16, seq_len=64)
    million, short, wide = (
        make_plan(replace(config, batch_size=lanes), 65, tokens).ngram_decay(config, tokens)
        for tokens, lanes in ((1_000_000, 16), (100_000, 16), (1_000_000, 32))
    )

    assert (million, short, wide) == (1, 4.6, 1.6)
    given = replace(config, weight_decay_ngrams=0.5)
    assert make_plan(given, 65, 100_000).ngram_decay(given, 100_000) == 0.5
