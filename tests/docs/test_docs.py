"""The docs say what is true now: options, defaults, figures' commands, links, fields of files."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

from charrnn.checkpoint.model_file import read_model
from charrnn.cli.main import main

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]


def test_the_page_of_options_is_what_the_program_says() -> None:
    spec = importlib.util.spec_from_file_location("page", ROOT / "docs" / "make_cli_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == module.make_page()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    files = [link for link in links if "://" not in link]

    assert [link for link in files if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_script_that_a_page_names_exists(page: Path) -> None:
    scripts = re.findall(r"\bbenchmarks/\w+\.(?:py|csv|md)\b", page.read_text(encoding="utf-8"))

    assert [script for script in scripts if not (ROOT / script).exists()] == []


def test_the_page_of_the_file_names_every_key_of_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHARRNN_THREADS", "1")
    Path("cats.txt").write_text("the cat sat on the mat. " * 500, encoding="utf-8")
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["train", "cats.txt", "--steps", "3", "--hidden-size", "4", "--json"])
    reports = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    run = Path("checkpoints", "cats")
    best, last = read_model(run / "best.safetensors"), read_model(run / "step-3.safetensors")
    documents = [*reports, best.summary, best.summary["corpus"], last.summary, last.progress or {}]
    words = {report["event"] for report in reports}.union(*documents)

    page = (ROOT / "docs" / "file-format.md").read_text(encoding="utf-8")
    assert last.progress
    assert words - set(re.findall(r"`(\w+)`", page)) == set()


def test_every_make_target_that_the_readme_names_exists() -> None:
    named = set(
        re.findall(r"(?:^    |`)make ([a-z]+)", (ROOT / "README.md").read_text("utf-8"), re.M)
    )
    rules = re.findall(r"^([a-z ]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    targets = {target for rule in rules for target in rule.split()}

    assert named <= targets
    assert {"demo", "test"} <= named
