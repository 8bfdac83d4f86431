"""The end of a run: how good the model is, what would make it better, and what to type next.

`show_summary` is called by both displays. The advice below it compares the model with simpler ones
of the same text, reads the gap between the losses on training and held-out text, and says what
twice the time and twice the text would gain. Losses are in nats per character.
"""

import shlex
from pathlib import Path

from rich.console import Console
from rich.text import Text

from charrnn.analysis import baselines
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.console import is_screen, print_line
from charrnn.cli.formatting import format_duration, one_line
from charrnn.config import RunConfig
from charrnn.metrics import bits_per_char
from charrnn.tasks.recorder import RunFinished
from charrnn.training.plan import Extrapolation, extrapolate
from charrnn.training.reports import Finished

# The fit is fair where the gap, (val − train) / val, lies between these two.
_MIN_FAIR_GAP = 0.03
_MAX_FAIR_GAP = 0.2
_PERFECT_NATS = 0.001
_MIN_GAIN_NATS = 0.0005  # less would be printed as 0.000
_EQUAL_SHARE = 0.005  # of the baseline's bits: no difference that a person would see

_MORE_TEXT = "More text helps most; then more --dropout"
_MORE_DROPOUT = "More --dropout may help"
_MORE_TIME = "A longer --budget helps most; then a larger --hidden-size"
_MORE_UNITS = "A larger --hidden-size may help; more text helps more than a longer --budget"


def show_summary(console: Console, report: RunFinished) -> None:
    """Write the end of a run."""
    finished = report.finished
    is_early = finished.reason == "patience"
    verb = "stopped early, as it no longer got better:" if is_early else "trained"
    duration = format_duration(finished.elapsed_seconds)
    show_line(console, f"{verb} {finished.step:,} steps in {duration}")
    if finished.best_weights is not None:
        nats = finished.best_val_nats
        windowed = finished.best_val_windowed_nats
        by_windows = "" if windowed is None else f" ({windowed:.4f} in windows of 256 characters)"
        show_line(
            console,
            f"best model (step {finished.best_step:,}): {bits_per_char(nats):.3f} bits per "
            f"character on text it never saw = {nats:.4f} nats{by_windows}",
        )
    if finished.reason != "stopped":  # a run that is to continue is not judged
        ahead = extrapolate(finished.epochs)
        for line in judge_run(finished, ahead, report.baselines_bpc):
            show_line(console, line)
    # Lines to copy are never folded.
    print_line(console, f"model: {report.run.model}")
    print_line(console, f"next:  charrnn sample {name_for_shell(report.run)} --temp 0.8")


def show_line(console: Console, line: str) -> None:
    """Write one line, safe to look at; a terminal gets it wrapped between words."""
    if line:
        console.print(Text(one_line(line)), soft_wrap=not is_screen(console))


def name_for_shell(run: RunFolder) -> str:
    """Return the run as a shell takes it: its name, or its path outside checkpoints/.

    >>> name_for_shell(RunFolder(Path("checkpoints/my run")))
    "'my run'"
    """
    is_usual = run.path.parent == Path(RunConfig().checkpoints)
    return shlex.quote(run.name if is_usual else str(run.path))


def judge_run(
    finished: Finished, ahead: Extrapolation, baselines_bpc: dict[str, float]
) -> list[str]:
    """Return the advice, a sentence a line: simpler models, the fit, and what more would gain.

    ahead: what twice the time and text gain runs as long as this one. baselines_bpc: what simpler
    models need on the held-out text, in bits per character.
    """
    if not baselines_bpc:
        return ["the held-out part is too short for a reliable score"]
    train_nats = finished.best_train_nats
    val_nats = finished.best_val_nats
    losses = f"train {train_nats:.3f}, held out {val_nats:.3f} nats"

    # Simpler models are scored on the beginning of a long held-out text, so this one is too.
    own = bits_per_char(finished.best_val_compared_nats)
    part = "" if finished.best_val_compared_nats == val_nats else "the beginning of the "
    figures = ", ".join(f"{name} {bpc:.2f}" for name, bpc in baselines_bpc.items())
    scores = f"bits per character on {part}held-out text: model {own:.2f}, {figures}"
    if val_nats < _PERFECT_NATS:
        nothing = "there is nothing more to learn from this text"
        return [scores, f"it knows what comes next ({losses}): {nothing}"]

    # A run that got worse gains nothing by more time, and one that overfits needs text instead.
    gap = (val_nats - train_nats) / val_nats
    is_overfit = finished.got_worse or gap > _MAX_FAIR_GAP
    time_gain = 0.0 if finished.got_worse else ahead.twice_the_time * val_nats
    text_gain = ahead.twice_the_text * val_nats
    needs_time = not is_overfit and time_gain >= text_gain
    if is_overfit:
        fit = (
            f"it overfits ({losses}): it has begun to memorise the text; the best model was kept. "
            f"{_MORE_TEXT if text_gain > time_gain else _MORE_DROPOUT}, or a smaller --hidden-size"
        )
    elif gap >= _MIN_FAIR_GAP:
        fit = f"the fit is fair ({losses})"
    else:
        fit = (
            f"it underfits ({losses}): there is more to learn from this text. "
            f"{_MORE_TIME if needs_time else _MORE_UNITS}"
        )
    by_time = "nothing" if finished.got_worse else _format_gain(time_gain)
    return [
        f"{scores}; {_compare(own, baselines_bpc, needs_time)}",
        fit,
        f"estimate: training twice as long gains {by_time}, twice as much text "
        f"{_format_gain(text_gain)}",
    ]


def _compare(own: float, baselines_bpc: dict[str, float], needs_time: bool) -> str:
    """Compare `own` bits per character with the best baseline's."""
    name, best = min(baselines_bpc.items(), key=lambda item: item[1])
    is_ngram = name == baselines.NGRAM_NAME
    called = f"the {name}" if is_ngram else name
    if abs(own - best) <= _EQUAL_SHARE * best:
        return f"the model needs about as many as {called}"
    if own < best:
        return f"the model needs {1 - own / best:.0%} less than {called}"
    if not needs_time:
        return f"{called} is better here"
    if is_ngram:
        return f"{called} is better here: the model has not trained enough, give a longer --budget"
    return (
        f"{name} is better here: train longer, unless the text repeats long passages, which {name} "
        "copies and the model cannot"
    )


def _format_gain(nats: float) -> str:
    return "next to nothing" if nats < _MIN_GAIN_NATS else f"about {nats:.3f} nats"
