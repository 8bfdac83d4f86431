"""Lessons: a small network learns a text with a known secret, and shows where it keeps it.

`run_lesson` makes the text (corpora/planted.py), trains a network on it in seconds, and finds the
unit that follows the secret best. With that, a view can be opened at the place to look at. A lesson
asks one question, and has the answer for those who have looked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from charrnn.checkpoint.model_file import ModelFile, read_model
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.corpora import planted
from charrnn.corpora.planted import Planted
from charrnn.errors import ConfigError
from charrnn.generation.network import Network
from charrnn.interpret.trace import Trace, record_lanes
from charrnn.interpret.units import array_values, state_arrays
from charrnn.tasks.fit import run_to_end
from charrnn.tasks.train import RunReport, open_text, start_run
from charrnn.tasks.train_request import find_alike, read_request
from charrnn.wording import nearest

_TRAIN_CHARS = 80_000
_MEASURED_CHARS = 6_000
_SHOWN_CHARS = 320
_SETTINGS: dict[str, Any] = {
    "cell": "lstm",
    "hidden_size": 32,
    "embedding_size": 16,
    "ngram_order": 1,  # what the last characters mean is to be found in the state alone
    "dropout": 0.0,
    "steps": 500,
    "seq_len": 50,
    "batch_size": 32,
    "optimizer": "adamw",  # of small networks it counts more exactly than Muon
    "learning_rate": 0.02,
    "warmup_steps": 20,
    "device": "cpu",
    "threads": 1,
    "lines": False,  # what happens across lines is what is learnt
}


@dataclass(frozen=True)
class Lesson:
    """One lesson.

    make: returns the text from a length and a seed. view: which to open. marker: the place to look
    at is the end of the first one. secret: what the hidden variable is. is_category: its values are
    names, not amounts. is_unbounded: what follows it is c itself, not tanh c. text: to look at
    instead of one that `make` returns. settings: of training, where they differ.
    """

    name: str
    title: str
    make: Callable[[int, int], Planted]
    secret: str
    view: str
    marker: str
    look: str
    question: str
    answer: str
    is_category: bool = False
    is_unbounded: bool = False
    text: str | None = None
    settings: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class LessonResult:
    """A lesson that was trained.

    path: of the run's folder. text: to look at; at: the place in it. measured_text: a longer one,
    for figures. unit: the one that follows the
    secret best; correlation: how well, 0 to 1. loss_nats: on text that was not trained on;
    best_nats: what a reader that knows all rules pays for the same text; entropy_nats: for all such
    texts, in closed form.
    """

    lesson: Lesson
    path: Path
    text: str
    at: int
    measured_text: str
    unit: str
    correlation: float
    loss_nats: float
    best_nats: float
    entropy_nats: float

    @property
    def view(self) -> str:
        """Which view to open."""
        return self.lesson.view

    @property
    def question(self) -> str:
        """What to find out."""
        return self.lesson.question

    @property
    def answer(self) -> str:
        """What there is to be found."""
        return self.lesson.answer


def run_lesson(
    name: str,
    *,
    checkpoints: str | Path = "checkpoints",
    seed: int = 1,
    is_reused: bool = False,
    on_report: Callable[[RunReport], object] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> LessonResult:
    """Train a lesson's network, replacing the run lesson-NAME, and return what to look at.

    is_reused: a finished run of the same text and settings is not trained again. settings: of
    training, instead of the lesson's own, such as {"cell": "rnn"}.

    Raises:
        ConfigError: there is no lesson of that name.
        CharRNNError: as `start_run`.

    >>> run_lesson("quotes").unit  # doctest: +SKIP
    'h1.24'
    """
    lesson = find_lesson(name)
    learned = lesson.make(_TRAIN_CHARS, seed)
    chosen = _SETTINGS | dict(lesson.settings) | dict(settings or {})
    chosen |= {
        "name": f"lesson-{name}",
        "checkpoints": str(checkpoints),
        "seed": seed,
        "eval_every": chosen["steps"],
    }
    run = _find_finished(chosen, learned.text) if is_reused else None
    if run is None:
        chosen["overwrite"] = True
        last = run_to_end(partial(start_run, [], chosen, texts=[learned.text]), on_report)
        run = last.run
    measured = lesson.make(_MEASURED_CHARS, seed + 1)
    file = read_model(run.model)
    trace = _read(file, measured.text)
    unit, correlation = find_unit(
        trace,
        measured.hidden,
        is_category=lesson.is_category,
        is_unbounded=lesson.is_unbounded,
    )
    text = lesson.text or lesson.make(_SHOWN_CHARS, seed + 2).text
    return LessonResult(
        lesson=lesson,
        path=run.path,
        text=text,
        at=text.index(lesson.marker) + len(lesson.marker) - 1,
        measured_text=measured.text,
        unit=unit,
        correlation=correlation,
        loss_nats=_loss_nats(trace),
        best_nats=float(measured.nats[1:].mean()),
        entropy_nats=measured.entropy_nats,
    )


def _find_finished(settings: Mapping[str, Any], text: str) -> RunFolder | None:
    """Return the finished run that training on a text with these settings would repeat."""
    request = read_request([], settings, texts=[text])
    found = find_alike(request, open_text(request))
    return found.run if found and found.is_finished else None


def find_lesson(name: str) -> Lesson:
    """Return the lesson of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in LESSONS:
        close = nearest(name, LESSONS)
        hint = f"did you mean {close}? " if close else ""
        raise ConfigError(
            f"there is no lesson {name!r}; {hint}the lessons are {', '.join(LESSONS)}"
        )
    return LESSONS[name]


def find_unit(
    trace: Trace,
    hidden: NDArray[np.float64],
    *,
    is_category: bool = False,
    is_unbounded: bool = False,
) -> tuple[str, float]:
    """Return the unit that follows a variable best, and how well, 0 to 1.

    hidden: the variable after each token (T,), NaN where it means nothing. Of amounts that is the
    absolute correlation; of names the correlation ratio, the root of the share of the unit's
    variance that the names explain. A unit of c is taken as views show it, as tanh c, or with
    is_unbounded as it is.
    """
    means_something = ~np.isnan(hidden)
    wanted = hidden[means_something]
    best = ("", -1.0)
    for depth in trace.depths:
        for letter in state_arrays(trace.config):
            states = array_values(trace, letter, depth)
            if letter == "c" and is_unbounded:
                states = trace.memory(depth)[1:]
            values = states[means_something].astype(np.float64)
            found = _ratios(values, wanted) if is_category else _correlations(values, wanted)
            place = int(found.argmax())
            if found[place] > best[1]:
                best = (f"{letter}{depth + 1}.{place}", float(found[place]))
    return best


def _correlations(values: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return |Pearson's r| of each column of values (N, H) with what is wanted (N,)."""
    values = values - values.mean(0)
    wanted = wanted - wanted.mean()
    scale = np.sqrt((values**2).sum(0) * (wanted**2).sum())
    products: NDArray[np.float64] = np.abs(wanted @ values)
    products /= np.maximum(scale, 1e-12)
    return products


def _ratios(values: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation ratio of each column of values (N, H) with names (N,)."""
    values = values - values.mean(0)
    between = np.zeros(values.shape[1])
    for name in np.unique(wanted):
        group = values[wanted == name]
        between += len(group) * group.mean(0) ** 2
    ratios: NDArray[np.float64] = np.sqrt(between / np.maximum((values**2).sum(0), 1e-12))
    return ratios


def _read(file: ModelFile, text: str) -> Trace:
    """Return the trace of a text, read in stretches side by side."""
    return record_lanes(Network(file.config, file.weights), file.vocab.encode(text))


def _loss_nats(trace: Trace) -> float:
    """Return the mean loss of all tokens but the first."""
    targets = trace.ids[1:, None]
    return float(-np.take_along_axis(trace.log_probabilities[:-1], targets, 1).mean())


_ALPHABETS = "abcdefghijklmnopqrstuvwxyz\nfghijklmnopqrstuvwxyz\nzyxwvutsrqponmlkjihgfedcba\n"

_LESSONS = (
    Lesson(
        "alphabet",
        "The alphabet, forwards and backwards",
        planted.make_alphabet,
        secret="which letter of the alphabet it is",
        view="text",
        marker="\nf",
        text=_ALPHABETS,
        look="Colour the text by surprise. The first line is the alphabet, the second one begins "
        "at f, the third one goes backwards.",
        question="You can say the alphabet without thinking. Why is it hard to say it backwards, "
        "and what happens when you begin at f?",
        answer="The network learnt each letter from the one before, in one direction. Forwards "
        "nearly nothing surprises it. At f it is surprised once, as most lines begin with a, and "
        "then goes on from f at once. Backwards every letter is a surprise: what it knows is a "
        "chain of steps, and a chain has a direction. A memory for sequences is not a list that "
        "can be read from both ends.",
    ),
    Lesson(
        "quotes",
        "Inside quotation marks",
        planted.make_quotes,
        secret="whether the text is inside quotation marks",
        view="text",
        marker='"',
        look="Colour the text by the unit. Look at what it does at each quotation mark.",
        question='The sign " is the same at both ends of a quotation. How does the network know '
        "which one it has just read?",
        answer="One unit changes sides at every quotation mark and stays there while letters "
        "pass. It is one bit of memory. The sign alone does not say what it means; the sign and "
        "the state together do.",
    ),
    Lesson(
        "counting",
        "As many b as a",
        planted.make_counting,
        secret="how many b are still owed",
        view="text",
        marker="X",
        look="Colour the text by the unit. The colour is tanh c, which hardly moves where c is "
        "large. charrnn inspect step has c itself: compare it at the first and at the last a.",
        question="After the last b the line ends. What does the network keep so as to know when?",
        answer="The memory c of one unit moves by about the same amount at each a, and back at "
        "each b: it counts. The line ends when it is back where it began. An LSTM can do that as "
        "its c is a sum, which has no bounds. The X costs most, as nobody can know how many a "
        "will come; the line's end costs nearly nothing.",
        is_unbounded=True,
    ),
    Lesson(
        "copy",
        "Say it again",
        planted.make_copy,
        secret="the first letter of the word",
        view="memory",
        marker="......",
        is_category=True,
        look="Look at the dots. All of them are the same sign, and the network reads nothing new.",
        question="While it reads dots, where is the word?",
        answer="In the state, in all of it: several units together stand at other values for each "
        "word and hold them through the dots. Their forget gates are near 1 there. The copy "
        "costs nearly nothing, so nothing was lost.",
        settings=(("steps", 600),),
    ),
    Lesson(
        "brackets",
        "How deep are the brackets?",
        planted.make_brackets,
        secret="how many brackets are open",
        view="text",
        marker="((",
        look="Colour the text by the unit, and look at the guesses where no bracket is open.",
        question="What must the network know so as never to close a bracket that is not open?",
        answer="The depth. A unit follows it, one way at each ( and the other way at each ). "
        "Where no bracket is open the guess for ) falls to about 2 %. Brackets of one kind need "
        "no stack, only a number.",
    ),
    Lesson(
        "column",
        "The end of the line",
        planted.make_column,
        secret="how many characters of the line are read",
        view="text",
        marker="\n",
        look="Colour the text by the unit. The letters are random: look past them.",
        question="Each line has exactly 20 letters, and no letter says which one it is. How does "
        "the network know that the line is over?",
        answer="A unit moves a little at each character, whatever it is, and the newline sets it "
        "back. When it is far enough, the guess for the newline goes to nearly 100 %.",
    ),
    Lesson(
        "types",
        "Remember the beginning",
        planted.make_types,
        secret="whether the line began with B",
        view="memory",
        marker="A",
        look="Look at the unit along a long line, and at the guesses after the point.",
        question="A line that begins with A ends with X, one with B ends with Y. In between it "
        "reads noise. What must the network not do there?",
        answer="It must not forget and not mix the noise in. One unit takes its side at A or B "
        "and keeps it until the point: there its forget gate is near 1 and its input gate near 0.",
        settings=(("learning_rate", 0.01),),
    ),
    Lesson(
        "parity",
        "Even or odd",
        planted.make_parity,
        secret="whether the number of 1 is odd",
        view="text",
        marker="=",
        look="Colour the text by the unit. Compare what it does at a 1 and at a 0.",
        question="To say whether the number of 1 is odd, need the network count them?",
        answer="No. One bit is enough: each 1 turns it over, each 0 leaves it. This GRU mostly "
        "keeps it in one unit; now and then several share it. A plain RNN learns the text as "
        "well, but it spreads the bit: none of its units follows it closely. A sum of what was "
        "read cannot do that, so this needs the nonlinearity: the same 1 moves the state one way "
        "or the other, depending on where it stands.",
        settings=(("cell", "gru"), ("hidden_size", 16), ("embedding_size", 8)),
    ),
    Lesson(
        "speaker",
        "Who is speaking?",
        planted.make_speaker,
        secret="whether Q is speaking",
        view="text",
        marker=":",
        look="Colour the text by the unit. Both speakers use the same four letters.",
        question="P likes a, Q likes d, but each says all letters. Does the network hear who "
        "speaks, or does it remember?",
        answer="It remembers. The unit takes its side at the name and keeps it through letters "
        "that the other one would rather say. Listening alone would be wrong at first; a name is "
        "never wrong.",
    ),
)

LESSONS = {lesson.name: lesson for lesson in _LESSONS}
"""All lessons by name, easy ones first."""
