"""Sets of characters by name, and what they add to the logits: a bias, or −inf for a ban.

A set is written `ascii`, `letters`, `digits`, a Unicode general category such as `Lu`, or as the
characters themselves. Where a vocabulary has byte tokens, a byte below 0x80 is its character. The
other bytes could write any character beyond ASCII, so `only` leaves them out, and so does a ban
that reaches beyond ASCII. A cluster is banned with any of its characters, and `only` needs all
of them. `generator.py` calls this once for each text or batch.

V = vocabulary.
"""

import unicodedata
from collections.abc import Callable, Iterable

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
_SUBCLASSES = {"L": "ultmo", "M": "nce", "N": "dlo", "P": "cdseifo", "S": "mcko", "Z": "slp"}
_CATEGORIES = {first + second for first, all in _SUBCLASSES.items() for second in all}
_CATEGORIES |= {"Cc", "Cf", "Co"}  # no character is written in the other two: Cs, Cn
_APOSTROPHES = "'’"  # parts of a word, as in don't
_SHOWN = 60  # characters of the alphabet in an error


def make_logit_bias(vocab: Vocab, config: SampleConfig) -> NDArray[np.float32] | None:
    """Return what to add to the logits (V,) float32, −inf for a ban; None for no bias and no ban.

    Raises:
        ConfigError: no token is left, or a ban or bias names no character that the model has.

    >>> make_logit_bias(Vocab("abc"), SampleConfig(bias=("a=2",), ban=("c",)))
    array([  2.,   0., -inf], dtype=float32)
    """
    if not (config.bias or config.only or config.ban):
        return None
    bias = np.zeros(vocab.size, np.float32)
    for text in config.bias:
        name, amount = parse_bias(text)
        chosen = _tokens_in(vocab, (name,))
        if not chosen.any():
            raise ConfigError(f"bias {text!r} names no character that this model has; leave it out")
        bias[chosen] += amount
    for name in config.ban:
        if name not in _NAMED and name not in _CATEGORIES:
            check_writable(vocab, "ban", name)
    is_banned = _tokens_in(vocab, config.ban)
    if config.only:
        is_banned |= ~_tokens_in(vocab, config.only, of_cluster=all)
    # Bytes that could write anything: ban them where something beyond ASCII is banned.
    if vocab.has_bytes and (config.only or any(map(_reaches_beyond_ascii, config.ban))):
        is_banned[len(vocab.alphabet) + 0x80 : vocab.first_cluster] = True
    if vocab.has_end:
        is_banned[vocab.end] = True  # no character
    if is_banned.all():
        asked = [f"{kind} {name!r}" for kind in ("only", "ban") for name in getattr(config, kind)]
        more = " and more" if len(vocab.alphabet) > _SHOWN else ""
        raise ConfigError(
            f"{' with '.join(asked)} leaves no character of this model, which has "
            f"{vocab.alphabet[:_SHOWN]!r}{more}; allow one of them"
        )
    bias[is_banned] = -np.inf
    if vocab.has_end:
        bias[vocab.end] = 0  # only characters are banned: a record may always end
    return bias


def begins_word(vocab: Vocab) -> NDArray[np.bool_]:
    """Return (V + 1,): whether a word begins after each id and, last, at the start of a text.

    Letters, marks, digits and apostrophes are parts of words; so are bytes beyond ASCII.
    """
    is_part = [
        unicodedata.category(char)[0] in "LMN" or char in _APOSTROPHES for char in _chars(vocab)
    ]
    begins = np.zeros(vocab.size + 1, np.bool_)
    begins[: len(is_part)] = np.logical_not(is_part)
    for token, cluster in enumerate(vocab.clusters, vocab.first_cluster):
        begins[token] = begins[vocab.alphabet.index(cluster[-1])]
    if vocab.has_end:
        begins[vocab.end] = True
    begins[-1] = True
    return begins


def is_in(char: str, name: str) -> bool:
    """Return whether a character belongs to the set that `name` writes.

    >>> is_in("é", "letters"), is_in("é", "Lu"), is_in("é", "aé")
    (True, False, True)
    """
    if name in _NAMED:
        return _NAMED[name](char)
    return unicodedata.category(char) == name if name in _CATEGORIES else char in name


def check_writable(vocab: Vocab, option: str, text: str) -> None:
    """Refuse a text with a character that the model can never write.

    Raises:
        ConfigError: names the option, its text and the character.
    """
    for char in text:
        if char not in vocab.alphabet and (not vocab.has_bytes or "\ud800" <= char <= "\udfff"):
            raise ConfigError(
                f"{option} {text!r} has {char!r} (U+{ord(char):04X}), which this model never "
                "writes; leave it out"
            )


def _tokens_in(
    vocab: Vocab, names: Iterable[str], of_cluster: Callable[[Iterable[bool]], bool] = any
) -> NDArray[np.bool_]:
    """Return (V,): the tokens that write a character of one of these sets.

    of_cluster: any or all, how many characters of a cluster must be in them.
    """
    found = [any(is_in(char, name) for name in names) for char in _chars(vocab)]
    tokens = np.array(found + [False] * (vocab.size - len(found)))
    is_in_sets = dict(zip(vocab.alphabet, found, strict=False))
    for token, cluster in enumerate(vocab.clusters, vocab.first_cluster):
        tokens[token] = of_cluster(is_in_sets[char] for char in cluster)
    return tokens


def _chars(vocab: Vocab) -> str:
    """Return the characters of the first ids: the alphabet, then the bytes that are ASCII."""
    return vocab.alphabet + "".join(map(chr, range(0x80 * vocab.has_bytes)))


def _reaches_beyond_ascii(name: str) -> bool:
    return name != "ascii" if name in _NAMED or name in _CATEGORIES else not name.isascii()
