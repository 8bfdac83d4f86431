"""What is served and how it goes: the models, the health, the figures; and the page for people."""

from __future__ import annotations

import math
from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from charrnn._version import __version__
from charrnn.server.errors import closing
from charrnn.server.incoming import service_of
from charrnn.server.served import Served
from charrnn.server.wire import JSON


async def health(request: Request) -> Response:
    """GET /health: whether the server takes requests."""
    if service_of(request).is_closing:
        raise closing()
    return JSON({"status": "ok", "version": __version__})


async def show_page(request: Request) -> Response:
    """GET /: the page where one writes with a model; whoever has no key sees no model's name.

    rnn-writer asks here too, whether there is a server, and can read only JSON.
    """
    accepted = request.headers.get("accept", "")
    if "application/json" in accepted and "text/html" not in accepted:
        return JSON({"message": "charrnn answers GET /generate?start_text=…&n=3"})
    from charrnn.server.page import PageModel, make_page, policy

    state = request.app.state
    if not hasattr(state, "page"):  # always the same
        models = [
            PageModel(each.name, {k: tuple(v) for k, v in each.file.labels.counts.items()})
            for each in service_of(request).served.values()
            if each.models is not None and not state.has_keys
        ]
        state.page = make_page(models).encode()
    headers = {
        "content-security-policy": policy(is_header=True),
        "cache-control": "no-cache",
    }
    return Response(state.page, media_type="text/html", headers=headers)


async def show_metrics(request: Request) -> Response:
    """GET /metrics: figures for Prometheus."""
    service = service_of(request)
    text = service.metrics.render(service.figures(), service.served)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4")


async def list_models(request: Request) -> Response:
    """GET /v1/models."""
    models = [_describe(each) for each in service_of(request).served.values()]
    return JSON({"object": "list", "data": models})


async def show_model(request: Request) -> Response:
    """GET /v1/models/{id}: the same of one model, and what its form of text is."""
    service = service_of(request)
    served = service.find(request.path_params["id"])
    file = served.file
    more: dict[str, Any] = {
        "labels": file.labels.counts,
        "alphabet": file.vocab.alphabet,
        "has_bytes": file.vocab.has_bytes,
        "has_end": file.vocab.has_end,
        "max_chars": service.config.max_chars,
        "max_prompt": service.config.max_prompt,
    }
    if served.models is not None:
        more["record_kind"] = served.generator.text_format.record_kind
    return JSON(_describe(served) | more)


def _describe(served: Served) -> dict[str, Any]:
    """Return OpenAI's object of a model, and what it is; nothing of files or of the machine."""
    config = served.file.config
    bpc = served.file.summary.get("val_bpc")
    is_figure = isinstance(bpc, int | float) and math.isfinite(bpc)
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "charrnn",
        "task": served.task,
        "cell": config.cell,
        "num_layers": config.num_layers,
        "hidden_size": config.hidden_size,
        "vocab_size": config.vocab_size,
        "parameters": config.num_parameters,
        "val_bpc": bpc if is_figure else None,
    }
