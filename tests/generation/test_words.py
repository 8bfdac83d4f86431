"""Where words begin, and the temperature there."""

from __future__ import annotations

import numpy as np
import pytest

from charrnn.config import SampleConfig
from charrnn.generation.chain import SamplerChain, describe_chain
from charrnn.generation.logit_bias import begins_word
from charrnn.text.vocab import Vocab


def test_words_begin_after_what_is_no_part_of_one() -> None:
    vocab = Vocab.from_text("\n ',-.1aé\u0301月’")

    begins = dict(zip(vocab.alphabet, begins_word(vocab).tolist(), strict=False))

    assert "".join(char for char, begins_one in begins.items() if begins_one) == "\n ,-."
    assert begins_word(vocab)[-1]


def test_bytes_beyond_ascii_are_parts_of_words() -> None:
    vocab = Vocab("é", has_bytes=True)

    begins = begins_word(vocab)

    assert len(begins) == vocab.size + 1
    assert begins[1 + ord(" ")]
    assert not begins[1 + ord("a")]
    assert not begins[1 + 0x80 : -1].any()


@pytest.mark.parametrize(("last", "temperature"), [(0, 3.0), (1, 0.5), (-1, 3.0)])
def test_the_temperature_at_a_words_beginning_is_its_own(last: int, temperature: float) -> None:
    """The probability of the second of two ids shows the temperature."""
    config = SampleConfig(temperature=0.5, word_temperature=3)
    chain = SamplerChain(config, 2, begins_word=begins_word(Vocab(" a")))
    state = chain.initial_state(np.array([last] if last >= 0 else [], np.int64))
    logits, share = np.array([1.0, 0.0]), 1 / (1 + np.exp(1 / temperature))

    sampled = [chain.sample(logits, state, u)[0] for u in (1 - share - 1e-6, 1 - share + 1e-6)]

    assert sampled == [0, 1]


def test_both_temperatures_are_described() -> None:
    config = SampleConfig(temperature=0.5, word_temperature=1, dynamic_temperature=0.2)

    assert describe_chain(config) == [
        "temperature 0.3 to 0.7 by entropy within words",
        "temperature 0.8 to 1.2 by entropy where a word begins",
        "sample",
    ]
