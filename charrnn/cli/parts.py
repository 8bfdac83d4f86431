"""Models by name and number: `-m NAME:WEIGHT`, and `--guide NAME:STRENGTH`.

The number stands after the last colon; where no number stands there, the whole is a name, so that
`C:\\runs\\book` is one. A name that ends so itself takes a number more: `draft:2:1` is `draft:2`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from charrnn.errors import ConfigError

_LARGEST = 1000
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_WEIGHT = 1.0
_STRENGTH = 0.5  # what Sanchez et al. 2023 found best on average, their γ = 1.5


class Part(NamedTuple):
    """A model's name, as `find_model` takes it, and the number that came with it, above 0.

    name: None is the newest run.
    """

    name: str | None
    number: float


def parse_models(model: str | None, texts: Sequence[str]) -> list[Part]:
    """Give the models to blend, with their weights: MODEL alone, or those given by -m.

    Raises:
        ConfigError: both are given, or a text is no NAME:WEIGHT.
    """
    if not texts:
        return [Part(model, _WEIGHT)]
    if model is not None:
        raise ConfigError(
            f"MODEL {model!r} and -m {texts[0]!r} both name a model; give each one by -m"
        )
    return [_parse(text, "-m", "weight", _WEIGHT) for text in texts]


def parse_guide(text: str) -> Part:
    """Give the model to guide away from, with the strength.

    Raises:
        ConfigError: it is no NAME:STRENGTH.
    """
    return _parse(text, "--guide", "strength", _STRENGTH)


def _parse(text: str, option: str, what: str, usual: float) -> Part:
    name, colon, digits = text.rpartition(":")
    if not _NUMBER.fullmatch(digits) and (digits or not colon):
        name, digits = text, str(usual)
    number = float(digits or math.nan)
    if not name or not 0 < number <= _LARGEST:
        raise ConfigError(
            f"{option} is {text!r}; write a model's name, a colon and its {what}, "
            f"above 0 and at most {_LARGEST}, such as book:{usual:g}"
        )
    return Part(name, number)
