"""The routes of the server, and the guard around them: an ASGI app that any server can run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

from starlette.applications import Starlette
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from charrnn.errors import CharRNNError
from charrnn.server.errors import RequestError
from charrnn.server.guard import Guard
from charrnn.server.routes import (
    chat,
    completions,
    embed,
    fill,
    legacy,
    overview,
    predict,
    score,
    tokens,
)
from charrnn.server.service import Service
from charrnn.wording import nearest

Handler = Callable[[Request], Awaitable[Response]]

_MODEL = "/v1/models/"
# What other servers have for the same, too unlike to be taken for a slip.
_MEANT = {
    "/api/chat": "POST /v1/chat/completions",
    "/api/generate": "POST /v1/completions",
    "/api/tags": "GET /v1/models",
    "/v1/edits": "POST /v1/fill",
    "/v1/engines": "GET /v1/models",
    "/v1/messages": "POST /v1/chat/completions",
    "/v1/responses": "POST /v1/completions",
}


def make_app(service: Service, keys: Sequence[str] = ()) -> Guard:
    """Return the ASGI app of a service; keys: of which a request must bring one, if there are any.

    Whoever runs it calls `service.start` in the event loop first, and `service.stop` at the end.
    """
    table = _handlers(service)
    app = Starlette(
        routes=[Route(path, handler, methods=[way]) for (way, path), handler in table.items()],
        exception_handlers={
            HTTPException: _on_http_error,
            RequestError: _on_error,
            CharRNNError: _on_error,
            Exception: _on_error,
        },
    )
    app.state.service = service
    app.state.has_keys = bool(keys)
    app.state.paths = sorted({path for _, path in table})
    app.state.routes = _list_routes(table)
    paths = frozenset(app.state.paths)

    def route_of(path: str) -> str:
        """Return the name under which a request is counted: one of few."""
        if path in paths:
            return path
        return _MODEL + "{id}" if path.startswith(_MODEL) else "other"

    return Guard(app, service.config, keys, metrics=service.metrics, route_of=route_of)


def _handlers(service: Service) -> dict[tuple[str, str], Handler]:
    """Return the handler of each method and path."""
    table: dict[tuple[str, str], Handler] = {
        ("GET", "/"): overview.show_page,
        ("GET", "/health"): overview.health,
        ("GET", "/v1/models"): overview.list_models,
        ("GET", _MODEL + "{id:path}"): overview.show_model,
        ("POST", "/v1/completions"): completions.handler,
        ("POST", "/v1/chat/completions"): chat.handler,
        ("GET", "/generate"): legacy.handler,
        ("POST", "/v1/score"): score.handler,
        ("POST", "/v1/fill"): fill.handler,
        ("POST", "/v1/classify"): predict.classify,
        ("POST", "/v1/convert"): predict.convert,
        ("POST", "/v1/embeddings"): embed.handler,
        ("POST", "/tokenize"): tokens.tokenize,
        ("POST", "/detokenize"): tokens.detokenize,
        ("GET", "/tokenizer_info"): tokens.tokenizer_info,
    }
    if service.config.metrics:
        table["GET", "/metrics"] = overview.show_metrics
    return table


def _list_routes(table: Iterable[tuple[str, str]]) -> str:
    """Return all routes in words: what takes POST, then what takes GET."""
    lists = []
    for method in ("POST", "GET"):
        paths = sorted(path.replace(":path", "") for way, path in table if way == method)
        lists.append(f"{method} {', '.join(paths)}")
    return "; ".join(lists)


def _hint_for(path: str, root_path: str, state: State) -> str:
    """Return what was probably meant by a path that no route has."""
    if root_path and path.startswith(f"{root_path}/"):
        return (
            f"the server adds --root-path {root_path} itself, so let the proxy strip it and ask "
            f"for {path.removeprefix(root_path)[:100]!r}"
        )
    if path in _MEANT:
        return f"use {_MEANT[path]}"
    near = nearest(path, state.paths)
    return f"did you mean {near}?" if near else f"there are {state.routes}"


def _on_http_error(request: Request, error: Exception) -> Response:
    """Answer a path or a method that no route has."""
    assert isinstance(error, HTTPException)
    root_path = request.app.state.service.config.root_path or ""
    path = request.url.path.removeprefix(root_path)
    if error.status_code == 404:
        hint = _hint_for(path, root_path, request.app.state)
        message = f"there is nothing at {path[:100]!r}; {hint}"
        return _on_error(request, RequestError(404, message, code="not_found"))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        allowed = headers.get("Allow", "another method")
        message = f"{path[:100]} does not take {request.method}; use {allowed}"
        return _on_error(request, RequestError(405, message, headers=headers))
    return _on_error(request, RequestError(error.status_code, str(error.detail), headers=headers))


def _on_error(request: Request, error: Exception) -> Response:
    """Answer with OpenAI's object of an error; what is our own fault is logged."""
    known = request.app.state.service.explain(error)
    return JSONResponse(known.body(), known.status, headers=known.headers)
