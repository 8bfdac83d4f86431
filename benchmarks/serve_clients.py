"""Clients that people have against `charrnn serve`: every parameter, ok or failed.

    python benchmarks/serve_clients.py MODEL [--checkpoints DIR] [--lm-eval PATH]

MODEL is a run of English text. The openai package for Python must be installed (it is, for
development); that for JavaScript and rnn-writer's library are fetched by npm into a temporary
folder, where node and npm are. --lm-eval: the program of lm-evaluation-harness, which then scores a
small task of its own through the server; its figures are compared with our own. What is not
installed is left out, and said so. Ends with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import charrnn

KEY = "a-key-for-the-clients"
HERE = Path(__file__).parent / "clients"
TEMPLATE = "--role-template={role}: {content}\n"
PACKAGES = ("openai", "request-json")
LOAD = 1000
SCORED = "It was the time of the king, and the king was dead.\n" * 40
_OPENAI_NAMES = {"prompt", "seed", "temperature", "top_p", "presence_penalty", "logprobs", "stop"}
QUESTIONS = [
    {"question": "The king is", "choices": [" dead", " xqzzv", " gdkrw"], "answer": 0},
    {"question": "What is the m", "choices": ["vxqp", "atter", "zzzz"], "answer": 1},
    {"question": "And then he ", "choices": ["qqqq", "jxkv", "said"], "answer": 2},
    {"question": "I would not ", "choices": ["have", "hvea", "aehv"], "answer": 0},
]
CHOICE_TASK = """
task: charrnn_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list:
  - metric: acc
"""
WRITE_TASK = """
task: charrnn_write
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 12, do_sample: false}}
metric_list:
  - metric: exact_match
"""


@dataclass
class Check:
    """One thing that a client does: "" as detail if it worked."""

    client: str
    name: str
    detail: str = ""


Served = tuple[str, Callable[[], None]]


def main() -> int:
    """Ask by each client, and print what works."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--checkpoints", default="checkpoints")
    parser.add_argument("--lm-eval", help="the program lm_eval")
    options = parser.parse_args()
    checks: list[Check] = []
    with serving(options.model, options.checkpoints, KEY) as (url, stop):
        checks += openai_checks(url, options, stop)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        has_packages = npm_install(folder)
        with serving(options.model, options.checkpoints, KEY) as (url, _):
            checks += curl_checks(url)
            checks += load_checks(url, options)
            if has_packages:
                arguments = (f"{url}/v1", KEY, options.model)
                checks += node_checks("openai (node)", folder, "openai_client.mjs", *arguments)
            else:
                print("left out: the clients of JavaScript, as npm cannot install them")
        with serving(options.model, options.checkpoints) as (url, _):
            if has_packages:
                checks += node_checks("rnn-writer (node)", folder, "editor_client.cjs", url)
            if options.lm_eval:
                checks += harness_checks(options, url, folder)
            else:
                print("left out: lm-evaluation-harness (--lm-eval)")
    width = max(len(check.client) for check in checks)
    for check in checks:
        word = "ok" if not check.detail else "FAILED"
        print(f"{check.client:<{width}}  {word:<6}  {check.name}  {check.detail[:300]}".rstrip())
    failed = sum(bool(check.detail) for check in checks)
    print(f"{len(checks) - failed} ok, {failed} failed")
    return bool(failed)


@contextmanager
def serving(model: str, checkpoints: str, key: str = "") -> Iterator[Served]:
    """Run the server in a process of its own; yield its address, and what ends it."""
    command = [sys.executable, "-m", "charrnn", "serve", model, "--port", "0", TEMPLATE]
    environment = {"OMP_NUM_THREADS": "1"} | os.environ | ({"CHARRNN_API_KEY": key} if key else {})
    more = ("--checkpoints", checkpoints, "--max-seconds", "30", "--max-chars", "10000000")
    with subprocess.Popen(
        [*command, *more], stdout=subprocess.PIPE, text=True, env=environment
    ) as ran:
        try:
            line = ran.stdout.readline() if ran.stdout else ""
            found = re.search(r"http://\S+", line)
            if not found:
                raise SystemExit("the server does not start")
            yield found[0], ran.terminate
        finally:
            ran.terminate()


def run_check(client: str, name: str, holds: Callable[[], object]) -> Check:
    """Return how a check went; it holds where it returns anything true."""
    try:
        return Check(client, name, "" if holds() else "not as documented")
    except Exception as error:
        return Check(client, name, f"{type(error).__name__}: {error}")


# The openai package for Python


def openai_checks(
    url: str, options: argparse.Namespace, stop: Callable[[], None]
) -> Iterator[Check]:
    """Yield a check of each parameter of the openai package for Python; stop: ends the server."""
    model = options.model
    own = charrnn.load(model, checkpoints=options.checkpoints)
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0)

    def ask(**more: Any) -> Any:
        asked = {"model": model, "prompt": "The", "max_tokens": 12, "seed": 3} | more
        return client.completions.create(**asked)

    def first(**more: Any) -> Any:
        return ask(**more).choices[0]

    def raised(kind: type[Exception], run: Callable[[], object], **fields: str) -> bool:
        try:
            run()
        except kind as error:
            return all(getattr(error, name) == value for name, value in fields.items())
        return False

    def streamed(**more: Any) -> str:
        return "".join(chunk.choices[0].text for chunk in ask(stream=True, **more))

    def usage() -> bool:
        *_, last = ask(stream=True, stream_options={"include_usage": True})
        return last.choices == [] and last.usage.completion_tokens == 12

    def scored() -> bool:
        answer = first(prompt=SCORED, max_tokens=0, echo=True, logprobs=0)
        scores = own.score(SCORED)
        bits = scores.known_bits[scores.given :].sum() + sum(each for _, each in scores.ends)
        nats = -sum(each for each in answer.logprobs.token_logprobs if each is not None)
        return answer.text == SCORED and math.isclose(nats, bits * math.log(2), abs_tol=1e-6)

    def chat(**more: Any) -> Any:
        messages = [{"role": "user", "content": "Hello"}]
        return client.chat.completions.create(model=model, messages=messages, seed=1, **more)

    def ended() -> None:
        stream = ask(max_tokens=10_000_000, stream=True)
        next(stream)
        stop()
        list(stream)

    bad_request = openai.BadRequestError
    other = openai.OpenAI(base_url=f"{url}/v1", api_key="another-key", max_retries=0)
    checks: dict[str, Callable[[], object]] = {
        "models.list": lambda: [each.id for each in client.models.list()] == [model],
        "models.retrieve": lambda: client.models.retrieve(model).id == model,
        "prompt, max_tokens": lambda: len(first().text) == 12,
        "max_tokens left out: 16": lambda: len(first(max_tokens=None).text) == 16,
        "seed": lambda: first().text == first().text != first(seed=4).text,
        "prompt: texts": lambda: len(ask(prompt=["a", "b"]).choices) == 2,
        "prompt: ids": lambda: first(prompt=[3, 4]).text,
        "prompt: lists of ids": lambda: len(ask(prompt=[[3], [4, 5]]).choices) == 2,
        "n": lambda: len({choice.text for choice in ask(n=3).choices}) == 3,
        "best_of": lambda: len(ask(n=2, best_of=4).choices) == 2,
        "echo": lambda: first(echo=True).text.startswith("The"),
        "logprobs": lambda: len(first(logprobs=2).logprobs.top_logprobs) == 12,
        "logprobs 0": lambda: len(first(logprobs=0).logprobs.tokens) == 12,
        "echo, logprobs, max_tokens 0: as charrnn score, to 1e-6": scored,
        "stop": lambda: "e" not in first(stop=["e", "<|endoftext|>"], max_tokens=99).text,
        "temperature 0": lambda: first(temperature=0).text == first(temperature=0, seed=4).text,
        "top_p": lambda: len(first(top_p=0.5).text) == 12,
        "top_p 0": lambda: first(top_p=0).text == first(temperature=0).text,
        "presence_penalty": lambda: len(first(presence_penalty=1.5).text) == 12,
        "frequency_penalty": lambda: len(first(frequency_penalty=-1).text) == 12,
        "logit_bias": lambda: first(logit_bias={"e": 100}).text == "e" * 12,
        "suffix": lambda: first(suffix=" man").finish_reason == "stop",
        "user": lambda: first(user="me").text,
        "own settings": lambda: len(first(extra_body={"regex": "[a-z]{5}", "top_k": 9}).text) == 5,
        "stream": lambda: streamed() == first().text,
        "stream_options.include_usage": usage,
        "embeddings": lambda: client.embeddings.create(model=model, input="The").data[0].embedding,
        "chat": lambda: chat(max_tokens=9).choices[0].message.content,
        "chat, stream": lambda: [*chat(max_completion_tokens=9, stream=True)],
        "400, the field": lambda: raised(bad_request, lambda: ask(n=0), param="n"),
        "400, an unknown field": lambda: raised(
            bad_request, lambda: ask(extra_body={"temprature": 1}), param="temprature"
        ),
        "401": lambda: raised(
            openai.AuthenticationError, lambda: other.completions.create(model=model, prompt="")
        ),
        "404": lambda: raised(openai.NotFoundError, lambda: ask(model="gpt-4"), param="model"),
        "max_seconds": lambda: ask(max_tokens=10_000_000).choices[0].stop_reason == "seconds",
        "an error within a stream": lambda: raised(openai.APIError, ended),
    }
    for name, holds in checks.items():
        yield run_check(f"openai {openai.__version__}", name, holds)


# The same seed under load

SETTINGS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5, "top_p": 0.9},
    {"dry_penalty": 1.0, "presence_penalty": 0.5},
    {"top_k": 20, "min_p": 0.02},
    {"lines": 2},
    {"regex": "[a-z ]{10,40}"},
    {"logprobs": 2},
    {"stop": ["the", "."]},
]


def load_checks(url: str, options: argparse.Namespace) -> Iterator[Check]:
    """Yield a check of many seeded streams at once: each has the text of its seed alone."""
    import openai

    model = charrnn.load(options.model, checkpoints=options.checkpoints)
    prompts = ("", "The", "And so the", "It was in the beginning of the")

    def asked(number: int) -> dict[str, Any]:
        return {"prompt": prompts[number % 4], "seed": number} | SETTINGS[number // 4 % 8]

    async def ask_all() -> list[str]:
        slots = asyncio.Semaphore(64)
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key=KEY, timeout=120) as client:

            async def ask(number: int) -> str:
                own = {k: v for k, v in asked(number).items() if k in _OPENAI_NAMES}
                more = {k: v for k, v in asked(number).items() if k not in _OPENAI_NAMES}
                async with slots:
                    stream = await client.completions.create(
                        model=options.model, max_tokens=60, stream=True, extra_body=more, **own
                    )
                    return "".join([chunk.choices[0].text async for chunk in stream])

            return await asyncio.gather(*map(ask, range(LOAD)))

    found = asyncio.run(ask_all())
    wrong = 0
    for number, text in enumerate(found):
        settings = {"temperature": 1.0, "length": 60} | asked(number)
        settings.pop("logprobs", None)
        settings |= {"stop": tuple(settings["stop"])} if "stop" in settings else {}
        wrong += text != str(model.generate(**settings))
    detail = f"{wrong} of {LOAD} texts differ" if wrong else ""
    yield Check("under load", f"{LOAD} seeded streams, 64 at once, are those of one alone", detail)


# curl and node


def curl_checks(url: str) -> Iterator[Check]:
    """Yield a check of a stream by curl."""
    if shutil.which("curl") is None:
        return
    headers = ("-H", "Content-Type: application/json", "-H", f"Authorization: Bearer {KEY}")
    body = json.dumps({"prompt": "The", "max_tokens": 50, "stream": True})
    command = ["curl", "-sS", "-N", *headers, "-d", body, f"{url}/v1/completions"]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    yield run_check("curl", "-N, a stream", lambda: output.endswith("data: [DONE]\n\n"))


def npm_install(folder: Path) -> bool:
    """Install the packages of JavaScript; return whether they are there."""
    if shutil.which("npm") is None:
        return False
    for name in ("openai_client.mjs", "editor_client.cjs"):
        shutil.copy(HERE / name, folder)
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", *PACKAGES]
    return subprocess.run(command, cwd=folder, check=False).returncode == 0


def node_checks(client: str, folder: Path, script: str, *arguments: str) -> Iterator[Check]:
    """Yield the checks of a script of node, which prints one as JSON in each line."""
    command = ["node", script, *arguments]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    for line in ran.stdout.splitlines():
        found = json.loads(line)
        detail = "" if found["ok"] else found["detail"] or "not as documented"
        yield Check(client, found["name"], detail)
    if ran.returncode:
        yield Check(client, "runs to its end", ran.stderr[-300:])


# lm-evaluation-harness


def harness_checks(options: argparse.Namespace, url: str, folder: Path) -> Iterator[Check]:
    """Yield checks of the harness: it finds the tokenizer, and its figures are our own."""
    data = folder / "questions.json"
    data.write_text("\n".join(map(json.dumps, QUESTIONS)), encoding="utf-8")
    for name, task in (("choices", CHOICE_TASK), ("write", WRITE_TASK)):
        (folder / f"{name}.yaml").write_text(task.format(file=data), encoding="utf-8")
    where = f"model={options.model},base_url={url}/v1/completions,num_concurrent=2,max_retries=1"
    results = folder / "results"
    model = charrnn.load(options.model, checkpoints=options.checkpoints)
    for backend in ("remote", "auto"):
        command = [
            *(options.lm_eval, "run", "--model", "local-completions"),
            *("--model_args", f"{where},tokenizer_backend={backend}"),
            *("--tasks", "charrnn_choices,charrnn_write", "--include_path", str(folder)),
            *("--output_path", str(results / backend), "--log_samples"),
        ]
        environment = os.environ | {"HF_DATASETS_CACHE": str(folder / "cache")}
        ran = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, cwd=folder
        )
        client = f"lm-eval, {backend}"
        if ran.returncode:
            yield Check(client, "runs", (ran.stderr or ran.stdout).strip()[-300:])
            continue
        yield Check(client, "runs")
        for name, is_right in (("choices", is_own), ("write", is_greedy)):
            found = [*read_samples(results / backend, name)]
            wrong = sum(not is_right(model, each) for each in found)
            is_whole = len(found) == len(QUESTIONS)
            detail = (
                "" if is_whole and not wrong else f"{len(found)} answers, {wrong} of them wrong"
            )
            yield Check(client, f"{name}: figures and texts are our own", detail)


def read_samples(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    """Yield what the harness wrote of each question of a task."""
    for path in folder.rglob(f"samples_charrnn_{name}_*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def is_own(model: Any, sample: dict[str, Any]) -> bool:
    """Return whether the log-likelihoods of a question's choices are those that we score.

    The harness counts the blanks at the end of a question as part of its choices.
    """
    question = sample["doc"]["question"]
    start = len(question.rstrip())
    for choice, [response] in zip(sample["doc"]["choices"], sample["resps"], strict=True):
        bits = model.score(question + choice).bits[start:].sum()
        if not math.isclose(float(response[0]), -bits * math.log(2), abs_tol=1e-4):
            return False
    return True


def is_greedy(model: Any, sample: dict[str, Any]) -> bool:
    """Return whether a text is the one that we write at temperature 0."""
    own = str(model.generate(sample["doc"]["question"], temperature=0, length=12, stop=("\n",)))
    [[response]] = sample["resps"]
    return own.strip() == str(response).strip()


if __name__ == "__main__":
    sys.exit(main())
