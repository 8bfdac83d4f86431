"""docs/install.md and the container file: extras, files and lines are those of the project."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "install.md").read_text("utf-8")
CONTAINER = (ROOT / "Containerfile").read_text("utf-8")
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]


def test_the_page_lists_every_extra() -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == set(EXTRAS) - {"dev"}


def test_every_extra_that_a_line_installs_exists() -> None:
    asked = re.findall(r'"\.\[([\w,]+)\]"', PAGE + CONTAINER)

    assert len(asked) == 3
    assert {name for each in asked for name in each.split(",")} <= set(EXTRAS)


def test_every_line_installs_the_versions_of_the_constraints() -> None:
    lines = re.sub(r"\\\n\s*", "", PAGE + CONTAINER).splitlines()
    installs = [line for line in lines if re.search(r"pipx? install |uvx --from", line)]

    assert len(installs) >= 6
    assert all("-c constraints.txt" in line for line in installs)


def test_the_container_gets_the_files_that_it_copies() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    copied = [each for line in re.findall(r"^COPY (.+)$", CONTAINER, re.M) for each in line.split()]
    sources = {each.removeprefix("./") for each in copied} - {""}

    assert all((ROOT / each).exists() for each in sources)
    assert all(any(fnmatch(each, pattern) for pattern in kept) for each in sources)
