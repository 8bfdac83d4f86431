"""The settings of drawing, resolved for one model: what chooses, and what says what may come.

What few texts need is imported where it is used: most should begin at once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.inference.drawing.bans import make_bias
from charrnn.inference.drawing.chain import Chain
from charrnn.inference.drawing.filters import Logits
from charrnn.inference.drawing.guide import Guide
from charrnn.inference.drawing.words import begins_word
from charrnn.inference.form import Form
from charrnn.text.vocab import Vocab


def make_controls(
    config: SampleConfig, vocab: Vocab, form: Form, guide: Guide | None = None
) -> tuple[Chain, Guide | None]:
    """Give what chooses, and what says what may come: `guide`, or what the settings ask for.

    Raises:
        ConfigError: they ask for what is not known of the model, or leave nothing to write.
    """
    if config.documents is not None and form.document_end is None:
        raise ConfigError(
            "this model does not know where documents end: it was trained without "
            "--document-end; leave --documents out, or end at a text by --stop"
        )
    if config.novel is not None and guide is None:
        raise ConfigError(
            "novel needs the text that the model was trained on: give its guide, made by "
            "charrnn.runs.originality, or leave novel out"
        )
    config = _in_form(config, form)
    bias = make_bias(vocab, config)
    constraint = _make_constraint(config, vocab, bias)
    if constraint is not None and guide is not None:
        raise ConfigError(
            "what the text must be and what it must not copy may leave nothing to write; "
            "leave --novel out, or --regex, --choices, --template and --balanced"
        )
    words = None if config.word_temperature is None else begins_word(vocab)
    return Chain(config, vocab.size, bias, words), constraint or guide


def _in_form(config: SampleConfig, form: Form) -> SampleConfig:
    """Give the settings with what is to be matched in the form of the model's text."""
    bring = form.normalized
    regex, template = (each and bring(each) for each in (config.regex, config.template))
    choices = tuple(map(bring, config.choices))
    return replace(config, regex=regex, template=template, choices=choices)


def _make_constraint(config: SampleConfig, vocab: Vocab, bias: Logits | None) -> Guide | None:
    """Give what holds the text to a form, if one is asked for."""
    if not (config.regex or config.template or config.choices or config.balanced):
        return None
    from charrnn.inference.constraint.constraint import make_constraint

    return make_constraint(vocab, config, None if bias is None else bias > -np.inf)
