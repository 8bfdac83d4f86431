"""Holds the compressors to closed forms: noise costs its entropy, a repetition next to nothing."""

from __future__ import annotations

import gzip
import lzma
import random

import pytest

from charrnn.analysis import baselines
from charrnn.analysis.baselines import compressor_bpc, whole_bpc

NAMES = ["gzip", "xz"]


def noise(alphabet: str, length: int, seed: int = 1) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=length))


LETTERS = "abcdefghijklmnop"  # 4 bits each
NOISE = noise(LETTERS, 20_000)


@pytest.mark.parametrize("name", NAMES)
def test_noise_costs_about_its_entropy(name):
    assert 4 <= whole_bpc([NOISE])[name] < 4 * 1.2


@pytest.mark.parametrize("name", NAMES)
def test_a_repetition_costs_next_to_nothing(name):
    assert whole_bpc(["ab" * 50_000])[name] < 0.05


def test_figures_are_those_of_the_whole_files():
    text = "Größe und 大小\n" * 500 + NOISE
    data = text.encode()
    gzip_bytes, xz_bytes = len(gzip.compress(data, 9)), len(lzma.compress(data, preset=6))
    assert whole_bpc([text]) == {
        "gzip": gzip_bytes * 8 / len(text),
        "xz": xz_bytes * 8 / len(text),
    }


def test_figures_do_not_depend_on_the_pieces():
    assert whole_bpc([NOISE]) == whole_bpc(NOISE[i : i + 7] for i in range(0, len(NOISE), 7))


def test_only_the_beginning_counts_and_no_character_is_cut_in_two(monkeypatch):
    monkeypatch.setattr(baselines, "WHOLE_BYTES", 100)
    # 98 bytes and then three for each character: the first of them does not fit.
    text = "a" * 98 + "大小"
    assert whole_bpc([text, "b"]) == whole_bpc(["a" * 98])


def test_a_text_that_just_fits_counts_whole(monkeypatch):
    monkeypatch.setattr(baselines, "WHOLE_BYTES", 6)
    assert whole_bpc(["大", "小", "x"]) == whole_bpc(["大小"])


def test_nothing_has_no_figure():
    assert whole_bpc([]) == whole_bpc([""]) == compressor_bpc("abc", "") == {}


@pytest.mark.parametrize("name", NAMES)
def test_a_text_seen_before_costs_far_less_than_alone(name):
    alone, again = compressor_bpc("", NOISE)[name], compressor_bpc(NOISE, NOISE)[name]
    assert again < alone / 20


@pytest.mark.parametrize("name", NAMES)
def test_a_context_of_other_noise_does_not_help(name):
    other = noise(LETTERS, 20_000, seed=2)
    assert 4 <= compressor_bpc(other, NOISE)[name] < 4 * 1.2


def test_the_context_counts_with_its_end(monkeypatch):
    monkeypatch.setattr(baselines, "CONTEXT_BYTES", 1000)
    assert compressor_bpc(NOISE + "x" * 999, NOISE[-1:]) == compressor_bpc(
        NOISE[-1:] + "x" * 999, NOISE[-1:]
    )


def test_the_held_out_text_counts_with_its_beginning(monkeypatch):
    monkeypatch.setattr(baselines, "HELD_OUT_BYTES", 1000)
    assert compressor_bpc("x", NOISE) == compressor_bpc("x", NOISE[:1000])


def test_a_lone_surrogate_is_no_obstacle():
    assert set(whole_bpc(["\ud800"])) == set(compressor_bpc("\ud800", "\ud800")) == set(NAMES)
