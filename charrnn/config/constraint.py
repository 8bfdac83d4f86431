"""Which settings that hold a text to a form go together, and with what may end it."""

from __future__ import annotations

import re
from typing import Any

from charrnn.errors import ConfigError

_FORMS = ("regex", "choices", "template", "balanced")
_ENDS = ("seconds", "lines", "sentences", "documents", "stop", "stop_regex")


def check_constraint(config: Any) -> None:
    """Hold the settings of a SampleConfig that constrain a text to one another.

    Raises:
        ConfigError: two say what the text must be, an end could cut it short, or one is empty or
            no pattern.
    """
    forms, ends = (
        [name for name in names if getattr(config, name) not in (None, False, ())]
        for names in (_FORMS, _ENDS)
    )
    if len(forms) > 1:
        raise ConfigError(f"{' and '.join(forms)} each say what the text must be; keep one")
    if forms and ends:
        raise ConfigError(
            f"{ends[0]} could end the text before {forms[0]} is complete; leave one of them out"
        )
    for name in ("regex", "template"):
        if getattr(config, name) == "":
            raise ConfigError(f"{name} is empty; it must hold at least one character")
    if config.regex is not None:
        try:
            re.compile(config.regex)
        except (re.error, RecursionError, OverflowError) as error:
            raise ConfigError(f"regex is {config.regex!r}, which is no pattern: {error}") from error
