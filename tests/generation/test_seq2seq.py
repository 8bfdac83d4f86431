"""Sources to targets in numpy: as torch computes it, greedy and by a beam, against every target."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.generation import seq2seq as inference
from charrnn.generation.seq2seq import Candidate
from charrnn.model.network import numpy_state_dict
from charrnn.model.seq2seq import Seq2Seq
from tests.generation.random_models import random_weights
from tests.generation.task_models import make_task_file
from tests.model.test_seq2seq import END, SHAPES, SOURCES, TARGETS, lengths_of, make_seq2seq, pad

IDS = [np.array(source) for source in SOURCES]


def make_network(model: Seq2Seq) -> inference.Seq2Seq:
    return inference.Seq2Seq(model.config, numpy_state_dict(model))


def make_random(seed: int = 1, spread: float = 1.0, **shape: Any) -> inference.Seq2Seq:
    sizes = {"vocab_size": 7, "embedding_size": 3, "hidden_size": 4, "num_layers": 2}
    config = ModelConfig(task="seq2seq", **(sizes | {"target_size": 4} | shape))
    return inference.Seq2Seq(config, random_weights(config, seed, spread))


def shrink_blocks(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr("charrnn.generation.seq2seq._BLOCK_ROWS", rows)
    monkeypatch.setattr("charrnn.generation.seq2seq._BLOCK_POSITIONS", 7 * rows)


def all_targets(size: int, longest: int) -> list[list[int]]:
    tokens = range(size - 1)
    lengths = range(longest + 1)
    return [[*each, size - 1] for n in lengths for each in itertools.product(tokens, repeat=n)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_numpy_costs_a_target_what_torch_does(
    shape: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_seq2seq(torch.float32, **shape)
    network = make_network(model)
    targets = [np.array(target) for target in TARGETS]
    log_probs = model(pad(SOURCES, 6), lengths_of(SOURCES), pad(TARGETS, -1)).log_softmax(2)
    rows = log_probs.detach().numpy()
    expected = [
        -sum(row[place, token] for place, token in enumerate(target))
        for row, target in zip(rows, TARGETS, strict=True)
    ]

    for size in (128, 2, 1):
        shrink_blocks(monkeypatch, size)
        found = network.target_nats(IDS, targets)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_greedy_takes_torchs_likeliest_token_at_each_step(shape: dict[str, Any]) -> None:
    model = make_seq2seq(torch.float32, **shape)
    network = make_network(model)

    for source, [found] in zip(SOURCES, network.convert(IDS, limit=lambda n: n + 2), strict=True):
        ids: list[int] = []
        total = 0.0
        while True:
            given = (torch.tensor([each]) for each in (source, len(source), [*ids, END]))
            log_probs = model(*given)[0, -1].log_softmax(0).detach()
            token = int(log_probs.argmax())
            if token != END and len(ids) == len(source) + 2:
                break
            total += float(log_probs[token])
            if token == END:
                break
            ids.append(token)
        assert found == Candidate(tuple(ids), pytest.approx(total, rel=1e-4), token == END)


@pytest.mark.parametrize("least", [0, 2])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("attention", ["additive", "none"])
def test_a_wide_beam_finds_the_best_of_all_targets(
    attention: str, length_penalty: float, least: int
) -> None:
    network = make_random(attention=attention, bidirectional=True)
    targets = [each for each in all_targets(4, 3) if len(each) > least]
    places = range(len(targets))

    found = network.convert(
        IDS,
        limit=lambda _: 3,
        least=lambda _: least,
        beam=200,
        n_best=9,
        length_penalty=length_penalty,
    )
    for source, candidates in zip(IDS, found, strict=True):
        nats = network.target_nats([source] * len(targets), [np.array(each) for each in targets])
        scores = [-nats[n] / len(targets[n]) ** length_penalty for n in places]
        best = sorted(places, key=lambda n: -scores[n])[:9]
        assert [[*each.ids, 3] for each in candidates] == [targets[n] for n in best]
        assert [each.log_prob for each in candidates] == pytest.approx(-nats[best], rel=1e-4)
        assert all(each.is_complete for each in candidates)


@pytest.mark.parametrize("seed", range(4))
def test_a_beam_finds_what_is_at_least_as_good_as_greedy(seed: int) -> None:
    network = make_random(seed)

    def best(beam: int) -> list[float]:
        found = network.convert(IDS, limit=lambda _: 9, beam=beam, length_penalty=0)
        return [first.log_prob if first.is_complete else -np.inf for first, *_ in found]

    assert all(wide >= narrow - 1e-6 for wide, narrow in zip(best(8), best(1), strict=True))


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("attention", ["additive", "dot", "none"])
def test_a_source_is_converted_as_if_it_were_alone(
    attention: str, beam: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = make_random(attention=attention, bidirectional=True, target_size=6)
    together = network.convert(IDS, limit=lambda n: n, beam=beam, n_best=beam)
    shrink_blocks(monkeypatch, 2)
    apart = network.convert(IDS, limit=lambda n: n, beam=beam, n_best=beam)
    alone = [network.convert([ids], limit=lambda n: n, beam=beam, n_best=beam)[0] for ids in IDS]

    for others in (apart, alone):
        for found, expected in zip(together, others, strict=True):
            assert [each.ids for each in found] == [each.ids for each in expected]
            assert [each.log_prob for each in found] == pytest.approx(
                [each.log_prob for each in expected], rel=1e-4
            )


@pytest.mark.parametrize("beam", [1, 4])
def test_a_target_is_cut_at_the_limit_of_its_source(beam: int) -> None:
    network = make_random(target_size=6)
    network.weights["output.bias"][5] = -50  # it never ends
    found = network.convert(IDS, limit=lambda n: 2 * n - 1, beam=beam, n_best=beam)

    for source, candidates in zip(SOURCES, found, strict=True):
        lengths = {len(each.ids) for each in candidates}
        assert (lengths, len(candidates)) == ({2 * len(source) - 1}, beam)
        assert not any(each.is_complete for each in candidates)


@pytest.mark.parametrize("beam", [1, 4])
def test_a_target_that_would_end_at_once_is_as_long_as_it_must_be(beam: int) -> None:
    network = make_random(target_size=6)
    network.weights["output.bias"][5] = 50
    found = network.convert(IDS, limit=lambda n: n + 3, least=lambda n: n, beam=beam)

    for source, [best] in zip(SOURCES, found, strict=True):
        assert (len(best.ids), best.is_complete) == (len(source), True)


def test_a_target_may_end_right_at_the_limit() -> None:
    network = make_random()
    network.weights["output.bias"][3] = 50

    assert network.convert(IDS[:1], limit=lambda _: 0)[0][0][::2] == ((), True)


def test_what_ended_comes_before_what_was_cut() -> None:
    network = make_random()
    network.weights["output.bias"][3] = -4  # an end is unlikely, not impossible
    [found] = network.convert(IDS[:1], limit=lambda _: 2, beam=30, n_best=30)
    are_complete = [each.is_complete for each in found]

    assert are_complete == sorted(are_complete, reverse=True)
    assert len({each.ids for each in found}) == len(found)


@pytest.mark.parametrize("beam", [1, 3])
def test_of_equally_likely_tokens_the_first_is_taken(beam: int) -> None:
    network = make_random(spread=0, target_size=6)
    found = network.convert(IDS, limit=lambda _: 2, beam=beam)

    assert [each for [each] in found] == [
        Candidate((0, 0), pytest.approx(2 * np.log(1 / 6)), False)
    ] * len(IDS)


def test_log_probs_are_those_of_the_targets() -> None:
    network = make_random(bidirectional=True)
    found = network.convert(IDS, limit=lambda _: 9, beam=5, n_best=5)

    for source, candidates in zip(IDS, found, strict=True):
        complete = [each for each in candidates if each.is_complete]
        targets = [np.array([*each.ids, 3]) for each in complete]
        nats = network.target_nats([source] * len(targets), targets)
        assert [each.log_prob for each in complete] == pytest.approx(-nats, rel=1e-4)


def test_the_order_of_weights_in_a_file_does_not_matter() -> None:
    network = make_random()
    turned = dict(sorted(network.weights.items(), reverse=True))
    targets = [np.array([0, 2, 3])] * len(IDS)

    for weights in (turned, dict(sorted(turned.items()))):
        found = inference.Seq2Seq(network.config, weights).target_nats(IDS, targets)
        assert found.tolist() == network.target_nats(IDS, targets).tolist()


def test_no_sources_have_no_targets() -> None:
    network = make_random()

    assert network.convert([], limit=lambda _: 3) == []
    assert network.target_nats([], []).tolist() == []


@pytest.mark.parametrize("kind", ["seq2seq", "phones", "fixed"])
def test_the_order_of_weights_in_a_file_changes_nothing(kind: str) -> None:
    file = make_task_file(kind)
    texts = [np.array([0, 2, 3]), np.array([1])]
    made = [
        inference.Seq2Seq(file.config, {name: file.weights[name] for name in names}).convert(
            texts, limit=lambda _: 5, beam=3
        )
        for names in (file.weights, sorted(file.weights), sorted(file.weights, reverse=True))
    ]
    assert made[0] == made[1] == made[2]
