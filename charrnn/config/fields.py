"""How a setting is described, and how values are held to that: the grammar of `config`.

A field's metadata holds its help, choices and range; the command line reads the same. It knows no
setting.
"""

from __future__ import annotations

import math
from dataclasses import field, fields
from typing import Any

from charrnn.errors import ConfigError


def setting(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    section: str = "",
    unset: str = "",
) -> Any:
    """Describe one field: its default, what it means, and which values it may take.

    unset: what a default of None stands for, in words.
    """
    rule = {"help": help, "choices": choices, "minimum": minimum, "above": above}
    return field(
        default=default, metadata={**rule, "maximum": maximum, "section": section, "unset": unset}
    )


_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "bool": (bool, "true or false"),
    "str": (str, "a text"),
    "tuple[str, ...]": (tuple, "texts"),
}
_LARGEST_WHOLE = (1 << 64) - 1  # it counts anything, and seeds any generator
_LARGEST_FLOAT = 1e38  # in single precision, which training computes in


def validate(config: Any) -> None:
    """Hold every field of a settings object to its rule.

    Raises:
        ConfigError: names the field, its value and the values it may take.
    """
    for item in fields(config):
        value, rule = getattr(config, item.name), item.metadata
        name, _, optional = str(item.type).partition(" | ")
        if value is None and optional:
            continue
        if rule["choices"] and value not in rule["choices"]:
            raise ConfigError(f"{item.name} is {value!r}; choose from {', '.join(rule['choices'])}")
        kind, words = _KINDS[name]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{item.name} is {value}; it must be a finite number")
        largest = _LARGEST_WHOLE if kind is int else _LARGEST_FLOAT
        if is_number and abs(value) > largest:
            raise ConfigError(f"{item.name} is out of range; it must be at most {largest:.1e}")
        if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
            raise ConfigError(f"{item.name} is {value!r}; it must be {words}")
        if not is_number:
            continue
        low, above, high = rule["minimum"], rule["above"], rule["maximum"]
        if low is not None and value < low:
            raise ConfigError(f"{item.name} is {value}; it must be at least {low:g}")
        if above is not None and value <= above:
            raise ConfigError(f"{item.name} is {value}; it must be above {above:g}")
        if high is not None and value > high:
            raise ConfigError(f"{item.name} is {value}; it must be at most {high:g}")
