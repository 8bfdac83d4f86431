"""What goes over the wire: JSON in, JSON or a stream of events out.

Every handler reads its body by `read_object` and answers by `JSON` or `EventStream`. Half of a
surrogate pair, as a model of bytes writes it, is sent as its escape, which is what JSON allows.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from charrnn.serve.errors import bad_request

T = TypeVar("T")

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
    """Return a value as a server-sent event.

    >>> event({"n": 1})
    b'data: {"n":1}\\n\\n'
    """
    return b"data: " + to_json(value) + b"\n\n"


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a request's body.

    Raises:
        RequestError: it is not JSON, or not an object.
    """
    try:
        value = json.loads(raw, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise bad_request("the body is nested too deeply") from error
    except ValueError as error:  # of UTF-8 too, and of a number with thousands of digits
        raise bad_request(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise bad_request('the body is not a JSON object; write {"prompt": "…"}')
    return value


async def read_object(request: Request) -> dict[str, Any]:
    """Return the JSON object that a request brings; raise RequestError as `parse_object`."""
    return parse_object(await request.body())


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")


class JSON(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return to_json(content)


class EventStream(Response):
    """A stream of server-sent events, with a comment where it is silent for too long.

    When the client is gone, `events` is closed at once, so that nothing is sampled for nobody.
    """

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes], ping_seconds: float) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._events = with_pings(events, ping_seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events; return when they end, or when the client is gone."""
        async with aclosing(self._events):
            await unless_gone(receive, self._send(send))

    async def _send(self, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        async for piece in self._events:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T | None:
    """Return the result of `work`; None, with the work cancelled, once the client is gone."""
    working = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_until_gone(receive))
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, watching):
            if not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task


async def _until_gone(receive: Receive) -> None:
    """Return when the client has gone; its body was read."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def with_pings(events: AsyncGenerator[bytes], ping_seconds: float) -> AsyncGenerator[bytes]:
    """Yield events, and PING after each `ping_seconds` without one."""
    async with aclosing(events):
        coming = _next(events)
        try:
            while True:
                await asyncio.wait((coming,), timeout=ping_seconds)
                if not coming.done():
                    yield PING
                    continue
                piece = await coming
                if piece is None:
                    return
                coming = _next(events)
                yield piece
        finally:
            if not coming.done():
                coming.cancel()
                with suppress(asyncio.CancelledError):
                    await coming


def _next(events: AsyncGenerator[bytes]) -> asyncio.Task[bytes | None]:
    """Return the task of the next event, None at the end."""

    async def take() -> bytes | None:
        return await anext(events, None)

    return asyncio.create_task(take())
