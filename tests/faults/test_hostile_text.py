"""Hostile texts, files and names: each works, or ends in a known code and one clear line."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.model_file import ModelFile, pack_model
from charrnn.checkpoint.run_store import claim_run
from charrnn.cli import corpus as corpus_view
from charrnn.config import TextConfig
from charrnn.data.corpus import open_corpus
from charrnn.errors import ConfigError, CorpusError
from charrnn.tasks import corpus_stats
from charrnn.text import files
from charrnn.text.files import Source, hash_sources, open_sources
from charrnn.text.reader import iter_text
from charrnn.text.vocab import MAX_ALPHABET
from tests.faults.hostile import BIDIRECTIONAL, CONTROLS, as_name, in_chunks, make_strings
from tests.faults.program import Ended, run

Times = Callable[[int, int], int]
Figure = Callable[[str], None]
Make = Callable[..., ModelFile]
TINY = (
    *("--steps", "1", "--threads", "1", "--hidden-size", "8", "--num-layers", "1"),
    *("--batch-size", "2", "--seq-len", "8", "--embedding-size", "4"),
)
NO_UTF8 = os.fsdecode(b"caf\xe9\x1b[31m\x9b.txt")  # a file name in another encoding
needs_posix = pytest.mark.skipif(os.name != "posix", reason="needs pipes, devices, any file name")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here
    Path("book.txt").write_text("plain words to learn from, again and again\n" * 20)


@pytest.fixture
def tiny(make_model: Make) -> Path:
    """Return the model file of a run named tiny."""
    path = Path("checkpoints/tiny/best.safetensors")
    path.parent.mkdir(parents=True)
    path.write_bytes(pack_model(make_model()))
    return path


def train(*arguments: str) -> Ended:
    return run("train", *arguments, *TINY)


def refusal(ended: Ended) -> tuple[int, str]:
    """Return the code and the line of a command that failed as it should."""
    assert ended.code != 0
    assert ended.is_clear, ended
    return ended.code, ended.err


# What a text holds


def test_a_text_of_every_control_character_trains_and_is_gone_on_from() -> None:
    text = "".join(CONTROLS + BIDIRECTIONAL) * 20
    # With as many letters that it is no binary file.
    Path("controls.txt").write_bytes((text + "letters " * 5000).encode())
    Path("prompt.txt").write_bytes(text[:60].encode())

    assert train("controls.txt", "--name", "controls").code == 0
    ended = run("sample", "controls", "--prompt-file", "prompt.txt", "--length", "20", "-q")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.decode().startswith(text[:60].replace("\r", "\n"))


def test_bytes_of_an_unpaired_surrogate_are_no_text() -> None:
    Path("half.txt").write_bytes(b"words " * 99 + b"\xed\xa0\x80")

    code, line = refusal(train("half.txt"))
    assert code == 3
    assert "bytes ed (hex) at offset 594" in line


def test_a_single_line_of_any_length_is_measured_and_becomes_ids(
    times: Times, figure: Figure
) -> None:
    size = times(2_000_000, 100_000_000)
    Path("line.txt").write_bytes(b"a long line, " * (size // 13))
    began = time.monotonic()
    corpus = open_corpus(["line.txt"])
    seconds = time.monotonic() - began

    assert corpus.chars == size // 13 * 13
    ended = run("corpus", "stats", "line.txt", "--json")
    assert f'"longest_line": {corpus.chars}' in ended.out.decode()
    figure(f"one line of {corpus.chars:,} characters became ids in {seconds:.1f} s")


def test_more_characters_than_a_model_takes_are_refused_with_the_way_out(times: Times) -> None:
    codes = [c for c in range(0x20, 0x110000) if not 0xD800 <= c < 0xE000]
    count = times(MAX_ALPHABET + 1, len(codes))
    text = "".join(map(chr, codes[:count]))
    Path("all.txt").write_bytes(("ab" * 200 + text).encode())

    code, line = refusal(train("all.txt"))
    assert code == 3
    assert f"{count:,} different characters" in line
    assert "--min-count 2 to spell" in line
    assert train("all.txt", "--min-count", "2").code == 0


def test_the_way_out_fits_a_text_in_which_all_characters_come_again() -> None:
    text = "".join(map(chr, range(0x10000, 0x10001 + MAX_ALPHABET)))
    Path("twice.txt").write_bytes((text * 2).encode())

    with pytest.raises(CorpusError, match="min_count=3 to spell"):
        open_corpus(["twice.txt"], TextConfig(min_count=2))
    assert open_corpus(["twice.txt"], TextConfig(min_count=3)).vocab.size == 256


def test_too_large_an_alphabet_is_measured_and_said_to_be_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (corpus_stats, corpus_view):
        monkeypatch.setattr(module, "MAX_ALPHABET", 5)
    ended = run("corpus", "stats", "book.txt")

    assert ended.code == 0
    assert "nothing: 18 different characters are too many" in ended.out.decode()


@pytest.mark.parametrize("prompt", ["a\0b", "\x1b[31m", "\u202e", "\udcff", "\x9b"])
def test_a_prompt_that_the_model_cannot_read_is_refused(tiny: Path, prompt: str) -> None:
    code, line = refusal(run("sample", "tiny", "--prompt", prompt))
    assert code == (2 if "\0" in prompt else 3)
    assert line.removesuffix("\n").isprintable()


@pytest.mark.parametrize(
    "arguments",
    [
        ("info", "a\0"),
        ("list", "--checkpoints", "\0"),
        ("corpus", "list", "--dir", "\0"),
        ("train", "book.txt", "--resume", "\0"),
        ("train", "book.txt", "--config", "nul.toml"),
    ],
)
def test_a_nul_in_a_name_is_refused(arguments: tuple[str, ...]) -> None:
    Path("nul.toml").write_text('resume = "a\\u0000"\n')

    code, line = refusal(run(*arguments))
    assert (code, "holds a NUL character" in line) == (2, True)


# What a file is


@needs_posix
def test_a_folder_of_loops_pipes_and_devices_gives_its_files_alone() -> None:
    folder = Path("folder")
    folder.mkdir()
    for name, target in (("self", "self"), ("up", ".."), ("null", "/dev/null"), ("gone", "none")):
        (folder / name).symlink_to(target)
    (folder / "one").symlink_to("two")
    (folder / "two").symlink_to("one")
    os.mkfifo(folder / "pipe")
    (folder / "text.txt").write_text("words " * 100)

    with open_sources([str(folder)]) as sources:
        assert [files.path.name for files in sources] == ["text.txt"]
    assert train("folder").code == 0


@needs_posix
@pytest.mark.parametrize("kind", ["pipe", "device", "loop", "folder of nothing"])
@pytest.mark.parametrize("role", ["corpus", "--val-file"])
def test_what_is_no_file_is_refused_at_once(kind: str, role: str) -> None:
    path = Path("thing")
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder of nothing":
        path.mkdir()
    else:
        path.symlink_to({"device": "/dev/zero", "loop": "thing"}[kind])

    texts = ("thing",) if role == "corpus" else ("book.txt", role, "thing")
    code, line = refusal(train(*texts))
    assert code == 3
    assert "thing" in line


@needs_posix
def test_a_device_without_end_is_not_read_to_its_end(tiny: Path) -> None:
    for arguments in (
        ("sample", "tiny", "--prompt-file", "/dev/zero"),
        ("train", "book.txt", "--config", "/dev/zero"),
    ):
        code, line = refusal(run(*arguments))
        assert code == 2
        assert "is longer than" in line


def test_folders_too_deep_for_python_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RecursionError

    Path("deep").mkdir()
    monkeypatch.setattr(os, "walk", fail)
    with pytest.raises(CorpusError, match=r"the folders in 'deep' are nested too deeply"):
        open_corpus(["deep"])


def test_a_bomb_is_met_early(times: Times, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    free_bytes = times(4 << 20, files.RATIO_FREE_BYTES)
    monkeypatch.setattr(files, "RATIO_FREE_BYTES", free_bytes)
    packed = gzip.compress(b"0" * (free_bytes >> 2), 9) * 16
    Path("bomb.gz").write_bytes(packed)
    began, sizes = time.monotonic(), []
    with open_sources(["bomb.gz"]) as sources:
        pieces = map(len, iter_text(sources))
        with pytest.raises(CorpusError, match=rf"unpacks to more than {free_bytes:,} bytes"):
            sizes.extend(pieces)

    unpacked = sum(sizes)
    assert 0 < unpacked <= free_bytes
    figure(f"{len(packed):,} bytes that unpack to {4 * free_bytes:,} were refused after "
           f"{unpacked:,}, in {time.monotonic() - began:.1f} s")  # fmt: skip
    assert refusal(train("bomb.gz"))[0] == 3


def test_a_large_file_may_unpack_to_a_hundred_times_its_size() -> None:
    assert files.MAX_UNPACKED_RATIO == 100
    sizes = [0, files.RATIO_FREE_BYTES // 100, 1 << 30, 1 << 40]
    most = [files._max_unpacked_bytes(size) for size in sizes]

    assert most == [256 << 20, 256 << 20, 64 << 30, 64 << 30]
    assert files._max_unpacked_bytes(10_000_000) == 1_000_000_000


# A file that changes

CHANGES: dict[str, Callable[[Path], object]] = {
    "grown": lambda path: _append(path),
    "truncated": lambda path: os.truncate(path, 40),
    "replaced": lambda path: _replace(path),
    "touched": lambda path: os.utime(path, (1, 1)),
}


def _append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def _replace(path: Path) -> None:
    Path("other").write_bytes(b"another text")
    Path("other").replace(path)


def pieces_of(sources: list[Source]) -> Iterator[object]:
    yield from iter_text(sources)


def hash_of(sources: list[Source]) -> Iterator[object]:
    yield None
    yield hash_sources(sources)


@pytest.mark.parametrize("suffix", [".txt", ".gz"])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("read", [pieces_of, hash_of])
def test_a_file_that_changes_while_it_is_read_is_an_error(
    read: Callable[[list[Source]], Iterator[object]],
    change: str,
    suffix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(files, "CHUNK_BYTES", 1000)
    path, text = Path(f"moving{suffix}"), os.urandom(200_000).hex().encode()
    path.write_bytes(gzip.compress(text) if suffix == ".gz" else text)
    with open_sources([str(path)]) as sources:
        pieces = read(sources)
        next(pieces)
        CHANGES[change](path)
        with pytest.raises(CorpusError, match="changed while it was read; run the command again"):
            list(pieces)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_between_two_readings_is_an_error(
    change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = corpus_stats.measure_text

    def measure_and_change(pieces: Iterator[str]) -> object:
        found = measure(pieces)
        CHANGES[change](Path("book.txt"))
        return found

    monkeypatch.setattr(corpus_stats, "measure_text", measure_and_change)
    assert refusal(run("corpus", "stats", "book.txt")) == (
        3,
        "charrnn: book.txt changed while it was read; run the command again\n",
    )


# Names


@needs_posix
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("train", NO_UTF8, *TINY), 3),
        (("train", "folder", *TINY), 0),
        (("train", "book.txt", "--val-file", NO_UTF8, *TINY), 3),
        (("train", "book.txt", "--config", "config-" + NO_UTF8, *TINY), 0),
        (("train", "book.txt", "--checkpoints", "runs-" + NO_UTF8, *TINY), 0),
        (("train", "book.txt", "--name", NO_UTF8, *TINY), 2),
        (("train", "book.txt", "--resume", NO_UTF8, *TINY), 4),
        (("corpus", "stats", NO_UTF8), 0),
        (("corpus", "list", "--dir", NO_UTF8), 0),
        (("sample", "tiny", "--prompt-file", "prompt-" + NO_UTF8, "--length", "3"), 0),
        (("sample", NO_UTF8), 4),
        (("info", "model-" + NO_UTF8), 0),
        (("eval", "tiny", "--file", "prompt-" + NO_UTF8), 0),
        (("list", "--checkpoints", "folder"), 0),
    ],
    ids=lambda value: (
        " ".join(value[:3]).encode("ascii", "replace").decode()
        if isinstance(value, tuple)
        else None
    ),
)
def test_a_name_that_is_no_utf8_works_or_is_refused(
    arguments: tuple[str, ...], code: int, tiny: Path
) -> None:
    folder = Path("folder")
    folder.mkdir()
    for path in (Path(NO_UTF8), folder / NO_UTF8):
        path.write_text("plain words to learn from\n" * 20)
    Path("config-" + NO_UTF8).write_text("dropout = 0.1\n")
    Path("prompt-" + NO_UTF8).write_text("abab\n" * 20)
    Path("model-" + NO_UTF8).write_bytes(tiny.read_bytes())

    ended = run(*arguments)
    assert ended.code == code
    assert ended.is_clear
    ended.out.decode()


def everything_but(folder: str) -> set[str]:
    """Return the paths of all that lies outside `folder` and the cache."""
    skipped = (folder, "charrnn-cache", "xdg-cache")
    return {str(path) for path in Path().rglob("*") if path.parts[0] not in skipped}


@pytest.mark.parametrize(
    "name",
    ["../up", "..", ".", "", "/tmp/absolute", "a/b", "a\\b", "nul\0", ".hidden", "-x", " ", "a\n"],
)
def test_the_name_of_a_run_never_leaves_the_checkpoints_folder(name: str) -> None:
    before = everything_but("checkpoints")
    assert refusal(train("book.txt", "--name", name))[0] == 2
    assert everything_but("checkpoints") == before
    assert not Path("/tmp/absolute").exists()


def test_runs_are_named_after_any_corpus_within_the_checkpoints_folder(times: Times) -> None:
    names = in_chunks(make_strings(times(300, 100_000)), 10)
    names += ["..", "../..", "/etc", "~", "$HOME", "-rf", "CON"]
    checkpoints, stay = Path("checkpoints"), set()
    for name in names:
        with claim_run(checkpoints, None, name) as folder:
            assert folder.path.parent == checkpoints
            assert folder.path.resolve().parent == checkpoints.resolve()
            stay.add(folder.name)
    assert all(name == as_name(name) and name.isprintable() for name in stay)
    assert len(stay) > 1


@needs_posix
@pytest.mark.parametrize("file", ["..txt", "....", "-rf.txt", "a\nb.txt", "\x1b[31m.txt", "~.txt"])
def test_a_text_of_any_file_name_trains_within_the_checkpoints_folder(file: str) -> None:
    Path("texts").mkdir()
    Path("texts", file).write_text("plain words to learn from\n" * 20)
    before = everything_but("checkpoints")

    assert train("texts/" + file).code == 0
    assert everything_but("checkpoints") == before
    assert len(list(Path("checkpoints").iterdir())) == 1


@needs_posix
def test_a_link_in_the_checkpoints_folder_leads_no_new_run_out_of_it() -> None:
    for folder in ("elsewhere", "checkpoints"):
        Path(folder).mkdir()
    Path("checkpoints/link").symlink_to("../elsewhere")
    Path("elsewhere/config.toml").write_text("")  # a run that ended before its first save

    code, line = refusal(train("book.txt", "--name", "link"))
    assert (code, "link" in line) == (2, True)
    with claim_run(Path("checkpoints"), None, "link") as folder:
        assert folder.name == "link-2"
    with pytest.raises(ConfigError), claim_run(Path("checkpoints"), "link", "book"):
        pass
    assert [path.name for path in Path("elsewhere").iterdir()] == ["config.toml"]


@pytest.mark.parametrize("command", ["info", "list", "sample", "eval", "train"])
def test_names_inside_a_hostile_model_file_lead_nowhere(
    command: str, tiny: Path, make_model: Make
) -> None:
    model = make_model()
    model.summary["corpus"] = {"name": "../../evil", "paths": ["../\x1b[31m\0"], "sha256": "0" * 64}
    model.summary["settings"] = {"name": "../../evil", "val_file": "/dev/zero"}
    tiny.write_bytes(pack_model(model))
    before = everything_but("checkpoints")
    arguments = {
        "list": ("list",),
        "sample": ("sample", "tiny", "--length", "5"),
        "train": ("train", "--resume", "tiny"),
    }.get(command, (command, "tiny"))

    ended = run(*arguments)
    assert ended.is_clear
    assert ended.code == {"eval": 3, "train": 4}.get(command, 0)
    assert everything_but("checkpoints") == before
