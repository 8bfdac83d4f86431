"""Labels that become weights: the model with a label fixed is a plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from charrnn.checkpoint.model_file import model_digest, pack_model, unpack_model
from charrnn.errors import ConfigError
from charrnn.generation.labels import label_states, with_labels
from charrnn.generation.network import Network
from charrnn.model.network import CharRNN, load_numpy_state_dict
from tests.generation.random_models import NGRAMS
from tests.generation.record_models import WHO, YEAR, make_records_file

FILE = make_records_file(labels=(WHO, YEAR))


def embedding(*weights: float) -> np.ndarray:
    return np.array(weights) @ FILE.weights["labels.weight"]


def test_a_label_is_added_to_the_biases_and_to_the_initial_state() -> None:
    fixed = with_labels(FILE, ["JULIET:0.7", "year=1603:0.3"])
    e = embedding(0, 0.7, 0, 0, 0.3)
    for depth in range(2):
        layer = f"layers.{depth}"
        bias = FILE.weights[f"{layer}.bias_ih"] + FILE.weights[f"{layer}.weight_label"] @ e
        initial = FILE.weights[f"{layer}.initial"][0] + FILE.weights[f"{layer}.initial_label"] @ e

        np.testing.assert_allclose(fixed.weights[f"{layer}.bias_ih"], bias, atol=1e-6)
        np.testing.assert_allclose(fixed.weights[f"{layer}.initial"][0], initial, atol=1e-6)
        assert not fixed.weights[f"{layer}.initial"][1].any()


@pytest.mark.parametrize("asked", [[], ["ROMEO"]])
def test_what_is_fixed_is_a_file_without_labels(asked: list[str]) -> None:
    fixed = with_labels(FILE, asked)
    again = unpack_model(pack_model(fixed), "fixed")

    assert (again.config.label_count, len(again.labels)) == (0, 0)
    assert again.config.has_end
    assert again.weights.keys() == fixed.config.weight_shapes().keys()


def test_no_label_leaves_the_other_weights_as_they_are() -> None:
    fixed = with_labels(FILE)

    assert all(fixed.weights[name] is FILE.weights[name] for name in fixed.weights)


def test_n_grams_stay_as_they_are() -> None:
    file = make_records_file(labels=(WHO,), **NGRAMS)

    fixed = with_labels(file, ["JULIET"])

    assert (fixed.config.ngram_order, fixed.config.ngram_rows) == (3, 40)
    for name in ("ngrams.weight", "ngrams.check", "ngrams.key"):
        assert fixed.weights[name] is file.weights[name]


def test_each_label_is_another_model_and_the_file_stays() -> None:
    before = model_digest(FILE)
    digests = {model_digest(with_labels(FILE, asked)) for asked in ([], ["ROMEO"], ["JULIET"])}

    assert len(digests) == 3
    assert model_digest(FILE) == before


def test_a_model_without_labels_comes_back_and_takes_none() -> None:
    plain = make_records_file()

    assert with_labels(plain) is plain
    with pytest.raises(ConfigError, match="without labels"):
        with_labels(plain, ["ROMEO"])


def test_the_states_of_labels_are_those_of_their_models() -> None:
    states = label_states(FILE)

    assert {name: list(values) for name, values in states.items()} == {
        "who": ["ROMEO", "JULIET"],
        "year": ["1597", "1599", "1603"],
    }
    fixed = with_labels(FILE, ["year=1599"])
    expected = [fixed.weights[f"layers.{depth}.initial"][0].tolist() for depth in range(2)]
    assert states["year"]["1599"] == expected


@pytest.mark.parametrize("shape", [{"cell": "lstm"}, {"cell": "gru"}, {"cell": "rnn"}], ids=str)
@torch.no_grad()
def test_what_is_fixed_predicts_as_the_network_that_was_trained(shape: dict[str, Any]) -> None:
    file = make_records_file(labels=(WHO, YEAR), spread=0.5, residual=True, num_layers=3, **shape)
    trained = CharRNN(file.config)
    load_numpy_state_dict(trained, file.weights)
    ids = [file.vocab.end, 0, 2, file.vocab.end, 1, 1]
    rows = torch.tensor([[file.labels.rows({"who": "JULIET", "year": "1597"})] * len(ids)])

    expected = trained(torch.tensor([ids]), labels=rows)[0][0].numpy()

    fixed = with_labels(file, ["JULIET", "1597"])
    network = Network(fixed.config, fixed.weights)
    state = network.initial_state()
    for t, token in enumerate(ids):
        state = network.advance(token, state)
        np.testing.assert_allclose(network.logits(state), expected[t], atol=2e-5)
