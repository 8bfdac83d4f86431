"""What a typed line asks for: text to add, a command, a setting; and the page that says so."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Callable
from dataclasses import Field, fields, replace
from typing import Any

from charrnn.cli.write.autosave import with_plain_newlines
from charrnn.config import PRESETS, SampleConfig
from charrnn.errors import ConfigError

ADD = "add"
COMMANDS = {
    "retry": ("", "another text in place of the model's last"),
    "more": ("[N]", "the model goes on, by N characters this once"),
    "undo": ("[N]", "take back the last step, or N"),
    "redo": ("[N]", "do again what was undone"),
    "next": ("[N]", "the likeliest next characters"),
    "show": ("", "the whole text"),
    "edit": ("", "the whole text in your editor ($EDITOR)"),
    "save": ("[FILE]", "write the text to a new file; /save! replaces one"),
    "save!": ("[FILE]", ""),
    "load": ("FILE", "put a file's text in place of this one"),
    "preset": ("NAME", ", ".join(PRESETS)),
    "settings": ("", "the settings in force"),
    "help": ("", "this page"),
    "quit": ("", "leave; the text is kept"),
}
"""What follows each and what it does; the first that begins with what was typed is meant."""

_ALIASES = {"": "help", "temp": "temperature"}
_LINES = [
    ("Enter", "on an empty line: the model goes on"),
    ("text", "is added just as it is, spaces too; no line of it ends by itself"),
    ("text\\", "a \\ at the end stands for a new line, \\\\ for a \\"),
    ("//text", "text that begins with /"),
]
_KEYS = [
    ("/temp 0.7", "any option of charrnn sample: /length 80, /ban digits, /min-p off"),
    ("/r /u /n", "a command may be cut short"),
    ("Tab", "the likeliest end of the word, or the names of commands"),
    ("Ctrl-C", "stops the model, clears a line, and leaves from an empty one"),
]


def describe_commands() -> list[tuple[str, str]]:
    """Give all that can be typed, each with what it does."""
    rows = [(f"/{name} {usage}", does) for name, (usage, does) in COMMANDS.items() if does]
    return [*_LINES, *rows, *_KEYS]


def read_command(line: str) -> tuple[str, str]:
    """Give a name from COMMANDS or SETTINGS and what was typed after it; or ADD and a text.

    Raises:
        ConfigError: there is no such command, or there are several.
    """
    if not line:
        return "more", ""
    if not is_command(line):
        return ADD, _read_text(line.removeprefix("/"))
    word, _, rest = line[1:].partition(" ")
    return _find_name(_ALIASES.get(word, word.replace("_", "-"))), rest.strip()


def is_command(line: str) -> bool:
    """Tell whether a line is a command, or the beginning of one."""
    return line.startswith("/") and not line.startswith("//")


def _read_text(line: str) -> str:
    text = with_plain_newlines(line)
    if text.endswith("\\\\"):
        return text[:-1]
    return text[:-1] + "\n" if text.endswith("\\") else text


def _find_name(word: str) -> str:
    """Give the command or setting that `word` is, or is the beginning of.

    Of several settings it is the one that all the others begin with.
    """
    if word in COMMANDS or word in SETTINGS:
        return word
    commands = [name for name in COMMANDS if name.startswith(word)]
    if commands:
        return commands[0]
    settings = sorted((name for name in SETTINGS if name.startswith(word)), key=len)
    if settings and all(name.startswith(settings[0]) for name in settings):
        return settings[0]
    if settings:
        raise ConfigError(f"/{word} may be {', '.join(settings)}; type more of it")
    near = difflib.get_close_matches(word, [*COMMANDS, *SETTINGS], n=1)
    hint = f"did you mean /{near[0]}" if near else f"is it text, which is typed as //{word}"
    raise ConfigError(f"there is no /{word}; {hint}? See /help")


def read_count(word: str) -> int:
    """Give the number that was typed after a command.

    Raises:
        ConfigError: it is none, or not above 0.
    """
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word)):
        raise ConfigError(f"{word!r} does not say how many; type a whole number from 1 on")
    return int(word)


ON, OFF = "on", "off"
DEFAULTS = SampleConfig(length=200)  # what is read at a glance; 500 fill a screen
_LEFT_OUT = ("Search", "Originality")  # sections for whole texts, and beside their corpus
SETTINGS = {
    item.name.replace("_", "-"): item
    for item in fields(SampleConfig)
    if item.metadata["section"] not in _LEFT_OUT
}
"""The fields of SampleConfig by which a text is gone on with, by their names as options."""

_PRESET_SECTIONS = ("Penalties", "Filters")  # sections that a preset is a choice of
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


def change_preset(config: SampleConfig, preset: str) -> SampleConfig:
    """Give the penalties and filters of a preset, and all other settings as they are.

    Raises:
        ConfigError: there is no such preset.
    """
    others = [
        item.name for item in fields(config) if item.metadata["section"] not in _PRESET_SECTIONS
    ]
    return SampleConfig.from_preset(preset, **{name: getattr(config, name) for name in others})


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
