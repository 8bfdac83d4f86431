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
from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import main
from charrnn.config import TextConfig
from charrnn.data.corpus import open_corpus
from charrnn.generation.batch import Batch
from charrnn.text.vocab import Vocab
from tests.cli.program import give_input

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
    texts = ["".join(charrnn.load("tiny").generate(index=i, seed=1, lines=1)) for i in range(60)]
    written = [text for text in texts if text.strip()]  # a blank line is no text

    assert sample("-n", "20", "--lines", "1").split("\n") == [*written[:20], ""]
    assert len(written) < len(texts)


@pytest.mark.parametrize("options", [(), ("--json",), ("-n", "2"), ("--best-of", "3")])
def test_a_blank_line_is_no_text_however_it_is_written(
    sample: Sample, options: tuple[str, ...]
) -> None:
    """The model likes newlines so much that the first samples are blank."""
    texts = sample("--lines", "1", "--bias", "\n=4", *options, "--seed", "7")

    assert texts.strip()
    assert all(line.strip() for line in texts.splitlines())
    if "--json" in options:
        (record,) = records(texts)
        assert record["index"] > 0
        assert record["text"] + "\n" == sample("--lines", "1", "--bias", "\n=4", "--seed", "7")


def test_a_line_that_the_prompt_began_is_not_blank(sample: Sample) -> None:
    assert sample("--prompt", "ab", "--lines", "1", "--bias", "\n=99") == "ab\n"


@pytest.mark.parametrize("end", [("--lines", "1"), ("--stop", "\n")])
def test_no_unique_text_is_blank(sample: Sample, end: tuple[str, ...]) -> None:
    found = records(sample("-n", "6", "--unique", "--bias", "\n=3", "--json", *end))

    assert len(found) == 6
    assert all(record["text"].strip() for record in found)


def test_nothing_but_blank_lines_comes_to_an_end(sample: Sample) -> None:
    assert sample("--lines", "1", "--only", "\n", "-n", "3") == ""


# ── many prompts ──


def alone(sample: Sample, prompt: str, *settings: str) -> list[str]:
    """Return the two texts of a prompt that is asked for alone."""
    found = records(sample("--prompt", prompt, "-n", "2", "--json", "--length", "9", *settings))
    return [record["text"] for record in found]


@pytest.mark.parametrize("settings", [(), ("--dry-penalty", "1"), ("--unique",), ("--sort",)])
def test_each_prompt_of_a_file_has_texts_of_its_own_and_the_first_those_that_it_has_alone(
    sample: Sample, settings: tuple[str, ...]
) -> None:
    Path("prompts.txt").write_text("ab\n\né\n  \nbab b\nab\n")
    prompts = ["ab", "é", "bab b", "ab"]

    given = ("--json", "--length", "9", *settings)
    found = records(sample("--prompts", "prompts.txt", "-n", "2", *given))
    repeated = [word for prompt in prompts for word in ("--prompt", prompt)]

    assert [record["prompt"] for record in found] == [p for p in prompts for _ in range(2)]
    texts = [record["text"] for record in found]
    assert texts[:2] == alone(sample, "ab", *settings)
    assert texts[:2] != texts[6:]  # the same prompt once more has other texts
    assert records(sample(*repeated, "-n", "2", *given)) == found


def test_neighbours_with_the_same_settings_are_sampled_side_by_side(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    start = Batch.__init__

    def watched(self: Batch, model: Any, starts: Any, *others: Any, **more: Any) -> None:
        sizes.append(len(starts))
        start(self, model, starts, *others, **more)

    monkeypatch.setattr(Batch, "__init__", watched)
    Path("prompts.txt").write_text("ab\nb\naa a\n" * 4)

    sample("--prompts", "prompts.txt", "--length", "3")
    assert sizes == [12]

    sizes.clear()
    sample("--prompts", "prompts.txt", "--length", "3", "--dry-penalty", "1")
    assert sizes == [12]  # though prompts, which penalties count, differ in length


def test_an_object_has_settings_of_its_own(sample: Sample) -> None:
    lines = [
        {"prompt": "ab"},
        {"prompt": "b", "temperature": 0, "length": 4},
        {"prompt": "b", "seed": 2},
        {"prompt": "", "seed": 5, "stop": ["b"]},
    ]
    Path("some.jsonl").write_text("\n".join(map(json.dumps, lines)))

    found = records(sample("--prompts", "some.jsonl", "--json", "--length", "9"))

    expected = [
        sample("--prompt", "ab", "--length", "9", "--json"),
        sample("--prompt", "b", "--temp", "0", "--length", "4", "--json"),
        sample("--prompt", "b", "--length", "9", "--json", "--seed", "2"),
        sample("--seed", "5", "--stop", "b", "--length", "9", "--json"),
    ]
    assert found == [record for each in expected for record in records(each)]


def test_prompts_come_from_standard_input(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    give_input(monkeypatch, b"ab\r\nb\n")

    texts = sample("--prompts", "-", "--length", "0", "--separator", "--")

    assert texts == "ab\n--\nb\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            '{"prompt": "a"}\n{"prompt": "b", "temprature": 1}\n',
            "line 2: there is no setting 'temprature'",
        ),
        ('{"prompt": "a"}\n\n{"prompt": 3}\n', 'line 3: it gives no text; write {"prompt": "…"}'),
        ('{"prompt": "a"}\nab\n', "line 2: it is not a JSON object, as other lines are; write {"),
        ('{"prompt": "a", "temperature": -1}', "line 1: temperature is -1; it must be at least 0"),
        (
            '{"promt": "a"}\n{"prompt": "b"}\n',
            "line 1: there is no setting 'promt'; did you mean 'prompt'",
        ),
        ('{"promt": "a"}\n', "line 1: there is no setting 'promt'; did you mean 'prompt'"),
        ('ab\n{"prompt": "b"}\n', "line 1: it is not a JSON object"),
        ("\n \n", "has no line; write one prompt in each"),
    ],
)
def test_a_bad_line_is_named_with_its_file(sample: Sample, content: str, words: str) -> None:
    Path("bad.txt").write_text(content)

    line = sample("--prompts", "bad.txt", code=2)

    assert line.startswith("charrnn: --prompts bad.txt")
    assert words in line


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('"regex": "z+"', "'z'"),
        ('"must": ["zzz"]', "'z'"),
        ('"must": ["bab"], "length": 2', "must needs at least 3 characters here"),
        ('"must": ["bab"], "length": 3', "must needs at least 4 characters here"),  # "a bab"
        ('"documents": 1', "without --document-end"),
        ('"beam": 2', "a beam of 2 finds at most 2 texts, not 3"),
        ('"stop": ["z"]', "'z'"),
    ],
)
def test_what_a_later_line_cannot_have_is_found_before_the_first_text(
    sample: Sample, monkeypatch: pytest.MonkeyPatch, settings: str, words: str
) -> None:
    monkeypatch.setattr("charrnn.tasks.sample._iter_alike", lambda *_: pytest.fail("sampled"))
    Path("bad.txt").write_text(f'{{"prompt": "a"}}\n{{"prompt": "a", {settings}}}\n')

    line = sample("--prompts", "bad.txt", "-n", "3", code=2)

    assert line.startswith("charrnn: --prompts bad.txt, line 2: ")
    assert words in line


def test_a_prompt_that_the_model_cannot_read_is_named_by_its_line(sample: Sample) -> None:
    Path("bad.txt").write_text("a\nq\n")

    assert "--prompts bad.txt, line 2: " in sample("--prompts", "bad.txt", code=3)


def test_a_line_of_code_is_no_object(sample: Sample) -> None:
    Path("code.txt").write_text("{ }\nb\n")

    found = sample("--prompts", "code.txt", "--length", "0", "--unknown", "skip")

    assert found == " \n\nb\n"


# ── the seed, notes, files ──


def test_a_seed_that_was_chosen_is_told_and_writes_the_same_again(
    run: RunFolder, capfd: Capture
) -> None:
    def write(*arguments: str) -> tuple[str, str]:
        with pytest.raises(SystemExit):
            main(["sample", "tiny", "--length", "30", *arguments])
        out, err = capfd.readouterr()
        return out, err

    text, note = write()
    found = re.fullmatch(r"charrnn: (--seed) (\d+) writes the same again\n", note)
    assert found
    assert write(*found.groups()) == (text, "")
    for quiet in (["-q"], ["--json"], ["--temp", "0"]):
        assert write(*quiet)[1] == ""


def test_characters_that_the_model_never_saw_can_be_mapped(sample: Sample, capfd: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["sample", "tiny", "--prompt", "ÀB", "--length", "0", "--unknown", "map", "-n", "2"])
    assert capfd.readouterr().out == "ab\n\nab\n"

    main_error = sample("--prompt", "ÀB", code=3)
    assert ": it knows only lower case" not in main_error  # À is not à, which it does not know
    assert "pass --unknown map (À → a, B → b), or skip to leave it out" in main_error
    assert sample("--prompt", "ÀB", "--length", "0", "--unknown", "skip") == "\n"


def test_the_library_maps_too(run: RunFolder) -> None:
    (text,) = charrnn.sample("B", "tiny", unknown="map", seed=1, length=9)

    assert text.text == "".join(charrnn.load("tiny").generate("b", seed=1, length=9))
    assert charrnn.load("tiny").fit("BÉ").text == "bé"


@pytest.mark.parametrize("arguments", [(), ("--json",), ("-n", "3"), ("--mark-copies",)])
def test_a_file_holds_what_stdout_would(sample: Sample, arguments: tuple[str, ...]) -> None:
    expected = sample("--length", "20", "--prompt", "é", *arguments)
    Path("out.txt").write_text("what was there")

    assert sample("--length", "20", "--prompt", "é", *arguments, "-o", "out.txt") == ""
    assert Path("out.txt").read_text("utf-8") == expected
    assert sample("--length", "20", "--prompt", "é", *arguments, "-o", "-") == expected


def test_a_text_that_fails_leaves_what_was_there(sample: Sample) -> None:
    Path("out.txt").write_text("what was there")

    sample("--prompt", "q", "-o", "out.txt", code=3)
    sample("-n", "2", "--only", "a", "--ban", "a", "-o", "out.txt", code=2)

    assert Path("out.txt").read_text() == "what was there"
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("target", "code", "words"),
    [
        (".", 2, ". is a folder or a device; name a file, or - for stdout, by -o"),
        ("checkpoints/tiny/best.safetensors", 2, "is a model file; name another with -o"),
        ("a" * 300, 7, "cannot write"),
        ("book.txt/x", 7, "cannot write"),
    ],
)
def test_what_must_not_be_written_over_is_refused(
    sample: Sample, target: str, code: int, words: str
) -> None:
    assert words in sample("--length", "3", "-o", target, code=code)


@pytest.mark.parametrize(
    ("separator", "between"), [("---", "---\n"), ("-\n", "-\n"), ("", ""), ("\n", "\n")]
)
def test_a_separator_is_a_line_between_texts(sample: Sample, separator: str, between: str) -> None:
    texts = sample("--prompt", "a", "--prompt", "b", "--length", "0", "--separator", separator)

    assert texts == f"a\n{between}b\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", r"a\nb"], r"--prompt is a\nb with backslashes, which are taken literally"),
        (["--prompt", r"A\tB"], "write $'\\n' in bash or zsh"),
        (["--separator", r"--\n"], r"--separator is --\n with backslashes"),
        (["--separator", "--", "--json"], "leave --separator out"),
        (["--prompt", "a", "--prompts", "p.txt"], "--prompt and --prompts both give a prompt"),
        (["--prompt", "-", "--prompt", "-"], "standard input can be read only once"),
        (["--prompt", "a", "--prompt", "b", "--save-state", "s"], "keeps the state of one text"),
    ],
)
def test_what_cannot_be_meant_is_refused(sample: Sample, arguments: list[str], words: str) -> None:
    assert words in sample(*arguments, code=2)


def test_a_model_that_knows_the_backslash_reads_it(run: RunFolder, capfd: Capture) -> None:
    RunFolder(Path("checkpoints/code")).save_best(
        replace(read_model(run.best), vocab=Vocab("\n\\abn"))
    )

    with pytest.raises(SystemExit):
        main(["sample", "code", "--prompt", r"a\nb", "--length", "0", "-q"])

    assert capfd.readouterr() == ("a\\nb\n", "")


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
        main(["sample", "tiny", "-n", "3", "--unique", "--only", "a", "--length", "2", "-q"])

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
    assert not any({"temperature", "seed"} & record.keys() for record in written)


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
        (["--min-copy", "9"], "--min-copy works only with --mark-copies"),
        (["--regex", "z+"], "'z'"),
    ],
)
def test_options_that_clash_are_refused(sample: Sample, arguments: list[str], words: str) -> None:
    Path("empty").write_text("\n\n", encoding="utf-8")

    assert words in sample(*arguments, code=2)
    assert not Path("x").exists()
