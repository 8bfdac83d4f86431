"""The form of a text: letters in small case, Unicode normal form; corpora and prompts alike."""

import unicodedata
from typing import Literal

NORMAL_FORMS: dict[str, Literal["NFC", "NFKC"]] = {"nfc": "NFC", "nfkc": "NFKC"}
"""The values of the setting `normalize` other than "none", as Unicode names them."""


def lower(text: str) -> str:
    """Return a text in small letters, the same however it is cut into pieces.

    >>> lower("ΟΔΟΣ")  # Python's own lower() makes ς of the last one, as a word ends there
    'οδοσ'
    """
    return text.replace("Σ", "σ").lower()


def compose(text: str, normalize: str) -> str:
    """Return a text in a normal form, named as the setting `normalize` is.

    >>> compose("ﬁ", "nfkc"), compose("ﬁ", "none")
    ('fi', 'ﬁ')
    """
    form = NORMAL_FORMS.get(normalize)
    return unicodedata.normalize(form, text) if form else text
