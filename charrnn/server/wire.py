"""What goes over the wire to a client: JSON, or a stream of events.

Half of a surrogate pair, as a model of bytes writes it, is sent as its escape, which JSON allows.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
_SMALL = 1000  # values that are spelled at once: C does it, and lets nothing else run meanwhile
_SPELL_SECONDS = 0.005
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def to_json(value: Any) -> bytes:
    r"""Return a value as compact JSON in UTF-8.

    >>> to_json({"text": "é\udce9"})
    b'{"text":"\xc3\xa9\\udce9"}'
    """
    return _spell(value).encode("utf-8", "backslashreplace")


def _spell(value: Any) -> str:
    # The escape that Python writes for a lone surrogate is JSON's escape too.
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def iter_json(value: Any) -> Iterator[str]:
    """Yield the same JSON in pieces, each of which takes a millisecond at most.

    >>> "".join(iter_json({"a": [0] * 3}))
    '{"a":[0,0,0]}'
    """
    if _size(value) < _SMALL:
        yield _spell(value)
    elif isinstance(value, dict):
        for number, (key, each) in enumerate(value.items()):
            yield ("," if number else "{") + _spell(key) + ":"
            yield from iter_json(each)
        yield "}"
    elif any(isinstance(each, dict | list | tuple) for each in value):
        for number, each in enumerate(value):
            yield "," if number else "["
            yield from iter_json(each)
        yield "]"
    else:
        for first in range(0, len(value), _SMALL):
            yield ("," if first else "[") + _spell(value[first : first + _SMALL])[1:-1]
        yield "]"


def _size(value: Any) -> int:
    """Return how many values there are in a value; where there are many, a number that is large."""
    if not isinstance(value, dict | list | tuple):
        return 1
    size = len(value)
    for each in value.values() if isinstance(value, dict) else value:
        if size >= _SMALL:
            break
        size += _size(each)
    return size


def event(value: Any) -> bytes:
    r"""Return a value as a server-sent event.

    >>> event({"n": 1})
    b'data: {"n":1}\n\n'
    """
    return b"data: " + to_json(value) + b"\n\n"


class JSON(Response):
    """A JSON answer; while a long one is spelled, others are answered."""

    media_type = "application/json"

    def __init__(
        self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(None, status_code, headers)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Spell the answer, and send it."""
        body = bytearray()
        resumed = time.monotonic()
        for piece in iter_json(self._content):
            body += piece.encode("utf-8", "backslashreplace")
            if time.monotonic() - resumed > _SPELL_SECONDS:
                await asyncio.sleep(0)
                resumed = time.monotonic()
        self.body = bytes(body)
        self.headers["content-length"] = str(len(body))
        await super().__call__(scope, receive, send)


class EventStream(Response):
    """A stream of server-sent events, with a comment where it is silent for too long.

    However the sending ends, `events` is closed: the guard cancels it when the client is gone, and
    nothing is sampled for nobody.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], ping_seconds: float) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._events = with_pings(events, ping_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        async with aclosing(self._events):
            await send(start)
            async for piece in self._events:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def with_pings(events: AsyncGenerator[bytes], ping_seconds: float) -> AsyncGenerator[bytes]:
    """Yield events, and PING after each `ping_seconds` without one."""

    async def take() -> bytes | None:
        return await anext(events, None)

    async with aclosing(events):
        coming = asyncio.create_task(take())
        try:
            while True:
                await asyncio.wait((coming,), timeout=ping_seconds)
                if not coming.done():
                    yield PING
                    continue
                piece = await coming
                if piece is None:
                    return
                yield piece
                coming = asyncio.create_task(take())
        finally:
            if not coming.done():
                coming.cancel()
                with suppress(asyncio.CancelledError):
                    await coming
