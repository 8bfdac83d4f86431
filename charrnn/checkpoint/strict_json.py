"""JSON read more strictly than Python does, and checks of what is in it.

A file's digest does not prevent forgery, so a document is checked before anything uses it. The
errors are ValueErrors that container.py turns into messages.
"""

import json
import math
import re
import reprlib
from collections.abc import Collection
from typing import Any

_MAX_VALUES = 1 << 18  # keeps what is parsed below 64 MB; 256 layers with moments take 42,000
_MAX_DEPTH = 32
_MAX_DIGITS = 300  # a float holds them, and they stay below Python's own limit of 4,300
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


def parse_json(text: str, max_values: int = _MAX_VALUES) -> Any:
    """Parse JSON more strictly than Python does.

    Raises:
        ValueError: not JSON, a key twice, a number that is not finite or has more than 300 digits,
            half of a surrogate pair, nested more than 32 deep, or more values than `max_values`.
    """
    if sum(map(text.count, ",[{")) > max_values:
        raise ValueError(f"it lists more than {max_values:,} values")
    try:
        value = json.loads(text, object_pairs_hook=_make_dict, parse_int=_parse_int)
    except RecursionError as error:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} deep") from error
    _check_plain(value, 0)
    return value


def check_keys(value: Any, keys: Collection[str], where: str) -> None:
    """Check that an object has exactly these keys.

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
    """Check the type of a value, and of what is in it.

    kind: a type, or a union of types; int means a count: a whole number from 0. {key: kind}: an
        object that may lack keys and have others. [kind]: a list. (kind, kind): a list of two.

    Raises:
        ValueError: names the part that is wrong, its value and what was expected.
    """
    is_list = isinstance(kind, list | tuple)
    outer: Any = list if is_list else dict if isinstance(kind, dict) else kind
    # A bool is an int to Python, but not in a file.
    is_type = isinstance(value, outer) and isinstance(value, bool) == (kind is bool)
    is_negative = isinstance(value, int) and value < 0 and kind in (int, int | None)
    if not is_type or is_negative or (isinstance(kind, tuple) and len(value) != len(kind)):
        length = f" of {len(kind)}" if isinstance(kind, tuple) else " from 0" * is_negative
        expected = getattr(outer, "__name__", outer)
        raise ValueError(f"{where} is {shown(value)}, expected {expected}{length}")
    inner: list[tuple[Any, Any]] = []  # the keys or indices to check, each with its kind
    if isinstance(kind, dict):
        inner = [(key, each) for key, each in kind.items() if key in value]
    elif is_list:
        inner = list(enumerate(kind if isinstance(kind, tuple) else kind * len(value)))
    for key, each in inner:
        check_types(value[key], each, f"{where}.{key}")


def shown(value: object) -> str:
    """Return a value as messages show it: one short line of printable characters."""
    return _REPR.repr(value)[:100]


def _make_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict, or refuse a key that occurs twice: readers would take different ones."""
    values = dict(pairs)
    if len(values) < len(pairs):
        for key, _ in pairs:
            if values.pop(key, pairs) is pairs:
                raise ValueError(f"the key {shown(key)} occurs twice")
    return values


def _parse_int(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number in it has {len(digits):,} digits")
    return int(digits)


def _check_plain(value: Any, depth: int) -> None:
    """Refuse what Python's parser accepts and other parts of the program would fail on."""
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is nested more than {_MAX_DEPTH} deep")
    if isinstance(value, str):
        if _LONE_SURROGATE.search(value):
            raise ValueError("a text in it holds half of a surrogate pair")
    elif isinstance(value, dict | list):
        for each in value:  # of a dict the keys
            _check_plain(each, depth + 1)
        for each in value.values() if isinstance(value, dict) else ():
            _check_plain(each, depth + 1)
    elif isinstance(value, int | float) and not math.isfinite(value):
        raise ValueError(f"a number in it is {value}, which is not finite")
