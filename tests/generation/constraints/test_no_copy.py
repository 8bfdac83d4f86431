"""NoCopy forbids exactly the ids that would make a copied run too long, and nothing else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.analysis.suffix_array import SuffixArray
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.constraints.no_copy import NoCopy
from charrnn.text.vocab import END, Vocab

sys.path.append(str(Path(__file__).parents[3] / "benchmarks"))

import originality

LETTERS = Vocab("\nabc")
BYTES = Vocab("abé€😀", has_bytes=True)


def no_copy(corpus: str, max_copy: int, vocab: Vocab = LETTERS) -> NoCopy:
    return NoCopy(SuffixArray(vocab.encode(corpus)), vocab, max_copy)


def forbidden(constraint: Constraint, text: str, vocab: Vocab = LETTERS) -> str:
    """Return the characters that are forbidden after a prompt."""
    mask = constraint.mask(constraint.initial_state(vocab.encode(text)))
    if mask is None:
        return ""
    assert mask.shape == (vocab.size,)
    assert mask.dtype == np.float32
    assert set(mask.tolist()) <= {0, -np.inf}
    return "".join(char for char, each in zip(vocab.alphabet, mask, strict=False) if each)


def sample_anything(constraint: Constraint, vocab: Vocab, length: int, seed: int) -> str:
    """Sample any ids that the constraint allows; end where it allows none."""
    random = np.random.default_rng(seed)
    state = constraint.initial_state(np.empty(0, vocab.dtype))
    ids = []
    for _ in range(length):
        mask = constraint.mask(state)
        allowed = np.arange(vocab.size) if mask is None else np.flatnonzero(mask == 0)
        if not len(allowed):
            break
        ids.append(int(random.choice(allowed)))
        state = constraint.advance(ids[-1], state)
    return vocab.decode(ids)


def runs_of(text: str, size: int) -> set[str]:
    return {text[i : i + size] for i in range(len(text) - size + 1)}


# ── what is forbidden ──


@given(st.text("abc\n", max_size=30), st.text("abc\n", max_size=12), st.integers(1, 5))
def test_what_follows_the_same_run_in_the_corpus_is_forbidden(corpus, text, max_copy):
    expected = [
        char
        for char in LETTERS.alphabet
        if len(text) >= max_copy and text[-max_copy:] + char in corpus
    ]

    assert forbidden(no_copy(corpus, max_copy), text) == "".join(expected)


@given(st.text("abc\n", max_size=20), st.text("abc\n", max_size=9), st.integers(1, 5))
def test_a_prompt_counts_as_if_it_had_been_sampled(prompt, text, max_copy):
    constraint = no_copy("abcacb\nabba", max_copy)
    state = constraint.initial_state(LETTERS.encode(prompt))
    for token in LETTERS.encode(text).tolist():
        state = constraint.advance(token, state)

    assert state == constraint.initial_state(LETTERS.encode(prompt + text))


def test_a_quotation_as_prompt_does_not_go_on_as_one():
    assert forbidden(no_copy("abcabca", 3), "abcabc") == "a"


def test_the_last_run_of_a_corpus_may_go_on_with_anything():
    assert forbidden(no_copy("cab", 2), "ab") == ""


def test_where_nothing_is_forbidden_there_is_no_mask():
    constraint = no_copy("abcabc", 3)

    for prompt in ("", "ab", "acb", "bab"):
        assert constraint.mask(constraint.initial_state(LETTERS.encode(prompt))) is None


def test_a_state_is_as_short_as_the_run_however_long_the_text():
    constraint = no_copy("abc", 5)

    assert len(constraint.initial_state(LETTERS.encode("abc" * 1000))) == 5


def test_no_text_is_ended():
    constraint: Constraint = no_copy("aaab", 1)

    assert not constraint.is_finished(constraint.initial_state(LETTERS.encode("aaa")))
    assert constraint.reason == "max-copy"


# ── what comes of it ──


@given(st.text("abc\n", max_size=40), st.integers(1, 4), st.integers(0, 99))
def test_no_text_has_a_run_that_is_longer(corpus, max_copy, seed):
    text = sample_anything(no_copy(corpus, max_copy), LETTERS, 60, seed)

    assert not runs_of(text, max_copy + 1) & runs_of(corpus, max_copy + 1)


@given(st.text("ab€éя😀", max_size=40), st.integers(1, 3), st.integers(0, 99))
def test_no_copy_hides_in_the_bytes_of_its_characters(corpus, max_copy, seed):
    text = sample_anything(no_copy(corpus, max_copy, BYTES), BYTES, 200, seed)

    assert not runs_of(text, max_copy + 1) & runs_of(corpus, max_copy + 1)


@pytest.mark.parametrize("char", "aé€😀")
def test_a_character_of_the_alphabet_is_not_spelled_by_bytes(char):
    constraint = no_copy("", 1, BYTES)
    first_byte = len(BYTES.alphabet)
    *leads, last = (first_byte + byte for byte in char.encode())
    mask = constraint.mask(constraint.initial_state(np.array([0, *leads])))

    assert mask is not None
    assert mask[last] == -np.inf
    assert np.isinf(mask).sum() == 2 + bool(leads)  # a and b are bytes themselves


def test_a_character_that_only_bytes_write_counts_each_of_them():
    constraint = no_copy("aяb", 2, BYTES)
    first_byte, lead = len(BYTES.alphabet), "я".encode()[0]

    mask = constraint.mask(
        constraint.initial_state(np.array([BYTES.alphabet.find("a"), first_byte + lead]))
    )

    assert mask is not None
    assert mask[first_byte + "я".encode()[1]] == -np.inf


@pytest.mark.no_cover  # draws thousands
def test_a_sampler_that_prefers_copies_is_held_to_20_characters():
    # benchmarks/originality.py writes a million characters of tiny-shakespeare in the same way.
    corpus = Path(argparse.__file__).read_text(encoding="utf-8")
    vocab = Vocab.from_text(corpus)
    suffixes = SuffixArray(vocab.encode(corpus))
    copies = {}
    for name, constraint in {"free": None, "max_copy": NoCopy(suffixes, vocab, 20)}.items():
        text = vocab.decode(originality.write_copies(suffixes, 15_000, constraint))
        copies[name] = [originality.count_copies(text, corpus, size) for size in (20, 21)]

    assert copies["free"][1] > 10_000
    assert copies["max_copy"][0] > 100
    assert copies["max_copy"][1] == 0


def test_the_end_of_a_record_is_never_forbidden() -> None:
    vocab = Vocab("abc", has_end=True)
    constraint = no_copy(f"{END}ab{END}abc{END}", 2, vocab)
    mask = constraint.mask(constraint.initial_state(vocab.encode("ab")))

    assert mask is not None
    assert mask.tolist() == [0, 0, -np.inf, 0]
