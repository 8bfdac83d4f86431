"""Very many texts at once, written with torch: what `charrnn sample --device` calls.

A text's random numbers are those that it has in numpy, whatever stands beside it. Where rounding
decides between two characters, and only there, it goes another way.

B = texts side by side, V = vocabulary.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

import numpy as np

from charrnn.checkpoint.format import ModelFile
from charrnn.config import SampleConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.inference.drawing.bans import make_bias
from charrnn.inference.drawing.batch import Step
from charrnn.inference.drawing.sampler import Start
from charrnn.inference.network.reader import Reader
from charrnn.inference.network.states import stack_states
from charrnn.model.captured import CudaTape
from charrnn.model.drawing import Drawer, Rows
from charrnn.model.network import CharRNN, import_weights
from charrnn.training.device import choose_device, set_up_machine

_BLOCK = 32  # characters drawn before the host looks at any
_AT_ONCE = 4096
_MOST_LOGITS = 1 << 24  # of one step: 128 MiB in double precision
_MISSING = (
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "loop_penalty"),
    *("regex", "choices", "template", "balanced", "novel"),
    *("temperature_range", "word_temperature", "typical", "xtc", "mirostat"),
    *("beam", "seconds"),
)
"""Settings that look back on a text, or on the clock, or are seldom asked for by the thousand."""


class Engine:
    """A model on a device, which starts batches of texts there; `at_once` is the most in one."""

    def __init__(self, file: ModelFile, config: SampleConfig, device: str) -> None:
        """Take the model and the settings there.

        Raises:
            ConfigError: the device is not in this machine, or a setting is one that only the
                ordinary sampler has.
        """
        check_settings(config)
        set_up_machine(TrainConfig(), has_tf32=False)
        model = CharRNN(file.config)
        import_weights(model, file.weights)
        place = choose_device(device)
        tape = CudaTape(place) if place.type == "cuda" else None
        self._drawer = Drawer(model, config, make_bias(file.vocab, config), place, tape)
        self.at_once = max(1, min(_AT_ONCE, _MOST_LOGITS // file.vocab.size))

    def start(
        self,
        reader: Reader,
        starts: Sequence[Start],
        randoms: Sequence[np.random.Generator],
        alternatives: int | None,
    ) -> TorchBatch:
        """Begin texts at `starts`, each with its own random stream."""
        states = stack_states([start.state for start in starts])
        rows = self._drawer.start(reader.logits(states), states)
        return TorchBatch(self._drawer, rows, randoms, alternatives)


class TorchBatch:
    """Texts that are written side by side, as inference/drawing/batch.py's are."""

    guide_reason = ""

    def __init__(
        self,
        drawer: Drawer,
        standing: Rows,
        randoms: Sequence[np.random.Generator],
        alternatives: int | None,
    ) -> None:
        self._drawer, self._standing = drawer, standing
        self._randoms, self._alternatives = randoms, alternatives
        self._rows = np.arange(len(randoms))
        self._is_open = np.ones(len(randoms), np.bool_)

    def __iter__(self) -> Iterator[Step]:
        """Write a character of each text, and another, until all are dropped."""
        while self._is_open.any():
            self._leave_the_dropped()
            yield from self._steps()

    def drop(self, rows: Container[int]) -> None:
        """Write no more of the texts at these places; between two steps."""
        for row in self._rows.tolist():
            self._is_open[row] &= row not in rows

    def _leave_the_dropped(self) -> None:
        stay = np.flatnonzero(self._is_open[self._rows])
        if len(stay) < len(self._rows):
            self._rows = self._rows[stay]
            self._standing = self._standing.pick(stay)

    def _steps(self) -> Iterator[Step]:
        """Draw a block of every text that goes on; give it character by character."""
        rows, alternatives = self._rows, self._alternatives
        uniforms = np.stack([self._randoms[row].random(_BLOCK) for row in rows.tolist()])
        block, self._standing = self._drawer.draw(self._standing, uniforms, alternatives or 0)
        symbols, *costs = block if alternatives is not None else block[:1]
        for place in range(_BLOCK):
            still = np.flatnonzero(self._is_open[rows])
            if not len(still):
                return
            told = (each[still, place] for each in costs)
            yield Step(rows[still], symbols[still, place], *told)


def check_settings(config: SampleConfig) -> None:
    """Refuse what is not drawn on rows of texts.

    Raises:
        ConfigError: names it.
    """
    ordinary = SampleConfig()
    for name in _MISSING:
        if getattr(config, name) != getattr(ordinary, name):
            option = name.replace("_", "-")
            raise ConfigError(
                f"--device writes thousands of texts side by side and has no --{option}; leave one "
                "of them out"
            )
