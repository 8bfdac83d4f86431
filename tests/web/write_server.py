"""A small server for the tests of the page that writes: OpenAI's objects, and all kinds of trouble.

It samples nothing: what it writes depends on the seed alone, and every cost is known.
"""

from __future__ import annotations

import json
import math
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from charrnn.server.page import PageModel, make_page, policy

WORDS = ["the", "king", "of", "storm", "and", "sea", "shall", "not", "be", "moved", "by", "love"]


def text_of(seed: int, index: int = 0, length: int = 40, words: list[str] = WORDS) -> str:
    """Return what a choice of a seed is."""
    chosen = random.Random(1000 * seed + index)
    text = ""
    while len(text) < length:
        text += chosen.choice(words) + chosen.choice((" ", " ", " ", "\n"))
    return text[:length]


def bits_of(char: str) -> float:
    """Return what a character costs, by its code: 0 to 12.9 bits."""
    return ord(char) * 37 % 130 / 10


def logprobs_of(text: str, offset: int = 0, *, is_start: bool = False) -> dict[str, list[Any]]:
    """Return the logprobs of a text; is_start: its first character has no cost."""
    costs: list[float | None] = [-bits_of(char) * math.log(2) for char in text]
    tops: list[dict[str, float] | None] = [
        {"e": -0.7, " ": -1.4, "a": -2.1, "\n": -3.0, "<b>": -4.0, char: cost}
        for char, cost in zip(text, costs, strict=True)
        if cost is not None
    ]
    if is_start and text:
        costs[0] = tops[0] = None
    return {
        "tokens": [*text],
        "token_logprobs": costs,
        "top_logprobs": tops,
        "text_offset": [*range(offset, offset + len(text))],
    }


@dataclass
class Trouble:
    """What goes wrong with the next request: a refusal, or a stream that breaks or waits.

    status: with the error's message and param. after: chunks, then the connection ends, or an
    event tells the error.
    """

    status: int = 200
    message: str = ""
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    after: int | None = None


class WriteServer:
    """A running server; `requests` are the bodies of what was asked, `troubles` are still to come.

    chunk: characters in an event. pause_seconds: between two events. split: bytes that are sent at
    once, so that an event and a character come in pieces; 0: whole events. gate: a stream waits
    before its second event while this is not set.
    """

    def __init__(self, models: list[PageModel] | None = None, key: str = "") -> None:
        self.models = [PageModel("shakes")] if models is None else models
        self.key = key
        self.words = WORDS
        self.chunk = 8
        self.pause_seconds = 0.0
        self.split = 0
        self.gate = threading.Event()
        self.gate.set()
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.troubles: list[Trouble] = []
        self.is_closed = False
        self.gone = 0  # streams that were left
        outer = self

        class Handler(_Handler):
            server_of_page = outer

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self._server.server_port}/"

    @property
    def written(self) -> list[dict[str, Any]]:
        """The requests for texts, without those for scores."""
        return [each for each in self.requests if each.get("stream")]

    def close(self) -> None:
        """End it; a connection that a browser opened ahead of its request gets no answer."""
        self.is_closed = True
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> WriteServer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that left before its answer."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server_of_page: WriteServer

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        server = self.server_of_page
        if self.path == "/":
            page = make_page([] if server.key else server.models)
            rules = {"content-security-policy": policy(is_header=True)}
            self._answer(200, page.encode(), "text/html; charset=utf-8", rules)
        elif self.path == "/favicon.ico":
            self._answer(204, b"", "image/x-icon")
        elif not self._has_key():
            self._refuse(Trouble(401, "the key is not right"))
        elif self.path == "/v1/models":
            data = [{"id": each.name, "task": "text"} for each in server.models]
            self._answer_json({"object": "list", "data": data})
        else:
            found = next(each for each in server.models if self.path.endswith(each.name))
            labels = {name: dict.fromkeys(values, 1) for name, values in found.labels.items()}
            self._answer_json({"id": found.name, "labels": labels})

    def do_POST(self) -> None:
        server = self.server_of_page
        if server.is_closed:
            return
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server.requests.append(body)
        server.keys.append(self.headers.get("authorization", ""))
        if not self._has_key():
            self._refuse(Trouble(401, "the key is not right"))
            return
        trouble = server.troubles.pop(0) if server.troubles and body.get("stream") else Trouble()
        if trouble.status != 200 and trouble.after is None:
            self._refuse(trouble)
        elif body.get("stream"):
            self._stream(body, trouble)
        else:
            prompt = body["prompt"] if body["echo"] else ""
            logprobs = logprobs_of(prompt + "?", is_start=bool(prompt))
            self._answer_json({"choices": [{"text": prompt + "?", "logprobs": logprobs}]})

    def _has_key(self) -> bool:
        key = self.server_of_page.key
        return not key or self.headers.get("authorization") == f"Bearer {key}"

    def _refuse(self, trouble: Trouble) -> None:
        error = {"message": trouble.message, "param": trouble.param}
        self._answer_json({"error": error}, trouble.status, trouble.headers)

    def _answer_json(
        self, value: Any, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self._answer(status, json.dumps(value).encode(), "application/json", headers)

    def _answer(
        self, status: int, data: bytes, kind: str, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, body: dict[str, Any], trouble: Trouble) -> None:
        server = self.server_of_page
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            for number, data in enumerate(self._events(body, trouble)):
                if number:
                    server.gate.wait(30)
                size = server.split or len(data)
                for start in range(0, len(data), size):
                    self.wfile.write(data[start : start + size])
                    self.wfile.flush()
                    if server.split:
                        time.sleep(0.001)
                time.sleep(server.pause_seconds)
        except (BrokenPipeError, ConnectionResetError):
            server.gone += 1

    def _events(self, body: dict[str, Any], trouble: Trouble) -> Iterator[bytes]:
        server = self.server_of_page
        count = body.get("n", 1)
        length = body["length"]
        texts = [text_of(body["seed"], k, length, server.words) for k in range(count)]
        sent = 0
        yield b": ping\n\n"
        for start in range(0, length, server.chunk):
            for index, text in enumerate(texts):
                if sent == trouble.after:
                    if trouble.message:
                        error = {"message": trouble.message, "param": trouble.param}
                        yield _event({"error": error})
                    return
                piece = text[start : start + server.chunk]
                yield _event({"choices": [_choice(piece, index, body)]})
                sent += 1
        for index in range(count):
            last = {"finish_reason": "length", "stop_reason": "length"}
            yield _event({"choices": [_choice("", index, body) | last]})
        yield _event({"choices": [], "usage": {"completion_tokens": length * count}})
        yield b"data: [DONE]\n\n"


def _choice(text: str, index: int, body: dict[str, Any]) -> dict[str, Any]:
    logprobs = logprobs_of(text) if body.get("logprobs") is not None else None
    return {"text": text, "index": index, "logprobs": logprobs, "finish_reason": None}


def _event(value: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()
