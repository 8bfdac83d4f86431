"""Every setting with its default, unit and range: the one home of each, read by the command line,
by configuration files and by the docs.

A setting whose default is None is chosen later from the corpus and the budget. The classes are
frozen; making one checks every range. It knows nothing of files, torch or the terminal.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from charrnn.config.duration import parse_duration as parse_duration
from charrnn.config.fill import FillConfig as FillConfig
from charrnn.config.model import CELLS as CELLS
from charrnn.config.model import GATES as GATES
from charrnn.config.model import ModelConfig as ModelConfig
from charrnn.config.sample import STYLES as STYLES
from charrnn.config.sample import SampleConfig as SampleConfig
from charrnn.config.sample import parse_bias as parse_bias
from charrnn.config.text import LIBRARY_FOLDER as LIBRARY_FOLDER
from charrnn.config.text import TextConfig as TextConfig
from charrnn.config.train import DEFAULT_BUDGET as DEFAULT_BUDGET
from charrnn.config.train import LENGTHS as LENGTHS
from charrnn.config.train import DynamicConfig as DynamicConfig
from charrnn.config.train import RunConfig as RunConfig
from charrnn.config.train import TrainConfig as TrainConfig


def as_dict(config: Any) -> dict[str, Any]:
    """Give a settings object as plain values, tuples as lists, ready for JSON or TOML."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
