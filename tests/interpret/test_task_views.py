"""What networks that decide, tag and translate look at: by definition, and where it is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from charrnn.errors import ConfigError
from charrnn.generation.classifier import Classifier
from charrnn.generation.seq2seq import Seq2Seq
from charrnn.generation.tagger import Tagger
from charrnn.interpret import decision
from charrnn.interpret.attention import inspect_attention
from charrnn.interpret.decision import inspect_decision
from charrnn.interpret.directions import MAX_TOKENS, inspect_directions
from tests.generation.task_models import make_task_file

TEXT = np.array([1, 2, 3, 1, 0])


def test_a_gain_is_what_leaving_the_character_out_costs() -> None:
    file = make_task_file("classification")
    classifier = Classifier(file.config, file.weights)

    def read(texts: list[np.ndarray]) -> np.ndarray:
        return np.exp(classifier.log_probs(texts))

    found = inspect_decision(TEXT, [*"abcad"], ["x", "y", "z"], read, top=2)

    whole = read([TEXT])[0]
    best = int(whole.argmax())
    without = read([np.delete(TEXT, 2)])[0, best]
    assert found.pieces == [*"abcad"]
    assert found.classes[0] == "xyz"[best]
    assert len(found.classes) == 2
    # Of a batch and of single texts, float32 sums round differently.
    assert found.gains_bits[2] == pytest.approx(np.log2(whole[best] / without), abs=1e-6)


def test_a_long_text_is_left_out_by_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decision, "MAX_PIECES", 2)

    found = inspect_decision(TEXT, [*"abcad"], ["x"], lambda texts: np.ones((len(texts), 1)))

    assert found.pieces == ["abc", "ad"]
    assert found.gains_bits.tolist() == [0, 0]


def test_the_last_character_knows_all_on_its_left_and_the_first_all_on_its_right() -> None:
    file = make_task_file("transitions")
    found = inspect_directions(Tagger(file.config, file.weights), TEXT, [*"abcad"], "BMES")

    assert found.left[-1] == pytest.approx(found.whole[-1])
    assert found.right[0] == pytest.approx(found.whole[0])
    assert found.left[0] != pytest.approx(found.whole[0], abs=1e-4)


def test_a_direction_is_the_tagger_on_half_of_the_text() -> None:
    file = make_task_file("tagging")
    tagger = Tagger(file.config, file.weights)
    found = inspect_directions(tagger, TEXT, [*"abcad"], "=U +")

    [(tags, _), (_, left), (_, right)] = tagger.probable_tags([TEXT, TEXT[:3], TEXT[2:]])
    assert found.left[2] == pytest.approx(left[2, tags[2]])
    assert found.right[2] == pytest.approx(right[0, tags[2]])


def test_a_text_that_is_too_long_is_refused() -> None:
    file = make_task_file("tagging")
    ids = np.zeros(MAX_TOKENS + 1, np.int64)

    with pytest.raises(ConfigError, match="401 characters"):
        inspect_directions(Tagger(file.config, file.weights), ids, ["a"] * len(ids), "=U +")


@pytest.mark.parametrize("kind", ["seq2seq", "phones", "fixed"])
def test_attention_costs_what_the_target_costs(kind: str) -> None:
    file = make_task_file(kind)
    assert file.target_vocab is not None
    network = Seq2Seq(file.config, file.weights)
    for target in itertools.islice(itertools.product(range(2), repeat=3), 4):
        ids = np.array(target)
        found = inspect_attention(network, TEXT, ids, file.vocab, file.target_vocab)

        whole = np.append(ids, file.target_vocab.end)
        nats = network.target_nats([TEXT], [whole])[0]
        assert found.bits.sum() * np.log(2) == pytest.approx(nats)
        assert found.target[-1] == "∎"
        if kind == "fixed":
            assert found.weights.shape == (4, 0)
        else:
            assert found.weights.shape == (4, len(TEXT))
            assert found.weights.sum(1) == pytest.approx(np.ones(4), abs=1e-6)
