r"""A vocabulary as Hugging Face's tokenizer.json, which gives the same ids as ours.

A text is split into characters, or clusters where one fits, from left to right, the longest first.
Each piece is looked up: in a WordLevel model, which refuses unknown ones as we do, or with byte
tokens in a BPE model without merges, which spells unknown ones as bytes <0x00> … <0xFF>. U+10FFFF
stands for the end of a record, as in our streams of characters, and is a special token. Small
letters and a normal form are made first, as for every text that a model reads; characters of a
Unicode version that only one side knows stay as they are on the other.
"""

from __future__ import annotations

import re
from typing import Any

from charrnn.generation.text_format import TextFormat
from charrnn.text.forms import NORMAL_FORMS
from charrnn.text.token_vocab import TokenVocab
from charrnn.text.vocab import END, Vocab

_ANY_CHARACTER = r"[\s\S]"


def make_tokenizer(vocab: Vocab, form: TextFormat) -> dict[str, Any]:
    """Return the JSON of a tokenizer; form: of the model's text.

    >>> make_tokenizer(Vocab("ab"), TextFormat())["model"]["vocab"]
    {'a': 0, 'b': 1}
    """
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_special(vocab.end)] if vocab.has_end else [],
        "normalizer": _normalizer(form),
        "pre_tokenizer": _pre_tokenizer(vocab),
        "post_processor": None,
        "decoder": _decoder(vocab),
        "model": _model(vocab),
    }


def name_tokens(vocab: Vocab) -> dict[str, int]:
    """Return the name of each token with its id: what it writes, a byte as <0x0A>."""
    first_byte = len(vocab.alphabet)
    names = [vocab.text_of(i) or f"<0x{i - first_byte:02X}>" for i in range(vocab.size)]
    return {name: i for i, name in enumerate(names)}


def _special(end: int) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": end, "content": END, **flags, "special": True}


def _normalizer(form: TextFormat) -> dict[str, Any] | None:
    # Each capital for itself, so a Σ at the end of a word is a σ, as we have it.
    steps = ["Lowercase"] if form.lowercase else []
    if form.normalize in NORMAL_FORMS:
        steps.append(NORMAL_FORMS[form.normalize])
    if not steps:
        return None
    return {"type": "Sequence", "normalizers": [{"type": step} for step in steps]}


def _pre_tokenizer(vocab: Vocab) -> dict[str, Any]:
    if isinstance(vocab, TokenVocab):
        return {"type": "WhitespaceSplit"}
    longest_first = sorted(vocab.clusters, key=len, reverse=True)
    pattern = "|".join([*map(re.escape, longest_first), _ANY_CHARACTER])
    return {
        "type": "Split",
        "pattern": {"Regex": pattern},
        "behavior": "Isolated",
        "invert": False,
    }


def _decoder(vocab: Vocab) -> dict[str, Any] | None:
    if isinstance(vocab, TokenVocab):
        return None  # tokens are joined by spaces
    if not vocab.has_bytes:
        return {"type": "Fuse"}
    return {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}


def _model(vocab: Vocab) -> dict[str, Any]:
    if not vocab.has_bytes:
        # The token for unknown ones is not in the vocabulary: they are an error.
        return {"type": "WordLevel", "vocab": name_tokens(vocab), "unk_token": "<unk>"}
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": True,
        "ignore_merges": True,  # a piece that is a token is that token
        "vocab": name_tokens(vocab),
        "merges": [],
    }
