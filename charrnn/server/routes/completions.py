"""POST /v1/completions: the choices of OpenAI's objects.

A character is a token. The logprobs are those of the old completions API: four lists, an entry for
each character, and one named <end> where the model ended a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from charrnn.generation.samples import Cost
from charrnn.server.answers import Form, answer, end_of
from charrnn.server.incoming import read_json, service_of
from charrnn.server.protocol import CompletionRequest, parse_completion
from charrnn.server.texts import Part, Text, Texts, info_of
from charrnn.text.vocab import END_NAME


async def handler(request: Request) -> Response:
    """Answer one request; raise RequestError where it is refused."""
    service = service_of(request)
    body = await read_json(request)
    served = service.find_text(body.get("model"))
    info = info_of(served, service.config)
    # A request with many ids or patterns would hold the event loop up.
    asked = await service.check(parse_completion, body, info)
    texts = await Texts.prepare(service, served, asked)
    form = Form(
        "cmpl",
        "text_completion",
        "text_completion",
        make_choice=partial(_make_choice, texts),
        make_delta=partial(_make_delta, asked, _offsets(texts)),
    )
    return await answer(service, served, texts, form)


def _make_choice(texts: Texts, text: Text) -> dict[str, Any]:
    """Return a choice."""
    asked = texts.request
    offset = 0 if asked.echo else len(texts.prompts[text.index // asked.n])
    return _describe(asked, text, offset)


def _make_delta(asked: CompletionRequest, offsets: list[int], part: Part) -> dict[str, Any]:
    """Return a part of a choice; offsets: of the next part of each, in characters."""
    offset = offsets[part.index]
    offsets[part.index] += len(part.text)
    return _describe(asked, part, offset)


def _offsets(texts: Texts) -> list[int]:
    """Return where the text of each choice begins."""
    asked = texts.request
    return [0 if asked.echo else len(prompt) for prompt in texts.prompts for _ in range(asked.n)]


def _describe(asked: CompletionRequest, text: Text | Part, offset: int) -> dict[str, Any]:
    logprobs = None
    if asked.logprobs is not None:
        logprobs = make_logprobs(text.text, text.costs, asked.logprobs, offset)
    return {"text": text.text, "index": text.index, **end_of(text.end, logprobs)}


def make_logprobs(
    text: str, costs: Sequence[Cost | None], top: int, offset: int
) -> dict[str, list[Any]]:
    """Return the four lists of a text of N characters whose first stands at `offset`.

    costs: (N,), or (N + 1,) with that of the end of a record, which has no character. A first
    character that nothing comes before has no cost: null. The character itself is always among the
    likeliest, so there are up to `top` + 1.

    >>> make_logprobs("a", [Cost(0.5, (("b", 0.25),))], 1, 7)["top_logprobs"]
    [{'b': -0.25, 'a': -0.5}]
    """
    tokens = [*text, *[END_NAME] * (len(costs) - len(text))]
    return {
        "tokens": tokens,
        "token_logprobs": [None if cost is None else 0.0 - cost.nats for cost in costs],
        "top_logprobs": [
            None if cost is None else _likeliest(token, cost, top)
            for token, cost in zip(tokens, costs, strict=True)
        ],
        "text_offset": [*range(offset, offset + len(tokens))],
    }


def _likeliest(token: str, cost: Cost, top: int) -> dict[str, float]:
    """Return the log-probabilities of the likeliest characters, and of the character itself."""
    found = {name: 0.0 - nats for name, nats in cost.top[:top]}
    found[token] = 0.0 - cost.nats
    return found
