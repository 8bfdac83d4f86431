"""Model files of other tasks than text, damaged and forged: refused in one line, or harmless.

A mutant that keeps a wrong digest is refused. One that is signed anew may load as what it says;
then every command that opens it ends well, or with one line.
"""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from charrnn.checkpoint.model_file import ModelFile, pack_model, unpack_model
from charrnn.errors import CharRNNError, CheckpointError, ConfigError, DivergedError
from charrnn.tasks.predict import iter_predictions
from charrnn.tasks.predictions import Prediction, PredictRequest
from tests.faults.program import run
from tests.faults.test_mutants import (
    ODD,
    Mutants,
    document_of,
    resign,
    run_all,
    with_header,
)
from tests.generation.task_models import KINDS, make_task_file

Times = Callable[[int, int], int]
Figure = Callable[[str], None]
TEXTS = ["ab, é", "", "Ab ☃"]
TINY = {"embedding_size": 1, "hidden_size": 1}


def pack(kind: str, **settings: Any) -> bytes:
    return bytes(pack_model(make_task_file(kind, **settings)))


def predictions(file: ModelFile) -> list[Prediction] | None:
    """Return what a model says of some texts, None where it refuses to."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return [*iter_predictions(file, TEXTS)]
    except CharRNNError as error:
        said = str(error)
    assert said.isprintable()
    return None


@pytest.mark.parametrize("kind", KINDS)
def test_every_mutant_with_a_wrong_digest_is_refused(
    kind: str, times: Times, figure: Figure
) -> None:
    number = times(500, 100_000)
    files = pack(kind, **TINY), pack(kind, seed=8, **TINY)
    total = sum(run_all(Mutants(*files).kept_digest(), number, files).values(), Counter[str]())

    assert total == {"refused": number}
    figure(f"{number:,} mutants of a file of {len(files[0]):,} bytes refused, 0 crashes")


@pytest.mark.parametrize("kind", KINDS)
def test_every_mutant_that_is_signed_anew_is_refused_or_says_the_same_or_what_it_holds(
    kind: str, times: Times, figure: Figure
) -> None:
    number = times(300, 50_000)
    files = pack(kind, **TINY), pack(kind, seed=8, **TINY)
    kinds = Mutants(*files).signed()
    total = sum(run_all(kinds, number, files).values(), Counter[str]())
    assert total.keys() == {"refused", "loaded"}, total

    sound = unpack_model(files[0], "sound")
    expected = predictions(sound)
    opened = same = 0
    random = Random(9)
    for mutate in kinds.values():
        for i in range(number // len(kinds)):
            try:
                mutant = unpack_model(mutate(random, i), "mutant")
            except CheckpointError:
                continue
            opened += 1
            said = predictions(mutant)
            if decides(mutant) == decides(sound):
                same += 1
                assert said == expected
    assert same
    figure(f"{number:,} mutants: {opened:,} opened, {same:,} that decide the same say the same")


def decides(file: ModelFile) -> list[Any]:
    """Return all of a file that predictions depend on."""
    settings = file.summary.get("settings")
    known = [settings, *(file.summary.get(key) for key in ("classification", "target_bounds"))]
    weights = {name: array.tobytes() for name, array in file.weights.items()}
    return [file.config, file.vocab, file.labels, file.target_vocab, weights, known]


# Files that say something else than they hold


def forge(kind: str, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return a signed file whose document was changed by hand."""
    data = pack(kind)
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    document = json.loads(document_of(data))
    change(document)
    header["__metadata__"]["charrnn"] = json.dumps(document)
    text = json.dumps(header, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return resign(with_header(text, data[start:]))


def setting(*path: str) -> Callable[[Any], Callable[[dict[str, Any]], None]]:
    """Return a function that makes a change of the value at a place of the document."""

    def to(value: Any) -> Callable[[dict[str, Any]], None]:
        def change(document: dict[str, Any]) -> None:
            for key in path[:-1]:
                document = document[key]
            document[path[-1]] = value

        return change

    return to


HUGE = 10**299
VALUES = [*ODD, -(2**40), HUGE, [HUGE, HUGE], [-1, -2], ["1", "2"], [1e308, 1e308], [0.5], [0, 0]]
PLACES: dict[str, list[tuple[str, ...]]] = {
    "classification": [
        *(("config", name) for name in ("task", "class_count", "target_size", "pooling")),
        *(("config", name) for name in ("head_size", "bidirectional", "transitions", "attention")),
        *(("labels",), ("target_vocab",), ("summary", "classification")),
        *(("summary", "classification", "kind"), ("summary", "scores"), ("summary", "settings")),
        ("summary", "classification", "kind", "temperature"),
        *(("summary", "scores", "accuracy"), ("summary", "settings", "seq_len")),
    ],
    "tagging": [
        *(("config", name) for name in ("task", "class_count", "transitions", "label_count")),
        *(("labels",), ("summary", "settings"), ("summary", "settings", "restore")),
        *(("summary", "settings", "tags"), ("summary", "settings", "seq_len")),
        ("summary", "settings", "normalize"),
    ],
    "transitions": [("summary", "settings", "tags"), ("summary", "settings", "restore")],
    "seq2seq": [
        *(("config", name) for name in ("task", "target_size", "attention", "class_count")),
        *(("target_vocab",), ("target_vocab", "alphabet"), ("target_vocab", "end")),
        *(("summary", "target_bounds"), ("summary", "settings", "seq_len"), ("labels",)),
    ],
    "phones": [("target_vocab",), ("target_vocab", "tokens"), ("summary", "target_bounds")],
}


COMMANDS = [
    ("predict", "forged", "lines.txt", "--json"),
    ("eval", "forged", "--file", "pairs.tsv"),
    ("eval", "forged", "--file", "lines.txt"),
    ("info", "forged"),
    ("info", "forged", "--json"),
    ("list",),
]


@pytest.fixture
def forged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder with texts and a run named forged; return its model file."""
    monkeypatch.chdir(tmp_path)
    Path("lines.txt").write_text("ab\n\nAb é\n", encoding="utf-8")
    Path("pairs.tsv").write_text("ab\tx y\nba\txx\n", encoding="utf-8")
    path = Path("checkpoints/forged/best.safetensors")
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("kind", PLACES)
def test_a_forged_value_is_refused_or_does_no_harm(
    kind: str, forged: Path, times: Times, figure: Figure
) -> None:
    draw = Random(3)
    trials = [(place, value) for place in PLACES[kind] for value in VALUES]
    draw.shuffle(trials)
    codes = Counter[int]()
    for place, value in trials[: times(20, len(trials))]:
        forged.write_bytes(forge(kind, setting(*place)(value)))
        for command in COMMANDS if times(0, 1) else draw.sample(COMMANDS, 3):
            ended = run(*command)
            codes[ended.code] += 1
            assert ended.is_clear, (place, value, command, ended)
            if command[-1] == "--json" and not ended.code:
                for line in ended.out.splitlines():
                    json.loads(line, parse_constant=pytest.fail)
    figure(f"{sum(codes.values())} commands on forged files, by exit code: {dict(codes)}")


@pytest.mark.parametrize(
    ("kind", "place", "value", "words"),
    [
        ("classification", ("config", "class_count"), 4, "3 labels, but a network for 4"),
        ("classification", ("config", "pooling"), "max", "weight hidden.weight is"),
        ("classification", ("labels",), [], "0 labels, but a network for 3"),
        ("classification", ("target_vocab",), {"tokens": ["a"]}, "2 target tokens, but|1 target"),
        ("tagging", ("config", "task"), "text", "is not that of|unknown key"),
        ("tagging", ("config", "transitions"), True, "weight transitions.start is missing"),
        ("seq2seq", ("target_vocab",), None, "0 target tokens, but a network for 5"),
        ("seq2seq", ("config", "target_size"), 6, "5 target tokens, but a network for 6"),
        ("phones", ("target_vocab", "tokens"), ["AH", "B"], "3 target tokens"),
        ("phones", ("target_vocab",), {"tokens": ["A", "B", "C", "D"]}, "has no end"),
        ("phones", ("summary", "target_bounds"), ["1", 2, 0], "target_bounds.0 is '1'"),
        ("classification", ("summary", "scores", "accuracy"), "good", "scores.accuracy is 'good'"),
    ],
)
def test_what_does_not_go_together_is_named(
    kind: str, place: tuple[str, ...], value: Any, words: str
) -> None:
    with pytest.raises(CheckpointError, match=words):
        unpack_model(forge(kind, setting(*place)(value)), "forged")


def test_labels_with_more_than_they_should_have_are_refused() -> None:
    for change in ({"counts": [1, 2, 10**40]}, {"odd": 1}, {"counts": [1, 2, 1 << 63]}):
        own = {"name": "kind", "values": ["a", "b", "c"], "counts": [1, 2, 3], "edges": []}
        with pytest.raises(CheckpointError, match="not columns of values with counts"):
            unpack_model(forge("classification", setting("labels")([own | change])), "forged")


@pytest.mark.parametrize(
    "bounds", [[HUGE, HUGE, HUGE], [1e308, 1e308, -1e308], [-1.5, -9.0, -9.0], [0.0, 2.0, 1e308]]
)
def test_a_target_ends_whatever_bounds_a_file_gives(bounds: list[float]) -> None:
    file = make_task_file("phones")
    file.weights["output.bias"][-1] = -99  # which never ends by itself
    forged = replace(file, summary=file.summary | {"target_bounds": bounds})
    (found,) = iter_predictions(forged, ["a"], PredictRequest(beam=1))
    assert found.label is not None
    assert 1 <= len(found.label.split()) <= 4096


@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_overflow_end_in_one_error(kind: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(DivergedError, match="weights are too large"):
            [*iter_predictions(make_task_file(kind, spread=3e37), TEXTS)]


def test_a_layout_of_tags_that_there_is_not_is_refused() -> None:
    file = make_task_file("transitions", settings={"tags": "\x1b[2J"})
    with pytest.raises(ConfigError, match="tags"):
        [*iter_predictions(file, TEXTS)]
