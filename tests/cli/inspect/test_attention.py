"""The attention of an encoder–decoder in a terminal."""

from __future__ import annotations

import numpy as np
from rich.console import Console

from charrnn.cli.inspect.attention import show_attention
from charrnn.interpret.attention import AttentionReport


def test_an_empty_source_is_shown_as_one_without_columns() -> None:
    console = Console(width=40, no_color=True, record=True)
    report = AttentionReport([], ["∎"], np.zeros((1, 0), np.float32), np.array([1.5]))

    show_attention({"dates": report}, console)

    assert "1.50 bits" in console.export_text()
