"""Whether exports write what their models write: python benchmarks/export_check.py MODEL...

Each model is exported as an ONNX graph and as a page, and 10,000 characters are compared with
numpy's network: in onnxruntime, in onnxruntime-web with --web FOLDER (where npm installed it), and
in a browser, if there is a chromium. Speeds are of one text, character by character, on one thread.

Bounds: logits within 0.0001 of the model's; greedy texts of 1,000 characters equal, but for
rounding; 300 characters a second in a browser for 1×384; a page of at most 1.45 times its int8
weights, from 350,000 of them on: what is not weights takes 37 kB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from runs import one_line_errors

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_store import find_model
from charrnn.config import RunConfig
from charrnn.config.export import ExportConfig
from charrnn.errors import ExportError
from charrnn.formats.precision import is_stored_as_int8, restored
from charrnn.formats.verified import (
    MAX_LOGIT_ERROR,
    all_logits,
    check_greedy,
    logit_error,
    opening_id,
    sampled_ids,
)
from charrnn.generation.labels import with_labels
from charrnn.generation.network import Network
from charrnn.generation.text_format import text_format_of
from charrnn.tasks.export import export
from charrnn.text.vocab import Ids

CHARS = 10_000
GREEDY = 1000
WEB_LOGITS = 500_000  # as many go through a pipe as text
STEPS = 3000  # that are timed
ROUNDS = 3

sys.path.append(str(Path(__file__).parents[1]))


def check_onnx(file: ModelFile, path: Path, web: Path | None) -> None:
    """Print how far the graph's logits are from the model's, and how fast it takes a step."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    file = with_labels(file)
    network = Network(file.config, file.weights)
    ids = sampled_ids(network, CHARS)
    expected = all_logits(network, ids)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()][1:]

    def read(text: Ids) -> NDArray[np.float32]:
        state = {name: np.zeros((1, file.config.hidden_size), np.float32) for name in names}
        found = []
        for token in text.tolist():
            logits, *after = session.run(None, {"ids": np.array([[token]]), **state})
            state = dict(zip(names, after, strict=True))
            found.append(logits[0, 0])
        return np.array(found)

    report("onnxruntime, one by one", logit_error(expected, read(ids)), MAX_LOGIT_ERROR)

    def step_numpy() -> None:
        state = network.initial_state()
        for token in ids[:STEPS].tolist():
            state = network.advance(token, state)
            network.logits(state)

    theirs, ours = speeds_of(lambda: read(ids[:STEPS]), step_numpy)
    print(f"  a step: onnxruntime {theirs:,.0f}/s, numpy {ours:,.0f}/s: {theirs / ours:.2f} of it")
    if web is not None:
        script = Path(__file__).with_name("onnx_web.js")
        count = min(CHARS, WEB_LOGITS // file.vocab.size)
        text = json.dumps(ids[:count].tolist())
        command = ["node", str(script.resolve()), str(path.resolve()), text]
        done = subprocess.run(command, cwd=web, capture_output=True, text=True)
        if done.returncode:
            raise ExportError(f"onnxruntime-web failed: {done.stderr[-300:]}")
        found = json.loads(done.stdout)
        error = logit_error(expected[:count], np.array(found["logits"], np.float32))
        report("onnxruntime-web in node", error, MAX_LOGIT_ERROR)
        print(f"  a step: onnxruntime-web {count / found['seconds']:,.0f}/s")


def check_page(file: ModelFile, path: Path, browser: Any) -> None:
    """Print whether the page of int8 weights writes their greedy text, how fast, and its size."""
    weights = restored(file.weights, "int8")
    plain = with_labels(replace(file, weights=weights))
    network = Network(plain.config, plain.weights)
    stored = sum(
        each.size + 4 * len(each) if is_stored_as_int8(name, each) else 4 * each.size
        for name, each in file.weights.items()
    )
    size = path.stat().st_size
    numbers = sum(each.size for each in weights.values())
    report("page / its int8 weights", size / stored, 1.45)
    print(f"  page: {size:,} bytes for {numbers:,} weights, {size / numbers:.3f} each")
    if browser is None:
        return
    page = browser.open(path)
    set_value = "document.getElementById({!r}).value = {!r}; 0"
    page.evaluate(set_value.format("temperature", "0"))
    page.evaluate(set_value.format("length", str(GREEDY)))
    speeds = []
    for _ in range(ROUNDS):
        page.evaluate('document.getElementById("form").requestSubmit(); 0')
        page.wait_for('!document.getElementById("write").disabled', 300)
        status = page.evaluate('document.getElementById("status").textContent')
        with suppress(IndexError):
            speeds.append(int(status.split(", ")[1].split(" ")[0].replace(",", "")))
    script = '[...document.querySelectorAll("#text span")].map((each) => each.textContent)'
    texts = page.evaluate(script)
    first = opening_id(file.vocab)
    ids = ids_of(file, texts)
    ties = check_greedy(network, file.vocab, ids, network.advance(first, network.initial_state()))
    print(f"  page in a browser: {len(ids):,} characters equal ({ties} ties)")
    print(f"  page in a browser: {max(speeds):,} characters/s; requests: {page.requests[1:]}")
    if page.errors:
        raise ExportError(f"the page failed: {page.errors[0]}")
    page.close()


def ids_of(file: ModelFile, texts: list[str]) -> list[int]:
    """Return the tokens of pieces of text, as the page shows them; bytes apart."""
    form = text_format_of(file.summary, has_end=file.vocab.has_end)
    ids: list[int] = []
    for text in texts:
        is_end = text == form.separator
        ids += [file.vocab.end] if is_end else file.vocab.encode(text).tolist()
    return ids


def speeds_of(*works: Callable[[], object]) -> list[float]:
    """Return the characters a second of each, the best of three rounds that take turns."""
    best = [float("inf")] * len(works)
    for _ in range(ROUNDS):
        for k, work in enumerate(works):
            begun = time.perf_counter()
            work()
            best[k] = min(best[k], time.perf_counter() - begun)
    return [STEPS / seconds for seconds in best]


def report(what: str, value: float, most: float) -> None:
    """Print a figure beside its bound."""
    print(f"  {what}: {value:.3g} (at most {most:g}): {'ok' if value <= most else 'TOO MUCH'}")


def main() -> None:
    """Export and check each model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--checkpoints", type=Path, default=Path(RunConfig().checkpoints))
    parser.add_argument("--web", type=Path, help="folder where npm installed onnxruntime-web")
    options = parser.parse_args()
    from tests.web.browser import Browser, find_browser

    browser = Browser() if find_browser() else None
    with one_line_errors(), tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            file = read_model(find_model(name, options.checkpoints))
            config = file.config
            print(f"{name}: {config.cell} {config.num_layers}×{config.hidden_size}")
            graph = Path(folder, "a.onnx")
            page = Path(folder, "a.html")
            how = {"overwrite": True, "checkpoints": options.checkpoints}
            export(name, "onnx", str(graph), ExportConfig(verify_chars=CHARS), **how)
            check_onnx(file, graph, options.web)
            small = ExportConfig(dtype="int8", verify_chars=CHARS)
            for note in export(name, "html", str(page), small, **how).verified.notes:
                print(f"  page: {note}")
            check_page(file, page, browser)
    if browser is not None:
        browser.close()


if __name__ == "__main__":
    main()
