"""The number after the last colon of a path: what is a weight, and what is a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from charrnn.config.weights import split_weight
from charrnn.errors import CorpusError


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("book.txt", ("book.txt", 1)),
        ("book.txt:1", ("book.txt", 1)),
        ("poems/*.txt:1000", ("poems/*.txt", 1000)),
        ("C:/texts/book.txt", ("C:/texts/book.txt", 1)),
        ("C:/texts/book.txt:20", ("C:/texts/book.txt", 20)),
        ("chapter:one", ("chapter:one", 1)),
        ("10:30:2", ("10:30", 2)),
        (":5", (":5", 1)),
        ("-", ("-", 1)),
        ("x" * 5000 + ":2", ("x" * 5000, 2)),
    ],
)
def test_a_number_after_the_last_colon_is_a_weight(path: str, expected: tuple[str, int]) -> None:
    assert split_weight(path) == expected


def test_the_name_of_a_file_that_exists_has_no_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("at 10:30").write_text("a")
    Path("folder:0").mkdir()

    assert split_weight("at 10:30") == ("at 10:30", 1)
    assert split_weight("folder:0") == ("folder:0", 1)
    assert split_weight("at 10:30:3") == ("at 10:30", 3)


@pytest.mark.parametrize(
    "weight", ["0", "1.5", "-2", "+3", "1001", "10000", "1e3", "1_0", "9" * 99]
)
def test_a_number_that_is_no_weight_is_refused(weight: str) -> None:
    with pytest.raises(CorpusError, match=r"is .*; give a whole number from 1 to 1,000"):
        split_weight(f"book.txt:{weight}")


def test_standard_input_takes_no_weight() -> None:
    with pytest.raises(CorpusError, match="give - instead of -:5"):
        split_weight("-:5")
