"""Every setting with its default, unit and range: the one home of each, read by the command line,
by configuration files and by the docs.

A setting whose default is None is chosen later from the corpus and the budget. The classes are
frozen; making one checks every range. It knows nothing of files, torch or the terminal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from charrnn.config.fill import FillConfig as FillConfig
from charrnn.config.model import CELLS as CELLS
from charrnn.config.model import GATES as GATES
from charrnn.config.model import ModelConfig as ModelConfig
from charrnn.config.sample import PRESETS as PRESETS
from charrnn.config.sample import SampleConfig as SampleConfig
from charrnn.config.sample import parse_bias as parse_bias
from charrnn.config.text import LIBRARY_FOLDER as LIBRARY_FOLDER
from charrnn.config.text import TextConfig as TextConfig
from charrnn.config.train import DEFAULT_BUDGET as DEFAULT_BUDGET
from charrnn.config.train import LENGTHS as LENGTHS
from charrnn.config.train import DynamicConfig as DynamicConfig
from charrnn.config.train import RunConfig as RunConfig
from charrnn.config.train import TrainConfig as TrainConfig
from charrnn.config.train import parse_duration as parse_duration


def as_dict(config: Any) -> dict[str, Any]:
    """Give a settings object as plain values, tuples as lists, ready for JSON or TOML."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}


RENAMED = {
    "skip": "residual",
    "tie_output": "tie_embeddings",
    "graph": "cuda_graph",
    "schedule": "lr_schedule",
    "keep": "keep_checkpoints",
    "unfinished": "on_unfinished",
    "loop_penalty": "dry_penalty",
    "loop_length": "dry_length",
    "temperature_range": "dynamic_temperature",
    "novel": "max_copy",
}
"""Settings by the names that they had before the first release, as older runs' files have them."""


def with_new_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings that an older run's file holds under the names they have today."""
    return {RENAMED.get(name, name): value for name, value in settings.items()}
