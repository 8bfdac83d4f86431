"""What to make of a finished run: is it good, does it under- or overfit, what would help.

Plain sentences from plain numbers, of which none contradicts another; it knows nothing of
terminals.
"""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.metrics import bits_per_char
from charrnn.text import ngram
from charrnn.training.outlook import Outlook

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
    outlook: Outlook

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
    called = f"the {name}" if name == ngram.NAME else name
    if abs(own - best) <= _ALIKE * best:
        return f"the model needs about as many as {called}"
    if own < best:
        return f"the model needs {1 - own / best:.0%} less than {called}"
    if not outcome.lacks_time:
        return f"{called} does better"
    if name == ngram.NAME:
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
