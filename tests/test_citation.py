"""CITATION.cff: what the Citation File Format 1.2.0 requires, and what the package says itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import charrnn

ROOT = Path(__file__).parent.parent


def read_cff() -> dict[str, list[str]]:
    """Return the values of each key: one on its line, or a list on those below."""
    values: dict[str, list[str]] = {}
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    for entry in re.split(r"\n(?! )", text.rstrip()):
        key, _, rest = entry.partition(":")
        assert key not in values
        values[key] = [value.strip() for value in rest.split("\n  - ") if value.strip()]
    return values


def test_the_file_has_what_the_format_requires():
    cff = read_cff()
    assert cff["cff-version"] == ["1.2.0"]
    assert cff["type"] == ["software"]
    assert cff["authors"] == ["name: The charrnn authors"]
    assert all(cff[key] for key in ("message", "title", "abstract", "keywords"))


def test_the_file_says_what_the_package_says():
    cff = read_cff()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert cff["version"] == [charrnn.__version__]
    assert cff["title"] == [project["name"]]
    assert cff["license"] == [project["license"]]
    assert cff["authors"] == [f"name: {author['name']}" for author in project["authors"]]


def test_the_entry_for_bibtex_is_of_this_version():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"version = {{{charrnn.__version__}}}" in readme
