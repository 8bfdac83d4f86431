"""charrnn score: which text, what is shown of it and how, and every way it is refused."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len

import charrnn
from charrnn.checkpoint.model_file import ModelFile
from charrnn.checkpoint.run_folder import RunFolder
from charrnn.cli.main import main
from charrnn.cli.score.html import format_line, make_page
from charrnn.cli.score.view import level_of, show_map
from charrnn.generation.scoring import Line
from charrnn.text.vocab import Vocab

Make = Callable[..., ModelFile]
Text = pytest.CaptureFixture[str]

SAMPLE = "ab éa\nbbb\n\na ba\n"
HOSTILE = "a<script>\"&'</pre>\x1b[31m\u202eb\t\x9b2J\n"
WITHOUT_TORCH = """
import sys
from charrnn.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as error:
    sys.exit(error.code or ("torch" in sys.modules and "torch was imported"))
"""


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Make) -> None:
    """Stand in a folder with two runs and a text.

    `tiny` knows newline, space, a, b and é; `bytes` writes all else as bytes, and is the newest.
    """
    monkeypatch.chdir(tmp_path)
    RunFolder(Path("checkpoints/tiny")).save_best(make_model())
    spelling = replace(make_model(vocab_size=5 + 256), vocab=Vocab("\n abé", has_bytes=True))
    RunFolder(Path("checkpoints/bytes")).save_best(spelling)
    Path("text.txt").write_text(SAMPLE, encoding="utf-8")
    Path("hostile.txt").write_text(HOSTILE, encoding="utf-8")


def end_of(*arguments: str) -> int | str | None:
    """Run the program in this process; give its exit code."""
    with pytest.raises(SystemExit) as ending:
        main(("score", *arguments))
    return ending.value.code


def shown_by(capsys: Text, *arguments: str) -> str:
    """Give what a command that ends well writes to stdout."""
    code = end_of(*arguments)
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def objects_of(capsys: Text, *arguments: str) -> list[dict[str, Any]]:
    """Give the JSON objects of a command, parsed as strictly as the standard has it."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    out = shown_by(capsys, *arguments, "--json")
    return [json.loads(line, parse_constant=refuse) for line in out.splitlines()]


def complaint(capsys: Text, *arguments: str) -> tuple[int | str | None, str]:
    """Give the exit code and the one line of a command that fails."""
    code = end_of(*arguments)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return code, err


def give_input(monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))


def make_line(text: str, *bits: float) -> Line:
    return Line(1, text, np.array(bits))


# ── which text, which model ──


def test_a_person_sees_the_figures_of_the_whole(capsys: Text) -> None:
    scores = charrnn.load("tiny").score(SAMPLE)

    rows = [line.split("  ") for line in shown_by(capsys, "tiny", "text.txt").splitlines()]

    figures = {row[0]: row[-1].strip() for row in rows}
    assert figures.pop("speed").endswith(" characters/s")
    assert figures == {
        "model": "checkpoints/tiny/best.safetensors",
        "text": "text.txt",
        "bits per character": f"{scores.bpc:.4f}",
        "perplexity": f"{2**scores.bpc:.4f}",
        "characters": f"{len(SAMPLE) - 1} after the first, which is given",
    }


def test_one_name_is_the_text_and_the_newest_run_reads_it(capsys: Text) -> None:
    assert objects_of(capsys, "text.txt")[-1]["model"] == "checkpoints/bytes/best.safetensors"
    assert objects_of(capsys, "tiny", "text.txt")[-1]["model"].startswith("checkpoints/tiny")


@pytest.mark.parametrize("names", [[], ["-"], ["bytes", "-"]])
def test_standard_input_is_read_where_it_is_named_or_nothing_is(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    lines = objects_of(capsys, "text.txt")[:-1]
    give_input(monkeypatch, SAMPLE.encode())

    assert objects_of(capsys, *names)[:-1] == lines


def test_a_text_in_another_encoding_costs_the_same(capsys: Text) -> None:
    Path("latin.txt").write_bytes(SAMPLE.encode("latin-1"))

    lines = objects_of(capsys, "latin.txt", "--encoding", "latin-1")[:-1]

    assert lines == objects_of(capsys, "text.txt")[:-1]


# ── JSON and lines ──


def test_json_has_every_character_and_the_whole_last(capsys: Text) -> None:
    scores = charrnn.load("tiny").score(SAMPLE)

    *lines, whole = objects_of(capsys, "tiny", "text.txt")

    assert [line["kind"] for line in lines] == ["line"] * 4
    assert [line["line"] for line in lines] == [1, 2, 3, 4]
    assert ["".join(line["characters"]) for line in lines] == SAMPLE.splitlines(keepends=True)
    costs = [cost for line in lines for cost in line["bits"]]
    np.testing.assert_allclose(costs, scores.bits, atol=1e-4)
    assert lines[1]["bpc"] == pytest.approx(scores.bits[6:10].mean())
    assert whole["chars_per_second"] > 0
    assert {name: whole[name] for name in ("kind", "text", "chars")} == {
        "kind": "whole",
        "text": "text.txt",
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

    whole = objects_of(capsys, "sure", "b.txt")[-1]

    assert (whole["bpc"], whole["perplexity"]) == (pytest.approx(2000 / np.log(2)), None)


def test_lines_stand_in_their_order_or_the_costliest_first(capsys: Text) -> None:
    lines = objects_of(capsys, "tiny", "text.txt")[:-1]
    costliest = sorted(lines, key=lambda line: -line["bpc"])
    assert costliest != lines

    for arguments, expected in (([], lines), (["--sort"], costliest)):
        shown = shown_by(capsys, "tiny", "text.txt", "--lines", *arguments).splitlines()
        rows = [row.split(maxsplit=2) for row in shown[1:5]]
        assert [(row[0], row[1]) for row in rows] == [
            (str(line["line"]), f"{line['bpc']:.3f}") for line in expected
        ]
        assert [row[2:] for row in rows] == [
            ["".join(line["characters"]).strip()] * (len(line["characters"]) > 1)
            for line in expected
        ]
        assert shown[5] == ""
        assert objects_of(capsys, "tiny", "text.txt", *arguments)[:-1] == expected


def test_a_line_too_long_for_the_terminal_is_cut(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("long.txt").write_text("ab " * 100)
    whole = shown_by(capsys, "tiny", "long.txt", "--lines").splitlines()[1]
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    cut = shown_by(capsys, "tiny", "long.txt", "--lines").splitlines()[1]

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


@pytest.mark.parametrize("way", ["--map", "--lines"])
def test_nothing_of_the_text_commands_the_terminal(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    text = HOSTILE + "[red]a[/red] [link=http://example.org]b[/link] :smile:\n"
    Path("hostile.txt").write_text(text, encoding="utf-8")

    shown = shown_by(capsys, "hostile.txt", way)

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
    shown_by(capsys, "hostile.txt", "--html", "out/map.html")

    source = Path("out/map.html").read_text(encoding="utf-8")

    page = _Page(source)
    assert page.text == "a<script>\"&'</pre>␛[31m<202E>b␉<9B>2J␤\n"
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
    page = _Page(make_page("", [], [source]))
    assert page.text == "a<script>\"&'</pre>␛[31m<202E>b␉<9B>2J␤\n"
    assert "script" not in page.names


def test_the_page_has_the_figures_that_a_person_sees(capsys: Text) -> None:
    shown = shown_by(capsys, "tiny", "text.txt", "--html", "map.html")

    source = Path("map.html").read_text(encoding="utf-8")
    bpc = f"{charrnn.load('tiny').score(SAMPLE).bpc:.4f}"
    assert f"<th>bits per character</th><td>{bpc}</td>" in source
    assert bpc in shown


def test_the_names_on_a_page_are_no_markup() -> None:
    source = make_page("<b>'\"\n{}", [("<i>", "&\x1b")], [format_line(make_line("a", 0))])

    assert "<title>&lt;b&gt;&#x27;&quot;␤{}</title>" in source
    assert "<th>&lt;i&gt;</th><td>&amp;␛</td>" in source


def test_a_page_that_cannot_be_written_ends_with_7(capsys: Text) -> None:
    Path("folder").mkdir()

    code, line = complaint(capsys, "text.txt", "--html", "folder")

    assert code == 7
    assert "cannot write folder" in line


def test_no_page_is_written_of_a_text_that_cannot_be_scored(capsys: Text) -> None:
    Path("odd.txt").write_text("aß", encoding="utf-8")

    assert complaint(capsys, "tiny", "odd.txt", "--html", "map.html")[0] == 3
    assert not Path("map.html").exists()


# ── refusals ──


@pytest.mark.parametrize("way", [[], ["--map"], ["--lines"], ["--json"]], ids=str)
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ab\n" * 500_000 + "ß".encode(), "never saw 'ß' (U+00DF"),
        (b"", "has 0 characters; at least 2 are needed"),
        (b"a", "has 1 characters; at least 2 are needed"),
        (b"a\xe9b " * 9, "is not utf-8"),
    ],
    ids=["unknown", "empty", "short", "undecodable"],
)
def test_a_text_that_cannot_be_scored_ends_with_3_before_anything_is_shown(
    capsys: Text, content: bytes, message: str, way: list[str]
) -> None:
    Path("odd.txt").write_bytes(content)

    code, line = complaint(capsys, "tiny", "odd.txt", *way)

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
        (["a", "b", "c"], 2, "3 names were given"),
        (["tiny"], 2, "tiny is a run, and no text has its name; name a text after it"),
        (["nowhere.txt"], 3, "no text at 'nowhere.txt'"),
        (["tinny", "text.txt"], 4, "did you mean 'tiny'?"),
    ],
)
def test_a_command_that_cannot_be_followed_ends_with_one_line(
    capsys: Text, arguments: list[str], code: int, message: str
) -> None:
    ended, line = complaint(capsys, *arguments)

    assert ended == code
    assert message in line


def test_nobody_is_left_waiting_at_a_terminal(
    capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_input(monkeypatch, SAMPLE.encode())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)

    code, line = complaint(capsys)

    assert code == 2
    assert "no text was given; name a file, or give -" in line


# ── pipes ──


@pytest.mark.parametrize("way", [[], ["--map"], ["--lines"], ["--lines", "--sort"], ["--json"]])
def test_a_pipe_that_nobody_reads_ends_with_141(
    capsys: Text, monkeypatch: pytest.MonkeyPatch, way: list[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        code = end_of("text.txt", *way)

    assert code == 141
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("way", [[], ["--map"], ["--json"], ["--html", "map.html"]], ids=str)
def test_torch_is_never_imported(way: list[str]) -> None:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TORCH, "score", "text.txt", *way],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (process.returncode, process.stderr) == (0, "")
