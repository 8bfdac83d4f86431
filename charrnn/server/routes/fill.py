"""POST /v1/fill: the blanks of a text filled in, as `charrnn fill` does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from charrnn.config import FillConfig, with_seed
from charrnn.server.answers import usage_of
from charrnn.server.fields import Fields, check_known
from charrnn.server.incoming import read_json, service_of, settings_of, text_of
from charrnn.server.protocol import IGNORED, LABELS, parse_labels
from charrnn.server.routes.score import labelled
from charrnn.server.served import Served
from charrnn.server.service import Watch
from charrnn.server.wire import JSON

if TYPE_CHECKING:
    from charrnn.generation.infill.fill import Filling

_MOST_BEAM = 500  # partial texts: 2,000 take half a gigabyte
_MOST_COMPLETIONS = 100


async def handler(request: Request) -> Response:
    """POST /v1/fill: the blanks of a text filled in."""
    service = service_of(request)
    body = await read_json(request)
    names = {item.name for item in fields(FillConfig)}
    check_known(body, {"model", "text", *LABELS, *names, *IGNORED})
    served = service.find_text(body.get("model"))
    given = Fields(body)
    text = text_of(given, "text", service.config.max_chars)
    for name, most in (("count", _MOST_COMPLETIONS), ("beam_width", _MOST_BEAM)):
        given.optional_integer(name, ge=1, le=most)
    settings = {name: body[name] for name in names if body.get(name) is not None}
    config = with_seed(settings_of(FillConfig, settings))
    filling = await service.watched(_fill, served, parse_labels(given), text, config)
    return JSON(
        {
            "object": "fill",
            "model": served.name,
            "exact": filling.is_exact,
            "found": filling.found,
            "seed": config.seed if config.sample else None,
            "mapped": dict(filling.changes),
            "completions": [
                {
                    "index": index,
                    "text": each.text,
                    "filled": [each.text[start:end] for start, end in each.filled],
                    "bits": each.bits,
                    "bpc": each.bpc,
                    "share": each.share,
                }
                for index, each in enumerate(filling.completions)
            ],
            "usage": usage_of(len(text)),
        }
    )


def _fill(
    watch: Watch, served: Served, labels: Sequence[str], text: str, config: FillConfig
) -> Filling:
    return labelled(served, labels).fill(text, config, on_progress=watch)
