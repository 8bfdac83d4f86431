"""POST /v1/embeddings: the states that texts leave behind. L = layers, H = hidden size."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from charrnn.generation.prefill import iter_prefill
from charrnn.server.answers import usage_of
from charrnn.server.errors import bad_request
from charrnn.server.fields import Fields, check_known, is_int, shown
from charrnn.server.incoming import (
    check_count,
    check_length,
    inputs_of,
    read_json,
    refuse_input,
    service_of,
)
from charrnn.server.protocol import IGNORED, ModelInfo, spell
from charrnn.server.served import Served
from charrnn.server.service import Watch
from charrnn.server.texts import info_of
from charrnn.server.wire import JSON


async def handler(request: Request) -> Response:
    """POST /v1/embeddings: the hidden state after each text, of all layers (L·H), of length 1."""
    service = service_of(request)
    body = await read_json(request)
    check_known(body, {"model", "input", "encoding_format", "dimensions", *IGNORED})
    served = service.find_text(body.get("model"))
    given = Fields(body)
    if body.get("dimensions") is not None:
        raise bad_request("dimensions cannot be chosen; leave it out", "dimensions")
    form = given.text("encoding_format") or "float"
    if form not in ("float", "base64"):
        message = f"encoding_format is {shown(form)}; choose from float, base64"
        raise bad_request(message, "encoding_format")
    texts = await service.check(_read_input, body.get("input"), info_of(served, service.config))
    vectors = await service.watched(_embed, served, texts, form)
    data = [
        {"object": "embedding", "index": i, "embedding": each} for i, each in enumerate(vectors)
    ]
    usage = usage_of(sum(map(len, texts)))
    return JSON({"object": "list", "data": data, "model": served.name, "usage": usage})


def _read_input(value: Any, info: ModelInfo) -> list[str]:
    """Return the texts of `input`, which may be ids too: of one text, or of several."""
    if not isinstance(value, list) or not value or isinstance(value[0], str):
        return inputs_of(value, info.max_prompt)
    if all(map(is_int, value)):
        return [spell(value, info, "input")]
    check_count(value)
    texts = []
    for i, each in enumerate(value):
        if not isinstance(each, list) or not all(map(is_int, each)):
            refuse_input(each, f"input[{i}]")
        texts.append(spell(each, info, f"input[{i}]"))
    check_length(sum(map(len, texts)), "input", info.max_prompt)
    return texts


def _embed(watch: Watch, served: Served, texts: list[str], form: str) -> list[Any]:
    """Return the vector of each text, as a list or as bytes in base64."""
    generator = served.generator
    found = []
    for text in texts:
        ids = generator.encode(generator.fit(text, "map").text)
        state = generator.language_model.initial_state()
        for _, after in iter_prefill(generator.language_model, ids, state):
            watch()
            state = after or state
        layers = state[: served.file.config.num_layers]  # without the last tokens
        vector = np.concatenate([layer[0] for layer in layers]).astype(np.float32)
        vector /= max(float(np.linalg.norm(vector)), 1e-12)
        found.append(_spell_vector(vector, form))
    return found


def _spell_vector(vector: np.ndarray[Any, Any], form: str) -> Any:
    if form == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return [round(float(each), 8) for each in vector]
