"""What charrnn inspect says in the terminal beside the page: a line or two of each view."""

from __future__ import annotations

from rich.console import Console

from charrnn.tasks.inspect import Inspection


def show_summary(inspection: Inspection, console: Console) -> None:
    """Print it."""
