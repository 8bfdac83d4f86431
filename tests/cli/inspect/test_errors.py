"""The view `errors` on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from charrnn.cli.inspect.errors import show_errors
from charrnn.config.inspect import InspectConfig
from charrnn.interpret.errors import inspect_errors
from charrnn.interpret.subject import Texts
from tests.interpret.networks import make_ids, make_network, make_subject


def shown(*, has_train: bool, models: int = 1) -> str:
    subject = make_subject(make_network(), make_ids(400))
    if not has_train:
        subject = replace(subject, texts=Texts(lambda: (subject.ids, subject.ids[:0])))
    report = inspect_errors(subject, InspectConfig())
    console = Console(file=io.StringIO(), width=80, color_system=None)
    show_errors({f"book[{n}]": report for n in range(models)}, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_causes_and_savings_are_printed() -> None:
    text = shown(has_train=True, models=2)

    assert "book[0]" in text
    assert "book[1]" in text
    assert "n-gram" in text
    assert "word start" in text
    assert "position in a word" in text


def test_what_needs_the_training_text_says_so() -> None:
    text = shown(has_train=False)

    assert "n-gram  " not in text
    assert "Bits saved" not in text
    assert "the training text is not where training found it" in text
