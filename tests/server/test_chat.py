"""POST /v1/chat/completions: messages as a text by the role template, and answers to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from charrnn.config.serve import ServeConfig
from charrnn.server.errors import RequestError
from charrnn.server.protocol import CompletionRequest, ModelInfo
from charrnn.server.routes.chat import FIELDS, RoleTemplate, parse_chat
from charrnn.server.server import Server
from charrnn.text.vocab import Vocab
from tests.server.asking import Asker

PATH = "/v1/chat/completions"
TEMPLATE = RoleTemplate.parse("{role}: {content}\n")
INFO = ModelInfo("any", Vocab.of_bytes())
HELLO = [{"role": "user", "content": "Hello"}]


def parse(messages: Any = HELLO, **body: Any) -> CompletionRequest:
    return parse_chat({"messages": messages, **body}, INFO, TEMPLATE)


def refusal(messages: Any = HELLO, **body: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        parse(messages, **body)
    return caught.value


def test_messages_become_a_text_that_ends_where_the_answer_begins() -> None:
    messages = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Hi {role}"},
        {"role": "assistant", "content": "Hi"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    ]
    text = "system: Be short.\nuser: Hi {role}\nassistant: Hi\nuser: ab\nassistant: "

    assert parse(messages).prompts == (text,)


def test_an_answer_stops_where_a_message_would_begin() -> None:
    request = parse([{"role": "ROMEO", "content": "Ho"}], stop="!")

    assert request.config.stop == ("!", "\nROMEO:", "\nuser:", "\nassistant:", "\nsystem:")


def test_an_answer_stops_at_no_more_than_64_roles() -> None:
    messages = [{"role": f"r{i}", "content": "a"} for i in range(65)]

    assert len(parse(messages[:64] * 2, stop=["!"] * 64).config.stop) == 64 + 3 + 1
    error = refusal(messages)
    assert error.param == "messages"
    assert "65 different roles" in error.message


def test_an_answer_with_a_form_stops_when_that_is_complete() -> None:
    assert parse(regex="a+").config.stop == ()


@pytest.mark.parametrize(
    ("template", "text", "stops"),
    [
        ("{content}\n\n", "Hello\n\n", ("\n\n",)),
        (r"{content}\n\n", "Hello\n\n", ("\n\n",)),
        ("{role}:\n{content}\n\n", "user:\nHello\n\nassistant:\n", ("\n\nuser:\n",)),
        ("<{role}>{content}</{role}>", "<user>Hello</user><assistant>", ("</assistant>",)),
    ],
)
def test_a_template_may_have_any_form(template: str, text: str, stops: tuple[str, ...]) -> None:
    parsed = RoleTemplate.parse(template)

    assert parsed.write([("user", "Hello")]) == text
    assert parsed.stops(["user"])[:1] == stops


def test_the_length_has_two_names_and_is_that_of_sample_by_default() -> None:
    assert parse().config.length == 500
    assert parse(max_tokens=9).config.length == 9
    assert parse(max_completion_tokens=8).config.length == 8
    assert refusal(max_tokens=9, max_completion_tokens=8).param == "max_completion_tokens"


def test_logprobs_are_true_or_false_with_a_number_beside() -> None:
    assert parse().logprobs is None
    assert parse(logprobs=True).logprobs == 0
    assert parse(logprobs=True, top_logprobs=5).logprobs == 5
    assert refusal(top_logprobs=5).param == "top_logprobs"
    assert refusal(logprobs=True, top_logprobs=21).param == "top_logprobs"
    assert refusal(logprobs=1).param == "logprobs"


def test_settings_of_the_sampler_hold_in_a_chat_too() -> None:
    config = parse(temperature=0.3, dry_penalty=1, seed=5).config

    assert (config.temperature, config.dry_penalty, config.seed) == (0.3, 1, 5)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("response_format", {"type": "json_object"}),
        ("modalities", ["audio"]),
        ("tool_choice", "required"),
        ("functions", [{}]),
    ],
)
def test_what_asks_for_more_than_text_is_refused(field: str, value: Any) -> None:
    assert refusal(**{field: value}).param == field


def test_what_asks_for_text_is_accepted() -> None:
    parse(
        tools=[],
        response_format={"type": "text"},
        modalities=["text"],
        parallel_tool_calls=True,
        user="me",
        stream_options=None,
    )


@pytest.mark.parametrize("name", ["prompt", "echo", "best_of", "suffix", "temprature"])
def test_a_field_that_chats_have_not_is_refused(name: str) -> None:
    assert name not in FIELDS
    assert refusal(**{name: 1}).code == "unknown_parameter"


@pytest.mark.parametrize(
    "messages",
    [None, [], "Hi", ["Hi"], [{}], [{"role": 1}], [{"role": "user", "content": 5}], [{"role": ""}]],
)
def test_messages_of_another_form_are_refused(messages: Any) -> None:
    error = refusal(messages)

    assert error.status == 400
    assert (error.param or "").startswith("messages")


def test_a_picture_cannot_be_read() -> None:
    picture = [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]

    assert refusal([{"role": "user", "content": picture}]).param == "messages[0].content"


# Over sockets


def test_an_answer_is_openais_object(ask: Asker) -> None:
    asked = {"messages": HELLO, "max_tokens": 12, "seed": 4, "n": 2, "model": "bytes"}
    answer = ask.post(PATH, asked | {"logprobs": True, "top_logprobs": 2}).json

    assert answer["id"].startswith("chatcmpl-")
    assert answer["object"] == "chat.completion"
    assert [choice["index"] for choice in answer["choices"]] == [0, 1]
    for choice in answer["choices"]:
        text = choice["message"]["content"]
        entries = choice["logprobs"]["content"]
        assert choice["message"] == {"role": "assistant", "content": text, "refusal": None}
        assert [entry["token"] for entry in entries] == [*text]
        assert all(len(entry["top_logprobs"]) == 2 for entry in entries)
    prompt = "user: Hello\nassistant: "
    assert answer["usage"]["prompt_tokens"] == len(prompt)
    plain = ask.complete(model="bytes", prompt=prompt, max_tokens=12, seed=4, n=2)
    assert [c["message"]["content"] for c in answer["choices"]] == [
        c["text"] for c in plain["choices"]
    ]


def test_a_stream_has_the_role_then_the_text_then_its_end(ask: Asker) -> None:
    asked = {"messages": HELLO, "max_tokens": 12, "seed": 4, "n": 2, "model": "bytes"}
    whole = ask.post(PATH, asked).json
    options = {"stream": True, "stream_options": {"include_usage": True}}
    events = ask.post(PATH, asked | options).events

    assert {event["object"] for event in events} == {"chat.completion.chunk"}
    firsts = [event["choices"][0] for event in events[:2]]
    assert [(c["index"], c["delta"]["role"]) for c in firsts] == [
        (0, "assistant"),
        (1, "assistant"),
    ]
    found = {0: "", 1: ""}
    for event in events[:-1]:
        for choice in event["choices"]:
            found[choice["index"]] += choice["delta"].get("content", "")
    assert [*found.values()] == [c["message"]["content"] for c in whole["choices"]]
    assert events[-1]["choices"] == []
    assert events[-1]["usage"] == whole["usage"]


def test_a_server_without_a_template_says_how_it_gets_one(tiny_runs: Path) -> None:
    with Server(["book"], ServeConfig(port=0), tiny_runs) as server:
        answer = Asker(server.url).post(PATH, {"messages": HELLO})

    assert answer.status == 404
    assert "--role-template" in answer.error["message"]
    assert "/v1/completions" in answer.error["message"]
