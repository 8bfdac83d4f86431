"""Several networks first, and then one that learns from them: a run with teachers.

`charrnn train`, `charrnn.train` and `charrnn.fit` call this. Networks that differ in their seed
alone err in different places, so their mean predicts better than each of them. The run that was
asked for learns from text that they write together and from the real one, and keeps a large part of
what several are worth. The teachers are runs of their own, NAME-teacher1 and so on, told by their
settings and text as those of several seeds (fit.py): the same command given again leaves out those
that are finished and continues what is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from charrnn.checkpoint.run_folder import RunFolder
from charrnn.checkpoint.run_store import check_name, name_after, named_run, refuse_taken
from charrnn.config import TrainConfig
from charrnn.data.corpus import Corpus
from charrnn.errors import ConfigError
from charrnn.tasks import train_request
from charrnn.tasks.fit import CHOSEN, Result, Runs, TrainCall
from charrnn.tasks.machine_speeds import read_speeds, save_speeds
from charrnn.tasks.train import Reading, RunReport, open_text, start_run
from charrnn.tasks.train_request import Text, TrainRequest, UnfinishedRun
from charrnn.training.plan import TEACHERS_SHARE, choose_teachers
from charrnn.training.world import SINGLE_PROCESS, World

_MOST_TEACHERS = 16  # as the setting has it
_SEED_STEP = (
    1000  # --seeds 1,2,3 and the run itself have seeds near each other: none is a teacher's
)
_SEEDS = 2**63
_FASTEST = 256.0  # times the reference machine, as calibration.py has it


@dataclass(frozen=True)
class TeacherStarted:
    """A teacher comes next: number `number` of `total`.

    sizes, done: as `SeedStarted` has them. budget_seconds: of each teacher; None where steps or
    epochs say how long.
    """

    seed: int
    number: int
    total: int
    budget_seconds: float | None
    sizes: dict[str, Any]
    done: Result | None = None


@dataclass(frozen=True)
class StudentStarted:
    """The run that was asked for comes next; it learns from these teachers and from the text.

    budget_seconds: what is left for it; None where steps or epochs say how long.
    """

    teachers: tuple[Result, ...]
    budget_seconds: float | None


Report = RunReport | TeacherStarted | StudentStarted


def train_with_teachers(
    corpus: Sequence[str],
    settings: Mapping[str, Any],
    *,
    texts: Sequence[Text] = (),
    should_stop: Callable[[], bool] = lambda: False,
    should_continue: Callable[[UnfinishedRun], bool] = lambda _: True,
    world: World = SINGLE_PROCESS,
) -> Generator[Report, None, None]:
    """Train a run as `start_run` does, after its teachers if it has any; the last report is its.

    The arguments are those of `start_run`. The setting `teachers` says how many there are; None
    leaves it to the text, the budget and the machine.

    Raises:
        CharRNNError: as `start_run`; or teachers do not go with another setting.
    """
    call = TrainCall(corpus, settings, texts, should_stop, should_continue)
    _, _, run = train_request.split_settings(settings)
    has_none = run.teachers == 0 or run.distill_from or run.resume is not None
    obstacle = "" if has_none else _find_obstacle(call, world)
    if obstacle and run.teachers:
        raise ConfigError(obstacle)
    is_open = not has_none and not obstacle
    if is_open:
        request = call.request(settings)
        yield Reading(request.corpus_paths)
        text = open_text(request)
        number = _count_teachers(call, request, text)
        if number:
            yield from _Teaching(call, request, text, number).train()
            return
    reports = start_run(
        corpus,
        settings,
        texts=texts,
        should_stop=should_stop,
        should_continue=should_continue,
        world=world,
    )
    with closing(reports):
        if is_open:
            next(reports)  # that the text is read was said
        yield from reports


def _find_obstacle(call: TrainCall, world: World) -> str:
    """Return why this call can have no teachers; "" if it can, as far as its settings say."""
    text, train, run = train_request.split_settings(call.settings)
    is_by_budget = train.budget_seconds is not None
    task = train.task or text.task
    if run.teachers is None and not is_by_budget:
        return "the rule is one of budgets"  # nobody asked for teachers, so nobody sees it
    if run.init_from is not None:
        return (
            "teachers are new networks, and this run starts from the weights of a trained one; "
            "leave --init-from or --teachers out"
        )
    if task != "text":
        return f"teachers write text, and a run of task {task} learns none; leave --teachers out"
    if world.world_size > 1:
        return "--teachers trains run after run; start it without torchrun"
    if "-" in (*call.corpus, text.val_file):
        return "standard input cannot be read once for each teacher; give a file, or --teachers 0"
    return ""


def _count_teachers(call: TrainCall, request: TrainRequest, text: Corpus) -> int:
    """Return how many teachers the run has: as asked for, else as many as pay."""
    if request.run.teachers:
        if len(text.labels):
            raise ConfigError(
                "teachers write text without labels, and this one has labels; leave --teachers out"
            )
        return request.run.teachers
    if len(text.labels) or not len(text.val):
        return 0
    sizes = (text.vocab.size, len(text.train))
    # A faster machine has no fewer teachers: where the fastest has none, none need be measured,
    # and torch is not loaded yet.
    if not choose_teachers(request.train, *sizes, _FASTEST):
        return 0
    from charrnn.model.device import choose_device  # torch
    from charrnn.training.calibration import machine_speed

    if choose_device(request.train.device).type != "cpu":
        return 0  # not measured there
    speeds = read_speeds()
    number = choose_teachers(request.train, *sizes, machine_speed(request.train, speeds))
    save_speeds(speeds)
    if not number or train_request.find_unfinished(request, text):  # a run alone continues
        return 0
    # A machine that seems faster now than at the first call must not begin others.
    numbers = (number, *(each for each in range(1, _MOST_TEACHERS + 1) if each != number))
    begun = (each for each in numbers if _Teaching(call, request, text, each).is_begun)
    return next(begun, number)


@dataclass(frozen=True)
class _Shares:
    """The settings of length of each teacher and of the run that learns from them; {} as given."""

    teacher: dict[str, Any] = field(default_factory=dict)
    student: dict[str, Any] = field(default_factory=dict)
    teacher_seconds: float | None = None
    student_seconds: float | None = None

    @classmethod
    def of(cls, train: TrainConfig, number: int) -> _Shares:
        """Divide a budget; steps and epochs are the same for each run.

        Runs are found by their settings, so each share is a rounded number, the same every time.
        """
        if train.budget_seconds is None:
            return cls()
        each = round(TEACHERS_SHARE * train.budget_seconds / number, 3)
        rest = round(train.budget_seconds - number * each, 3)
        return cls({"budget": f"{each}s"}, {"budget": f"{rest}s"}, each, rest)


class _Teaching:
    """The runs of one call that has `number` teachers."""

    def __init__(self, call: TrainCall, request: TrainRequest, text: Corpus, number: int) -> None:
        self._call = call
        self._request = request
        self._text = text
        self._number = number
        self._shares = _Shares.of(request.train, number)
        own = {**call.settings, **self._shares.teacher, "teachers": 0, "overwrite": False}
        own["keep_checkpoints"] = 1  # nobody goes back in them
        own.pop("written_lanes", None)
        own.pop("length_history", None)  # of the run that is repeated
        self._of_teachers = own

    @property
    def is_begun(self) -> bool:
        """Whether there is a first teacher already."""
        return self._find_first() is not None

    def train(self) -> Generator[Report, None, None]:
        """Train the teachers, and then the run that learns from them, unless one is stopped."""
        stem = self._find_stem()
        teachers = yield from self._train_teachers(stem)
        if teachers is not None:
            yield from self._train_student(teachers, stem)

    def _train_teachers(self, stem: str) -> Generator[Report, None, tuple[Result, ...] | None]:
        """Train each teacher that is not trained; return what came of them, None if stopped."""
        run = self._request.run
        call = TrainCall(
            self._call.corpus,
            self._of_teachers,
            self._call.texts,
            self._call.should_stop,
            self._call.should_continue,
        )
        runs = Runs(call, CHOSEN, self._text, stem, are_named=run.name is not None)
        for number in range(1, self._number + 1):
            seed = self._seed_of(number)
            seconds = self._shares.teacher_seconds
            started = partial(TeacherStarted, seed, number, self._number, seconds)
            if_new = {"overwrite": run.overwrite}
            for report in runs.train({"seed": seed}, _ending(number), started, if_new):
                is_to_train = isinstance(report, TeacherStarted) and report.done is None
                if is_to_train and run.name is not None and not run.overwrite:
                    refuse_taken(named_run(run.name, Path(run.checkpoints)))  # not hours later
                yield report
            if len(runs.results) < number:
                return None
        return tuple(runs.results)

    def _train_student(
        self, teachers: tuple[Result, ...], stem: str
    ) -> Generator[Report, None, None]:
        """Train the run that was asked for."""
        own = {**self._call.settings, **self._shares.student, "teachers": None}
        own["distill_from"] = tuple(each.run for each in teachers)
        request = self._call.request(own)
        run = named_run(stem, Path(request.run.checkpoints))
        is_new = train_request.find_unfinished(request, self._text) is None
        if request.run.name is None and is_new and not run.has_model:
            own["name"] = run.name
        yield StudentStarted(teachers, self._shares.student_seconds)
        reports = start_run(
            self._call.corpus,
            own,
            texts=self._call.texts,
            should_stop=self._call.should_stop,
            should_continue=self._call.should_continue,
        )
        with closing(reports):
            yield from reports

    def _find_stem(self) -> str:
        """Return the name of the run, which its teachers' names begin with."""
        run = self._request.run
        if run.name is not None:
            check_name(run.name)
            return run.name
        first = self._find_first()
        if first is not None:
            return first.name.removesuffix(_ending(1))
        stem = name_after(self._text.name)
        endings = ("", *(_ending(number) for number in range(1, self._number + 1)))
        stems = itertools.chain([stem], (f"{stem}-{number}" for number in itertools.count(2)))
        checkpoints = Path(run.checkpoints)
        return next(
            each
            for each in stems
            if not any(named_run(f"{each}{end}", checkpoints).has_model for end in endings)
        )

    def _find_first(self) -> RunFolder | None:
        """Return the run of the first teacher, if it was begun before."""
        request = self._call.request({**self._of_teachers, "seed": self._seed_of(1)})
        found = train_request.find_alike(request, self._text, _ending(1))
        return None if found is None else found.run

    def _seed_of(self, number: int) -> int:
        return (self._request.train.seed + _SEED_STEP * number) % _SEEDS


def _ending(number: int) -> str:
    """Return how the name of a teacher ends."""
    return f"-teacher{number}"
