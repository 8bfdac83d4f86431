"""Distillation: what teachers write, its probabilities, and runs that learn from them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig, TrainConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.model import heads
from charrnn.model.network import CharRNN, load_numpy_state_dict, numpy_state_dict
from charrnn.training import distillation
from charrnn.training.batches import Window
from charrnn.training.distillation import WrittenText, join
from charrnn.training.loop import train
from charrnn.training.plan import count_written_lanes, make_plan
from charrnn.training.reports import Finished, Snapshot
from charrnn.training.trainer import Trainer
from tests.training.small_runs import SMALL, stop_after

CORPUS = corpus_from_text("the cat sat on the mat. a hat! " * 24)
V = CORPUS.vocab.size
SHAPE = {"hidden_size": 6, "embedding_size": 4}


def make_teachers(count: int = 2, **settings: Any) -> list[CharRNN]:
    teachers = []
    for seed in range(count):
        torch.manual_seed(seed)
        shape = {"vocab_size": V, "ngram_order": 1, "ngram_rows": 0, **SHAPE, **settings}
        teacher = CharRNN(ModelConfig(**shape)).requires_grad_(False)
        teacher.output.weight *= 5  # so that they differ
        teachers.append(teacher)
    return teachers


def make_text(teachers: list[CharRNN] | None = None, seed: int = 3, **sizes: int) -> WrittenText:
    lanes, seq_len = sizes.get("lanes", 2), sizes.get("seq_len", 5)
    return WrittenText(
        teachers or make_teachers(), CORPUS.train, lanes, seq_len, seed, torch.float32
    )


def make_config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{**SMALL, "batch_size": 4, "steps": 30, **settings})


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "_BLOCK_TOKENS", 60)
    monkeypatch.setattr(distillation, "_STREAM_TOKENS", 10)
    monkeypatch.setattr(distillation, "_PROMPT_TOKENS", 7)


def assert_same(one: Window, other: Window) -> None:
    for mine, theirs in zip(one, other, strict=True):
        assert torch.equal(mine, theirs)


# What is written


@pytest.mark.parametrize(
    ("lanes", "epochs", "written"),
    [
        *((2, 1.0, 1), (3, 1.0, 2), (2, 99.0, 1), (64, 1.0, 32)),
        *((16, 16.0, 8), (16, 17.0, 12), (16, 32.0, 12), (16, 33.0, 15), (16, 1e4, 15)),
    ],
)
def test_half_of_the_lanes_or_more_read_what_is_written_and_one_at_least_the_text(
    lanes: int, epochs: float, written: int
) -> None:
    assert count_written_lanes(lanes, epochs) == written


@pytest.mark.parametrize(("lanes", "readings"), [(1, 1), (8, 4), (12, 4), (15, 5), (7, 1), (6, 3)])
def test_groups_of_lanes_read_a_block_each(lanes: int, readings: int) -> None:
    text = make_text(lanes=lanes)
    for step in range(3):
        assert text.read(step).inputs.shape == (lanes, 5)
    assert text._readings == readings


def test_a_stream_goes_on_from_window_to_window() -> None:
    text = make_text()
    windows = [text.read(step) for step in range(2)]  # of two lanes, a block of 6 streams each

    for window in windows:
        assert torch.equal(window.inputs[:, 1:], window.targets[:, :-1])
    assert torch.equal(windows[1].inputs[:, 0], windows[0].targets[:, -1])


def test_what_is_written_follows_from_the_seed_and_the_step() -> None:
    steps = [0, 1, 5, 12, 31, 2]  # 6 streams of 2 windows are read in 12 steps
    text = make_text()
    read = {step: text.read(step) for step in steps}

    for step in reversed(steps):
        assert_same(make_text().read(step), read[step])
    assert not torch.equal(make_text(seed=4).read(0).inputs, read[0].inputs)
    assert not torch.equal(read[0].inputs, read[12].inputs)  # of the next block


def test_each_window_of_a_block_is_read_by_each_group_of_lanes() -> None:
    text = make_text(lanes=4)
    windows = [text.read(step) for step in range(5 * 12)]
    seen = [
        [tuple(windows[step].inputs[lane].tolist()) for step in range(12 * block, 12 * block + 12)]
        for block, lane in ((3, 0), (4, 1))
    ]

    assert sorted(seen[0]) == sorted(seen[1])  # the second lane reads it one block later
    assert len(set(seen[0])) > 6


def test_shares_are_the_mean_of_the_teachers_probabilities() -> None:
    teachers = make_teachers(3)
    text = WrittenText(teachers, CORPUS.train[:7], 6, 10, 3, torch.float32)
    window = text.read(0)

    # Each stream goes on from the prompt, here the only one, whose last token is its first.
    assert (window.inputs[:, 0] == int(CORPUS.train[6])).all()
    prompt = torch.from_numpy(CORPUS.train[:6].astype(np.int64)).expand(6, -1)
    own = [
        teacher(window.inputs, teacher(prompt)[1])[0].softmax(-1).detach() for teacher in teachers
    ]
    torch.testing.assert_close(window.shares, torch.stack(own).mean(0), atol=1e-3, rtol=0)
    assert torch.equal(window.likely, torch.arange(V).expand_as(window.likely))


def test_tokens_are_drawn_by_these_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "_BLOCK_TOKENS", 40_000)
    window = make_text(lanes=4000, seq_len=1).read(0)
    shares = window.shares[:, 0]
    drawn = torch.zeros_like(shares).scatter_(1, window.targets, 1.0)

    expected = shares.sum(0)
    assert ((drawn.sum(0) - expected).abs() < 5 * expected.sqrt() + 1).all()


def test_of_a_large_alphabet_the_likely_tokens_are_kept_without_a_bias(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(distillation, "_BLOCK_TOKENS", 40_000)
    whole = make_text(lanes=4000, seq_len=1).read(0)
    monkeypatch.setattr(distillation, "_MOST_LIKELY", 3)
    monkeypatch.setattr(distillation, "_SMALL_ALPHABET", 3)
    window = make_text(lanes=4000, seq_len=1).read(0)
    shares = torch.zeros(4000, V).scatter_add_(1, window.likely[:, 0], window.shares[:, 0])

    assert torch.equal(window.targets, whole.targets)
    assert window.shares.shape == (4000, 1, 3)
    torch.testing.assert_close(shares.sum(1), torch.ones(4000), atol=2e-3, rtol=0)
    expected = whole.shares[:, 0].sum(0)
    assert ((shares.sum(0) - expected).abs() < 5 * expected.sqrt() + 2).all()
    is_rare = (window.likely[:, 0] == window.targets).logical_and(window.shares[:, 0] == 1).any(1)
    assert 0 < is_rare.sum() < 4000


def test_records_end_and_begin_in_what_is_written() -> None:
    teachers = make_teachers(1, vocab_size=V + 1, has_end=True)
    teachers[0].output.bias[V] = 8.0
    window = make_text(teachers).read(0)

    assert (window.targets == V).any()


def test_a_blank_window_has_the_shape_of_a_written_one() -> None:
    text = make_text()

    for blank, written in zip(text.blank(), text.read(0), strict=True):
        assert (blank.shape, blank.dtype) == (written.shape, written.dtype)


def test_the_text_comes_first_and_its_targets_have_all_of_the_probability() -> None:
    ids = torch.tensor([[1, 2, 3, 4, 5], [0, 2, 4, 6, 8]])
    text = Window(ids, ids + 1, ids.new_empty(2, 5, 0))
    written = make_text().read(0)
    both = join(text, written)

    assert torch.equal(both.inputs, torch.cat((ids, written.inputs)))
    assert torch.equal(both.likely[:2, :, 0], ids + 1)
    assert (both.shares[:2, :, 0] == 1).all()
    assert (both.shares[:2, :, 1:] == 0).all()


# The loss


@pytest.mark.parametrize("vocab_size", [V, heads.LARGE_ALPHABET + 5])
def test_one_likely_token_of_share_one_costs_what_a_target_costs(vocab_size: int) -> None:
    (model,) = make_teachers(1, vocab_size=vocab_size)
    model.requires_grad_(True)
    ids = torch.randint(vocab_size, (3, 5), generator=torch.Generator().manual_seed(1))
    targets = ids.flip(1)
    costs = []
    for loss, _ in (
        model.loss_sum(ids, targets, None, None),
        model.soft_loss_sum(ids, targets[..., None], torch.ones(3, 5, 1), None, None),
    ):
        model.zero_grad()
        loss.backward()
        costs.append((loss.detach(), [p.grad for p in model.parameters() if p.grad is not None]))

    torch.testing.assert_close(costs[0], costs[1])


def test_shares_cost_the_mean_of_their_tokens_whatever_computes_it() -> None:
    likely = torch.tensor([[3, 1], [4, 0]])
    shares = torch.tensor([[0.25, 0.75], [0.5, 0.5]])
    generator = torch.Generator().manual_seed(2)
    features, weight, bias = (
        torch.randn(*size, generator=generator, requires_grad=True)
        for size in ((2, 4), (6, 4), (6,))
    )
    expected = -(torch.log_softmax(features @ weight.t() + bias, 1).gather(1, likely) * shares)
    expected.sum().backward()
    gradients = [part.grad.clone() for part in (features, weight, bias)]
    for part in (features, weight, bias):
        part.grad = None
    found = heads.soft_loss_sum(features, weight, bias, likely, shares)
    found.backward()

    torch.testing.assert_close(found, expected.sum(), atol=1e-2, rtol=1e-2)
    for part, gradient in zip((features, weight, bias), gradients, strict=True):
        torch.testing.assert_close(part.grad, gradient, atol=3e-2, rtol=3e-2)


# Runs


def make_trainer() -> Trainer:
    config = make_config()
    plan = make_plan(config, V, len(CORPUS.train), has_teachers=True)
    cpu = torch.device("cpu")
    return Trainer(plan, config, CORPUS, cpu, torch.float32, teachers=make_teachers())


def models(**settings: Any) -> list[Any]:
    return [(each.config, numpy_state_dict(each)) for each in make_teachers(**settings)]


def test_half_of_the_lanes_read_the_text() -> None:
    trainer = make_trainer()
    (result,) = trainer.advance(30)

    assert trainer.position_of(trainer.cursor)[1] > len(CORPUS.train) / 4 * 1.9
    assert result.chars == 4 * 5


def test_a_run_learns_what_its_teachers_are_sure_of() -> None:
    # Teachers that write nothing but "a" and "b" in turn.
    settings = {"steps": 250, "learning_rate": 0.02, "ngram_order": 1, "dropout": 0.0}
    pattern = corpus_from_text("ab" * 400 + CORPUS.vocab.decode(CORPUS.train[:60]) + "!.")
    taught = corpus_from_text("ab" * 400)
    assert set(taught.vocab.alphabet) < set(pattern.vocab.alphabet)
    *_, teacher = train(pattern, make_config(**settings, hidden_size=8))
    assert isinstance(teacher, Finished)
    noise = np.random.default_rng(1).choice(list("ab"), size=800)
    text = corpus_from_text("".join(noise) + CORPUS.vocab.decode(CORPUS.train[:60]) + "!.")
    shown = [(teacher.snapshot.model, teacher.best_weights)]
    losses = []
    for teachers in ([], shown):
        *_, last = train(text, make_config(**settings, hidden_size=8), teachers=teachers)
        losses.append(pattern_nats(last, pattern.train[:200]))

    assert losses[1] < 0.7 * losses[0]


def pattern_nats(last: Finished, ids: Any) -> float:
    network = CharRNN(last.snapshot.model)
    load_numpy_state_dict(network, last.best_weights)
    window = torch.from_numpy(ids.astype(np.int64))[None]
    with torch.no_grad():
        return float(network.token_losses(window[:, :-1], window[:, 1:])[0].mean())


@pytest.mark.parametrize("cut", [3, 13])
def test_a_run_that_is_stopped_and_resumed_is_the_run_that_was_not(cut: int) -> None:
    config = make_config(steps=20)
    *_, whole = train(CORPUS, config, teachers=models())
    stopped = list(train(CORPUS, config, teachers=models(), should_stop=stop_after(cut)))
    snapshot = [each for each in stopped if isinstance(each, Snapshot)][-1]
    *_, resumed = train(CORPUS, config, teachers=models(), resume=snapshot)

    for name, weight in whole.snapshot.weights.items():
        assert np.array_equal(resumed.snapshot.weights[name], weight), name


def test_micro_batches_add_up_to_the_same_step() -> None:
    found = []
    for count in (1, 2, 4):
        trainer = make_trainer()
        trainer.update.set_micro_batches(count)
        for _ in range(3):
            trainer.advance(30)
        found.append(trainer.state_dict()[0])

    for one, other in pairwise(found):
        for name, weight in one.items():
            np.testing.assert_allclose(other[name], weight, atol=1e-4, err_msg=name)


def test_a_network_with_teachers_has_little_dropout() -> None:
    config = TrainConfig(budget="1h")
    alone, taught = (
        make_plan(config, V, 1_000_000, has_teachers=each).model for each in (False, True)
    )

    assert taught.dropout < alone.dropout
    given = make_plan(TrainConfig(dropout=0.3), V, 1_000_000, has_teachers=True).model
    assert given.dropout == 0.3
