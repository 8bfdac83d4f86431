"""The form of the text that a model learned from, which any text that it reads is brought into.

It stands in the summary of a model file, among the settings that the text was read by.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from charrnn.config import SampleConfig, TextConfig
from charrnn.errors import ConfigError
from charrnn.generation.chain import SamplerChain
from charrnn.generation.constraints.constraint import Constraint
from charrnn.generation.filters import Logits
from charrnn.generation.logit_bias import begins_word, make_logit_bias
from charrnn.text.vocab import Vocab


@dataclass(frozen=True)
class TextFormat:
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


def text_format_of(summary: dict[str, Any]) -> TextFormat:
    """Give the form of a model's text, from the summary in its file."""
    settings = summary.get("settings", {})
    normalize, end = settings.get("normalize"), settings.get("document_end")
    return TextFormat(
        normalize if normalize in ("nfc", "nfkc") else TextConfig().normalize,
        end if isinstance(end, str) and end else None,
    )


def common_text_format(forms: Sequence[TextFormat]) -> TextFormat:
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


def resolve_settings(
    config: SampleConfig, vocab: Vocab, form: TextFormat, guide: Constraint | None = None
) -> tuple[SamplerChain, Constraint | None]:
    """Give what chooses, and what says what may come: `guide`, or what the settings ask for.

    Raises:
        ConfigError: they ask for what is not known of the model, or leave nothing to write.
    """
    if config.documents is not None and form.document_end is None:
        raise ConfigError(
            "this model does not know where documents end: it was trained without "
            "--document-end; leave --documents out, or end at a text by --stop"
        )
    if config.max_copy is not None and guide is None:
        raise ConfigError(
            "novel needs the text that the model was trained on: give its guide, made by "
            "charrnn.tasks.originality, or leave novel out"
        )
    config = _in_form(config, form)
    bias = make_logit_bias(vocab, config)
    constraint = _make_constraint(config, vocab, bias)
    if constraint is not None and guide is not None:
        raise ConfigError(
            "what the text must be and what it must not copy may leave nothing to write; "
            "leave --max-copy out, or --regex, --choices, --template and --balanced"
        )
    words = None if config.word_temperature is None else begins_word(vocab)
    return SamplerChain(config, vocab.size, bias, words), constraint or guide


def _in_form(config: SampleConfig, form: TextFormat) -> SampleConfig:
    """Give the settings with what is to be matched in the form of the model's text."""
    bring = form.normalized
    regex, template = (each and bring(each) for each in (config.regex, config.template))
    choices = tuple(map(bring, config.choices))
    return replace(config, regex=regex, template=template, choices=choices)


def _make_constraint(config: SampleConfig, vocab: Vocab, bias: Logits | None) -> Constraint | None:
    """Give what holds the text to a form, if one is asked for."""
    if not (config.regex or config.template or config.choices or config.balanced):
        return None
    from charrnn.generation.constraints.pattern import make_constraint

    return make_constraint(vocab, config, None if bias is None else bias > -np.inf)
