"""Counts with their nouns, and the name that was probably meant, wherever one is mistyped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.corpora.library import LIBRARY, locate_texts
from charrnn.errors import CorpusError
from charrnn.text.vocab import Vocab
from charrnn.wording import nearest
from tests.cli.program import Text, complaint, end_of


@pytest.mark.parametrize(
    ("typed", "names", "meant"),
    [
        ("tiny-shakespear", LIBRARY, "tiny-shakespeare"),
        ("shakespeare", LIBRARY, "tiny-shakespeare"),
        ("NAMES", LIBRARY, "names"),
        ("gpu", ("auto", "cpu", "cuda", "mps"), "cuda"),
        ("CUDA", ("cpu", "cuda"), "cuda"),
        ("gpu", ("cpu",), None),  # cpu is near by its letters alone
        ("xyz", LIBRARY, None),
        ("score", ("corpus",), None),
    ],
)
def test_a_mistyped_name_is_told_from_another_word(
    typed: str, names: tuple[str, ...], meant: str | None
) -> None:
    assert nearest(typed, names) == meant


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["train", "tiny-shakespear"], 3, "; did you mean tiny-shakespeare, a name of charrnn"),
        (["eval", "tiny", "--file", "tiny-shakespear"], 3, "; did you mean tiny-shakespeare, "),
        (["sample", "--device", "gpu"], 2, "Did you mean 'cuda'?"),
        (["train", "x.txt", "--device", "gpu"], 2, "Did you mean 'cuda'?"),
        (["train", "x.txt", "--cell", "LSTM"], 2, "Did you mean 'lstm'?"),
        (["eval", "tiny", "--split", "tain"], 2, "Did you mean 'train'?"),
        (["completion", "bsh"], 2, "Did you mean 'bash'?"),
        (["sampel"], 2, "No such command 'sampel'. Did you mean 'sample'?"),
        (["sample", "TINI"], 4, "did you mean 'tiny'?"),
        (["sample", "--preset", "Carefull"], 2, "Did you mean 'careful'?"),
    ],
)
def test_what_was_probably_meant_is_named(
    arguments: list[str],
    code: int,
    words: str,
    capsys: Text,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., ModelFile],
) -> None:
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("checkpoints/tiny")).save_best(make_model())

    ended, line = complaint(capsys, *arguments)

    assert ended == code
    assert words in line


@pytest.mark.parametrize("name", ["name.txt", "corpora/name", "name*", "-", "book"])
def test_a_file_s_name_is_not_taken_for_a_mistyped_library_name(name: str) -> None:
    assert locate_texts([name]) == [name]


def test_a_file_called_almost_as_a_library_text_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text9").write_text("mine")

    assert locate_texts(["text9"]) == ["text9"]
    with pytest.raises(CorpusError, match=r"'text7' .*did you mean text8"):
        locate_texts(["text7"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["score", "tiny", "--text", "a"], "has 1 character; at least"),
        (["eval", "tiny", "--text", "a"], "leaves 1 character to score"),
        (["eval", "tiny", "--text", "ab"], "over 1 character, all of text given"),
        (["fill", "tiny", "ab_", "--only", "a"], "shares are of 1 completion found"),
        (["sample", "--beam", "1", "-n", "2"], "finds at most 1 text, not 2"),
        (["sample", "--max-copy", "1", "--print-sampler"], "no run of more than 1 character of"),
        (["sample", "--regex", "a", "--length", "0"], "needs at least 1 character, as in"),
    ],
)
def test_one_is_singular(
    arguments: list[str],
    words: str,
    capsys: Text,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_model: Callable[..., ModelFile],
) -> None:
    monkeypatch.chdir(tmp_path)
    model = replace(make_model(vocab_size=6), vocab=Vocab("\n ()ab"))
    RunFolder(Path("checkpoints/tiny")).save_best(model)

    end_of(*arguments)

    assert words in "".join(capsys.readouterr())
