"""charrnn: character-level recurrent language models.

    import charrnn

    for report in charrnn.train("book.txt", budget="5m"):
        print(report)
    model = charrnn.load("book")
    for piece in model.generate("The ", temperature=0.8):
        print(piece, end="", flush=True)

Names are loaded when they are first used: torch only by `train`, numpy only by `load`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from charrnn._version import __version__

if TYPE_CHECKING:
    from charrnn.api import load as load
    from charrnn.api import train as train
    from charrnn.generation.model import Model as Model
    from charrnn.generation.model import blend as blend
    from charrnn.generation.model import with_negative_model as with_negative_model

# How long torch's threads keep turning while they wait for one another. By default so long that
# beside another busy program a step takes a hundred times what it should (benchmarks/LOG.md).
# It is read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__all__ = ["Model", "__version__", "blend", "guide_away", "load", "train"]

_HOMES = {
    "Model": "charrnn.generation.model",
    "blend": "charrnn.generation.model",
    "guide_away": "charrnn.generation.model",
    "load": "charrnn.api",
    "train": "charrnn.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
