"""Texts of a model file: prompts, lengths, seeds, bytes and stop texts."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig, SampleConfig
from charrnn.errors import ConfigError, VocabError
from charrnn.generation.filters import softmax
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.generation.random_models import random_weights

LETTERS = Vocab("\n abcdé")
BYTES = Vocab("\nab", has_bytes=True)


def make_model(vocab: Vocab = LETTERS, **summary: Any) -> Model:
    """Return a model of random weights whose text depends on all that it has read."""
    config = ModelConfig(cell="gru", vocab_size=vocab.size, embedding_size=3, hidden_size=4)
    return Model(ModelFile(config, vocab, random_weights(config, 8, 1.5), summary))


def make_cyclic_model(cycle: list[int], vocab: Vocab) -> Model:
    """Return a model that, after the first id of `cycle`, samples the others in turn, for ever.

    Each unit of the hidden layer stands for the id that was read; the ids are all different.
    """
    config = ModelConfig(
        cell="rnn",
        nonlinearity="relu",
        vocab_size=vocab.size,
        embedding_size=vocab.size,
        hidden_size=vocab.size,
    )
    weights = {n: np.zeros(s, np.float32) for n, s in config.weight_shapes().items()}
    weights["embedding.weight"] = np.eye(vocab.size, dtype=np.float32)
    weights["layers.0.weight_ih"] = np.eye(vocab.size, dtype=np.float32)
    for token, following in zip(cycle, [*cycle[1:], cycle[0]], strict=True):
        weights["output.weight"][following, token] = 99
    return Model(ModelFile(config, vocab, weights, {}))


def write(model: Model, prompt: str = "", length: int = 60, **settings: Any) -> str:
    return "".join(model.generate(prompt, length=length, **({"seed": 1} | settings)))


# ── seeds ──


def test_the_same_seed_writes_the_same_text() -> None:
    assert write(make_model(), seed=5) == write(make_model(), seed=5)


def test_another_seed_writes_another_text() -> None:
    assert write(make_model(), seed=5) != write(make_model(), seed=6)


def test_without_a_seed_each_text_is_different() -> None:
    assert write(make_model(), seed=None) != write(make_model(), seed=None)


def test_each_sample_of_a_seed_is_different() -> None:
    model = make_model()

    assert len({write(model, index=index) for index in range(4)}) == 4


def test_a_sample_does_not_depend_on_those_before_it() -> None:
    model = make_model()
    among_others = [write(model, index=index) for index in range(3)][2]

    assert write(make_model(), index=2) == among_others


def test_two_texts_sampled_in_turns_are_those_sampled_one_after_the_other() -> None:
    model = make_model()
    streams = [model.generate("a", length=30, seed=seed) for seed in (1, 2)]

    in_turns = ["".join(pieces) for pieces in zip(*zip(*streams, strict=True), strict=True)]

    assert in_turns == [write(model, "a", 30, seed=seed) for seed in (1, 2)]


# ── prompts ──


def test_the_prompt_is_not_part_of_the_text() -> None:
    model = make_cyclic_model([2, 3, 4], LETTERS)

    assert write(model, "a", 5) == "bcabc"


def test_all_of_the_prompt_is_read() -> None:
    model = make_model()

    assert write(model, "abc", temperature=0) != write(model, "bbc", temperature=0)


def test_an_empty_prompt_starts_as_a_line_does() -> None:
    model = make_model()

    assert write(model, "") == write(model, "\n")


def test_without_a_newline_an_empty_prompt_starts_anywhere() -> None:
    model = make_cyclic_model([0, 1, 2], Vocab("abc"))

    assert {write(model, "", 1, seed=seed) for seed in range(30)} == set("abc")


def test_an_unknown_character_of_the_prompt_is_refused_by_name() -> None:
    with pytest.raises(VocabError, match=r"'ß' \(U\+00DF LATIN SMALL LETTER SHARP S\)"):
        make_model().generate("aß")


def test_byte_tokens_let_any_prompt_in() -> None:
    model = make_model(BYTES)

    assert write(model, "a😀") != write(model, "a😁")
    assert len(write(model, "a😀")) == 60


@pytest.mark.parametrize(("form", "prompt"), [("nfc", "cafe\u0301"), ("nfkc", "ｃafe\u0301")])
def test_the_prompt_is_normalised_as_the_text_was(form: str, prompt: str) -> None:
    model = make_model(Vocab("\n acfxé"), settings={"normalize": form})

    assert write(model, prompt) == write(model, "café")


def test_a_prompt_is_left_as_it_is_where_the_text_was() -> None:
    model = make_model(settings={"normalize": "none"})

    with pytest.raises(VocabError, match="COMBINING ACUTE ACCENT"):
        model.generate("e\u0301")


@pytest.mark.parametrize(
    ("settings", "end"), [({}, None), ({"document_end": None}, None), ({"document_end": "§"}, "§")]
)
def test_a_model_knows_what_ends_a_document_if_training_did(
    settings: dict[str, Any], end: str | None
) -> None:
    assert make_model(settings=settings).text_format.document_end == end


def test_a_file_that_says_nothing_of_its_training_knows_no_end_of_documents() -> None:
    assert make_model().text_format.document_end is None


# ── lengths and characters ──


@pytest.mark.parametrize("length", [0, 1, 7])
def test_the_length_is_that_of_the_text(length: int) -> None:
    assert len(write(make_model(), "ab", length)) == length


def test_a_shorter_text_is_the_beginning_of_a_longer_one() -> None:
    assert write(make_model(), length=90).startswith(write(make_model(), length=40))


def test_the_length_counts_characters_and_not_the_tokens_they_take() -> None:
    first_byte = len(BYTES.alphabet)
    euro = [first_byte + byte for byte in "€".encode()]

    assert write(make_cyclic_model([1, *euro], BYTES), "a", 5) == "€a€a€"


def test_bytes_that_make_no_character_come_out_as_replacement_characters() -> None:
    first_byte = len(BYTES.alphabet)
    model = make_cyclic_model([1, first_byte + 0xC3, first_byte + 0xFF], BYTES)

    assert write(model, "a", 7) == "��a��a�"


def test_every_piece_has_at_least_one_character() -> None:
    first_byte = len(BYTES.alphabet)
    model = make_cyclic_model([1, *(first_byte + byte for byte in "€".encode())], BYTES)

    assert [*model.generate("a", length=3, seed=1, stop=("a€",))] == ["€"]
    assert all(make_model(BYTES).generate(length=200, seed=1))


def test_settings_by_keyword_override_those_of_the_config() -> None:
    config = SampleConfig(length=3, seed=1, temperature=0)
    model = make_model()

    assert "".join(model.generate("a", config, length=9)) == write(model, "a", 9, temperature=0)


def test_a_setting_out_of_range_is_refused() -> None:
    with pytest.raises(ConfigError, match="temperature is -1; it must be at least 0"):
        make_model().generate(temperature=-1)


# ── bans, penalties, endings ──


@pytest.mark.parametrize("temperature", [0, 1, 5])
def test_banned_characters_are_never_written(temperature: float) -> None:
    text = write(make_model(), "a", 300, temperature=temperature, ban=("é", " "))

    assert set(text) <= set("\nabcd")


def test_all_characters_of_only_are_written_and_no_others() -> None:
    assert set(write(make_model(BYTES), "a", 300, temperature=9, only=("xyz",))) == set("xyz")


def test_a_ban_that_leaves_nothing_is_refused_before_anything_is_written() -> None:
    with pytest.raises(ConfigError, match="only 'Lu' leaves no character of this model"):
        make_model().generate("a", only=("Lu",))


def test_a_bias_can_force_a_character() -> None:
    assert write(make_model(), "a", 20, bias=("é=99",)) == "é" * 20


def test_penalties_count_the_prompt_within_their_window() -> None:
    model = make_cyclic_model([2, 3, 4], LETTERS)  # a, b, c
    penalty = {"temperature": 0, "presence_penalty": 10, "repetition_penalty": 10}

    near = write(model, "ca", 1, penalty_window=2, **penalty)
    assert near == "b"
    assert write(model, "bca", 1, penalty_window=2, **penalty) == near
    assert write(model, "bca", 1, penalty_window=3, **penalty) != near


def test_the_newline_that_an_empty_prompt_stands_for_is_not_counted() -> None:
    model = make_cyclic_model([0, 2], LETTERS)

    assert write(model, "", 1, temperature=0, repetition_penalty=10) == "a"


def test_a_stream_has_the_reason_of_its_end() -> None:
    stream = make_cyclic_model([2, 3, 4, 5], LETTERS).generate("a", length=9, stop=("da",))

    assert (stream.reason, "".join(stream), stream.reason) == (None, "bc", "stop")


def test_a_stop_text_of_several_bytes_is_never_shown_in_part() -> None:
    first_byte = len(BYTES.alphabet)
    euro = [first_byte + byte for byte in "€".encode()]
    model = make_cyclic_model([1, 2, *euro], BYTES)  # a, b, €

    assert write(model, "a", 50, stop=("€a",)) == "b"
    assert write(model, "a", 50, stop_regex="[€x]") == "b"
    assert write(model, "a", 4, stop=("€ab",)) == "b"


# ── stop texts ──


def test_a_stop_text_ends_the_text_before_it() -> None:
    model = make_cyclic_model([2, 3, 4, 5], LETTERS)

    assert write(model, "a", 99, stop=("da",)) == "bc"


def test_a_stop_text_that_stands_in_the_prompt_does_not_stop() -> None:
    model = make_cyclic_model([2, 3, 4, 5], LETTERS)

    assert write(model, "ab", 6, stop=("ab",)) == "cd"


def test_a_text_that_ends_within_a_stop_text_is_complete() -> None:
    model = make_cyclic_model([2, 3, 4, 5], LETTERS)

    assert write(model, "a", 3, stop=("cda",)) == "bcd"


def test_an_empty_stop_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="stop is empty"):
        make_model().generate(stop=("",))


@pytest.mark.parametrize(
    "settings", [{"choices": ("e\u0301",)}, {"regex": "e\u0301"}, {"template": "e\u0301"}]
)
def test_what_is_to_be_matched_is_normalized_as_the_models_text_was(
    settings: dict[str, Any],
) -> None:
    model = make_model(settings={"normalize": "nfc"})

    assert "".join(model.generate(**settings)) == "é"


@pytest.mark.parametrize("settings", [{"stop": ("e\u0301",)}, {"stop_regex": "e\u0301"}])
def test_what_ends_a_text_is_normalized_too(settings: dict[str, Any]) -> None:
    model = make_model(settings={"normalize": "nfc"})

    assert "é" not in "".join(model.generate(length=300, seed=1, **settings))


def test_what_is_banned_is_normalized_too() -> None:
    model = make_model(settings={"normalize": "nfc"})

    assert set(write(model, "", 300, ban=("e\u0301", "a"))) == set("\n bcd")


def test_a_stop_text_that_the_model_can_never_write_is_refused() -> None:
    for call in ("generate", "search"):
        with pytest.raises(ConfigError, match=r"stop 'bü' has 'ü' \(U\+00FC\), which this model"):
            getattr(make_model(), call)(stop=("a", "bü"), beam=int(call == "search"))
    assert write(make_model(BYTES), "a", 9, stop=("ü",))


@pytest.mark.parametrize("pattern", ["ü+", "a(x|ü)"])
def test_a_stop_pattern_that_the_model_can_never_write_is_refused(pattern: str) -> None:
    with pytest.raises(ConfigError, match=rf"stop_regex '{re.escape(pattern)}' needs .*'ü' \(U"):
        make_model().generate(stop_regex=pattern)
    for possible in ("ü|a", r"\d", r"\Bü", "(?<=a)ü"):
        assert make_model().generate(stop_regex=possible)
    assert make_model(BYTES).generate(stop_regex=pattern)


def test_a_beam_is_for_searching_alone() -> None:
    model = make_model()

    with pytest.raises(ConfigError, match="which searches and does not sample"):
        model.generate(beam=3)
    with pytest.raises(ConfigError, match="which searches and does not sample"):
        next(model.generate_many(beam=3))
    with pytest.raises(ConfigError, match="beam"):
        model.search()


def test_max_copy_needs_the_text_that_the_model_was_trained_on() -> None:
    with pytest.raises(ConfigError, match="max_copy needs the text"):
        make_model().generate(max_copy=3)


@pytest.mark.parametrize("vocab", [LETTERS, BYTES])
def test_a_beam_finds_each_text_once(vocab: Vocab) -> None:
    found = make_model(vocab).search("a", beam=20, count=20, length=4, stop_regex=r"\W")

    assert len({sample.text for sample in found}) == 20
    assert all(len(sample.text) == 4 or sample.stopped_by == "stop-regex" for sample in found)
    assert "\ufffd" not in "".join(sample.text for sample in found)


def test_a_text_that_bytes_spell_too_is_found_once_with_both_probabilities() -> None:
    model = make_model(BYTES)
    ids = [1, 3 + ord("a")]  # a letter, and its byte
    logits = model.language_model.logits(model.read("b").state)
    expected = float(softmax(logits.astype(np.float64))[ids].sum())

    found = model.search("b", beam=259, count=259, length=1)

    (nats,) = [sample.nats for sample in found if sample.text == "a"]
    assert np.exp(-nats) == pytest.approx(expected, rel=1e-5)
