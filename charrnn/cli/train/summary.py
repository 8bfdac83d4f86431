"""The end of a run: how good the model is, what would make it better, and what to type next.

`show_summary` is called by both displays. The advice below it compares the model with simpler ones
of the same text, reads the gap between the losses on training and held-out text, and says what
twice the time and twice the text would gain. Losses are kept in nats, and shown in bits, per
character.
"""

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from charrnn.analysis import baselines
from charrnn.cli.console import is_screen, print_line
from charrnn.cli.formatting import (
    UNITS,
    LossUnit,
    describe_classification,
    describe_end,
    describe_loss,
    describe_scores,
    describe_sources,
    format_duration,
    format_loss,
    one_line,
)
from charrnn.cli.inputs import name_for_shell
from charrnn.errors import counted
from charrnn.metrics import bits_per_char
from charrnn.tasks.recorder import RunFinished
from charrnn.tasks.train import Opened
from charrnn.training.plan import Extrapolation, extrapolate
from charrnn.training.reports import Finished
from charrnn.training.trouble import Trouble

# The fit is balanced where the gap, (val − train) / val, is between these two.
_MIN_BALANCED_GAP = 0.03
_MAX_BALANCED_GAP = 0.2
_PERFECT_NATS = 0.001
_GUESSED = {
    "nats per text": "class",
    "nats per character": "tag",
    "nats per target token": "token",
}
_MIN_OVERFIT_NATS = 0.05
_OVERFIT_TIMES = 2.0  # of the loss on training texts, where a network decides on whole texts
_MIN_GAIN_BPC = 0.005  # less would be printed as 0.00
_EQUAL_SHARE = 0.005  # of the baseline's bits: no difference that a person would see

_MORE_TEXT = "More text helps most; then more --dropout"
_MORE_DROPOUT = "More --dropout may help"
_MORE_TIME = "A longer --budget helps most; then a larger --hidden-size"
_MORE_UNITS = "A larger --hidden-size may help; more text helps more than a longer --budget"


def show_summary(console: Console, report: RunFinished, opened: Opened | None = None) -> None:
    """Write the end of a run. opened: its text, by whose script a scale is shown."""
    finished = report.finished
    duration = format_duration(finished.elapsed_seconds)
    if finished.reason == "stopped":  # the line after the summary says at which step
        show_line(console, f"trained for {duration}")
    else:
        is_early = finished.reason == "patience"
        verb = "stopped early, as it no longer got better:" if is_early else "trained"
        show_line(console, f"{verb} {counted(finished.step, 'step')} in {duration}")
    has_test = opened is not None and len(opened.corpus.test) > 0
    task = finished.snapshot.model.task
    if task != "text":
        for line in _describe_task(report, task):
            show_line(console, line)
    elif finished.best_val_nats is not None:
        part = "the validation part, which chose it" if has_test else "text it never saw"
        nats = finished.best_val_nats
        loss = f"{bits_per_char(nats):.3f} bits per character on {part}"
        show_line(console, f"best model (step {finished.best_step:,}): {loss}")
        show_line(console, format_loss(nats, bits_per_char(nats) / report.bytes_per_char))
        alphabet = opened.corpus.vocab.alphabet if opened else ""
        show_line(console, describe_loss(finished.best_val_nats, alphabet))
    if finished.reason != "stopped" and task == "text":  # a run that may continue is not judged
        # The curves are those of runs that read the text alone.
        is_taught = opened is not None and bool(opened.teachers)
        ahead = None if is_taught else extrapolate(finished.epochs)
        for line in judge_run(finished, ahead, report.baselines_bpc, report.val_chars):
            show_line(console, line)
        if by_source := finished.best_val_by_source_nats:
            show_line(console, f"held out, by text: {describe_sources(by_source)}")
        for column, figures in report.classification.items():
            show_line(console, describe_classification(column, figures))
    # Lines to copy are never folded.
    print_line(console, f"model: {report.run.model}")
    print_line(console, f"settings, to repeat the run: {report.run.resolved}")
    if has_test and finished.reason != "stopped":
        print_line(console, f"test:  charrnn eval {name_for_shell(report.run)} --split test")
    if finished.best_weights is not None:  # else it has hardly begun to learn
        name = name_for_shell(report.run)
        does = f"sample {name} --temp 0.8" if task == "text" else f"predict {name} FILE"
        print_line(console, f"next:  charrnn {does}")


def _describe_task(report: RunFinished, task: str) -> Iterator[str]:
    """Yield how well a network decides, and whether it has learned its texts by heart."""
    finished = report.finished
    unit = UNITS[task]
    if finished.best_val_nats is None:
        yield "nothing was held out: no early stopping, no verdict"
        return
    val = unit.of(finished.best_val_nats)
    scores = describe_scores(report.scores)
    yield f"best model (step {finished.best_step:,}): {scores} on texts it never saw" * bool(scores)
    for column, figures in report.classification.items():
        yield describe_classification(column, figures, is_bayes=False)
    if finished.best_train_eval_nats is None:
        return
    train = unit.of(finished.best_train_eval_nats)
    losses = f"train {train:.3f}, held out {val:.3f} {unit.name}"
    if finished.trouble:
        yield f"the last model is {describe_trouble(finished.trouble, unit)}"
    elif finished.got_worse or val > max(_OVERFIT_TIMES * train, train + _MIN_OVERFIT_NATS):
        kept = "the best model before that was kept. " * finished.got_worse
        yield (
            f"it overfits ({losses}): {kept}More texts help most; then more --dropout, or a "
            "smaller --hidden-size"
        )
    else:
        yield f"the fit is balanced ({losses}); a longer --budget may help"


def show_line(console: Console, line: str) -> None:
    """Write one line, safe to look at; a terminal gets it wrapped between words."""
    if line:
        console.print(Text(one_line(line)), soft_wrap=not is_screen(console))


def judge_run(
    finished: Finished, ahead: Extrapolation | None, baselines_bpc: dict[str, float], val_chars: int
) -> list[str]:
    """Return the advice, a sentence a line: simpler models, the fit, and what more would gain.

    ahead: what twice the time and text gain runs as long as this one; None if that is not known.
    baselines_bpc: what simpler
    models need on the held-out text, in bits per character; val_chars: the length of that text.
    """
    train_nats = finished.best_train_eval_nats
    val_nats = finished.best_val_nats
    compared_nats = finished.best_val_compared_nats
    if val_nats is None or train_nats is None or compared_nats is None:
        return ["nothing was held out: no early stopping, no verdict"]
    trouble = finished.trouble
    troubles = [f"the last model is {describe_trouble(trouble)}"] if trouble else []
    if not baselines_bpc:
        chars = counted(val_chars, "character")
        return [f"the held-out part is too short ({chars}) for a reliable score", *troubles]
    train_bpc = bits_per_char(train_nats)
    losses = f"train {train_bpc:.3f}, held out {bits_per_char(val_nats):.3f} bits per character"

    # Simpler models are scored on the beginning of a long held-out text, and so is this one.
    own = bits_per_char(compared_nats)
    part = "" if compared_nats == val_nats else "the beginning of the "
    figures = ", ".join(f"{name} {bpc:.2f}" for name, bpc in baselines_bpc.items())
    scores = f"bits per character on {part}held-out text: model {own:.2f}, {figures}"
    of_records = _judge_records(finished, val_nats)
    if troubles:
        compared = f"{scores}; {_compare(own, baselines_bpc, needs_time=False)}"
        return [compared, *of_records, *troubles]
    if val_nats < _PERFECT_NATS:
        nothing = "there is nothing more to learn from this text"
        return [scores, *of_records, f"it knows what comes next ({losses}): {nothing}"]

    # A run that got worse gains nothing by more time, and one that overfits needs text instead.
    gap = (val_nats - train_nats) / val_nats
    is_overfit = gap > (_MIN_BALANCED_GAP if finished.got_worse else _MAX_BALANCED_GAP)
    time_gain = 0.0 if finished.got_worse or ahead is None else ahead.twice_the_time
    text_gain = 0.0 if ahead is None else ahead.twice_the_text
    needs_time = not is_overfit and time_gain >= text_gain
    if is_overfit:
        fit = (
            f"it overfits ({losses}): it has begun to memorise your text. "
            "The best model before that was kept. "
            f"{_MORE_TEXT if text_gain > time_gain else _MORE_DROPOUT}, or a smaller --hidden-size"
        )
    elif finished.got_worse:  # on both texts alike
        fit = (
            f"it got worse after its best model ({losses}), on the training text too: the learning "
            "rate is too high; lower --learning-rate, or leave it out"
        )
    elif gap >= _MIN_BALANCED_GAP:
        fit = f"the fit is balanced ({losses})"
    else:
        fit = (
            f"it underfits ({losses}): there is more to learn from this text. "
            f"{_MORE_TIME if needs_time else _MORE_UNITS}"
        )
    estimate = (
        f"estimate: training twice as long: {_format_gain(time_gain, val_nats)}; "
        f"twice as much text: {_format_gain(text_gain, val_nats)}"
    )
    compared = f"{scores}; {_compare(own, baselines_bpc, needs_time)}"
    return [compared, *of_records, fit, *[estimate] * (ahead is not None)]


def _judge_records(finished: Finished, val_nats: float) -> list[str]:
    """Return what the ends of records cost, and records whose labels are not known."""
    lines = []
    if finished.best_val_end_nats is not None:
        lines.append(describe_end([bits_per_char(finished.best_val_end_nats)], digits=2))
    if finished.best_val_unlabelled_nats is not None:
        more = bits_per_char(finished.best_val_unlabelled_nats - val_nats)
        without = bits_per_char(finished.best_val_unlabelled_nats)
        change = f"{abs(more):.3f} {'more' if more >= 0 else 'fewer'}"
        lines.append(f"without its label a record costs {without:.3f} bits per character, {change}")
    return lines


def describe_trouble(trouble: Trouble, unit: LossUnit = UNITS["text"]) -> str:
    """Return what a model is worse than, by how much, and what to try."""
    worse_than = {
        "guessing": "worse than guessing",
        "frequencies": f"worse than guessing by {_GUESSED.get(unit.name, 'letter')} frequencies",
        "before": "far worse than it was before",
    }[trouble.worse_than]
    limit = unit.of(trouble.limit_nats)
    figures = f"{unit.of(trouble.val_nats):.2f} > {limit:.2f} {unit.name}"
    rate = f"--learning-rate {trouble.learning_rate:.2g}" if trouble.learning_rate else ""
    if not trouble.is_rate_too_high:
        cause = "it has only begun to learn; train longer" + (rate and f", with {rate}")
    elif trouble.is_clipped:
        cause = f"the learning rate is too high; try {rate}"
    else:
        cause = f"the learning rate is too high, and clipping is off; try {rate} --clip-grad-norm 1"
    return f"{worse_than} ({figures}): {cause}"


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
        return f"{called} is better here. The model is not trained enough: give a longer --budget"
    return (
        f"{name} is better here. Train longer; if the text repeats long passages, {name} copies "
        "them and the model cannot"
    )


def _format_gain(share: float, val_nats: float) -> str:
    """Return in words what a share of the held-out loss is."""
    bpc = bits_per_char(share * val_nats)
    if bpc < _MIN_GAIN_BPC:
        return "no gain"
    percentage = f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"
    return f"{bpc:.2f} bits per character better ({percentage})"
