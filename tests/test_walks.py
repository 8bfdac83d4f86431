"""How far a character travels: few files and few functions, from a window to an update."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import torch

import charrnn
from charrnn.config import TrainConfig
from charrnn.text.corpus import corpus_from_text
from charrnn.training.plan import make_plan
from charrnn.training.trainer import Trainer

PACKAGE = Path(charrnn.__file__).parent
CORPUS = corpus_from_text("the cat sat on the mat. " * 90)


def functions_entered(action: Callable[[], object]) -> set[tuple[str, str]]:
    """Return the file and the name of each of the package's functions that an action enters."""
    entered: set[tuple[str, str]] = set()

    def note(frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            entered.add((str(path.relative_to(PACKAGE)), frame.f_code.co_qualname))

    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
    return entered


def files_of(entered: Iterable[tuple[str, str]]) -> set[str]:
    return {path for path, _ in entered}


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("settings", [{}, {"num_layers": 2, "dropout": 0.3}])
def test_a_training_step_enters_few_files_and_functions(cell: str, settings: Any) -> None:
    config = TrainConfig(steps=99, hidden_size=16, batch_size=4, seq_len=8, cell=cell, **settings)
    plan = make_plan(config, CORPUS.vocab.size, len(CORPUS.train))
    trainer = Trainer(plan, config, CORPUS, torch.device("cpu"), torch.float32)
    trainer.advance(99)
    entered = functions_entered(lambda: trainer.advance(99))

    assert len(files_of(entered)) <= 10, sorted(entered)
    assert len(entered) <= 40, sorted(entered)
