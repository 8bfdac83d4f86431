"""What a run writes at its evaluations: with a prompt, without one, or nothing."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.errors import ConfigError, VocabError
from charrnn.tasks.model import Model
from charrnn.tasks.recorder import Written
from charrnn.tasks.train import Opened, RunReport, start_run
from tests.training.small_runs import SMALL

TABLE = "text,label\n" + "".join(f"{'xy'[i % 2] * 3}{i},{'ab'[i % 2]}\n" for i in range(60))


def run(corpus: str, name: str, **settings: Any) -> list[RunReport]:
    own = SMALL | {"steps": 4, "eval_every": 2, "name": name} | settings
    return list(start_run([corpus], own))


def written_of(reports: list[RunReport]) -> list[str]:
    return [report.text for report in reports if isinstance(report, Written)]


def best(name: str) -> ModelFile:
    return read_model(RunFolder(Path("checkpoints", name)).best)


def samples_of(name: str) -> Path:
    return Path("checkpoints", name, "samples.txt")


def test_the_texts_continue_the_prompt_as_the_model_does(book: str) -> None:
    texts = written_of(run(book, "prompted", sample_prompt="abba"))
    kept = samples_of("prompted").read_text(encoding="utf-8")

    assert len(texts) == 2
    alone = "".join(Model(best("prompted")).generate("abba", length=240, seed=1))
    assert f"abba{alone}" in texts
    assert all(text.startswith("abba") and text in kept for text in texts)


def test_samples_change_no_weight_and_can_be_left_out(book: str) -> None:
    assert len(written_of(run(book, "plain"))) == 2
    assert written_of(run(book, "quiet", samples=False)) == []
    run(book, "prompted", sample_prompt="abba")
    weights = [best(name).weights for name in ("plain", "quiet", "prompted")]

    for other in weights[1:]:
        assert all(np.array_equal(weights[0][key], other[key]) for key in weights[0])
    assert not samples_of("quiet").exists()


def test_a_prompt_that_the_text_cannot_have_is_refused_before_training(book: str) -> None:
    with pytest.raises(VocabError) as refused:
        run(book, "one", sample_prompt="abx☃")
    assert refused.value.message == (
        "--sample-prompt has 'x' (U+0078 LATIN SMALL LETTER X), '☃' (U+2603 SNOWMAN), which the "
        "text has not; give another prompt"
    )
    with pytest.raises(ConfigError, match=r"backslashes"):
        run(book, "one", sample_prompt=r"a\n")
    assert not Path("checkpoints").exists()
    run(book, "bytes", sample_prompt="abx☃", unit="byte")
    assert samples_of("bytes").read_text(errors="surrogateescape").count("abx☃") == 2


def test_the_prompt_has_the_form_of_the_text(book: str) -> None:
    assert all(
        text.startswith("ABBA")
        for text in written_of(run(book, "low", lowercase=True, sample_prompt="ABBA"))
    )


def test_each_record_begins_with_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("".join(f"ab{'cd'[i % 2]}{'ef'[i % 3 % 2]}\n" for i in range(90)))
    texts = written_of(run("names.txt", "names", lines=True, sample_prompt="ab"))

    assert all(line.startswith("ab") for text in texts for line in text.split("\n"))


def test_a_network_that_decides_reads_the_prompt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("table.csv").write_text(TABLE, encoding="utf-8")
    how: dict[str, Any] = {"text_column": "text", "label_column": "label", "seq_len": None}
    how |= {"task": "classification"}
    prompted = [
        each
        for each in run("table.csv", "prompted", **how, sample_prompt="xxx5")
        if isinstance(each, Written)
    ]
    quiet = [
        each
        for each in run("table.csv", "quiet", **how, samples=False)
        if isinstance(each, Written)
    ]

    assert all(each.text in ("xxx5 → a", "xxx5 → b") for each in prompted)
    assert [each.scores for each in quiet] == [each.scores for each in prompted]
    assert [each.text for each in quiet] == ["", ""]
    assert not samples_of("quiet").exists()


def test_a_resumed_run_keeps_its_prompt_and_takes_another(book: str) -> None:
    run(book, "mine", sample_prompt="ab")
    reports = list(start_run([], {"resume": "mine", "steps": 6, "threads": 1}))
    assert [text[:2] for text in written_of(reports)] == ["ab"]
    own = {"resume": "mine", "steps": 8, "threads": 1, "sample_prompt": "dé"}
    reports = list(start_run([], own))

    assert [text[:2] for text in written_of(reports)] == ["dé"]
    assert any(isinstance(report, Opened) and report.resumed_step == 6 for report in reports)
    resolved = Path("checkpoints/mine/resolved.toml").read_text(encoding="utf-8")
    assert tomllib.loads(resolved)["sample_prompt"] == "dé"
