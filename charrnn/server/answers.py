"""Answers with sampled texts: OpenAI's object around their choices, whole or as a stream of chunks.

completions.py and chat.py say what a choice looks like, of a whole text and of the next part of
one; all else is the same for both.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

from charrnn.server.texts import Part, Text, Texts, finish_reason, stop_reason
from charrnn.server.wire import DONE, JSON, EventStream, event

if TYPE_CHECKING:
    from charrnn.server.jobs import Ended
    from charrnn.server.served import Served
    from charrnn.server.service import Service


@dataclass(frozen=True)
class Form:
    """What answers of one route look like.

    prefix: of their id. whole, chunk: the name of the object. make_choice: returns a choice of a
    whole text; make_delta: that of a part in a chunk. firsts: choices before the first part.
    """

    prefix: str
    whole: str
    chunk: str
    make_choice: Callable[[Text], dict[str, Any]]
    make_delta: Callable[[Part], dict[str, Any]]
    firsts: Sequence[dict[str, Any]] = ()


async def answer(service: Service, served: Served, texts: Texts, form: Form) -> Response:
    """Return the answer of a request, whole or as a stream as it was asked for."""
    is_stream = texts.request.stream
    head = {
        "id": f"{form.prefix}-{uuid.uuid4().hex}",
        "object": form.chunk if is_stream else form.whole,
        "created": int(time.time()),
        "model": served.name,
        "system_fingerprint": served.fingerprint,
        "seed": texts.request.config.seed,  # repeats the texts
    }
    if is_stream:
        return EventStream(_iter_events(texts, head, form), service.config.ping)
    wholes = await texts.wholes()
    # With log-probabilities an answer can be large.
    return JSON(await service.check(_make_whole, texts, wholes, head, form))


def _make_whole(
    texts: Texts, wholes: Sequence[Text], head: dict[str, Any], form: Form
) -> dict[str, Any]:
    """Return the answer of a request that is not streamed."""
    written = sum(len(text.text) for text in wholes) - _echoed(texts, texts.request.best_of)
    choices = [form.make_choice(text) for text in texts.choose(wholes)]
    return head | {"choices": choices, "usage": usage_of(_prompt_chars(texts), written)}


async def _iter_events(texts: Texts, head: dict[str, Any], form: Form) -> AsyncGenerator[bytes]:
    """Yield the events of a stream: chunks of the choices as they come, usage, and [DONE]."""
    asked = texts.request
    # As in OpenAI's streams every chunk has a usage, of which only the last is not null.
    head |= {"usage": None} if asked.include_usage else {}
    written = 0
    for choice in form.firsts:
        yield event(head | {"choices": [choice]})
    try:
        async with aclosing(texts.parts()) as parts:
            async for part in parts:
                written += len(part.text)
                yield event(head | {"choices": [form.make_delta(part)]})
    except Exception as error:  # the status was sent: the error is an event
        yield event(texts.explain(error).body())
        return
    if asked.include_usage:
        usage = usage_of(_prompt_chars(texts), written - _echoed(texts, asked.n))
        yield event(head | {"choices": [], "usage": usage})
    yield DONE


def end_of(end: Ended | None, logprobs: dict[str, Any] | None) -> dict[str, Any]:
    """Return what every choice has beside its text; end: None where it goes on."""
    return {
        "logprobs": logprobs,
        "finish_reason": finish_reason(end) if end else None,
        "stop_reason": stop_reason(end) if end else None,
    }


def _echoed(texts: Texts, count: int) -> int:
    """Return how many characters of prompts stand before the texts, `count` for each prompt."""
    return count * _prompt_chars(texts) if texts.request.echo else 0


def _prompt_chars(texts: Texts) -> int:
    return sum(map(len, texts.prompts))


def usage_of(prompt_chars: int, completion_chars: int | None = None) -> dict[str, int]:
    """Return what a request took, in characters; None: it asked for no texts.

    >>> usage_of(3, 4)
    {'prompt_tokens': 3, 'completion_tokens': 4, 'total_tokens': 7}
    """
    written = {} if completion_chars is None else {"completion_tokens": completion_chars}
    total = prompt_chars + (completion_chars or 0)
    return {"prompt_tokens": prompt_chars, **written, "total_tokens": total}
