"""An export is whole or not there: named, refused, verified, replaced, removed when it fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from charrnn import storage
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.config.export import ExportConfig
from charrnn.errors import ConfigError, ExportError, StorageError
from charrnn.formats.verified import Verified, check_greedy, logit_error
from charrnn.generation.network import Network
from charrnn.storage import write_atomically
from charrnn.tasks import export as task
from charrnn.tasks.export import ExportReport, Format, export, find_format
from tests.formats.models import make_file

FILES = {"book.c": b"int main;", "main.c": b"1", "more.c": b"2"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """Stand in a folder with one run, `book`."""
    monkeypatch.chdir(tmp_path)
    run = RunFolder(Path("checkpoints") / "book")
    run.save_state(make_file(), step=7, kept=1)
    return run


@pytest.fixture
def make_format(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes every format one of three small files."""

    def make(
        verify: Callable[[Path], Verified] = lambda _: Verified(3), suffix: str = ".c"
    ) -> None:
        def make_files(file: ModelFile, name: str, config: ExportConfig) -> dict[str, bytes]:
            return {each.replace("book", name): content for each, content in FILES.items()}

        def verify_files(
            folder: Path, names: Sequence[str], file: ModelFile, config: ExportConfig
        ) -> Verified:
            assert all((folder / name).is_file() for name in names)
            return verify(folder)

        monkeypatch.setattr(task, "_format_of", lambda *_: Format(make_files, verify_files, suffix))

    return make


def call(output: str | None = None, to: str = "c", **options: Any) -> ExportReport:
    return export("book", to, output, checkpoints="checkpoints", **options)


def files_here() -> set[str]:
    paths = Path().rglob("*")
    return {str(each) for each in paths if each.is_file() and each.parts[0] != "checkpoints"}


def test_files_are_named_after_the_run_or_as_asked(
    run: RunFolder, make_format: Callable[..., None]
) -> None:
    make_format()
    report = call()

    assert files_here() == {"book.c", "main.c", "more.c"}
    assert report.files == {Path("book.c"): 9, Path("main.c"): 1, Path("more.c"): 1}
    assert (report.path, report.size_bytes, report.verified) == (Path("book.c"), 11, Verified(3))


@pytest.mark.parametrize("output", ["there/other", "there/other.c"])
def test_a_file_of_c_has_the_suffix_that_compilers_go_by(
    run: RunFolder, make_format: Callable[..., None], output: str
) -> None:
    make_format()

    places = {Path("there", name) for name in ("other.c", "main.c", "more.c")}
    assert set(call(output).files) == places


def test_the_cc_lines_of_an_export_name_the_files_that_there_are(run: RunFolder) -> None:
    call("poet", config=ExportConfig(main=True, verify=False))

    for path in ("poet.h", "poet_main.c"):
        (line,) = (line for line in Path(path).read_text().splitlines() if " cc -O2 " in line)
        named = {word for word in line.split() if word.endswith(".c")}
        assert named <= files_here()
        assert "poet.c" in named


def test_a_folder_of_files_is_one_target(run: RunFolder, make_format: Callable[..., None]) -> None:
    make_format(suffix="")

    assert call(to="hf").path == Path("book-huggingface")
    assert files_here() == {
        f"book-huggingface/{name}" for name in ("book-huggingface.c", "main.c", "more.c")
    }


def test_what_is_there_is_replaced_only_when_asked(
    run: RunFolder, make_format: Callable[..., None]
) -> None:
    make_format()
    Path("main.c").write_text("mine")

    with pytest.raises(
        ConfigError, match=r"main\.c is there already; replace it with overwrite=Tr"
    ):
        call()
    assert files_here() == {"main.c"}
    call(overwrite=True)
    assert Path("main.c").read_bytes() == b"1"


def test_a_folder_with_other_files_is_never_replaced(
    run: RunFolder, make_format: Callable[..., None]
) -> None:
    make_format(suffix="")
    call("out")
    call("out", overwrite=True)
    Path("out/letter.txt").write_text("mine")

    with pytest.raises(ConfigError, match=r"out holds 'letter.txt', which this export does not"):
        call("out", overwrite=True)
    assert len(files_here()) == 4


@pytest.mark.parametrize("suffix", [".c", ""])
@pytest.mark.parametrize(
    "error", [ExportError("it differs"), KeyboardInterrupt(), OSError(28, "full")]
)
def test_a_failure_leaves_what_was_there(
    error: BaseException, suffix: str, run: RunFolder, make_format: Callable[..., None]
) -> None:
    def fail(_: Path) -> Verified:
        raise error

    make_format(suffix=suffix)
    call("old" + suffix)
    before = {name: Path(name).read_bytes() for name in files_here()}
    make_format(fail, suffix)

    for target, overwrite in (("old", True), ("there/new", False)):
        with pytest.raises(type(error) if not isinstance(error, OSError) else StorageError):
            call(target + suffix, overwrite=overwrite)
        assert {name: Path(name).read_bytes() for name in files_here()} == before


def test_a_move_that_fails_takes_back_those_before_it(
    run: RunFolder, make_format: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_format()
    call()
    Path("book.c").write_text("old")
    Path("main.c").unlink()
    rename = Path.rename

    def fail(path: Path, target: Path) -> Path:
        if path.name == "more.c":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(StorageError, match=r"cannot write more.c: No space left on device"):
        call(overwrite=True)
    assert files_here() == {"book.c", "more.c"}
    assert Path("book.c").read_text() == "old"


def test_what_a_killed_export_left_goes_with_the_next_one(
    run: RunFolder, make_format: Callable[..., None]
) -> None:
    make_format()
    left = Path(".book.c.0123456789ab")
    other = Path(".book.c.0123456789ac")
    for folder, name in ((left, "book.c"), (other, "book.c.replaced")):
        write_atomically(folder / "made" / name, b"int main;")
        (folder / ".lock").touch()
    call()

    assert not left.exists()
    assert other.exists()  # killed while it replaced a file, which is nowhere else


def test_an_export_leaves_those_that_run_alone(tmp_path: Path) -> None:
    with storage.staged(tmp_path / "book.c") as first:
        (first / "made").touch()
        with storage.staged(tmp_path / "book.c") as second:
            assert (first / "made").exists()
            assert second != first

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_that_names_the_file(
    run: RunFolder, make_format: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_format()

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(storage.os, "fsync", fail)
        with pytest.raises(StorageError, match=r"cannot write book.c: No space left on device"):
            call()
    assert list(Path().glob(".book*")) == []
    assert files_here() == set()


def test_verification_is_left_out_when_asked(
    run: RunFolder, make_format: Callable[..., None]
) -> None:
    make_format(lambda _: pytest.fail("it was verified"))
    report = call(config=ExportConfig(verify=False))

    assert report.verified is None
    assert report.to_json()["is_verified"] is False


def test_targets_that_make_no_sense_are_refused(
    run: RunFolder, make_format: Callable[..., None]
) -> None:
    make_format()
    Path("folder").mkdir()

    for target, words in {
        "folder": "is a folder, and a file is written",
        "book.safetensors": "is the name of a model file",
        "there/con.c": "Windows keeps for itself",
        "book.": "Windows keeps for itself",
        "..": "is a folder",
        "/": "names no file",
    }.items():
        with pytest.raises(ConfigError, match=words):
            call(target)
    Path("link.c").symlink_to("folder")
    with pytest.raises(ConfigError, match="is a folder"):
        call("link.c", overwrite=True)


def test_an_unknown_format_names_the_nearest() -> None:
    assert find_format("HF") == "huggingface"
    with pytest.raises(ConfigError, match="there is no format 'onxn'; did you mean 'onnx'"):
        find_format("onxn")
    with pytest.raises(ConfigError, match="choose from onnx, html, c, huggingface, tensorboard"):
        find_format("gguf")


def test_settings_of_another_format_are_refused(run: RunFolder) -> None:
    with pytest.raises(ConfigError, match='main goes with to="c" only'):
        call(to="html", config=ExportConfig(main=True))
    with pytest.raises(ConfigError, match='to="html", to="c" or to="huggingface" only'):
        call(to="tensorboard", config=ExportConfig(licence="MIT"))


def test_the_call_stays_one_whatever_is_imported(run: RunFolder) -> None:
    import charrnn.formats.verified
    import charrnn.server.jobs

    assert charrnn.formats.verified.__name__ == "charrnn.formats.verified"
    report = charrnn.export("book", "html", verify=False)
    assert report.path == Path("book.html")
    assert callable(charrnn.export)
    assert callable(charrnn.serve)


@pytest.mark.parametrize("to", ["onnx", "html", "huggingface"])
def test_a_name_that_is_no_unicode_is_a_name(to: str, run: RunFolder) -> None:
    pytest.importorskip("onnxruntime")
    name = os.fsdecode(b"b\xffk") + f".{to}"

    assert call(name, to, config=ExportConfig(verify_chars=20)).path.exists()


def test_a_greedy_text_is_compared_up_to_rounding() -> None:
    file = make_file()
    network = Network(file.config, file.weights)
    state = network.initial_state()
    ids = []
    for _ in range(12):
        ids.append(int(network.logits(state).argmax()))
        state = network.advance(ids[-1], state)

    assert check_greedy(network, file.vocab, ids) == 0
    ids[7] = (ids[7] + 1) % file.vocab.size
    with pytest.raises(ExportError, match="as character 8, where the model writes"):
        check_greedy(network, file.vocab, ids)


def test_logits_that_are_not_numbers_are_no_match() -> None:
    import numpy as np

    with pytest.raises(ExportError, match="not numbers"):
        logit_error(np.float32([1, 2]), np.float32([1, np.nan]))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing_behind(run: RunFolder, number: int) -> None:
    pytest.importorskip("onnxruntime")  # which keeps no files of its own, as it would by default
    command = [sys.executable, "-m", "charrnn", "export", "book", "--to", "onnx"]
    process = subprocess.Popen(
        [*command, "--verify-chars", "1000000"], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(Path().glob(".book.onnx.*/made/book.onnx")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    _, complaint = process.communicate(timeout=60)

    assert process.returncode == 128 + number, complaint
    assert "Traceback" not in complaint
    assert [each.name for each in Path().iterdir()] == ["checkpoints"]
