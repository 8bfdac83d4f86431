"""Lessons: each network learns its text, and what the answer says can be measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from charrnn.checkpoint.model_file import read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.errors import ConfigError
from charrnn.generation.network import Network
from charrnn.interpret.trace import Trace, record, record_lanes
from charrnn.interpret.units import array_values
from charrnn.tasks.lessons import LESSONS, LessonResult, find_lesson, find_unit, run_lesson
from tests.interpret.networks import make_ids, make_network

GAP_NATS = 0.03  # that a network may pay more than a perfect reader
UNIT = {"alphabet": 0.6, "copy": 0.6, "parity": 0.6}  # how well one unit follows the secret
CLEAR = 0.9  # of all others

_DONE: dict[str, LessonResult] = {}

Train = Callable[[str], LessonResult]


@pytest.fixture
def train(tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Return a function that trains a lesson, once for all tests of this file."""

    def run(name: str) -> LessonResult:
        if name not in _DONE:
            _DONE[name] = run_lesson(name, checkpoints=tmp_path_factory.mktemp(name))
        return _DONE[name]

    return run


class Reading:
    """A new text of a lesson, as its network reads it."""

    def __init__(self, result: LessonResult, text: str | None = None) -> None:
        planted = result.lesson.make(4_000, 77)
        file = read_model(RunFolder(result.path).model)
        self.text = planted.text if text is None else text
        self.hidden = planted.hidden
        network = Network(file.config, file.weights)
        ids = file.vocab.encode(self.text)
        self.trace: Trace = record_lanes(network, ids) if text is None else record(network, ids)
        self._id = {char: int(file.vocab.encode(char)[0]) for char in file.vocab.alphabet}
        letter, place = result.unit.split(".")
        self._number = int(place)
        values = array_values(self.trace, letter[0], 0)
        if result.lesson.is_unbounded and letter[0] == "c":
            values = self.trace.memory(0)[1:]
        self.unit = values[:, self._number]

    def chance(self, char: str, after: np.ndarray) -> float:
        """Return the mean probability of a character after those that a mask names."""
        return float(np.exp(self.trace.log_probabilities[after, self._id[char]]).mean())

    def cost_nats(self, where: np.ndarray) -> float:
        """Return the mean loss of the characters that a mask names, but the first."""
        places = np.flatnonzero(where)
        places = places[places > 0]
        logs = self.trace.log_probabilities[places - 1, self.trace.ids[places]]
        return float(-logs.mean())

    def gate(self, name: str) -> np.ndarray:
        return self.trace.gates(0)[name][:, self._number]

    def is_one_of(self, chars: str) -> np.ndarray:
        return np.array([char in chars for char in self.text])


@pytest.mark.parametrize("name", LESSONS)
def test_a_network_learns_the_text_and_one_unit_follows_the_secret(name: str, train: Train) -> None:
    result = train(name)

    assert result.loss_nats == pytest.approx(result.best_nats, abs=GAP_NATS)
    assert result.best_nats == pytest.approx(result.entropy_nats, rel=0.1)
    assert result.correlation > UNIT.get(name, CLEAR)
    assert result.text[: result.at + 1].endswith(result.lesson.marker)
    assert (result.path / "best.safetensors").exists()
    # The state alone has to find out what characters in a row mean.
    assert read_model(RunFolder(result.path).model).config.ngram_rows == 0


def test_the_alphabet_has_a_direction(train: Train) -> None:
    result = train("alphabet")
    forwards, from_f, backwards = result.text.splitlines(keepends=True)
    reading = Reading(result, "\n" + result.text)
    nats = np.concatenate(
        (
            [0.0],
            -reading.trace.log_probabilities[
                np.arange(len(reading.text) - 1), reading.trace.ids[1:]
            ],
        )
    )
    first = 1 + len(forwards)

    assert nats[2:first].max() < 0.2
    assert nats[first] > 3
    assert nats[first + 1 : first + len(from_f)].max() < 0.5
    assert nats[first + len(from_f) : -1].mean() > 3
    assert backwards[0] == "z"


def test_one_bit_says_whether_a_mark_opens_or_closes(train: Train) -> None:
    reading = Reading(train("quotes"))
    outside, inside = (reading.unit[reading.hidden == side] for side in (0, 1))
    low, high = sorted((outside, inside), key=lambda values: float(values.mean()))

    assert np.percentile(low, 97) < np.percentile(high, 3)
    assert reading.chance(" ", reading.hidden == 1) < 0.02  # a space is never inside


def test_counting_makes_the_end_of_a_line_certain(train: Train) -> None:
    reading = Reading(train("counting"))

    assert reading.cost_nats(reading.is_one_of("\n")) < 0.1
    assert reading.cost_nats(reading.is_one_of("X")) > 1
    means = [float(reading.unit[reading.hidden == owed].mean()) for owed in range(1, 8)]
    steps = np.diff(means)
    assert (steps > 0).all() or (steps < 0).all()


def test_a_word_is_held_through_the_dots_and_copied(train: Train) -> None:
    result = train("copy")
    reading = Reading(result)
    line = 2 * 2 + 6 + 1
    copied = np.array([place % line in (8, 9) for place in range(len(reading.text))])

    assert reading.cost_nats(copied) < 0.1  # ln 4 = 1.39 for one who forgot
    assert np.median(reading.gate("f")[reading.is_one_of(".")]) > 0.8


def test_no_bracket_is_closed_that_is_not_open(train: Train) -> None:
    reading = Reading(train("brackets"))

    assert reading.chance(")", reading.hidden == 0) < 0.06
    assert reading.chance(")", reading.hidden == 3) > 0.5


def test_the_newline_is_certain_after_twenty_letters_and_not_before(train: Train) -> None:
    reading = Reading(train("column"))

    assert reading.chance("\n", reading.hidden == 20) > 0.8
    assert reading.chance("\n", reading.hidden == 18) < 0.1
    means = [float(reading.unit[reading.hidden == column].mean()) for column in range(2, 20)]
    assert (np.diff(means) > 0).all() or (np.diff(means) < 0).all()


def test_a_type_outlasts_noise_behind_closed_gates(train: Train) -> None:
    reading = Reading(train("types"))
    noise = reading.is_one_of("mn")

    assert reading.cost_nats(reading.is_one_of("XY")) < 0.1  # ln 2 = 0.69 for one who forgot
    assert np.median(reading.gate("f")[noise]) > 0.9
    assert np.median(reading.gate("i")[noise]) < 0.2


def test_a_bit_that_every_1_turns_over_is_in_the_state(train: Train) -> None:
    reading = Reading(train("parity"))
    known = np.isfinite(reading.hidden)
    states = np.concatenate([part[1:][known] for part in reading.trace.states[0]], 1)
    states = np.concatenate((states, np.ones((len(states), 1))), 1)
    is_odd = reading.hidden[known]
    half = len(is_odd) // 2
    weights = np.linalg.lstsq(states[:half], is_odd[:half], rcond=1e-6)[0]

    assert reading.cost_nats(reading.is_one_of("eo")) < 0.1
    assert ((states[half:] @ weights > 0.5) == is_odd[half:]).mean() > 0.97


def test_a_plain_rnn_learns_the_same_bit_but_has_no_unit_for_it(tmp_path: Path) -> None:
    result = run_lesson("parity", checkpoints=tmp_path, settings={"cell": "rnn"})

    assert result.loss_nats == pytest.approx(result.best_nats, abs=GAP_NATS)
    assert result.correlation < 0.8


def test_a_speaker_is_remembered_not_guessed(train: Train) -> None:
    reading = Reading(train("speaker"))
    is_q = reading.hidden == 1
    unlikely = is_q & reading.is_one_of("a")  # the other one's letter
    p_side, q_side = reading.unit[reading.hidden == 0].mean(), reading.unit[is_q].mean()

    assert abs(reading.unit[unlikely].mean() - q_side) < abs(q_side - p_side) / 4


# ── without training ──


def test_every_lesson_says_what_to_look_at_and_asks_one_question() -> None:
    for name, lesson in LESSONS.items():
        assert lesson.name == name
        assert lesson.question.count("?") >= 1
        assert lesson.view in ("text", "memory")
        assert lesson.marker in (lesson.text or lesson.make(300, 3).text)


def test_an_unknown_lesson_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"no lesson 'quote'; did you mean quotes\? .*alphabet"):
        find_lesson("quote")


@pytest.mark.parametrize("is_category", [False, True])
def test_a_unit_that_is_the_secret_is_found(is_category: bool) -> None:
    trace = record(make_network(cell="lstm", num_layers=2), make_ids(40))
    hidden = trace.states[1][1][1:, 4].astype(np.float64)
    if is_category:
        hidden = np.arange(40.0) % 3
        trace.states[1][1][1:, 4] = np.array([0.3, -0.9, 0.1])[hidden.astype(int)]
    hidden[5] = np.nan

    unit, strength = find_unit(trace, hidden, is_category=is_category, is_unbounded=not is_category)
    assert unit == "c2.4"
    assert strength == pytest.approx(1)


def test_a_lesson_can_be_repeated_under_the_same_name(tmp_path: Path) -> None:
    short = LESSONS["quotes"]
    first, second = (
        run_lesson(short.name, checkpoints=tmp_path, settings={"steps": 3}) for _ in range(2)
    )

    assert first.path == second.path
    assert first.loss_nats == second.loss_nats
