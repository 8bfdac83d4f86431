"""The last words of a run: how good the model is, what would make it better, what to type next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from charrnn.analysis import baselines
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.console import is_screen
from charrnn.cli.formatting import format_duration, sanitize
from charrnn.config import RunConfig
from charrnn.metrics import bits_per_char
from charrnn.tasks.recorder import RunFinished
from charrnn.training.extrapolation import Extrapolation, extrapolate
from charrnn.training.reports import Finished

_ENDINGS = {
    "length": "trained",
    "patience": "stopped early, as it no longer got better:",
    "stopped": "stopped as asked:",
}


def show_summary(console: Console, report: RunFinished) -> None:
    """Write the end of a run."""
    finished = report.finished
    duration = format_duration(finished.elapsed_seconds)
    show_line(console, f"{_ENDINGS[finished.reason]} {finished.step:,} steps in {duration}")
    if finished.best_weights is not None:
        show_line(console, _describe_best(finished))
    if finished.reason != "stopped":
        for line in judge_run(_outcome(finished), report.baselines_bpc):
            show_line(console, line)
    show_line(console, f"model: {report.run.model}", is_copied=True)
    show_line(
        console, f"next:  charrnn sample {name_for_shell(report.run)} --temp 0.8", is_copied=True
    )


def show_line(console: Console, line: str, *, is_copied: bool = False) -> None:
    """Write one line as it is: no markup, no highlighting, no escape sequences.

    On a terminal it is wrapped between words, unless a person will want to copy it.
    """
    if line:
        is_whole = is_copied or not is_screen(console)
        console.print(Text(sanitize(line)), soft_wrap=is_whole, highlight=False)


def _outcome(finished: Finished) -> Outcome:
    return Outcome(
        train_nats=finished.best_train_nats,
        val_nats=finished.best_val_nats,
        compared_nats=finished.best_val_compared_nats,
        got_worse=finished.got_worse,
        outlook=extrapolate(finished.epochs),
    )


def _describe_best(finished: Finished) -> str:
    nats, windowed = finished.best_val_nats, finished.best_val_windowed_nats
    by_windows = f" ({windowed:.4f} in windows of 256 characters)" if windowed is not None else ""
    return (
        f"best model, of step {finished.best_step:,}: {bits_per_char(nats):.3f} bits per character "
        f"on held-out text = {nats:.4f} nats{by_windows}"
    )


def name_for_shell(run: RunFolder) -> str:
    """Give the run as a shell takes it: its name, or its path outside checkpoints/."""
    is_usual = run.path.parent == Path(RunConfig().checkpoints)
    return shlex.quote(run.name if is_usual else str(run.path))


_OVERFITS_FROM = 0.2  # (val − train) / val, both in nats
_UNDERFITS_BELOW = 0.03
_NOTHING_LEFT_BELOW = 0.001  # nats
_WORTH_SAYING = 0.0005  # nats
_ALIKE = 0.005  # of the baseline's bits


@dataclass(frozen=True)
class Outcome:
    """What a run came to: the losses of its best model, in nats per character.

    compared_nats: of as much of the held-out text as simpler models are scored on. got_worse: the
    held-out loss had its best well before the run ended. outlook: of runs as long as this one.
    """

    train_nats: float
    val_nats: float
    compared_nats: float
    got_worse: bool
    outlook: Extrapolation

    @property
    def gap(self) -> float:
        """The share of the held-out loss that the training text does not have."""
        return (self.val_nats - self.train_nats) / self.val_nats

    @property
    def knows_all(self) -> bool:
        """Whether nothing is left to learn."""
        return self.val_nats < _NOTHING_LEFT_BELOW

    @property
    def overfits(self) -> bool:
        """Whether it learned its text by heart, so that more time is not what it lacks."""
        return self.got_worse or self.gap > _OVERFITS_FROM

    @property
    def time_nats(self) -> float:
        """What twice the time would bring: nothing where more of it made the model worse."""
        return 0.0 if self.got_worse else self.outlook.twice_the_time * self.val_nats

    @property
    def text_nats(self) -> float:
        """What twice the text would bring."""
        return self.outlook.twice_the_text * self.val_nats

    @property
    def lacks_time(self) -> bool:
        """Whether more time is what it lacks most."""
        return not self.overfits and self.time_nats >= self.text_nats


def judge_run(outcome: Outcome, baselines_bpc: dict[str, float]) -> list[str]:
    """Give all there is to say, a sentence a line; baselines_bpc: of the held-out text."""
    if not baselines_bpc:
        return ["what was held out is too short to judge the model by"]
    return [
        compare_with_baselines(outcome, baselines_bpc),
        judge_fit(outcome),
        look_ahead(outcome),
    ]


def compare_with_baselines(outcome: Outcome, baselines_bpc: dict[str, float]) -> str:
    """Say how the model's bits per character stand to those of simpler models of the same text."""
    own = bits_per_char(outcome.compared_nats)
    figures = ", ".join(f"{name} {bpc:.2f}" for name, bpc in baselines_bpc.items())
    part = "" if outcome.compared_nats == outcome.val_nats else "the beginning of the "
    text = f"bits per character on {part}held-out text: model {own:.2f}, {figures}"
    return text if outcome.knows_all else f"{text}; {_verdict(outcome, own, baselines_bpc)}"


def _verdict(outcome: Outcome, own: float, baselines_bpc: dict[str, float]) -> str:
    """Compare `own` bits per character with the best baseline's."""
    name, best = min(baselines_bpc.items(), key=lambda item: item[1])
    called = f"the {name}" if name == baselines.NGRAM_NAME else name
    if abs(own - best) <= _ALIKE * best:
        return f"the model needs about as many as {called}"
    if own < best:
        return f"the model needs {1 - own / best:.0%} less than {called}"
    if not outcome.lacks_time:
        return f"{called} does better"
    if name == baselines.NGRAM_NAME:
        return f"{called} does better: the model has not trained enough, give a longer --budget"
    return f"{name} does better: train longer, unless the text repeats itself word for word"


def judge_fit(outcome: Outcome) -> str:
    """Say whether the model under- or overfits and what to change."""
    losses = f"train {outcome.train_nats:.3f}, held out {outcome.val_nats:.3f} nats"
    if outcome.knows_all:
        return f"it knows what comes next ({losses}): there is nothing more to learn from this text"
    if outcome.overfits:
        helps = (
            "More text helps most; then more --dropout, or a smaller --hidden-size"
            if outcome.text_nats > outcome.time_nats
            else "More --dropout may help, or a smaller --hidden-size"
        )
        return f"it overfits ({losses}): it learns its text by heart. {helps}"
    if outcome.gap >= _UNDERFITS_BELOW:
        return f"the fit is fair ({losses})"
    helps = (
        "A longer --budget helps most; then a larger --hidden-size"
        if outcome.lacks_time
        else "A larger --hidden-size may help; more text helps more than a longer --budget"
    )
    return f"it underfits ({losses}): there is more to learn from this text. {helps}"


def look_ahead(outcome: Outcome) -> str:
    """Say what twice the time and twice the text would bring, as it went with tiny-shakespeare."""
    if outcome.knows_all:
        return ""
    by_time = "nothing" if outcome.got_worse else _about(outcome.time_nats)
    return f"to expect: twice the time brings {by_time}, twice the text {_about(outcome.text_nats)}"


def _about(nats: float) -> str:
    return "next to nothing" if nats < _WORTH_SAYING else f"about {nats:.3f} nats"
