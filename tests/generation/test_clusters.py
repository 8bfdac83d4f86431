"""Models whose tokens may be clusters write, score and complete texts as any other model does."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis.suffix_array import SuffixArray
from charrnn.checkpoint.model_file import ModelFile, pack_model, unpack_model
from charrnn.compression.codec import compress, decompress
from charrnn.config import ModelConfig, SampleConfig
from charrnn.errors import CheckpointError
from charrnn.generation import scoring
from charrnn.generation.constraints.no_copy import NoCopy
from charrnn.generation.constraints.pattern import make_constraint
from charrnn.generation.constraints.words import WordsConstraint
from charrnn.generation.ensemble import Blend
from charrnn.generation.logit_bias import begins_word, make_logit_bias
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.generation.constraints.test_no_copy import sample_anything
from tests.generation.constraints.test_words import is_good
from tests.generation.random_models import random_weights
from tests.reference.constraint import sample_text

VOCAB = Vocab("\n ()ab\u0301\u0302", clusters=("(\u0301", "a\u0301", "a\u0301\u0302", "b\u0302"))
BYTES = replace(VOCAB, has_bytes=True)
BOTH = pytest.mark.parametrize("vocab", [VOCAB, BYTES], ids=["characters", "bytes"])
FORMAT = rb"\"format\": %d"
TEXT = "ba\u0301\u0302 a\u0301b\na\u0301\u0301 b\u0302\u0302"


def make_file(vocab: Vocab = VOCAB, spread: float = 1.5) -> ModelFile:
    """Return a model file of random weights."""
    config = ModelConfig(cell="gru", vocab_size=vocab.size, embedding_size=3, hidden_size=4)
    return ModelFile(config, vocab, random_weights(config, seed=8, spread=spread), {})


def make_model(vocab: Vocab = VOCAB) -> Model:
    return Model(make_file(vocab))


def tokens_by_hand(model: Model, text: str) -> list[float]:
    """Return what each id of a text costs after a newline, by one softmax each, in bits."""
    network = model.language_model
    state = network.initial_state()
    before = network.advance(model.vocab.newline, state)  # which predicts, and is then forgotten
    costs = []
    for token in model.vocab.encode(text).tolist():
        likelihoods = [math.exp(each) for each in network.logits(before).tolist()]
        costs.append(-math.log2(likelihoods[token] / sum(likelihoods)))
        before = state = network.advance(token, state)
    return costs


# What a text costs


@BOTH
def test_the_first_character_of_a_cluster_costs_all_of_it(vocab: Vocab) -> None:
    model = make_model(vocab)
    costs = iter(tokens_by_hand(model, TEXT))
    expected = []
    for token in vocab.encode(TEXT).tolist():
        expected += [next(costs), *[0] * (len(vocab.text_of(token)) - 1)]

    np.testing.assert_allclose(model.score(TEXT).bits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [1, 2, 3, 99])
def test_blocks_and_pieces_that_cut_clusters_change_nothing(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    model = make_model(BYTES)
    text = TEXT + "é" + TEXT
    whole = model.score(text)
    monkeypatch.setattr(scoring, "_BLOCK_CHARS", size)

    blocks = [*model.iter_scores([text[:2], text[2:3], text[3:9], text[9:]])]

    assert "".join(block.text for block in blocks) == text
    bits = np.concatenate([block.bits for block in blocks])
    np.testing.assert_allclose(bits, whole.bits, rtol=1e-4, atol=1e-5)


def test_an_unknown_character_ends_a_cluster() -> None:
    scores = make_model().score("a\u0301?\u0302b")

    assert scores.unseen == (2,)
    assert scores.bits[1] == 0


def test_a_sampled_cluster_has_its_cost_at_its_first_character() -> None:
    samples = list(make_model(BYTES).generate_many(length=30, count=20, seed=3, alternatives=1))
    free = {
        sample.text[at - 1 : at + 1]
        for sample in samples
        for at, cost in enumerate(sample.costs)
        if not cost.nats
    }

    assert all(len(sample.costs) == len(sample.text) == 30 for sample in samples)
    assert free
    assert free <= {cluster[at - 1 : at + 1] for cluster in VOCAB.clusters for at in (1, 2)}


def test_the_likeliest_next_characters_may_be_clusters() -> None:
    names = [name for name, _ in make_model().next_chars("a", VOCAB.size)]

    assert set(names) == {*VOCAB.alphabet, *VOCAB.clusters}


# What restricts a text


@BOTH
def test_a_pattern_is_matched_by_clusters_too(vocab: Vocab) -> None:
    pattern = "(?:a\u0301?|[^a]){3,7}\u0302"
    constraint = make_constraint(vocab, SampleConfig(regex=pattern, length=8), None)
    assert constraint is not None
    random = np.random.default_rng(5)
    texts = [sample_text(constraint, vocab, random) for _ in range(60)]

    assert all(re.fullmatch(pattern, text) for text in texts)
    assert any("b\u0302" in text for text in texts)
    assert max(map(len, texts)) <= 8


def test_a_cluster_is_allowed_where_its_characters_are() -> None:
    constraint = make_constraint(VOCAB, SampleConfig(regex="a\u0301b", length=3), None)
    assert constraint is not None
    mask = constraint.mask(constraint.initial_state(VOCAB.encode("")))

    assert mask is not None
    assert [VOCAB.text_of(token) for token in np.flatnonzero(mask == 0)] == ["a", "a\u0301"]


@BOTH
def test_brackets_close_whatever_clusters_they_are_in(vocab: Vocab) -> None:
    constraint = make_constraint(vocab, SampleConfig(balanced=True, length=9), None)
    assert constraint is not None
    random = np.random.default_rng(5)

    for _ in range(60):
        text = sample_text(constraint, vocab, random)
        assert text.count("(") == text.count(")")
        assert len(text) == 9


@BOTH
def test_words_are_kept_and_left_out_whatever_clusters_write_them(vocab: Vocab) -> None:
    settings: dict[str, Any] = {"must": ("a\u0301",), "ban_word": ("b\u0302", "b")}
    constraint = WordsConstraint(vocab, SampleConfig(length=12, **settings), None)
    random = np.random.default_rng(5)
    texts = [sample_text(constraint, vocab, random)[:12] for _ in range(60)]

    assert all(is_good("", text, **settings) for text in texts)


@given(st.text("ab \u0301\u0302", max_size=40), st.integers(1, 3), st.integers(0, 99))
def test_no_copy_hides_in_the_characters_of_clusters(corpus: str, max_copy: int, seed: int) -> None:
    for vocab in (VOCAB, BYTES):
        ids = vocab.encode(corpus)
        constraint = NoCopy(SuffixArray(ids), vocab, max_copy)
        written = vocab.encode(sample_anything(constraint, vocab, 60, seed))

        assert not runs_of(written, max_copy + 1) & runs_of(ids, max_copy + 1)


def runs_of(ids: Any, size: int) -> set[tuple[int, ...]]:
    return {tuple(ids[i : i + size].tolist()) for i in range(len(ids) - size + 1)}


def test_a_cluster_is_banned_with_any_of_its_characters_and_allowed_with_all() -> None:
    def writes(**settings: Any) -> list[str]:
        bias = make_logit_bias(VOCAB, SampleConfig(**settings))
        assert bias is not None
        return [VOCAB.text_of(token) for token in np.flatnonzero(bias == 0)]

    assert writes(ban=("\u0301",)) == [*"\n ()ab\u0302", "b\u0302"]
    assert writes(only=("a\u0301",)) == ["a", "\u0301", "a\u0301"]


def test_after_a_cluster_a_word_begins_as_after_its_last_character() -> None:
    vocab = Vocab(" a\u0301", clusters=(" \u0301", "a "))

    assert begins_word(vocab)[vocab.first_cluster :].tolist() == [False, True, True]


# Several models, and files


def test_a_blend_reads_clusters_in_each_models_own_tokens() -> None:
    plain = replace(VOCAB, clusters=())
    blend = Blend([(make_model(v).language_model, v, 1.0) for v in (VOCAB, plain)])
    ids = blend.vocab.encode(TEXT)
    state = blend.prefill(ids, blend.initial_state())
    network = make_model(plain).language_model
    alone = network.prefill(plain.encode(TEXT), network.initial_state())

    for part, own in zip(state[1], alone, strict=True):
        np.testing.assert_allclose(part, own, rtol=1e-5)
    assert np.exp(blend.logits(state)).sum() == pytest.approx(1, abs=1e-5)


@given(st.lists(st.sampled_from(["a\u0301", "\u0302", "b", "é", "\n"]) | st.text(max_size=2)))
def test_any_text_comes_back_from_its_compressed_file(parts: list[str]) -> None:
    original = "".join(parts).encode("utf-8", "replace") + b"\xff"
    for vocab in (VOCAB, BYTES):
        model = make_file(vocab)
        packed = compress(original, model)

        assert decompress(packed.data, model, "x.crnn", "tiny") == original


def test_a_compressed_cluster_costs_what_its_token_does() -> None:
    model = make_file(spread=0.3)  # a code has no probabilities below 1 in 65,536
    network = Model(model).language_model
    packed = compress(TEXT.encode(), model)
    state = network.initial_state()
    bits = 0.0
    for token in VOCAB.encode(TEXT).tolist():
        likelihoods = np.exp(network.logits(state).astype(np.float64))
        bits -= math.log2(likelihoods[token] / likelihoods.sum())
        state = network.advance(token, state)

    assert packed.model_bits == pytest.approx(bits, rel=1e-3)
    assert packed.escaped_bytes == 0


def test_a_blank_may_be_filled_by_a_cluster() -> None:
    filling = make_model().fill("a_b", count=60, beam_width=60)
    filled = {each.text[slice(*each.filled[0])] for each in filling.completions}

    assert filled == {*VOCAB.alphabet, *VOCAB.clusters}


def test_a_model_with_clusters_is_of_format_2_and_comes_back() -> None:
    model = replace(make_file(), summary={"step": 3})
    back = unpack_model(pack_model(model), "tiny")

    assert FORMAT % 2 in pack_model(model)
    assert FORMAT % 1 in pack_model(make_file(replace(VOCAB, clusters=())))
    assert back.vocab == VOCAB
    assert back.config == model.config


def test_clusters_in_a_file_of_format_1_are_refused() -> None:
    data = bytes(pack_model(make_file()))
    forged = data.replace(FORMAT % 2, FORMAT % 1)

    with pytest.raises(CheckpointError):
        unpack_model(forged, "tiny")
