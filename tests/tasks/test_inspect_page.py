"""The page of inspect is one inert, deterministic file, whatever texts it shows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.checkpoint.model_file import ModelFile
from charrnn.config.inspect import InspectConfig
from charrnn.interpret.explanations import EXPLANATIONS
from charrnn.interpret.neurons import MEMORY, UnitScore
from charrnn.interpret.subject import Subject, Texts
from charrnn.interpret.svg import Axis, Chart, Picture
from charrnn.tasks.inspect import VIEWS, inspect
from charrnn.tasks.inspect_page import MAX_ROWS, SCRIPTS, make_page
from charrnn.text.vocab import Vocab
from charrnn.web.weights import without_empty_rows
from tests.interpret.networks import make_network
from tests.web.ngrams import with_ngrams

ESCAPE = chr(27)
HOSTILE = {
    "end of script": "</script><script>alert(1)</script>",
    "comment": "<!-- <script>",
    "cdata": "]]>&lt;&amp;",
    "separators": "a\u2028b\u2029c",
    "controls": f"a\0b{ESCAPE}[31mc\x7f\x9b",
    "reading order": "a\u202egnp.exe\u202c",
    "combining": "\u0301e\u0301",
    "astral": "😀𠀀",
    "breaks": "a\tb\r\nc",
    "parts of the template": "@@script@@ @@data@@",
}


@dataclass(frozen=True, eq=False)
class Report:
    """A report as views make them."""

    values: list[float] = field(default_factory=lambda: [0.5, float("nan")])
    rows: int = 3
    word: str = "<b>"

    def table(self) -> tuple[list[str], list[list[object]]]:
        return ["place", self.word], [[k, f"{self.word}{k}"] for k in range(self.rows)]


class Islands(HTMLParser):
    """Collects the content of every script, style and tag of a page, as a browser parses it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.contents.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem:  # inside a script or a style
            self.contents[-1] += data

    def all_of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        pairs = zip(self.tags, self.contents, strict=True)
        return [(attrs, content) for (name, attrs), content in pairs if name == tag]


def make_text_subject(text: str, name: str = "book", **shape: object) -> Subject:
    vocab = Vocab.from_text(text)
    network = make_network(vocab_size=vocab.size, **shape)
    file = ModelFile(network.config, vocab, network.weights, {"step": 7, "created": "2026-01-02"})
    ids = vocab.encode(text)
    return Subject(name, file, ids, Texts(lambda: (ids, ids)))


def make_plain_page(text: str = "to be or not\n", **options: bool) -> str:
    return make_page([make_text_subject(text)], {}, {}, command="charrnn inspect book", **options)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_text_that_bites_stays_data(text: str) -> None:
    page = make_page(
        [make_text_subject(text, name=f'"{text}"')],
        {"errors": {f'"{text}"': Report(word=text)}},
        {},
        command=f"charrnn inspect --text '{text}'",
    )
    page.encode("utf-8")
    scripts = Islands(page).all_of("script")
    assert [attrs.get("id") for attrs, _ in scripts] == ["data", "weights-0", "worker", None]
    data = json.loads(scripts[0][1])
    assert "".join(data["text"]) == text
    assert data["models"][0]["name"] == f'"{text}"'


def test_the_policy_allows_the_one_script_and_the_one_style_by_their_hashes() -> None:
    islands = Islands(make_plain_page())
    meta = next(attrs for attrs, _ in islands.all_of("meta") if "http-equiv" in attrs)
    policy = str(meta["content"])
    inline = [content for attrs, content in islands.all_of("script") if not attrs]
    inline += [content for _, content in islands.all_of("style")]
    digests = [hashlib.sha256(content.encode()).digest() for content in inline]
    hashes = [f"'sha256-{base64.b64encode(each).decode()}'" for each in digests]
    assert policy == (
        f"default-src 'none'; script-src {hashes[0]}; style-src {hashes[1]}; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def test_nothing_in_the_markup_has_a_handler_a_style_or_an_address_elsewhere() -> None:
    for tag, attributes in Islands(make_plain_page()).tags:
        assert not [name for name in attributes if name.startswith("on") or name == "style"], tag
        links = [attributes[name] for name in ("src", "href") if name in attributes]
        assert all(str(link).startswith("#") for link in links), tag


def test_the_same_models_and_text_give_the_same_bytes() -> None:
    assert make_plain_page() == make_plain_page()


def test_a_long_line_is_kept_whole() -> None:
    text = "ab" * 50_000
    data = json.loads(Islands(make_plain_page(text)).all_of("script")[0][1])
    assert "".join(data["text"]) == text


def test_the_picture_of_a_view_is_in_the_markup_as_xml() -> None:
    picture = Picture(20, 10, "a < b").as_svg()
    subject = make_text_subject("abc")
    page = make_page([subject], {}, {"errors": picture}, command="charrnn inspect")
    found = re.findall("<svg.*?</svg>", page, re.DOTALL)
    assert [ElementTree.fromstring(each).tag for each in found[:1]] == [
        "{http://www.w3.org/2000/svg}svg"
    ]


def test_a_picture_with_a_script_is_refused() -> None:
    picture = '<svg xmlns="http://www.w3.org/2000/svg"><script>1</script></svg>'
    with pytest.raises(AssertionError, match="script"):
        make_page([make_text_subject("abc")], {}, {"errors": picture}, command="charrnn inspect")


def test_a_long_table_is_cut_and_says_so() -> None:
    subject = make_text_subject("abc")
    reports = {"errors": {"book": Report(rows=MAX_ROWS + 1, word="w")}}
    page = make_page([subject], reports, {}, command="charrnn inspect")
    assert f"the first {MAX_ROWS} of {MAX_ROWS + 1} rows" in page
    assert f"<td>w{MAX_ROWS - 1}</td>" in page
    assert f"<td>w{MAX_ROWS}</td>" not in page


def test_the_reports_are_in_the_data_with_nan_as_null() -> None:
    subject = make_text_subject("abc")
    reports = {view: {"book": Report()} for view in ("errors", "neurons")}
    page = make_page([subject], reports, {}, command="charrnn inspect", has_weights=False)
    data = json.loads(Islands(page).all_of("script")[0][1])
    assert data["models"][0]["reports"]["errors"]["values"] == [0.5, None]


def test_a_page_whose_network_runs_has_only_the_reports_that_scripts_read() -> None:
    subject = make_text_subject("abc")
    reports = {view: {"book": Report()} for view in ("errors", "neurons")}
    page = make_page([subject], reports, {}, command="charrnn inspect")
    data = json.loads(Islands(page).all_of("script")[0][1])
    assert list(data["models"][0]["reports"]) == ["neurons"]


def test_the_views_that_live_are_there_without_any_report() -> None:
    sections = [attrs["data-view"] for attrs, _ in Islands(make_plain_page()).all_of("section")[1:]]
    assert sections == [
        *("text", "guesses", "write", "gates", "memory", "gradients", "links"),
        *("neuron", "step", "unrolled"),
    ]


def test_a_page_without_weights_has_the_reported_views_alone_and_says_why() -> None:
    subject = make_text_subject("abc")
    page = make_page(
        [subject], {"errors": {"book": Report()}}, {}, command="charrnn inspect", has_weights=False
    )
    islands = Islands(page)
    assert [attrs["data-view"] for attrs, _ in islands.all_of("section")[1:]] == ["errors"]
    assert not [attrs for attrs, _ in islands.all_of("script") if "weights-0" in attrs.values()]
    assert "the page was made without weights" in page


def test_a_network_too_large_for_a_page_is_left_out_and_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("charrnn.web.weights.MAX_FLOAT32_BYTES", 4)
    monkeypatch.setattr("charrnn.web.weights.MAX_FLOAT16_BYTES", 4)
    page = make_plain_page()
    assert "take more than 16 MiB" in page
    assert 'id="weights-0"' not in page


def test_a_page_says_if_the_embeddings_of_n_grams_have_8_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = make_text_subject("to be or not to be\n")
    file = with_ngrams(plain.file, 2, 400, plain.ids)
    subject = Subject("book", file, plain.ids, Texts(lambda: (plain.ids, plain.ids)))
    size = sum(array.size for array in without_empty_rows(file.weights).values())
    monkeypatch.setattr("charrnn.web.weights.MAX_FLOAT32_BYTES", 4)
    words = "the embeddings of n-grams in 8 bits"
    for limit, is_said in ((2 * size, False), (2 * size - 1, True)):
        monkeypatch.setattr("charrnn.web.weights.MAX_FLOAT16_BYTES", limit)
        page = make_page([subject], {}, {}, command="charrnn inspect book")
        assert (words in page) == is_said
        assert "in half precision (float16)" in page


def test_the_page_names_model_step_digest_command_and_version() -> None:
    subject = make_text_subject("abc")
    page = make_page([subject], {}, {}, command="charrnn inspect book --html x.html")
    assert "book, step 7" in page
    assert "charrnn inspect book --html x.html (charrnn " in page
    assert re.search("<dd>[0-9a-f]{64}</dd>", page)


def test_every_view_explains_itself_in_the_markup() -> None:
    subject = make_text_subject("abc")
    reports = {name: {"book": Report()} for name in EXPLANATIONS}
    page = make_page([subject], reports, {}, command="charrnn inspect")
    assert page.count("<math ") == len(EXPLANATIONS) + 1


def test_the_page_of_a_usual_network_with_all_its_views_is_small() -> None:
    network = make_network(vocab_size=103, embedding_size=64, hidden_size=256, cell="lstm")
    vocab = Vocab("\n" + "".join(map(chr, range(32, 134))))
    ids = np.random.default_rng(5).integers(0, 103, 3_000)
    file = ModelFile(network.config, vocab, network.weights, {})
    subject = Subject("usual", file, ids[:2_000], Texts(lambda: (ids, ids)), chars=1_000)
    slow = {"memory", "gradients"}  # which take 120,000 bytes
    views = [view for view in VIEWS if view not in slow]
    found = inspect([subject], InspectConfig(chars=1_000), views)
    assert set(found.left_out) <= {"training"}
    assert len(found.page().encode()) < 3_000_000 - 120_000


def test_rectangles_of_a_picture_that_share_a_colour_become_one_shape() -> None:
    picture = Picture(40, 20, "strip")
    for k in range(4):
        picture.rect((9.5 * k, 3), 9, 18, "#112233" if k % 2 else "#445566")
    page = make_page([make_text_subject("abc")], {}, {"errors": picture.as_svg()}, command="c")
    assert '<path fill="#445566" d="M0 3h9v18h-9zM19 3h9v18h-9z"/>' in page
    assert '<path fill="#112233" d="M9.5 3h9v18h-9zM28.5 3h9v18h-9z"/>' in page


def test_a_rectangle_over_another_stays_over_it() -> None:
    picture = Picture(40, 20, "one over the other")
    for x, color in ((2, "#112233"), (5, "#445566"), (20, "#112233")):
        picture.rect((x, 3), 9, 18, color)
    page = make_page([make_text_subject("abc")], {}, {"errors": picture.as_svg()}, command="c")
    found = re.findall(r'<path fill="(#\w+)" d="(M\d+)', page)
    assert found == [("#112233", "M2"), ("#445566", "M5"), ("#112233", "M20")]


def test_dots_of_one_look_are_a_group_that_says_it_once() -> None:
    chart = Chart(Axis("x", 0, 1), Axis("y", 0, 1), "dots", 200, 150)
    chart.dots([(0.25, 0.5), (0.5, 0.25), (0.75, 1)], "#123456", 2)
    page = make_page([make_text_subject("abc")], {}, {"errors": chart.as_svg()}, command="c")
    assert page.count("#123456") == 1
    group = re.search("<g fill=.#123456.*?</g>", page, re.DOTALL)
    assert group
    assert group[0].count("<circle ") == 3


def test_the_code_of_the_page_has_no_comments_and_no_text_over_lines() -> None:
    scripts = Islands(make_plain_page()).all_of("script")
    for code in (scripts[2][1], scripts[3][1]):
        lines = code.splitlines()
        assert not [line for line in lines if line.startswith((" ", "//", "/*", "* "))]
        # Then a line's indent and start are never part of a text.
        assert not [line for line in lines if line.count("`") % 2]


def test_the_first_view_names_the_memory_neurons_that_were_found() -> None:
    best = UnitScore("c1.12", 1, 0.9, 0.9)
    kinds = {"a list": MEMORY, "a vowel": "character neuron", "<b>": MEMORY}
    findings = [SimpleNamespace(verdict=v, meaning=m, best=best) for m, v in kinds.items()]
    report = Report()
    object.__setattr__(report, "findings", findings)
    page = make_page(
        [make_text_subject("abc")], {"neurons": {"book": report}}, {}, command="charrnn inspect"
    )
    first = page[page.index('id="view=text"') : page.index('id="view=guesses"')]
    assert "Try c1.12: it follows a list and &lt;b&gt;." in first
    assert "a vowel" not in first


def test_a_row_without_figures_is_left_out_and_a_missing_figure_is_a_dash() -> None:
    rows: list[list[object]] = [["far", 0, float("nan")], ["near", 2, 0.5], ["odd", None, 1.5]]
    report = Report()
    object.__setattr__(report, "table", lambda: (["group", "places", "bits"], rows))
    page = make_page([make_text_subject("abc")], {"errors": {"book": report}}, {}, command="c")
    table = re.search("<tbody>.*?</tbody>", page, re.DOTALL)
    assert table
    cells = re.findall("<td>(.*?)</td>", table[0])
    assert cells == ["near", "2", "0.5", "odd", "–", "1.5"]


def test_tokens_of_one_character_are_called_characters() -> None:
    assert "<dd>13 characters</dd>" in make_plain_page("to be or not\n")


def test_every_letter_of_a_formula_has_its_line() -> None:
    page = make_plain_page()
    section = page[page.index('id="view=memory"') : page.index('id="view=gradients"')]
    assert section.count("<dt><math>") == len(EXPLANATIONS["memory"].symbols)


def test_the_code_of_the_page_is_small_and_calls_nothing_dangerous() -> None:
    scripts = Islands(make_plain_page()).all_of("script")
    code = scripts[2][1] + scripts[3][1]
    assert len(code.encode()) < 200_000
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "http:",
    ):
        assert word not in code.replace("http://www.w3.org", ""), word


def test_every_script_is_in_the_package() -> None:
    folder = Path(__import__("charrnn.web").web.__file__).parent
    views = {f"views/{path.name}" for path in (folder / "views").glob("*.js")}
    assert views <= set(SCRIPTS)
