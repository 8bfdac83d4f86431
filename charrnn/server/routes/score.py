"""POST /v1/score: what a text costs, character by character, as `charrnn score` says it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from charrnn.config import COST, UNKNOWN
from charrnn.errors import CorpusError, DivergedError, counted
from charrnn.generation.samples import Cost
from charrnn.generation.scoring import Scores, join_scores, without
from charrnn.metrics import perplexity
from charrnn.server.answers import usage_of
from charrnn.server.errors import bad_request
from charrnn.server.fields import Fields, check_known, shown
from charrnn.server.incoming import read_json, service_of, text_of
from charrnn.server.protocol import IGNORED, LABELS, parse_labels
from charrnn.server.scoring import iter_prompt_costs
from charrnn.server.served import Served
from charrnn.server.service import Watch
from charrnn.server.wire import JSON
from charrnn.tasks.model import Model
from charrnn.text.substitutions import fit_piece
from charrnn.text.vocab import END

_MOST_TOP = 100  # likeliest characters
_MOST_NAMED = 500_000  # of them in one answer, which is then 20 MB
_DECIMALS = 6  # of bits


async def handler(request: Request) -> Response:
    """POST /v1/score: the bits of each character of a text."""
    service = service_of(request)
    body = await read_json(request)
    check_known(body, {"model", "text", "top", "unknown", *LABELS, *IGNORED})
    served = service.find_text(body.get("model"))
    given = Fields(body)
    text = text_of(given, "text", service.config.max_prompt)
    unknown = given.text("unknown") or COST
    if unknown not in (COST, *UNKNOWN):
        choices = ", ".join((COST, *UNKNOWN))
        raise bad_request(f"unknown is {shown(unknown)}; choose from {choices}", "unknown")
    top = given.integer("top", 0, ge=0, le=_MOST_TOP)
    if top * len(text) > _MOST_NAMED:
        raise bad_request(
            f"top times the characters of the text is {top * len(text):,}; this server names at "
            f"most {_MOST_NAMED:,} characters",
            "top",
        )
    form = served.generator.text_format
    if top and form.record_kind and not form.has_lines:
        message = "top goes with running text, and with records that are lines; leave it out"
        raise bad_request(message, "top")
    labels = parse_labels(given)
    return JSON(await service.watched(_score, served, labels, text, unknown, top))


def labelled(served: Served, labels: Sequence[str]) -> Model:
    """Return a model with labels fixed."""
    model = Model(served.file, labels) if labels else served.generator
    assert isinstance(model, Model)
    return model


def _score(
    watch: Watch, served: Served, labels: Sequence[str], text: str, unknown: str, top: int
) -> dict[str, Any]:
    """Return the figures of a text, and the likeliest in each place if top is not 0."""
    model = labelled(served, labels)
    scores, changes = _read_scores(watch, model, text, unknown)
    answer = _describe_scores(served, scores, changes)
    if top:
        answer["top"] = _likeliest(watch, model, scores, top)
    return answer


def _likeliest(
    watch: Watch, model: Model, scores: Scores, top: int
) -> list[list[dict[str, Any]] | None]:
    """Return the likeliest in the place of each character; None where nothing predicts it."""
    costs: list[Cost | None] = []
    for found in iter_prompt_costs(model, without(scores.text, scores.unseen), top):
        watch()
        costs += found
    for place in scores.unseen:  # ascending
        costs.insert(place, None)
    return [None if cost is None else _name_all(cost) for cost in costs]


def _name_all(cost: Cost) -> list[dict[str, Any]]:
    """Return the likeliest characters in a place, each with its bits."""
    return [{"text": name, "bits": round(nats / math.log(2), _DECIMALS)} for name, nats in cost.top]


def _read_scores(
    watch: Watch, model: Model, text: str, unknown: str
) -> tuple[Scores, dict[str, int]]:
    """Return what each character costs, and how many were read as another one."""
    form = model.text_format
    if END in text and model.vocab.has_end:
        message = "the text holds U+10FFFF, which stands for the end of a record; remove it"
        raise bad_request(message, "text")
    pieces = form.iter_with_ends([model.vocab.spell(form.normalized(text))])
    fitted = [fit_piece(piece, model.vocab, unknown) for piece in pieces]
    blocks = []
    for block in model.iter_scores(each.text for each in fitted):
        watch()
        blocks.append(block)
    scores = join_scores(blocks)
    known = len(scores.known_bits) + len(scores.ends)
    if known < 1 + scores.given:
        needed = "2 are needed, as the first is given" if scores.given else "1 is needed"
        raise CorpusError(f"the text has {counted(known, 'character')}; at least {needed}")
    if not np.isfinite(scores.bits).all():
        raise DivergedError("the cost of a character is not a finite number")
    changes: dict[str, int] = {}
    for each in fitted:
        for name, count in each.changes.items():
            changes[name] = changes.get(name, 0) + count
    return scores, changes


def _describe_scores(served: Served, scores: Scores, changes: dict[str, int]) -> dict[str, Any]:
    """Return the figures of a text by the names that `charrnn score --json` has for them."""
    ends = sum(bits for _, bits in scores.ends)
    chars = len(scores.known_bits) - scores.given + len(scores.ends)
    return {
        "object": "score",
        "model": served.name,
        "chars": chars,
        "bits": float(scores.known_bits[scores.given :].sum() + ends),
        "bpc": scores.bpc,
        "bits_per_byte": scores.bits_per_byte,
        "perplexity": perplexity(scores.bpc * math.log(2)),
        "unseen_chars": len(scores.unseen),
        "unseen_bits": scores.unseen_bits,
        "bpc_with_unseen": scores.bpc_with_unseen,
        "characters": [*scores.text],
        "costs": scores.bits.round(_DECIMALS).tolist(),
        "unseen": [*scores.unseen],
        "given": scores.given,
        "ends": [{"after": at, "bits": round(bits, _DECIMALS)} for at, bits in scores.ends],
        "mapped": changes,
        "usage": usage_of(len(scores.text)),
    }
