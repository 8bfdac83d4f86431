"""What to make of a finished run: is it good, does it under- or overfit, what would help.

Plain sentences from plain numbers; it knows nothing of terminals.
"""

from __future__ import annotations

from charrnn.metrics import bits_per_char
from charrnn.text import ngram
from charrnn.training.outlook import Outlook

_OVERFITS_FROM = 0.2  # (val − train) / val, both in nats
_UNDERFITS_BELOW = 0.03
_NOTHING_LEFT_BELOW = 0.001  # nats
_WORTH_SAYING = 0.0005  # nats


def compare_with_baselines(
    val_nats: float, baselines_bpc: dict[str, float], *, got_worse: bool
) -> str:
    """Say how the model's bits per character stand to those of simpler models of the same text.

    got_worse: the held-out loss had its best well before the run ended; training longer is no help.
    """
    if not baselines_bpc:
        return ""
    own = bits_per_char(val_nats)
    figures = ", ".join(f"{name} {bpc:.2f}" for name, bpc in baselines_bpc.items())
    name, best = min(baselines_bpc.items(), key=lambda item: item[1])
    called = f"the {name}" if name == ngram.NAME else name
    if own < best:
        verdict = f"the model needs {1 - own / best:.0%} less than {called}"
    elif got_worse:
        verdict = f"{called} does better"
    elif name == ngram.NAME:
        verdict = f"{called} does better: the model has not trained enough, give a longer --budget"
    else:
        verdict = f"{name} does better: train longer, unless the text repeats itself word for word"
    return f"bits per character on held-out text: model {own:.2f}, {figures}; {verdict}"


def judge_fit(train_nats: float, val_nats: float, *, got_worse: bool) -> str:
    """Say whether the model under- or overfits and what to change.

    got_worse: the held-out loss had its best well before the run ended.
    """
    losses = f"train {train_nats:.3f}, held out {val_nats:.3f} nats"
    if val_nats < _NOTHING_LEFT_BELOW:
        return f"it knows what comes next ({losses}): there is nothing more to learn from this text"
    gap = (val_nats - train_nats) / val_nats
    if got_worse or gap > _OVERFITS_FROM:
        return (
            f"it overfits ({losses}): it learns its text by heart. More text helps most; "
            "then more --dropout, or a smaller --hidden-size"
        )
    if gap < _UNDERFITS_BELOW:
        return (
            f"it underfits ({losses}): there is more to learn from this text. "
            "A longer --budget helps most; then a larger --hidden-size"
        )
    return f"the fit is fair ({losses})"


def look_ahead(val_nats: float, outlook: Outlook, *, got_worse: bool) -> str:
    """Say what twice the time and twice the text would bring, as runs on other texts went.

    got_worse: more time brings nothing where the held-out loss had its best long before the end.
    """
    if val_nats < _NOTHING_LEFT_BELOW:
        return ""
    time_nats, text_nats = (
        share * val_nats for share in (outlook.twice_the_time, outlook.twice_the_text)
    )
    by_time = "nothing" if got_worse else _about(time_nats)
    return f"to expect: twice the time brings {by_time}, twice the text {_about(text_nats)}"


def _about(nats: float) -> str:
    return "next to nothing" if nats < _WORTH_SAYING else f"about {nats:.3f} nats"
