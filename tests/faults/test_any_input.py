"""Any text, prompt, configuration and command line: a known exit code and at most one line."""

from __future__ import annotations

import itertools
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from charrnn.checkpoint.model_file import ModelFile, pack_model
from charrnn.config import ModelConfig, RunConfig, SampleConfig, TextConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.faults.program import run
from tests.generation.random_models import random_weights

Times = Callable[[int, int], int]
Figure = Callable[[str], None]
Make = Callable[..., ModelFile]
SIZES = {
    "steps": 1,
    "threads": 1,
    "num_layers": 1,
    "hidden_size": 8,
    "embedding_size": 4,
    "batch_size": 2,
    "seq_len": 8,
}
TINY = [word for name, size in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(size))]
TINY += ["--quiet"]  # so that what stands on stderr is the error
ANYTHING = st.text(st.characters(exclude_categories=()))  # unpaired surrogates too
NUMBERS = itertools.count()
BARE = [(), ("corpus",)]  # which show the page of help
KEYS = sorted(item.name for cls in (TextConfig, TrainConfig, RunConfig) for item in fields(cls))


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Make) -> None:
    """Stand in a folder with a text and a run; what is trained is tiny if nothing else is said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here
    Path("book.txt").write_text("plain words to learn from, again and again\n" * 5)
    Path("checkpoints/tiny").mkdir(parents=True)
    model = replace(make_model(vocab_size=5 + 256), vocab=Vocab("\n abé", has_bytes=True))
    Path("checkpoints/tiny/best.safetensors").write_bytes(pack_model(model))
    for name, size in SIZES.items():
        monkeypatch.setenv(f"CHARRNN_{name.upper()}", str(size))


def train(*arguments: str) -> tuple[str, ...]:
    """Return the command line of a tiny run in a folder of its own."""
    return ("train", *arguments, *TINY, "--checkpoints", f"runs/{next(NUMBERS)}")


def try_many(
    strategy: SearchStrategy[Any], examples: int, act: Callable[[Any], tuple[str, ...]]
) -> str:
    """Run the program on so many examples, of which `act` makes arguments; count the exit codes."""
    codes: Counter[int] = Counter()

    @settings(
        max_examples=examples,
        phases=[Phase.reuse, Phase.generate],  # to shrink an example takes too many runs
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def check(example: Any) -> None:
        arguments = act(example)
        ended = run(*arguments)
        assert ended.is_clear or arguments in BARE, ended
        ended.out.decode()
        codes[ended.code] += 1

    check()
    assert codes.total() >= examples
    assert codes.keys() - {0}, codes
    return ", ".join(f"{count:,} × {code}" for code, count in sorted(codes.items()))


def test_any_bytes_as_a_corpus(times: Times, figure: Figure) -> None:
    repeated = st.builds(lambda text, often: text.encode("utf-8", "surrogatepass") * often,
                         ANYTHING, st.integers(1, 60))  # fmt: skip
    suffixes = st.sampled_from([".txt", ".gz", ""])

    def act(example: tuple[bytes, str]) -> tuple[str, ...]:
        path = Path("corpus" + example[1])
        path.write_bytes(example[0])
        return train(str(path))

    figure(
        try_many(
            st.tuples(st.binary() | st.text().map(str.encode) | repeated, suffixes),
            times(50, 2000),
            act,
        )
    )


def test_any_text_as_a_prompt(times: Times, figure: Figure) -> None:
    more = st.sampled_from(["--json", "--no-prompt", "--raw", "--seed=1"])
    prompts = ANYTHING | st.sampled_from(["\ud800", "a\0", "\udcff", "b\r\n\t"])
    examples = st.tuples(prompts, more, st.sampled_from(["tiny", "--temp=0", "--temp=9"]))
    figure(
        try_many(
            examples,
            times(50, 2000),
            lambda each: ("sample", f"--prompt={each[0]}", *each[1:], "--length=3"),
        )
    )


VALUES = (
    st.none()  # which is no value in TOML
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -(10**4000), 10**400, 2**31, 2**63, 0, 1])
    | st.floats()
    | st.text()
    | st.sampled_from(["nfc", "lstm", "cpu", "fp32", "tiny", "/", "..", "utf-16", "5m", "-"])
)
TABLES = st.dictionaries(
    st.sampled_from(KEYS) | st.text(),
    VALUES | st.lists(VALUES) | st.dictionaries(st.text(), VALUES),
)


def as_toml(value: Any) -> str:
    """Write a value as TOML, more or less: JSON's NaN, null and {} are refused by the reader."""
    return json.dumps(value, ensure_ascii=False)


def test_any_toml_as_a_configuration(times: Times, figure: Figure) -> None:
    def act(table: dict[str, Any]) -> tuple[str, ...]:
        lines = [f"{json.dumps(key, ensure_ascii=False)} = {as_toml(table[key])}" for key in table]
        Path("any.toml").write_bytes("\n".join(lines).encode("utf-8", "replace"))
        return train("book.txt", "--config", "any.toml")

    figure(try_many(TABLES, times(50, 2000), act))


def test_any_value_of_each_setting(times: Times, figure: Figure) -> None:
    def act(example: tuple[str, Any]) -> tuple[str, ...]:
        Path("one.toml").write_bytes(f"{example[0]} = {as_toml(example[1])}".encode())
        return train("book.txt", "--config", "one.toml")

    values = VALUES.filter(lambda value: value is not None)
    figure(try_many(st.tuples(st.sampled_from(KEYS), values), times(50, 2000), act))


@pytest.mark.parametrize(
    "words",
    [
        "--steps " + "9" * 400,
        f"--keep-checkpoints {1 << 64}",
        "--clip-grad-value 1e151",
        "--dropout 1e309",
    ],
    ids=lambda words: words.split()[0],
)
def test_a_number_beyond_all_measure_is_refused(words: str) -> None:
    ended = run("train", "book.txt", *words.split())

    assert ended.code == 2
    assert ended.is_clear


def test_a_whole_number_that_is_no_float_is_refused() -> None:
    Path("one.toml").write_text(f"clip_grad_norm = {10**400}")
    ended = run(*train("book.txt", "--config", "one.toml"))

    assert ended.code == 2
    assert "clip_grad_norm cannot be 1000" in ended.err


def test_any_bytes_as_a_configuration(times: Times, figure: Figure) -> None:
    def act(raw: bytes) -> tuple[str, ...]:
        Path("any.toml").write_bytes(raw)
        return ("train", "book.txt", "--config", "any.toml", "--print-config")

    nested = st.integers(1, 5000).map(lambda depth: b"a = " + b"[" * depth + b"]" * depth)
    figure(try_many(st.binary() | nested, times(50, 2000), act))


COMMANDS = [
    *(["info"], ["list"], ["sample"], ["eval", "tiny"], ["train", "book.txt"], ["train"]),
    *(["completion"], ["corpus"], ["corpus", "list"], ["corpus", "stats", "book.txt"]),
    *(["corpus", "build"], ["corpus", "get"], ["bench", "--cells"], ["--help"], []),
    *(["score", "tiny", "book.txt"], ["compress", "tiny"], ["decompress", "tiny"]),
    *(["fill", "tiny"], ["fill", "tiny", "_a*b"]),
]
WORDS = st.sampled_from(
    [
        *("tiny", "book.txt", "checkpoints", "-", "--", "--json", "--help", "-h", "--quiet"),
        *("--file", "--prompt", "--prompt-file", "--checkpoints", "--temp", "--top-k", "--top-p"),
        *("--seed", "--stop", "--raw", "--name", "--cell", "--config", "--encoding", "--resume"),
        *("--split", "--dynamic", "--dynamic-rate", "--normalize", "--min-count", "--val-fraction"),
        *(
            "--val-file",
            "--dropout",
            "--learning-rate",
            "--device",
            "--precision",
            "--dir",
            "--max",
        ),
        *("", "0", "1", "-1", "1.5", "nan", "inf", "-inf", "1e400", "1e-320", "9" * 400, "a" * 300),
        *("lstm", "cpu", "cuda", "fp32", "val", "all", "nfc", "utf-16", "*", "[", "~", "\0"),
    ]
)
ARGUMENTS = st.builds(
    lambda command, rest: (*command, *(word.replace("/", "") for word in rest)),  # stay in here
    st.sampled_from(COMMANDS),
    st.lists(WORDS | ANYTHING, max_size=6),
)


def test_any_command_line(times: Times, figure: Figure) -> None:
    figure(try_many(ARGUMENTS, times(50, 2000), lambda arguments: arguments))


# ── settings of the sampler, two at a time ──

TEXTS: dict[str, list[Any]] = {
    "bias": [("a=1000",), ("a=-1000", "b=1e-320")],
    "only": [("ab ",)],
    "ban": [("é",)],
    "ban_word": [("a", "ab")],
    "must": [("b a",)],
    "regex": ["(a|b)+"],
    "choices": [("ab", "b")],
    "template": ["a{}b"],
    "balanced": [True],
    "stop": [("a",)],
    "stop_regex": [r"\W", r"(?<=a)b"],
}
LARGEST = {"float": 1e38, "int": (1 << 64) - 1}  # of settings without a bound
SLOW = {"beam": 50, "beam_groups": 50}  # the most that a test has time for
LENGTH = 6


def extremes() -> list[tuple[str, Any]]:
    """Return the least and the largest value of each setting, and the least above an open end."""
    found: list[tuple[str, Any]] = []
    for item in fields(SampleConfig):
        rule = item.metadata
        kind = str(item.type).partition(" ")[0]
        if item.name in ("length", "seed"):
            continue
        values = TEXTS.get(item.name, list(rule["choices"]) or None)
        if values is None:
            least = [rule["ge"]] if rule["ge"] is not None else []
            least += [5e-324] if kind == "float" and rule["ge"] in (None, 0) else []
            values = [*least, SLOW.get(item.name, rule["le"] or LARGEST[kind])]
        found += [(item.name, value) for value in values]
    return found


def pairs_of_extremes() -> list[dict[str, Any]]:
    pairs = itertools.combinations(extremes(), 2)
    return [{a: x, b: y} for (a, x), (b, y) in pairs if a != b]


def tiny_model(vocab: Vocab, spread: float) -> Model:
    """Return a model of random weights of this standard deviation."""
    config = ModelConfig(vocab_size=vocab.size, embedding_size=3, hidden_size=4)
    return Model(ModelFile(config, vocab, random_weights(config, 11, spread), {}))


def try_settings(model: Model, pair: dict[str, Any]) -> str:
    """Write a text alone and among others; return what came of it."""
    try:
        config = SampleConfig(**{"length": LENGTH, "seed": 3} | pair)
        if config.beam:
            return "search" if model.search("a", config) else "none"
        alone = "".join(model.generate("a", config, index=2))
        many = [sample.text for sample in model.generate_many("a", config, count=9)]
    except ConfigError as error:
        return "refused" if len(str(error).splitlines()) == 1 else str(error)
    assert many[2] == alone, config
    assert len(alone) <= LENGTH
    return "text"


def test_any_two_settings_at_their_extremes_write_or_are_refused(
    is_whole: bool, figure: Figure
) -> None:
    """Warnings are errors here."""
    letters = Vocab("\n abé")
    models = [
        tiny_model(letters, 1.0),
        tiny_model(letters, 30.0),  # so sure that probabilities round to 0
        tiny_model(Vocab("\n ab", has_bytes=True), 1.0),
    ]
    before: list[dict[str, Any]] = [
        {},
        {"top_k": 2},
    ]  # tokens may have been left out by another filter
    tries = [
        (model, others | pair)
        for pair in pairs_of_extremes()
        for model, others in itertools.product(models, before)
    ]
    if not is_whole:  # of a tenth of the pairs, each one way
        tries = random.Random(7).sample(tries, len(tries) // 10 // len(models) // len(before))
    tries += [(models[0], {"top_k": 2, "xtc": 1.0, "xtc_threshold": 5e-324})]  # these failed once
    tries += [(models[0], {"temperature": 5e-324, "top_n_sigma": 1.0})]

    codes = Counter(try_settings(model, pair) for model, pair in tries)

    assert codes.keys() == {"text", "refused", "search"}
    assert codes["text"] > codes["refused"]
    figure(f"{len(tries):,} tries: " + ", ".join(f"{n:,} × {name}" for name, n in codes.items()))
