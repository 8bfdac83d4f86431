"""One request and its answer in ASGI: an answer with our headers, a handler that its client ends.

`guard.py` lets a request through to here; whatever happens then, the answer is one that a client
can read, and nothing goes on for a client that is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from charrnn.server.errors import RequestError

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_DRAIN_SECONDS = 1.0
_DRAIN_BYTES = 64 << 20
_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class ClientGoneError(Exception):
    """The client has closed its connection: there is nobody to answer."""


class Answer:
    """The answer to one request: `send` of ASGI, with our headers.

    is_read: the request has been read to its end, so that another may follow on the connection.
    is_whole: all of the answer has been sent. held_bytes: of the request's body, where it is large.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self.begun = time.monotonic()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_read = False
        self.is_whole = False
        self.held_bytes = 0
        self._receive = receive
        self._send = send

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [*message.get("headers", ()), *_HEADERS, *self.headers]
            if not self.is_read:  # what is still to come is not read as another request
                own.append((b"connection", b"close"))
            message = {**message, "headers": own}
        elif not message.get("more_body", False):
            self.is_whole = True
        await self._send(message)

    async def give(self, error: RequestError) -> None:
        """Send an error, unless an answer has begun: that one then ends in the middle."""
        if self.status:
            return
        headers, body = error.encode()
        await self.send({"type": "http.response.start", "status": error.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body, "more_body": not self.is_read})
        if not self.is_read:
            # Closed at once, the connection would be reset, and the client would not see why.
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self._drain()
            await self.send({"type": "http.response.body", "body": b""})

    async def _drain(self) -> None:
        """Read what is still to come of a body that was refused."""
        size = 0
        while size < _DRAIN_BYTES:
            message = await self._receive()
            size += len(message.get("body", b""))
            if not message.get("more_body", False):
                return


async def run(app: App, scope: Scope, body: bytes, receive: Receive, answer: Answer) -> None:
    """Let the app answer; when the client goes, the app is cancelled."""
    gone = asyncio.Event()
    unread = [body]

    async def replay() -> Message:
        if unread:
            return {"type": "http.request", "body": unread.pop(), "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass  # a body that no handler reads
        gone.set()

    work = asyncio.ensure_future(app(scope, replay, answer.send))
    watcher = asyncio.create_task(watch())
    try:
        await asyncio.wait({work, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done() and not answer.is_whole:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            raise ClientGoneError
        await work
    finally:
        for task in (work, watcher):
            if not task.done():
                task.cancel()
