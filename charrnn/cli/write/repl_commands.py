"""What a typed line means: text to add, a command, or a setting; and the help page that says so."""

import shlex
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

from charrnn.cli.options import RENAMED_OPTIONS
from charrnn.cli.write.autosave import with_plain_newlines
from charrnn.config import PRESETS, SampleConfig
from charrnn.config.sample import idle_settings
from charrnn.errors import ConfigError
from charrnn.wording import nearest

ADD = "add"
COMMANDS = {
    "retry": ("", "replace the model's last text with another"),
    "more": ("[N]", "let the model continue, for N characters this time"),
    "undo": ("[N]", "undo the last step, or the last N"),
    "redo": ("[N]", "redo what was undone"),
    "next": ("[N]", "show the likeliest next characters, N of them"),
    "show": ("", "show the whole text"),
    "edit": ("", "change the whole text in an editor ($EDITOR, or nano)"),
    "save": ("[FILE]", "write the text to a new file; /save! replaces one"),
    "save!": ("[FILE]", ""),  # the line above is for both
    "load": ("FILE", "put the text of a file in place of yours"),
    "preset": ("NAME", f"change several settings at once: {', '.join(PRESETS)}"),
    "settings": ("", "show the current settings"),
    "help": ("", "show this page"),
    "quit": ("", "leave; the text is saved"),
}
"""The arguments and the help of each. What is typed selects the first that begins with it."""

# 200 characters are read at a glance; 500 fill a screen. And who writes may use any character.
DEFAULTS = SampleConfig(length=200, unknown="map")
SETTINGS = {
    item.name.replace("_", "-"): item
    for item in fields(SampleConfig)
    # A search makes whole texts, and originality needs the training text beside the model.
    if item.metadata["section"] not in ("Search", "Originality")
}
"""The fields of SampleConfig that a session can change, by their names as options."""

_PRESET_SECTIONS = ("Penalties", "Filters")  # what a preset chooses, even where at a default
_ALIASES = {"": "help", "temp": "temperature"}  # "/" alone asks for help
HELP = [
    ("Enter", "on an empty line: the model continues"),
    ("text", "is added as you type it, spaces included, without a new line"),
    ("text\\", "a \\ at the end adds a new line, \\\\ adds a \\"),
    ("//text", "adds /text, which is no command then"),
    *((f"/{name} {usage}", does) for name, (usage, does) in COMMANDS.items() if does),
    ("/temp 0.7", "sets an option of charrnn sample: /length 80, /min-p off"),
    ("/r /u /n", "the first letters of a command are enough"),
    ("↑", "brings back a line that you typed"),
    ("Tab", "completes a word with its most likely end, or a command"),
    ("Ctrl-C", "stops the model, clears the line, or quits if the line is empty"),
]
"""Everything that can be typed, each with what it does."""


def is_command(line: str) -> bool:
    """Return whether a line is a command, or the beginning of one.

    >>> is_command("/temp 0.7"), is_command("//home"), is_command("and/or")
    (True, False, False)
    """
    return line.startswith("/") and not line.startswith("//")


def read_command(line: str) -> tuple[str, str]:
    r"""Return a name of COMMANDS or SETTINGS and what follows it, or ADD and the text to add.

    >>> read_command("/u 2"), read_command("The end.\\")
    (('undo', '2'), ('add', 'The end.\n'))

    Raises:
        ConfigError: there is no such command, or several may be meant.
    """
    if not line:
        return "more", ""
    if is_command(line):
        word, _, rest = line[1:].partition(" ")
        return _find_name(_ALIASES.get(word, word.replace("_", "-"))), rest.strip()
    text = with_plain_newlines(line.removeprefix("/"))  # a pasted line holds newlines
    if text.endswith("\\\\"):
        return ADD, text[:-1]
    return ADD, text[:-1] + "\n" if text.endswith("\\") else text


def _find_name(word: str) -> str:
    """Return the command or setting that `word` is, or is the beginning of."""
    if word in COMMANDS or word in SETTINGS:
        return word
    for name in COMMANDS:
        if name.startswith(word):
            return name
    # If several settings match, the one that is a prefix of all others: /xt is /xtc.
    settings = sorted((name for name in SETTINGS if name.startswith(word)), key=len)
    if settings and all(name.startswith(settings[0]) for name in settings):
        return settings[0]
    if settings:
        raise ConfigError(f"/{word} may be {', '.join(settings)}; type more of it")
    # A name from before the first release, or a slip of the finger.
    near = RENAMED_OPTIONS.get(f"--{word}", "")[2:] or nearest(word, [*COMMANDS, *SETTINGS])
    hint = f"did you mean /{near}" if near else f"is it text, which is typed as //{word}"
    raise ConfigError(f"there is no /{word}; {hint}? See /help")


def read_count(word: str) -> int:
    """Return the number that was typed after a command.

    Raises:
        ConfigError: it is not a whole number above 0.
    """
    # isdigit alone knows ² and ٣; ten digits are more than anybody means.
    if not (word.isascii() and word.isdigit() and len(word) < 10 and int(word)):
        raise ConfigError(f"{word!r} is not a count; type a whole number from 1 on")
    return int(word)


_READ: dict[str, Callable[[str], Any]] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": lambda word: {"on": True}.get(word, word),
    "tuple[str, ...]": lambda words: tuple(_split(words)),
}


def _split(words: str) -> list[str]:
    r"""Return the words that are parted by blanks or quoted; a \ is a character like others."""
    lexer = shlex.shlex(words, posix=True, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = lexer.escape = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise ConfigError(
            f"{words} has a quote without its end; end it, or write the quote in quotes of the "
            "other kind"
        ) from error


def change_setting(config: SampleConfig, name: str, words: str) -> SampleConfig:
    """Return the settings with the one called `name` as in `words`; "off" is its default.

    >>> change_setting(DEFAULTS, "top-k", "5").top_k
    5

    Raises:
        ConfigError: the value is not allowed.
    """
    item = SETTINGS[name]
    if words == "off":
        return _with(config, item.name, getattr(DEFAULTS, item.name))
    value: Any = words
    with suppress(ValueError):  # it stays text, which SampleConfig refuses by the setting's name
        value = _READ[str(item.type).partition(" | ")[0]](words)
    return _with(config, item.name, value)


def _with(config: SampleConfig, name: str, value: Any) -> SampleConfig:
    """Return the settings with another value; turned off, it takes along what needs it."""
    values = vars(config) | {name: value}
    idle = {each: getattr(DEFAULTS, each) for each in idle_settings(values) if each != name}
    return replace(config, **values | idle)


def change_preset(config: SampleConfig, preset: str) -> SampleConfig:
    """Return the settings with the penalties and filters of a preset.

    Raises:
        ConfigError: there is no such preset.
    """
    kept = [item for item in fields(config) if item.metadata["section"] not in _PRESET_SECTIONS]
    return SampleConfig.from_preset(
        preset, **{item.name: getattr(config, item.name) for item in kept}
    )


def describe_setting(config: SampleConfig, name: str) -> str:
    """Return a setting as it would be typed.

    >>> describe_setting(DEFAULTS, "length"), describe_setting(DEFAULTS, "ban")
    ('length 200', 'ban off')
    """
    value = getattr(config, SETTINGS[name].name)
    if value is None or value is False or value == ():
        return f"{name} off"
    if value is True:
        return f"{name} on"
    return f"{name} {shlex.join(value) if isinstance(value, tuple) else value}"


def changed_settings(config: SampleConfig) -> list[str]:
    """Return the names of the settings that are not at their defaults."""
    names = {name: item.name for name, item in SETTINGS.items()}
    return [n for n, field in names.items() if getattr(config, field) != getattr(DEFAULTS, field)]


def chosen_values(config: SampleConfig, given: Collection[str]) -> dict[str, Any]:
    """Return the settings to continue a text with, by their fields.

    given: fields that a person set. Of the others the seed was drawn, and is not kept; a length
    that was given is kept even at its default, as turns then end exactly there.
    """
    changed = {SETTINGS[name].name for name in changed_settings(config)} - {"seed"}
    kept = changed | {"seed", "length"} & set(given)
    return {
        item.name: getattr(config, item.name) for item in SETTINGS.values() if item.name in kept
    }


def format_options(values: Mapping[str, Any]) -> str:
    """Return the options of a command line that make these settings, by a preset if that is short.

    >>> format_options({"temperature": 0.9, "top_p": 0.95, "dry_penalty": 0.5, "ban": ("a b",)})
    "--preset careful --temp 0.9 --ban 'a b'"
    """
    ways = [_options(values)]
    for name, preset in PRESETS.items():
        wanted = {**{key: getattr(DEFAULTS, key) for key in preset}, **values}
        rest = {key: value for key, value in wanted.items() if preset.get(key) != value}
        ways.append([f"--preset {name}", *_options(rest)])
    return " ".join(sorted(ways, key=len)[0])


def _options(values: Mapping[str, Any]) -> list[str]:
    options = []
    for name, value in values.items():
        option = "--temp" if name == "temperature" else "--" + name.replace("_", "-")
        if isinstance(value, bool):
            options.append(option if value else option.replace("--", "--no-", 1))
            continue
        for each in map(str, value if isinstance(value, tuple) else (value,)):
            # A value that begins with a dash would look like an option.
            options.append(option + ("=" if each.startswith("-") else " ") + shlex.quote(each))
    return options
