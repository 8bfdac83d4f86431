"""What a model may write in place of characters that it never saw: the nearest ones that it knows.

A text is looked at letter by letter, each with its combining marks. What replaces one, nearest
first: its other normal form, a sign that looks alike, its compatibility form (full-width letters,
ligatures), the other case, and last the letter without its marks. The tables are our own.

`Generator.fit` calls this for prompts, `tasks/` for the texts that are scored.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache

from charrnn.config import COST
from charrnn.errors import VocabError, counted
from charrnn.text.vocab import Vocab, name_characters

# In each row neighbours look alike; of two as near the left one is taken, which is the plainer.
_ALIKE = (
    '"“„‟«″〝「『',
    '"”»″〞」』',
    "'‘‚‛‹`′",
    "'’ʼ›´′",
    "-‐‑‒–—―─",
    "-−",
    ".．。｡",
    ",，、､",
    "~～〜",
    "/⁄∕",
    "·∙•・",
    "x×",
    " \t\n",
)
_INVISIBLE = "\u00ad\u200b\u200c\u200d\u2060\ufeff"  # left out where nothing else is known
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
_CASES: tuple[Callable[[str], str], ...] = (str, str.lower, str.upper, str.casefold)
_OTHER_FORM = " in its other normal form"
_MOST_NAMED = 8


@dataclass(frozen=True)
class Fitted:
    """A text that a model can read, and how often each change was made: {'“ → "': 3}."""

    text: str
    changes: Counter[str] = field(default_factory=Counter)


def fit_text(
    text: str, vocab: Vocab, unknown: str, normalize: Callable[[str], str] = str
) -> Fitted:
    r"""Return `text` with only characters that `vocab` can encode once it is normalized.

    unknown: "skip" leaves out characters that it cannot encode, "map" writes the nearest that it
    can, and leaves out what has none; "error" refuses them. A text without such characters comes
    back as it is.

    >>> fit_text("“Hi”", Vocab('"Hi'), "map")
    Fitted(text='"Hi"', changes=Counter({'“ → "': 1, '” → "': 1}))

    Raises:
        VocabError: a character cannot be encoded; says what can be done.
    """
    normal = normalize(text)
    found = _find_unknown(normal, vocab)
    if not found:
        return Fitted(text)
    if unknown == "skip":
        return _leave_out(found, Fitted(normal))
    mapped = map_text(normal, vocab)
    left = _find_unknown(mapped.text, vocab)
    if unknown == "map":
        return _leave_out(left, mapped)
    raise VocabError(f"{name_characters(found)}{_advice(normal, vocab.alphabet, mapped, left)}")


def map_text(text: str, vocab: Vocab) -> Fitted:
    """Return `text` with the nearest known characters in place of others; some may be left.

    >>> map_text("Ａ—b☃", Vocab("-ab")).text
    'a-b☃'
    """
    if not len(vocab.find_unknown(text)):
        return Fitted(text)
    known = frozenset(vocab.alphabet)
    pieces = []
    changes: Counter[str] = Counter()

    @cache
    def replaced(cluster: str) -> str:
        fits = (each for each in _candidates(cluster) if all(char in known for char in each))
        return next(fits, cluster)

    for cluster in _iter_clusters(text):
        piece = cluster if all(char in known for char in cluster) else replaced(cluster)
        pieces.append(piece)
        if piece != cluster:
            changes[_describe(cluster, piece)] += 1
    return Fitted("".join(pieces), changes)


def _find_unknown(text: str, vocab: Vocab) -> set[str]:
    return {text[at] for at in vocab.find_unknown(text).tolist()}


def _leave_out(chars: set[str], fitted: Fitted) -> Fitted:
    """Return a text without some of its characters."""
    left_out = {f"{_shown(char)} → nothing": fitted.text.count(char) for char in sorted(chars)}
    kept = "".join(char for char in fitted.text if char not in chars)
    return Fitted(kept, fitted.changes + Counter(left_out))


def describe_changes(changes: Mapping[str, int]) -> str:
    """Return one line on what was changed, the most frequent change first.

    >>> describe_changes({'“ → "': 3, "— → -": 1})
    'mapped: “ → " (3 times), — → - (1)'
    """
    (first, times), *others = Counter(changes).most_common()
    words = [f"{first} ({counted(times, 'time')})"]
    words += [f"{change} ({times:,})" for change, times in others[: _MOST_NAMED - 1]]
    more = len(changes) - len(words)
    return f"mapped: {', '.join(words)}" + (f" and {more:,} more" if more else "")


def _iter_clusters(text: str) -> Iterator[str]:
    """Cut a text into characters, each with its marks; a Hangul syllable stays with its vowels."""
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or not (
            unicodedata.combining(text[at]) or "\u1160" <= text[at] <= "\u11ff"
        ):
            yield text[start:at]
            start = at


def _candidates(cluster: str) -> Iterator[str]:
    """Yield what may replace a character with its marks, the nearest first."""
    cases = dict.fromkeys(case(cluster) for case in _CASES)
    for each in cases:
        yield from _forms(each)
    for each in cases:
        yield "".join(char for char in _normal("NFKD", each) if not unicodedata.combining(char))
    if cluster in _INVISIBLE:
        yield ""


def _forms(text: str) -> Iterator[str]:
    """Yield other ways to write the same characters, in the same case."""
    yield text
    yield _normal("NFC", text)
    yield _normal("NFD", text)
    yield from _looking_like(text)
    compatible = _normal("NFKC", text)
    yield compatible
    yield from _looking_like(compatible)
    yield text.translate(_WIDE)


def _looking_like(char: str) -> list[str]:
    """Return the signs of the rows that hold `char`, by how near they stand to it."""
    rows = [(row, row.index(char)) for row in _ALIKE if len(char) == 1 and char in row]
    near = [(abs(at - own), other) for row, own in rows for at, other in enumerate(row)]
    return [other for _, other in sorted(near, key=lambda pair: pair[0])]


def _advice(text: str, alphabet: str, mapped: Fitted, left: set[str]) -> str:
    """Return why a text has characters that the model never saw, and what can be done."""
    spelled = ", or train with --min-count 2, which spells rare characters as bytes"
    if not mapped.changes:
        it = "it" if len(left) == 1 else "them"
        near = f"(map does so too, as nothing that it knows is near {it})"
        return f"; remove {it}, or pass --unknown skip to leave {it} out {near}{spelled}"
    named = ", ".join(change for change, _ in mapped.changes.most_common(3))
    reason = ""
    if all(change.endswith(_OTHER_FORM) for change in mapped.changes):
        reason = ": the text is in another normal form than the model's"
        named = "to change it"
    elif mapped.text == text.lower() and not any(char.isupper() for char in alphabet):
        reason = ": it knows only lower case"
    lost = ", ".join(map(_shown, sorted(left)[:3]))
    rest = f"; map leaves out {lost} too, as nothing is near it" if left else ""
    return f"{reason}; pass --unknown map ({named}), or skip to leave it out{rest}{spelled}"


def _describe(cluster: str, piece: str) -> str:
    """Return a change in words; two normal forms of a letter would look the same."""
    if _normal("NFC", cluster) == _normal("NFC", piece):
        return f"{_shown(cluster)}{_OTHER_FORM}"
    return f"{_shown(cluster)} → {_shown(piece)}"


def _shown(text: str) -> str:
    """Return a character that can be seen as it is, another by its code point."""
    if text.isprintable() and not text.isspace() and not unicodedata.combining(text[:1] or "a"):
        return text or "nothing"
    return "+".join(f"U+{ord(char):04X}" for char in text) if text != " " else "space"


def _normal(form: str, text: str) -> str:
    return unicodedata.normalize(form, text)  # type: ignore[arg-type]


def fit_piece(piece: str, vocab: Vocab, unknown: str) -> Fitted:
    """Return a piece of a text to score; with "cost", as with "map", it may hold unseen characters.

    Raises:
        VocabError: unknown is "error", and it holds characters that the model never saw.
    """
    if unknown == COST:
        return Fitted(piece)
    return map_text(piece, vocab) if unknown == "map" else fit_text(piece, vocab, unknown)
