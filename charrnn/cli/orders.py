"""What a typed line asks for: text to add, a command, a setting; and the page that says so."""

from __future__ import annotations

import difflib

from charrnn.cli.drafts import with_plain_newlines
from charrnn.cli.live_settings import SETTINGS
from charrnn.config import STYLES
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
    "style": ("NAME", ", ".join(STYLES)),
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


def describe_orders() -> list[tuple[str, str]]:
    """Give all that can be typed, each with what it does."""
    rows = [(f"/{name} {usage}", does) for name, (usage, does) in COMMANDS.items() if does]
    return [*_LINES, *rows, *_KEYS]


def read_order(line: str) -> tuple[str, str]:
    """Give a name from COMMANDS or SETTINGS and what was typed after it; or ADD and a text.

    Raises:
        ConfigError: there is no such command, or there are several.
    """
    if not line:
        return "more", ""
    if not is_order(line):
        return ADD, _read_text(line.removeprefix("/"))
    word, _, rest = line[1:].partition(" ")
    return _find_name(_ALIASES.get(word, word.replace("_", "-"))), rest.strip()


def is_order(line: str) -> bool:
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
