"""What a client of the server is told when a request cannot be answered.

A RequestError has the HTTP status and the fields of OpenAI's error object; every handler and the
guard raise it, and app.py writes it. Inside a stream the same object is an event of its own.
"""

import json
from collections.abc import Mapping
from typing import Any

from charrnn.errors import CharRNNError

# OpenAI's `type` of each status; a status that is not listed is the server's own fault.
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}

_MOST_SHOWN = 500  # characters of a message


def error_body(
    message: str, type: str, param: str | None = None, code: str | None = None
) -> dict[str, Any]:
    """Return OpenAI's JSON of an error.

    >>> error_body("no such model", "not_found_error", "model", "model_not_found")["error"]["code"]
    'model_not_found'
    """
    return {"error": {"message": message, "type": type, "param": param, "code": code}}


class RequestError(Exception):
    """A request that gets an error as its answer.

    Args:
        status: The HTTP status, such as 400.
        message: One line: what is wrong, with the value; what was expected; the way out.
        type: OpenAI's kind of error; None takes the one of the status.
        param: The field of the request that is wrong, such as "logit_bias" or "prompt[2]".
        code: OpenAI's code, such as "model_not_found".
        headers: More headers of the answer, such as Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if len(message) > _MOST_SHOWN:  # it may quote what was sent
            message = message[:_MOST_SHOWN] + "…"
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = type or TYPES.get(status, "server_error")
        self.param = param
        self.code = code
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON of the answer."""
        return error_body(self.message, self.type, self.param, self.code)

    def encode(self) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Return the headers and the body of the answer, as they are sent."""
        body = json.dumps(self.body(), ensure_ascii=False).encode("utf-8", "replace")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((name.lower().encode(), value.encode()) for name, value in self.headers.items()),
        ]
        return headers, body


def bad_request(message: str, param: str | None = None, code: str | None = None) -> RequestError:
    """Return the error of a request that cannot be understood or obeyed: status 400."""
    return RequestError(400, message, param=param, code=code)


def model_not_found(name: str, names: tuple[str, ...]) -> RequestError:
    """Return the error of a request for a model that is not served; `names` are those that are.

    >>> model_not_found("gpt-4", ("shakes",)).message
    'the model "gpt-4" is not served here; served are: shakes'
    """
    message = f'the model "{name}" is not served here; served are: {", ".join(names)}'
    return RequestError(404, message, param="model", code="model_not_found")


def too_many_requests(message: str, retry_after_seconds: int = 1) -> RequestError:
    """Return the error of a full queue: status 429, with the seconds to wait before a new try."""
    return RequestError(
        429,
        message,
        code="rate_limit_exceeded",
        headers={"Retry-After": str(retry_after_seconds)},
    )


def closing() -> RequestError:
    """Return the error of a server that is ending: status 503."""
    return RequestError(
        503,
        "the server is closing down; send the request again when it runs",
        code="server_closing",
        headers={"Retry-After": "5"},
    )


def refused(error: CharRNNError, param: str | None = None) -> RequestError:
    """Return status 400 for a setting or a text that the library refuses, in Python's words."""
    return bad_request(str(error), param)
