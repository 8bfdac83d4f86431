"""Take case, punctuation, diacritics or spaces out of a text, and put them back by tags.

Raw text is enough to learn from: `damage` makes a text poorer, and writes for each character that
is left the tag that undoes it. A tag is text, and reads from left to right:

    =            the character stays as it is
    U            it is a capital letter
    /            it has a stroke, or is ı
    +◌́◌̣          it has these marks
    U+◌̈, and a comma with a space after it: several of these, then what comes after the character
    “^U          before a ^, for the first character alone: what comes before it

So the tags are few: a capital letter has the same one as any other, and é the same as á. A
character is a code point of text in Unicode's form NFC.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import groupby, product, zip_longest
from typing import NamedTuple

from charrnn.data.records import Example
from charrnn.data.tags import iter_lines, spans

KEEP = "="
MAX_TAGS = 1000

_STROKES = {"l": "ł", "d": "đ", "o": "ø", "h": "ħ", "t": "ŧ", "i": "ı"}
_STROKES |= {plain.upper(): letter.upper() for plain, letter in _STROKES.items() if plain != "i"}
_PLAIN = {letter: plain for plain, letter in _STROKES.items()}  # Unicode does not take these apart
_NEVER_PLAIN = frozenset("йЙїЇўЎќЌѓЃ")  # their marks are never left out: other letters would stand
# Marks above, below and on letters, and the vowel points of Hebrew, Arabic and Syriac. Others are
# signs that no text goes without: viramas, Indic and Thai vowels, the voicing of kana, ≠.
_MARK_CLASSES = frozenset([*range(10, 37), *range(200, 241)])
_WORDLIKE = frozenset("%‰#@&*/\\_§¶†‡％＃＠＆＊／＼＿")  # punctuation to Unicode, but read as words
_INNER = frozenset("'’-‐‑–—.,:·")  # between two letters or digits they are part of a word
_FIRST_WIDE = "\u2e80"  # from here on writing has no spaces between words


class _Undo(NamedTuple):
    """A tag, taken apart."""

    before: str
    is_upper: bool
    has_stroke: bool
    marks: str
    after: str


class Damaged(NamedTuple):
    """What is left of a text, and one tag for each of its characters."""

    source: str
    target: tuple[str, ...]


class Part(NamedTuple):
    """A part of a line that is damaged and restored as one, and the spaces around it, which stay.

    The tags of `example` are those of the line as it is: a character that keeps its own stays as it
    was there.
    """

    before: str
    example: Damaged
    after: str


def read_damaged(name: str, pieces: Iterable[str], kinds: Collection[str]) -> Iterator[Example]:
    """Yield the lines of one file, damaged, each with the tags that undo it.

    name: of the file, for messages. pieces: of its text, cut anywhere. kinds: of "case",
    "punctuation", "diacritics" and "spaces". Blank lines are skipped, and long ones cut.

    Raises:
        CorpusError: the text holds the character that ends records.
    """
    for _, line in iter_lines(name, pieces):
        for part in damage_line(line, kinds):
            if part.example.source:
                yield Example(*part.example)


def damage_line(line: str, kinds: Collection[str]) -> Iterator[Part]:
    """Yield the parts of a line, damaged: one, or several of a long line.

    With each part repaired, all together are the NFC form of `line`, exactly.
    """
    line = unicodedata.normalize("NFC", line)
    for each in spans(line):
        text = line[each]
        inner = text.lstrip()
        core = inner.rstrip()
        before = text[: len(text) - len(inner)]
        yield Part(before, damage(core, kinds), inner[len(core) :])


def damage(text: str, kinds: Collection[str]) -> Damaged:
    """Return a text without its case, punctuation, diacritics or spaces, and the tags to undo it.

    `repair` gives back the NFC form of `text`, exactly. A text of punctuation alone stays whole.

    >>> damage("Où, là?", {"case", "punctuation", "diacritics"}).source
    'ou la'
    >>> damage("Où là", {"spaces"}).target
    ('=', '= ', '=', '=')
    """
    text = unicodedata.normalize("NFC", text)
    clusters, runs = _take_runs(text, kinds)
    chars: list[str] = []
    tags: list[str] = []
    for cluster, run in zip(clusters[1:], runs[1:], strict=True):
        own, tag = _plain_form(cluster, "case" in kinds, "diacritics" in kinds)
        chars.append(own)
        # The first space stays, and is the only one: two would tell that something was there.
        cut = next((i for i, char in enumerate(run) if char.isspace()), -1)
        if "spaces" in kinds or cut < 0:
            tags.append(tag + run)
        else:
            chars.append(run[cut])
            tags += [tag + run[:cut], KEEP + run[cut + 1 :]]
    if not chars:
        return Damaged(text, (KEEP,) * len(text))
    if runs[0]:
        tags[0] = f"{runs[0]}^{tags[0]}"
    return Damaged("".join(chars), tuple(tags))


def repair(source: str, tags: Sequence[str]) -> str:
    """Return the text that `damage` made `source` of; without a tag a character stays.

    >>> repair(*damage("Où, là?", {"case", "punctuation", "diacritics"}))
    'Où, là?'
    """
    pieces: list[str] = []
    for char, tag in zip_longest(source, tags[: len(source)], fillvalue=KEEP):
        undo = _take_apart(tag)
        if not pieces:
            pieces.append(undo.before)
        pieces += [_undo(char, undo), undo.after]
    return "".join(pieces)


def choose_tags(
    counts: Mapping[str, int], most: int = MAX_TAGS, min_count: int = 2
) -> tuple[str, ...]:
    """Return the tags to learn: `KEEP`, and the commonest that occur at least `min_count` times.

    >>> choose_tags({"=": 9, "U": 3, "U,": 1})
    ('=', 'U')
    """
    others = [tag for tag, count in counts.items() if count >= min_count and tag != KEEP]
    others.sort(key=lambda tag: (-counts[tag], tag))
    return (KEEP, *others[: most - 1])


def simplify(tag: str, known: Collection[str]) -> str:
    """Return the tag of `known` that undoes the most of what `tag` undoes; at worst `KEEP`.

    >>> simplify("“^U,”", {"=", "U", "U,"})
    'U,'
    """
    _, _, rest = tag.rpartition("^")
    after = _take_apart(tag).after
    shorter = (rest[: len(rest) - cut] for cut in range(len(after) + 1))
    return next((each for each in (tag, *shorter) if each in known), KEEP)


def _take_runs(text: str, kinds: Collection[str]) -> tuple[list[str], list[str]]:
    """Return the characters that stay, each with its marks, and what is taken out after each.

    The first character is "": what is taken out after it is the beginning of the text.
    """
    parts = _split_marks(text) if "diacritics" in kinds else list(text)
    has_punctuation = "punctuation" in kinds
    has_spaces = has_punctuation or "spaces" in kinds

    def is_loose(part: str) -> bool:
        return has_spaces if part.isspace() else has_punctuation and _is_punctuation(part)

    clusters = [""]
    runs = [""]
    place = 0
    for is_run, group in groupby(parts, is_loose):
        own = list(group)
        place += len(own)
        if is_run and not _is_inner(clusters[-1], own, parts[place : place + 1]):
            runs[-1] = "".join(own)
        else:
            clusters += own
            runs += [""] * len(own)
    return clusters, runs


def _split_marks(text: str) -> list[str]:
    """Return the characters of a text; a letter has the marks after it."""
    parts: list[str] = []
    for char in text:
        if parts and _is_mark(char) and parts[-1][0].isalpha():
            parts[-1] += char
        else:
            parts.append(char)
    return parts


def _is_inner(before: str, run: list[str], after: list[str]) -> bool:
    """Return whether punctuation is part of a word or number: don't, 3.14, two--dashes."""
    if not (before and after and _INNER.issuperset(run)):
        return False
    return all(each[0].isalnum() and each < _FIRST_WIDE for each in (before, after[0]))


@lru_cache(maxsize=1 << 16)
def _plain_form(cluster: str, has_case: bool, has_diacritics: bool) -> tuple[str, str]:
    """Return what is left of a letter with its marks, and the tag without what comes after it."""
    bases = [(cluster[0], cluster[1:])]
    if has_diacritics and cluster[0] not in _NEVER_PLAIN:
        parts = unicodedata.normalize("NFD", cluster)
        marks = "".join(filter(_is_mark, parts))
        rest = "".join(char for char in parts if not _is_mark(char))
        bases.insert(0, (unicodedata.normalize("NFC", rest), marks))
    strokes = (True, False) if has_diacritics else (False,)
    cases = (True, False) if has_case else (False,)
    # The plainest form that leads back exactly.
    for (base, marks), has_stroke, is_upper in product(bases, strokes, cases):
        char = _PLAIN.get(base, "") if has_stroke else base
        char = char.lower() if is_upper else char
        undo = _Undo("", is_upper and char != base, has_stroke, marks, "")
        if len(char) == 1 and _undo(char, undo) == cluster:
            return char, _write(undo)
    raise AssertionError(f"{cluster!r} is not in the form NFC")


def _undo(char: str, undo: _Undo) -> str:
    """Return a character as its tag has it; what it cannot have is left out."""
    upper = char.upper()
    if undo.is_upper and len(upper) == 1:
        char = upper
    if undo.has_stroke:
        char = _STROKES.get(char, char)
    if undo.marks and char.isalpha():
        char = unicodedata.normalize("NFC", char + undo.marks)
    return char


def _write(undo: _Undo) -> str:
    """Return the tag of one character."""
    return (
        "U" * undo.is_upper + "/" * undo.has_stroke + ("+" + undo.marks) * bool(undo.marks) or KEEP
    )


@lru_cache(maxsize=1 << 16)
def _take_apart(tag: str) -> _Undo:
    """Return what a tag says; one that is none of ours says nothing."""
    before, _, rest = tag.rpartition("^")
    is_upper = rest.startswith("U")
    rest = rest.removeprefix("U")
    has_stroke = rest.startswith("/")
    rest = rest.removeprefix("/").removeprefix(KEEP)
    marks = ""
    if rest.startswith("+"):
        after = rest[1:].lstrip("".join(filter(_is_mark, rest)))
        marks = rest[1 : len(rest) - len(after)]
        rest = after
    if not all(char.isspace() or _is_punctuation(char) for char in before + rest):
        return _Undo("", False, False, "", "")
    return _Undo(before, is_upper, has_stroke, marks, rest)


def _is_mark(char: str) -> bool:
    """Return whether a character is a mark that a text can go without."""
    return unicodedata.combining(char) in _MARK_CLASSES


@lru_cache(maxsize=1 << 12)
def _is_punctuation(part: str) -> bool:
    """Return whether a character, which may have marks, is punctuation that a text can lack."""
    is_one = len(part) == 1 and part not in _WORDLIKE
    return is_one and unicodedata.category(part).startswith("P")
