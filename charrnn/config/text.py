"""How a text is read: the settings that turn bytes into ids, and hold a part out."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.rules import check, setting

LIBRARY_FOLDER = "corpora"


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How bytes become ids, and which part of them is held out."""

    encoding: str = setting("utf-8", "any codec Python knows: gb18030, cp1251, utf-16, ...")
    normalize: str = setting("none", "Unicode normal form", choices=("none", "nfc", "nfkc"))
    min_count: int = setting(
        1, "characters seen fewer times than this are written as UTF-8 bytes", minimum=1
    )
    val_fraction: float = setting(
        0.1, "share of the text, from its end, held out for validation", above=0, maximum=0.5
    )
    val_file: str | None = setting(
        None, "hold out this file instead, and train on all of the corpus"
    )

    def __post_init__(self) -> None:
        check(self)
