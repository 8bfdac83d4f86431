"""Speeds of tiny networks: figures that belong together do, whatever the machine."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pytest
import torch

from charrnn.bench import training
from charrnn.bench.sampling import measure_sampling
from charrnn.bench.training import (
    forward_products,
    measure_evaluation,
    measure_machine,
    measure_training,
    step_products,
    total_flop,
)
from charrnn.config import GATES, ModelConfig, TrainConfig
from charrnn.data.corpus import Corpus, corpus_from_text
from charrnn.errors import ConfigError
from charrnn.training.optimizer import MUON_EVERY
from charrnn.training.trainer import Trainer

V, H = 5, 8
SIZES: dict[str, Any] = {"hidden_size": H, "batch_size": 2, "seq_len": 3}


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return corpus_from_text("abcde" * 800)


def figures(result: Any) -> list[float]:
    return [value for value in asdict(result).values() if isinstance(value, int | float)]


@pytest.mark.parametrize("cell", GATES)
def test_a_step_is_measured_beside_its_products_and_torchs_layer(cell: str, corpus: Corpus) -> None:
    speed = measure_training(TrainConfig(cell=cell, precision="fp32", **SIZES), corpus, 0.0)

    assert (speed.cell, speed.hidden_size, speed.batch_size, speed.seq_len) == (cell, H, 2, 3)
    assert all(math.isfinite(value) and value > 0 for value in figures(speed))
    assert speed.products_share < 1.5
    assert speed.chars_per_second == pytest.approx(2 * 3 / speed.step_ms * 1e3)
    model = ModelConfig(cell=cell, vocab_size=V, embedding_size=H, hidden_size=H)
    flop = total_flop(step_products(model, 2, 3))
    assert speed.gflop_per_second == pytest.approx(flop / speed.step_ms / 1e6)


def test_the_number_format_is_the_requested_one(corpus: Corpus) -> None:
    formats = [
        measure_training(TrainConfig(precision=name, **SIZES), corpus, 0.0).precision
        for name in ("fp32", "bf16")
    ]

    assert formats[0] == "fp32"
    assert formats[1] in {"bf16", "fp32"}  # fp32 where oneDNN has no kernel for the shape


def test_every_round_has_the_same_steps(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = Trainer.advance

    def note(trainer: Trainer, total_steps: int | None) -> Any:
        made.append(trainer.step)
        return real(trainer, total_steps)

    monkeypatch.setattr(Trainer, "advance", note)
    measure_training(TrainConfig(cell="rnn", precision="fp32", **SIZES), corpus, 0.0)

    rounds = 1 + 3
    assert [len(made) % (rounds * every) for every in MUON_EVERY.values()] == [0, 0]


def test_an_evaluation_is_measured_beside_its_products(corpus: Corpus) -> None:
    speed = measure_evaluation(TrainConfig(cell="rnn", **SIZES), corpus, 0.0)

    assert all(math.isfinite(value) and value > 0 for value in figures(speed))
    flop_per_char = total_flop(
        forward_products(
            ModelConfig(cell="rnn", vocab_size=V, embedding_size=H, hidden_size=H), 1, 1
        )
    )
    assert speed.gflop_per_second == pytest.approx(speed.chars_per_second * flop_per_char / 1e9)


@pytest.mark.parametrize(("cell", "num_layers"), [("lstm", 1), ("gru", 2), ("rnn", 3)])
def test_sampling_is_measured_beside_its_products(cell: str, num_layers: int) -> None:
    sizes = {"vocab_size": V, "embedding_size": 3, "hidden_size": H, "num_layers": num_layers}
    speed = measure_sampling(ModelConfig(cell=cell, **sizes), 0.0)

    assert all(math.isfinite(value) and value > 0 for value in figures(speed))
    assert speed.products_share < 1
    numbers = GATES[cell] * H * H * (2 * num_layers - 1) + V * H
    assert speed.weights_gb_per_second == pytest.approx(speed.chars_per_second * 4 * numbers / 1e9)


def test_the_machine_is_measured_in_every_format_that_training_chooses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(training, "_COPIED_NUMBERS", 1000)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    with_bf16 = measure_machine("cpu", threads=1, size=16, seconds=0.0)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    without = measure_machine("cpu", threads=1, size=16, seconds=0.0)

    assert list(with_bf16.products_gflop_per_second) == ["fp32", "bf16"]
    assert list(without.products_gflop_per_second) == ["fp32"]
    assert all(rate > 0 for rate in with_bf16.products_gflop_per_second.values())
    assert with_bf16.memory_gb_per_second > 0
    assert with_bf16.processor.strip()


def test_the_machines_rates_are_its_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_COPIED_NUMBERS", 1000)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(training, "time_alternating", lambda *_, **__: [[4.0, 2.0, 8.0]])

    speed = measure_machine("cpu", threads=1, size=10, seconds=0.0)

    assert speed.products_gflop_per_second == {"fp32": 2 * 10**3 / 2.0 / 1e9}
    assert speed.memory_gb_per_second == 2 * 4 * 1000 / 2.0 / 1e9


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)

    with pytest.raises(ConfigError, match="this machine has no cuda device"):
        measure_machine("cuda", threads=1, size=16, seconds=0.0)
