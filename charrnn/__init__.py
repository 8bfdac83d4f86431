"""charrnn: character-level recurrent language models.

    import charrnn

    result = charrnn.fit("book.txt", budget="5m")
    print(result.bpc, result.model.generate("The ", temperature=0.8))
    for piece in charrnn.load("book").generate("The "):
        print(piece, end="", flush=True)

docs/api.md lists the calls, their settings and what each returns. A name is loaded when it is first
used: torch only by what trains or evaluates, numpy by the rest.
"""

import os
from typing import TYPE_CHECKING, Any

from charrnn._version import __version__

if TYPE_CHECKING:
    from charrnn.api import (
        benchmark,
        compare,
        compress,
        corpus_stats,
        decompress,
        describe,
        evaluate,
        export,
        fit,
        fit_cells,
        fit_seeds,
        inspect,
        list_runs,
        load,
        predict,
        pull,
        push,
        remove,
        sample,
        score,
        serve,
        start_server,
        sweep,
        train,
    )
    from charrnn.tasks.model import Model, blend, with_negative_model
    from charrnn.tasks.open_models import open_models
    from charrnn.tasks.session import Session, start_session

# How long torch's threads keep turning while they wait for one another. By default so long that
# beside another busy program a step takes a hundred times what it should (benchmarks/LOG.md).
# It is read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

__all__ = [
    "Model",
    "Session",
    "__version__",
    "benchmark",
    "blend",
    "compare",
    "compress",
    "corpus_stats",
    "decompress",
    "describe",
    "evaluate",
    "export",
    "fit",
    "fit_cells",
    "fit_seeds",
    "inspect",
    "list_runs",
    "load",
    "open_models",
    "predict",
    "pull",
    "push",
    "remove",
    "sample",
    "score",
    "serve",
    "start_server",
    "start_session",
    "sweep",
    "train",
    "with_negative_model",
]

_HOMES = {  # of the names that are not in charrnn.api
    **dict.fromkeys(["Model", "blend", "with_negative_model"], "charrnn.tasks.model"),
    **dict.fromkeys(["Session", "start_session"], "charrnn.tasks.session"),
    "open_models": "charrnn.tasks.open_models",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'charrnn' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "charrnn.api")), name)


def __dir__() -> list[str]:
    return sorted(__all__)
