"""Sets of characters by name, and what they add to the logits: a bias, or −inf for a ban.

A set is written `ascii`, `letters`, `digits`, a Unicode general category such as `Lu`, or as the
characters themselves. Where a vocabulary writes rare characters as bytes, a byte below 0x80 is its
character; the others could write any character beyond ASCII, so they are left out with `only`, and
with a ban that reaches beyond ASCII.

V = vocabulary.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from charrnn.config import SampleConfig, parse_bias
from charrnn.errors import ConfigError
from charrnn.text.vocab import Vocab

_NAMED: dict[str, Callable[[str], bool]] = {
    "ascii": str.isascii,
    "letters": lambda char: unicodedata.category(char)[0] in "LM",  # marks are parts of letters
    "digits": lambda char: unicodedata.category(char) == "Nd",
}
_SHOWN = 60  # characters of the alphabet in a complaint
_SUBCLASSES = {"L": "ultmo", "M": "nce", "N": "dlo", "P": "cdseifo", "S": "mcko", "Z": "slp"}
_CATEGORIES = {big + small for big, all in _SUBCLASSES.items() for small in all}
_CATEGORIES |= {"Cc", "Cf", "Co"}  # of the others no character is written


def is_in(char: str, name: str) -> bool:
    """Tell whether a character belongs to the set that `name` writes."""
    if name in _NAMED:
        return _NAMED[name](char)
    return unicodedata.category(char) == name if name in _CATEGORIES else char in name


def make_logit_bias(vocab: Vocab, config: SampleConfig) -> NDArray[np.float32] | None:
    """Give what to add to the logits (V,) float32: biases, and −inf for what is banned.

    None where nothing is asked for.

    Raises:
        ConfigError: no character is left, or a bias is on none that the model has.
    """
    if not (config.bias or config.only or config.ban):
        return None
    bias = np.zeros(vocab.size, np.float32)
    for text in config.bias:
        name, amount = parse_bias(text)
        chosen = _tokens_in(vocab, (name,))
        if not chosen.any():
            raise ConfigError(f"bias {text!r} is on no character that this model has; leave it out")
        bias[chosen] += amount
    is_left = _tokens_left(vocab, config)
    if not is_left.any():
        raise _nothing_left(vocab, config)
    bias[~is_left] = -np.inf
    return bias


def _nothing_left(vocab: Vocab, config: SampleConfig) -> ConfigError:
    asked = [f"{kind} {name!r}" for kind in ("only", "ban") for name in getattr(config, kind)]
    more = " and more" if len(vocab.alphabet) > _SHOWN else ""
    return ConfigError(
        f"{' with '.join(asked)} leaves no character of this model, which has "
        f"{vocab.alphabet[:_SHOWN]!r}{more}; allow one of them"
    )


def _tokens_left(vocab: Vocab, config: SampleConfig) -> NDArray[np.bool_]:
    """(V,) bool: what `only` and `ban` leave."""
    is_left = ~_tokens_in(vocab, config.ban)
    if config.only:
        is_left &= _tokens_in(vocab, config.only)
    if vocab.has_bytes and (config.only or any(map(_reaches_beyond_ascii, config.ban))):
        is_left[len(vocab.alphabet) + 0x80 :] = False
    return is_left


def _tokens_in(vocab: Vocab, names: tuple[str, ...]) -> NDArray[np.bool_]:
    """(V,) bool: the tokens that write a character of these sets."""
    ascii_bytes = "".join(map(chr, range(0x80))) if vocab.has_bytes else ""
    found = [any(is_in(char, name) for name in names) for char in vocab.alphabet + ascii_bytes]
    return np.array(found + [False] * (vocab.size - len(found)))


def _reaches_beyond_ascii(name: str) -> bool:
    if name in _NAMED or name in _CATEGORIES:
        return name != "ascii"
    return not name.isascii()


_JOINERS = "'’"  # within a word, as in don't


def begins_word(vocab: Vocab) -> NDArray[np.bool_]:
    """Give (V + 1,) whether a word begins after each id, and, last, where a text begins.

    Letters, marks, digits and the apostrophe are parts of words; so are the bytes of what lies
    beyond ASCII.
    """
    ascii_bytes = map(chr, range(0x80 if vocab.has_bytes else 0))
    parts = [_is_part(char) for char in (*vocab.alphabet, *ascii_bytes)]
    is_part = np.ones(vocab.size + 1, np.bool_)
    is_part[: len(parts)] = parts
    is_part[-1] = False
    return ~is_part


def _is_part(char: str) -> bool:
    return unicodedata.category(char)[0] in "LMN" or char in _JOINERS
