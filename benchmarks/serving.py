"""A server under load, through its own port: python benchmarks/serving.py [PART]...

`charrnn serve` runs as a process of its own, the clients in this one. Each part stands alone:

    rate        64 streams, LSTM 1 × 256 and 2 × 512: 0.8 × the characters per second of
                `charrnn sample -n 64`, the first character within 50 ms for 99 of 100, the slowest
                stream at most 2 × as long as the median
    same        1,000 requests of mixed settings, 64 at once: each text is that of `sample --seed`
    peer        20 × as many characters per second as the server that people write today: FastAPI
                and a loop of torch, one request at a time; needs --peer-python, with both
    continue    the first character after 10 and after 100,000 characters of a text that was read
                before
    disconnect  1,000 clients that leave: each text is dropped within 50 ms, and nothing stays
    stop        Ctrl-C with 50 streams: over within 2 s, and every client is told
    soak        an hour of requests like those of `same`: memory stays where it was

Without a part all are run but the last. --minutes: of the soak.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import charrnn
from charrnn.checkpoint.model_file import ModelFile, pack_model
from charrnn.config import ModelConfig, SampleConfig
from charrnn.data.labels import LabelColumn, Labels
from charrnn.errors import CharRNNError
from charrnn.tasks.sample import stream_text
from charrnn.text.vocab import Vocab

STREAMS = 64
ARRIVAL_SECONDS = 0.015
REQUESTS = 1_000
LEAVERS = 1_000
STOPPED = 50
PROMPT = "It was a dark and stormy night; "
LETTERS = "\n !$&',-.3:;?" + string.ascii_letters


# ── models: random weights, which take as long as trained ones ──


def make_models(folder: Path) -> None:
    """Write models into a folder, as `charrnn serve` takes their paths."""
    plain = Vocab("".join(sorted(LETTERS)))
    shapes: dict[str, tuple[Vocab, dict[str, Any]]] = {
        "small": (plain, {"hidden_size": 256}),
        "large": (plain, {"hidden_size": 512, "num_layers": 2}),
        "gru": (plain, {"cell": "gru", "hidden_size": 64, "num_layers": 2}),
        "bytes": (Vocab("\n ABCDE月", has_bytes=True), {"hidden_size": 48}),
        "names": (Vocab(" ABCDEFG", has_end=True), {"hidden_size": 48, "has_end": True}),
    }
    for name, (vocab, shape) in shapes.items():
        columns: tuple[LabelColumn, ...] = ()
        if name == "names":
            columns = (LabelColumn("who", ("A", "B"), (5, 4)),)
            shape |= {"label_count": 2, "label_size": 3, "initial_state": "learned"}
        config = ModelConfig(**({"vocab_size": vocab.size, "embedding_size": 32} | shape))
        rng = np.random.default_rng(len(name))
        weights = {
            key: (rng.standard_normal(size) * 2 / config.hidden_size**0.5).astype(np.float32)
            for key, size in config.weight_shapes().items()
        }
        summary = {"corpus": {"record_kind": "line"}} if vocab.has_end else {}
        file = ModelFile(config, vocab, weights, summary, labels=Labels(columns))
        (folder / f"{name}.safetensors").write_bytes(pack_model(file))


# ── the server, and a client that costs little ──


@dataclass
class Server:
    """A server process; port: where it listens."""

    process: subprocess.Popen[str]
    port: int

    def memory_bytes(self) -> int:
        """Return the memory that the process holds."""
        fields = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")

    async def metric(self, name: str) -> float:
        """Return a number of /metrics."""
        text = (await get(self.port, "/metrics")).decode()
        lines = (line.split() for line in text.splitlines() if line.startswith(name))
        return float(next((line[-1] for line in lines), "nan"))


@contextlib.contextmanager
def serving(*command: str, until: str = "http://127.0.0.1:") -> Iterator[Server]:
    """Run a server until the block is left."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        line = ""
        while until not in line:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{' '.join(command)} did not start")
        digits = line.split(until)[1].split("/")[0].split()[0]
        log = threading.Thread(target=process.stdout.read)  # that the pipe never fills
        log.start()
        yield Server(process, int(digits))
    finally:
        process.terminate()
        process.wait(10)


def charrnn_serve(folder: Path, *names: str, options: tuple[str, ...] = ()) -> Any:
    """Run `charrnn serve` with these models."""
    paths = [str(folder / f"{name}.safetensors") for name in names]
    command = [sys.executable, "-m", "charrnn", "serve", *paths, "--port", "0", *options]
    return serving(*command)


async def get(port: int, path: str) -> bytes:
    """Return the body of a page."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2]


async def post(port: int, body: dict[str, Any], path: str = "/v1/completions") -> Any:
    """Send a request; return the stream's reader and writer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    content = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
    head += f"content-type: application/json\r\ncontent-length: {len(content)}\r\n\r\n"
    writer.write(head.encode() + content)
    return reader, writer


async def iter_events(reader: asyncio.StreamReader) -> AsyncIterator[Any]:
    """Yield the events of a stream as they come."""
    async for line in reader:
        if line.startswith(b"data: ") and line != b"data: [DONE]\n":
            yield json.loads(line[6:])


@dataclass
class Answer:
    """A streamed text, and when its parts came, in seconds after it was asked for."""

    text: str = ""
    first_seconds: float = float("nan")
    end_seconds: float = float("nan")
    reason: str | None = None
    error: Any = None
    events: int = field(default=0)


async def ask(port: int, body: dict[str, Any]) -> Answer:
    """Stream a text."""
    began = time.perf_counter()
    answer = Answer()
    reader, writer = await post(port, body | {"stream": True})
    status = (await reader.readline()).split()[1:2]
    if status != [b"200"]:
        answer.error = json.loads((await reader.read()).rpartition(b"\r\n\r\n")[2])["error"]
        writer.close()
        return answer
    async for event in iter_events(reader):
        answer.events += 1
        if "error" in event:
            answer.error = event["error"]
            break
        choice = event["choices"][0]
        if choice["text"] and not answer.text:
            answer.first_seconds = time.perf_counter() - began
        answer.text += choice["text"]
        answer.reason = choice["finish_reason"] or answer.reason
    answer.end_seconds = time.perf_counter() - began
    writer.close()
    return answer


def request_of(model: str, **settings: Any) -> dict[str, Any]:
    """Return a request with the defaults of `charrnn sample`."""
    return {"model": model, "prompt": PROMPT, "temperature": 0.8} | settings


# ── the parts ──


def rate(folder: Path) -> None:
    """Compare 64 streams with `charrnn sample -n 64`."""
    for name, chars in (("small", 4_000), ("large", 600)):
        ratios = []
        for _ in range(3):
            with charrnn_serve(folder, name) as server:
                asyncio.run(stream_all(server.port, name, 20))  # its caches are warm, as ours are
                answers, seconds = asyncio.run(stream_all(server.port, name, chars))
                late, _ = asyncio.run(stream_all(server.port, name, chars // 4, ARRIVAL_SECONDS))
            served = STREAMS * chars / seconds
            alone = sample_rate(folder / f"{name}.safetensors", chars)
            ratios.append(served / alone)
        first, first_late = (
            sorted(each.first_seconds * 1_000 for each in some) for some in (answers, late)
        )
        ends = [each.end_seconds for each in answers]
        say(
            f"rate {name}: {served:,.0f} characters/s, {statistics.median(ratios):.2f} × those of "
            f"sample -n {STREAMS} (≥ 0.80); slowest {max(ends) / statistics.median(ends):.2f} × "
            f"the median (≤ 2); {sum(each.events for each in answers):,} events; first character "
            f"(≤ 50 ms): of all at once {first[STREAMS // 2]:.0f} ms, the last {first[-1]:.0f}; "
            f"of one every {ARRIVAL_SECONDS * 1_000:g} ms {first_late[STREAMS // 2]:.0f}, the "
            f"last {first_late[-1]:.0f}"
        )


async def stream_all(
    port: int, name: str, chars: int, wait_seconds: float = 0.0
) -> tuple[list[Answer], float]:
    """Stream 64 texts, one every `wait_seconds`; return them, and the seconds that it took."""
    began = time.perf_counter()
    bodies = [request_of(name, max_tokens=chars, seed=seed) for seed in range(STREAMS)]

    async def one(number: int) -> Answer:
        await asyncio.sleep(number * wait_seconds)
        return await ask(port, bodies[number])

    answers = await asyncio.gather(*map(one, range(STREAMS)))
    assert all(len(each.text) == chars for each in answers), answers[0]
    return answers, time.perf_counter() - began


def sample_rate(path: Path, chars: int) -> float:
    """Return the characters per second of `charrnn sample`, without its start."""
    seconds = []
    for length in (1, chars):
        command = [sys.executable, "-m", "charrnn", "sample", str(path), "-n", str(STREAMS)]
        command += ["--prompt", PROMPT, "--length", str(length), "--seed", "1"]
        began = time.perf_counter()
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        seconds.append(time.perf_counter() - began)
    return STREAMS * (chars - 1) / (seconds[1] - seconds[0])


MIXED: list[dict[str, Any]] = [
    *({}, {"temperature": 0}, {"temperature": 1.4}, {"top_k": 5}, {"top_p": 0.9}),
    *({"min_p": 0.05}, {"typical": 0.9}, {"xtc": 0.5}, {"mirostat": 3.0}, {"top_n_sigma": 1.0}),
    *({"repetition_penalty": 1.2}, {"presence_penalty": 0.3, "frequency_penalty": 0.1}),
    *({"dry_penalty": 1.0, "dry_length": 2}, {"word_temperature": 0.5}, {"lines": 2}),
    *({"dynamic_temperature": 0.4}, {"sentences": 1}, {"stop": ["AB", "B"]}),
    *({"stop_regex": "A[^A]"}, {"ban": ["E"]}, {"bias": ["A=2"]}, {"must": ["ABBA"]}),
    *({"lines": 1, "bias": ["\n=4"]}, {"lines": 2, "bias": ["\n=4"]}),  # some are blank
    *({"ban_word": ["A"]}, {"regex": "[ABC ]{3,30}"}, {"choices": ["AB", "BA"]}),
]
PROMPTS = ["", "", "A", "AB BA", "AB\n", "ABC " * 90]


def mixed_request(chance: random.Random) -> dict[str, Any]:
    """Return a request that is like none before it."""
    name = chance.choice(["small", "gru", "bytes", "names"])
    labels = {"labels": ["who=A"]} if name == "names" and chance.random() < 0.5 else {}
    body = request_of(name, **chance.choice(MIXED), **labels)
    body["prompt"] = chance.choice(PROMPTS)
    body["seed"] = chance.randrange(10_000)
    body["max_tokens"] = chance.choice([1, 5, 40, 200, 600])
    return body


def same(folder: Path) -> None:
    """Compare 1,000 texts, 64 at once, with those of `charrnn sample --seed`."""
    chance = random.Random(1)
    bodies = [mixed_request(chance) for _ in range(REQUESTS)]
    with charrnn_serve(folder, "small", "gru", "bytes", "names") as server:
        began = time.perf_counter()
        answers = asyncio.run(ask_in_turn(server.port, bodies))
        seconds = time.perf_counter() - began
    opened: dict[Any, Any] = {}
    wrong = refused = 0
    for body, answer in zip(bodies, answers, strict=True):
        try:
            expected = sample_alone(folder, body, opened)
        except CharRNNError as error:
            refused += 1
            wrong += answer.error is None and answer.reason is not None
            if answer.text:
                say(f"  {body}: {answer.text!r} where sample says {error}")
            continue
        if answer.text != expected:
            wrong += 1
            say(f"  {body}: {answer.text!r}, not {expected!r}: {answer.error}")
    say(
        f"same: {REQUESTS - wrong} of {REQUESTS} texts are those of sample, {refused} of them "
        f"refused by both; {seconds:.1f} s"
    )


async def ask_in_turn(port: int, bodies: list[dict[str, Any]]) -> list[Answer]:
    """Ask for texts, 64 at any time."""
    free = asyncio.Semaphore(STREAMS)

    async def one(body: dict[str, Any]) -> Answer:
        async with free:
            return await ask(port, body)

    return await asyncio.gather(*map(one, bodies))


def sample_alone(folder: Path, body: dict[str, Any], opened: dict[Any, Any]) -> str:
    """Return the text that `charrnn sample` prints."""
    settings = dict(body)
    name = settings.pop("model")
    labels = tuple(settings.pop("labels", ()))
    settings["length"] = settings.pop("max_tokens")
    prompt = settings.pop("prompt")
    if (name, labels) not in opened:
        path = str(folder / f"{name}.safetensors")
        opened[name, labels] = charrnn.open_models(path, labels=labels)
    config = SampleConfig(**as_tuples(settings))
    return "".join(stream_text(opened[name, labels], prompt, config))


def as_tuples(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with tuples in place of JSON's lists."""
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()
    }


PEER = """
import sys, threading
import torch
import uvicorn
from fastapi import FastAPI

LETTERS = {letters!r}
CHARS = 200

class CharRNN(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = torch.nn.Embedding(len(LETTERS), 256)
        self.rnn = torch.nn.LSTM(256, 256)
        self.decoder = torch.nn.Linear(256, len(LETTERS))

    def forward(self, inp, hidden):
        output, hidden = self.rnn(self.encoder(inp).view(1, 1, -1), hidden)
        return self.decoder(output.view(1, -1)), hidden

torch.set_num_threads(1)
model = CharRNN().eval()
lock = threading.Lock()
app = FastAPI()

@app.get("/generate")
def generate(prompt: str = "It was", length: int = 200, temperature: float = 0.8):
    with lock, torch.no_grad():
        ids = torch.tensor([LETTERS.index(char) for char in prompt])
        hidden = None
        for i in ids[:-1]:
            _, hidden = model(i, hidden)
        inp, text = ids[-1], ""
        for _ in range(length):
            output, hidden = model(inp, hidden)
            dist = output.view(-1).div(temperature).exp()
            inp = torch.multinomial(dist, 1)[0]
            text += LETTERS[int(inp)]
    return {{"text": text}}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="info")
"""


def peer(folder: Path, python: str) -> None:
    """Compare with a server of FastAPI and torch, by 64 requests at once."""
    script = folder / "peer.py"
    script.write_text(PEER.format(letters=LETTERS))
    chars = 200
    port = free_port()
    ratios = []
    for _ in range(3):
        with serving(python, str(script), str(port)) as server:

            async def ask_peer(port: int = server.port) -> float:
                path = f"/generate?prompt=It%20was&length={chars}"
                await get(port, path)
                began = time.perf_counter()
                pages = await asyncio.gather(*(get(port, path) for _ in range(STREAMS)))
                assert all(len(json.loads(page)["text"]) == chars for page in pages)
                return STREAMS * chars / (time.perf_counter() - began)

            theirs = asyncio.run(ask_peer())
        with charrnn_serve(folder, "small") as server:
            asyncio.run(stream_all(server.port, "small", 20))
            _, seconds = asyncio.run(stream_all(server.port, "small", 4_000))
        ours = STREAMS * 4_000 / seconds
        ratios.append(ours / theirs)
    say(
        f"peer: FastAPI and torch {theirs:,.0f} characters/s, charrnn serve {ours:,.0f}: "
        f"{statistics.median(ratios):.1f} × (≥ 20)"
    )


def free_port() -> int:
    """Return a port that is free now."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def go_on(folder: Path) -> None:
    """Time the first character of texts that go on."""

    async def measure(port: int) -> dict[int, float]:
        chance = random.Random(2)
        found = {}
        for length in (10, 100_000):
            text = "".join(chance.choice(LETTERS) for _ in range(length))
            times = []
            for turn in range(21):
                body = request_of("small", max_tokens=50, seed=turn) | {"prompt": text}
                answer = await ask(port, body)
                assert answer.error is None, answer.error
                times.append(answer.first_seconds * 1_000)
                text += answer.text
                await asyncio.sleep(0.2)  # as long as nobody reads faster
            say(f"  after {length:,} characters, read anew: {times[0]:.0f} ms")
            found[length] = statistics.median(times[1:])
        return found

    with charrnn_serve(folder, "small") as server:
        found = asyncio.run(measure(server.port))
    say("continue: " + ", ".join(f"after {n:,}: {ms:.1f} ms" for n, ms in found.items()))


def disconnect(folder: Path) -> None:
    """Leave 1,000 streams in their middle."""

    async def measure(server: Server) -> tuple[list[float], int]:
        gone = []
        before = 0
        for number in range(LEAVERS):
            body = request_of("small", max_tokens=20_000, seed=number, stream=True)
            reader, writer = await post(server.port, body)
            await reader.readuntil(b"data: ")
            writer.transport.abort()
            began = time.perf_counter()
            while await server.metric("charrnn_texts_running") > 0:
                await asyncio.sleep(0.001)
            gone.append((time.perf_counter() - began) * 1_000)
            if number == LEAVERS // 10:
                before = server.memory_bytes()
        return sorted(gone), server.memory_bytes() - before

    with charrnn_serve(folder, "small") as server:
        gone, grown = asyncio.run(measure(server))
    say(
        f"disconnect: gone after {statistics.median(gone):.1f} ms, the slowest of {LEAVERS} after "
        f"{gone[-1]:.0f} ms (≤ 50), each with a look at /metrics; memory {grown / 1e6:+.1f} MB"
    )


def stop(folder: Path) -> None:
    """Interrupt a server with 50 streams."""

    async def measure(server: Server) -> tuple[float, int, int]:
        asked = [
            asyncio.create_task(ask(server.port, request_of("small", max_tokens=20_000, seed=seed)))
            for seed in range(STOPPED)
        ]
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        server.process.send_signal(signal.SIGINT)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await asyncio.to_thread(server.process.wait, 10)
        seconds = time.perf_counter() - began
        told = sum(isinstance(each, Answer) and each.error is not None for each in answers)
        return seconds, told, server.process.returncode

    with charrnn_serve(folder, "small") as server:
        seconds, told, code = asyncio.run(measure(server))
    say(
        f"stop: over after {seconds:.2f} s (≤ 2), {told} of {STOPPED} clients told, exit code "
        f"{code}"
    )


def soak(folder: Path, minutes: float) -> None:
    """Ask for mixed texts for so long."""

    async def measure(server: Server) -> list[int]:
        chance = random.Random(3)
        end = time.monotonic() + minutes * 60
        sizes = []
        while time.monotonic() < end:
            answers = await ask_in_turn(server.port, [mixed_request(chance) for _ in range(500)])
            errors = {each.error["type"] for each in answers if each.error is not None}
            assert errors <= {"invalid_request_error"}, errors  # of what `sample` refuses too
            sizes.append(server.memory_bytes())
        return sizes

    with charrnn_serve(folder, "small", "gru", "bytes", "names") as server:
        sizes = asyncio.run(measure(server))
    warm = sizes[len(sizes) // 4]
    say(
        f"soak: {len(sizes) * 500:,} requests in {minutes:g} minutes; memory {warm / 1e6:.0f} MB "
        f"after a quarter of them, {sizes[-1] / 1e6:.0f} MB at the end"
    )


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parts: dict[str, Callable[[Path], None]] = {
        "rate": rate,
        "same": same,
        "continue": go_on,
        "disconnect": disconnect,
        "stop": stop,
    }
    parser.add_argument("parts", nargs="*", choices=[*parts, "peer", "soak", []])
    parser.add_argument("--peer-python", help="a Python that has fastapi, uvicorn and torch")
    parser.add_argument("--minutes", type=float, default=60.0)
    arguments = parser.parse_args()
    chosen = arguments.parts or [*parts, *(["peer"] if arguments.peer_python else [])]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_models(folder)
        for part in chosen:
            if part == "peer":
                peer(folder, arguments.peer_python or sys.executable)
            elif part == "soak":
                soak(folder, arguments.minutes)
            else:
                parts[part](folder)


if __name__ == "__main__":
    main()
