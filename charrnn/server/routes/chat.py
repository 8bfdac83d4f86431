"""POST /v1/chat/completions: messages as one text, by a role template, and the answer to them.

A model of characters knows no roles. The template says how a message looks in its text, such as
'{role}: {content}\\n'; the model then writes what follows '{role}: ' of the assistant. It stops
where a next message would begin. Without a template there is no chat.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from charrnn.config import SampleConfig
from charrnn.server.answers import Form, answer, end_of
from charrnn.server.errors import RequestError, bad_request
from charrnn.server.fields import Fields, check_known, shown
from charrnn.server.incoming import read_json, service_of
from charrnn.server.protocol import (
    COMPLETION_FIELDS,
    CompletionRequest,
    ModelInfo,
    drop_unwritable,
    parse_completion,
)
from charrnn.server.texts import Part, Text, Texts, info_of
from charrnn.text.vocab import END_NAME

MAX_TOP_LOGPROBS = 20  # as OpenAI documents
MAX_ROLES = 64  # different ones of a request: the answer stops at each
_ASSISTANT = "assistant"
_ROLES = ("user", _ASSISTANT, "system")  # that may come next, beside those of the messages
_CONTENT = "{content}"
_IDLE = ("parallel_tool_calls", "reasoning_effort", "verbosity")  # of what there is not
_PLAIN: dict[str, tuple[Any, ...]] = {  # what asks for no more than text
    "function_call": ("none", "auto"),
    "functions": ([],),
    "modalities": (["text"],),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
}
_ONLY_COMPLETIONS = {"best_of", "echo", "prompt", "suffix"}
FIELDS = (COMPLETION_FIELDS - _ONLY_COMPLETIONS) | {
    *_IDLE,
    *_PLAIN,
    "max_completion_tokens",
    "messages",
    "top_logprobs",
}


@dataclass(frozen=True)
class RoleTemplate:
    """How a message is written: what stands before its content, with {role}, and what after it."""

    before: str
    after: str

    @classmethod
    def parse(cls, template: str) -> RoleTemplate:
        r"""Return the two parts of a template, in which \n and \t may be written as in a shell.

        >>> RoleTemplate.parse(r"{role}: {content}\n")
        RoleTemplate(before='{role}: ', after='\n')
        """
        template = template.replace("\\n", "\n").replace("\\t", "\t")
        before, _, after = template.partition(_CONTENT)
        return cls(before, after)

    def write(self, messages: Sequence[tuple[str, str]]) -> str:
        r"""Return messages (role, content) as a text, with the beginning of the answer.

        >>> RoleTemplate.parse("{role}: {content}\n").write([("user", "Hi")])
        'user: Hi\nassistant: '
        """
        written = "".join(
            self._begin(role) + text + self.after.replace("{role}", role) for role, text in messages
        )
        return written + self._begin(_ASSISTANT)

    def stops(self, roles: Sequence[str]) -> tuple[str, ...]:
        r"""Return the texts at which an answer ends: what ends a message, or begins the next one.

        >>> RoleTemplate.parse("{role}: {content}\n").stops(["user"])
        ('\nuser:', '\nassistant:', '\nsystem:')
        >>> RoleTemplate.parse("<{role}>{content}</{role}>").stops(["user"])
        ('</assistant>',)
        """
        after = self.after.replace("{role}", _ASSISTANT)
        if after.strip() or "{role}" not in self.before:
            return (after.rstrip() or after,) if after else ()
        # Blanks alone may stand within an answer, so they end it only before a role.
        names = dict.fromkeys((*roles, *_ROLES))
        return tuple(after + self._begin(role).rstrip(" ") for role in names)

    def _begin(self, role: str) -> str:
        return self.before.replace("{role}", role)


async def handler(request: Request) -> Response:
    """Answer one request; raise RequestError where it is refused."""
    service = service_of(request)
    body = await read_json(request)
    served = service.find_text(body.get("model"))
    if service.config.role_template is None:
        raise RequestError(
            404,
            "this server does not chat: its models write plain text. Use POST /v1/completions, or "
            "start it with --role-template '{role}: {content}\\n', as the model's text has them",
            code="chat_not_served",
        )
    template = RoleTemplate.parse(service.config.role_template)
    info = info_of(served, service.config)
    asked = await service.check(parse_chat, body, info, template)
    texts = await Texts.prepare(service, served, asked)
    form = Form(
        "chatcmpl",
        "chat.completion",
        "chat.completion.chunk",
        make_choice=partial(_make_choice, asked),
        make_delta=partial(_make_delta, asked),
        firsts=[_begin(index) for index in range(asked.n)],
    )
    return await answer(service, served, texts, form)


def parse_chat(
    body: Mapping[str, Any], info: ModelInfo, template: RoleTemplate
) -> CompletionRequest:
    """Return a chat request as one of completions.

    Raises:
        RequestError: as `parse_completion`; or it asks for more than text.
    """
    check_known(body, FIELDS)
    for name, plain in _PLAIN.items():
        if body.get(name) is not None and body[name] not in plain:
            raise bad_request(
                f"{name} is {shown(body[name])}; this server answers with plain text, so leave it "
                "out",
                name,
            )
    given = Fields(body)
    messages = _parse_messages(given.get("messages"))
    own = {name: value for name, value in body.items() if name in COMPLETION_FIELDS}
    own["prompt"] = template.write(messages)
    own["logprobs"] = _parse_logprobs(given)
    if given.get("max_completion_tokens") is not None:
        if given.get("max_tokens") is not None:
            raise bad_request(
                "max_tokens and max_completion_tokens are the same; keep one",
                "max_completion_tokens",
            )
        own["max_tokens"] = given.integer("max_completion_tokens", 0, ge=0, le=info.max_chars)
    elif given.get("max_tokens") is None and given.get("length") is None:
        own["max_tokens"] = min(SampleConfig.length, info.max_chars)
    request = parse_completion(own, info)
    stops = drop_unwritable(template.stops([role for role, _ in messages]), info)
    config = request.config
    if not config.used("regex", "choices", "template", "balanced", "must"):
        config = replace(config, stop=tuple(dict.fromkeys((*config.stop, *stops))))
    return replace(request, config=config)


def _parse_messages(value: Any) -> list[tuple[str, str]]:
    """Return the messages as (role, content)."""
    if not isinstance(value, list) or not value:
        raise bad_request(
            f"messages is {shown(value)}; it must be a list of objects with role and content",
            "messages",
        )
    messages = [_parse_message(each, f"messages[{i}]") for i, each in enumerate(value)]
    roles = {role for role, _ in messages}
    if len(roles) > MAX_ROLES:
        raise bad_request(
            f"messages has {len(roles):,} different roles; give at most {MAX_ROLES}", "messages"
        )
    return messages


def _parse_message(value: Any, place: str) -> tuple[str, str]:
    """Return one message."""
    if not isinstance(value, dict):
        raise bad_request(
            f"{place} is {shown(value)}; it must be an object with role and content", place
        )
    role = value.get("role")
    if not isinstance(role, str) or not 1 <= len(role) <= 64:
        raise bad_request(
            f"{place}.role is {shown(role)}; it must be a text such as user", f"{place}.role"
        )
    return role, _parse_content(value.get("content"), f"{place}.content")


def _parse_content(value: Any, place: str) -> str:
    """Return the text of a message, which may come in parts."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else [value]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise bad_request(f"{place} is {shown(value)}; only text can be read", place)
        texts.append(text)
    return "".join(texts)


def _parse_logprobs(given: Fields) -> int | None:
    """Return how many alternatives are asked for; None: no logprobs."""
    top = given.optional_integer("top_logprobs", ge=0, le=MAX_TOP_LOGPROBS)
    if given.flag("logprobs"):
        return top or 0
    if top is not None:
        raise bad_request(
            "top_logprobs is given without logprobs; add logprobs: true", "top_logprobs"
        )
    return None


def _make_choice(asked: CompletionRequest, text: Text) -> dict[str, Any]:
    """Return a choice."""
    message = {"role": _ASSISTANT, "content": text.text, "refusal": None}
    return {"index": text.index, "message": message, **end_of(text.end, _logprobs(asked, text))}


def _begin(index: int) -> dict[str, Any]:
    """Return the part of a choice that says who speaks."""
    delta = {"role": _ASSISTANT, "content": "", "refusal": None}
    return {"index": index, "delta": delta, **end_of(None, None)}


def _make_delta(asked: CompletionRequest, part: Part) -> dict[str, Any]:
    """Return a part of a choice."""
    delta = {"content": part.text} if part.text else {}
    return {"index": part.index, "delta": delta, **end_of(part.end, _logprobs(asked, part))}


def _logprobs(asked: CompletionRequest, text: Text | Part) -> dict[str, Any] | None:
    """Return the log-probabilities of a text as chats have them; None if none are asked for."""
    if asked.logprobs is None:
        return None
    tokens = [*text.text, *[END_NAME] * (len(text.costs) - len(text.text))]
    content = [
        _entry(token, cost.nats)
        | {"top_logprobs": [_entry(name, nats) for name, nats in cost.top[: asked.logprobs]]}
        for token, cost in zip(tokens, text.costs, strict=True)
        if cost is not None
    ]
    return {"content": content, "refusal": None}


def _entry(token: str, nats: float) -> dict[str, Any]:
    """Return a character, its log-probability and its bytes in UTF-8; an end has none."""
    raw = list(token.encode("utf-8", "surrogateescape"))
    return {"token": token, "logprob": 0.0 - nats, "bytes": None if token == END_NAME else raw}
