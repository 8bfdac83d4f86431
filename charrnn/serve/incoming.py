"""What the handlers read of a request: the service that answers it, its JSON, the fields of many.

A body is checked before anything is made of it: its nesting and the number of its values are
counted in the text, so that no request makes Python hold many times its own size.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from starlette.requests import Request

from charrnn.checkpoint.strict_json import parse_json
from charrnn.serve.errors import bad_request

if TYPE_CHECKING:
    from charrnn.serve.service import Service

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
