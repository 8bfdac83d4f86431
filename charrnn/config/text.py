"""How a text is read: the settings that turn bytes into ids, and hold a part out."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from charrnn.config.fields import check_escapes, setting, validate
from charrnn.errors import ConfigError

LIBRARY_FOLDER = "corpora"
_MAX_END_CHARS = 1000  # of what ends a document


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How bytes become ids, and which part of them is held out."""

    encoding: str = setting("utf-8", "any encoding that Python knows: gb18030, cp1251, utf-16, ...")
    normalize: str = setting("none", "Unicode normalization form", choices=("none", "nfc", "nfkc"))
    min_count: int = setting(
        1, "spell characters that occur fewer times than this as UTF-8 bytes", ge=1
    )
    document_end: str | None = setting(
        None, r"text that ends each document, such as $'\n\n'; added to each file that lacks it"
    )
    val_fraction: float = setting(
        0.1, "fraction of the text, from its end, held out for validation", gt=0, le=0.5
    )
    val_file: str | None = setting(
        None, "hold out this file instead, and train on the whole corpus"
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.document_end is not None:
            _check_end(self.document_end, self.normalize)


def _check_end(end: str, form: str) -> None:
    """Refuse an end that no text can contain after reading, and one with unread escapes."""
    if not 0 < len(end) <= _MAX_END_CHARS:
        raise ConfigError(
            f"document_end has {len(end):,} characters; it must have 1 to {_MAX_END_CHARS:,}"
        )
    # A byte that is not UTF-8 reaches Python's arguments as a lone surrogate.
    if any("\ud800" <= char <= "\udfff" for char in end):
        raise ConfigError(f"document_end is {end!r}, which is not valid UTF-8; write it in UTF-8")
    # Reading changes newlines and normalizes: an end that changes too is never found.
    read = end.replace("\r\n", "\n").replace("\r", "\n")
    if form != "none":
        read = unicodedata.normalize(form.upper(), read)  # type: ignore[arg-type]
    if read != end:
        raise ConfigError(
            f"document_end is {end!a}, which becomes {read!a} when a text is read; write it so"
        )
    check_escapes("document_end", end)
