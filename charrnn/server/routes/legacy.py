"""GET /generate, as torch-rnn-server has it: what rnn-writer and other editors ask for.

Each completion is a sentence, or with a model of records the rest of one. Any setting of POST
/v1/completions can be given in the query too, as JSON or as plain text.
"""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response

from charrnn.config.sample import ENDS, FORMS
from charrnn.server.errors import RequestError, bad_request
from charrnn.server.fields import check_known
from charrnn.server.incoming import service_of
from charrnn.server.protocol import (
    COMPLETION_FIELDS,
    CompletionRequest,
    ModelInfo,
    parse_completion,
)
from charrnn.server.texts import Texts, info_of
from charrnn.server.wire import JSON

MOST = 10  # completions, as torch-rnn-server gives
_MAX_CHARS = 500
_OWN = ("n", "start_text")
_NOT_HERE = {"echo", "logprobs", "prompt", "stream", "stream_options", "suffix"}
_FIELDS = (COMPLETION_FIELDS - _NOT_HERE) | {*_OWN}
_TEXTS = {"model", "label", "labels", "preset", "regex", "stop", "stop_regex", "template"}


async def handler(request: Request) -> Response:
    """Answer one request; an error has its message at the top too, where rnn-writer looks."""
    began = time.monotonic()
    service = service_of(request)
    query = request.scope["query_string"].decode("ascii", "replace")
    try:
        given = read_query(query)
        served = service.find_text(given.get("model"))
        asked = await service.check(parse_query, given, info_of(served, service.config))
        texts = await Texts.prepare(service, served, asked)
        wholes = texts.choose(await texts.wholes())
    except RequestError as error:
        return JSON({"message": error.message} | error.body(), error.status, error.headers)
    return JSON(
        {
            "start_text": raw_value(query, "start_text"),
            "completions": [text.text for text in wholes],
            "time": f"{time.monotonic() - began:.2f}",
        }
    )


def read_query(query: str) -> dict[str, Any]:
    """Return the fields of a query; what is a text stays one, anything else is read as JSON.

    >>> read_query("start_text=It+was%21&n=3&stop=5")
    {'start_text': 'It was!', 'n': 3, 'stop': '5'}

    Raises:
        RequestError: a field is given twice.
    """
    found: dict[str, Any] = {}
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError as error:
        raise bad_request(f"the query cannot be read: {error}") from error
    for name, value in pairs:
        if name in found:
            raise bad_request(f"{name[:80]} is given twice; give it once", name[:80])
        found[name] = value if name in _TEXTS or name == "start_text" else _plain(value)
    return found


def raw_value(query: str, name: str) -> str:
    """Return a field as it was sent: rnn-writer decodes it, and compares.

    >>> raw_value("start_text=It%20was&n=1", "start_text")
    'It%20was'
    """
    pairs = (pair.partition("=") for pair in query.split("&"))
    return next((value for key, _, value in pairs if key == name), "")


def parse_query(given: dict[str, Any], info: ModelInfo) -> CompletionRequest:
    """Return the request of a query, which is for sentences unless it says what ends a text.

    Raises:
        RequestError: as `parse_completion`.
    """
    check_known(given, _FIELDS)
    n = given.get("n")
    body: dict[str, Any] = {name: value for name, value in given.items() if name not in _OWN}
    if not {*ENDS, *FORMS, "beam"} & body.keys() and not info.vocab.has_end:
        body["sentences"] = 1
    if not {"max_tokens", "length"} & body.keys():
        body["max_tokens"] = min(_MAX_CHARS, info.max_chars)
    body["n"] = min(n, MOST) if isinstance(n, int) and not isinstance(n, bool) else n
    # A person writes anything into an editor: what the model never saw is read as the nearest.
    body.setdefault("unknown", "map")
    return parse_completion(body | {"prompt": given.get("start_text", "")}, info)


def _plain(value: str) -> Any:
    """Return a number, true, false, a list or an object as what it is; anything else is a text."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
