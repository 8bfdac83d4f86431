"""What goes over the wire to a client: JSON, or a stream of events.

Half of a surrogate pair, as a model of bytes writes it, is sent as its escape, which JSON allows.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


def to_json(value: Any) -> bytes:
    r"""Return a value as compact JSON in UTF-8.

    >>> to_json({"text": "é\udce9"})
    b'{"text":"\xc3\xa9\\udce9"}'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # The escape that Python writes for a lone surrogate is JSON's escape too.
    return text.encode("utf-8", "backslashreplace")


def event(value: Any) -> bytes:
    r"""Return a value as a server-sent event.

    >>> event({"n": 1})
    b'data: {"n":1}\n\n'
    """
    return b"data: " + to_json(value) + b"\n\n"


class JSON(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content)


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
