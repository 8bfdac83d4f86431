"""The control network begins as training does: each weight has the distribution of torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.config import ModelConfig
from charrnn.interpret.trace import record
from charrnn.interpret.untrained import untrained_weights
from charrnn.model.network import CharRNN, numpy_state_dict
from tests.interpret.networks import WITH_NGRAMS, make_ids, make_network, make_subject

SHAPES: list[dict[str, Any]] = [
    {"cell": "lstm", "num_layers": 2},
    {"cell": "gru", "tie_embeddings": True},
    {"cell": "rnn", "nonlinearity": "logistic"},
    {"cell": "rnn", "nonlinearity": "relu", "tie_embeddings": True, "embedding_size": 96},
    {"cell": "lstm", "ngram_order": 3, "ngram_rows": 52},
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape["cell"] + str(len(shape)))
def test_weights_are_distributed_as_those_of_a_new_network(shape: dict[str, Any]) -> None:
    config = ModelConfig(**({"vocab_size": 70, "embedding_size": 96, "hidden_size": 96} | shape))
    torch.manual_seed(1)
    theirs = numpy_state_dict(CharRNN(config))

    ours = untrained_weights(config, seed=2)

    assert ours.keys() == config.weight_shapes().keys()
    for name, weight in theirs.items():
        assert ours[name].dtype == np.float32
        assert ours[name].shape == weight.shape, name
        assert ours[name].std() == pytest.approx(weight.std(), rel=0.1), name
        error = 5 * weight.std() / weight.size**0.5  # of a mean of such numbers
        assert abs(ours[name].mean() - weight.mean()) <= error + 1e-6, name


def test_recurrent_blocks_keep_lengths() -> None:
    weights = untrained_weights(ModelConfig(cell="gru", vocab_size=5, hidden_size=8))

    for block in np.split(weights["layers.0.weight_hh"], 3):
        assert np.allclose(block @ block.T, np.eye(8), atol=1e-6)


def test_its_ngrams_are_those_of_the_trained_network() -> None:
    network = make_network(cell="gru", **WITH_NGRAMS)

    weights = untrained_weights(network.config, 1, network.weights)

    assert np.array_equal(weights["ngrams.check"], network.weights["ngrams.check"])
    assert np.array_equal(weights["ngrams.key"], network.weights["ngrams.key"])
    assert weights["ngrams.weight"].std() == pytest.approx(0.02, rel=0.15)
    subject = make_subject(network, make_ids(30))
    untrained = record(subject.untrained, subject.ids)
    assert np.array_equal(untrained.ngrams, subject.trace.ngrams)


def test_a_seed_gives_the_same_weights() -> None:
    config = ModelConfig(vocab_size=5, hidden_size=8)

    first, again, other = (untrained_weights(config, seed)["output.weight"] for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
