"""The site of the documentation: it builds without a warning, and its links and search work."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the site, built as `make site` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return folder


def test_every_page_of_the_documentation_is_in_the_site(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}

    missing = [page for page in pages if not (site / page).with_suffix(".html").exists()]

    assert missing == []
    assert "learn to write like a text file" in (site / "index.html").read_text("utf-8")


def test_a_line_of_code_that_a_page_names_is_in_the_site(site: Path) -> None:
    page = (site / "equations.html").read_text("utf-8")

    assert 'href="source/charrnn/model/network.py.html"' in page
    shown = (site / "source/charrnn/model/network.py.html").read_text("utf-8")
    assert "CharRNN" in re.sub("<[^>]+>", "", shown)


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text("utf-8")
        assert not re.search(r'<(?:script|img|iframe)[^>]+src="?https?:', text), page
        assert not re.search(r'<link[^>]+rel="?(?:stylesheet|preconnect)[^>]+https?:', text), page


def test_search_finds_a_word_of_any_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))

    found = {each["location"].split("#")[0] for each in index["docs"] if "mirostat" in each["text"]}
    assert {"cli.html", "equations.html", "tutorial.html"} <= found
