"""docs/api.md: it has every name, parameter, report and error, and its examples run."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import random
import re
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import pytest

import charrnn
from charrnn import errors
from charrnn.config import FillConfig, RunConfig, SampleConfig, TextConfig, TrainConfig
from charrnn.tasks.fit import Report

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CALLS = [name for name in dir(charrnn) if name not in ("Model", "Session", "__version__")]
METHODS = [
    (kind, name)
    for kind in (charrnn.Model, charrnn.Session)
    for name, _ in inspect.getmembers(kind, inspect.isroutine)
    if name[0] != "_"
]


def section_of(heading: str) -> str:
    """Return what stands under a heading, up to the next one."""
    found = re.search(
        rf"^#+ `{re.escape(heading)}`\n(.*?)(?=^#|\Z)", PAGE, re.DOTALL | re.MULTILINE
    )
    assert found, f"docs/api.md has no {heading}: make docs"
    return found[1]


def assert_parameters(call: Any, section: str) -> None:
    for name in inspect.signature(call).parameters.keys() - {"self"}:
        assert re.search(rf"\b{name}: ", section), f"{call} has {name}"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = ROOT / "docs" / "make_api_page.py"
    spec = importlib.util.spec_from_file_location("api_page", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_is_what_the_program_says(script: ModuleType) -> None:
    assert script.make_page() == PAGE, "make docs"


@pytest.mark.parametrize("name", CALLS)
def test_every_public_call_stands_there_with_its_parameters(name: str) -> None:
    assert_parameters(getattr(charrnn, name), section_of(f"charrnn.{name}"))


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_every_method_of_a_public_class_stands_there(kind: type, name: str) -> None:
    assert_parameters(getattr(kind, name), section_of(f"{kind.__name__}.{name}"))


@pytest.mark.parametrize("kind", get_args(Report))
def test_every_report_stands_there_with_its_fields(kind: Any) -> None:
    section = section_of(kind.__name__)
    for item in dataclasses.fields(kind):
        assert f"\n{item.name}: " in section


@pytest.mark.parametrize("kind", [TrainConfig, TextConfig, RunConfig, SampleConfig, FillConfig])
def test_every_setting_stands_there(kind: Any) -> None:
    section = section_of(kind.__name__)
    for item in dataclasses.fields(kind):
        assert f"\n| `{item.name}` | " in section


def test_every_class_that_a_call_returns_stands_there() -> None:
    headings = set(re.findall(r"^#+ `(\w+)`$", PAGE, re.MULTILINE))
    returned = " ".join(
        str(inspect.signature(getattr(charrnn, n)).return_annotation) for n in CALLS
    )
    # A union of reports or of speeds, a generator of several models: what is in them stands there.
    named = set(re.findall(r"\b[A-Z]\w+", returned))

    assert named - {"Generator", "Any", "Iterator", "RunReport", "Speed", "None"} <= headings


def test_every_error_stands_there_with_its_exit_code() -> None:
    kinds = [kind for name, kind in vars(errors).items() if name.endswith("Error")]

    assert len(kinds) == 12
    for kind in kinds:
        assert f"| `charrnn.errors.{kind.__name__}` | {kind.exit_code} | " in PAGE


def test_the_examples_run_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    words = ("It was", "the best of", "times, Once", "upon a time", "a cat sat and ran", "The")
    text = " ".join(random.Random(1).choices(words, k=1200))
    Path("book.txt").write_text(text, encoding="utf-8")
    examples = re.findall(r"^```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert len(examples) >= 9

    names: dict[str, Any] = {}
    for example in examples:
        # One thread, as two that wait for each other crawl on a busy machine.
        code = re.sub(r"steps=\d+", r"\g<0>, threads=1", example)
        exec(compile(code, "docs/api.md", "exec"), names)
    assert {run["name"] for run in charrnn.list_runs()} >= {"book", "watched", "book-seed3"}
