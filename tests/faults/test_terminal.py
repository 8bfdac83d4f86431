"""A terminal that nothing can hijack: what came from elsewhere is seen there, never obeyed."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.bench.speeds import MachineSpeed
from charrnn.checkpoint.model_file import ModelFile, pack_model
from charrnn.checkpoint.run_folder import DamagedState, RunFolder
from charrnn.cli import console
from charrnn.cli.bench import SpeedDisplay
from charrnn.cli.corpus import show_corpus_summary
from charrnn.cli.eval import show_eval_result
from charrnn.cli.info import show_model, show_runs
from charrnn.cli.train.display import make_display
from charrnn.config import TextConfig
from charrnn.tasks.corpus_stats import summarise_corpus
from charrnn.tasks.evaluate import EvalResult, Metrics, ModelScores
from charrnn.tasks.finetune import InitialModel
from charrnn.tasks.recorder import RunFinished, Written
from charrnn.tasks.train import Opened, Reading, RunReport, start_run
from charrnn.text.vocab import Vocab
from tests.faults.hostile import HARMFUL, as_name, as_utf8, in_chunks, make_strings
from tests.faults.program import end_of, on_terminal, run

Times = Callable[[int, int], int]
Figure = Callable[[str], None]
Make = Callable[..., ModelFile]
MARKUP = "[red]a[/red] [link=http://example.org]b[/link] [bold"
OWN = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")  # what rich writes for a panel, a style or a bar


@pytest.fixture
def strings(times: Times) -> list[str]:
    """Return hostile strings: 2,000, or 100,000 in a whole run."""
    return make_strings(times(2_000, 100_000))


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is cut here


def make_run(model: ModelFile, name: str = "tiny") -> Path:
    """Put a model file into a run of that name."""
    path = Path("checkpoints") / name / "best.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(pack_model(model))
    return path


def assert_harmless(screen: str, benign: str = "") -> None:
    """Check that a terminal got no control but those of a run on benign text."""
    own = set(OWN.findall(benign))
    rest = OWN.sub(lambda match: "" if match[0] in own else match[0], screen)
    found = HARMFUL & set(rest)
    assert not found, sorted(map(repr, found))


def commands_with(text: str) -> Iterator[tuple[str, ...]]:
    """Return command lines that are refused, each with a text that its message may quote."""
    name = as_name(text)
    yield from [(word, name) for word in ("info", "sample", "eval", "train", "score", "completion")]
    yield from [("corpus", word, name) for word in ("get", "build", "stats")]
    yield from [(name,), ("corpus", name), ("info", f"--{name}"), ("info", "a", name)]
    options = {
        "info": ["--checkpoints"],
        "sample": ["--temp", "--prompt-file", "--length", "--checkpoints", "--preset", "--bias"],
        "compress": ["--out", "--checkpoints"],
        "train": ["--cell", "--config", "--resume", "--budget", "--device"],
        "bench": ["--cells", "--hidden-sizes", "--batch-size"],
    }
    yield from [(command, option, name) for command in options for option in options[command]]
    yield from [("train", "book.txt", way, name) for way in ("--encoding", "--val-file")]
    yield ("train", "book.txt", "--name", f"{name}/")
    yield ("eval", "tiny", "--file", name)
    yield ("sample", "tiny", "--prompt", name)
    yield ("sample", "tiny", "--stop", "")


def test_no_error_commands_the_terminal(
    strings: list[str], make_model: Make, figure: Figure
) -> None:
    make_run(make_model())
    Path("book.txt").write_text("words " * 100)
    chunks = [strings[0] + "\0", *strings[:3], *in_chunks(strings, 1000)]
    codes: list[int] = []

    def complain() -> None:
        codes.extend(end_of(*line) for chunk in chunks for line in commands_with(chunk))

    screen = on_terminal(complain, term="dumb")  # which no panel is drawn on
    assert_harmless(screen)
    lines = screen.splitlines()
    assert len(lines) == len(codes)
    assert all(line.startswith("charrnn: ") for line in lines)
    assert set(codes) <= {2, 3, 4}
    figure(f"{len(strings):,} strings in {len(codes):,} refused command lines")


def test_markup_in_an_error_comes_out_as_it_is() -> None:
    screen = on_terminal(lambda: end_of("info", MARKUP, "--checkpoints", "[dim]"))

    assert MARKUP in screen
    assert "[dim]" in screen


def test_neither_prompt_nor_sample_commands_the_terminal(
    strings: list[str], make_model: Make, figure: Figure
) -> None:
    alphabet = "".join(sorted({*HARMFUL, *"\n\t aé"}))
    model = make_model(vocab_size=len(alphabet) + 256, hidden_size=2, num_layers=1)
    make_run(replace(model, vocab=Vocab(alphabet, has_bytes=True)))
    prompt = as_utf8("".join(strings))
    Path("prompt").write_bytes(prompt.encode())
    length = len(strings)

    screen = on_terminal(
        lambda: end_of("sample", "--prompt-file", "prompt", "--length", str(length), "--seed", "1")
    )
    assert_harmless(screen)
    assert len(screen) >= len(prompt) + length
    assert all(sign in screen for sign in ("␛", "<9B>", "<202E>", "␀", "␡"))
    figure(f"a prompt of {len(prompt):,} characters and {length:,} that the model wrote")


def test_a_terminal_of_another_encoding_gets_no_utf8(make_model: Make) -> None:
    make_run(replace(make_model(), vocab=Vocab("\n aśə")))

    def sample() -> None:
        sys.stdout.reconfigure(encoding="latin-1")  # type: ignore[union-attr]
        end_of("sample", "--prompt", "aś a", "--length", "5")

    assert on_terminal(sample).startswith("a? a")  # the bytes of ś are Å and CSI there


def hostile_summary(strings: list[str]) -> dict[str, Any]:
    """Return a model's summary with every string as a key, a value, and within a value."""
    rows = {f"{index}{text}": text for index, text in enumerate(strings)}
    return rows | {
        "step": 1,
        "val_bpc": 1.0,
        "created": strings[1],
        "corpus": {"name": "".join(strings[:99]), strings[5]: strings[7]},
        "settings": {strings[9]: strings[11:20], strings[13]: {strings[15]: strings[17]}},
    }


def test_no_model_file_commands_the_terminal(
    strings: list[str], make_model: Make, figure: Figure
) -> None:
    texts = [as_utf8(text) for text in strings]
    alphabet = "".join(sorted(HARMFUL))
    model = replace(make_model(vocab_size=len(alphabet)), vocab=Vocab(alphabet))
    make_run(replace(model, summary=hostile_summary(in_chunks(texts, 100))))
    benign = on_terminal(lambda: show_model("a", {"alphabet": "a", "b": "c"}))
    assert_harmless(on_terminal(lambda: end_of("info")), benign)
    screen = on_terminal(lambda: end_of("info", "--all"))

    assert_harmless(screen, benign)
    assert_harmless(on_terminal(lambda: end_of("info", "--all"), term="dumb"))
    assert "<9B>" in screen
    assert "[link=http://example.org]" in screen
    figure(f"{len(texts):,} strings in one model file's summary")


def test_no_run_in_a_list_commands_the_terminal(strings: list[str], make_model: Make) -> None:
    for index, chunk in enumerate(in_chunks(strings[:200], 10)):
        path = make_run(make_model(), f"{index}{as_name(chunk)}"[:50])
        if index % 3 == 0:
            path.write_bytes(b"no model")
    names = in_chunks(strings, 50)
    row = {"corpus": "a", "model": "a", "val_bpc": 1.0, "last_step": 1, "total_steps": 2}
    row |= {"is_finished": False, "elapsed_seconds": 1.0, "saved": "a", "created": "a"}
    row |= {"disk_bytes": 1}
    rows = [row | {"name": name, "corpus": name, "saved": name} for name in names]
    wrong = [{"name": name, "error": name} for name in names]
    benign = on_terminal(lambda: show_runs([{**row, "name": "a"}, {"name": "a", "error": "a"}]))

    assert_harmless(on_terminal(lambda: end_of("list")), benign)
    assert_harmless(on_terminal(lambda: end_of("list"), term="dumb"))
    assert_harmless(on_terminal(lambda: end_of("list", "--json")))
    screen = on_terminal(lambda: show_runs(rows + wrong))
    assert_harmless(screen, benign)
    assert screen.count("[link=http://example.org]") > 1
    assert_harmless(on_terminal(lambda: end_of("list", "--checkpoints", as_name(names[0])[:50])))


def test_no_text_that_is_measured_commands_the_terminal(strings: list[str]) -> None:
    Path("hostile.txt").write_bytes(as_utf8("".join(strings)).encode())
    survey = summarise_corpus(["hostile.txt"], TextConfig())
    screen = on_terminal(lambda: show_corpus_summary(survey, 100_000), term="dumb")

    assert_harmless(screen)
    assert screen.count("\n") > len(survey.stats.alphabet) > 100
    for char in HARMFUL - {"\r"}:
        assert f"U+{ord(char):04X}" in screen
    assert_harmless(on_terminal(lambda: end_of("corpus", "stats", "hostile.txt"), term="dumb"))


def test_no_score_commands_the_terminal(strings: list[str]) -> None:
    names = in_chunks(strings, 50)
    models = [ModelScores(name, Metrics(1, 1, 1, 1, 1), Metrics(1, 1, 1, 1, 1)) for name in names]
    result = EvalResult([*names, MARKUP], "all", 5, models, None)
    screen = on_terminal(lambda: show_eval_result(result), term="dumb")

    assert_harmless(screen)
    assert MARKUP in screen


def test_no_processor_and_no_download_commands_the_terminal(strings: list[str]) -> None:
    text = "".join(strings)
    machine = MachineSpeed("cpu", "cpu", 1, "2.6", 100, {"fp32": 1.0}, 1.0)

    def show(text: str) -> None:
        with console.progress_bar(text, is_bytes=True) as show_progress:
            show_progress(1, 2)
        SpeedDisplay(as_json=False).show(replace(machine, processor=text))

    assert_harmless(on_terminal(lambda: show(text)), on_terminal(lambda: show("a")))


def bearing(report: RunReport, text: str) -> RunReport:
    """Return a report in which everything that has a name bears `text`."""
    run_folder = RunFolder(Path("checkpoints", as_name(text)))
    if isinstance(report, Reading):
        return replace(report, corpus_paths=[text, text])
    if isinstance(report, Opened):
        news = {
            "damaged": (DamagedState(run_folder.best, 2, text),),
            "is_found": True,
            "resumed_step": 1,
        }
        initial = InitialModel(text, 1, None, text, has_new_bytes=True)
        corpus = replace(report.corpus, name=text)
        return replace(report, run=run_folder, corpus=corpus, initial_model=initial, **news)
    if isinstance(report, Written):
        line_length = max(1, len(text) // 7)
        return replace(report, text="\n".join(in_chunks(list(text), line_length)))
    if isinstance(report, RunFinished):  # whose folder is looked into: a name has 255 bytes
        return replace(report, run=RunFolder(Path("checkpoints", as_name(text)[:60])))
    return report


@pytest.mark.parametrize("term", ["xterm-256color", "dumb"], ids=["panel", "plain lines"])
def test_no_run_commands_the_terminal(strings: list[str], term: str, figure: Figure) -> None:
    Path("book.txt").write_text("plain words to learn from, again and again\n" * 60)
    sizes = {"steps": 2, "threads": 1, "hidden_size": 8, "batch_size": 2, "seq_len": 8}
    reports = {type(report): report for report in start_run(["book.txt"], sizes)}

    def show(texts: list[str]) -> None:
        for text in texts:
            display = make_display(quiet=False, as_json=False)
            for report in reports.values():
                display.show(bearing(report, text))
            display.close()

    texts = [MARKUP + chunk for chunk in in_chunks(strings, 3000)]
    screen = on_terminal(lambda: show(texts), term=term)
    assert_harmless(screen, on_terminal(lambda: show(["benign\n" * 9]), term=term))
    assert MARKUP in screen
    assert "<9B>" in screen
    figure(f"{len(strings):,} strings, each as a name, a text and a sample")


def test_training_on_a_hostile_text_of_a_hostile_name_leaves_the_terminal_alone(
    strings: list[str],
) -> None:
    name = "\x1b[31m\x9b31m\u202e[red].txt"
    for path in (name, "plain.txt"):
        text = as_utf8("".join(strings[:300])) if path == name else "plain words " * 200
        Path(path).write_bytes(text.encode())
    sizes = ("--steps", "2", "--threads", "1", "--hidden-size", "8", "--batch-size", "2")

    def train(path: str) -> str:
        return on_terminal(lambda: end_of("train", path, *sizes, "--seq-len", "8"))

    screen = train(name)
    assert_harmless(screen, train("plain.txt"))
    assert "␛[31m<9B>31m<202E>[red]" in screen


def test_settings_and_help_quote_no_command(strings: list[str]) -> None:
    text = as_utf8("".join(strings[:500]))
    hidden = "\\u001b]0;title\\u0007\\u009b31m\\u202e"
    Path("evil.toml").write_text(f'encoding = "{hidden}"\nname = "{hidden}"\n', "utf-8")

    screen = on_terminal(lambda: end_of("train", "--config", "evil.toml", "--help"))
    assert_harmless(screen)
    assert "␛]0;title" in screen
    settings = on_terminal(lambda: end_of("train", as_name(text), "--print-config"))
    assert_harmless(settings)
    assert settings.startswith("corpus = ")


def test_the_place_of_a_text_commands_no_terminal_and_is_exact_in_a_pipe() -> None:
    folder = os.fsdecode(b"\x1b[31m\xff[red]")
    arguments = ("corpus", "build", "unicode-names", "--dir", folder)
    screen = on_terminal(lambda: end_of(*arguments))

    assert_harmless(screen)
    assert "␛[31m" in screen
    assert run(*arguments).out == os.fsencode(folder) + b"/unicode-names.txt\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_offers_no_name_that_a_shell_would_obey(
    shell: str, strings: list[str], make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = "" if shell == "fish" else "2"
    hostile = ["$(reboot)", "`reboot`", "a;reboot", "a b", "a\nb", "~root", "*", "!!", "plain'"]
    for index, name in enumerate([*hostile, *in_chunks(strings[:100], 10), "книга-2"]):
        make_run(make_model(), f"{'' if name in (*hostile, 'книга-2') else index}{as_name(name)}")
    for variable, value in (("COMP_WORDS", "charrnn info "), ("COMP_CWORD", word)):
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("_CHARRNN_COMPLETE", f"{shell}_complete")

    offered = run().out.decode()
    assert_harmless(offered)
    assert "книга-2" in offered
    assert not [name for name in hostile if name in offered]
