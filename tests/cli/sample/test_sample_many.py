"""charrnn sample: many texts, choosing among them, constraints, blends and states."""

from __future__ import annotations

import json
import re
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
from charrnn.config import TextConfig
from charrnn.text.corpus import open_corpus
from charrnn.text.vocab import Vocab

Make = Callable[..., ModelFile]
Capture = pytest.CaptureFixture[str]
BOOK = "aab\nbbé\n\nab a\n" * 9 + "ébbé\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Make) -> RunFolder:
    """Stand in a folder with a run, tiny, that was trained on book.txt; it knows newline, ␣abé."""
    monkeypatch.chdir(tmp_path)
    Path("book.txt").write_text(BOOK, encoding="utf-8")
    corpus = open_corpus(["book.txt"], TextConfig())
    file = make_model()
    about = {"paths": ["book.txt"], "sha256": corpus.sha256}
    folder = RunFolder(Path("checkpoints/tiny"))
    folder.save_best(replace(file, vocab=corpus.vocab, summary=file.summary | {"corpus": about}))
    return folder


@pytest.fixture
def sample(run: RunFolder, capfd: Capture) -> Callable[..., str]:
    """Return a function that runs charrnn sample tiny --seed 1 and returns what it writes."""

    def write(*arguments: str, code: int = 0) -> str:
        named = () if "-m" in arguments else ("tiny",)
        with pytest.raises(SystemExit) as ending:
            main(["sample", *named, "--seed", "1", *arguments])
        out, err = capfd.readouterr()
        assert ending.value.code == code, err
        return out if not code else err

    return write


Sample = Callable[..., str]


def records(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def test_lines_are_written_without_empty_lines_between_them(sample: Sample) -> None:
    texts = ["".join(charrnn.load("tiny").generate(index=i, seed=1, lines=1)) for i in range(20)]

    assert sample("-n", "20", "--lines", "1").split("\n") == [*texts, ""]


def test_longer_texts_have_an_empty_line_between_them(sample: Sample) -> None:
    first = sample("--length", "9")

    assert sample("--length", "9", "-n", "2").startswith(first + "\n")


def test_unique_texts_are_the_first_different_ones(sample: Sample) -> None:
    settings = ("--only", "ab", "--length", "2")
    sampled = [record["text"] for record in records(sample("-n", "99", "--json", *settings))]

    unique = records(sample("-n", "4", "--unique", "--json", *settings))

    assert [record["text"] for record in unique] == list(dict.fromkeys(sampled))[:4]


def test_a_shortage_is_reported(sample: Sample, capfd: Capture) -> None:
    with pytest.raises(SystemExit) as ending:
        main(["sample", "tiny", "-n", "3", "--unique", "--only", "a", "--length", "2"])

    out, err = capfd.readouterr()
    assert (ending.value.code, out) == (0, "aa\n")
    assert err == "charrnn: found only 1 of 3 texts; --unique leaves no more\n"


def test_the_best_of_several_has_the_fewest_bits_per_character(sample: Sample) -> None:
    sampled = records(sample("-n", "12", "--json", "--length", "9"))

    best = records(sample("-n", "3", "--best-of", "4", "--json", "--length", "9"))

    groups = [sampled[start : start + 4] for start in (0, 4, 8)]
    expected = [min(group, key=lambda each: each["bpc"])["text"] for group in groups]
    assert [record["text"] for record in best] == expected
    assert [record["index"] for record in best] == [0, 1, 2]


def test_sorted_texts_are_the_same_with_the_fewest_bits_first(sample: Sample) -> None:
    sampled = records(sample("-n", "9", "--json", "--length", "9"))

    in_order = records(sample("-n", "9", "--json", "--length", "9", "--sort"))

    assert in_order == sorted(sampled, key=lambda each: each["bpc"])
    assert in_order != sampled


def test_logprobs_are_those_of_the_model(sample: Sample) -> None:
    (record,) = records(sample("--json", "--logprobs", "2", "--length", "6", "--temp", "3"))

    named = charrnn.load("tiny").next_chars("\n" + record["text"][:5], 5)
    last = record["logprobs"][5]
    assert last["char"] == record["text"][5]
    assert last["logprob"] == pytest.approx(np.log(dict(named)[last["char"]]), abs=1e-3)
    assert list(last["top"]) == [name for name, _ in named[:2]]
    total = sum(each["logprob"] for each in record["logprobs"])
    assert record["bpc"] == pytest.approx(-total / 6 / np.log(2), abs=1e-3)


def test_a_beam_writes_its_best_texts(sample: Sample) -> None:
    found = charrnn.load("tiny").search(beam=6, length=4, count=3)

    written = records(sample("--beam", "6", "--length", "4", "-n", "3", "--json"))

    assert [record["text"] for record in written] == [each.text for each in found]
    assert [record["bpc"] for record in written] == sorted(record["bpc"] for record in written)


def test_a_beam_ends_where_a_stop_says(sample: Sample) -> None:
    whole = sample("--beam", "4", "--length", "6").rstrip("\n")

    cut = sample("--beam", "4", "--length", "6", "--stop", whole[2:4])

    assert whole[2:4] not in cut


@pytest.mark.parametrize(
    ("option", "pattern"),
    [
        (["--regex", "(ab|é)+ b"], "(ab|é)+ b"),
        (["--template", "aé: {[ab]+}"], "aé: [ab]+"),
        (["--choices", "list.txt"], "é é|bab|a"),
    ],
)
@pytest.mark.parametrize("count", ["1", "30"])
def test_every_text_matches_what_is_asked_for(
    sample: Sample, option: list[str], pattern: str, count: str
) -> None:
    Path("list.txt").write_text("é é\n\nbab\na\n", encoding="utf-8")
    if ":" in pattern:
        option, pattern = [option[0], option[1].replace(":", "")], pattern.replace(":", "")

    written = records(sample("-n", count, "--json", "--length", "20", *option))

    assert len(written) == int(count)
    assert all(re.fullmatch(pattern, record["text"]) for record in written)
    assert {record["stopped_by"] for record in written} == {"match"}


def test_known_lines_of_the_corpus_are_skipped(sample: Sample) -> None:
    book = BOOK.split("\n")
    settings = ("-n", "40", "--regex", "[ab]{3}", "--temp", "2")
    sampled = sample(*settings).split("\n\n")

    new = sample(*settings, "--skip-known-lines").rstrip("\n").split("\n\n")

    assert len(new) == 40
    assert not set(new) & set(book) - {""}
    assert set(sampled) & set(book) - {""}


def test_copies_are_marked_and_summed_up(sample: Sample, capfd: Capture) -> None:
    with pytest.raises(SystemExit):
        main(
            ["sample", "tiny", "--seed", "1", "--mark-copies", "--min-copy", "3", "--length", "60"]
        )
    out, err = capfd.readouterr()

    spans = re.findall("⟦(.*?)⟧", out, re.DOTALL)
    assert spans
    assert all(span in BOOK for span in spans)
    assert err.startswith("copied: ")


def test_json_has_what_is_copied(sample: Sample) -> None:
    (record,) = records(sample("--mark-copies", "--min-copy", "2", "--length", "60", "--json"))

    for start, stop in record["copied"]["spans"]:
        assert record["text"][start:stop] in BOOK


def test_max_copy_limits_runs_shared_with_the_corpus(sample: Sample) -> None:
    learned = BOOK[: round(len(BOOK) * 0.9)]
    free = sample("--length", "200").strip("\n")
    limited = sample("--length", "200", "--max-copy", "3").strip("\n")

    def copies(text: str) -> list[str]:
        return [text[i : i + 4] for i in range(len(text) - 3) if text[i : i + 4] in learned]

    assert copies(free)
    assert not copies(limited)


def test_a_blend_of_a_model_with_itself_writes_what_it_writes(sample: Sample) -> None:
    alone = sample("--length", "30")

    assert sample("-m", "tiny:0.3", "-m", "tiny:2", "--length", "30") == alone
    assert sample("-m", "tiny", "-m", "tiny", "--blend-log", "--length", "30") == alone
    assert sample("--negative-model", "tiny:1.5", "--length", "30") == alone


def test_models_of_other_alphabets_write_what_either_knows(
    sample: Sample, make_model: Make
) -> None:
    other = replace(make_model(vocab_size=3), vocab=Vocab("\nxy"))
    RunFolder(Path("checkpoints/other")).save_best(other)

    text = sample("-m", "tiny", "-m", "other", "--length", "200")

    assert {"a", "x"} < set(text) <= set("\n abéxy")


def test_a_saved_state_is_continued(sample: Sample) -> None:
    sample("--prompt", "ab é", "--length", "0", "--save-state", "here")

    continued = sample("--load-state", "here", "--prompt", "b", "--length", "9")

    assert continued == sample("--prompt", "ab éb", "--length", "9").removeprefix("ab é")


def test_a_state_after_a_text_without_a_prompt_has_its_opening(sample: Sample) -> None:
    text = sample("--length", "5", "--save-state", "here").removesuffix("\n")

    continued = sample("--load-state", "here", "--length", "9")

    assert continued == sample("--prompt", "\n" + text, "--length", "9").removeprefix("\n" + text)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--logprobs", "2"], "give --json with it"),
        (["--save-state", "x", "-n", "2"], "leave -n out"),
        (["--beam", "2", "-n", "3"], "make --beam larger"),
        (["--beam", "2", "--best-of", "3"], "leave --best-of"),
        (["--beam", "2", "--regex", "a+"], "regex goes with sampling"),
        (["--max-copy", "3", "--regex", "a+"], "max_copy and regex together"),
        (["--choices", "nowhere"], "cannot read the list nowhere"),
        (["--choices", "empty"], "has no line"),
        (["--blend-log"], "name two or more by -m"),
        (["-m", "tiny", "-m", "tiny", "--mark-copies"], "with one model"),
        (["--documents", "1"], "without --document-end"),
        (["--regex", "z+"], "'z'"),
    ],
)
def test_options_that_clash_are_refused(sample: Sample, arguments: list[str], words: str) -> None:
    Path("empty").write_text("\n\n", encoding="utf-8")

    assert words in sample(*arguments, code=2)
    assert not Path("x").exists()
