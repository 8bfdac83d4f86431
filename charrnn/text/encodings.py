"""Names of encodings: whether the one asked for is usable, and which would fit these bytes.

A guess never decodes a corpus; it only appears in an error message. It rests on one score: the
share of the characters beyond ASCII that ordinary text in that encoding holds, such as the common
half of the hanzi, or lower-case Cyrillic letters.
"""

import codecs
import re
from functools import cache

from charrnn.errors import ConfigError

SAMPLE_BYTES = 1 << 16
MAX_SUGGESTIONS = 4
MIN_SCORE = 0.7  # the right encoding of real sentences scores 1.0, most wrong ones less than this

# Python counts these as encodings of text, but they write host names or source code, not files.
_NOT_FOR_FILES = ("idna", "punycode", "unicode-escape", "raw-unicode-escape")

_BEYOND_ASCII = r"[^\t-\r -~]"  # control characters too: they make an encoding unlikely
_SIGNS = "\xa0§«°·»–—‘’‚“”„…№"
_WIDE_SIGNS = "\u3000-\u3011\uff01-\uff5e"  # Korean text has the ASCII ones instead
_KANA = "ぁ-ゖァ-ヺー"
_ACCENTED = "À-ÖØ-öø-ž"
_CAPITALS = "".join(filter(str.isupper, map(chr, range(0xC0, 0x17F))))


def find_codec(encoding: str) -> str:
    """Return Python's own name of the codec that `encoding` means: "iso8859-1" for "latin1".

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
    """Return up to MAX_SUGGESTIONS encodings that make plausible text of `sample`, best first.

    The sample starts at a character; its last one may be cut off. If several encodings read it as
    the same text, only the first is listed.

    >>> suggest_encodings("Привет, как дела?".encode("koi8-r"))
    ['koi8-r']
    """
    scores: dict[str, float] = {}
    readings: set[str] = set()
    for encoding in _candidates(sample):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(sample)
        except UnicodeError:
            continue
        beyond = len(re.findall(_BEYOND_ASCII, text))
        at_home = sum(map(len, _home(encoding).findall(text)))
        # One decimal only: a near tie goes to the first candidate, the pickier one.
        score = round(at_home / beyond, 1) if beyond else 1.0
        if score >= MIN_SCORE and text not in readings:
            readings.add(text)
            scores[encoding] = score
    return sorted(scores, key=lambda encoding: -scores[encoding])[:MAX_SUGGESTIONS]


def explain_failure(name: str, codec: str, error: UnicodeError, size: int, head: bytes) -> str:
    """Return a message: where the file `name` stops being `codec`, and what to do about it.

    error: of a decoder that was given `size` bytes so far. head: the first SAMPLE_BYTES.
    """
    what = str(error)
    sample = head
    if isinstance(error, UnicodeEncodeError):  # the decoded text cannot be written as UTF-8
        what = f"it gives the lone surrogate U+{ord(error.object[error.start]):04X}"
    if isinstance(error, UnicodeDecodeError):
        start = error.start
        offset = size - len(error.object) + start
        culprits = error.object[start : min(error.end, start + 8)].hex(" ")
        what = f"{error.reason}, bytes {culprits} (hex) at offset {offset}"
        if offset >= SAMPLE_BYTES // 2:
            sample = _take_sample(head, error.object, start)
    first, *others = suggest_encodings(sample) or [codec]
    if find_codec(first) == codec:  # nothing else fits, or the file is only cut off
        advice = "no usual encoding fits: it is damaged or not a text; leave it out"
    else:
        also = f" (or {', '.join(others)})" if others else ""
        advice = (
            f"it looks like {first}{also}: pass --encoding {first}, or, if the other files are "
            f"{codec}, convert this one: iconv -f {first} -t {codec} OLD > NEW"
        )
    return f"{name} is not {codec}: {what}; {advice}"


def _take_sample(head: bytes, data: bytes, start: int) -> bytes:
    """Join whole lines from a file's head to those around data[start], half of the sample each."""
    # A newline byte is never half of a character in the encodings that are tried without a mark.
    half = SAMPLE_BYTES // 2
    line = data.rfind(b"\n", max(0, start - half), start) + 1 or start
    return head[: head.rfind(b"\n", 0, half) + 1] + data[line : line + half]


def _candidates(sample: bytes) -> tuple[str, ...]:
    """Return the encodings worth trying; a byte order mark or a NUL leaves only the wide ones."""
    if sample.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return ("utf-32",)
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return ("utf-16",)
    if b"\0" in sample:
        return ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
    east = ("euc_kr", "cp949", "euc_jp", "shift_jis", "cp932", "gb18030", "big5", "cp950")
    west = ("cp1252", "latin-1", "cp1251", "koi8-r", "cp1250", "iso8859-2")
    return ("utf-8", *east, *west)


@cache
def _home(encoding: str) -> re.Pattern[str]:
    """Return the pattern of what ordinary text in `encoding` holds beyond ASCII."""
    hanzi = _first_level("gb2312", 0xB0, 0xD7) + _first_level("big5", 0xA4, 0xC6)
    kanji = _first_level("euc_jp", 0xB0, 0xCF)
    hangul = _first_level("euc_kr", 0xB0, 0xC8)
    # Kanji come with kana: Chinese or Korean misread as Japanese has none.
    leaning = f"[{kanji}](?=[{kanji}]{{0,7}}[{_KANA}])|(?<=[{_KANA}])[{kanji}]+"
    # Three accented letters in a row, or an accented capital inside a word, show a wrong table.
    lone = rf"(?<![{_ACCENTED}])[{_ACCENTED}]{{1,2}}(?![{_ACCENTED}])"
    accents = f"(?<![a-z](?=[{_CAPITALS}])){lone}"
    chinese = _unmixed(f"[{hanzi}{_WIDE_SIGNS}]")
    japanese = f"[{_KANA}{_WIDE_SIGNS}]|{leaning}"
    korean = _unmixed(f"[{hangul}]")
    cyrillic = _unmixed(r"[а-яё]|(?<![^\W\d_])[А-ЯЁ]")
    patterns = {
        "utf-8": r"[^\x00-\x9f\ud800-\uf8ff]",  # random bytes are almost never valid UTF-8
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
    """Return the common characters of a national table: those of the lead bytes first to last."""
    pairs = (bytes((lead, trail)) for lead in range(first, last + 1) for trail in range(0x40, 0xFF))
    characters = "".join(pair.decode(codec, "ignore") for pair in pairs)
    return re.sub(r"[\x00-\x7f]", "", characters)  # the second byte of undefined pairs
