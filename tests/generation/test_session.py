"""A session of writing together as a value: who wrote what, and how it goes back and on."""

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
from charrnn.generation import session as session_module
from charrnn.generation.model import Model
from charrnn.generation.session import Session, join_pieces, start_session
from charrnn.text.vocab import Vocab

SETTINGS = SampleConfig(length=6, seed=3)


def make_writer(vocab: Vocab | None = None, **settings: Any) -> Model:
    """Give a model of random weights whose text depends on all it has read."""
    vocab, random = vocab or Vocab("\n abcdé"), np.random.default_rng(8)
    config = ModelConfig(cell="gru", vocab_size=vocab.size, embedding_size=3, hidden_size=4)
    weights = {
        name: random.normal(0, 1.5, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    return Model(ModelFile(config, vocab, weights, {"settings": settings}))


def begin(text: str = "", model: Model | None = None, **settings: Any) -> Session:
    return start_session(model or make_writer(), replace(SETTINGS, **settings), text)


def go_on(session: Session, **how: Any) -> Session:
    """Let the model write to the end of its turn."""
    text = "".join(session.write(**how))
    how.pop("length", None)
    return session.take(text, **how)


# ── the text and its pieces ──


def test_what_is_typed_is_added_as_it_is() -> None:
    session = begin("ab").add(" a ").add("\n")

    assert session.text == "ab a \n"
    assert [piece.is_models for piece in session.pieces] == [False] * 3


def test_a_character_that_the_model_does_not_know_is_named_and_not_added() -> None:
    session = begin("ab")

    with pytest.raises(VocabError, match=r"'x' \(U\+0078 LATIN SMALL LETTER X\)"):
        session.add("axb")
    assert session.text == "ab"


def test_a_letter_with_its_accent_apart_is_read_as_the_model_knows_it() -> None:
    assert begin(model=make_writer(normalize="nfc")).add("ae\u0301").text == "ae\u0301"


@given(st.lists(st.text("\n abcdé", min_size=1, max_size=9), max_size=5))
def test_a_text_made_of_pieces_goes_on_as_the_same_text_in_one(parts: list[str]) -> None:
    session = begin()
    for part in parts:
        session = session.add(part)

    whole = session.model.generate("".join(parts), SETTINGS)
    assert "".join(session.write()) == "".join(whole)


def test_the_first_continuation_is_what_sample_writes_with_the_seed() -> None:
    session = go_on(begin("ab"))

    assert session.text == "ab" + "".join(make_writer().generate("ab", SETTINGS))
    assert [piece.is_models for piece in session.pieces] == [False, True]


def test_the_text_of_the_model_is_what_penalties_count_too() -> None:
    settings: dict[str, Any] = {"temperature": 0.0, "presence_penalty": 10.0, "length": 3}
    session = go_on(go_on(begin("a", **settings)))

    config = replace(SETTINGS, **settings)
    text = "a" + "".join(make_writer().generate("a", config))
    assert session.text == text + "".join(make_writer().generate(text, config))


def test_a_turn_may_have_a_length_of_its_own() -> None:
    session = go_on(begin("ab"), length=2)

    assert (len(session.text), session.config.length) == (4, 6)


def test_an_empty_turn_is_no_step() -> None:
    session = go_on(begin("ab", length=0)).add("")

    assert (session.pieces, session.past) == (begin("ab").pieces, ())


def test_a_very_long_text_is_read_from_near_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "LONGEST_READ", 7)
    text = "aébc d\nabcd éda"

    whole = make_writer().generate(text[-7:], SETTINGS)
    assert "".join(begin("dd").add(text).write()) == "".join(whole)


def test_what_the_model_wrote_is_kept_though_normalised_it_is_unknown() -> None:
    model = make_writer(Vocab("ae\u0301"), normalize="nfc")
    session = start_session(model, SETTINGS).take("ae\u0301")

    assert session.text == "ae\u0301"
    assert len("".join(session.write())) == 6


# ── trying again ──


def test_another_try_takes_the_place_of_the_last_and_differs() -> None:
    first = go_on(begin("ab", length=30))
    second = go_on(first, is_retry=True)

    assert [piece.text for piece in second.pieces[:-1]] == ["ab"]
    assert second.pieces[-1].is_models
    assert second.text != first.text


def test_each_try_goes_on_from_the_same_place() -> None:
    session = go_on(go_on(begin("ab", length=30)), is_retry=True)

    again = make_writer().generate("ab", replace(SETTINGS, length=30), index=1)
    assert session.text == "ab" + "".join(again)


def test_undo_brings_the_try_before_back() -> None:
    first = go_on(begin("ab", length=30))

    assert go_on(first, is_retry=True).undo().text == first.text


def test_the_same_again_is_no_step() -> None:
    session = go_on(begin("ab", temperature=0))

    assert go_on(session, is_retry=True).past == session.past


@pytest.mark.parametrize("session", [begin(), begin("ab"), go_on(begin("ab")).add("a")])
def test_only_the_model_can_try_again(session: Session) -> None:
    with pytest.raises(ConfigError, match="the model did not write last"):
        session.write(is_retry=True)


# ── back and on ──

STEPS: list[Callable[[Session], Session]] = [
    lambda session: session.add("ba"),
    lambda session: go_on(session, length=2),
    lambda session: session.rewrite("a" + session.text[1:]),
    lambda session: session.rewrite(session.text[:3]),
]


@given(st.lists(st.sampled_from(STEPS), max_size=8))
def test_undo_goes_back_to_the_beginning_and_redo_to_the_end(
    steps: list[Callable[[Session], Session]],
) -> None:
    session = begin("dcb")
    for step in steps:
        session = step(session)
    back = session
    while back.past:
        back = back.undo()
    on = back
    while on.future:
        on = on.redo()

    assert back.text == "dcb"
    assert on.pieces == session.pieces
    assert "".join(on.write()) == "".join(session.write())


def test_a_new_step_ends_what_could_be_done_again() -> None:
    session = begin().add("a").add("b").undo().add("c")

    assert session.text == "ac"
    with pytest.raises(ConfigError, match="nothing more can be done again"):
        session.redo()


def test_what_the_session_began_with_is_not_undone() -> None:
    with pytest.raises(ConfigError, match="nothing more can be undone"):
        begin("ab").undo()


def test_a_continuation_after_undo_is_another_one() -> None:
    first = go_on(begin("ab", length=30))

    assert go_on(first.undo()).text != first.text


# ── rewriting ──


def test_rewriting_keeps_whose_the_beginning_is() -> None:
    session = begin("ab").take("cd").add("a").rewrite("abcéé")

    parts = [(piece.text, piece.is_models) for piece in session.pieces]
    assert parts == [("ab", False), ("c", True), ("éé", False)]


def test_rewriting_to_the_same_text_is_no_step() -> None:
    session = begin("ab").take("cd")

    assert session.rewrite("abcd") == session


@given(st.text("ab", max_size=6), st.text("ab", max_size=6))
def test_a_rewritten_text_goes_on_as_if_it_had_been_typed(old: str, new: str) -> None:
    session = replace(begin(old).take("ba").rewrite(new), draws=0)

    assert session.text == join_pieces(session.pieces) == new
    assert "".join(session.write()) == "".join(begin(new).write())


# ── settings ──


def test_settings_change_from_one_turn_to_the_next() -> None:
    session = begin("ab", length=30)
    greedy = session.with_config(replace(session.config, temperature=0))

    assert "".join(greedy.write()) == "".join(make_writer().generate("ab", greedy.config))
    assert "".join(greedy.write()) != "".join(session.write())


def test_a_seed_set_anew_begins_its_continuations_anew() -> None:
    session = go_on(begin("ab")).undo()

    assert session.with_config(replace(session.config, temperature=2)).draws == 1
    assert session.with_config(replace(session.config, seed=4)).draws == 0


def test_a_session_without_a_seed_chooses_one() -> None:
    seeds = {begin(seed=None).config.seed for _ in range(4)}

    assert None not in seeds
    assert len(seeds) > 1


# ── what may come ──


def test_chances_of_all_characters_sum_to_one_the_likeliest_first() -> None:
    chances = begin("ab").next_chars(99)
    shares = [share for _, share in chances]

    assert sorted(char for char, _ in chances) == sorted("\n abcdé")
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("text", ["", "ab", "é c\n"])
def test_a_chance_is_what_score_counts_in_bits(text: str) -> None:
    char, share = begin(text).next_chars(1)[0]

    assert -np.log2(share) == pytest.approx(make_writer().score(text + char).bits[-1], rel=1e-5)


def test_a_byte_that_may_come_is_named_by_its_number() -> None:
    model = make_writer(Vocab("\nab", has_bytes=True))
    names = {char for char, _ in model.next_chars("a€", 999)}

    assert {"a", "b", "<E4>", "<0A>"} <= names
    assert len(names) == 3 + 256


def test_the_rest_of_a_word_is_the_likeliest_up_to_its_end() -> None:
    model = make_writer()
    greedy = "".join(model.generate("dcab", length=30, temperature=0))

    rest = begin("dc", model).finish_word("ab")
    assert greedy.startswith(rest)
    assert rest.isalpha() or not rest
    assert len(rest) == 30 or not greedy[len(rest)].isalpha()


def test_a_word_is_finished_without_what_is_banned() -> None:
    assert set(begin("dc", ban=("abé",)).finish_word("a")) <= set("cd")
