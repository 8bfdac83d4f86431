"""How a setting is declared, and how its values are checked.

A setting is a dataclass field whose metadata holds its help, choices and range. `validate` checks
values against it; the command line makes its options and help pages from it.
"""

from __future__ import annotations

import math
import operator
import os
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field, fields, replace
from typing import Any, TypeVar

from charrnn.errors import ConfigError
from charrnn.wording import nearest

Config = TypeVar("Config")

_ANY_ESCAPE = re.compile(r"\\[nrt]")
_ESCAPE = re.compile(r"\\[nrt](?![a-z])")  # the \n of \newpage is not one

# The command line's "did you mean" reads this too.
RENAMED = {
    "skip": "residual",
    "tie_output": "tie_embeddings",
    "graph": "cuda_graph",
    "schedule": "lr_schedule",
    "keep": "keep_checkpoints",
    "unfinished": "on_unfinished",
    "loop_penalty": "dry_penalty",
    "loop_length": "dry_length",
    "temperature_range": "dynamic_temperature",
    "novel": "max_copy",
}
"""Old names of settings, as files of older runs have them, and today's."""


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    section: str = "",
    unset: str = "",
) -> Any:
    """Return a field with its default, its help and the values it may take.

    ge, gt, le: bounds (≥, >, ≤). section: heading in the help page. unset: the meaning of a default
    of None, in words.
    """
    bounds = {"ge": ge, "gt": gt, "le": le}
    rule = {"help": help, "choices": choices, "section": section, "unset": unset, **bounds}
    return field(default=default, metadata=rule)


UNKNOWN = ("error", "skip", "map")
"""What can be done with characters that a model never saw; text/substitutions.py does it."""
COST = "cost"  # where a text is scored: they have a price of their own


def unknown_setting(where: str) -> Any:
    """Return the field that says what is done with such characters of a prompt or a text."""
    words = f"characters of the {where} that the model never saw: refuse them, leave them out, or "
    return setting("error", words + "write the nearest that it knows, if any", choices=UNKNOWN)


_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "a text"),
    "tuple[str, ...]": (tuple, "texts"),
}
_BOUNDS: tuple[tuple[str, Any, str], ...] = (
    ("ge", operator.lt, "at least"),
    ("gt", operator.le, "above"),
    ("le", operator.gt, "at most"),
)
_MOST_SHOWN = 60  # characters
_MAX_INT = (1 << 64) - 1  # enough for any count, and the largest seed of a generator
_MAX_FLOAT = 1e38  # about the largest of single precision, in which training computes


def validate(config: Any) -> None:
    """Check every field of a settings object against its rule, and make its value a plain one.

    Raises:
        ConfigError: names the field, its value and the values it may take.
    """
    for item in fields(config):
        rule = {key: item.metadata[key] for key in ("choices", "ge", "gt", "le")}
        value = checked(item.name, getattr(config, item.name), str(item.type), **rule)
        object.__setattr__(config, item.name, value)  # the class is frozen


def checked(
    name: str,
    value: Any,
    annotation: str,
    *,
    choices: tuple[str, ...] = (),
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
) -> Any:
    """Return a value as a plain one; annotation: its type, such as "float | None".

    >>> checked("count", 3, "int", ge=1)
    3

    Raises:
        ConfigError: as `validate`.
    """
    value = plain(value)
    # Annotations are strings here: "float | None" splits into "float" and "None".
    kind_name, _, optional = annotation.partition(" | ")
    if value is None and optional:
        return None
    if choices and value not in choices:
        raise ConfigError(f"{name} is {value!r}; choose from {', '.join(choices)}")
    kind, words = _KINDS[kind_name]
    if kind is tuple and isinstance(value, list):
        value = tuple(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{name} is {value}; it must be a finite number")
    largest = _MAX_INT if kind is int else _MAX_FLOAT
    if is_number and abs(value) > largest:
        raise ConfigError(f"{name} is out of range; it must be at most {largest:.1e}")
    # A bool is an int to Python, but not here.
    is_kind = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    if not is_kind or (kind is tuple and not all(isinstance(each, str) for each in value)):
        raise ConfigError(f"{name} is {value!r}; it must be {words}")
    bounds = {"ge": ge, "gt": gt, "le": le}
    for key, is_outside, bound_words in _BOUNDS if is_number else ():
        bound = bounds[key]
        if bound is not None and is_outside(value, bound):
            raise ConfigError(f"{name} is {value}; it must be {bound_words} {bound:g}")
    return value


def check_type(what: str, value: object, kind: Any, give: str) -> None:
    """Refuse a value of another type than `kind`, at the border to Python's users.

    Raises:
        ConfigError: names the value's type, and what to `give`.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{what} is of type {type(value).__name__}; give {give}")


def refuse_escapes(option: str, text: str, alphabet: str | None = None) -> None:
    r"""Refuse the \n of a text in which a newline was meant, as a shell leaves it.

    alphabet: of the model that reads the text. One that knows the backslash may have seen code; to
    another even the \n of \newpage is nothing that it could read.

    Raises:
        ConfigError: names the option or field, its text and how to write a newline.
    """
    is_meant = (_ESCAPE if alphabet is None else _ANY_ESCAPE).search(text)
    if not is_meant or "\\" in (alphabet or ""):
        return
    shown = text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "…"
    in_files = "" if option.startswith("-") else ', "\\n" in a configuration file'
    raise ConfigError(
        f"{option} is {shown} with backslashes, which are taken literally; for newlines write "
        f"$'\\n' in bash or zsh{in_files}"
    )


def plain(value: Any) -> Any:
    """Return a number of numpy or torch as Python's own, a path as its text."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def with_settings(config: Config, settings: Mapping[str, Any]) -> Config:
    """Return a settings object with other values, by name.

    Raises:
        ConfigError: a name is unknown, or a value is out of range.
    """
    chosen: Any = config
    check_names(settings, [item.name for item in fields(chosen)])
    return replace(chosen, **settings) if settings else config


def chosen_settings(
    kind: type[Config], config: Config | None, settings: Mapping[str, Any]
) -> Config:
    """Return `config`, or the defaults of its kind, with other values by name.

    Raises:
        ConfigError: it is of another kind; or as `with_settings`.
    """
    if config is None:
        return with_settings(kind(), settings)
    check_type("config", config, kind, f"a {kind.__name__}, or its fields by keyword")
    return with_settings(config, settings)


def check_names(given: Iterable[str], known: Collection[str]) -> None:
    """Refuse the first name of a setting that is unknown.

    Raises:
        ConfigError: says which was probably meant.
    """
    for name in given:
        if name not in known:
            raise ConfigError(f"there is no setting {name!r}{did_you_mean(name, known)}")


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return the end of a message that names the nearest of the known settings, if one is near.

    >>> did_you_mean("hiden_size", ["cell", "hidden_size"])
    "; did you mean 'hidden_size'?"
    """
    if RENAMED.get(name) in known:
        return f"; it is {RENAMED[name]!r} now"
    near = nearest(name, known)
    return f"; did you mean {near!r}?" if near else ""


def with_seed(config: Config) -> Config:
    """Return the settings with a random seed of 32 bits if they have none.

    >>> from charrnn.config import SampleConfig
    >>> with_seed(SampleConfig(seed=5)).seed
    5
    """
    chosen: Any = config
    return (
        config if chosen.seed is not None else replace(chosen, seed=int.from_bytes(os.urandom(4)))
    )
