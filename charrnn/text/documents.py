"""Documents: what ends each of them, put where it is missing, and counted.

Texts come in pieces, and no figure depends on where one piece ends and the next begins. Which text
it is that ends a document, and how files are read, is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def missing_end(text: str, end: str) -> str:
    """Give what `text` lacks of `end` at its end: one newline of two where it ends in one."""
    present = next(n for n in range(len(end), -1, -1) if text.endswith(end[:n]))
    return end[present:]


def iter_ended(texts: Iterable[Iterable[str]], end: str) -> Iterator[str]:
    """Yield the pieces of all texts, each text followed by what it lacks of `end`.

    A text without pieces is no document.
    """
    for pieces in texts:
        last = ""
        for piece in pieces:
            yield piece
            last = (last + piece)[-len(end) :]
        if last and (missing := missing_end(last, end)):
            yield missing


def count_documents(pieces: Iterable[str], end: str) -> int:
    """Count how often `end` stands in a text, found from the left and never overlapping."""
    documents, rest = 0, ""
    for piece in pieces:
        *before, rest = (rest + piece).split(end)
        documents += len(before)
        rest = rest[max(0, len(rest) - len(end) + 1) :]
    return documents
