"""The clients that people have: the openai package, curl, and editors that ask GET /generate.

They ask the real command, in a process of its own, on a port that it chose.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from charrnn.tasks.model import Model
from tests.server.asking import Asker
from tests.server.tiny_models import make_files

openai = pytest.importorskip("openai")

KEY = "a-key-of-the-tests"


@contextmanager
def serving(
    runs: Path, *arguments: str, key: str = KEY
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `charrnn serve` with these arguments; yield its address, once it is ready."""
    command = [sys.executable, "-m", "charrnn", "serve", "--port", "0", "--checkpoints", str(runs)]
    environment = {name: value for name, value in os.environ.items() if "CHARRNN" not in name}
    environment |= {"CHARRNN_API_KEY": key} if key else {}
    with subprocess.Popen(
        [*command, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            match = re.search(r"http://\S+", line)
            assert match, line or process.communicate()
            yield match[0], process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url(tiny_runs: Path) -> Iterator[str]:
    template = "--role-template={role}: {content}\n"
    limits = ("--max-seconds", "1", "--max-chars", "10000000", "--batch", "8", "--queue", "0")
    with serving(tiny_runs, "book", "names", "bytes", template, *limits) as (address, _):
        yield address


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


def text_of(name: str, prompt: str, **settings: Any) -> str:
    [sample] = Model(make_files()[name]).generate_many(prompt, temperature=1.0, **settings)
    return sample.text


# The openai package, every parameter


def test_openai_lists_the_models(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["book", "names", "bytes"]
    assert client.models.retrieve("names").id == "names"


def test_openai_completes_with_every_parameter(client: Any) -> None:
    answer = client.completions.create(
        model="book",
        prompt=["abc", "bad"],
        best_of=3,
        echo=True,
        frequency_penalty=0.5,
        logit_bias={"3": -100, "a": 2},
        logprobs=2,
        max_tokens=9,
        n=2,
        presence_penalty=0.25,
        seed=5,
        stop=["!", "<|endoftext|>"],
        stream=False,
        temperature=0.9,
        top_p=0.95,
        user="someone",
        extra_body={"top_k": 8, "min_p": 0.01, "metadata": {"a": "b"}},
    )

    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.usage.prompt_tokens == 6
    for choice in answer.choices:
        assert choice.text.startswith("abc" if choice.index < 2 else "bad")
        assert choice.finish_reason in ("length", "stop")
        assert len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs)
        assert choice.logprobs.token_logprobs[0] is None
        assert choice.logprobs.text_offset[0] == 0


def test_openai_reads_a_stream_and_its_usage(client: Any) -> None:
    chunks = [
        *client.completions.create(
            model="book",
            prompt="abc",
            max_tokens=40,
            seed=7,
            stream=True,
            stream_options={"include_usage": True},
        )
    ]
    *parts, last = chunks

    assert last.choices == []
    assert last.usage.completion_tokens == 40
    text = "".join(part.choices[0].text for part in parts)
    assert text == text_of("book", "abc", length=40, seed=7)
    assert parts[-1].choices[0].finish_reason == "length"


def test_openai_fills_a_blank_before_a_suffix(client: Any) -> None:
    answer = client.completions.create(model="book", prompt="a", suffix="d", max_tokens=4, n=2)

    assert len(answer.choices) == 2
    assert {choice.finish_reason for choice in answer.choices} == {"stop"}


def test_openai_scores_a_text(client: Any) -> None:
    answer = client.completions.create(
        model="names", prompt="abba", max_tokens=0, echo=True, logprobs=0
    )
    logprobs = answer.choices[0].logprobs

    assert logprobs.tokens == [*"abba"]
    assert all(value < 0 for value in logprobs.token_logprobs)


def test_openai_chats(client: Any) -> None:
    asked: dict[str, Any] = {
        "model": "bytes",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_completion_tokens": 20,
        "seed": 3,
    }
    answer = client.chat.completions.create(**asked, logprobs=True, top_logprobs=2, n=2)
    chunks = [*client.chat.completions.create(**asked, stream=True)]

    text = answer.choices[0].message.content
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == text
    assert len(answer.choices[1].logprobs.content) == 20
    assert answer.choices[0].message.role == "assistant"


def test_openai_embeds(client: Any) -> None:
    answer = client.embeddings.create(model="book", input=["abc", "bad"])

    assert [each.index for each in answer.data] == [0, 1]
    assert len(answer.data[0].embedding) == 14


def test_openai_asks_from_asyncio_many_at_once(url: str) -> None:
    async def ask_all() -> list[str]:
        base = f"{url}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key=KEY, max_retries=9) as client:

            async def ask(seed: int) -> str:
                stream = await client.completions.create(
                    model="book", prompt="abc", max_tokens=30, seed=seed, stream=True
                )
                return "".join([chunk.choices[0].text async for chunk in stream])

            return await asyncio.gather(*map(ask, range(8)))

    assert asyncio.run(ask_all()) == [
        text_of("book", "abc", length=30, seed=seed) for seed in range(8)
    ]


# Its errors


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"temperature": -1}, "temperature"),
        ({"extra_body": {"temprature": 1}}, "temprature"),
        ({"prompt": "☃"}, "prompt"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"prompt": [99_999]}, "prompt"),
        ({"logit_bias": {"nothing": 1}}, 'logit_bias["nothing"]'),
    ],
)
def test_openai_raises_bad_request_with_the_field(client: Any, body: Any, param: str) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**{"model": "book", "prompt": "a", **body})

    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_openai_raises_not_found_for_another_model(client: Any) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.completions.create(model="gpt-4", prompt="a")
    assert caught.value.code == "model_not_found"

    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-4")


def test_openai_raises_for_a_wrong_key(url: str) -> None:
    with (
        openai.OpenAI(base_url=f"{url}/v1", api_key="another-key", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError) as caught,
    ):
        client.completions.create(model="book", prompt="a")
    assert caught.value.code == "invalid_api_key"


def test_openai_raises_for_a_full_queue_and_then_tries_again(client: Any, url: str) -> None:
    streams = [
        client.completions.create(model="book", prompt="a", max_tokens=10_000_000, stream=True)
        for _ in range(8)
    ]
    with pytest.raises(openai.RateLimitError) as caught:
        client.completions.create(model="book", prompt="a")
    assert int(caught.value.response.headers["retry-after"]) >= 1

    for stream in streams:
        stream.close()
    patient = client.with_options(max_retries=5)
    assert patient.completions.create(model="book", prompt="a").choices[0].text


def test_openai_gets_what_was_written_in_the_time_of_a_request(client: Any) -> None:
    asked: dict[str, Any] = {"model": "book", "prompt": "a", "max_tokens": 10_000_000}
    *_, last = client.completions.create(**asked, stream=True)

    assert last.choices[0].finish_reason == "length"
    assert last.choices[0].stop_reason == "seconds"


def test_openai_is_told_that_the_server_ends(tiny_runs: Path) -> None:
    with serving(tiny_runs, "book", "--max-chars", "10000000") as (url, process):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)
        stream = client.completions.create(
            model="book", prompt="a", max_tokens=10_000_000, stream=True
        )
        next(iter(stream))
        process.send_signal(signal.SIGTERM)
        with pytest.raises(openai.APIError, match="closing"):
            list(stream)
        client.close()
        assert process.wait(2) == 143


# Others


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_shows_a_stream_as_it_comes(url: str) -> None:
    body = {"prompt": "abc", "max_tokens": 20, "seed": 1, "stream": True}
    headers = ["-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {KEY}"]
    command = ["curl", "-sS", "-N", "-i", *headers, "-d", json.dumps(body), f"{url}/v1/completions"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    head, _, stream = done.stdout.partition("\n\n")

    assert done.returncode == 0, done.stderr
    assert head.startswith("HTTP/1.1 200")
    assert "x-accel-buffering: no" in head.lower()
    events = [line.removeprefix("data: ") for line in stream.splitlines() if line]
    assert events.pop() == "[DONE]"
    text = "".join(json.loads(event)["choices"][0]["text"] for event in events)
    assert text == text_of("book", "abc", length=20, seed=1)


def test_an_editor_of_torch_rnn_server_gets_its_completions(tiny_runs: Path) -> None:
    with serving(tiny_runs, "book", key="") as (url, _):
        ask = Asker(url)
        there = ask.get("/", {"Accept": "application/json"}).json
        answer = ask.get("/generate?start_text=a%20bad%20cab&n=3").json

    assert "message" in there
    assert answer["start_text"] == "a%20bad%20cab"
    assert len(answer["completions"]) == 3
