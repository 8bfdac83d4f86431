"""How a text is read: the settings that turn bytes into ids, and hold a part out."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError

LIBRARY_FOLDER = "corpora"
_LONGEST_END = 1000  # characters that may end a document
_ESCAPE = re.compile(r"\\[nrt](?![a-z])")  # \newpage is none


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How bytes become ids, and which part of them is held out."""

    encoding: str = setting("utf-8", "any codec Python knows: gb18030, cp1251, utf-16, ...")
    normalize: str = setting("none", "Unicode normal form", choices=("none", "nfc", "nfkc"))
    min_count: int = setting(
        1, "characters seen fewer times than this are written as UTF-8 bytes", minimum=1
    )
    document_end: str | None = setting(
        None, r"what ends each document, as $'\n\n'; put after each file that lacks it"
    )
    val_fraction: float = setting(
        0.1, "share of the text, from its end, held out for validation", above=0, maximum=0.5
    )
    val_file: str | None = setting(
        None, "hold out this file instead, and train on all of the corpus"
    )

    def __post_init__(self) -> None:
        validate(self)
        if self.document_end is not None:
            _check_end(self.document_end, self.normalize)


def _check_end(end: str, form: str) -> None:
    """Refuse what no text that was read can hold, and newlines that a shell has not made."""
    if not 0 < len(end) <= _LONGEST_END:
        raise ConfigError(
            f"document_end has {len(end):,} characters; it must have 1 to {_LONGEST_END:,}"
        )
    if any("\ud800" <= char <= "\udfff" for char in end):
        raise ConfigError(f"document_end is {end!r}, which is not valid UTF-8; write it in UTF-8")
    read = end.replace("\r\n", "\n").replace("\r", "\n")
    if form != "none":
        read = unicodedata.normalize(form.upper(), read)  # type: ignore[arg-type]
    if read != end:
        raise ConfigError(
            f"document_end is {end!a}, which becomes {read!a} as a text is read; give it so"
        )
    if _ESCAPE.search(end):
        raise ConfigError(
            f"document_end is {end} with backslashes, which mean nothing here; for newlines write "
            "$'\\n' in a shell, \"\\n\" in a configuration"
        )
