"""The lines of docs/file-format.md that load a model into torch compute what charrnn computes."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

import charrnn

PAGE = Path(__file__).parents[2] / "docs" / "file-format.md"


@pytest.mark.parametrize(("num_layers", "ngram_order"), [(1, 1), (2, 1), (1, 4), (2, 2)])
def test_the_weights_load_into_torch_and_give_the_same_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_layers: int, ngram_order: int
) -> None:
    monkeypatch.chdir(tmp_path)
    small = {"hidden_size": 7, "embedding_size": 5, "num_layers": num_layers, "steps": 9}
    small["ngram_order"] = ngram_order
    charrnn.fit(texts="the cat sat on a mat. " * 60, name="book", threads=1, **small)
    (snippet,) = re.findall(
        r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    names: dict[str, Any] = {}
    exec(compile(snippet, PAGE.name, "exec"), names)

    own_nats = charrnn.score(names["text"], "book").bpc * math.log(2)
    assert names["loss"].item() == pytest.approx(own_nats, abs=1e-4)
