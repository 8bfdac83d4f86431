"""Several models as one, against slow twins: dictionaries of characters, one model at a time."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest

from charrnn.config import ModelConfig
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.ensemble import Blend, Ensemble, NegativeGuidance
from charrnn.generation.network import LanguageModel, Network
from charrnn.state import State, iter_arrays, select_row, select_rows, stack_states
from charrnn.text.vocab import Vocab
from tests.generation.random_models import NGRAMS, random_weights

LATIN = Vocab("\n abé")
GREEK = Vocab("\n aβ€")
BYTES = Vocab("\nab", has_bytes=True)
MORE_BYTES = Vocab("aβ", has_bytes=True)
TEXTS = ["", "a", "ab é\nba", "éé"]
Member = tuple[LanguageModel, Vocab]


def make_member(vocab: Vocab, seed: int = 1, **shape: Any) -> Member:
    """Return a network of random weights."""
    sizes = {"cell": "lstm", "embedding_size": 3, "hidden_size": 4 + seed} | shape
    config = ModelConfig(vocab_size=vocab.size, **sizes)
    return Network(config, random_weights(config, seed, spread=1.2)), vocab


def make_blend(*vocabs: Vocab, weights: tuple[float, ...] = (3, 1), **settings: Any) -> Blend:
    parts = [make_member(vocab, seed) for seed, vocab in enumerate(vocabs, start=1)]
    return Blend([(*part, weight) for part, weight in zip(parts, weights, strict=True)], **settings)


def blend_with_ngrams(*vocabs: Vocab) -> Blend:
    """Return a blend of a model without n-grams and of others with some."""
    shapes: list[dict[str, Any]] = [{}, *[NGRAMS] * (len(vocabs) - 1)]
    parts = zip(vocabs, shapes, strict=True)
    return Blend([(*make_member(vocab, 2, **shape), 1.0) for vocab, shape in parts])


def read(reader: LanguageModel, ids: list[int]) -> State:
    state = reader.initial_state()
    for token in ids:
        state = reader.advance(token, state)
    return state


def names_of(vocab: Vocab) -> list[str | int]:
    """Return each token's name: a character, or a byte's number."""
    return [*vocab.alphabet, *range(256 * vocab.has_bytes)]


def expected_of(member: Member, text: str) -> dict[str | int, float]:
    """The slow twin of one model: the probability of each of its tokens after a text.

    A character that it does not know it reads as bytes, or not at all.
    """
    model, vocab = member
    ids: list[int] = []
    for char in text:
        try:
            ids += vocab.encode(char).tolist()
        except VocabError:
            continue
    likelihoods = [math.exp(each) for each in model.logits(read(model, ids)).tolist()]
    total = sum(likelihoods)
    return {n: each / total for n, each in zip(names_of(vocab), likelihoods, strict=True)}


def probabilities_of(reader: Ensemble, state: State) -> dict[str | int, float]:
    logits = reader.logits(state)
    assert logits.dtype == np.float32
    return dict(zip(names_of(reader.vocab), np.exp(logits.astype(float)).tolist(), strict=True))


def after(reader: Ensemble, text: str) -> dict[str | int, float]:
    return probabilities_of(reader, read(reader, reader.vocab.encode(text).tolist()))


def assert_same(state: State, expected: State) -> None:
    for array, other in zip(iter_arrays(state), iter_arrays(expected), strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-5, atol=1e-6)


# ── by probability ──


@pytest.mark.parametrize("text", ["", "a", "ab é\nba", "β€", "aβé€ \n"])
def test_a_blend_is_the_weighted_mean_of_the_probabilities(text: str) -> None:
    latin, greek = make_member(LATIN, 1), make_member(GREEK, 2)
    one, other = expected_of(latin, text), expected_of(greek, text)

    found = after(Blend([(*latin, 3), (*greek, 1)]), text)

    assert found.keys() == one.keys() | other.keys()
    for name, probability in found.items():
        mean = (3 * one.get(name, 0) + other.get(name, 0)) / 4
        assert probability == pytest.approx(mean, rel=1e-5), name


def test_only_the_ratio_of_the_weights_counts() -> None:
    one = make_blend(LATIN, GREEK, weights=(0.2, 0.3))
    other = make_blend(LATIN, GREEK, weights=(200, 300))

    assert after(one, "abβ") == pytest.approx(after(other, "abβ"))


@pytest.mark.parametrize("in_log_space", [False, True])
def test_the_least_weight_decides_where_its_model_is_the_only_active_one(
    in_log_space: bool,
) -> None:
    blend = make_blend(BYTES, LATIN, weights=(5e-324, 1000), in_log_space=in_log_space)
    inside = blend.vocab.encode("a€")[:-1]  # of €, which only the model with bytes can end
    state = blend.prefill(inside, blend.initial_state())

    assert np.isfinite(blend.logits(state)).any()


@pytest.mark.parametrize("in_log_space", [False, True])
@pytest.mark.parametrize("vocab", [LATIN, BYTES])
def test_a_model_blended_with_itself_is_itself(vocab: Vocab, in_log_space: bool) -> None:
    part = make_member(vocab)
    text = "a\nab" if vocab is LATIN else "a€b"

    blend = Blend([(*part, 0.7), (*part, 2)], in_log_space=in_log_space)

    assert after(blend, text) == pytest.approx(expected_of(part, text), rel=1e-4)


def test_three_models_may_be_blended() -> None:
    parts = [make_member(vocab, seed) for seed, vocab in enumerate((LATIN, GREEK, LATIN), start=1)]
    expected = [expected_of(part, "aé") for part in parts]

    found = after(Blend([(*part, w) for part, w in zip(parts, (1, 2, 5), strict=True)]), "aé")

    for name in found:
        mean = sum(w * e.get(name, 0) for w, e in zip((1, 2, 5), expected, strict=True)) / 8
        assert found[name] == pytest.approx(mean, rel=1e-5)


def test_a_blend_may_be_blended_again() -> None:
    inner, part = make_blend(LATIN, GREEK, weights=(1, 1)), make_member(LATIN, 3)
    one, other = after(inner, "aβ"), expected_of(part, "aβ")

    found = after(Blend([(inner, inner.vocab, 1), (*part, 1)]), "aβ")

    for name in found:
        assert found[name] == pytest.approx((one[name] + other.get(name, 0)) / 2, rel=1e-5)


# ── in log space ──


@pytest.mark.parametrize("text", TEXTS)
def test_in_log_space_a_blend_is_the_weighted_geometric_mean(text: str) -> None:
    latin, greek = make_member(LATIN, 1), make_member(GREEK, 2)
    one, other = expected_of(latin, text), expected_of(greek, text)
    means = {n: one[n] ** 0.75 * other[n] ** 0.25 for n in one.keys() & other.keys()}

    found = after(Blend([(*latin, 3), (*greek, 1)], in_log_space=True), text)

    assert {name for name, each in found.items() if each} == set("\n a")
    for name, mean in means.items():
        assert found[name] == pytest.approx(mean / sum(means.values()), rel=1e-5)


def test_in_log_space_models_without_a_common_character_are_refused() -> None:
    with pytest.raises(ConfigError, match="no character in common"):
        make_blend(Vocab("ab"), Vocab("cd"), in_log_space=True)


# ── characters as bytes ──


def test_a_model_with_bytes_reads_in_bytes_what_it_does_not_know() -> None:
    with_bytes, latin = make_member(BYTES, 1), make_member(LATIN, 2)
    one, other = expected_of(with_bytes, "aéb"), expected_of(latin, "aéb")

    found = after(Blend([(*with_bytes, 1), (*latin, 1)]), "aéb")

    for name in found:
        mean = (one.get(name, 0) + other.get(name, 0)) / 2
        assert found[name] == pytest.approx(mean, rel=1e-5)


def test_inside_a_character_written_as_bytes_a_model_without_them_is_inactive() -> None:
    with_bytes, latin = make_member(BYTES, 1), make_member(LATIN, 2)
    blend = Blend([(*with_bytes, 1), (*latin, 9)])
    first = len(blend.vocab.alphabet)
    half, whole = [first + 0xC3], [first + 0xC3, first + 0xA9]  # of é

    reader, own = with_bytes
    inside = reader.logits(read(reader, [len(own.alphabet) + 0xC3])).astype(float)
    found = probabilities_of(blend, read(blend, half))

    alone = np.exp(inside) / np.exp(inside).sum()
    assert found == pytest.approx(
        dict.fromkeys(" é", 0.0) | dict(zip(names_of(own), alone.tolist(), strict=True)), rel=1e-4
    )
    assert probabilities_of(blend, read(blend, whole)) == pytest.approx(after(blend, "é"))


def test_in_log_space_too_a_model_without_bytes_is_inactive_there() -> None:
    with_bytes, latin = make_member(BYTES, 1), make_member(LATIN, 2)
    blend = Blend([(*with_bytes, 1), (*latin, 9)], in_log_space=True)
    inside = read(with_bytes[0], [len(BYTES.alphabet) + 0xC3])

    found = blend.logits(read(blend, [len(blend.vocab.alphabet) + 0xC3])).astype(float)

    likelihoods = np.exp(with_bytes[0].logits(inside).astype(float))
    known = np.exp(found[found > -np.inf])
    np.testing.assert_allclose(known, likelihoods / likelihoods.sum(), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("char", ["é", "€", "😀"])
def test_a_character_s_token_and_its_bytes_share_its_probability_in_the_blend(char: str) -> None:
    with_bytes, other = make_member(BYTES, 1), make_member(Vocab("aé€😀"), 2)
    blend = Blend([(*with_bytes, 1), (*other, 3)])
    reader, own = with_bytes

    as_token = after(blend, "a")[char]
    as_bytes = probability_of(blend, "a", [len(blend.vocab.alphabet) + b for b in char.encode()])

    alone = probability_of_bytes(reader, own, "a", char)
    assert as_token == pytest.approx(3 / 4 * expected_of(other, "a")[char], rel=1e-5)
    assert as_bytes == pytest.approx(1 / 4 * alone, rel=1e-4)


def probability_of(reader: Ensemble, text: str, ids: list[int]) -> float:
    """Return the probability of these ids after a text."""
    state, product = read(reader, reader.vocab.encode(text).tolist()), 1.0
    for token in ids:
        product *= math.exp(reader.logits(state)[token])
        state = reader.advance(token, state)
    return product


def probability_of_bytes(reader: LanguageModel, vocab: Vocab, text: str, char: str) -> float:
    product, ids = 1.0, vocab.encode(text).tolist()
    for token in vocab.encode(char).tolist():
        likelihoods = np.exp(reader.logits(read(reader, ids)).astype(float))
        product *= likelihoods[token] / likelihoods.sum()
        ids.append(token)
    return product


@pytest.mark.parametrize("in_log_space", [False, True])
@pytest.mark.parametrize(
    "raw", [b"", b"\xe2", b"\xe2\x82", b"\xe2a", b"\xa9", b"\xff", b"\xc3\xc3", b"\xf0\x9f\x98"]
)
@pytest.mark.parametrize("vocabs", [(BYTES, LATIN), (BYTES, MORE_BYTES)])
def test_whatever_bytes_were_read_the_probabilities_sum_to_one(
    vocabs: tuple[Vocab, Vocab], raw: bytes, in_log_space: bool
) -> None:
    blend = make_blend(*vocabs, in_log_space=in_log_space)
    ids = [len(blend.vocab.alphabet) + byte for byte in raw]

    assert sum(probabilities_of(blend, read(blend, ids)).values()) == pytest.approx(1, abs=1e-5)


def test_bytes_that_end_no_character_leave_a_model_without_bytes_where_it_was() -> None:
    blend = make_blend(BYTES, LATIN)
    first, a = len(blend.vocab.alphabet), blend.vocab.alphabet.index("a")

    broken = read(blend, [a, first + 0xE2, first + 0x82, a])

    assert_same(broken[1], read(blend, [a, a])[1])
    assert not broken[2].any()


def test_a_byte_that_cuts_a_character_short_starts_a_new_one() -> None:
    blend = make_blend(BYTES, LATIN)
    first = len(blend.vocab.alphabet)
    e_acute = [first + byte for byte in "é".encode()]

    assert_same(read(blend, [first + 0xE2, *e_acute])[1], read(blend, e_acute)[1])
    assert_same(read(blend, [first + 0xE2, first + ord("a")])[1], read(blend, [first + 97])[1])


def test_models_that_all_have_bytes_hold_none() -> None:
    assert len(make_blend(BYTES, MORE_BYTES).initial_state()) == 2
    assert len(make_blend(BYTES, LATIN).initial_state()) == 3


# ── side by side ──


def make_guided(main: Vocab, other: Vocab, strength: float = 1.5) -> NegativeGuidance:
    return NegativeGuidance(make_member(main, 1), make_member(other, 2), strength)


ENSEMBLES = {
    "plain": lambda: make_blend(LATIN, GREEK),
    "log": lambda: make_blend(LATIN, GREEK, in_log_space=True),
    "some bytes": lambda: make_blend(BYTES, LATIN),
    "all bytes": lambda: make_blend(BYTES, MORE_BYTES),
    "n-grams": lambda: blend_with_ngrams(BYTES, LATIN),
    "guided": lambda: make_guided(LATIN, BYTES),
    "guided n-grams": lambda: NegativeGuidance(
        make_member(LATIN, 1, **NGRAMS), make_member(BYTES, 2, **NGRAMS), 1.5
    ),
    "guided bytes": lambda: make_guided(BYTES, LATIN),
}
EACH_ENSEMBLE = pytest.mark.parametrize("name", ENSEMBLES)


def make_texts(reader: Ensemble, count: int, length: int) -> np.ndarray:
    """Return ids (count, length); in a quarter of them, bytes of é among characters."""
    random = np.random.default_rng(4)
    ids = random.integers(0, len(reader.vocab.alphabet), (count, length))
    if reader.vocab.has_bytes:
        e_acute = np.resize(np.frombuffer("é".encode(), np.uint8), length)
        ids[::4] = len(reader.vocab.alphabet) + e_acute
        ids[1::4, -1] = len(reader.vocab.alphabet) + 0xE2
    return ids


@EACH_ENSEMBLE
def test_texts_side_by_side_are_each_read_as_alone(name: str) -> None:
    reader = ENSEMBLES[name]()
    texts = make_texts(reader, 6, 5)
    alone = [read(reader, ids) for ids in texts.tolist()]

    states = stack_states([reader.initial_state()] * len(texts))
    for tokens in texts.T:
        states = reader.advance_all(tokens, states)

    assert_same(states, stack_states(alone))
    logits = np.stack([reader.logits(state) for state in alone])
    assert reader.logits(states).dtype == np.float32
    np.testing.assert_allclose(reader.logits(states), logits, rtol=1e-4, atol=1e-5)


@EACH_ENSEMBLE
def test_prefill_is_advance_again_and_again(name: str) -> None:
    reader = ENSEMBLES[name]()
    for ids in make_texts(reader, 4, 9):
        start = reader.advance(0, reader.initial_state())
        assert_same(reader.prefill(ids, start), read(reader, [0, *ids.tolist()]))


@EACH_ENSEMBLE
def test_reading_changes_no_state_in_place(name: str) -> None:
    reader = ENSEMBLES[name]()
    states = stack_states([read(reader, [1]), read(reader, [2])])
    before = [array.copy() for array in iter_arrays(states)]

    reader.advance_all(make_texts(reader, 2, 1)[:, 0], states)
    reader.advance(1, select_row(states, 0))
    reader.logits(states)

    assert all(map(np.array_equal, iter_arrays(states), before))


def test_a_state_holds_those_of_the_models_and_three_bytes() -> None:
    small, large = make_member(BYTES, 1, num_layers=2), make_member(LATIN, 2, cell="gru")
    state = Blend([(*small, 1), (*large, 1)]).initial_state()

    assert [array.shape for array in iter_arrays(state)] == [(5,)] * 4 + [(6,), (3,)]
    assert {array.dtype for array in iter_arrays(state)} == {np.dtype(np.float32)}
    assert select_rows(stack_states([state, state]), [0])[2].shape == (1, 3)


# ── guided ──


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("strength", [0.5, 3])
def test_a_guided_model_follows_the_formula(text: str, strength: float) -> None:
    main, other = make_member(LATIN, 1), make_member(LATIN, 2)
    main_p, negative_p = expected_of(main, text), expected_of(other, text)
    pulled = {n: main_p[n] ** (1 + strength) / negative_p[n] ** strength for n in main_p}

    found = after(NegativeGuidance(main, other, strength), text)

    for name, each in pulled.items():
        assert found[name] == pytest.approx(each / sum(pulled.values()), rel=1e-4)


def test_a_model_guided_away_from_itself_is_itself() -> None:
    part = make_member(LATIN)

    assert after(NegativeGuidance(part, part, 2.5), "éa") == pytest.approx(
        expected_of(part, "éa"), rel=1e-4
    )


@pytest.mark.parametrize("text", ["", "a", "é\na"])
def test_a_character_that_the_other_does_not_know_is_not_pushed(text: str) -> None:
    main, other = make_member(LATIN, 1), make_member(GREEK, 2)
    main_p, negative_p = expected_of(main, text), expected_of(other, text)
    shared = main_p.keys() & negative_p.keys()
    of_main, of_other = (sum(each[n] for n in shared) for each in (main_p, negative_p))
    pulled = {
        n: each * ((each / of_main) / (negative_p[n] / of_other)) ** 2 if n in shared else each
        for n, each in main_p.items()
    }

    found = after(NegativeGuidance(main, other, 2), text)

    assert found.keys() == set(LATIN.alphabet)
    for name, each in pulled.items():
        assert found[name] == pytest.approx(each / sum(pulled.values()), rel=1e-4)


def test_inside_a_character_written_as_bytes_a_negative_model_without_them_does_not_push() -> None:
    main, other = make_member(BYTES, 1), make_member(LATIN, 2)
    guided, first = NegativeGuidance(main, other, 2), len(BYTES.alphabet)

    inside = guided.logits(read(guided, [first + 0xC3])).astype(float)
    alone = main[0].logits(read(main[0], [first + 0xC3])).astype(float)

    np.testing.assert_allclose(
        np.exp(inside), np.exp(alone) / np.exp(alone).sum(), rtol=1e-4, atol=1e-9
    )


def test_a_negative_model_pushes_a_blend_in_log_space() -> None:
    blend, other = make_blend(LATIN, GREEK, in_log_space=True), make_member(Vocab("aé"), 3)

    found = after(NegativeGuidance((blend, blend.vocab), other, 1), "a")

    alone = after(blend, "a")  # only "a" is shared, and nothing to compare it with
    assert found == pytest.approx(alone, rel=1e-4)


# ── errors ──


@pytest.mark.parametrize("number", [0, -1, 1e308, 1001, math.nan, math.inf])
def test_a_weight_or_strength_must_be_in_the_range_of_the_command_line(number: float) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"the weight of a model is {number}; it must")):
        make_blend(LATIN, GREEK, weights=(1, number))
    with pytest.raises(ConfigError, match=re.escape(f"the strength of a model is {number}; it")):
        make_guided(LATIN, GREEK, strength=number)


def test_a_negative_model_without_a_common_character_is_refused() -> None:
    with pytest.raises(ConfigError, match="no character in common"):
        make_guided(Vocab("ab"), Vocab("cd"))
