"""Reports of views as JSON: every view of `charrnn inspect` yields a frozen dataclass.

A report holds numbers, strings, arrays, dicts, lists and other reports. The same report is what
`--json` prints, what the page shows, and what the pictures are drawn from.
"""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

_DIGITS = 6  # significant, of float32


def as_json(value: Any) -> Any:
    """Return a report as JSON holds it: arrays as lists, numbers with six digits, NaN as null.

    >>> as_json({"gain": np.float32([0.1, np.nan])})
    {'gain': [0.1, None]}
    """
    if is_dataclass(value):
        return {item.name: as_json(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    return value
