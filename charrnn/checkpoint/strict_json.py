"""JSON that may be meant to do harm: parsed strictly, its types held to what is expected.

What is refused is a ValueError, whose text has no line feeds or escapes, whatever the JSON holds.
It knows no file.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Collection
from typing import Any

_MOST_VALUES = 1 << 18  # keeps what is parsed below 64 MB; 256 layers with moments take 42,000
_DEEPEST = 32
_MOST_DIGITS = 300  # a float holds them, and Python's limit of 4300 digits is never met
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_MESSAGES = reprlib.Repr()
_MESSAGES.maxstring = _MESSAGES.maxother = 80


def parse_json(text: str) -> Any:
    """Read JSON without the freedoms that Python takes.

    Raises:
        ValueError: not JSON, a key twice, a number that is not finite or has more than 300 digits,
            half of a surrogate pair, nested more than 32 deep, or more than 262,144 values.
    """
    if sum(map(text.count, ",[{")) > _MOST_VALUES:
        raise ValueError(f"it lists more than {_MOST_VALUES:,} values")
    try:
        value = json.loads(text, object_pairs_hook=_distinct, parse_int=_whole_number)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {_DEEPEST} deep") from error
    _check_plain(value, 0)
    return value


def check_keys(value: Any, keys: Collection[str], where: str) -> None:
    """Hold an object to exactly these keys.

    Raises:
        ValueError: names the key that is missing or unknown.
    """
    check_types(value, {}, where)
    for key in keys:
        if key not in value:
            raise ValueError(f"{where} has no {key}")
    if unknown := value.keys() - set(keys):
        raise ValueError(f"{where} has an unknown key {shown(min(unknown))}")


def check_types(value: Any, kind: Any, where: str) -> None:
    """Hold a value to a type, and what is in it to theirs.

    kind: a type, or a union of types; int stands for counts, whole numbers from 0. {key: kind}: an
        object that may lack keys and have others. [kind]: a list. (kind, kind): a list of two.

    Raises:
        ValueError: names the place, its value and what was expected.
    """
    is_list = isinstance(kind, list | tuple)
    outer: Any = list if is_list else dict if isinstance(kind, dict) else kind
    is_fit = isinstance(value, outer) and isinstance(value, bool) == (kind is bool)
    is_below = isinstance(value, int) and value < 0 and kind in (int, int | None)
    if not is_fit or is_below or (isinstance(kind, tuple) and len(value) != len(kind)):
        length = f" of {len(kind)}" if isinstance(kind, tuple) else " from 0" * is_below
        expected = getattr(outer, "__name__", outer)
        raise ValueError(f"{where} is {shown(value)}, expected {expected}{length}")
    for key, inner in _parts(value, kind):
        check_types(value[key], inner, f"{where}.{key}")


def shown(value: object) -> str:
    """Give a value as a message may hold it: one short line of printable characters."""
    return _MESSAGES.repr(value)[:100]


def _parts(value: Any, kind: Any) -> list[tuple[Any, Any]]:
    """Give the keys or places in `value` that `kind` speaks of, with the kind of each."""
    if isinstance(kind, dict):
        return [(key, kind[key]) for key in kind if key in value]
    if isinstance(kind, list):
        return [(place, kind[0]) for place in range(len(value))]
    return list(enumerate(kind)) if isinstance(kind, tuple) else []


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict, unless a key stands twice, of which readers would take different ones."""
    values = dict(pairs)
    if len(values) < len(pairs):
        for key, _ in pairs:
            if values.pop(key, pairs) is pairs:
                raise ValueError(f"the key {shown(key)} stands twice")
    return values


def _whole_number(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number in it has {len(digits):,} digits")
    return int(digits)


def _check_plain(value: Any, depth: int) -> None:
    """Refuse what Python's parser lets through and other parts of the program would trip over."""
    if depth > _DEEPEST:
        raise ValueError(f"it is nested more than {_DEEPEST} deep")
    if isinstance(value, str):
        if _HALF_PAIR.search(value):
            raise ValueError("a text in it holds half of a surrogate pair")
    elif isinstance(value, dict | list):
        for each in value:
            _check_plain(each, depth + 1)
        for each in value.values() if isinstance(value, dict) else ():
            _check_plain(each, depth + 1)
    elif isinstance(value, int | float) and not math.isfinite(value):
        raise ValueError(f"a number in it is {value}, which is not finite")
