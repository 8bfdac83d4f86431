"""POST /v1/completions: OpenAI's objects, whole or as a stream of chunks.

A character is a token. The logprobs are those of the old completions API: four lists, an entry for
each character, and one named <end> where the model ended a record.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from charrnn.generation.samples import Cost
from charrnn.serve.incoming import read_json, service_of
from charrnn.serve.protocol import CompletionRequest, parse_completion
from charrnn.serve.texts import Text, Texts, finish_reason, info_of, stop_reason
from charrnn.serve.wire import DONE, JSON, EventStream, event
from charrnn.text.vocab import END_NAME

if TYPE_CHECKING:
    from charrnn.serve.jobs import Ended
    from charrnn.serve.service import Served


async def handler(request: Request) -> Response:
    """Answer one request; raise RequestError where it is refused."""
    service = service_of(request)
    body = await read_json(request)
    served = service.find_text(body.get("model"))
    info = info_of(served, service.config)
    # A request with many ids or patterns would hold the event loop up.
    asked = await service.check(parse_completion, body, info)
    texts = await Texts.prepare(service, served, asked)
    head = make_head("cmpl", "text_completion", served, asked)
    if asked.stream:
        return EventStream(_iter_events(texts, head), service.config.ping)
    wholes = await texts.wholes()
    # With log-probabilities an answer can be large.
    return JSON(await service.check(_make_whole, texts, wholes, head))


def make_head(prefix: str, kind: str, served: Served, asked: CompletionRequest) -> dict[str, Any]:
    """Return what an answer and each chunk of a stream begin with; `seed` repeats the texts."""
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": served.fingerprint,
        "seed": asked.config.seed,
    }


def make_usage(texts: Texts, completion_chars: int) -> dict[str, int]:
    """Return what a request took, in characters."""
    prompt_chars = sum(map(len, texts.prompts))
    return {
        "prompt_tokens": prompt_chars,
        "completion_tokens": completion_chars,
        "total_tokens": prompt_chars + completion_chars,
    }


def _make_whole(texts: Texts, wholes: Sequence[Text], head: dict[str, Any]) -> dict[str, Any]:
    """Return the answer of a request that is not streamed."""
    asked = texts.request
    echoed = asked.best_of * sum(map(len, texts.prompts)) if asked.echo else 0
    written = sum(len(text.text) for text in wholes) - echoed
    choices = []
    for text in texts.choose(wholes):
        prompt = texts.prompts[text.index // asked.n]
        offset = 0 if asked.echo else len(prompt)
        logprobs = None
        if asked.logprobs is not None:
            logprobs = make_logprobs(text.text, text.costs, asked.logprobs, offset)
        choices.append(_choice(text.index, text.text, logprobs, text.end))
    return head | {"choices": choices, "usage": make_usage(texts, written)}


async def _iter_events(texts: Texts, head: dict[str, Any]) -> AsyncGenerator[bytes]:
    """Yield the events of a stream: chunks of the choices as they come, usage, and [DONE]."""
    asked = texts.request
    # As in OpenAI's streams every chunk has a usage, of which only the last is not null.
    head |= {"usage": None} if asked.include_usage else {}
    offsets = [0 if asked.echo else len(prompt) for prompt in texts.prompts for _ in range(asked.n)]
    written = 0
    try:
        async with aclosing(texts.parts()) as parts:
            async for part in parts:
                logprobs = None
                if asked.logprobs is not None:
                    offset = offsets[part.index]
                    logprobs = make_logprobs(part.text, part.costs, asked.logprobs, offset)
                offsets[part.index] += len(part.text)
                written += len(part.text)
                choice = _choice(part.index, part.text, logprobs, part.end)
                yield event(head | {"choices": [choice]})
    except Exception as error:  # the status was sent: the error is an event
        yield event(texts.explain(error).body())
        return
    if asked.include_usage:
        echoed = asked.n * sum(map(len, texts.prompts)) if asked.echo else 0
        yield event(head | {"choices": [], "usage": make_usage(texts, written - echoed)})
    yield DONE


def _choice(
    index: int, text: str, logprobs: dict[str, Any] | None, end: Ended | None
) -> dict[str, Any]:
    """Return a choice, or the part of one in a chunk."""
    return {
        "text": text,
        "index": index,
        "logprobs": logprobs,
        "finish_reason": finish_reason(end) if end else None,
        "stop_reason": stop_reason(end) if end else None,
    }


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
