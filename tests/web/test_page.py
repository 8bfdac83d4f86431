"""The page of inspect in a browser: offline, inert, live, and usable by keyboard alone."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.inspect import InspectConfig
from charrnn.interpret import colors
from charrnn.interpret.matching import SIDES, find_matches, select_units, units_on
from charrnn.interpret.subject import Subject, Texts
from charrnn.interpret.svg import Picture
from charrnn.interpret.text import inspect_text
from charrnn.interpret.trace import record
from charrnn.interpret.words import cut_into_words
from charrnn.tasks.inspect_page import make_page
from charrnn.text.vocab import Vocab
from tests.interpret.networks import make_network
from tests.interpret.test_colors import VISIONS, lab, linear
from tests.tasks.test_inspect_page import HOSTILE, Report
from tests.web.browser import Browser, Page

TEXT = "to be, or not to be:\nthat is the question.\n" * 3
ALPHABET = "\n" + "".join(map(chr, range(32, 127)))
VIEWS = (
    *("text", "guesses", "write", "gates", "memory", "gradients", "links"),
    *("neuron", "step", "unrolled"),
)

# Tells the page around a frame what its view is, once the text was read in it.
TELL = """
charrnn.openPage();
document.querySelector("nav a[data-view=guesses]").click();
charrnn.page.trace(0).then((trace) =>
  parent.postMessage([charrnn.page.view, charrnn.page.isLive, trace.length], "*"));
"""

OpenPage = Callable[..., Page]


def make_text_subject(
    text: str = TEXT, name: str = "book", seed: int = 3, **shape: object
) -> Subject:
    vocab = Vocab("".join(sorted({*ALPHABET, *text})))
    network = make_network(seed, vocab_size=vocab.size, **shape)
    file = ModelFile(network.config, vocab, network.weights, {"step": 7})
    ids = vocab.encode(text)
    return Subject(name, file, ids, Texts(lambda: (ids, ids)))


def make_pair() -> list[Subject]:
    """Return two models that read the same text."""
    return [make_text_subject(name=name, cell="gru", seed=k) for k, name in enumerate("ab")]


@dataclass(frozen=True)
class Best:
    """A unit, and its score on held-out text."""

    unit: str
    held: float


@dataclass(frozen=True)
class Finding:
    """What the search found for a feature."""

    feature: str
    meaning: str
    verdict: str
    best: Best
    sentence: str = "it does"
    is_yes_no: bool = True
    shifted: float = 0.55


@dataclass(frozen=True)
class Findings:
    """A report of the search for neurons."""

    findings: tuple[Finding, ...]

    def table(self) -> tuple[list[str], list[list[object]]]:
        return ["feature"], [[each.feature] for each in self.findings]


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[OpenPage]:
    """Return a function that makes the page of subjects and opens it."""
    opened: list[Page] = []

    def opens(*subjects: Subject, fragment: str = "", width: int = 1200, **options: bool) -> Page:
        every = subjects or (make_text_subject(cell="lstm", num_layers=2),)
        reports = {"errors": {each.name: Report() for each in every}}
        pictures = {"errors": Picture(200, 100, "What is wrong").as_svg()}
        path = tmp_path / "inspect.html"
        page = make_page(every, reports, pictures, command="charrnn inspect book", **options)
        path.write_text(page, encoding="utf-8", newline="")
        opened.append(browser.open(path, fragment, width))
        return opened[-1]

    yield opens
    for each in opened:
        each.close()


def text_of(page: Page) -> str:
    """Return the text of the first board."""
    return str(page.evaluate("document.querySelector('.board').textContent"))


def said(page: Page, words: str) -> str:
    """Return what the live region says once it has these words."""
    has = f"document.getElementById('live').textContent.includes({json.dumps(words)})"
    page.wait_for(has)
    return str(page.evaluate("document.getElementById('live').textContent"))


def test_the_page_asks_for_nothing_and_reports_nothing(open_page: OpenPage) -> None:
    page = open_page()
    for view in (*VIEWS, "errors"):
        page.evaluate(f"charrnn.page.select({{view: '{view}', at: 20}})")
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 150))")
    assert {address.partition(":")[0] for address in page.requests} <= {"file", "blob"}
    assert page.errors == []


def test_the_page_opens_in_less_than_three_seconds(open_page: OpenPage) -> None:
    start = time.monotonic()
    page = open_page()
    page.wait_for("document.querySelector('.board [data-at]') !== null")
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_text_is_shown_as_text(open_page: OpenPage, text: str) -> None:
    page = open_page(make_text_subject(text))
    shown = page.evaluate(f"charrnn.shown({json.dumps(text)})")
    assert text_of(page) == shown
    assert page.errors == []
    assert not set(shown) & {"\0", "\u202e", "\u2028", "\x7f"}


def test_a_long_line_is_shown_whole(open_page: OpenPage) -> None:
    page = open_page(make_text_subject("ab c" * 25_000), has_weights=False, fragment="view=errors")
    assert page.errors == []
    page = open_page(make_text_subject("ab c" * 1_000))
    assert text_of(page) == "ab c" * 1_000


def test_the_tab_key_reaches_every_link(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate("document.querySelector('.skip').focus()")
    reached = []
    for _ in (*VIEWS, "errors"):
        page.press("Tab")
        reached.append(page.evaluate("document.activeElement.dataset.view"))
    assert reached == [*VIEWS, "errors"]


@pytest.mark.parametrize("view", [*VIEWS, "errors"])
def test_a_link_opens_its_view_and_tab_goes_on_inside(open_page: OpenPage, view: str) -> None:
    page = open_page()
    page.evaluate(f"document.querySelector('nav a[data-view={view}]').focus()")
    page.press("Enter")
    page.wait_for(f"charrnn.page.view === '{view}'")
    assert page.evaluate("document.querySelectorAll('section.is-chosen').length") == 1
    page.press("Tab")
    inside = "document.activeElement.closest('section.is-chosen')?.dataset.view"
    assert page.evaluate(inside) == view


def test_the_keys_move_the_place_the_unit_and_the_layer(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=0&n=c1.0")
    page.evaluate("document.getElementById('boards').focus()")
    places = []
    for key in ("ArrowRight", "Control+ArrowRight", "End", "ArrowDown", "Home", "ArrowUp", "."):
        page.press(key)
        places.append(page.evaluate("charrnn.page.at"))
    assert places == [1, 3, 20, 41, 21, 0, 1]
    page.press("Control+End")
    assert page.evaluate("charrnn.page.at") == len(TEXT) - 1
    units = []
    for key in ("]", "}", "[", "[", "{"):
        page.press(key)
        units.append(page.evaluate("charrnn.page.unit"))
    assert units == ["c1.1", "c2.1", "c2.0", "c2.5", "c1.5"]
    page.wait_for("location.hash === '#view=text&t=128&n=c1.5&m=0'")


def test_a_question_mark_lists_the_keys_and_escape_closes_the_list(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate("document.getElementById('boards').focus()")
    page.press("?")
    assert page.evaluate("document.getElementById('help').open")
    page.press("Escape")
    page.wait_for("!document.getElementById('help').open")
    assert page.evaluate("document.activeElement.id") == "boards"


def test_a_search_goes_to_the_next_place(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=0")
    page.evaluate("document.getElementById('boards').focus()")
    page.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.write("qu..t")
    page.press("Enter")
    assert page.evaluate("charrnn.page.at") == TEXT.index("quest")
    assert page.evaluate("charrnn.page.range") == [TEXT.index("quest"), TEXT.index("quest") + 5]


def test_the_address_gives_view_place_unit_and_model(open_page: OpenPage) -> None:
    subjects = [
        make_text_subject(name=name, cell="gru", seed=seed) for seed, name in enumerate("ab")
    ]
    page = open_page(*subjects, fragment="view=memory&t=17&n=h1.4&m=1")
    state = page.evaluate(
        "[charrnn.page.view, charrnn.page.at, charrnn.page.unit, charrnn.page.model]"
    )
    assert state == ["memory", 17, "h1.4", 1]


def test_the_live_region_says_place_value_and_the_likeliest_next_character(
    open_page: OpenPage,
) -> None:
    subject = make_text_subject(cell="lstm")
    page = open_page(subject, fragment="view=text&t=4&n=c1.3")
    page.evaluate("document.getElementById('boards').focus()")
    page.press("ArrowRight")
    words = said(page, "position 5")
    trace = record(subject.network, subject.ids)
    value = float(f"{np.tanh(trace.memory(0)[6, 3]):.2g}")
    assert f"c1.3 = {str(value).replace('-', '−')}" in words
    best = int(trace.logits[5].argmax())
    percent = round(100 * float(np.exp(trace.log_probabilities[5, best])))
    assert f"{percent} %" in words


def test_a_screen_reader_finds_the_text_its_place_and_the_tools(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=3")
    names = page.accessibility()
    assert any(role == "grid" and "Arrow keys" in name for role, name in names)
    assert ("button", "Edit text") in names
    assert ("link", "Guesses") in names
    assert ("heading", "Neurons over text") in names
    nameless = [
        role for role, name in names
        if role in {"button", "link", "textbox", "slider", "checkbox", "combobox"} and not name
    ]  # fmt: skip
    assert nameless == []


@pytest.mark.parametrize("view", VIEWS)
def test_no_tool_of_a_view_is_nameless(open_page: OpenPage, view: str) -> None:
    page = open_page(fragment=f"view={view}&t=30")
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 200))")
    tools = {"button", "link", "textbox", "slider", "checkbox", "combobox", "spinbutton", "image"}
    assert [role for role, name in page.accessibility() if role in tools and not name] == []


def test_typing_changes_the_guesses_at_once(open_page: OpenPage) -> None:
    page = open_page(fragment="view=guesses&t=5")
    bars = "[...document.querySelectorAll('.bars')].map((each) => each.textContent).join()"
    before = page.wait_for(bars)
    page.click("#edit")
    page.write("zq")
    page.wait_for("charrnn.page.symbols.slice(-2).join('') === 'zq'")
    page.wait_for(f"{bars} !== {json.dumps(before)}")
    assert text_of(page).endswith("zq")
    assert page.errors == []


def test_typed_text_gives_the_values_of_numpy(open_page: OpenPage) -> None:
    subject = make_text_subject(cell="lstm")
    page = open_page(subject, fragment="view=text&t=5&n=c1.2")
    page.click("#edit")
    page.write("Hello")
    page.wait_for("charrnn.page.symbols.slice(-5).join('') === 'Hello'")
    values = page.evaluate("charrnn.page.values(0, 'c1.2').then((found) => [...found])")
    trace = record(subject.network, subject.vocab.encode(TEXT + "Hello"))
    np.testing.assert_allclose(values, np.tanh(trace.memory(0)[1:, 2]), atol=1e-5)


def test_an_unknown_character_is_left_out_and_named(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text")
    page.click("#edit")
    page.write("é")
    page.wait_for("document.getElementById('edit-note').textContent.includes('é')")
    assert page.evaluate("charrnn.page.ids.length") == len(TEXT)


def test_a_held_neuron_changes_what_is_written(open_page: OpenPage) -> None:
    subject = make_text_subject(cell="lstm")
    subject.file.weights["output.weight"][:] *= 8
    page = open_page(subject, fragment="view=write&t=9&n=c1.1")
    free = page.wait_for("document.getElementById('write-free').textContent")
    page.click("#write-hold")
    page.evaluate(
        """(() => {
            const slider = document.querySelector('.clamp input');
            slider.max = 9;
            slider.value = 9;
            slider.dispatchEvent(new Event('input'));
        })()"""
    )
    held = page.wait_for("document.getElementById('write-held').textContent")
    assert held != free
    assert page.evaluate("document.getElementById('write-free').textContent") == free


def test_models_stand_one_above_the_other_and_m_goes_from_one_to_the_next(
    open_page: OpenPage,
) -> None:
    subjects = [
        make_text_subject(name=name, cell="gru", seed=seed) for seed, name in enumerate("ab")
    ]
    page = open_page(*subjects, fragment="view=text&t=4&n=h1.2")
    assert page.evaluate("document.querySelectorAll('.board').length") == 2
    page.evaluate("document.getElementById('boards').focus()")
    page.press("m")
    assert said(page, "b, ").startswith("b, ")


def test_the_page_reads_without_script(open_page: OpenPage) -> None:
    page = open_page()
    page.send("Emulation.setScriptExecutionDisabled", {"value": True})
    page.load(page.requests[0])
    names = page.accessibility()
    assert ("heading", "Errors") in names
    assert any(role in {"image", "img"} and name == "What is wrong" for role, name in names)
    assert not [name for role, name in names if role == "grid"]


def test_a_page_without_weights_shows_its_figures(open_page: OpenPage) -> None:
    page = open_page(has_weights=False)
    assert page.evaluate("charrnn.page.view") == "errors"
    assert page.evaluate("document.querySelector('section.is-chosen svg') !== null")
    assert page.errors == []


def test_a_page_without_weights_colours_the_recorded_units_and_offers_no_search(
    browser: Browser, tmp_path: Path
) -> None:
    subject = make_text_subject(cell="rnn", nonlinearity="relu")
    report = inspect_text(subject, InspectConfig(neurons=("h1.2",)))
    reports = {"text": {"book": report}}
    path = tmp_path / "still.html"
    text = make_page([subject], reports, {}, command="charrnn inspect", has_weights=False)
    path.write_text(text, encoding="utf-8", newline="")
    page = browser.open(path, "view=text&t=4")
    page.wait_for("document.querySelector('.is-chosen svg.chart') !== null")
    assert page.evaluate("charrnn.page.scale(0, 'h1.2')") == pytest.approx(report.scales[0])
    assert page.evaluate("document.getElementById('text-threshold')") is None
    assert "same state" not in page.evaluate("document.querySelector('main').textContent")
    assert page.errors == []
    page.close()


@pytest.mark.parametrize("view", VIEWS)
def test_a_narrow_window_needs_no_scrolling_sideways(open_page: OpenPage, view: str) -> None:
    page = open_page(fragment=f"view={view}&t=30", width=320)
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 200))")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320


def test_the_light_colours_are_those_of_the_pictures(open_page: OpenPage) -> None:
    page = open_page()
    values = [k / 40 for k in range(-40, 41)]
    found = page.evaluate(
        f"{json.dumps(values)}.map((v) => charrnn.colors.signed(v, charrnn.colors.PALETTES.light))"
    )
    assert found == [colors.signed_color(value) for value in values]
    palette = page.evaluate("charrnn.colors.PALETTES.light")
    assert palette["curves"] == list(colors.CURVES)
    assert page.evaluate("charrnn.colors.DASHES") == list(colors.DASHES)
    shares = [k / 40 for k in range(41)]
    found = page.evaluate(
        f"{json.dumps(shares)}.map((v) => "
        "charrnn.colors.magnitude(v, charrnn.colors.PALETTES.light))"
    )
    assert found == [colors.mix(colors.MAGNITUDE, share) for share in shares]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_letters_can_be_read_on_every_colour(open_page: OpenPage, scheme: str) -> None:
    palette = open_page().evaluate(f"charrnn.colors.PALETTES.{scheme}")
    for ramp in ("negative", "positive", "magnitude"):
        for k in range(41):
            background = colors.mix(palette[ramp], k / 40)
            assert colors.contrast(colors.letter_color(background), background) >= 4.5
    for name in ("ink", "pale", "accent"):
        assert colors.contrast(palette[name], palette["paper"]) >= 4.5
    for curve in palette["curves"]:
        if scheme == "dark":
            assert colors.contrast(curve, palette["paper"]) >= 3


def test_the_dark_colours_are_as_light_on_both_sides(open_page: OpenPage) -> None:
    palette = open_page().evaluate("charrnn.colors.PALETTES.dark")
    for low, high in zip(palette["negative"], palette["positive"], strict=True):
        assert colors.contrast(low, high) < 1.05


@pytest.mark.parametrize("vision", VISIONS)
def test_both_signs_differ_in_dark_colours_for_every_vision(
    open_page: OpenPage, vision: str
) -> None:
    palette = open_page().evaluate("charrnn.colors.PALETTES.dark")
    for k in range(4, 17):
        pair = [colors.mix(palette[ramp], k / 16) for ramp in ("negative", "positive")]
        seen = [lab(VISIONS[vision] @ linear(each)) for each in pair]
        assert np.linalg.norm(seen[0] - seen[1]) > 10


def test_a_place_keeps_its_text_after_a_change_of_colour_scheme(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=3&n=c1.0")
    color = "getComputedStyle(document.querySelector('.board [data-at]')).backgroundColor"
    page.wait_for(f"{color} !== 'rgba(0, 0, 0, 0)'")
    light = page.evaluate(color)
    page.set_media(prefers_color_scheme="dark")
    page.wait_for(f"{color} !== '{light}'")


def test_reduced_motion_stops_playing(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=3")
    page.set_media(prefers_reduced_motion="reduce")
    page.evaluate("document.getElementById('boards').focus()")
    page.press(" ")
    page.evaluate("new Promise((resolve) => setTimeout(resolve, 500))")
    assert page.evaluate("charrnn.page.at") == 4


@pytest.mark.parametrize("is_bounded", [False, True], ids=["free", "bounded"])
@pytest.mark.parametrize("side", SIDES)
def test_matching_stretches_are_those_of_python(
    open_page: OpenPage, side: str, is_bounded: bool
) -> None:
    page = open_page()
    for seed in range(5):
        random = np.random.default_rng(seed)
        values = (random.normal(size=(60, 37)).cumsum(0) / 3).round(2)
        start, stop, threshold = 10 + seed, 12 + seed, 0.3
        found = page.evaluate(
            f"""(() => {{
                const rows = {json.dumps(values.tolist())};
                const value = (t, j) => rows[t][j];
                const on = charrnn.unitsOn(value, 60, 37, {threshold}, "{side}");
                const how = {{isBounded: {json.dumps(is_bounded)}, count: 9}};
                return charrnn.findMatches(on, [{start}, {stop}], how);
            }})()"""
        )
        on = units_on(values, threshold, side)
        selected = select_units(on, start, stop, is_bounded=is_bounded).tolist()
        assert found["selected"] == selected
        expected = find_matches(on, start, stop, is_bounded=is_bounded, count=9)
        names = ("start", "stop", "shared", "missing", "other", "score")
        assert [[match[name] for name in names] for match in found["matches"]] == [
            [getattr(match, name) for name in names] for match in expected
        ]


def test_a_stretch_lists_others_and_a_switch_narrows_them(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=3&n=c1.1")
    matches = "document.querySelectorAll('.matches li').length"
    page.evaluate("charrnn.page.select({at: 9, range: [6, 10]})")
    page.wait_for(f"{matches} > 0")
    words = "document.querySelector('.matches').previousElementSibling.textContent"
    assert "of 24 neurons" in page.evaluate(words)
    page.click("#text-bounded")
    page.wait_for(f"{words}.includes('not just before and after')")
    assert page.errors == []


def test_the_map_of_neurons_follows_the_place(open_page: OpenPage) -> None:
    subject = make_text_subject(cell="lstm")
    page = open_page(subject, fragment="view=text&t=3&n=c1.1")
    titles = "[...document.querySelectorAll('.map title')].map((each) => each.textContent)"
    page.wait_for(f"{titles}.length === 6")
    before = page.evaluate(titles)
    page.evaluate("charrnn.page.select({at: 40})")
    page.wait_for(f"{titles}.join() !== {json.dumps(','.join(before))}")
    value = np.tanh(record(subject.network, subject.ids).memory(0)[41, 2])
    shown = str(float(f"{value:.2g}")).replace("-", "−")
    assert page.evaluate(titles)[2] == f"tanh c1.2 = {shown}"
    words = page.evaluate("document.getElementById('text-meaning').textContent")
    assert words.startswith(
        "What c1.1 means: c = its memory (h is what it shows of it), layer 1 of 1, neuron 1"
    )


def test_an_empty_text_breaks_no_view(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text")
    page.evaluate("charrnn.page.setIds([])")
    for view in VIEWS:
        page.evaluate(f"charrnn.page.select({{view: '{view}'}})")
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 150))")
    assert page.errors == []


def test_every_row_is_coloured_for_a_printer(open_page: OpenPage) -> None:
    page = open_page(make_text_subject("ab\n" * 500), fragment="view=text&n=h1.0")
    colored = "document.querySelectorAll('.board [data-at]').length"
    page.wait_for(f"{colored} > 0")
    assert page.evaluate(colored) < 1500
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(colored) == 1500


def test_a_text_is_cleared_and_comes_back(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text")
    page.click("#edit")
    page.click("#editing button")
    page.wait_for("charrnn.page.ids.length === 0")
    page.click("#editing button + button")
    page.wait_for(f"charrnn.page.ids.length === {len(TEXT)}")


def test_networks_of_other_cells_and_sizes_stand_side_by_side(open_page: OpenPage) -> None:
    subjects = [
        make_text_subject(name="lstm", cell="lstm", num_layers=2),
        make_text_subject(name="gru", cell="gru", hidden_size=4),
        make_text_subject(name="rnn", cell="rnn", nonlinearity="relu"),
    ]
    page = open_page(*subjects, fragment="view=text&t=30")
    for model in range(3):
        for view in VIEWS:
            page.evaluate(f"charrnn.page.select({{view: '{view}', model: {model}}})")
            page.evaluate("new Promise((resolve) => setTimeout(resolve, 150))")
    assert page.evaluate("charrnn.page.units") == ["c2.0", "h1.0", "h1.0"]
    assert page.errors == []


def test_a_finding_opens_its_neuron_over_the_text(browser: Browser, tmp_path: Path) -> None:
    subject = make_text_subject(cell="lstm", num_layers=2)
    best = Best("c2.3", 0.91)
    finding = Finding("quotes", "inside quotes", "memory neuron", best)
    reports = {"neurons": {"book": Findings((finding,))}}
    path = tmp_path / "inspect.html"
    path.write_text(make_page([subject], reports, {}, command="charrnn inspect"), encoding="utf-8")
    page = browser.open(path, "view=neurons")
    page.wait_for("document.querySelector('.findings button') !== null")
    assert page.evaluate("charrnn.page.unit") == "c2.3"
    page.evaluate("charrnn.page.select({unit: 'c1.0'})")
    page.click(".findings button")
    page.wait_for("charrnn.page.view === 'text' && charrnn.page.unit === 'c2.3'")
    assert page.errors == []
    page.close()


def test_a_notebook_shows_the_page_in_a_frame(browser: Browser, tmp_path: Path) -> None:
    page_text = make_page([make_text_subject()], {}, {}, command="Model.inspect")
    page_text = page_text.replace("charrnn.openPage();", TELL)
    page_text = page_text.replace("Content-Security-Policy", "none")  # TELL has another hash
    path = tmp_path / "notebook.html"
    script = "<script>onmessage = (event) => (window.told = event.data)</script>"
    rights = 'sandbox="allow-scripts allow-downloads"'
    path.write_text(f'{script}<iframe {rights} srcdoc="{escape(page_text)}"></iframe>', "utf-8")
    page = browser.open(path)
    assert page.wait_for("window.told") == ["guesses", True, len(TEXT)]
    assert page.errors == []
    page.close()


def test_a_text_beyond_the_limit_is_cut_and_the_page_says_so(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text")
    page.click("#edit")
    page.evaluate("document.getElementById('text').select()")
    page.write("ab" * 10_050)
    page.wait_for("document.getElementById('edit-note').textContent.includes('20,000')")
    assert page.evaluate("charrnn.page.ids.length") == 20_000


VOCABS = [
    Vocab(ALPHABET),
    Vocab("\n ab", has_bytes=True),
    Vocab("\n abc", clusters=("ab", "abc", "bc")),
    Vocab("\n abc", has_bytes=True, has_end=True, clusters=("ab",)),
]


@pytest.mark.parametrize("vocab", VOCABS, ids=range(len(VOCABS)))
def test_a_typed_text_has_the_tokens_that_python_gives_it(
    open_page: OpenPage, vocab: Vocab
) -> None:
    network = make_network(vocab_size=vocab.size, has_end=vocab.has_end)
    file = ModelFile(network.config, vocab, network.weights, {})
    ids = vocab.encode("abcab a\nb")
    page = open_page(Subject("book", file, ids, Texts(lambda: (ids, ids))))
    for text in ("abcabbc a", "cba ab\n", *(["é😀b"] if vocab.has_bytes else [])):
        known = "".join(each for each in text if vocab.has_bytes or each in vocab.alphabet)
        found = page.evaluate(f"charrnn.page.encode({json.dumps(text)})")
        assert found["ids"] == vocab.encode(known).tolist()
        assert page.evaluate(f"charrnn.page.decode({found['ids']})") == known


def test_the_end_of_a_record_breaks_no_view(open_page: OpenPage) -> None:
    vocab = Vocab("\n abc", has_end=True)
    network = make_network(vocab_size=vocab.size, has_end=True, cell="lstm")
    file = ModelFile(network.config, vocab, network.weights, {})
    ids = np.array([2, 3, vocab.end, 4, 2, vocab.end, 3])
    page = open_page(Subject("book", file, ids, Texts(lambda: (ids, ids))))
    for view in VIEWS:
        for at in range(len(ids)):
            page.evaluate(f"charrnn.page.select({{view: '{view}', at: {at}}})")
            page.evaluate("new Promise((resolve) => setTimeout(resolve, 40))")
    assert text_of(page) == "ab<end>ca<end>b"
    assert page.errors == []


def make_bytes() -> Subject:
    """Return a model of bytes, and a text that no text field and no UTF-8 holds."""
    vocab = Vocab("\n\rabc\ufeff", has_bytes=True)
    network = make_network(vocab_size=vocab.size, cell="gru")
    file = ModelFile(network.config, vocab, network.weights, {})
    first = len(vocab.alphabet)
    odd = [vocab.alphabet.index("\ufeff"), first + 0xE4, *vocab.encode("a\r\nb\rc"), first + 0xC3]
    ids = np.array(odd)
    return Subject("book", file, ids, Texts(lambda: (ids, ids)))


def test_an_edit_leaves_alone_what_cannot_be_typed(open_page: OpenPage) -> None:
    subject = make_bytes()
    page = open_page(subject, fragment="view=text")
    page.click("#edit")
    note = page.evaluate("document.getElementById('edit-note').textContent")
    assert "<E4>" in note
    assert "␍" in note
    page.write("ab")
    page.wait_for(f"charrnn.page.ids.length === {len(subject.ids) + 2}")
    typed = subject.vocab.encode("ab").tolist()
    assert page.evaluate("[...charrnn.page.ids]") == [*subject.ids.tolist(), *typed]
    page.evaluate("document.getElementById('text').setSelectionRange(3, 4)")
    page.write("cc")
    page.wait_for(f"charrnn.page.ids.length === {len(subject.ids) + 2}")
    page.wait_for("charrnn.page.symbols[3] === 'c'")
    kept = subject.ids.tolist()
    middle = subject.vocab.encode("cc").tolist()
    assert page.evaluate("[...charrnn.page.ids]") == [*kept[:3], *middle, *kept[5:], *typed]
    page.click("#editing button + button")
    page.wait_for(f"charrnn.page.ids.length === {len(kept)}")
    assert page.evaluate("[[...charrnn.page.ids], charrnn.page.at]") == [kept, 0]
    assert page.errors == []


def test_the_address_is_written_once_the_reader_rests(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=0")
    page.evaluate(
        "history.count = 0;"
        "history.replaceState = () => { history.count += 1; throw new Error('no'); }"
    )
    page.evaluate("for (let at = 1; at < 90; at += 1) charrnn.page.select({at})")
    page.wait_for("history.count > 0")
    assert page.evaluate("[history.count, charrnn.page.at]") == [1, 89]
    assert page.errors == []


def test_a_search_counts_its_matches(open_page: OpenPage) -> None:
    page = open_page(make_text_subject("xö\r\nab ab\nab" * 400), fragment="view=text&t=5")
    page.evaluate("document.getElementById('search').focus()")
    page.write("ab")
    page.press("Enter")
    assert page.evaluate("document.getElementById('found').textContent") == "match 2 of 1200"
    assert page.evaluate("charrnn.page.range") == [7, 9]


@pytest.mark.parametrize("modifiers", [1, 3])  # Option; AltGr as Ctrl and Alt
def test_brackets_of_other_keyboards_choose_neurons(open_page: OpenPage, modifiers: int) -> None:
    page = open_page(fragment="view=text&n=c1.0")
    page.evaluate("document.getElementById('boards').focus()")
    event = {"type": "rawKeyDown", "key": "]", "modifiers": modifiers, "windowsVirtualKeyCode": 57}
    page.send("Input.dispatchKeyEvent", event)
    assert page.evaluate("charrnn.page.unit") == "c1.1"
    page.press(";")
    page.press(",")
    page.press(",")
    assert page.evaluate("charrnn.page.unit") == "c1.0"


def test_the_search_key_works_outside_the_text_but_not_in_a_field(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text")
    page.evaluate("document.querySelector('nav a').focus()")
    page.press("/")
    assert page.evaluate("document.activeElement.id") == "search"
    page.press("?")
    assert page.evaluate("document.getElementById('search').value") == "?"
    assert not page.evaluate("document.getElementById('help').open")


def test_a_click_stops_playing_and_shift_begins_where_the_place_is(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=3")
    page.evaluate("document.getElementById('boards').focus()")
    page.press("Shift+ArrowRight")
    page.press(" ")
    # What moves while it plays would move away from a click by coordinates.
    for kind in ("pointerdown", "pointerup"):
        event = f"new PointerEvent('{kind}', {{bubbles: true}})"
        page.evaluate(f"document.getElementById('cell-0-10').dispatchEvent({event})")
    assert "Play" in page.evaluate("document.getElementById('play').textContent")
    page.press("Shift+ArrowRight")
    assert page.evaluate("charrnn.page.range") == [10, 12]
    page.press("Control+End")
    said(page, f"position {len(TEXT) - 1}")
    page.press(" ")
    assert "Play" in page.evaluate("document.getElementById('play').textContent")
    assert "ends here" in said(page, "ends here")


def test_a_network_that_does_not_start_leaves_the_pictures(
    browser: Browser, tmp_path: Path
) -> None:
    picture = {"text": Picture(200, 100, "Values").as_svg()}
    text = make_page([make_text_subject()], {}, picture, command="charrnn inspect")
    island = '<script type="text/plain" id="worker">'
    path = tmp_path / "broken.html"
    path.write_text(text.replace(island, f"{island}throw new Error('no');"), encoding="utf-8")
    page = browser.open(path, "view=text")
    words = "The live part did not start; below are the fixed pictures."
    page.wait_for(f"document.body.innerText.includes({json.dumps(words)})")
    assert page.evaluate("document.querySelector('.still svg').getBoundingClientRect().width > 0")
    assert page.evaluate("document.getElementById('reader').hidden")
    page.close()


def test_a_busy_mark_goes_away_after_fast_edits(open_page: OpenPage) -> None:
    page = open_page(make_text_subject("ab c" * 900, cell="lstm"), fragment="view=text")
    page.evaluate(
        """(async () => {
            const { page } = charrnn;
            for (let n = 0; n < 6; n += 1) {
                page.setIds(page.ids.slice().reverse());
                await new Promise((resolve) => setTimeout(resolve, 60));
            }
            await page.trace(0);
            await new Promise((resolve) => setTimeout(resolve, 400));
        })()"""
    )
    page.wait_for("!document.getElementById('boards').hasAttribute('aria-busy')", 5)


WORDS_TEXTS = [
    "don't 'do' it's o'' 'n\n",
    "naïve cafe\u0301 x_y 3½² ÷",
    "中文字a、 ไทย に12\u0e33ka",
    "ab\u0301\u4e2d\u0301 — ’a’b’",
]


@pytest.mark.parametrize("text", WORDS_TEXTS)
@pytest.mark.parametrize("kept", [None, "\n 'abdo"], ids=["characters", "bytes"])
def test_words_are_those_of_python(open_page: OpenPage, text: str, kept: str | None) -> None:
    vocab = Vocab(kept or "".join(sorted(set(text))), has_bytes=kept is not None, has_end=True)
    network = make_network(vocab_size=vocab.size, has_end=True)
    file = ModelFile(network.config, vocab, network.weights, {})
    ids = np.append(np.append(vocab.encode(text), vocab.end), vocab.encode(text))
    page = open_page(Subject("book", file, ids, Texts(lambda: (ids, ids))))
    groups = page.evaluate("charrnn.wordGroups(charrnn.page.models[0], charrnn.page.ids)")
    starts = [0, *(np.flatnonzero(np.diff(groups)) + 1), len(ids)]
    assert starts == cut_into_words(vocab, ids).tolist()


def test_two_clicks_hold_a_neuron_once(open_page: OpenPage) -> None:
    page = open_page(fragment="view=write&t=9&n=c1.1")
    page.wait_for("document.getElementById('write-free').textContent")
    page.evaluate(
        "{ const hold = document.getElementById('write-hold'); hold.click(); hold.click(); }"
    )
    page.wait_for("document.getElementById('write-held').textContent")
    assert page.evaluate("document.querySelectorAll('.clamp').length") == 1
    words = page.evaluate("document.querySelector('.clamp').textContent")
    assert words.startswith("memory c1.1 held at")
    assert "tanh" in words
    assert page.errors == []


def test_what_takes_no_room_is_shown_by_its_number(open_page: OpenPage) -> None:
    shown = open_page().evaluate(r"charrnn.shown('a\u200b\ufeff\u00ad\u200db')")
    assert shown == "a⟨200B⟩⟨FEFF⟩⟨00AD⟩⟨200D⟩b"


def test_one_character_is_the_last_character(open_page: OpenPage) -> None:
    page = open_page(fragment="view=memory&t=0")
    facts = page.wait_for("document.querySelector('.is-chosen .facts').textContent")
    assert "last 1 characters" not in facts


def test_the_readout_says_what_is_under_the_mouse(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=3&n=c1.1")
    readout = "document.getElementById('readout').textContent"
    assert page.wait_for(readout).startswith("After")
    x, y = page.evaluate(
        """(() => {
            const box = document.getElementById('cell-0-8').getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        })()"""
    )
    page.send("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})
    page.wait_for(f"{readout}.startsWith('Under the mouse: after')")
    assert "place 8: tanh c1.1 = " in page.evaluate(readout)


def make_records() -> Subject:
    """Return an LSTM and a text in which records end after 2 and 4 tokens."""
    vocab = Vocab("\n abc", has_end=True)
    network = make_network(vocab_size=vocab.size, has_end=True, cell="lstm")
    file = ModelFile(network.config, vocab, network.weights, {})
    ids = np.array([2, 3, vocab.end, 4, vocab.end])
    return Subject("book", file, ids, Texts(lambda: (ids, ids)))


def test_gates_have_no_value_where_a_record_ends(open_page: OpenPage) -> None:
    page = open_page(make_records(), fragment="view=gates&t=2&n=c1.1")
    values = page.evaluate(
        "charrnn.page.values(0, 'f1.1').then((v) => [...v].map(Number.isFinite))"
    )
    assert values == [True, True, False, True, False]
    section = "document.querySelector('.is-chosen .live-part')"
    page.wait_for(f"{section}.textContent.includes('the state is set back')")
    page.evaluate("charrnn.page.select({view: 'neuron', unit: 'f1.1'})")
    page.wait_for("document.querySelector('.is-chosen .samples') !== null")
    assert page.errors == []


def test_ends_of_records_are_no_closed_gates(open_page: OpenPage) -> None:
    subject = make_records()
    page = open_page(subject, fragment="view=gates&t=0&n=c1.1")
    dots = "[...document.querySelectorAll('.is-chosen svg.chart circle')]"
    heights = page.wait_for(
        f"{dots}.length && {dots}.map((each) => Number(each.getAttribute('cy')))"
    )
    gate = record(subject.network, subject.ids).gates(0)["f"]
    closed = (gate[[0, 1, 3]] < 0.1).mean(0)
    shares = sorted((284 - height) / 270 for height in heights)  # 284 is the axis, 14 the top
    np.testing.assert_allclose(shares, sorted(closed), atol=1e-3)


def test_relus_have_one_scale_in_every_view(open_page: OpenPage) -> None:
    subject = make_text_subject(cell="rnn", nonlinearity="relu")
    page = open_page(subject, fragment="view=text&t=9&n=h1.1")
    states = record(subject.network, subject.ids).hidden(0)[1:]
    scale = page.evaluate("charrnn.page.scale(0, 'h1.1')")
    assert scale == pytest.approx(np.percentile(states, 99, method="lower"), rel=1e-4)
    seen = []
    for view in ("text", "neuron", "step"):
        page.evaluate(f"charrnn.page.select({{view: '{view}'}})")
        page.wait_for("document.getElementById('legend').textContent.includes('underlined')")
        page.evaluate("new Promise((resolve) => setTimeout(resolve, 200))")
        cells = "[...document.querySelectorAll('.board [data-at]')]"
        seen.append(page.evaluate(f"{cells}.map((each) => each.style.backgroundColor)"))
    assert seen[0] == seen[1] == seen[2]
    assert len(set(seen[0])) > 2
    legend = page.evaluate("document.getElementById('legend').textContent")
    assert legend.endswith(f"underlined above {float(f'{scale / 2:.3g}'):g}")


@pytest.mark.parametrize(
    ("tool", "words"), [("Save SVG", "Saved"), ("Save PNG", "Saved"), ("Copy CSV", "Copied")]
)
def test_a_figure_is_kept_without_leaving_the_policy(
    open_page: OpenPage, tool: str, words: str
) -> None:
    page = open_page(fragment="view=memory&t=30")
    page.wait_for("document.querySelector('.is-chosen .figure-tools') !== null")
    page.evaluate(
        f"""[...document.querySelectorAll('.is-chosen .figure-tools button')]
            .find((button) => button.textContent === {json.dumps(tool)}).click()"""
    )
    said(page, words)
    assert page.violations == []
    assert page.exceptions == []


def test_a_saved_figure_is_a_file_of_its_own(open_page: OpenPage) -> None:
    page = open_page(fragment="view=memory&t=30")
    page.wait_for("document.querySelector('.is-chosen svg.chart') !== null")
    saved = page.evaluate("charrnn.svgFile(document.querySelector('.is-chosen svg.chart'))")
    root = ElementTree.fromstring(saved)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "NaN" not in saved


def test_a_saved_figure_says_which_model_and_place_it_shows(open_page: OpenPage) -> None:
    page = open_page(fragment="view=text&t=5")
    page.wait_for("document.querySelector('.is-chosen svg.map') !== null")
    figure = "document.querySelector('.is-chosen svg.map')"
    saved = page.evaluate(f"charrnn.svgFile(charrnn.titled({figure}, charrnn.page))")
    root = ElementTree.fromstring(saved)
    words = " ".join(node.text or "" for node in root.iter() if node.tag.endswith("}text"))
    assert page.evaluate("charrnn.page.models[0].name") in words
    assert "place 5" in words
    assert "orange up to 1" in words


def test_a_number_has_real_minus_signs_alone(open_page: OpenPage) -> None:
    assert open_page().evaluate("charrnn.number(-2.5e-7)") == "−2.5e−7"


def test_the_skip_link_stays_in_the_view(open_page: OpenPage) -> None:
    page = open_page(fragment="view=memory&t=3")
    page.wait_for("charrnn.page.view === 'memory'")
    page.evaluate("document.querySelector('a.skip').click()")
    page.wait_for("document.activeElement.id === 'main'")
    assert page.evaluate("charrnn.page.view") == "memory"


def test_a_chart_in_a_narrow_window_keeps_the_size_of_its_letters(open_page: OpenPage) -> None:
    page = open_page(fragment="view=memory&t=30", width=360)
    page.wait_for("document.querySelector('.is-chosen svg.chart') !== null")
    scale = """(() => {
        const svg = document.querySelector('.is-chosen svg.chart');
        return svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
    })()"""
    assert 12 * page.evaluate(scale) >= 9


def test_cells_of_csv_are_quoted_where_they_must_be(open_page: OpenPage) -> None:
    rows = [["a", "b"], [",", '"'], ["\n", None]]
    text = open_page().evaluate(f"charrnn.csv({json.dumps(rows)})")
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["a", "b"], [",", '"'], ["\n", ""]]


def test_a_link_brings_the_top_of_its_view_on_screen(open_page: OpenPage) -> None:
    page = open_page()
    page.evaluate("scrollTo({top: document.body.scrollHeight, behavior: 'instant'})")
    page.set_media(prefers_reduced_motion="reduce")
    page.evaluate("document.querySelector('nav a[data-view=memory]').click()")
    page.wait_for("charrnn.page.view === 'memory'")
    top = "document.getElementById('title-memory').getBoundingClientRect().top"
    page.wait_for(f"{top} > 0 && {top} < 300")
