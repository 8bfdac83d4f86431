"""Settings of the sampler as words typed while a session runs: temp 0.7, ban digits, min-p off."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import Field, fields, replace
from typing import Any

from charrnn.config import SampleConfig

ON, OFF = "on", "off"
DEFAULTS = SampleConfig(length=200)  # what is read at a glance; 500 fill a screen
_LEFT_OUT = ("Search", "Originality")  # sections for whole texts, and beside their corpus
SETTINGS = {
    item.name.replace("_", "-"): item
    for item in fields(SampleConfig)
    if item.metadata["section"] not in _LEFT_OUT
}
"""The fields of SampleConfig by which a text is gone on with, by their names as options."""

_STYLED = ("Penalties", "Filters")  # sections that a style is a choice of
_READ: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": lambda word: {ON: True}.get(word, word),
    "tuple[str, ...]": lambda words: tuple(shlex.split(words)),
}


def change_setting(config: SampleConfig, name: str, words: str) -> SampleConfig:
    """Give the settings with that called `name` (see SETTINGS) as in `words`; off is its default.

    Raises:
        ConfigError: it may not be that.
    """
    item = SETTINGS[name]
    value = getattr(DEFAULTS, item.name) if words == OFF else _read(item, words)
    return replace(config, **{item.name: value})


def _read(item: Field[Any], words: str) -> Any:
    """Give the value; what cannot be read stays text, which SampleConfig refuses by name."""
    try:
        return _READ[str(item.type).partition(" | ")[0]](words)
    except ValueError:
        return words


def change_style(config: SampleConfig, style: str) -> SampleConfig:
    """Give the penalties and filters of a style, and all other settings as they are.

    Raises:
        ConfigError: there is no such style.
    """
    others = [item.name for item in fields(config) if item.metadata["section"] not in _STYLED]
    return SampleConfig.in_style(style, **{name: getattr(config, name) for name in others})


def describe_setting(config: SampleConfig, name: str) -> str:
    """Give a setting as it would be typed."""
    value = getattr(config, SETTINGS[name].name)
    if value is None or value is False or value == ():
        return f"{name} {OFF}"
    if value is True:
        return f"{name} {ON}"
    return f"{name} {shlex.join(value) if isinstance(value, tuple) else value}"


def describe_changes(config: SampleConfig) -> list[str]:
    """Give every setting that is not at its default, as it would be typed."""
    return [
        describe_setting(config, name)
        for name, item in SETTINGS.items()
        if getattr(config, item.name) != getattr(DEFAULTS, item.name)
    ]
