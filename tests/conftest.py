"""What every test stands on: a machine without the user's cache or settings, and a tiny model."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import ModelConfig
from charrnn.metrics import bits_per_char
from charrnn.text.files import Source
from charrnn.text.vocab import Vocab
from tests.generation.random_models import ngram_choice
from tests.training.small_runs import STEPS

# Started by nohup, or behind an &, this run ignores signals, and so would all that tests start.
for _number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
    if signal.getsignal(_number) is signal.SIG_IGN:
        _is_interrupt = _number is signal.SIGINT
        signal.signal(_number, signal.default_int_handler if _is_interrupt else signal.SIG_DFL)

_FAULTS = Path(__file__).with_name("faults")

settings.register_profile("busy", deadline=None)  # a busy machine breaks no law
settings.load_profile("busy")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need an NVIDIA GPU, and leave some out of the coverage.

    Those are the faults and the hundred examples of hypothesis. Traced, they take two to four times
    as long; the lines that they pass are tested one by one too.
    """
    for item in items:
        if any(mark.kwargs["reason"] == "needs a GPU" for mark in item.iter_markers("skipif")):
            item.add_marker(pytest.mark.gpu)
        is_property = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
        if is_property or _FAULTS in item.path.parents:
            item.add_marker(pytest.mark.no_cover)


@pytest.fixture(autouse=True)
def _no_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache folder and CHARRNN_ variables out of every test."""
    for name in [name for name in os.environ if name.startswith("CHARRNN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg-cache"))
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "charrnn-cache"))


@pytest.fixture(scope="session")
def make_model() -> Callable[..., ModelFile]:
    """Return a function that makes a model file's content with random weights: V = 5, E = 3, H = 4.

    It takes fields of ModelConfig; step, val_nats and progress are those of a run that can go on.
    """

    def make(step: int = 7, val_nats: float = 1.5, **shape: Any) -> ModelFile:
        sizes = {"vocab_size": 5, "embedding_size": 3, "hidden_size": 4, "num_layers": 2}
        config = ModelConfig(**(sizes | shape))
        random = np.random.default_rng(11)
        weights = {
            name: random.normal(size=size).astype(np.float32)
            for name, size in config.weight_shapes().items()
        }
        weights |= ngram_choice(config)
        summary = {
            "step": step,
            "val_nats": val_nats,
            "val_bpc": bits_per_char(val_nats),
            "val_windowed_nats": None,
            "chars_seen": 42,
            "corpus": {"name": "book", "sha256": "0" * 64},
            "created": "2031-02-03T04:05:06+00:00",
        }
        training = {"moments": np.arange(6, dtype=np.float64).reshape(2, 3)}
        return ModelFile(config, Vocab("\n abé"), weights, summary, training, {"step": step})

    return make


@pytest.fixture(scope="session")
def write(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Source]]:
    """Return a function that puts each bytes object into a file and returns the sources."""
    folder = tmp_path_factory.mktemp("sources")

    def write_files(*contents: bytes, suffix: str = ".txt") -> list[Source]:
        sources = []
        for number, content in enumerate(contents):
            path = folder / f"{number}{suffix}"
            path.write_bytes(content)
            sources.append(Source(path, path.name))
        return sources

    return write_files


@pytest.fixture
def counted_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count every training step into STEPS."""
    from charrnn.training.trainer import StepResult, Trainer

    advance = Trainer.advance

    def counted(self: Trainer, total_steps: int | None, **more: bool) -> list[StepResult]:
        STEPS.append(1)
        return advance(self, total_steps, **more)

    monkeypatch.setattr(Trainer, "advance", counted)


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Stand in a folder with a text of 2,000 characters; give its name."""
    monkeypatch.chdir(tmp_path)
    letters = np.random.default_rng(3).choice(list("abcdé \n"), 2000)
    Path("book.txt").write_text("".join(letters), encoding="utf-8")
    return "book.txt"
