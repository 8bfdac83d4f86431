"""The page replays the training: a slider recolours the text as each snapshot reads it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from charrnn.config.inspect import InspectConfig
from charrnn.interpret.training import inspect_training
from charrnn.tasks.inspect_page import make_page
from tests.interpret.networks import make_network
from tests.interpret.test_training import LINES, snapshots_of, subject_of
from tests.web.browser import Browser

SLIDER = "document.getElementById('training-step')"


def test_the_slider_shows_the_network_of_each_step(browser: Browser, tmp_path: Path) -> None:
    subject = subject_of(*LINES, snapshots=snapshots_of())
    subject = replace(subject, file=replace(subject.file, weights=make_network(seed=41).weights))
    report = inspect_training(subject, InspectConfig(neurons=("h1.2",)))
    path = tmp_path / "page.html"
    reports = {"training": {"book": report}}
    path.write_text(make_page([subject], reports, {}, command="charrnn inspect"), encoding="utf-8")
    page = browser.open(path, "view=training", 900)
    page.wait_for(f"{SLIDER} && document.querySelectorAll('pre.replay span').length === 30")

    def colours() -> list[str]:
        spans = "[...document.querySelectorAll('pre.replay span')]"
        return page.evaluate(f"{spans}.map((span) => span.style.backgroundColor)")

    last = colours()
    page.evaluate(f"{SLIDER}.value = 0; {SLIDER}.dispatchEvent(new Event('input'))")

    assert page.evaluate(f"{SLIDER}.getAttribute('aria-valuetext')") == "step 0"
    assert colours() != last
    assert len([colour for colour in last if colour]) == 30
    assert page.errors == []
    page.close()
