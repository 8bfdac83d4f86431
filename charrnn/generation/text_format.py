"""The form of a model's text: how it is normalized, what its records are, and what ends each.

A file says it in its summary; a prompt, a text to score and a text that is shown have it too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain as chained
from typing import Any

from charrnn.config import TextConfig, check_type
from charrnn.data.records import split_at
from charrnn.errors import CorpusError
from charrnn.text.forms import compose, lower
from charrnn.text.vocab import END

_RECORDS = ("line", "file", "document", "row", "speech", "pair", "block")
_BLANK_LINE = "\n\n"
_NEWLINES = "\r\n"


@dataclass(frozen=True)
class TextFormat:
    """The form of a model's text.

    normalize: its Unicode normal form: "none", "nfc" or "nfkc". document_end: what ends each of its
    documents, if training was given one. lowercase: whether it was read in small letters.
    record_kind: what each of its records is, as TextConfig has it; "" for running text. is_utf8: of
    a model of bytes, whether all that it learned from was valid UTF-8.
    """

    normalize: str = "none"
    document_end: str | None = None
    lowercase: bool = False
    record_kind: str = ""
    is_utf8: bool = False

    @property
    def mark(self) -> str | None:
        """What ends a record where it is written in a text; None where nothing does."""
        marks = {"line": "\n", "document": self.document_end}
        return marks.get(self.record_kind)

    @property
    def has_lines(self) -> bool:
        """Whether a newline ends each record."""
        return self.mark == "\n"

    @property
    def separator(self) -> str | None:
        """What is shown between two records, a mark on a line of its own; None for running text."""
        if not self.record_kind:
            return None
        if self.mark is None:
            return _BLANK_LINE
        return self.mark if "\n" in self.mark else f"\n{self.mark}\n"

    def with_ends(self, text: str) -> str:
        """Return a text with END for each mark.

        >>> TextFormat(record_kind="line").with_ends("a\\nb").count(END)
        1
        """
        if self.mark is None:
            return text
        if self.has_lines:
            return text.replace("\n", END)
        return self._mark_pattern(self.mark).sub(END, text)

    def end_widths(self, text: str) -> list[int]:
        """Return how many characters of a text become each one of `with_ends(text)`.

        >>> TextFormat(document_end="--", record_kind="document").end_widths("a\\n--\\nb")
        [1, 4, 1]
        """
        if self.mark is None or self.has_lines:
            return [1] * len(text)
        widths = []
        at = 0
        for match in self._mark_pattern(self.mark).finditer(text):
            widths += [1] * (match.start() - at) + [len(match[0])]
            at = match.end()
        return widths + [1] * (len(text) - at)

    @staticmethod
    def _mark_pattern(mark: str) -> re.Pattern[str]:
        newlines = f"[{_NEWLINES}]*"  # those around a record are no part of it
        return re.compile(newlines + re.escape(mark) + newlines)

    def iter_with_ends(self, pieces: Iterable[str]) -> Iterator[str]:
        """Yield a whole text as training reads it: records, each with its END, none of them blank.

        Raises:
            CorpusError: the text holds END.
        """
        if not self.record_kind:
            yield from pieces
            return
        parts: Iterable[list[str]] = (
            [["".join(pieces)]] if self.mark is None else split_at(pieces, self.mark)
        )
        for record in chained.from_iterable(parts):
            if END in record:
                raise CorpusError(
                    "the text holds U+10FFFF, which stands for the end of a record; remove it"
                )
            if record.strip():
                yield (record if self.has_lines else record.strip(_NEWLINES)) + END

    def without_ends(self, text: str) -> str:
        """Return a text as it is shown, with a mark or a separator for each END."""
        return text if self.separator is None else text.replace(END, self.separator)

    def normalized(self, text: str) -> str:
        """Return the text in this form.

        >>> TextFormat("nfkc").normalized("ﬁ")
        'fi'

        Raises:
            ConfigError: it is not a text.
        """
        check_text(text)
        return self.composed(lower(text) if self.lowercase else text)

    def composed(self, text: str) -> str:
        """Return the text in the Unicode normal form alone."""
        return compose(text, self.normalize)

    def reading(self, encoding: str, errors: str, *, is_binary: bool) -> TextConfig:
        """Return how files are read in this form; is_binary: for a model of bytes.

        Raises:
            ConfigError: the encoding or the errors do not go with bytes.
        """
        return TextConfig(
            encoding=encoding,
            errors=errors,
            normalize=self.normalize,
            lowercase=self.lowercase,
            unit="byte" if is_binary else "char",
        )


def check_text(text: object) -> None:
    """Refuse what is not a text, at the border to Python's users.

    Raises:
        ConfigError: it is of another type.
    """
    check_type("the text", text, str, "a str")


def text_format_of(summary: dict[str, Any], *, has_end: bool = False) -> TextFormat:
    """Return the form of a model's text, from the summary in its file; has_end: it has records."""
    settings = summary.get("settings", {})  # from a file: it may be anything
    normalize, end = (settings.get(name) for name in ("normalize", "document_end"))
    normalize = normalize if normalize in ("nfc", "nfkc") else TextConfig().normalize
    end = end if isinstance(end, str) and end else None
    kind = _record_kind_of(summary, settings) if has_end else ""
    is_utf8 = (summary.get("corpus") or {}).get("is_utf8") is True
    return TextFormat(normalize, end, settings.get("lowercase") is True, kind, is_utf8)


def describe_record(summary: dict[str, Any], *, has_end: bool) -> dict[str, str]:
    """Return what each record of a model's text is, in words, under "record"; {} without any."""
    form = text_format_of(summary, has_end=has_end)
    words = {
        "line": "a line",
        "file": "a file",
        "document": f"a document, which ends with {form.document_end!r}",
        "row": "a row of a table",
        "speech": "what follows a label",
        "pair": "a pair of a source and its target",
        "block": "the lines up to an empty one",
    }
    return {"record": words[form.record_kind]} if has_end else {}


def _record_kind_of(summary: dict[str, Any], settings: dict[str, Any]) -> str:
    """Return what a record is in the text of a model that has them."""
    kind = (summary.get("corpus") or {}).get("record_kind")
    if kind in _RECORDS:
        return str(kind)
    names = {"text_column": "row", "label_regex": "speech", "document_end": "document"}
    asked = (kind for name, kind in (names | {"files": "file"}).items() if settings.get(name))
    return next(asked, "line")  # which may be automatic
