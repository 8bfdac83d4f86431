"""The prose that comes with every Python: its language reference, docstrings and comments.

A paragraph is taken if it consists of whole sentences in plain words (no code, no table, no list)
and says something new: most of it must not stand in a paragraph before. What repeats itself is
copied by a compressor and flatters nobody else.
"""

import re
import textwrap
from collections.abc import Iterable, Iterator
from hashlib import sha256

_COLUMNS = 72
_MIN_CHARS = 40  # a shorter paragraph repeats a name in other words
_PHRASE_WORDS = 4
_MAX_KNOWN = 0.5  # share of a paragraph's phrases

_DOCSTRING = re.compile(r'^[ \t]*[rR]?"""(.+?)"""', re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"(?:^[ \t]*#.*\n)+", re.MULTILINE)
_COMMENT_SIGN = re.compile(r"^[ \t]*#+", re.MULTILINE)
_BLANK_LINE = re.compile(r"\n[ \t]*\n")

# A word, an abbreviation or a number, or several joined by hyphens or apostrophes, in punctuation:
# no name of code, which a model cannot guess.
_WORD = r"(?:[A-Z]?[a-z]+|[A-Z]{1,6}s?|[0-9]+)"
_PLAIN_WORD = re.compile(rf"""["'(]*{_WORD}(?:['’-]{_WORD})*["')]*[,;:.!?]?["')]*""")


def iter_passages(texts: Iterable[str]) -> Iterator[str]:
    """Yield the new prose of each text that has any: paragraphs, each followed by a blank line."""
    known: set[tuple[str, ...]] = set()
    for text in texts:
        passage = ""
        for paragraph in filter(_is_prose, map(_join_lines, _BLANK_LINE.split(text))):
            phrases = _phrases(paragraph)
            if len(phrases & known) <= _MAX_KNOWN * len(phrases):
                known |= phrases
                passage += textwrap.fill(paragraph, _COLUMNS, break_on_hyphens=False) + "\n\n"
        if passage:
            yield passage


def iter_remarks(source: str) -> Iterator[str]:
    """Yield the docstrings and the blocks of comments of a module."""
    # By pattern: ast and tokenize need ten times as long. The rare stretch of code between two
    # strings that is taken for one is no prose.
    yield from _DOCSTRING.findall(source)
    for block in _COMMENT.findall(source):
        yield _COMMENT_SIGN.sub("", block)


def shuffled(passages: Iterable[str]) -> list[str]:
    """Return the passages in an order that depends on their content alone."""
    return sorted(passages, key=lambda passage: sha256(passage.encode()).digest())


def _join_lines(paragraph: str) -> str:
    return " ".join(paragraph.replace("`", "").split())


def _is_prose(paragraph: str) -> bool:
    return (
        len(paragraph) >= _MIN_CHARS
        and paragraph[0].isupper()
        and paragraph.endswith((".", "!", "?"))
        and all(map(_PLAIN_WORD.fullmatch, paragraph.split()))
    )


def _phrases(paragraph: str) -> set[tuple[str, ...]]:
    """Return each run of words in a paragraph that has as many as a phrase."""
    words = re.findall(r"\w+", paragraph.lower())
    starts = range(max(1, len(words) - _PHRASE_WORDS + 1))
    return {tuple(words[start : start + _PHRASE_WORDS]) for start in starts}
