"""The fields of a request's JSON object: each read by name, with its type and its range.

A null is a field that is not there, as in OpenAI's API. Every error names its field.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from charrnn.config import checked
from charrnn.config.fields import did_you_mean
from charrnn.errors import ConfigError
from charrnn.server.errors import bad_request, refused

_MOST_SHOWN = 80  # characters of a value in a message
# Names that other routes and other servers have for the same, however unlike; the first that a
# route knows is meant.
_MEANT = {
    "content": ("text", "prompt", "input"),
    "input": ("text", "prompt"),
    "inputs": ("input", "text", "prompt"),
    "instances": ("input",),
    "max_completion_tokens": ("max_tokens",),
    "max_length": ("max_tokens",),
    "max_new_tokens": ("max_tokens",),
    "max_output_tokens": ("max_tokens",),
    "messages": ("prompt", "input", "text"),
    "n_predict": ("max_tokens",),
    "num_predict": ("max_tokens",),
    "prompt": ("input", "text", "start_text"),
    "query": ("input", "text"),
    "start_text": ("prompt", "text", "input"),
    "stop_sequences": ("stop",),
    "text": ("input", "prompt"),
    "texts": ("input", "text"),
    "top_logprobs": ("logprobs", "top"),
}
_ENCODER = json.JSONEncoder(ensure_ascii=False)


class Fields:
    """A JSON object whose values are checked as they are read; `place`: the field that holds it."""

    def __init__(self, body: Mapping[str, Any], place: str = "") -> None:
        self._body = body
        self._prefix = f"{place}." if place else ""

    def get(self, name: str) -> Any:
        """Return a value as it came; None where it is missing or null."""
        return self._body.get(name)

    def integer(self, name: str, default: int, *, ge: int, le: int | None = None) -> int:
        """Return a whole number within these bounds.

        Raises:
            RequestError: it is anything else. So do the others.
        """
        value = self._checked(name, "int | None", ge=ge, le=le)
        return default if value is None else int(value)

    def optional_integer(self, name: str, *, ge: int, le: int | None = None) -> int | None:
        """Return a whole number within these bounds, or None."""
        value = self._checked(name, "int | None", ge=ge, le=le)
        return None if value is None else int(value)

    def number(
        self,
        name: str,
        default: float,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
    ) -> float:
        """Return a finite number within these bounds."""
        value = self._checked(name, "float | None", ge=ge, gt=gt, le=le)
        return default if value is None else float(value)

    def flag(self, name: str) -> bool:
        """Return true or false, which is the default."""
        return bool(self._checked(name, "bool | None"))

    def text(self, name: str) -> str | None:
        """Return a text, or None."""
        value = self._checked(name, "str | None")
        return None if value is None else str(value)

    def _checked(
        self,
        name: str,
        annotation: str,
        *,
        ge: float | None = None,
        gt: float | None = None,
        le: float | None = None,
    ) -> Any:
        """Return a value of this type within these bounds, or None."""
        place = self._prefix + name
        try:
            return checked(place, self._body.get(name), annotation, ge=ge, gt=gt, le=le)
        except ConfigError as error:
            raise refused(error, place) from error


def check_known(body: Mapping[str, Any], known: Collection[str], place: str = "") -> None:
    """Refuse a field that nobody knows; say which was probably meant.

    Raises:
        RequestError: names the first such field.
    """
    for name in body:
        if name not in known:
            field = f"{place}.{name}" if place else name
            meant = [each for each in _MEANT.get(name, ()) if each in known]
            hint = f"; it is {meant[0]!r} here" if meant else did_you_mean(name, sorted(known))
            raise bad_request(
                f"there is no field {shown(field)}{hint}",
                field[:_MOST_SHOWN],
                "unknown_parameter",
            )


def shown(value: Any) -> str:
    """Return a value as JSON has it, cut where it is long.

    >>> shown("hi"), shown(True), shown("x" * 1000)[-2:]
    ('"hi"', 'true', 'x…')
    """
    shown = ""
    for part in _ENCODER.iterencode(value):  # no more of it than is shown: it may be long
        shown += part
        if len(shown) > _MOST_SHOWN:
            return shown[:_MOST_SHOWN] + "…"
    return shown


def is_int(value: Any) -> bool:
    """Return whether a value is a whole number, which true is not."""
    return isinstance(value, int) and not isinstance(value, bool)
