"""What the handlers read of a request: the service that answers it, its JSON, the fields of many.

A body is checked before anything is made of it: its nesting and the number of its values are
counted in the text, so that no request makes Python hold many times its own size.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from starlette.requests import Request

from charrnn.checkpoint.strict_json import parse_json
from charrnn.errors import ConfigError
from charrnn.server.errors import bad_request, refused
from charrnn.server.fields import Fields, shown
from charrnn.server.protocol import blamed

if TYPE_CHECKING:
    from charrnn.server.service import Service

T = TypeVar("T")

_MOST_TEXTS = 2048  # of one request
_MOST_BRACKETS = 20_000  # of a body's objects and lists, each of which costs memory
_MAX_DEPTH = 32
_LONG_BYTES = 1 << 14  # a longer body takes up to 10 ms, and is parsed by a thread
# Of what is between quotes nothing counts; a text without its closing quote goes to the end.
_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


def service_of(request: Request) -> Service:
    """Return the service that answers a request."""
    service: Service = request.app.state.service
    return service


async def read_json(request: Request) -> dict[str, Any]:
    """Return the JSON object of a request's body.

    Raises:
        RequestError: it is not UTF-8, not JSON or not an object, has a key twice, a number that is
            not finite, half of a surrogate pair, or more values or depth than any request needs.
    """
    body = await request.body()
    service = service_of(request)
    most = service.config.max_prompt + _MOST_BRACKETS  # a prompt may be ids
    if len(body) < _LONG_BYTES:
        return parse_body(body, most)
    return await service.check(parse_body, body, most)


def parse_body(body: bytes, max_values: int) -> dict[str, Any]:
    """Return the JSON object in a body, as `read_json` does.

    >>> parse_body(b'{"prompt": "It was"}', 100)
    {'prompt': 'It was'}
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise bad_request(f"the body is not UTF-8 (byte {error.start})") from None
    if not text.strip():
        raise bad_request('the body is empty; send a JSON object such as {"prompt": "It was"}')
    marks = _STRING.sub("", text)
    if marks.count(",") > max_values:
        raise bad_request(f"the body lists more than {max_values:,} values; send fewer")
    depth = 0
    for number, bracket in enumerate(_BRACKET.findall(marks)):
        depth += 1 if bracket in "[{" else -1
        if depth > _MAX_DEPTH or number > 2 * _MOST_BRACKETS:
            raise bad_request(
                f"the body is nested more than {_MAX_DEPTH} deep, or has more than "
                f"{_MOST_BRACKETS:,} objects and lists; make it plainer"
            )
    try:
        value = parse_json(text, len(text))
    except ValueError as error:
        raise bad_request(f"the body is not JSON that can be used: {error}") from None
    if not isinstance(value, dict):
        kind = "list" if isinstance(value, list) else "single value"
        raise bad_request(f"the body is a {kind}; send an object")
    return value


def text_of(given: Fields, name: str, most: int) -> str:
    """Return a text of at most so many characters; it must be there."""
    text = given.text(name)
    if text is None:
        raise bad_request(f"there is no {name}; give the text as {name}", name)
    check_length(len(text), name, most)
    return text


def inputs_of(value: Any, most: int) -> list[str]:
    """Return the texts of `input`: one, or a list of them; most: characters of all together."""
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not texts:
        refuse_input(value, "input")
    check_count(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            refuse_input(text, f"input[{i}]")
    check_length(sum(map(len, texts)), "input", most)
    return texts


def check_count(texts: Sequence[Any]) -> None:
    """Refuse an `input` of too many texts."""
    if len(texts) > _MOST_TEXTS:
        raise bad_request(f"input has {len(texts):,} texts; give at most {_MOST_TEXTS:,}", "input")


def refuse_input(value: Any, place: str) -> NoReturn:
    """Refuse what is no text; place: its name."""
    raise bad_request(f"{place} is {shown(value)}; it must be a text, or a list of texts", place)


def check_length(chars: int, name: str, most: int) -> None:
    """Refuse a text, or several together, of too many characters."""
    if chars > most:
        raise bad_request(
            f"{name} has {chars:,} characters; this server takes at most {most:,}",
            name,
            "context_length_exceeded",
        )


def settings_of(kind: Callable[..., T], settings: dict[str, Any]) -> T:
    """Return a settings object; the field that is wrong is named."""
    try:
        return kind(**settings)
    except ConfigError as error:
        raise refused(error, blamed(error, settings)) from error
