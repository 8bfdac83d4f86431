"""The public functions: what every command does, from Python."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import charrnn
from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import cli
from charrnn.config import SampleConfig
from charrnn.errors import CheckpointError, ConfigError, CorpusError
from charrnn.tasks.model import Model
from charrnn.tasks.recorder import RunFinished
from charrnn.tasks.train import Opened, RunReport
from charrnn.training.reports import Evaluation, Progress

SMALL: dict[str, Any] = {"steps": 4, "hidden_size": 8, "embedding_size": 5, "threads": 1}
TWINS = {
    "train": "fit",  # and train, which yields the reports
    "sample": "sample",
    "write": "start_session",
    "fill": "load",  # and its Model.fill
    "eval": "evaluate",
    "score": "score",
    "inspect": "inspect",
    "predict": "predict",
    "compress": "compress",
    "decompress": "decompress",
    "export": "export",
    "push": "push",
    "pull": "pull",
    "info": "describe",
    "list": "list_runs",
    "remove": "remove",
    "compare": "compare",
    "serve": "serve",
    "sweep": "sweep",
    "corpus": "corpus_stats",
    "bench": "benchmark",
}
"""The commands and the public names that do the same; `completion` is for shells alone."""


@pytest.fixture
def book(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with a text of 900 characters."""
    monkeypatch.chdir(tmp_path)
    path = Path("book.txt")
    path.write_text("the cat\n sat. cafés " * 45, encoding="utf-8")
    return path


@pytest.fixture
def trained(book: Path) -> Path:
    """Train the run `book` on that text; return its model file."""
    return last_of(list(charrnn.train(book, **SMALL))).run.best


def kinds_of(reports: list[RunReport]) -> list[str]:
    return [type(report).__name__ for report in reports]


def last_of(reports: list[RunReport]) -> RunFinished:
    assert isinstance(reports[-1], RunFinished)
    return reports[-1]


def test_training_yields_a_report_of_each_thing_that_happens(book: Path) -> None:
    reports = list(charrnn.train(book, **SMALL))

    assert kinds_of(reports)[:3] == ["Reading", "Opened", "Started"]
    assert kinds_of(reports)[3:-2] == ["Progress", "Evaluation", "Written", "Snapshot"] * 4
    assert kinds_of(reports)[-2:] == ["Finished", "RunFinished"]


def test_what_was_trained_can_be_loaded_and_writes(book: Path) -> None:
    run = last_of(list(charrnn.train(book, **SMALL))).run

    for model in (charrnn.load(), charrnn.load("book"), charrnn.load(run.path)):
        assert len("".join(model.generate("cat", length=25, seed=1))) == 25


def test_loading_gives_the_model_of_the_file(book: Path, trained: Path) -> None:
    model = charrnn.load(trained)

    assert isinstance(model, charrnn.Model)
    assert (model.config.hidden_size, model.config.embedding_size) == (8, 5)
    assert model.vocab.alphabet == "".join(sorted(set(book.read_text(encoding="utf-8"))))
    assert model.summary == read_model(trained).summary


def test_several_texts_are_trained_on_as_one(book: Path) -> None:
    Path("more.txt").write_text("zzz " * 50)

    _, opened, *_ = charrnn.train(["book.txt", "more.txt"], **SMALL)

    assert isinstance(opened, Opened)
    assert opened.corpus.chars == 900 + len("\n") + 200  # a line's end parts two texts
    assert "z" in opened.corpus.vocab.alphabet


def test_the_folder_and_name_of_a_run_can_be_chosen(book: Path) -> None:
    list(charrnn.train(book, **SMALL, name="mine", checkpoints="runs"))

    assert read_model(Path("runs/mine/best.safetensors")).config.hidden_size == 8
    assert len("".join(charrnn.load("mine", checkpoints="runs").generate(length=7))) == 7


def test_a_prompt_is_normalised_as_the_text_was(book: Path) -> None:
    decomposed = "cafe\u0301s the cat "
    Path("book.txt").write_text(decomposed * 50, encoding="utf-8")
    list(charrnn.train(book, **SMALL, normalize="nfc"))
    model = charrnn.load()

    assert "\u0301" not in model.vocab.alphabet
    assert [*model.generate(decomposed, length=9, seed=1)] == [
        *model.generate("caf\u00e9s the cat ", length=9, seed=1)
    ]


def train_until(step: int, **settings: Any) -> list[Any]:
    """Train and ask for a stop once that step was reported."""
    reports: list[Any] = []

    def is_reached() -> bool:
        return any(isinstance(each, Progress) and each.step >= step for each in reports)

    for report in charrnn.train(**settings, should_stop=is_reached):
        reports.append(report)
    return reports


def test_a_run_is_asked_to_stop_after_every_step(book: Path) -> None:
    kept = last_of(train_until(2, corpus=book, **SMALL))

    assert (kept.finished.reason, kept.finished.step) == ("stopped", 2)
    assert kept.run.step == 2


def test_a_stopped_run_goes_on_from_where_it_stopped(book: Path) -> None:
    train_until(2, corpus=book, **SMALL)

    reports = list(charrnn.train(resume="book"))

    assert [report.step for report in reports if isinstance(report, Evaluation)] == [2, 3, 4]
    assert last_of(reports).run.path == Path("checkpoints/book")


def test_nothing_happens_before_the_first_report_is_taken(book: Path) -> None:
    with pytest.warns(RuntimeWarning, match=r"never started: .* or call charrnn\.fit") as caught:
        charrnn.train(book, **SMALL)

    assert caught[0].filename == __file__  # the line that drops it
    assert not Path("checkpoints").exists()


def test_a_run_that_was_started_is_dropped_without_a_warning(book: Path) -> None:
    next(charrnn.train(book, **SMALL))  # warnings are errors


def test_a_setting_that_is_none_of_ours_is_refused(book: Path) -> None:
    with pytest.raises(ConfigError, match="there is no setting 'hiden_size'"):
        next(charrnn.train(book, hiden_size=8))


def test_a_text_that_is_not_there_is_refused(book: Path) -> None:
    with pytest.raises(CorpusError, match=r"nowhere\.txt"):
        list(charrnn.train("nowhere.txt", **SMALL))


@pytest.mark.parametrize("prose", ["It was the best of times. " * 200, "one\ntwo"])
def test_a_text_in_the_place_of_a_path_is_cut_and_told_of_texts(trained: Path, prose: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: charrnn.train(prose),
        lambda: charrnn.train([prose]),
        lambda: charrnn.evaluate("book", prose),
        lambda: charrnn.corpus_stats(prose),
    ]
    for call in calls:
        with pytest.raises(CorpusError, match=r"no file .*charrnn\.train\(texts=") as caught:
            call()
        assert len(str(caught.value)) < 150


@pytest.mark.parametrize("corpus", [b"book.txt", 7, ["book.txt", None], [b"book.txt"]])
def test_what_is_no_path_is_refused_by_its_type(book: Path, corpus: Any) -> None:
    with pytest.raises(ConfigError, match=r"a path is of type (bytes|int|NoneType)"):
        charrnn.train(corpus)


def test_texts_and_open_files_are_trained_on(book: Path) -> None:
    text = book.read_text(encoding="utf-8")
    with book.open(encoding="utf-8") as file, book.open("rb") as raw:
        given: list[Any] = [
            {"texts": text},
            {"texts": [text[:450], text[450:]], "split": "tail"},
            {"corpus": file},
            {"corpus": [raw]},
            {"corpus": io.StringIO(text)},
        ]
        runs = [charrnn.train(**each, **SMALL, name=f"run{i}") for i, each in enumerate(given)]
    models = [read_model(last_of(list(run)).run.best) for run in runs]

    assert {model.summary["corpus"]["train_chars"] for model in models} <= {810, 811}
    for other in (models[2], models[3], models[4]):
        assert np.array_equal(other.weights["output.weight"], models[0].weights["output.weight"])


def test_a_closed_file_is_named(book: Path) -> None:
    with book.open("rb") as file:
        pass
    with pytest.raises(CorpusError, match=r"cannot read 'book\.txt': "):
        charrnn.train(file)


@pytest.mark.parametrize(
    ("data", "settings", "alphabet"),
    [
        (b"caf\xe9 \xe9t\xe9\r\n" * 40, {"errors": "replace"}, "\n acft\ufffd"),
        (("привет, как дела\n" * 40).encode("utf-16"), {"encoding": "auto"}, "\n ,авдеиклпрт"),
        (b"caf\xe9 " * 60, {"encoding": "cp1252"}, " acfé"),
    ],
)
def test_the_bytes_of_an_open_file_are_read_as_a_file_is(
    book: Path, data: bytes, settings: dict[str, Any], alphabet: str
) -> None:
    book.write_bytes(data)
    with book.open("rb") as file:
        runs = [charrnn.train(each, **SMALL, **settings) for each in (file, io.BytesIO(data), book)]
    runs.append(charrnn.train(texts=data, **SMALL, **settings))

    found = [next(each for each in run if isinstance(each, Opened)).corpus.vocab for run in runs]

    assert [vocab.alphabet for vocab in found] == [alphabet] * 4


def test_bytes_are_learned_of_an_open_file_and_of_texts(book: Path) -> None:
    data = bytes(range(256)) * 4
    runs = [
        charrnn.train(**each, **SMALL, unit="byte", split="tail")
        for each in ({"corpus": io.BytesIO(data)}, {"texts": [data[:300], data[300:]]})
    ]
    corpora = [next(each for each in run if isinstance(each, Opened)).corpus for run in runs]

    for corpus in corpora:
        assert bytes([*corpus.train, *corpus.val]) == data


def test_the_setting_of_a_resumed_run_decodes_an_open_file(book: Path) -> None:
    data = b"caf\xe9 \xe9t\xe9\n" * 90
    list(charrnn.train(io.BytesIO(data), **SMALL, errors="replace", name="mine"))

    reports = charrnn.train(io.BytesIO(data), resume="mine", steps=5)

    assert last_of(list(reports)).finished.step == 5


def test_an_open_file_of_another_kind_is_named(book: Path) -> None:
    book.write_bytes(b"caf\xe9 \n" * 90)
    with (
        book.open("rb") as file,
        pytest.raises(CorpusError, match=r"book\.txt is not utf-8: .*cp1"),
    ):
        next(charrnn.train(file))
    with book.open(encoding="utf-8") as file, pytest.raises(CorpusError, match='open it as "rb"'):
        charrnn.train(file)
    with pytest.raises(CorpusError, match="BytesIO is a PDF document"):
        next(charrnn.train(io.BytesIO(b"%PDF-1.4")))


def test_other_texts_than_those_of_a_run_are_refused(book: Path) -> None:
    list(charrnn.train(texts="abcd " * 200, **SMALL, name="mine"))

    with pytest.raises(
        CheckpointError, match=r"not the texts that run 'mine' .*texts=\.\.\., init_f"
    ):
        list(charrnn.train(texts="dcba " * 200, resume="mine"))


def test_no_function_and_no_model_mean_never_and_the_newest(book: Path) -> None:
    last = last_of(list(charrnn.train(book, **SMALL, should_stop=None)))

    assert last.finished.step == 4
    assert charrnn.evaluate(None).models[0].carried == charrnn.evaluate("book").models[0].carried


Call = Callable[[charrnn.Model], Any]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda _: charrnn.evaluate("book", split="foo"), "split is 'foo'; choose from all, tr"),
        (lambda _: charrnn.evaluate("book", text=5), "text is 5; it must be a text"),
        (lambda _: charrnn.evaluate("book", text="ab", unknown="no"), "unknown is 'no'; choose"),
        (lambda _: charrnn.evaluate([]), "there is no model to score"),
        (lambda _: charrnn.evaluate(5), "path is of type int; give"),
        (lambda _: charrnn.evaluate("book", 5), "path is of type int; give"),
        (lambda _: charrnn.corpus_stats(None), "path is of type NoneType; give"),
        (lambda _: charrnn.train(texts=None), "texts is of type NoneType; give one, or a list"),
        (lambda _: charrnn.train(texts=5), "texts is of type int; give one, or a list"),
        (lambda _: charrnn.train(texts={"a": "text"}), "texts is of type dict; give one, or"),
        (lambda _: charrnn.train(["a.txt", 5]), "a path is of type int; give"),
        (lambda _: next(charrnn.train(texts=io.StringIO("a"))), "text 0 is of type StringIO; give"),
        (lambda _: next(charrnn.train(texts=["a", 5])), "text 1 is of type int; give a str"),
        (lambda _: charrnn.train("a.txt", should_stop=5), "should_stop is of type int; give a fun"),
        (lambda _: charrnn.fit("a.txt", should_stop=5), "should_stop is of type int; give a fun"),
        (lambda _: charrnn.fit("a.txt", on_report=5), "on_report is of type int; give a fun"),
        (lambda _: charrnn.fit_seeds("a.txt", on_report=5), "on_report is of type int; give a fun"),
        (lambda _: charrnn.fit_seeds("a.txt", seeds=5.5), "seeds is of type float; give one, or a"),
        (lambda _: charrnn.sample(count="2"), "count is '2'; it must be a whole number"),
        (lambda _: charrnn.sample(count=1.5), "count is 1.5; it must be a whole number"),
        (lambda _: charrnn.sample(count=-1), "count is -1; it must be at least 1"),
        (lambda _: charrnn.sample(best_of=0), "best_of is 0; it must be at least 1"),
        (lambda _: charrnn.sample(logprobs=-1), "logprobs is -1; it must be at least 0"),
        (lambda _: charrnn.sample(unique="no"), "unique is 'no'; it must be true or false"),
        (lambda _: charrnn.sample(device="gpu"), "device is 'gpu'; choose from cpu, cuda"),
        (lambda _: charrnn.sample(model=5), "the model is of type int; give its name"),
        (lambda model: model.generate("c", {"length": 4}), "of type dict; give a SampleConfig, or"),
        (lambda model: model.search("c", {"beam": 4}), "of type dict; give a SampleConfig, or"),
        (lambda model: model.fill("c_t", {"count": 4}), "of type dict; give a FillConfig, or"),
        (lambda model: model.generate(index=-1), "index is -1; it must be at least 0"),
        (lambda model: next(model.generate_many(count=1.5)), "count is 1.5; it must be a whole"),
        (lambda model: model.search(beam=2, count="2"), "count is '2'; it must be a whole"),
        (lambda model: model.next_chars("c", 2.0), "count is 2.0; it must be a whole number"),
        (lambda _: charrnn.compress("abc", "book"), "original is of type str; give bytes"),
        (lambda _: charrnn.decompress("abc", "book"), "data is of type str; give the bytes"),
        (lambda _: charrnn.list_runs(checkpoints=5), "checkpoints is of type int; give the path"),
        (lambda _: charrnn.load(5), "the model is of type int; give its name"),
        (lambda _: charrnn.open_models(models="book"), "models is of type str; give a list"),
        (lambda _: charrnn.open_models(models=[5]), "a model is of type int; give its name"),
        (lambda _: charrnn.open_models(negative_model=5), "a model is of type int; give its name"),
        (lambda _: charrnn.open_models(checkpoints=5), "checkpoints is of type int; give the path"),
        (lambda _: next(charrnn.benchmark(5)), "cells is of type int; give one, or a list"),
        (
            lambda _: charrnn.start_session("book", SampleConfig()),
            "model is of type str; give what",
        ),
        (lambda model: charrnn.start_session(model, {}), "config is of type dict; give a Sample"),
        (lambda model: begin(model).rewrite(None), "the text is of type NoneType; give a str"),
        (lambda model: begin(model).add(None), "the text is of type NoneType; give a str"),
        (lambda model: begin(model).take(b"cat"), "the text is of type bytes; give a str"),
        (lambda model: begin(model).finish_word(5), "the text is of type int; give a str"),
    ],
)
def test_a_value_of_another_kind_is_refused_by_its_name(
    shared_run: Path, monkeypatch: pytest.MonkeyPatch, call: Call, words: str
) -> None:
    monkeypatch.chdir(shared_run)
    with pytest.raises(ConfigError, match=words):
        call(charrnn.load("book"))


def begin(model: charrnn.Model) -> charrnn.Session:
    return charrnn.start_session(model, SampleConfig(), "the cat")


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train the run `book` once for tests that only read it; return the folder to stand in."""
    folder = tmp_path_factory.mktemp("shared")
    text = "the cat\n sat. cafés " * 45
    list(charrnn.train(texts=text, **SMALL, name="book", checkpoints=folder / "checkpoints"))
    return folder


def test_settings_are_taken_as_python_has_them(book: Path) -> None:
    settings = SMALL | {"hidden_size": np.int32(8), "threads": np.uint8(1)}
    last = last_of(list(charrnn.train(book, **settings, checkpoints=Path("runs"))))
    reports = charrnn.train(book, hidden_size=8, budget_seconds=90)
    budget = next(each for each in reports if isinstance(each, Opened)).budget_seconds

    assert last.run.path == Path("runs/book")
    assert read_model(last.run.best).summary["settings"]["hidden_size"] == 8
    assert budget == 90


def test_an_unknown_keyword_names_the_nearest_setting(trained: Path) -> None:
    model = charrnn.load(trained)
    calls: list[Callable[[], Any]] = [
        lambda: next(charrnn.train("book.txt", hiden_size=8)),
        lambda: charrnn.fit("book.txt", hiden_size=8),
        lambda: charrnn.fit_seeds("book.txt", hiden_size=8),
        lambda: list(charrnn.sample("cat", temprature=1)),
        lambda: charrnn.evaluate("book", splits="all"),
        lambda: charrnn.corpus_stats("book.txt", min_counts=2),
        lambda: list(charrnn.benchmark(quick=True, sequence_len=3)),
        lambda: model.generate("cat", temprature=1),
        lambda: list(model.generate_many("cat", temprature=1)),
        lambda: model.search("cat", temprature=1),
        lambda: model.fill("c_t", counts=1),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match=r"there is no setting '\w+'; did you mean '\w+'"):
            call()


@pytest.mark.parametrize("prompt", [None, b"cat", ["cat"], 7])
def test_a_prompt_that_is_no_text_is_refused(trained: Path, prompt: Any) -> None:
    model = charrnn.load(trained)
    calls: list[Callable[[], Any]] = [
        lambda: list(charrnn.sample(prompt)),
        lambda: model.generate(prompt),
        lambda: list(model.generate_many(prompt)),
        lambda: model.search(prompt, beam=2),
        lambda: model.read(prompt),
        lambda: model.score(prompt),
        lambda: model.fill(prompt),
        lambda: model.next_chars(prompt, 3),
    ]
    if isinstance(prompt, list):
        del calls[2]  # generate_many takes several prompts
    for call in calls:
        with pytest.raises(ConfigError, match=r"is of type \w+; give a str"):
            call()


def test_a_stream_and_a_sample_are_their_text(trained: Path) -> None:
    model = charrnn.load(trained)
    whole = str(model.generate("cat", length=9, seed=2))
    stream = model.generate("cat", length=9, seed=2)
    (sample,) = charrnn.sample("cat", length=9, seed=2)

    assert next(stream) + str(stream) == whole == str(sample)
    assert len(whole) == 9


def test_a_run_that_is_left_can_be_resumed(book: Path) -> None:
    for report in charrnn.train(book, **SMALL):
        if isinstance(report, Evaluation):
            break

    assert last_of(list(charrnn.train(resume="book"))).finished.step == 4


def test_a_run_that_is_left_at_the_end_of_a_script_is_saved(book: Path) -> None:
    code = f"""
import charrnn
reports = charrnn.train("book.txt", **{SMALL | {"steps": 900, "eval_every": 2}})
for report in reports:
    if type(report).__name__ == "Evaluation":
        break
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (process.returncode, process.stderr) == (0, "")
    assert RunFolder(Path("checkpoints/book")).step == 3  # one more, then it is polled


def test_a_model_that_is_not_there_is_refused(book: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no run or model file 'nowhere' in /.*checkpoints"):
        charrnn.load("nowhere")


# Twins of the commands


def test_every_command_has_a_python_twin(book: Path) -> None:
    assert set(TWINS) | {"completion"} == set(cli.list_commands(click.Context(cli)))
    for name in TWINS.values():
        assert callable(getattr(charrnn, name))
    assert callable(charrnn.Model.fill)


def test_texts_are_sampled_chosen_and_counted(trained: Path) -> None:
    settings: dict[str, Any] = {"length": 12, "seed": 3}
    (best,) = charrnn.sample("cat", best_of=4, **settings)
    candidates = list(charrnn.sample("cat", "book", count=4, sort=True, **settings))
    texts = [each.text for each in charrnn.sample(count=5, unique=True, length=3, seed=1)]

    assert best.text == candidates[0].text
    assert len(set(texts)) == 5


def test_several_models_are_sampled_as_one(trained: Path) -> None:
    assert charrnn.open_models(Path("checkpoints/book")).name == "checkpoints/book"
    blended = charrnn.open_models(models=["book:0.7", "book:0.3"])
    (text,) = charrnn.sample("cat", blended, length=9, seed=2)

    assert text.text == "".join(charrnn.load().generate("cat", length=9, seed=2))


def test_a_text_continues_from_a_saved_state(trained: Path) -> None:
    models = charrnn.open_models("book")
    models.save_state("cat.state", "the cat", "", SampleConfig())
    (continued,) = charrnn.sample(model=models.with_state("cat.state"), length=9, seed=2)

    assert continued.text == "".join(charrnn.load().generate("the cat", length=9, seed=2))


def test_a_text_is_scored_in_bits(trained: Path) -> None:
    assert charrnn.score("the cat", "book").bits.shape == (7,)


def test_models_are_evaluated_on_their_own_text_and_on_another(trained: Path) -> None:
    own = charrnn.evaluate("book")
    other = charrnn.evaluate(["book"], text="the cat sat", dynamic_rate=0.01)

    assert own.models[0].carried.nats == pytest.approx(charrnn.describe("book")["val_nats"])
    assert (own.split, other.split, other.chars) == ("val", "all", 10)
    assert other.models[0].dynamic is not None


def test_a_corpus_is_measured(book: Path) -> None:
    assert charrnn.corpus_stats(book).stats.characters == 900
    assert charrnn.corpus_stats([book], min_count=99).vocab_size == 3 + 256


def test_a_machine_is_measured() -> None:
    kinds = [type(each).__name__ for each in charrnn.benchmark(["rnn"], [8], quick=True, threads=1)]

    assert kinds[:3] == ["MachineSpeed", "TrainingSpeed", "EvaluationSpeed"]
    assert set(kinds[3:]) == {"SamplingSpeed"}


def test_what_was_compressed_comes_back(trained: Path) -> None:
    original = "the cat sat \N{SNOWMAN}".encode()
    packed = charrnn.compress(original, "book")

    assert packed.original_bytes == len(original)
    assert charrnn.decompress(packed.data, trained) == original


def test_runs_are_listed_and_described(trained: Path) -> None:
    (run,) = charrnn.list_runs()

    assert (run["name"], run["model"]) == ("book", "lstm 1×8")
    assert charrnn.describe(trained)["hidden_size"] == 8
    assert charrnn.list_runs(checkpoints="nowhere") == []


# The package itself


def test_the_package_lists_its_public_names_in_order() -> None:
    assert dir(charrnn) == charrnn.__all__
    assert {name for name in dir(charrnn) if not hasattr(charrnn, name)} == set()
    assert charrnn.Model is Model


def test_a_name_that_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'charrnn' has no attribute 'nonsense'"):
        charrnn.nonsense  # noqa: B018


@pytest.mark.parametrize(
    ("code", "loaded"),
    [
        ("import charrnn", set()),
        ("import charrnn; charrnn.load", {"numpy"}),
        ("import charrnn; charrnn.Model; charrnn.train; charrnn.evaluate", {"numpy"}),
    ],
)
def test_importing_loads_no_more_than_is_used(code: str, loaded: set[str]) -> None:
    heavy = "{'torch', 'numpy', 'rich', 'click'} & set(sys.modules)"
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"{code}; import sys; print(*{heavy})"],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert set(process.stdout.split()) == loaded
    assert process.stderr == ""
