"""How fast records become classes and targets, on one thread: python benchmarks/predicting.py

Asked: 20,000 names classified a second, 300 words converted greedily, both 10 × as fast as a plain
torch loop over the same weights, and 0.4 s from the start of a process to its first answer. Names
and words are made up, 4 to 12 letters long, and so is what is learned of them: which of 18 letters
comes first, and the letters themselves in capitals, with spaces between. LSTM of 128 units each
way; the decoder has two layers and additive attention.

The torch loop is what a newcomer writes: a name or a word at a time, a token of the target a call.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"  # before numpy is there

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from task_scores import write_table
from timing import time_process
from torch import Tensor

import charrnn
from charrnn.bench.speeds import Measurement, median_ratio, time_alternating
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.model.classifier import Classifier
from charrnn.model.network import load_numpy_state_dict
from charrnn.model.seq2seq import Seq2Seq
from charrnn.tasks.task_model import TaskModel

LETTERS = "abcdefghijklmnopqr"
ROUNDS = 5
NAMES, LOOP_NAMES = 8000, 200
WORDS, BEAM_WORDS, LOOP_WORDS = 1000, 400, 20
SETTINGS = {"hidden_size": 128, "steps": 600, "batch_size": 64, "seed": 1, "threads": 1}


def make_words(count: int) -> list[str]:
    """Return words of random letters."""
    rng = np.random.default_rng(1)
    return ["".join(rng.choice([*LETTERS], size=rng.integers(4, 13))) for _ in range(count)]


def train(folder: Path, name: str, rows: list[tuple[str, str]], **settings: object) -> ModelFile:
    """Return a model of the second column by the first."""
    table = write_table(folder / f"{name}.tsv", [("word", "becomes"), *rows])
    charrnn.fit(table, name=name, checkpoints=str(folder), header=True, **settings, **SETTINGS)  # type: ignore[arg-type]
    return read_model(folder / name / "best.safetensors")


def predicting(file: ModelFile, texts: list[str], **settings: object) -> Measurement:
    """Return texts a second by `predict`."""
    model = TaskModel(file)

    def run() -> float:
        began = time.perf_counter()
        model.predict(texts, **settings)
        return len(texts) / (time.perf_counter() - began)

    return run


def classifying_loop(file: ModelFile, texts: list[str]) -> Measurement:
    """Return texts a second of torch, a text at a time."""
    model = Classifier(file.config).eval()
    load_numpy_state_dict(model, file.weights)

    @torch.inference_mode()
    def run() -> float:
        began = time.perf_counter()
        for text in texts:
            ids = torch.from_numpy(file.vocab.encode(text).astype(np.int64))[None]
            model(ids, torch.tensor([ids.shape[1]])).argmax(1).item()
        return len(texts) / (time.perf_counter() - began)

    return run


def converting_loop(file: ModelFile, texts: list[str]) -> Measurement:
    """Return texts a second of torch, a text at a time and a token of its target a call."""
    model = Seq2Seq(file.config).eval()
    load_numpy_state_dict(model, file.weights)
    end = file.config.target_size - 1

    def convert(ids: Tensor) -> list[int]:
        lengths = torch.tensor([ids.shape[1]])
        source = model.encode(ids, lengths)
        states = [model._first_state(n, source, lengths) for n in range(len(model.decoder))]
        found = [end]
        while len(found) < 3 * ids.shape[1] and (len(found) == 1 or found[-1] != end):
            features = model.target_embedding(torch.tensor([[found[-1]]]))
            context = None
            for depth, layer in enumerate(model.decoder):
                inputs = features if context is None else torch.cat((features, context), 2)
                features, states[depth] = layer(inputs, states[depth])
                if context is None and model.attention is not None:
                    context = model.attention(features, source, lengths)
            if model.combine is not None and context is not None:
                features = torch.tanh(model.combine(torch.cat((features, context), 2)))
            found.append(int(model.output(features).argmax()))
        return found

    @torch.inference_mode()
    def run() -> float:
        began = time.perf_counter()
        for text in texts:
            convert(torch.from_numpy(file.vocab.encode(text).astype(np.int64))[None])
        return len(texts) / (time.perf_counter() - began)

    return run


def show(name: str, *measurements: Measurement) -> None:
    """Print medians: ours, and where there is one, the loop's and the ratio."""
    time_alternating(measurements, rounds=1)
    rates = time_alternating(measurements, rounds=ROUNDS)
    line = f"{name:32} {statistics.median(rates[0]):9,.0f} /s"
    if len(rates) > 1:
        ratio = median_ratio(rates[0], rates[1])
        line += f"   torch loop {statistics.median(rates[1]):7,.0f} /s {ratio:6.1f} ×"
    print(line, flush=True)


def show_start(name: str, model: Path, text: Path) -> None:
    """Print the seconds from the start of a process to its first answer."""
    command = ["-m", "charrnn", "predict", str(model), str(text)]
    time_process(command, b"")
    seconds = statistics.median(time_process(command, b"") for _ in range(ROUNDS))
    torch_seconds = statistics.median(time_process(["-c", "import torch"]) for _ in range(ROUNDS))
    ratio = f"{seconds / torch_seconds:.2f} × import torch"
    print(f"{name:32} {seconds:9.2f} s    {ratio}", flush=True)


def main() -> None:
    """Print the rates."""
    torch.set_num_threads(1)
    words = make_words(NAMES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        classes = [(word, word[0]) for word in words]
        names = train(
            folder,
            "names",
            classes,
            text_column="word",
            label_column="becomes",
            task="classification",
        )
        pairs = [(word, " ".join(word.upper())) for word in words]
        spelled = train(folder, "spelled", pairs, pairs=True, target_unit="space")
        found = TaskModel(spelled).predict(words[:LOOP_WORDS])
        lengths = [len(each.split()) for each in found]
        assert lengths == [*map(len, words[:LOOP_WORDS])], "targets are as long as they should be"
        show("names", predicting(names, words), classifying_loop(names, words[:LOOP_NAMES]))
        show(
            "words, greedily",
            predicting(spelled, words[:WORDS], beam=1),
            converting_loop(spelled, words[:LOOP_WORDS]),
        )
        show("words, by a beam of 5", predicting(spelled, words[:BEAM_WORDS], beam=5))
        text = folder / "text.txt"
        text.write_text(f"{words[0]}\n", encoding="utf-8")
        show_start("first answer, a name", folder / "names" / "best.safetensors", text)
        show_start("first answer, a word", folder / "spelled" / "best.safetensors", text)


if __name__ == "__main__":
    main()
