"""Characters with a tag each: how files write them, and how they are written back.

Three layouts: words with spaces between them ("spaces"), a character and its tag a line
("columns"), and word/tag ("slash"). Words become the tags B M E S: a character begins a word of
several, is in the middle of it, ends it, or is a word by itself (Xue 2003). A character is a code
point.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from charrnn.config.train import LONGEST_TOKENS
from charrnn.data.records import Example, split_at
from charrnn.errors import CorpusError, counted
from charrnn.text.vocab import END

MAX_RECORD_CHARS = LONGEST_TOKENS  # of a record to train on; a longer one is cut
SENTENCE_ENDS = ".!?…。！？；।؟۔"
_CLOSERS = "\"'”’»)]}」』）】》"  # may stand between a sentence's end and its space
_MAX_SPACES = 8  # between sentences, with closers
_BEGINS = ("B", "S")  # the first letters of tags
_ENDS = ("E", "S")


def read_tagged(name: str, pieces: Iterable[str], layout: str) -> Iterator[Example]:
    r"""Yield the records of one file, which messages call `name`; none is empty.

    pieces: of its text, cut anywhere. layout: "spaces", "columns" or "slash". A record of more than
    MAX_RECORD_CHARS characters comes in several parts.

    >>> next(read_tagged("a.txt", ["ab c\n"], "spaces"))[:2]
    ('abc', ('B', 'E', 'S'))
    >>> next(read_tagged("a.txt", ["ab/n c/v\n"], "slash"))[:2]
    ('abc', ('B-n', 'E-n', 'S-v'))

    Raises:
        CorpusError: a line is not written in this layout.
    """
    lines = iter_lines(name, pieces)
    records = _iter_columns(lines) if layout == "columns" else _iter_words(lines, layout)
    for source, target in records:
        for part in spans(source, target):
            yield Example(source[part], target[part])


def write_tagged(source: str, tags: Sequence[str], layout: str) -> str:
    r"""Return characters and their tags as a file of this layout writes a record.

    >>> write_tagged("abc", ("B-n", "E-n", "S-v"), "slash")
    'ab/n c/v'
    >>> write_tagged("abc", ("B", "E", "S"), "columns")
    'a\tB\nb\tE\nc\tS'
    """
    if layout == "columns":
        return "\n".join(f"{char}\t{tag}" for char, tag in zip(source, tags, strict=True))
    words = find_words(tags)
    if layout == "spaces":
        return " ".join(source[word] for word in words)
    return " ".join(f"{source[word]}/{tags[word.start].partition('-')[2]}" for word in words)


def without_tags(text: str, layout: str) -> str:
    """Return the characters of a line that have a tag: where words are tagged, not the spaces.

    >>> without_tags("ab c", "spaces")
    'abc'
    """
    return text if layout == "columns" else "".join(text.split())


def is_segmentation(tags: Iterable[str]) -> bool:
    """Return whether these are all the tags of words: B M E S, or B-x M-x E-x S-x.

    >>> is_segmentation({"B", "E", "S"}), is_segmentation({"B-LOC", "I-LOC", "O"})
    (True, False)
    """
    kinds: set[str] = set()
    for tag in tags:
        kind, dash, name = tag.partition("-")
        if bool(dash) != bool(name):
            return False
        kinds.add(kind)
    return {"B", "E"} <= kinds <= {"B", "M", "E", "S"}


def find_words(tags: Sequence[str]) -> list[slice]:
    """Return where the words of a row of B M E S tags are; every row has some reading.

    >>> find_words(("B", "E", "S"))
    [slice(0, 2, None), slice(2, 3, None)]
    """
    borders = [place for place in range(1, len(tags)) if _is_border(tags, place)]
    starts = [0, *borders] if tags else []
    return [slice(*each) for each in zip(starts, [*borders, len(tags)], strict=False)]


def spans(source: str, target: Sequence[str] = ()) -> Iterator[slice]:
    """Yield the parts of at most MAX_RECORD_CHARS that a record is cut into.

    A cut comes after the end of a sentence, else between two words, else anywhere, and words that
    are tagged as such are not cut. target: the tags of `source`, where it has any.
    """
    is_words = bool(target) and all(tag[:1] in "BMES" and tag[1:2] in ("", "-") for tag in target)
    start = 0
    while len(source) - start > MAX_RECORD_CHARS:
        places = range(start + MAX_RECORD_CHARS // 2, start + MAX_RECORD_CHARS + 1)
        between = [each for each in places if not is_words or _is_border(target, each)]
        best = max(between or places[-1:], key=lambda place: (_cut_rank(source, place), place))
        yield slice(start, best)
        start = best
    if start < len(source):
        yield slice(start, len(source))


def _cut_rank(source: str, place: int) -> int:
    """Return how well a text can be cut at `place`: 2 after a sentence, 1 before a word, or 0."""
    before, after = source[place - 1], source[place]
    if after.isspace():
        return 0
    if not before.isspace():
        # A full stop without a space after it may be a decimal point; these are not.
        is_end = before in SENTENCE_ENDS and not before.isascii()
        return 2 * (is_end and after not in SENTENCE_ENDS + _CLOSERS)
    words = source[max(0, place - _MAX_SPACES) : place].rstrip()
    last = words.rstrip(_CLOSERS)[-1:]
    return 2 if last and last in SENTENCE_ENDS else 1


def _is_border(tags: Sequence[str], place: int) -> bool:
    """Return whether a word begins at `place`, by the tag there or the one before."""
    return tags[place].startswith(_BEGINS) or tags[place - 1].startswith(_ENDS)


def iter_lines(name: str, pieces: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each line of a text after its place, which is "name:number"."""
    number = 0
    for lines in split_at(pieces, "\n"):
        for line in lines:
            number += 1
            if END in line:
                raise CorpusError(
                    f"{name}:{number}: the text holds U+10FFFF, which stands for the end of a "
                    "record; remove it"
                )
            yield f"{name}:{number}", line


def _iter_words(lines: Iterable[tuple[str, str]], layout: str) -> Iterator[Example]:
    """Yield the record of each line of words that is not blank."""
    for place, line in lines:
        chars: list[str] = []
        tags: list[str] = []
        for word in line.split():
            tag = ""
            if layout == "slash":
                word, tag = _split_slash(place, word)
            chars.append(word)
            tags += _word_tags(len(word), tag)
        if chars:
            yield Example("".join(chars), tuple(tags))


def _split_slash(place: str, text: str) -> tuple[str, str]:
    """Return the word and the tag of word/tag; the last slash is the one between them."""
    word, _, tag = text.rpartition("/")
    if not (word and tag):
        missing = "no word" if tag and "/" in text else "no tag"
        raise CorpusError(
            f"{place}: {_shown(text)} has {missing}; with --tags slash write each word as word/tag"
        )
    return word, f"-{tag}"


def _word_tags(length: int, tag: str) -> list[str]:
    """Return the tags of a word's characters."""
    if length == 1:
        return ["S" + tag]
    return ["B" + tag, *["M" + tag] * (length - 2), "E" + tag]


def _iter_columns(lines: Iterable[tuple[str, str]]) -> Iterator[Example]:
    """Yield the records of lines of a character and its tag; an empty line ends a record."""
    chars: list[str] = []
    tags: list[str] = []
    for place, line in lines:
        if line and not line.isspace():
            char, tag = _split_column(place, line)
            chars.append(char)
            tags.append(tag)
        elif chars:
            yield Example("".join(chars), tuple(tags))
            chars = []
            tags = []
    if chars:
        yield Example("".join(chars), tuple(tags))


def _split_column(place: str, line: str) -> tuple[str, str]:
    """Return the character and the tag of a line; the last tab or space is between them."""
    line = line.rstrip(" \t")
    cut = max(line.rfind("\t"), line.rfind(" "))
    char = line[:cut] if cut > 0 else ""
    if len(char) > 1 and char.strip(" \t"):  # several spaces may come between
        char = char.rstrip(" \t")
    form = "with --tags columns a line is one character, a tab or a space, and its tag"
    if cut < 0:
        raise CorpusError(f"{place}: {_shown(line)} has no tag; {form}")
    if len(char) != 1:
        has = "no character" if not char else counted(len(char), "character")
        raise CorpusError(f"{place}: {_shown(line)} has {has} before its tag; {form}")
    return char, line[cut + 1 :]


def _shown(text: str) -> str:
    """Return a text as a message quotes it."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
