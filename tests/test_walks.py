"""How far a character travels: few files and functions from a window to an update, and back."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.config import TrainConfig
from charrnn.data.corpus import corpus_from_text
from charrnn.tasks.model import Model
from charrnn.training.loop import train
from charrnn.training.trainer import Trainer

PACKAGE = Path(charrnn.__file__).parent
CORPUS = corpus_from_text("the cat sat on the mat. " * 90)
SIZES: dict[str, Any] = {"hidden_size": 16, "batch_size": 4, "seq_len": 8}


class Entered:
    """Notes every function of the package that is entered, lambdas and comprehensions too."""

    def __init__(self) -> None:
        self.functions: set[tuple[str, str]] = set()

    def __enter__(self) -> "Entered":
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        path = Path(frame.f_code.co_filename)
        if event == "call" and path.is_relative_to(PACKAGE):
            self.functions.add((str(path.relative_to(PACKAGE)), frame.f_code.co_qualname))

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of files and of functions."""
        return len({path for path, _ in self.functions}), len(self.functions)


@pytest.mark.parametrize(
    ("cell", "most_files", "most_functions"),
    [("lstm", 10, 40), ("gru", 11, 50), ("rnn", 11, 50)],  # a GRU and an RNN have kernels of ours
)
def test_a_training_step_enters_few_files_and_functions(
    cell: str, most_files: int, most_functions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, advance = [], Trainer.advance
    entered = Entered()

    def counted(self: Trainer, *args: Any, **kwargs: Any) -> Any:
        counts.append(entered.counts)
        entered.functions.clear()
        return advance(self, *args, **kwargs)

    monkeypatch.setattr(Trainer, "advance", counted)
    config = TrainConfig(steps=40, eval_every=100, cell=cell, **SIZES)
    with entered:
        list(train(CORPUS, config))

    # From one step to the next, the loop included. Every tenth is reported, which is not counted.
    files, functions = sorted(counts[10:])[15]
    assert files <= most_files, counts
    assert functions <= most_functions, counts


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_sampled_character_enters_few_files_and_functions(
    cell: str, make_model: Callable[..., ModelFile]
) -> None:
    text = Model(make_model(cell=cell)).generate(length=99, seed=1)
    for _ in range(9):
        next(text)
    with Entered() as entered:
        next(text)
    files, functions = entered.counts

    assert files <= 8, sorted(entered.functions)
    assert functions <= 24, sorted(entered.functions)
