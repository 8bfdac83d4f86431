"""The page that writes, in a browser: from a file, offline, under its own policy."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.export import ExportConfig
from charrnn.formats.html_page import make_html
from charrnn.formats.precision import restored
from charrnn.generation.text_format import TextFormat
from charrnn.tasks.model import Model
from charrnn.text.vocab import Vocab
from tests.formats.models import ALPHABETS, make_file
from tests.generation.record_models import WHO, YEAR, make_records_file
from tests.web.browser import Browser, Page
from tests.web.ngrams import with_ngrams

MODELS: dict[str, ModelFile] = {
    "running text": make_file(Vocab("\n abcdefg"), 5, 0.7, hidden_size=24, num_layers=1),
    "gru, residual, tied": make_file(
        Vocab("\n abcdefg"), cell="gru", residual=True, tie_embeddings=True, learned=True
    ),
    "bytes beside": make_file(ALPHABETS["bytes beside"], hidden_size=24),
    "graphemes": make_file(ALPHABETS["graphemes"], cell="rnn"),
    "records": make_records_file(labels=(WHO, YEAR), end_bias=-1.0),
    "documents": make_records_file("document", document_end="--", alphabet=" -ab"),
    "n-grams": with_ngrams(make_file(Vocab("\n abcdefg"), hidden_size=9), 5, 400),
    "n-grams, tied, bytes beside": with_ngrams(
        make_file(ALPHABETS["bytes beside"], cell="gru", tie_embeddings=True), 2, 400
    ),
    "n-grams of records": with_ngrams(make_records_file(labels=(WHO, YEAR), end_bias=-1.0), 3, 80),
}


def open_page(
    browser: Browser, folder: Path, file: ModelFile, width: int = 900, **config: Any
) -> Page:
    path = folder / "book.html"
    path.write_bytes(make_html(file, "book", ExportConfig(**config))["book.html"])
    return browser.open(path, width=width)


def write(page: Page, button: str = "write", **values: Any) -> str:
    """Set fields, press a button, and return the text that is there in the end."""
    for name, value in values.items():
        field = f'document.getElementById("{name.replace("_", "-")}")'
        page.evaluate(f"{field}.value = {json.dumps(value)}; 0")
    page.evaluate(f'document.getElementById("{button}").click()')
    page.wait_for('!document.getElementById("write").disabled')
    return text_of(page)


def text_of(page: Page) -> str:
    return str(page.evaluate('document.getElementById("text").textContent'))


def status_of(page: Page) -> str:
    return str(page.evaluate('document.getElementById("status").textContent'))


@pytest.mark.parametrize("name", MODELS)
def test_the_greedy_text_is_the_models(name: str, browser: Browser, tmp_path: Path) -> None:
    file = MODELS[name]
    page = open_page(browser, tmp_path, file)
    prompt = "ab a"

    found = [write(page, temperature=0, length=300, prompt=each) for each in ("", prompt)]

    expected = [
        each + "".join(Model(file).generate(each, temperature=0, length=300))
        for each in ("", prompt)
    ]
    if file.vocab.clusters:  # of which the page writes the last one whole
        found = [text[: len(whole)] for text, whole in zip(found, expected, strict=True)]
    assert found == expected
    assert page.errors == []
    assert [each.partition(":")[0] for each in page.requests] == ["file", "blob"]
    page.close()


@pytest.mark.parametrize("name", ["running text", "n-grams"])
def test_a_page_of_8_bits_writes_what_they_say(name: str, browser: Browser, tmp_path: Path) -> None:
    file = MODELS[name]
    page = open_page(browser, tmp_path, file, dtype="int8")
    stored = replace(file, weights=restored(file.weights, "int8"))

    found = write(page, temperature=0, length=250)

    assert found == "".join(Model(stored).generate("", temperature=0, length=250))
    page.close()


@pytest.mark.parametrize("name", ["records", "n-grams of records"])
def test_labels_are_chosen_from_lists(name: str, browser: Browser, tmp_path: Path) -> None:
    file = MODELS[name]
    page = open_page(browser, tmp_path, file)
    choices = page.evaluate(
        '[...document.querySelectorAll("select.label")].map((each) => each.innerText)'
    )
    texts = {}
    for column, row in ((0, 1), (1, 4)):
        page.evaluate(f'document.querySelectorAll("select.label")[{column}].value = "{row}"; 0')
        texts[row] = write(page, temperature=0, length=60)

    assert [each.split() for each in choices] == [
        ["any", "ROMEO", "JULIET"], ["any", "1597", "1599", "1603"]
    ]  # fmt: skip
    for row, labels in {1: ["JULIET"], 4: ["JULIET", "1603"]}.items():
        model = Model(file, labels)
        assert texts[row] == "".join(model.generate("", temperature=0, length=60))
    page.close()


@pytest.fixture(scope="module")
def page(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Page:
    return open_page(browser, tmp_path_factory.mktemp("page"), MODELS["running text"])


FREE = {"temperature": 1, "length": 200, "prompt": "", "top_k": 0, "top_p": 1, "stop_text": ""}


def test_a_seed_repeats_a_text_and_a_new_one_changes_it(page: Page) -> None:
    page.evaluate('document.getElementById("new-seed").checked = false; 0')
    first, same = (write(page, **FREE, seed=7) for _ in range(2))
    other = write(page, **FREE, seed=8)
    page.evaluate('document.getElementById("new-seed").checked = true; 0')
    texts = {write(page, **FREE, seed=7) for _ in range(3)}

    assert first == same != other
    assert len(texts | {first}) == 4


def test_one_token_and_no_share_leave_the_likeliest(page: Page) -> None:
    greedy = write(page, **FREE | {"temperature": 0})

    assert write(page, **FREE | {"top_k": 1}) == greedy
    assert write(page, **FREE | {"top_p": 0.01}) == greedy
    assert write(page, **FREE | {"top_k": 3, "top_p": 0.9}) != greedy


def test_a_text_stops_before_the_text_to_stop_at_and_goes_on_from_there(page: Page) -> None:
    page.evaluate('document.getElementById("new-seed").checked = false; 0')
    whole = write(page, **FREE, seed=3)
    stop = whole[90:93]
    cut = write(page, **FREE | {"stop_text": stop.replace("\n", "\\n")}, seed=3)
    continued = write(page, "more", stop_text="", temperature=0, length=50)

    assert cut == whole[: whole.index(stop)]
    assert status_of(page).startswith("50 characters")
    expected = Model(MODELS["running text"]).generate("\n" + cut, temperature=0, length=50)
    assert continued == cut + "".join(expected)


def test_a_text_goes_on_as_if_it_had_not_ended(page: Page) -> None:
    page.evaluate('document.getElementById("new-seed").checked = false; 0')
    whole = write(page, **FREE | {"length": 120}, seed=5)
    half = write(page, **FREE | {"length": 60}, seed=5)

    assert half == whole[:60]
    assert write(page, "more") == whole


def test_a_long_text_can_be_stopped_by_a_key(page: Page) -> None:
    page.evaluate('document.getElementById("length").value = 20000; 0')
    page.evaluate('document.getElementById("prompt").focus(); 0')
    page.press("Control+Enter")
    page.wait_for('document.getElementById("text").textContent.length > 100')
    page.press("Escape")
    page.wait_for('!document.getElementById("write").disabled', 10)

    assert "stopped" in status_of(page)
    assert 100 < len(text_of(page)) < 20_000


def test_what_the_network_never_saw_is_named(page: Page) -> None:
    found = write(page, **FREE | {"prompt": "aXé", "length": 5})

    assert found.startswith("aXé")
    left_out = page.evaluate('document.getElementById("left-out").textContent')
    assert "never saw them: X é" in left_out


def test_a_prompt_has_the_form_that_the_model_gives_it(browser: Browser, tmp_path: Path) -> None:
    form = TextFormat("nfkc", lowercase=True)
    file = make_file(Vocab("\n fghi"))
    file = replace(file, summary={"settings": {"normalize": "nfkc", "lowercase": True}})
    page = open_page(browser, tmp_path, file)
    prompt = "GH ﬁ ℌ"  # the last is no capital before it is normalized, and becomes one

    write(page, prompt=prompt, length="20")

    unknown = set(form.normalized(prompt)) - set(file.vocab.alphabet)
    assert unknown == {"H"}
    left_out = page.evaluate('document.getElementById("left-out").textContent')
    assert left_out == "Left out, as the network never saw them: H."


def test_each_character_shows_what_was_likely_there(page: Page) -> None:
    file = MODELS["running text"]
    text = write(page, **FREE | {"prompt": "ab", "length": 20, "temperature": 0})
    page.evaluate('document.getElementById("text").focus(); 0')
    for _ in range(4):
        page.press("ArrowRight")

    shown = str(page.evaluate('document.getElementById("readout").textContent'))
    likeliest = Model(file).next_chars(text[:5], 5)
    names = {" ": "space", "\n": "newline"}
    for name, p in likeliest:
        share = f"{100 * p:.0f}" if p >= 0.0995 else f"{100 * p:.2g}"
        assert f"{names.get(name, name)} {share.split('.')[0]}" in shown
    assert page.evaluate('document.querySelectorAll("#text .at").length') == 1
    page.press("End")
    assert page.evaluate('document.querySelector("#text .at").piece') == 19


def test_the_page_fits_a_telephone(browser: Browser, tmp_path: Path) -> None:
    page = open_page(browser, tmp_path, MODELS["records"], width=360)
    page.evaluate('document.querySelector("details").open = true; 0')
    write(page, length=400)

    assert page.evaluate("document.documentElement.scrollWidth") == 360
    names = [name for role, name in page.accessibility() if role in ("button", "textbox", "slider")]
    assert all(names)
    assert {"Write", "Stop", "Continue", "Copy", "The text begins with"} <= set(names)
    page.close()


def test_a_text_is_shown_from_its_beginning_and_continued_at_its_end(
    browser: Browser, tmp_path: Path
) -> None:
    page = open_page(browser, tmp_path, MODELS["running text"], width=360)
    box = 'document.getElementById("text")'
    write(page, length=3000, prompt="ab☃☃")

    assert page.evaluate(f"{box}.scrollHeight > {box}.clientHeight")
    assert page.evaluate(f"{box}.scrollTop") == 0
    assert page.evaluate(
        """(() => {
            const top = (id) => document.getElementById(id).getBoundingClientRect().top;
            const note = document.getElementById("left-out");
            return !note.hidden && note.textContent.includes("☃") && top("left-out") < top("text")
                && top("text") < top("status") && top("status") < top("readout");
        })()"""
    )
    page.evaluate('document.getElementById("more").click(); 0')
    page.wait_for('!document.getElementById("write").disabled')
    assert page.evaluate(f"{box}.scrollTop + {box}.clientHeight >= {box}.scrollHeight - 8")
    write(page, length=100, prompt="ab")
    assert page.evaluate('document.getElementById("left-out").hidden')
    assert page.errors == []
    page.close()


def test_dark_and_light_are_those_of_the_system(page: Page) -> None:
    colors = []
    for scheme in ("light", "dark"):
        page.set_media(prefers_color_scheme=scheme)
        colors.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.set_media()

    assert colors == ["rgb(247, 248, 250)", "rgb(15, 17, 20)"]
    assert page.errors == []
