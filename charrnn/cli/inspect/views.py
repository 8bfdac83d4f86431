"""One view in a terminal: each has a module of its own, imported when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from rich.console import Console


def show_view(view: str, reports: Mapping[str, Any], console: Console) -> None:
    """Print a view of one or several models, whose reports are given by name."""
    module = import_module(f"charrnn.cli.inspect.{view}")
    getattr(module, f"show_{view}")(reports, console)
