"""Names of encodings: is the one that was asked for usable, and which would fit these bytes.

A guess never decodes a corpus; it only ends an error message. It is judged by one figure, the share
of the characters beyond ASCII that are at home: those that ordinary text in that encoding holds,
such as the common half of the hanzi, or a lower-case Cyrillic letter.
"""

from __future__ import annotations

import codecs
import re
from functools import cache

from charrnn.errors import ConfigError

SAMPLE_BYTES = 1 << 16
MAX_SUGGESTIONS = 4
MIN_SCORE = 0.7

# Python counts these as encodings of text, but they write host names or source code, not files.
_NOT_FOR_FILES = ("idna", "punycode", "unicode-escape", "raw-unicode-escape")

_BEYOND_ASCII = r"[^\t-\r -~]"  # control characters too: they speak against a reading
_SIGNS = "\xa0§«°·»–—‘’‚“”„…№"
_WIDE_SIGNS = "\u3000-\u3011\uff01-\uff5e"  # Korean text has the ASCII ones instead
_KANA = "ぁ-ゖァ-ヺー"
_ACCENTED = "À-ÖØ-öø-ž"
_CAPITALS = "".join(filter(str.isupper, map(chr, range(0xC0, 0x17F))))


def find_codec(encoding: str) -> str:
    """Give Python's own name of the codec that `encoding` means: "iso8859-1" for "latin1".

    Raises:
        ConfigError: Python does not know it, or it does not turn a file's bytes into characters.
    """
    try:
        "a".encode(encoding)  # the public way to refuse base64, rot13 and other non-text codecs
        name = codecs.lookup(encoding).name
        if name in _NOT_FOR_FILES:
            raise LookupError(name)
    except (LookupError, ValueError) as error:
        raise ConfigError(
            f"{encoding!r} is not an encoding of text files that Python knows; use one such as "
            "utf-8, utf-16, gb18030, big5, shift_jis, euc_kr, cp1251 or latin-1"
        ) from error
    return name


def suggest_encodings(sample: bytes) -> list[str]:
    """Name up to MAX_SUGGESTIONS encodings that decode `sample` into plausible text, best first.

    The sample begins at a character's edge; its last character may be cut off. Of encodings that
    read it alike only the first is named. The list is empty where nothing fits.
    """
    scores: dict[str, float] = {}
    readings: set[str] = set()
    for encoding in _candidates(sample):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(sample)
        except UnicodeError:
            continue
        # One decimal only: a near tie goes to the one named first, whose script tells more.
        score = round(_score(text, _home(encoding)), 1)
        if score >= MIN_SCORE and text not in readings:
            readings.add(text)
            scores[encoding] = score
    return sorted(scores, key=lambda encoding: -scores[encoding])[:MAX_SUGGESTIONS]


def explain_failure(name: str, codec: str, error: UnicodeError, size: int, head: bytes) -> str:
    """Say where the file `name` stops being `codec`, and what to do about it.

    `error` came from a decoder that was given `size` bytes so far; `head` is the first
    SAMPLE_BYTES of the file.
    """
    place, sample = str(error), head
    if isinstance(error, UnicodeEncodeError):  # the decoded text could not be written as UTF-8
        place = f"it gives the lone surrogate U+{ord(error.object[error.start]):04X}"
    if isinstance(error, UnicodeDecodeError):
        data, start = error.object, error.start
        offset = size - len(data) + start
        culprits = data[start : min(error.end, start + 8)].hex(" ")
        place = f"{error.reason}, bytes {culprits} (hex) at offset {offset}"
        if offset >= SAMPLE_BYTES // 2:
            sample = _take_sample(head, data, start)
    fitting = suggest_encodings(sample)
    advice = "no usual encoding fits: is it damaged, or no text at all?"
    if fitting and find_codec(fitting[0]) != codec:  # else it is only cut off
        advice = f"it reads as {', '.join(fitting)}: pass --encoding {fitting[0]}"
    return f"{name} is not {codec}: {place}; {advice}"


def _take_sample(head: bytes, data: bytes, start: int) -> bytes:
    """Join whole lines from a file's head to those around data[start], half of the sample each."""
    # A newline byte is never half of a character in the encodings that are tried without a mark.
    half = SAMPLE_BYTES // 2
    line = data.rfind(b"\n", max(0, start - half), start) + 1 or start
    return head[: head.rfind(b"\n", 0, half) + 1] + data[line : line + half]


def _candidates(sample: bytes) -> tuple[str, ...]:
    """Give the encodings worth trying; a byte order mark or a NUL leaves only the wide ones."""
    if sample.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return ("utf-32",)
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ("utf-16",)
    if b"\0" in sample:
        return ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
    east = ("euc_kr", "cp949", "euc_jp", "shift_jis", "cp932", "gb18030", "big5", "cp950")
    west = ("cp1252", "latin-1", "cp1251", "koi8-r", "cp1250", "iso8859-2")
    return ("utf-8", *east, *west)


def _score(text: str, home: re.Pattern[str]) -> float:
    """Give the share, 0 to 1, of the characters beyond ASCII that are at home."""
    beyond = len(re.findall(_BEYOND_ASCII, text))
    return sum(map(len, home.findall(text))) / beyond if beyond else 1.0


@cache
def _home(encoding: str) -> re.Pattern[str]:
    """Give the pattern of what ordinary text in `encoding` holds beyond ASCII."""
    hanzi = _first_level("gb2312", 0xB0, 0xD7) + _first_level("big5", 0xA4, 0xC6)
    kanji = _first_level("euc_jp", 0xB0, 0xCF)
    hangul = _first_level("euc_kr", 0xB0, 0xC8)
    # Kanji lean on kana: Chinese or Korean misread as Japanese has none.
    leaning = f"[{kanji}](?=[{kanji}]{{0,7}}[{_KANA}])|(?<=[{_KANA}])[{kanji}]+"
    # Three accented letters in a row, or an accented capital inside a word, show a wrong table.
    lone = rf"(?<![{_ACCENTED}])[{_ACCENTED}]{{1,2}}(?![{_ACCENTED}])"
    accents = f"(?<![a-z](?=[{_CAPITALS}])){lone}"
    chinese = _unmixed(f"[{hanzi}{_WIDE_SIGNS}]")
    japanese = f"[{_KANA}{_WIDE_SIGNS}]|{leaning}"
    korean = _unmixed(f"[{hangul}]")
    cyrillic = _unmixed(r"[а-яё]|(?<![^\W\d_])[А-ЯЁ]")
    patterns = {
        "utf-8": r"[^\x00-\x9f\ud800-\uf8ff]",  # chance hardly ever makes valid UTF-8
        **dict.fromkeys(("gb18030", "big5", "cp950"), chinese),
        **dict.fromkeys(("euc_jp", "shift_jis", "cp932"), japanese),
        **dict.fromkeys(("euc_kr", "cp949"), korean),
        **dict.fromkeys(("cp1251", "koi8-r"), cyrillic),
        **dict.fromkeys(("cp1252", "latin-1", "cp1250", "iso8859-2"), accents),
    }
    any_script = "|".join((chinese, japanese, f"[{kanji}]", korean, cyrillic, accents))
    return re.compile(f"[{_SIGNS}]|{patterns.get(encoding, any_script)}")


def _unmixed(pattern: str) -> str:
    """Narrow a pattern to where no ASCII letter touches it: scripts do not mix inside a word."""
    return f"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])"


@cache
def _first_level(codec: str, first: int, last: int) -> str:
    """Give the common characters of a national table: those of the lead bytes first to last."""
    pairs = (bytes((lead, trail)) for lead in range(first, last + 1) for trail in range(0x40, 0xFF))
    characters = "".join(pair.decode(codec, "ignore") for pair in pairs)
    return re.sub(r"[\x00-\x7f]", "", characters)  # half of a pair that stands for nothing
