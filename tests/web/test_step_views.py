"""The views step and unrolled in the page, which compute their numbers by themselves."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.interpret.step import inspect_step
from charrnn.interpret.subject import Subject, Texts
from charrnn.interpret.unrolled import inspect_unrolled
from charrnn.tasks.inspect_page import make_page
from tests.web.browser import Browser, Page
from tests.web.ngrams import with_ngrams
from tests.web.test_page import make_pair, make_text_subject

LINES = "[...document.querySelectorAll('section.is-chosen .live-part details')]"
LEAD = "document.querySelector('section.is-chosen .lead')"
PICTURE = "document.querySelector('svg.unrolled')"

OpenView = Callable[..., Page]


@pytest.fixture
def open_view(browser: Browser, tmp_path: Path) -> OpenView:
    """Return a function that opens the page of subjects at a view, place 20 and neuron c2.3."""

    def opens(view: str, *subjects: Subject) -> Page:
        every = subjects or (make_text_subject(cell="lstm", num_layers=2),)
        reports = {
            "step": {each.name: inspect_step(each, InspectConfig()) for each in every},
            "unrolled": {each.name: inspect_unrolled(each, InspectConfig()) for each in every},
        }
        path = tmp_path / "inspect.html"
        page = make_page(every, reports, {}, command="charrnn inspect book")
        path.write_text(page, encoding="utf-8", newline="")
        return browser.open(path, f"view={view}&t=20&n=c2.3&m=0")

    return opens


@pytest.fixture
def unrolled(open_view: OpenView) -> Page:
    page = open_view("unrolled")
    page.wait_for(f"{PICTURE} !== null")
    return page


@pytest.fixture
def step(open_view: OpenView) -> Page:
    page = open_view("step")
    page.wait_for(f"{LINES}.length > 20")
    return page


def test_a_step_shows_the_equations_of_the_chosen_neuron(step: Page) -> None:
    text = step.evaluate("document.querySelector('section.is-chosen .live-part').textContent")

    assert "It reads “newline” at place 20. Next comes “t”." in text
    assert "neuron 3 in layer 2" in text
    for name in ("(U_f x)[3] = ", "c[3] = ", "logit[t] = ", "∂ℓ/∂h[3] = ", "∂ℓ/∂W_o[3,"):
        assert name in text, name
    assert not step.errors


def test_a_step_with_n_grams_begins_with_what_is_read(open_view: OpenView) -> None:
    plain = make_text_subject(cell="gru", num_layers=2)
    file = with_ngrams(plain.file, 4, 800, plain.ids)
    subject = Subject("book", file, plain.ids, Texts(lambda: (plain.ids, plain.ids)))
    page = open_view("step", subject)
    page.evaluate("charrnn.page.select({ at: 20, unit: 'h1.3' })")
    page.wait_for(f"{LINES}[0]?.textContent.startsWith('x[')")

    first = page.evaluate(f"{LINES}[0].textContent")
    assert re.search(r"E\[newline,\d+\].*G\[':↵',\d+\].*G\['be:↵',\d+\]", first)
    assert "the character's embedding, and those of the n-grams g that end with it" in first
    page.evaluate("charrnn.page.select({ view: 'unrolled' })")
    page.wait_for(f"{PICTURE} !== null")
    page.click("#unrolled-folded")
    page.wait_for("document.body.textContent.includes('U reads the character and the n-grams')")
    assert not page.errors
    page.close()


def test_a_line_opens_with_its_derivative_measured(step: Page) -> None:
    words = step.evaluate(
        f"{LINES}.find((line) => line.textContent.startsWith('∂ℓ/∂c[3]')).textContent"
    )

    assert "By the formula" in words
    assert "by changing it a little and reading the loss again" in words
    assert "In code: charrnn/interpret/derivatives.py: " in words  # of the recorded report


def test_every_line_names_its_code(step: Page) -> None:
    without = step.evaluate(f"{LINES}.filter((line) => !line.textContent.includes('In code: '))")

    assert without == []


def test_an_open_line_stays_open_at_the_next_place(step: Page) -> None:
    step.evaluate(f"{LINES}[4].querySelector('summary').click()")

    step.evaluate("charrnn.page.select({ at: 21 })")
    step.wait_for(
        "document.querySelector('section.is-chosen .lead').textContent.includes('place 21')"
    )

    assert step.evaluate(f"{LINES}.map((line) => line.open).indexOf(true)") == 4


def test_the_network_is_unrolled_around_the_place(unrolled: Page) -> None:

    words = unrolled.evaluate(f"{PICTURE}.textContent")
    assert "place 13: " in words
    assert "place 24: " in words
    assert "place 12: " not in words
    assert "place 25: " not in words
    assert "NaN" not in unrolled.evaluate(f"{PICTURE}.outerHTML")
    assert not unrolled.errors


def test_the_network_can_be_folded(unrolled: Page) -> None:

    unrolled.click("#unrolled-folded")

    unrolled.wait_for(f"{PICTURE}.textContent.includes('W2')")


def test_a_click_on_a_column_chooses_its_place(unrolled: Page) -> None:

    unrolled.click("svg.unrolled > rect[fill='transparent']")

    unrolled.wait_for("charrnn.page.at === 13")


def test_models_are_unrolled_one_below_the_other(open_view: OpenView) -> None:
    page = open_view("unrolled", *make_pair())

    page.wait_for("document.querySelectorAll('svg.unrolled').length === 2")
    assert not page.errors


def test_the_boxes_have_the_numbers_of_the_report(unrolled: Page) -> None:
    subject = make_text_subject(cell="lstm", num_layers=2)
    report = inspect_unrolled(subject, InspectConfig(at=20))

    words = unrolled.evaluate(f"[...{PICTURE}.querySelectorAll('text')].map((e) => e.textContent)")

    found = [float(each) for each in words if re.fullmatch(r"\d\.\d\d", each)]
    np.testing.assert_allclose(found, report.strengths.ravel(), 0, 0.0051)
    places = [int(each) for each in words if each.isdecimal()]
    assert places == list(range(report.start, report.start + len(report.symbols)))
