"""charrnn export: what it prints, what it refuses, and what it never imports."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.storage import format_bytes
from tests.cli.program import Text, complaint, end_of, output_of, run_without
from tests.generation.record_models import WHO, make_records_file
from tests.generation.task_models import make_task_file


@pytest.fixture
def save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[ModelFile], None]:
    """Stand in a folder; return a function that makes a model its run `book`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return lambda file: RunFolder(Path("checkpoints") / "book").save_state(file, step=7, kept=1)


SHORT = ("--verify-chars", "30")


def test_the_files_go_to_stdout_and_the_check_to_stderr(
    save: Callable[[ModelFile], None], capsys: Text
) -> None:
    pytest.importorskip("onnxruntime")
    save(make_records_file())

    assert end_of("export", "book", "--to", "onnx", *SHORT) == 0
    out, err = capsys.readouterr()
    assert out.startswith("book.onnx  ")
    assert "verified: 30 characters as the model has them, logits within " in err
    assert Path("book.onnx").stat().st_size > 1000


def test_json_has_what_the_report_says(save: Callable[[ModelFile], None], capsys: Text) -> None:
    save(make_records_file())
    out = output_of(capsys, "export", "--to", "html", "--no-verify", "-o", "a/b.html", "--json")

    found = json.loads(out)
    size = Path("a/b.html").stat().st_size
    assert found["files"] == {"a/b.html": size}
    assert (found["to"], found["path"], found["bytes"]) == ("html", "a/b.html", size)
    assert (found["is_verified"], found["verified_chars"]) == (False, 0)


def test_leaving_the_check_out_is_said(save: Callable[[ModelFile], None], capsys: Text) -> None:
    save(make_records_file())

    assert end_of("export", "book", "--to", "html", "--no-verify") == 0
    assert "not verified, as --no-verify asks" in capsys.readouterr().err


def test_a_page_that_was_not_run_is_verified_in_part(
    save: Callable[[ModelFile], None], capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(make_records_file())
    monkeypatch.setenv("PATH", "")

    assert end_of("export", "book", "--to", "html") == 0
    assert "verified in part: it was not run" in capsys.readouterr().err


def test_labels_are_fixed_by_option(save: Callable[[ModelFile], None], capsys: Text) -> None:
    save(make_records_file(labels=(WHO,)))
    end_of("export", "book", "--to", "html", "--no-verify")
    end_of("export", "book", "--to", "html", "--no-verify", "-o", "one.html", "--label", "ROMEO")

    capsys.readouterr()

    assert 'class="label"' in Path("book.html").read_text()
    assert '<select class="label"' not in Path("one.html").read_text()
    code, message = complaint(capsys, "export", "book", "--to", "html", "--label", "HAMLET")
    assert (code, "HAMLET" in message) == (2, True)


def test_a_large_file_of_c_is_said_to_take_a_while(
    save: Callable[[ModelFile], None], capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(make_records_file())
    options = ("export", "book", "--to", "c", "--overwrite", *SHORT)
    assert end_of(*options) == 0
    assert "takes a while" not in capsys.readouterr().err

    monkeypatch.setattr("charrnn.cli.export._SLOW_TO_COMPILE_BYTES", 1000)
    assert end_of(*options) == 0
    first, *_ = capsys.readouterr().err.splitlines()
    size = format_bytes(Path("book.c").stat().st_size)
    assert first.startswith(f"book.c has {size}: compiling it, to check it, takes a while; --no-v")
    assert end_of(*options[:-2], "--no-verify") == 0
    assert "takes a while" not in capsys.readouterr().err


def test_mistakes_are_one_line(save: Callable[[ModelFile], None], capsys: Text) -> None:
    save(make_task_file("tagging"))

    assert "Did you mean 'html'?" in complaint(capsys, "export", "book", "--to", "htm")[1]
    assert "Missing option '--to'" in complaint(capsys, "export", "book")[1]
    assert complaint(capsys, "export", "book", "--to", "html") == (
        2,
        "charrnn: this is a model for tagging, which writes no text of its own; charrnn predict "
        "uses it and charrnn eval measures it\n",
    )


@pytest.mark.parametrize("to", ["onnx", "html"])
def test_an_export_imports_no_torch(save: Callable[[ModelFile], None], to: str) -> None:
    pytest.importorskip("onnxruntime")
    save(make_records_file())

    run_without("torch,starlette,safetensors.torch", "export", "book", "--to", to, *SHORT)
    run_without("torch,onnx,onnxruntime", "export", "--help")
