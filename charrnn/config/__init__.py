"""Every setting with its default, unit and range, declared once.

The command line, configuration files and the docs read them from here. A setting whose default is
None is chosen later. The classes are frozen; making one checks every value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from charrnn.config.export import ExportConfig
from charrnn.config.fields import (
    COST,
    RENAMED,
    UNKNOWN,
    check_names,
    check_type,
    checked,
    chosen_settings,
    did_you_mean,
    with_seed,
    with_settings,
)
from charrnn.config.fill import FillConfig
from charrnn.config.model import CELLS, GATES, TASKS, ModelConfig
from charrnn.config.sample import PRESETS, SampleConfig, parse_bias
from charrnn.config.sweep import SweepConfig
from charrnn.config.text import LIBRARY_FOLDER, TextConfig
from charrnn.config.train import (
    DEFAULT_BUDGET,
    LENGTHS,
    DynamicConfig,
    Length,
    RunConfig,
    TrainConfig,
    format_length_history,
    parse_length_history,
)

__all__ = [
    "CELLS",
    "COST",
    "DEFAULT_BUDGET",
    "GATES",
    "LENGTHS",
    "LIBRARY_FOLDER",
    "OLD_TEXT_SETTINGS",
    "PRESETS",
    "RENAMED",
    "TASKS",
    "UNKNOWN",
    "DynamicConfig",
    "ExportConfig",
    "FillConfig",
    "Length",
    "ModelConfig",
    "RunConfig",
    "SampleConfig",
    "SweepConfig",
    "TextConfig",
    "TrainConfig",
    "as_dict",
    "check_names",
    "check_type",
    "checked",
    "chosen_settings",
    "did_you_mean",
    "format_length_history",
    "parse_bias",
    "parse_length_history",
    "with_new_names",
    "with_seed",
    "with_settings",
]

OLD_TEXT_SETTINGS = {"split": "tail", "lines": False}
"""What held for runs that are older than these settings, where that is not the default."""


def with_new_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of an older run's file under today's names.

    >>> with_new_names({"skip": True, "steps": 9})
    {'residual': True, 'steps': 9}
    """
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def as_dict(config: Any) -> dict[str, Any]:
    """Return a settings object as plain values, tuples as lists, ready for JSON or TOML.

    >>> as_dict(TextConfig())["val_fraction"]
    0.1
    """
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
