"""charrnn sample: where the prompt comes from, and what reaches a pipe, a terminal or a reader."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import main
from charrnn.cli.sample.output import write_pieces
from charrnn.text.vocab import Vocab

Make = Callable[..., ModelFile]
Bytes = pytest.CaptureFixture[bytes]
PROGRAM = [sys.executable, "-W", "error", "-m", "charrnn"]
WITHOUT_TORCH = """
import sys
from charrnn.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as error:
    sys.exit(error.code or ("torch" in sys.modules and "torch was imported"))
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Make) -> RunFolder:
    """Stand in a folder with one run, named tiny, whose alphabet is newline, space, a, b, é."""
    monkeypatch.chdir(tmp_path)
    folder = RunFolder(Path("checkpoints/tiny"))
    folder.save_best(make_model())
    return folder


@pytest.fixture
def escaping_run(run: RunFolder, make_model: Make) -> RunFolder:
    """Let the run's model write nothing but ESC."""
    model = replace(make_model(vocab_size=3), vocab=Vocab("\n\x1ba"))
    model.weights["output.weight"][:] = 0
    model.weights["output.bias"][:] = np.array([0, 99, 0], np.float32)
    run.save_best(model)
    return run


def end_of(*arguments: str) -> int | str | None:
    """Run the program in this process; return its exit code."""
    with pytest.raises(SystemExit) as ending:
        main(arguments)
    return ending.value.code


def written(capsysbinary: Bytes, *arguments: str) -> str:
    """Return what `charrnn sample` writes, once it ended well."""
    assert end_of("sample", *arguments) == 0
    return capsysbinary.readouterr().out.decode()


def complaint(capsysbinary: Bytes, *arguments: str) -> tuple[int | str | None, str]:
    """Return the exit code and the one line of a command that fails."""
    code = end_of(*arguments)
    out, err = capsysbinary.readouterr()
    assert out == b""
    assert err.count(b"\n") == 1
    assert err.startswith(b"charrnn: ")
    return code, err.decode()


def give_input(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


# ── what is written ──


def test_the_text_is_what_the_library_writes(run: RunFolder, capsysbinary: Bytes) -> None:
    expected = "".join(charrnn.load("tiny").generate("ab", length=40, seed=3, temperature=1.5))

    text = written(capsysbinary, "--prompt", "ab", "--length", "40", "--seed", "3", "--temp", "1.5")

    assert text.removesuffix("\n") == ("ab" + expected).removesuffix("\n")


@pytest.mark.parametrize("name", ["tiny", "checkpoints/tiny", "checkpoints/tiny/best.safetensors"])
def test_a_model_has_three_names_and_the_newest_needs_none(
    run: RunFolder, capsysbinary: Bytes, name: str
) -> None:
    assert written(capsysbinary, name, "--seed", "1") == written(capsysbinary, "--seed", "1")


def test_greedy_writes_the_same_text_without_a_seed(run: RunFolder, capsysbinary: Bytes) -> None:
    texts = {written(capsysbinary, "--temp", "0", "--length", "30") for _ in range(3)}

    assert len(texts) == 1


def test_settings_can_be_environment_variables(
    run: RunFolder, capsysbinary: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_flag = written(capsysbinary, "--temp", "0", "--length", "12")
    monkeypatch.setenv("CHARRNN_TEMPERATURE", "0")
    monkeypatch.setenv("CHARRNN_LENGTH", "12")

    assert written(capsysbinary) == by_flag


def test_no_prompt_leaves_out_the_prompt_alone(run: RunFolder, capsysbinary: Bytes) -> None:
    whole = written(capsysbinary, "--prompt", "ab\n", "--seed", "1")

    assert "ab\n" + written(capsysbinary, "--prompt", "ab\n", "--seed", "1", "--no-prompt") == whole


def test_an_empty_line_is_between_samples(run: RunFolder, capsysbinary: Bytes) -> None:
    settings: dict[str, Any] = {"length": 20, "seed": 4, "temperature": 0.8}
    model = charrnn.load("tiny")
    texts = ["".join(model.generate("a", index=i, **settings)) for i in range(3)]

    text = written(
        capsysbinary, "-n", "3", "--prompt", "a", "--length", "20", "--seed", "4", "--temp", "0.8"
    )

    assert text == "\n".join(f"a{each.removesuffix(chr(10))}\n" for each in texts)


@pytest.mark.parametrize("prompt", ["a", "a\n", ""])
def test_a_sample_of_no_length_is_its_prompt_and_one_newline(
    run: RunFolder, capsysbinary: Bytes, prompt: str
) -> None:
    text = written(capsysbinary, "--prompt", prompt, "--length", "0")

    assert text == prompt.removesuffix("\n") + "\n"


def test_a_stop_text_is_not_written(run: RunFolder, capsysbinary: Bytes) -> None:
    settings = ["--seed", "1", "--length", "60", "--no-prompt"]
    whole = written(capsysbinary, *settings)
    stop = whole[20:23]

    text = written(capsysbinary, *settings, "--stop", stop)

    assert text.removesuffix("\n") == whole[: whole.find(stop)].removesuffix("\n")


def test_json_gives_one_object_a_sample(run: RunFolder, capsysbinary: Bytes) -> None:
    settings: dict[str, Any] = {"length": 20, "seed": 4, "temperature": 0.5}
    text = "".join(charrnn.load("tiny").generate("é", index=1, **settings))

    lines = written(
        capsysbinary,
        *("--json", "-n", "3", "--prompt", "é"),
        *("--length", "20", "--seed", "4", "--temp", "0.5"),
    ).splitlines()

    records = [json.loads(line) for line in lines]
    assert [record["index"] for record in records] == [0, 1, 2]
    assert records[1] == {
        "index": 1,
        "prompt": "é",
        "text": text,
        "stopped_by": "length",
        "bpc": pytest.approx(charrnn.load("tiny").score("é" + text).bits[1:].mean(), abs=1e-4),
        "temperature": 0.5,
        "seed": 4,
    }


def test_json_leaves_out_the_prompt_where_it_is_not_wanted(
    run: RunFolder, capsysbinary: Bytes
) -> None:
    whole = json.loads(written(capsysbinary, "--json", "--prompt", "a", "--seed", "1"))
    record = json.loads(
        written(capsysbinary, "--json", "--prompt", "a", "--seed", "1", "--no-prompt")
    )

    assert whole.pop("prompt") == "a"
    assert record == whole


def test_json_names_the_seed_that_writes_the_same_text_again(
    run: RunFolder, capsysbinary: Bytes
) -> None:
    record = json.loads(written(capsysbinary, "--json"))

    again = json.loads(written(capsysbinary, "--json", "--seed", str(record["seed"])))

    assert again == record


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (["--lines", "2"], "lines"),
        (["--stop", "a"], "stop"),
        (["--stop-regex", "[ab] ?[ab]"], "stop-regex"),
        (["--seconds", "0.000000001"], "seconds"),
    ],
)
def test_json_says_what_stopped_a_sample(
    run: RunFolder, capsysbinary: Bytes, settings: list[str], reason: str
) -> None:
    line = written(capsysbinary, "--json", "--seed", "1", "--length", "100000", *settings)

    record = json.loads(line)
    assert record["stopped_by"] == reason
    assert len(record["text"]) < 2000


def test_bans_and_penalties_reach_the_text(run: RunFolder, capsysbinary: Bytes) -> None:
    text = written(capsysbinary, "--only", "letters", "--ban", "é", "--temp", "3", "--seed", "1")

    assert set(text.removesuffix("\n")) == {"a", "b"}
    assert text != written(
        capsysbinary,
        *("--only", "letters", "--ban", "é", "--temp", "3", "--seed", "1"),
        *("--frequency-penalty", "2"),
    )


def test_a_ban_that_leaves_nothing_ends_with_2(run: RunFolder, capsysbinary: Bytes) -> None:
    code, line = complaint(capsysbinary, "sample", "--only", "digits")

    assert code == 2
    assert "only 'digits' leaves no character of this model, which has '\\n abé'" in line


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ([], ["temperature 0.8", "sample"]),
        (["--preset", "plain"], ["sample"]),
        (["--preset", "plain", "--temp", "0.8"], ["temperature 0.8", "sample"]),
        (
            ["--preset", "careful", "--top-p", "1", "--ban", "\x1b"],
            [
                "DRY penalty 0.5 from 12 characters (penalties count the last 256 characters)",
                "ban '\\x1b'",
                "temperature 0.5",
                "sample",
            ],
        ),
        (["--temp", "0", "--top-k", "5"], ["the likeliest (temperature 0)"]),
    ],
)
def test_the_steps_of_the_sampler_are_printed_without_a_model(
    capsysbinary: Bytes, arguments: list[str], steps: list[str]
) -> None:
    assert written(capsysbinary, "--print-sampler", *arguments).splitlines() == steps


def test_the_environment_overrides_a_preset(
    capsysbinary: Bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHARRNN_TEMPERATURE", "0.8")

    steps = written(capsysbinary, "--print-sampler", "--preset", "plain").splitlines()

    assert steps == ["temperature 0.8", "sample"]


# ── where the prompt comes from ──


def test_the_prompt_may_come_from_a_file(run: RunFolder, capsysbinary: Bytes) -> None:
    Path("draft.txt").write_bytes(b"\xef\xbb\xbfab\r\nb\xc3\xa9")

    text = written(capsysbinary, "--prompt-file", "draft.txt", "--seed", "1")

    assert text.startswith("ab\nbé")
    assert text == written(capsysbinary, "--prompt", "ab\nbé", "--seed", "1")


@pytest.mark.parametrize("arguments", [["--prompt", "-"], ["--prompt-file", "-"]])
def test_a_dash_reads_the_prompt_from_stdin(
    run: RunFolder, capsysbinary: Bytes, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    give_input(monkeypatch, "é b".encode())

    assert written(capsysbinary, *arguments, "--length", "0") == "é b\n"


def test_two_prompts_are_refused(run: RunFolder, capsysbinary: Bytes) -> None:
    code, line = complaint(capsysbinary, "sample", "--prompt", "a", "--prompt-file", "a.txt")

    assert code == 2
    assert "--prompt and --prompt-file both give a prompt" in line


def test_a_prompt_file_that_is_not_there_is_named(run: RunFolder, capsysbinary: Bytes) -> None:
    code, line = complaint(capsysbinary, "sample", "--prompt-file", "nowhere.txt")

    assert code == 2
    assert "cannot read the prompt nowhere.txt: No such file" in line


def test_a_prompt_file_that_is_not_utf_8_is_refused(run: RunFolder, capsysbinary: Bytes) -> None:
    Path("latin.txt").write_bytes(b"ab\xe9")

    code, line = complaint(capsysbinary, "sample", "--prompt-file", "latin.txt")

    assert code == 2
    assert "latin.txt is not UTF-8 (byte 2)" in line


def test_an_unknown_character_of_the_prompt_ends_with_3(
    run: RunFolder, capsysbinary: Bytes
) -> None:
    code, line = complaint(capsysbinary, "sample", "--prompt", "aß")

    assert code == 3
    assert "'ß' (U+00DF" in line


# ── what is refused ──


@pytest.mark.parametrize(
    "arguments",
    [["--preset", "mad"], ["--temp", "-1"], ["--top-p", "0"], ["--length", "many"], ["-n", "0"]],
)
def test_a_setting_out_of_range_ends_with_2(
    run: RunFolder, capsysbinary: Bytes, arguments: list[str]
) -> None:
    code, line = complaint(capsysbinary, "sample", *arguments)

    assert code == 2
    assert "see charrnn sample --help" in line


def test_a_mistyped_run_is_answered_with_the_one_that_was_meant(
    run: RunFolder, capsysbinary: Bytes
) -> None:
    code, line = complaint(capsysbinary, "sample", "tinny")

    assert code == 4
    assert "did you mean 'tiny'?" in line


def test_without_any_run_the_way_to_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: Bytes
) -> None:
    monkeypatch.chdir(tmp_path)

    code, line = complaint(capsysbinary, "sample")

    assert code == 4
    assert "charrnn train corpus.txt" in line


# ── pipes and terminals ──


def test_off_a_terminal_the_text_is_written_as_it_is(
    escaping_run: RunFolder, capsysbinary: Bytes
) -> None:
    assert written(capsysbinary, "--length", "5") == "\x1b" * 5 + "\n"


def on_a_terminal(*arguments: str) -> bytes:
    """Run `charrnn sample` with a pseudo-terminal as stdout; return what the terminal gets."""
    pytest.importorskip("termios", reason="pseudo-terminals are POSIX's")
    leader, follower = os.openpty()
    with subprocess.Popen(
        [*PROGRAM, "sample", *arguments], stdin=subprocess.DEVNULL, stdout=follower
    ) as process:
        os.close(follower)
        received = b""
        while chunk := _read_from(leader):
            received += chunk
        os.close(leader)
        assert process.wait(timeout=60) == 0
    return received


def _read_from(descriptor: int) -> bytes:
    """Return what there is; nothing once the other side is closed (EIO on Linux)."""
    try:
        return os.read(descriptor, 4096)
    except OSError:
        return b""


@pytest.mark.parametrize(
    ("raw", "shown"), [(False, "one two \nthree 一二\n三\n"), (True, "one two three 一二三\n")]
)
def test_on_a_terminal_lines_are_broken_between_words(
    monkeypatch: pytest.MonkeyPatch, raw: bool, shown: str
) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(screen, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "10")

    assert write_pieces("one two ", ["thr", "ee ", "一二三"], raw=raw) == "three 一二三"
    assert screen.buffer.getvalue().decode() == shown  # type: ignore[attr-defined]


def test_on_a_terminal_control_characters_become_visible(escaping_run: RunFolder) -> None:
    assert on_a_terminal("--length", "5") == "\u241b".encode() * 5 + b"\r\n"


def test_on_a_terminal_raw_writes_them_as_they_are(escaping_run: RunFolder) -> None:
    assert on_a_terminal("--length", "5", "--raw") == b"\x1b" * 5 + b"\r\n"


def test_a_pipe_that_is_closed_ends_the_program_quietly(run: RunFolder) -> None:
    with subprocess.Popen(
        [*PROGRAM, "sample", "--length", "1000000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(10)) == 10
        process.stdout.close()

        assert process.stderr.read() == b""
        assert process.wait(timeout=60) in (0, 141)


def test_text_is_utf_8_whatever_the_locale(run: RunFolder, make_model: Make) -> None:
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}

    process = subprocess.run(
        [*PROGRAM, "sample", "--prompt-file", "-", "--length", "0", "-q"],
        input="é b".encode(),
        capture_output=True,
        env=environment,
        timeout=60,
    )

    assert (process.stdout, process.stderr) == ("é b\n".encode(), b"")


@pytest.mark.parametrize(
    "arguments",
    [
        ["sample", "--length", "5", "--seed", "1"],
        ["--help"],
        ["train", "--help"],
        ["info"],
        ["list"],
        ["completion", "bash"],
        ["train", "--print-config"],
    ],
    ids=" ".join,
)
def test_reading_commands_never_import_torch(run: RunFolder, arguments: list[str]) -> None:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (process.returncode, process.stderr) == (0, "")


def test_help_is_short_and_help_all_is_whole(capsysbinary: Bytes) -> None:
    short = written(capsysbinary, "--help").partition("Options:")[2]
    whole = written(capsysbinary, "--help-all")

    assert short.index("--prompt ") < short.index("--temp,") < short.index("--length ")
    assert sum(line.startswith("  -") for line in short.splitlines()) <= 14
    assert "mirostat" not in short
    assert "--mirostat " in whole
    assert "A JSON object has" in whole
