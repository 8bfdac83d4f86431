"""What good text has nearly none of: signs that it was read in a wrong encoding, or is damaged."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# UTF-8 that was decoded as Windows-1252 or Latin-1: a leading byte as a letter (Â and Ã for
# Latin, Ð and Ñ for Cyrillic), then the next byte, 0x80 to 0xBF, as what those codecs make of it.
# Curly quotes and dashes became something that begins with "â€".
_MOJIBAKE = re.compile("[ÂÃÐÑ][\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€")
_LEADING = "ÂÃÐÑâ"

# What a letter is followed by in NFD, where NFC has one character: accents, the vowels and final
# consonants of hangul, the voicing of kana.
_MARKS = ((0x300, 0x370), (0x1160, 0x1200), (0x3099, 0x309B))


def count_mojibake(text: str) -> int:
    """Return how many pairs of characters look like UTF-8 that was read as another encoding.

    >>> count_mojibake("cafÃ© and café")
    1
    """
    # Most text has none of the leading letters, and `in` is 30 times as fast as the pattern.
    return len(_MOJIBAKE.findall(text)) if any(map(text.__contains__, _LEADING)) else 0


def look_for_trouble(text: str, counts: NDArray[np.int64]) -> Counter[str]:
    """Return how often each kind of trouble occurs that shows in several characters together.

    counts: of each code point in the text, up to the largest.

    >>> look_for_trouble("cafe\u0301", np.bincount([0x301]))["decomposed_chars"]
    1
    """
    found = Counter(mojibake_pairs=count_mojibake(text))
    if any(counts[start:stop].any() for start, stop in _MARKS):
        found["decomposed_chars"] = len(text) - len(unicodedata.normalize("NFC", text))
    return found


def count_trouble(counts: NDArray[np.int64], found: Counter[str]) -> dict[str, int]:
    """Return how often each kind of trouble occurs, by its name.

    counts: (0x110000,) int64, of each code point. found: of `look_for_trouble`.
    """
    return {
        "replacement_chars": int(counts[0xFFFD]),
        # C0, DEL and C1, but for newline and tab
        "control_chars": int(counts[:0x20].sum() + counts[0x7F:0xA0].sum() - counts[[9, 10]].sum()),
        "private_use_chars": int(counts[0xE000:0xF900].sum() + counts[0xF0000:].sum()),
        "mojibake_pairs": found["mojibake_pairs"],
        "decomposed_chars": found["decomposed_chars"],
    }


def describe_trouble(trouble: Mapping[str, int]) -> str:
    """Return the kinds of trouble in words; "" if there is none."""
    words = {
        "replacement_chars": "replacement characters (U+FFFD)",
        "control_chars": "control characters",
        "private_use_chars": "private-use characters",
        "mojibake_pairs": "pairs like Ã©, UTF-8 read as another encoding",
        "decomposed_chars": "accents and the like as characters of their own (--normalize nfc "
        "joins them to their letters)",
    }
    return "; ".join(f"{trouble[name]:,} {word}" for name, word in words.items() if trouble[name])
