"""The wheel: it holds the package and nothing else, and runs outside the tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import charrnn

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build from a copy of the tree, so that none of it is changed."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "charrnn", tree / "charrnn", ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copytree(ROOT / "tests" / "reference", tree / "tests" / "reference")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "-w", str(out)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(tree)], check=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_every_module_and_asset_and_nothing_else(wheel: Path) -> None:
    kinds = (".py", ".js", ".css", ".html", ".in")
    files = [path for path in (ROOT / "charrnn").rglob("*") if path.suffix in kinds]
    expected = {str(path.relative_to(ROOT)) for path in files}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert names == expected | {"charrnn/py.typed"}


def test_the_wheel_names_its_command_and_licence(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    texts = {name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist()}

    assert "charrnn = charrnn.cli.main:main" in texts["entry_points.txt"]
    assert "License-Expression: MIT" in texts["METADATA"]
    assert "Author: The charrnn authors" in texts["METADATA"]
    assert "MIT License" in texts["LICENSE"]


def test_the_wheel_runs_outside_the_tree(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    code = "import charrnn.cli.main as m; print(m.__file__); m.main(['--version'])"

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )

    assert done.stdout.splitlines() == [
        str(tmp_path / "site" / "charrnn" / "cli" / "main.py"),
        f"charrnn, version {charrnn.__version__}",
    ]
