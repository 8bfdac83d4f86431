"""A client of the server in plain Python: what is sent, and what comes back, byte for byte."""

from __future__ import annotations

import json
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from urllib.parse import urlsplit


class Answer:
    """A status, headers and a body that was read to its end."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error

    @property
    def events(self) -> list[Any]:
        """The objects of a stream that ends with [DONE]."""
        lines = [line for line in self.body.decode().split("\n\n") if line]
        lines = [line for line in lines if not line.startswith(":")]
        assert all(line.startswith("data: ") for line in lines)
        assert lines[-1] == "data: [DONE]"
        return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


class Asker:
    """Asks the server at an address, a connection for each request."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._host = urlsplit(url).netloc

    def connect(self) -> HTTPConnection:
        return HTTPConnection(self._host, timeout=20)

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        connection = self.connect()
        connection.request("GET", path, headers=headers or {})
        try:
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def post(self, path: str, body: Any) -> Answer:
        connection = self.connect()
        self.send(connection, path, body)
        try:
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def send(self, connection: HTTPConnection, path: str, body: Any) -> None:
        """Send a request, and read nothing."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request("POST", path, raw, {"Content-Type": "application/json"})

    def complete(self, **body: Any) -> Any:
        """Return the answer to a request of completions, which must be one."""
        answer = self.post("/v1/completions", body)
        assert answer.status == 200, answer.body
        return answer.json

    def refuse(self, **body: Any) -> dict[str, Any]:
        """Return the error of a request of completions that must be refused with status 400."""
        answer = self.post("/v1/completions", body)
        assert answer.status == 400, answer.body
        return answer.error
