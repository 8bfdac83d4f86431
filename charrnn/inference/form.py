"""The form of the text that a model learned from, which any text that it reads is brought into.

It stands in the summary of a model file, among the settings that the text was read by.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from charrnn.config import TextConfig
from charrnn.errors import ConfigError


@dataclass(frozen=True)
class Form:
    """How a text must be for a model to know it.

    normalize: its Unicode normal form: "none", "nfc" or "nfkc". document_end: what ends each of its
    documents, if that was said.
    """

    normalize: str = "none"
    document_end: str | None = None

    def normalized(self, text: str) -> str:
        """Give the text in the normal form."""
        if self.normalize == "none":
            return text
        return unicodedata.normalize("NFC" if self.normalize == "nfc" else "NFKC", text)


def form_of(summary: dict[str, Any]) -> Form:
    """Give the form of a model's text, from the summary in its file."""
    settings = summary.get("settings", {})
    normalize, end = settings.get("normalize"), settings.get("document_end")
    return Form(
        normalize if normalize in ("nfc", "nfkc") else TextConfig().normalize,
        end if isinstance(end, str) and end else None,
    )


def common_form(forms: Sequence[Form]) -> Form:
    """Give the form for models that write together: the first one's.

    Raises:
        ConfigError: another has its text in another normal form.
    """
    first, *others = forms
    for other in others:
        if other.normalize != first.normalize:
            raise ConfigError(
                f"these models know texts in different normal forms, {first.normalize} and "
                f"{other.normalize}; take models that were trained with one --normalize"
            )
    return first
