"""A session of writing together as a value: whose each piece is, retry, undo and redo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig, SampleConfig
from charrnn.errors import ConfigError, VocabError
from charrnn.tasks import session as session_module
from charrnn.tasks.model import Model
from charrnn.tasks.session import Session, join_pieces, start_session
from charrnn.text.vocab import Vocab
from tests.generation.random_models import random_weights

SETTINGS = SampleConfig(length=6, seed=3)


def make_random_model(vocab: Vocab | None = None, **settings: Any) -> Model:
    """Return a model of random weights."""
    vocab = vocab or Vocab("\n abcdé")
    config = ModelConfig(cell="gru", vocab_size=vocab.size, embedding_size=3, hidden_size=4)
    weights = random_weights(config, seed=8, spread=1.5)
    return Model(ModelFile(config, vocab, weights, {"settings": settings}))


def begin(text: str = "", model: Model | None = None, **settings: Any) -> Session:
    return start_session(model or make_random_model(), replace(SETTINGS, **settings), text)


def go_on(session: Session, **how: Any) -> Session:
    """Let the model write to the end of its turn."""
    text = "".join(session.write(**how))
    how.pop("length", None)
    return session.take(text, **how)


# ── the text and its pieces ──


def test_a_typed_text_is_added_as_it_is() -> None:
    session = begin("ab").add(" a ").add("\n")

    assert session.text == "ab a \n"
    assert [piece.is_models for piece in session.pieces] == [False] * 3


def test_an_unknown_character_is_named_and_not_added() -> None:
    session = begin("ab")

    with pytest.raises(VocabError, match=r"'x' \(U\+0078 LATIN SMALL LETTER X\)"):
        session.add("axb")
    assert session.text == "ab"


def test_a_decomposed_letter_is_read_in_the_model_s_normal_form() -> None:
    assert begin(model=make_random_model(normalize="nfc")).add("ae\u0301").text == "ae\u0301"


def test_what_stands_in_the_text_is_not_refused_where_it_is_cut() -> None:
    session = begin("Bab", unknown="map").with_config(replace(SETTINGS, unknown="error"))

    assert session.rewrite("Bb").text == "Bb"
    with pytest.raises(VocabError):
        session.rewrite("BB")


@pytest.mark.parametrize(("unknown", "read"), [("map", "ab b"), ("skip", "a ")])
def test_a_text_stays_as_it_was_typed_whatever_the_model_reads(unknown: str, read: str) -> None:
    session = begin(unknown=unknown).add("a").add("B☃ B")

    assert session.text == "aB☃ B"
    assert "".join(session.write()) == "".join(make_random_model().generate(read, SETTINGS))
    assert session.undo().redo().rewrite("aB☃ c").text == "aB☃ c"


def test_where_nothing_can_be_read_the_model_begins_as_without_a_text() -> None:
    session = begin(unknown="skip").add("☃☃")

    assert session.text == "☃☃"
    assert "".join(session.write()) == "".join(begin().write())


def test_a_turn_can_be_finished_with_a_word() -> None:
    whole = "".join(make_random_model().generate("ab", SETTINGS, length=12))
    finished = "".join(begin("ab").write(finish=True))

    assert whole.startswith(finished)
    assert len(finished) == 12 or (len(finished) >= 9 and whole[len(finished)].isspace())


@pytest.mark.parametrize(
    ("settings", "longest"),
    [({"choices": ("abc",)}, 3), ({"lines": 1, "only": ("abc",)}, 2000), ({"must": ("b",)}, 6)],
)
def test_a_turn_that_another_setting_ends_is_not_cut_and_a_form_not_changed(
    settings: dict[str, Any], longest: int
) -> None:
    written = "".join(begin("ab", length=6, **settings).write(finish=True))

    assert len(written) == longest


@given(st.lists(st.text("\n abcdé", min_size=1, max_size=9), max_size=5))
def test_pieces_are_continued_as_the_same_text_in_one(parts: list[str]) -> None:
    session = begin()
    for part in parts:
        session = session.add(part)

    whole = session.model.generate("".join(parts), SETTINGS)
    assert "".join(session.write()) == "".join(whole)


def test_the_first_continuation_is_the_sample_of_the_seed() -> None:
    session = go_on(begin("ab"))

    assert session.text == "ab" + "".join(make_random_model().generate("ab", SETTINGS))
    assert [piece.is_models for piece in session.pieces] == [False, True]


def test_penalties_count_the_model_s_own_text_too() -> None:
    settings: dict[str, Any] = {"temperature": 0.0, "presence_penalty": 10.0, "length": 3}
    session = go_on(go_on(begin("a", **settings)))

    config = replace(SETTINGS, **settings)
    text = "a" + "".join(make_random_model().generate("a", config))
    assert session.text == text + "".join(make_random_model().generate(text, config))


def test_write_takes_another_length() -> None:
    session = go_on(begin("ab"), length=2)

    assert (len(session.text), session.config.length) == (4, 6)


def test_an_empty_turn_is_no_step() -> None:
    session = go_on(begin("ab", length=0)).add("")

    assert (session.pieces, session.undo_steps) == (begin("ab").pieces, ())


def test_a_very_long_text_is_read_from_near_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_PIECE_READ", 7)
    text = "aébc d\nabcd éda"

    whole = make_random_model().generate(text[-7:], SETTINGS)
    assert "".join(begin("dd").add(text).write()) == "".join(whole)


def test_the_model_s_text_is_kept_even_if_its_normal_form_is_unknown() -> None:
    model = make_random_model(Vocab("ae\u0301"), normalize="nfc")
    session = start_session(model, SETTINGS).take("ae\u0301")

    assert session.text == "ae\u0301"
    assert len("".join(session.write())) == 6


# ── retry ──


def test_a_retry_replaces_the_last_continuation_by_another() -> None:
    first = go_on(begin("ab", length=30))
    second = go_on(first, is_retry=True)

    assert [piece.text for piece in second.pieces[:-1]] == ["ab"]
    assert second.pieces[-1].is_models
    assert second.text != first.text


def test_a_retry_samples_the_next_index_after_the_same_text() -> None:
    session = go_on(go_on(begin("ab", length=30)), is_retry=True)

    again = make_random_model().generate("ab", replace(SETTINGS, length=30), index=1)
    assert session.text == "ab" + "".join(again)


def test_undo_brings_back_the_continuation_before_a_retry() -> None:
    first = go_on(begin("ab", length=30))

    assert go_on(first, is_retry=True).undo().text == first.text


def test_a_retry_with_the_same_result_is_no_step() -> None:
    session = go_on(begin("ab", temperature=0))

    assert go_on(session, is_retry=True).undo_steps == session.undo_steps


@pytest.mark.parametrize("session", [begin(), begin("ab"), go_on(begin("ab")).add("a")])
def test_a_retry_needs_a_continuation_of_the_model(session: Session) -> None:
    with pytest.raises(ConfigError, match="the model did not write last"):
        session.write(is_retry=True)


# ── undo and redo ──

STEPS: list[Callable[[Session], Session]] = [
    lambda session: session.add("ba"),
    lambda session: go_on(session, length=2),
    lambda session: session.rewrite("a" + session.text[1:]),
    lambda session: session.rewrite(session.text[:3]),
]


@given(st.lists(st.sampled_from(STEPS), max_size=8))
def test_undo_reaches_the_start_and_redo_the_end(
    steps: list[Callable[[Session], Session]],
) -> None:
    session = begin("dcb")
    for step in steps:
        session = step(session)
    back = session
    while back.undo_steps:
        back = back.undo()
    on = back
    while on.redo_steps:
        on = on.redo()

    assert back.text == "dcb"
    assert on.pieces == session.pieces
    assert "".join(on.write()) == "".join(session.write())


def test_after_a_new_step_there_is_nothing_to_redo() -> None:
    session = begin().add("a").add("b").undo().add("c")

    assert session.text == "ac"
    with pytest.raises(ConfigError, match="nothing to redo"):
        session.redo()


def test_the_initial_text_cannot_be_undone() -> None:
    with pytest.raises(ConfigError, match="nothing to undo"):
        begin("ab").undo()


def test_a_continuation_after_undo_is_another_one() -> None:
    first = go_on(begin("ab", length=30))

    assert go_on(first.undo()).text != first.text


# ── rewriting ──


def test_rewriting_keeps_the_pieces_of_the_common_start() -> None:
    session = begin("ab").take("cd").add("a").rewrite("abcéé")

    parts = [(piece.text, piece.is_models) for piece in session.pieces]
    assert parts == [("ab", False), ("c", True), ("éé", False)]


def test_rewriting_to_the_same_text_is_no_step() -> None:
    session = begin("ab").take("cd")

    assert session.rewrite("abcd") == session


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_a_rewritten_text_goes_on_as_if_it_had_been_typed(old: str, new: str) -> None:
    session = replace(begin(old).take("ba").rewrite(new), samples=0)

    assert session.text == join_pieces(session.pieces) == new
    assert "".join(session.write()) == "".join(begin(new).write())


# ── settings ──


def test_settings_change_from_one_turn_to_the_next() -> None:
    session = begin("ab", length=30)
    greedy = session.with_config(replace(session.config, temperature=0))

    assert "".join(greedy.write()) == "".join(make_random_model().generate("ab", greedy.config))
    assert "".join(greedy.write()) != "".join(session.write())


def test_a_new_seed_starts_at_its_first_sample() -> None:
    session = go_on(begin("ab")).undo()

    assert session.with_config(replace(session.config, temperature=2)).samples == 1
    assert session.with_config(replace(session.config, seed=4)).samples == 0


def test_a_session_without_a_seed_chooses_one() -> None:
    seeds = {begin(seed=None).config.seed for _ in range(4)}

    assert None not in seeds
    assert len(seeds) > 1


# ── next characters ──


def test_next_characters_are_sorted_and_their_probabilities_sum_to_one() -> None:
    found = begin("ab").next_chars(99)
    shares = [share for _, share in found]

    assert sorted(char for char, _ in found) == sorted("\n abcdé")
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "ab", "é c\n"])
def test_the_probability_of_a_next_character_is_its_score_in_bits(text: str) -> None:
    char, share = begin(text).next_chars(1)[0]

    assert -np.log2(share) == pytest.approx(
        make_random_model().score(text + char).bits[-1], rel=1e-5
    )


def test_a_next_byte_is_named_by_its_number() -> None:
    model = make_random_model(Vocab("\nab", has_bytes=True))
    names = {char for char, _ in model.next_chars("a€", 999)}

    assert {"a", "b", "<E4>", "<0A>"} <= names
    assert len(names) == 3 + 256


def test_the_rest_of_a_word_is_the_greedy_one_up_to_its_end() -> None:
    model = make_random_model()
    greedy = "".join(model.generate("dcab", length=30, temperature=0))

    rest = begin("dc", model).finish_word("ab")
    assert greedy.startswith(rest)
    assert rest.isalpha() or not rest
    assert len(rest) == 30 or not greedy[len(rest)].isalpha()


def test_a_word_is_finished_without_banned_characters() -> None:
    assert set(begin("dc", ban=("abé",)).finish_word("a")) <= set("cd")
