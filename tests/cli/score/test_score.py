"""charrnn score: which text, what is shown of it and how, and every way it is refused."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.score.html import format_line, make_page
from charrnn.cli.score.view import level_of, show_map
from charrnn.generation.scoring import Line
from charrnn.text.vocab import Vocab
from tests.cli.program import (
    Text,
    complaint,
    end_of,
    give_input,
    objects_of,
    output_of,
    run_without,
)

Make = Callable[..., ModelFile]

SAMPLE = "ab éa\nbbb\n\na ba\n"
HOSTILE = "a<script>\"&'</pre>\x1b[31m\u202eb\t\x9b2J\n"


@pytest.fixture(autouse=True)
def _texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Make) -> None:
    """Stand in a folder with two runs and a text.

    `tiny` knows newline, space, a, b and é; `bytes` writes all else as bytes, and is the newest.
    """
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("checkpoints/tiny")).save_best(make_model())
    spelling = replace(make_model(vocab_size=5 + 256), vocab=Vocab("\n abé", has_bytes=True))
    RunFolder(Path("checkpoints/bytes")).save_best(spelling)
    Path("text.txt").write_text(SAMPLE, encoding="utf-8")
    Path("hostile.txt").write_text(HOSTILE, encoding="utf-8")


def make_line(text: str, *bits: float) -> Line:
    return Line(1, text, np.array(bits))


# ── which text, which model ──


def test_a_person_sees_the_figures_of_the_whole(capsys: Text) -> None:
    scores = charrnn.load("tiny").score(SAMPLE)

    lines = output_of(capsys, "score", "tiny", "text.txt").splitlines()

    figures = dict(map(str.strip, line.split("  ", 1)) for line in lines)
    assert figures.pop("speed").endswith(" characters/s")
    assert figures == {
        "model": "checkpoints/tiny/best.safetensors",
        "text": "text.txt",
        "bits per character": f"{scores.bpc:.4f}",
        "perplexity": f"{2**scores.bpc:.4f}",
        "characters": f"{len(SAMPLE) - 1} after the first, which is given",
    }


def test_one_name_is_the_text_and_the_newest_run_reads_it(capsys: Text) -> None:
    for names, run in ((["text.txt"], "bytes"), (["tiny", "text.txt"], "tiny")):
        whole = objects_of(capsys, "score", *names)[-1]
        assert whole["path"] == f"checkpoints/{run}/best.safetensors"
        assert whole["model"] == run


@pytest.mark.parametrize(("names", "run"), [([], "bytes"), (["tiny"], "tiny")])
def test_a_literal_text_costs_what_a_file_of_it_does(
    capsys: Text, names: list[str], run: str
) -> None:
    lines = objects_of(capsys, "score", run, "text.txt")

    given = objects_of(capsys, "score", *names, "--text", SAMPLE)

    assert given[:-1] == lines[:-1]
    assert (given[-1]["texts"], given[-1]["path"]) == (["text given"], lines[-1]["path"])


@pytest.mark.parametrize("names", [[], ["-"], ["bytes", "-"]])
def test_standard_input_is_read_where_it_is_named_or_nothing_is(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    lines = objects_of(capsys, "score", "text.txt")[:-1]
    give_input(monkeypatch, SAMPLE.encode())

    assert objects_of(capsys, "score", *names)[:-1] == lines


def test_a_text_in_another_encoding_costs_the_same(capsys: Text) -> None:
    Path("latin.txt").write_bytes(SAMPLE.encode("latin-1"))

    lines = objects_of(capsys, "score", "latin.txt", "--encoding", "latin-1")[:-1]

    assert lines == objects_of(capsys, "score", "text.txt")[:-1]


# ── JSON and lines ──


def test_json_has_every_character_and_the_whole_last(capsys: Text) -> None:
    scores = charrnn.load("tiny").score(SAMPLE)

    *lines, whole = objects_of(capsys, "score", "tiny", "text.txt")

    assert [line["kind"] for line in lines] == ["line"] * 4
    assert [line["line"] for line in lines] == [1, 2, 3, 4]
    assert ["".join(line["characters"]) for line in lines] == SAMPLE.splitlines(keepends=True)
    costs = [cost for line in lines for cost in line["bits"]]
    np.testing.assert_allclose(costs, scores.bits, atol=1e-4)
    assert lines[1]["bpc"] == pytest.approx(scores.bits[6:10].mean())
    assert lines[0]["bits_per_byte"] == pytest.approx(scores.bits[:6].sum() / 7)  # é takes two
    assert whole["bits_per_byte"] == pytest.approx(scores.bits_per_byte)
    assert whole["bits_per_byte"] * len(SAMPLE.encode()[1:]) == pytest.approx(whole["bits"])
    assert whole["chars_per_second"] > 0
    assert {name: whole[name] for name in ("kind", "texts", "chars")} == {
        "kind": "whole",
        "texts": ["text.txt"],
        "chars": len(SAMPLE) - 1,
    }
    assert whole["bpc"] == pytest.approx(scores.bpc)
    assert whole["bits"] == pytest.approx(scores.bits[1:].sum())
    assert whole["perplexity"] == pytest.approx(2**scores.bpc)


def test_a_figure_that_json_has_no_word_for_is_null(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, make_model: Make
) -> None:
    model = make_model()
    model.weights["output.weight"][:] = 0
    model.weights["output.bias"][:] = np.array([0, 0, 2000, 0, 0], np.float32)
    RunFolder(Path("checkpoints/sure")).save_best(model)
    Path("b.txt").write_text("bbb")

    whole = objects_of(capsys, "score", "sure", "b.txt")[-1]

    assert (whole["bpc"], whole["perplexity"]) == (pytest.approx(2000 / np.log(2)), None)


def test_lines_stand_in_their_order_or_the_costliest_first(capsys: Text) -> None:
    lines = objects_of(capsys, "score", "tiny", "text.txt")[:-1]
    costliest = sorted(lines, key=lambda line: -line["bpc"])
    assert costliest != lines

    for arguments, expected in (([], lines), (["--sort"], costliest)):
        shown = output_of(capsys, "score", "tiny", "text.txt", "--lines", *arguments).splitlines()
        rows = [row.split(maxsplit=2) for row in shown[1:5]]
        assert [(row[0], row[1]) for row in rows] == [
            (str(line["line"]), f"{line['bpc']:.3f}") for line in expected
        ]
        assert [row[2:] for row in rows] == [
            ["".join(line["characters"]).strip()] * (len(line["characters"]) > 1)
            for line in expected
        ]
        assert shown[5] == ""
        assert objects_of(capsys, "score", "tiny", "text.txt", *arguments)[:-1] == expected


def test_a_line_too_long_for_the_terminal_is_cut(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("long.txt").write_text("ab " * 100)
    whole = output_of(capsys, "score", "tiny", "long.txt", "--lines").splitlines()[1]
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    cut = output_of(capsys, "score", "tiny", "long.txt", "--lines").splitlines()[1]

    assert whole.endswith("ab " * 100)
    assert (len(cut), cut[-1]) == (60, "…")
    assert whole.startswith(cut[:-1])


# ── the map ──


@pytest.mark.parametrize(
    ("bits", "level"), [(0, 0), (0.99, 0), (1, 1), (2, 2), (4, 3), (7, 4), (9.99, 4), (10, 5)]
)
def test_a_level_begins_at_its_bound(bits: float, level: int) -> None:
    assert level_of(bits) == level


def test_without_colours_a_row_below_says_the_bits(capsys: Text) -> None:
    show_map([make_line("abéa ba\n", 0.9, 1, 2.7, 9.99, 10, 55, 0.2, 3)])

    legend, text, marks = capsys.readouterr().out.splitlines()
    assert "whole bits" in legend
    assert (text, marks) == ("abéa ba␤", " 129++ 3")


def test_marks_stand_below_wide_characters_signs_and_those_with_accents(capsys: Text) -> None:
    show_map([make_line("明月e\u0301\u202ea", 3, 4, 1, 2.5, 5, 6)])

    _, text, marks = capsys.readouterr().out.splitlines()
    assert text == "明月e\u0301<202E>a"
    assert marks == "3 4 35     6"  # what stands on the e costs 2.5, and 1 + 2.5 is shown as 3
    assert cell_len(text) == len(marks)


def test_an_accent_without_a_letter_stands_on_a_circle(capsys: Text) -> None:
    show_map([make_line("\u0301a", 3, 4)])

    assert capsys.readouterr().out.splitlines()[1:] == ["\u25cc\u0301a", "34"]


@pytest.mark.parametrize("columns", [20, 21])
def test_rows_are_no_wider_than_the_terminal(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TTY_COMPATIBLE", "0")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    show_map([make_line("明" * 25, *[3.0] * 25)])

    texts = capsys.readouterr().out.splitlines()[1:]
    assert texts == ["明" * 10, ("3 " * 10).rstrip()] * 2 + ["明" * 5, ("3 " * 5).rstrip()]


def test_with_colours_each_level_has_its_own_and_the_lowest_has_none(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    show_map([make_line("abcdef", 0, 1, 2, 4, 7, 10)])

    legend, text = capsys.readouterr().out.splitlines()
    assert text.startswith("a\x1b[")
    parts = [part.partition("m") for part in text[1:].removesuffix("\x1b[0m").split("\x1b[0m")]
    styles = [style for style, _, _ in parts]
    assert [letter for _, _, letter in parts] == [*"bcdef"]
    assert len(set(styles)) == 5
    assert all(style in legend for style in styles)


def test_no_color_is_respected(capsys: Text, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "NO_COLOR"):
        monkeypatch.setenv(name, "1")
    show_map([make_line("ab", 1, 3)])

    assert capsys.readouterr().out.splitlines()[1:] == ["ab", "13"]


@pytest.mark.parametrize("view", ["--map", "--lines"])
def test_nothing_of_the_text_commands_the_terminal(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, view: str
) -> None:
    text = HOSTILE + "[red]a[/red] [link=http://example.org]b[/link] :smile:\n"
    Path("hostile.txt").write_text(text, encoding="utf-8")

    shown = output_of(capsys, "score", "hostile.txt", view)

    assert not set(shown) & set("\x1b\x9b\u202e\t")
    assert all(each in shown for each in ("␛[31m", "<202E>", "<9B>2J", "[red]a[/red]", ":smile:"))


# ── the page ──


class _Page(HTMLParser):
    """Notes a page's elements, what stands in its <pre>, and each character's title there."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.text, self.titles, self._is_inside = "", [], False
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self._is_inside = self._is_inside or tag == "pre"
        self.titles += [value for name, value in attrs if name == "title" and self._is_inside]

    def handle_endtag(self, tag: str) -> None:
        self._is_inside = self._is_inside and tag != "pre"

    def handle_data(self, data: str) -> None:
        self.text += data * self._is_inside


def test_the_page_shows_all_of_the_text_and_none_of_it_is_markup(capsys: Text) -> None:
    scores = charrnn.load("bytes").score(HOSTILE)
    assert end_of("score", "hostile.txt", "--html", "out/map.html") == 0
    assert capsys.readouterr().err == "wrote out/map.html\n"

    source = Path("out/map.html").read_text(encoding="utf-8")

    page = _Page(source)
    assert page.text == "a<script>\"&'</pre>␛[31m<202E>b␉<9B>2J↵\n"
    assert page.titles == [f"{bits:.2f} bits" for bits in scores.bits if bits >= 1]
    known = {"html", "head", "meta", "title", "style", "body", "h1", "table", "tr", "th", "td"}
    assert page.names <= known | {"p", "pre", "b"}
    assert not set(source) & set("\x1b\x9b\u202e\t")
    assert "http:" not in source
    assert "https:" not in source
    assert "src=" not in source.replace("-src", "")


@pytest.mark.parametrize("bits", [0.0, 5.0])
def test_characters_are_no_markup_whatever_they_cost(bits: float) -> None:
    line = make_line(HOSTILE, *[bits] * len(HOSTILE))

    source = format_line(line)

    assert "<" not in source.replace('<b class="s3" title="5.00 bits">', "").replace("</b>", "")
    assert all(each in source for each in ("&lt;", "&gt;", "&quot;", "&amp;", "&#x27;"))
    page = _Page(make_page("", [], [line]))
    assert page.text == "a<script>\"&'</pre>␛[31m<202E>b␉<9B>2J↵\n"
    assert "script" not in page.names


def test_the_page_has_the_figures_that_a_person_sees(capsys: Text) -> None:
    assert end_of("score", "tiny", "text.txt", "--html", "map.html") == 0
    shown = capsys.readouterr().out

    source = Path("map.html").read_text(encoding="utf-8")
    bpc = f"{charrnn.load('tiny').score(SAMPLE).bpc:.4f}"
    assert f"<th>bits per character</th><td>{bpc}</td>" in source
    assert bpc in shown


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("床前明月光，疑是地上霜。", '<pre lang="zh">'),
        ("春はあけぼの。やうやう白くなりゆく山ぎは", '<pre lang="ja">'),
        ("the word 山 is Chinese", "<pre>"),
        ("", "<pre>"),
    ],
)
def test_a_page_names_the_language_that_decides_on_the_shapes_of_its_characters(
    text: str, tag: str
) -> None:
    source = make_page("", [], [make_line(text, *[1.0] * len(text))])

    assert tag in source
    assert source.count("lang=") == tag.count("lang=")


def test_the_names_on_a_page_are_no_markup() -> None:
    source = make_page("<b>'\"\n{}", [("<i>", "&\x1b")], [make_line("a", 0)])

    assert "<title>&lt;b&gt;&#x27;&quot;␤{}</title>" in source
    assert "<th>&lt;i&gt;</th><td>&amp;␛</td>" in source


def test_a_page_that_cannot_be_written_ends_with_7(capsys: Text) -> None:
    Path("folder").mkdir()

    code, line = complaint(capsys, "score", "text.txt", "--html", "folder")

    assert code == 7
    assert "cannot write folder" in line


def test_no_page_is_written_of_a_text_that_cannot_be_scored(capsys: Text) -> None:
    Path("odd.txt").write_text("aß", encoding="utf-8")

    assert complaint(capsys, "score", "tiny", "odd.txt", "--html", "map.html")[0] == 3
    assert not Path("map.html").exists()


# ── characters that the model never saw ──

ODD = "ab ß\nba—\n"


def test_an_unseen_character_is_counted_apart_and_told(capsys: Text) -> None:
    scores = charrnn.load("tiny").score(ODD)

    shown = output_of(capsys, "score", "tiny", "--text", ODD)

    assert f"bits per character  {scores.bpc:.4f}" in shown
    words = f"2 characters the model never saw: {scores.unseen_bits:,.0f} bits, counted apart; "
    assert words + f"{scores.bpc_with_unseen:.4f} bits per character with them" in shown
    whole = objects_of(capsys, "score", "tiny", "--text", ODD)[-1]
    assert (whole["chars"], whole["unseen_chars"]) == (len(ODD) - 2 - 1, 2)
    assert whole["unseen_bits"] == pytest.approx(scores.unseen_bits)
    assert whole["bpc_with_unseen"] == pytest.approx(scores.bpc_with_unseen)


def test_every_view_marks_an_unseen_character(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = output_of(capsys, "score", "tiny", "--text", ODD, "--lines")
    assert "  ab ⟦ß⟧\n" in lines
    assert "  ba⟦—⟧\n" in lines

    rows = output_of(capsys, "score", "tiny", "--text", ODD, "--map").splitlines()
    assert rows[0].endswith(", ? never seen")
    assert [rows[i][rows[i - 1].index(char)] for i, char in ((2, "ß"), (4, "—"))] == ["?", "?"]

    *first, _ = objects_of(capsys, "score", "tiny", "--text", ODD)
    assert [line["unseen"] for line in first] == [[3], [2]]

    output = end_of("score", "tiny", "--text", ODD, "--html", "map.html")
    assert output == 0
    page = Path("map.html").read_text(encoding="utf-8")
    assert re.search(r'<b class="s6" title="never seen, [\d.]+ bits">ß</b>', page)


def test_colours_mark_an_unseen_character_whatever_it_costs(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    violet = "48;2;90;61;154m"

    show_map([Line(1, "aß", np.array([0.1, 0.2]), (1,))])

    assert f"{violet}ß" in capsys.readouterr().out


@pytest.mark.parametrize("view", [[], ["--map"], ["--lines", "--sort"], ["--json"]], ids=str)
def test_a_file_holds_what_stdout_would(capsys: Text, view: list[str]) -> None:
    def without_speed(text: str) -> str:
        text = re.sub(r'(speed +|"chars_per_second": )\S+( characters/s)?', "", text)
        return re.sub(" +\n", "\n", text)  # a table is as wide as its speed

    expected = output_of(capsys, "score", "tiny", "text.txt", *view)

    assert output_of(capsys, "score", "tiny", "text.txt", *view, "-o", "out.txt") == ""
    assert without_speed(Path("out.txt").read_text("utf-8")) == without_speed(expected)


def test_unknown_characters_can_be_mapped_and_that_is_told(capsys: Text) -> None:
    expected = objects_of(capsys, "score", "tiny", "--text", "abé")[:-1]

    code = end_of("score", "tiny", "--text", "AbÉ", "--unknown", "map", "--json")

    out, err = capsys.readouterr()
    assert (code, err) == (0, "mapped: A → a (1 time), É → é (1)\n")
    assert [json.loads(line) for line in out.splitlines()[:-1]] == expected
    assert json.loads(out.splitlines()[-1])["mapped"] == {"A → a": 1, "É → é": 1}


# ── refusals ──


@pytest.mark.parametrize("view", [[], ["--map"], ["--lines"], ["--json"]], ids=str)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ab\n" * 350_000 + "ß".encode(), "never saw 'ß' (U+00DF"),
        (b"", "has 0 characters; at least 2 are needed"),
        (b"a", "has 1 character; at least 2 are needed"),
        (b"a\xe9b " * 9, "is not utf-8"),
    ],
    ids=["unknown", "empty", "short", "undecodable"],
)
def test_a_text_that_cannot_be_scored_ends_with_3_before_anything_is_shown(
    capsys: Text, content: bytes, message: str, view: list[str]
) -> None:
    Path("odd.txt").write_bytes(content)

    code, line = complaint(capsys, "score", "tiny", "odd.txt", "--unknown", "error", *view)

    assert code == 3
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["text.txt", "--map", "--json"], 2, "--map and --json both say what to show; keep one"),
        (["text.txt", "--lines", "--html", "a"], 2, "--lines and --html both say"),
        (["text.txt", "--sort"], 2, "--sort orders lines; give --lines or --json"),
        (["text.txt", "--map", "--sort"], 2, "--sort orders lines"),
        (["text.txt", "--html", ""], 2, "--html '' names no file"),
        (["text.txt", "--encoding", "utf-99"], 2, "utf-99"),
        (["tiny", "text.txt", "--text", "ab"], 2, "got 2 arguments; give a model and a text"),
        (["tiny", "--text", r"a\nb"], 2, r"--text is a\nb with backslashes"),
        (["text.txt", "-o", "text.txt"], 2, "text.txt is the file that is read; name another"),
        (["text.txt", "-o", "checkpoints"], 2, "is a folder or a device"),
        (["--text", "a"], 3, "has 1 character; at least 2 are needed"),
        (["a", "b", "c"], 2, "got 3 arguments; give a model and a text, or only a text"),
        (["tiny"], 2, "tiny is a run, and no text has its name; name a text after it"),
        (["nowhere.txt"], 3, "cannot find the text 'nowhere.txt'"),
        (["tinny", "text.txt"], 4, "did you mean 'tiny'?"),
    ],
)
def test_a_command_that_cannot_be_followed_ends_with_one_line(
    capsys: Text, arguments: list[str], code: int, message: str
) -> None:
    ended, line = complaint(capsys, "score", *arguments)

    assert ended == code
    assert message in line


def test_nobody_is_left_waiting_at_a_terminal(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_input(monkeypatch, SAMPLE.encode())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)

    code, line = complaint(capsys, "score")

    assert code == 2
    assert "no text was given; name a file, or give -" in line


# ── pipes ──


@pytest.mark.parametrize("view", [[], ["--map"], ["--lines"], ["--lines", "--sort"], ["--json"]])
def test_a_pipe_that_nobody_reads_ends_with_141(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, view: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        code = end_of("score", "text.txt", *view)

    assert code == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("view", [[], ["--map"], ["--json"], ["--html", "map.html"]], ids=str)
def test_torch_is_never_imported(view: list[str]) -> None:
    run_without("torch", "score", "text.txt", *view)
