"""A client without a network: it calls the ASGI app of a service, in one event loop."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.serve import ServeConfig
from charrnn.server.app import make_app
from charrnn.server.served import Served
from charrnn.server.service import Service
from charrnn.tasks.model import Model
from charrnn.tasks.open_models import OpenModels

JSON = "application/json"


@dataclass
class Answer:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_whole: bool = False

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        error: dict[str, Any] = self.json["error"]
        return error


class Client:
    """Asks one service; `runner` is the event loop in which it lives."""

    def __init__(self, service: Service, runner: asyncio.Runner, keys: Sequence[str]) -> None:
        self.service = service
        self.app = make_app(service, keys)
        self.run = runner.run

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.ask("GET", path, headers=headers)

    def post(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Send an object as JSON, or bytes as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", path, data, {"content-type": JSON} | dict(headers or {}))

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return self.run(self.exchange(method, path, [body], headers))

    async def exchange(
        self,
        method: str,
        path: str,
        parts: Iterable[bytes] = (b"",),
        headers: Mapping[str, str] | None = None,
        *,
        answer: Answer | None = None,
        gone: asyncio.Event | None = None,
    ) -> Answer:
        """Ask; the body comes in parts. gone: when set, the client is."""
        path, _, query = path.partition("?")
        pairs = {"host": "127.0.0.1:8000"} | dict(headers or {})
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode("ascii", "replace"),
            "query_string": query.encode("ascii", "replace"),
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode("latin-1")) for k, v in pairs.items()],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }
        answer = answer or Answer()
        gone = gone or asyncio.Event()
        coming = [*parts]

        async def receive() -> dict[str, Any]:
            if coming:
                part = coming.pop(0)
                return {"type": "http.request", "body": part, "more_body": bool(coming)}
            if not answer.is_whole:
                await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode(): v.decode() for k, v in message["headers"]}
                return
            answer.body += message.get("body", b"")
            if not message.get("more_body", False):
                answer.is_whole = True
                gone.set()

        await self.app(scope, receive, send)
        return answer


def served_of(name: str, file: ModelFile) -> Served:
    """Return a model of a file in memory."""
    models = OpenModels(Model(file), name, file) if file.config.task == "text" else None
    return Served(name, file, models, 1_900_000_000)


@contextmanager
def serving(
    files: Mapping[str, ModelFile], keys: Sequence[str] = (), **settings: Any
) -> Iterator[Client]:
    """Serve models within the block; settings: fields of ServeConfig."""
    served = {name: served_of(name, file) for name, file in files.items()}
    with asyncio.Runner() as runner:

        async def start() -> Service:
            service = Service(ServeConfig(**settings), served)
            service.start()
            return service

        service = runner.run(start())
        try:
            yield Client(service, runner, keys)
        finally:
            runner.run(service.stop())
