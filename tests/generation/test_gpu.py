"""Texts sampled on a device: those of the ordinary sampler, but for rounding.

The code that runs on a GPU runs here on a CPU's tensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import main
from charrnn.config import SampleConfig
from charrnn.errors import ConfigError
from charrnn.generation import gpu
from charrnn.generation.filters import make_filter
from charrnn.generation.gpu import GpuBackend, GpuSampler, filter_logits, sample_tokens
from charrnn.generation.samples import Sample
from charrnn.model.cuda_graph import CudaGraphs
from charrnn.model.network import CharRNN, load_numpy_state_dict
from charrnn.state import State, map_state
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.generation.random_models import NGRAMS
from tests.generation.record_models import make_records_file
from tests.training.cpu_graphs import CpuGraphs

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
Make = Callable[..., ModelFile]
SHAPES: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "gru", "residual": True, "num_layers": 3},
    {"cell": "rnn", "tie_embeddings": True, "initial_state": "learned"},
    {"cell": "rnn", "nonlinearity": "relu"},
    {"cell": "gru"} | NGRAMS,
]
FILTERS: list[dict[str, Any]] = [
    {},
    {"temperature": 1.0},
    {"temperature": 0.001},
    {"top_k": 3},
    {"top_k": 99},
    {"top_p": 0.7},
    {"top_p": 0.9, "top_k": 4},
    {"min_p": 0.2},
    {"min_p": 1.0},
    {"top_n_sigma": 1.0},
    {"temperature": 5e-324, "top_n_sigma": 1.0},
    {"top_k": 2**64 - 1, "top_p": 5e-324, "min_p": 5e-324},
    {"temperature": 1.3, "top_n_sigma": 1.5, "top_k": 6, "top_p": 0.95, "min_p": 0.05},
]


def gpu_samples(file: ModelFile, config: SampleConfig, **options: Any) -> list[Sample]:
    backend = GpuBackend(file, config, "cpu")
    return list(Model(file).generate_many("ab", config, backend=backend, **options))


def ordinary_samples(file: ModelFile, config: SampleConfig, **options: Any) -> list[Sample]:
    return list(Model(file).generate_many("ab", config, **options))


def make_network(file: ModelFile) -> CharRNN:
    network = CharRNN(file.config)
    load_numpy_state_dict(network, file.weights)
    return network


def initial_states(network: CharRNN, count: int) -> State:
    return map_state(lambda part: part.detach().numpy(), network.initial_state(count))


@pytest.mark.parametrize("settings", FILTERS, ids=str)
def test_the_filters_are_those_of_numpy(settings: dict[str, Any]) -> None:
    logits = np.random.default_rng(5).normal(0, 2, (7, 9))
    logits[2, [0, 4, 8]] = -math.inf  # banned
    logits[3, [1, 5]] = logits[3].max()  # as likely as one another
    config = SampleConfig(**settings)
    ours = filter_logits(torch.from_numpy(logits), config).numpy()

    assert np.allclose(ours, make_filter(config)(logits), atol=1e-12)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_sampled_as_often_as_the_softmax_says(temperature: float) -> None:
    count = 50_000
    logits = torch.tensor([0.3, -1.0, 1.2, 0.0, -2.5], dtype=torch.float64)
    uniforms = torch.from_numpy(np.random.default_rng(2).random((count, 1)))
    config = SampleConfig(temperature=temperature)
    counts = sample_tokens(logits.expand(count, -1), config, uniforms).bincount(minlength=5)
    expected = count * (logits / temperature).softmax(0)

    assert float(((counts - expected) ** 2 / expected).sum()) < 18.47  # χ²(4) at 0.999


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(
    "settings", [{}, {"temperature": 0.0}, {"top_p": 0.8, "top_k": 3}], ids=str
)
def test_the_texts_are_those_of_the_ordinary_sampler(
    shape: dict[str, Any], settings: dict[str, Any], make_model: Make
) -> None:
    file, config = make_model(**shape), SampleConfig(length=70, seed=3, **settings)
    ours, theirs = (write(file, config, count=9) for write in (gpu_samples, ordinary_samples))

    assert ours == theirs
    assert {len(sample.text) for sample in ours} == {70}


@pytest.mark.parametrize("documents", [None, 3])
@pytest.mark.parametrize("shape", [{}, NGRAMS], ids=["characters", "n-grams"])
def test_records_end_on_a_device_as_without_one(
    documents: int | None, shape: dict[str, Any]
) -> None:
    file = make_records_file("row", cell="gru", end_bias=1.0, **shape)
    config = SampleConfig(length=70, seed=3, documents=documents)
    ours, theirs = (
        write(file, config, count=9, alternatives=0) for write in (gpu_samples, ordinary_samples)
    )

    assert [(each.text, each.stopped_by, each.has_end) for each in ours] == [
        (each.text, each.stopped_by, each.has_end) for each in theirs
    ]
    assert [each.nats for each in ours] == pytest.approx([each.nats for each in theirs], rel=1e-5)


def test_a_text_does_not_depend_on_the_others_of_its_batch(
    make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, config = make_model(), SampleConfig(length=50, seed=3)
    whole = gpu_samples(file, config, count=8)
    monkeypatch.setattr(gpu, "_MAX_BATCH", 3)

    assert gpu_samples(file, config, count=8) == whole
    assert gpu_samples(file, config, first=5, count=2) == whole[5:7]


@pytest.mark.parametrize("block", [1, 7, 32])
def test_texts_that_end_leave_the_batch_and_the_others_go_on(
    block: int, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "_BLOCK", block)
    config = SampleConfig(length=12, seed=3, lines=2, stop=("ba",))
    ours, theirs = (
        write(make_model(), config, count=20) for write in (gpu_samples, ordinary_samples)
    )

    assert ours == theirs
    assert {sample.stopped_by for sample in ours} == {"lines", "stop", "length"}


def test_bans_and_biases_hold(make_model: Make) -> None:
    config = SampleConfig(length=60, seed=3, ban=("a",), bias=("é=3",))
    ours, theirs = (
        write(make_model(), config, count=5) for write in (gpu_samples, ordinary_samples)
    )

    assert ours == theirs
    assert not any("a" in sample.text for sample in ours)


def test_a_character_of_several_byte_tokens_is_one_character(make_model: Make) -> None:
    vocab = Vocab("\nab", has_bytes=True)
    file = replace(make_model(vocab_size=vocab.size), vocab=vocab)
    config = SampleConfig(length=30, seed=3, temperature=1.0)

    assert gpu_samples(file, config, count=6) == ordinary_samples(file, config, count=6)


def test_costs_and_alternatives_are_those_of_the_ordinary_sampler(make_model: Make) -> None:
    config = SampleConfig(length=20, seed=3, temperature=0.5)
    ours, theirs = (
        write(make_model(), config, count=4, alternatives=2)
        for write in (gpu_samples, ordinary_samples)
    )

    for our, their in zip(ours, theirs, strict=True):
        assert our.text == their.text
        assert our.nats == pytest.approx(their.nats, rel=1e-5)
        for cost, other in zip(our.costs, their.costs, strict=True):
            assert [name for name, _ in cost.top] == [name for name, _ in other.top]


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.2},
        {"presence_penalty": 0.5},
        {"frequency_penalty": 0.5},
        {"dry_penalty": 0.5},
        {"regex": "a+"},
        {"choices": ("a", "b")},
        {"template": "{}"},
        {"balanced": True},
        {"max_copy": 20},
        {"dynamic_temperature": 0.1},
        {"word_temperature": 0.5},
        {"typical": 0.9},
        {"xtc": 0.5},
        {"mirostat": 3.0},
        {"beam": 4},
        {"seconds": 2.0},
    ],
    ids=str,
)
def test_an_unsupported_setting_is_refused_by_name(
    settings: dict[str, Any], make_model: Make
) -> None:
    option = next(iter(settings))

    with pytest.raises(ConfigError, match=f"does not support {option}; leave one of them out"):
        GpuBackend(make_model(), SampleConfig(**settings), "cpu")


# The command


@pytest.fixture
def sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Make, capfd: Any
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs charrnn sample on a tiny run and returns code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("checkpoints/tiny")).save_best(make_model())

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ending:
            main(["sample", "--seed", "1", "--length", "40", *arguments])
        out, err = capfd.readouterr()
        return int(ending.value.code or 0), out, err

    return run


@pytest.mark.parametrize(
    "arguments",
    [("-n", "5"), (), ("-n", "5", "--no-prompt", "--prompt", "ab"), ("-n", "9", "--lines", "1")],
    ids=str,
)
def test_the_command_prints_the_same_with_device(
    arguments: tuple[str, ...], sample: Callable[..., tuple[int, str, str]]
) -> None:
    code, out, _ = sample(*arguments, "--device", "cpu")

    assert (code, out) == sample(*arguments)[:2]
    assert out


@pytest.mark.parametrize("settings", [FILTERS[0], FILTERS[-1]], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def test_a_replayed_block_is_the_one_that_is_sampled_eagerly(
    name: str, shape: dict[str, Any], settings: dict[str, Any], make_model: Make
) -> None:
    if name == "cpu" and "ngram_rows" in shape:
        pytest.skip("a CPU leaves out n-grams without a row, so that shapes differ")
    device = torch.device(name)
    graphs = CpuGraphs(device) if name == "cpu" else CudaGraphs(device)
    network = make_network(make_model(**shape))
    states = initial_states(network, 6)  # before the network moves to the device
    config = SampleConfig(**settings)
    eager, replayed = (GpuSampler(network, config, None, device, each) for each in (None, graphs))
    logits = np.zeros((6, 5), np.float32)
    one, other = eager.start(logits, states), replayed.start(logits, states)
    random = np.random.default_rng(3)
    for index in range(9):
        uniforms = random.random((6, 4))
        block, one = eager.sample(one, uniforms, 2)
        same_block, other = replayed.sample(other, uniforms, 2)
        for array, same in zip(block, same_block, strict=True):
            assert np.array_equal(array, same), index
    assert not isinstance(graphs, CpuGraphs) or graphs.replays == 6


def test_a_failed_capture_changes_no_text(make_model: Make) -> None:
    class Broken(CpuGraphs):
        def capture(self, action: Callable[[], None]) -> Callable[[], None]:
            raise RuntimeError("not permitted")

    network, cpu = make_network(make_model()), torch.device("cpu")
    tokens = []
    for graphs in (None, Broken(cpu)):
        sampler = GpuSampler(network, SampleConfig(), None, cpu, graphs)
        current = sampler.start(np.zeros((2, 5), np.float32), initial_states(network, 2))
        random = np.random.default_rng(3)
        for _ in range(6):
            block, current = sampler.sample(current, random.random((2, 4)), 0)
            tokens.append(block[0])

    assert np.array_equal(tokens[:6], tokens[6:])


def test_best_of_chooses_the_same_samples_with_device(
    sample: Callable[..., tuple[int, str, str]],
) -> None:
    arguments = ("tiny", "-n", "3", "--best-of", "4", "--sort", "--json")
    ours, theirs = (
        [json.loads(line) for line in sample(*arguments, *more)[1].splitlines()]
        for more in (("--device", "cpu"), ())
    )

    assert len(ours) == 3
    for our, their in zip(ours, theirs, strict=True):
        assert our.pop("bpc") == pytest.approx(their.pop("bpc"), abs=2e-4)
        assert our == their


def test_several_models_are_refused(sample: Callable[..., tuple[int, str, str]]) -> None:
    code, _, error = sample("-m", "tiny", "-m", "tiny", "--device", "cpu")

    assert (code, error.count("\n")) == (2, 1)
    assert "--device works with one model; leave -m and --negative-model out" in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_device_is_named(sample: Callable[..., tuple[int, str, str]]) -> None:
    code, _, error = sample("-n", "3", "--device", "cuda")

    assert code == 2
    assert "this machine has no cuda device; leave --device out, or give cpu" in error


@NEEDS_GPU
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_gpu_samples_most_texts_as_the_ordinary_sampler(
    shape: dict[str, Any], make_model: Make
) -> None:
    file, config = make_model(**shape), SampleConfig(length=40, seed=3)
    backend = GpuBackend(file, config, "cuda")
    ours = list(Model(file).generate_many("ab", config, count=500, backend=backend))

    same = sum(a == b for a, b in zip(ours, ordinary_samples(file, config, count=500), strict=True))
    assert same > 480
