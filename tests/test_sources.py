"""The files of the repository: no marks of a merge are left, and every script can be read."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted(ROOT.glob("charrnn/web/**/*.js"))
_MARKS = re.compile(rb"^(?:<{7}|>{7})(?: |\r?$)", re.MULTILINE)


def tracked_files() -> list[Path]:
    """Return the files under version control; skip where git or the repository is not there."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    command = ["git", "-C", str(ROOT), "ls-files", "-z"]
    done = subprocess.run(command, capture_output=True, check=True)
    return [ROOT / name for name in done.stdout.decode().split("\0") if name]


def is_marked(content: bytes) -> bool:
    """Return whether a text file has a line that a merge wrote; others have zero bytes."""
    return b"\0" not in content and _MARKS.search(content) is not None


def test_no_file_holds_the_marks_of_a_merge() -> None:
    files = [path for path in tracked_files() if path.is_file()]

    assert len(files) > 100
    assert [str(path) for path in files if is_marked(path.read_bytes())] == []


def test_marks_of_a_merge_are_seen() -> None:
    assert is_marked(b"a\n" + b"<" * 7 + b" HEAD\nb\n")
    assert is_marked(b"a\n" + b">" * 7 + b" topic\r\nb\n")
    assert not is_marked(b"a " + b"<" * 7 + b" b\n" + b"=" * 7 + b"\n" + b">" * 8 + b"\n")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_of_the_page_can_be_read(script: Path) -> None:
    done = subprocess.run(["node", "--check", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_there_are_scripts() -> None:
    assert {"network.js", "page.js", "text.js"} <= {script.name for script in SCRIPTS}
