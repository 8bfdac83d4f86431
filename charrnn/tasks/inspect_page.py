"""What is seen inside models as one HTML file, in which the networks themselves run.

The file needs no other file and loads nothing: a content security policy with the hashes of its own
script and style forbids all else, so a text that got into the markup would stay inert. Texts and
figures stand in data islands, weights as base64. The same arguments give the same bytes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import islice
from typing import Any
from xml.etree import ElementTree

from charrnn._version import __version__
from charrnn.checkpoint.model_file import model_digest
from charrnn.config import as_dict
from charrnn.interpret.explanations import EXPLANATIONS, Explanation
from charrnn.interpret.neurons import MEMORY
from charrnn.interpret.report import as_json
from charrnn.interpret.subject import Subject
from charrnn.interpret.svg import xml_text
from charrnn.web.assets import read_asset
from charrnn.web.inline import as_island, csp_hash, join_scripts
from charrnn.web.weights import PackedWeights, pack_weights

MAX_ROWS = 100
"""Rows of a report's table that the page shows; `--csv` writes all."""

_SCRIPTED = (
    *("text", "guesses", "write", "gates", "memory", "gradients", "links"),
    *("neurons", "neuron", "step", "unrolled", "training"),
)
SCRIPTS = (
    *(
        "signs.js",
        "chart.js",
        "board.js",
        "figures.js",
        "tokens.js",
        "engine.js",
        "records.js",
        "page.js",
    ),
    *(f"views/{name}.js" for name in _SCRIPTED),
)
"""Files of charrnn/web that make the page's script, in this order; start.js comes last."""

WORKER = ("network.js", "gradients.js", "step.js", "worker.js")

_WRITE = Explanation(
    title="Let it write",
    question="What does the network write, and what changes when a neuron is held?",
    reading=(
        "The network goes on from the chosen place: it draws a character from its guesses, reads "
        "it, and draws the next one. Hold a neuron at a value and it writes again with the same "
        "random numbers, so every difference comes from that neuron. Low temperatures make it "
        "careful and repetitive, high ones bold and careless."
    ),
    drawing=(
        "There are no axes and no colours: the marked part of the second text is what the held "
        "neurons changed."
    ),
    symbols=(
        ("<math><mrow><mi>p</mi><mo>(</mo><mi>y</mi><mo>)</mo></mrow></math>",
         "the probability that character y is drawn"),
        ("<math><msub><mi>z</mi><mi>y</mi></msub></math>",
         "the score (logit) that the network gives to y"),
        ("<math><mi>T</mi></math>", "the temperature"),
        ("<math><mo>∝</mo></math>", "in proportion to: the probabilities of all add up to 1"),
    ),
    formula=(
        '<math display="block"><mrow><mi>p</mi><mo>(</mo><mi>y</mi><mo>)</mo><mo>∝</mo>'
        "<msup><mi>e</mi><mrow><msub><mi>z</mi><mi>y</mi></msub><mo>/</mo><mi>T</mi></mrow></msup>"
        "</mrow></math>"
    ),
    code="reached += probabilities[token];",
    path="charrnn/web/network.js",
    words=(
        ("seed", "the number that the random draws start from: the same seed draws the same text"),
        ("temperature", "1 draws as the network expects, less than 1 prefers its first guesses"),
    ),
)  # fmt: skip
# Views that a page computes by itself, without a report.
_LIVE = {"text", "guesses", "gates", "memory", "gradients", "links", "neuron", "step", "unrolled"}
_READ = {"neurons", "step", "unrolled", "training"}  # views whose scripts read their report
_HINTS = 2  # memory neurons of a model that the first view names
_RECT = re.compile(
    r'<rect x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)" fill="(#\w{6})"/>\n?'
)
_RECTS = re.compile(
    r'(?:<rect x="[\d.]+" y="[\d.]+" width="[\d.]+" height="[\d.]+" fill="#\w{6}"/>\n?){2,}'
)
_CIRCLES = re.compile(
    r'<circle cx="[\d.]+" cy="[\d.]+" r="[\d.]+" (?P<look>fill="[^">]+" fill-opacity="[\d.]+")/>'
    r'(?:\n?<circle cx="[\d.]+" cy="[\d.]+" r="[\d.]+" (?P=look)/>)+'
)
_PART = re.compile(r"@@([a-z-]+)@@")


def make_page(
    subjects: Sequence[Subject],
    reports: Mapping[str, Mapping[str, Any]],
    pictures: Mapping[str, str],
    *,
    command: str,
    has_weights: bool = True,
) -> str:
    """Return the page of models that read the same text, with one vocabulary.

    reports: by view and by the model's name. pictures: the SVG of each view. command: what made the
    page, as it was typed. has_weights: whether the networks run in the page, if all are small
    enough for that.
    """
    packed = [pack_weights(subject.file.weights) if has_weights else None for subject in subjects]
    is_live = all(each is not None for each in packed)
    weights = [each for each in packed if each is not None] if is_live else []
    views = [name for name in EXPLANATIONS if name in reports or name in pictures]
    if is_live:
        views = _live_views(views)
    explanations = {name: _WRITE if name == "write" else EXPLANATIONS[name] for name in views}
    hints = {"text": _hint(reports.get("neurons", {}))}
    script = join_scripts((*SCRIPTS, "start.js"))
    style = read_asset("palette.css") + read_asset("inspect.css")
    names = ", ".join(subject.name for subject in subjects)
    data = _data(subjects, reports, weights)
    parts = {
        "policy": _policy(script, style),
        "names": xml_text(names),
        "style": style,
        "intro": _intro(subjects),
        "first-steps": _first_steps(len(subjects), is_live),
        "links": "\n".join(_link(name, each) for name, each in explanations.items()),
        "sections": "\n".join(
            _section(name, each, reports.get(name, {}), pictures.get(name), hints.get(name, ""))
            for name, each in explanations.items()
        ),
        "about": _about(subjects, command, weights, has_weights),
        "data": as_island(data),
        "weights": "\n".join(
            f'<script type="text/plain" id="weights-{k}">{each.text}</script>'
            for k, each in enumerate(weights)
        ),
        "worker": join_scripts(WORKER) if is_live else "",
        "script": script,
    }
    # In one pass, so that no text can name a part.
    return _PART.sub(lambda match: parts[match[1]], read_asset("inspect.html"))


def _live_views(views: Sequence[str]) -> list[str]:
    """Return the views of a page whose networks run: those that need no report are always there."""
    names = [name for name in EXPLANATIONS if name in _LIVE or name in views]
    names.insert(names.index("gates"), "write")
    return names


def _policy(script: str, style: str) -> str:
    """Return the content security policy that allows this one script and this one style."""
    return (
        f"default-src 'none'; script-src {csp_hash(script)}; style-src {csp_hash(style)}; "
        "img-src data: blob:; worker-src blob:; base-uri 'none'; form-action 'none'"
    )


def _data(
    subjects: Sequence[Subject],
    reports: Mapping[str, Mapping[str, Any]],
    weights: Sequence[PackedWeights],
) -> dict[str, Any]:
    """Return what the script reads."""
    first = subjects[0]
    return {
        "text": first.symbols,
        "ids": first.ids.tolist(),
        "models": [
            _model(subject, reports, weights[k] if weights else None)
            for k, subject in enumerate(subjects)
        ],
    }


def _first_unit(report: Any) -> str | None:
    """Return the first unit of the report of view text, which the page begins with."""
    units = getattr(report, "units", [])
    return str(units[0]) if len(units) else None


def _model(
    subject: Subject, reports: Mapping[str, Mapping[str, Any]], weights: PackedWeights | None
) -> dict[str, Any]:
    vocab = subject.vocab
    tokens = range(vocab.size)
    return {
        "name": subject.name,
        "config": as_dict(subject.config),
        "vocab": [vocab.name_of(token) for token in tokens],
        "texts": [vocab.text_of(token) for token in tokens],
        "first_byte": len(vocab.alphabet) if vocab.has_bytes else -1,
        "end": vocab.end,
        "line_start": -1 if vocab.has_end else vocab.alphabet.find("\n"),
        "unit": _first_unit(reports.get("text", {}).get(subject.name)),
        "live": weights is not None,
        "dtype": weights.dtype if weights else None,
        "weights": weights.index if weights else [],
        "reports": {
            view: as_json(by_model[subject.name])
            for view, by_model in reports.items()
            if subject.name in by_model and (view in _READ or not weights)
        },
    }


def _intro(subjects: Sequence[Subject]) -> str:
    """Return what the file is, for a reader who sees it for the first time."""
    config = subjects[0].config
    layers = "one layer" if config.num_layers == 1 else f"{config.num_layers} layers"
    kind = {"lstm": "LSTM", "gru": "GRU", "rnn": "plain RNN"}[config.cell]
    what = (
        f"a small neural network ({kind}, {layers} of {config.hidden_size} neurons)"
        if len(subjects) == 1
        else f"{len(subjects)} small neural networks, side by side on the same text"
    )
    return (
        f"This page shows {what} while it reads a text, one character at a time, and guesses the "
        "next. Each view below asks one question about it."
        if len(subjects) == 1
        else f"This page shows {what}. They read one character at a time and guess the next. Each "
        "view below asks one question about them."
    )


def _first_steps(count: int, is_live: bool) -> str:
    """Return what to try first in a page of so many models."""
    if not is_live:
        return (
            '<p class="fine">This page shows recorded figures. It holds no network that could run '
            "here, so the text cannot be changed.</p>"
        )
    steps = (
        ("Click into the text", "and move with the arrow keys: everything follows the place."),
        ("Press Edit text", "and type something of your own: the network reads it as you type."),
        ("Open Let it write", "and hold a neuron still, to see what it is good for."),
    )
    items = "\n".join(f"<li><b>{what}</b> {why}</li>" for what, why in steps)
    what = (
        "The network itself is in this file and runs in your browser"
        if count == 1
        else "The networks themselves are in this file and run in your browser"
    )
    return (
        f'<div class="needs-script"><p>{what}; nothing is sent anywhere. Try this first:</p>\n'
        f"<ol>\n{items}\n</ol></div>\n<noscript><p>Without JavaScript this page shows pictures "
        "alone. With it, the text can be changed.</p></noscript>"
    )


def _link(name: str, explanation: Explanation) -> str:
    return f'<a href="#view={name}" data-view="{name}">{escape(explanation.title)}</a>'


def _hint(reports: Mapping[str, Any]) -> str:
    """Return a paragraph on the memory neurons that the search found in the models, or nothing."""
    tries = []
    for model, report in reports.items():
        follows: dict[str, list[str]] = {}
        for finding in getattr(report, "findings", ()):
            if finding.verdict == MEMORY:
                follows.setdefault(finding.best.unit, []).append(finding.meaning)
        of = f" of {model}" if len(reports) > 1 else ""
        for unit, meanings in islice(follows.items(), _HINTS):
            tries.append(f"Try {unit}{of}: it follows {' and '.join(meanings)}.")
    return f'<p class="reading">{xml_text(" ".join(tries))}</p>' if tries else ""


def _section(
    name: str,
    explanation: Explanation,
    reports: Mapping[str, Any],
    picture: str | None,
    hint: str = "",
) -> str:
    """Return a view: its question, how to read it, its picture, its numbers, and its formula."""
    parts = [
        f'<section class="view" id="view={name}" data-view="{name}" '
        f'aria-labelledby="title-{name}">',
        f'<h2 id="title-{name}">{escape(explanation.title)}</h2>',
        f'<p class="question">{escape(explanation.question)}</p>',
        f'<p class="reading">{escape(explanation.reading)}</p>',
        hint,
        '<div class="slot"></div>',
        '<div class="live-part" hidden></div>',
    ]
    if picture is not None:
        parts += [
            '<details class="still" open><summary>The picture that charrnn drew</summary>',
            '<p class="fine wider">Wider than the window: scroll it sideways.</p>',
            '<p class="fine on-paper">Drawn for paper: without colour is white.</p>',
            f'<figure class="picture" tabindex="0">{_compact(_checked(picture))}</figure>',
            "</details>",
        ]
    elif name == "write":
        parts.append("<noscript><p>This view needs JavaScript.</p></noscript>")
    if explanation.words:
        parts.append(_words(explanation.words))
    tables = [_table(model, report) for model, report in reports.items()]
    if tables:
        is_open = "" if picture is not None or name in _LIVE else " open"
        parts += [
            f'<details class="numbers"{is_open}><summary>The numbers</summary>',
            *tables,
            "</details>",
        ]
    parts += [
        '<details class="formula"><summary>What is this? In words, as a formula, and in code'
        "</summary>",
        f"<p>{escape(explanation.drawing)}</p>",
        f'<dl class="symbols">{_symbols(explanation)}</dl>',
        explanation.formula,
        f"<p>In code: <code>{escape(explanation.path)}</code>: "
        f"<code>{escape(explanation.code)}</code></p>",
        *(
            []
            if name == "write"
            else [f"<p>In a terminal: <code>charrnn inspect {name}</code></p>"]
        ),
        "</details>",
        "</section>",
    ]
    return "\n".join(parts)


def _words(words: Sequence[tuple[str, str]]) -> str:
    """Return terms with their meanings, as a fold that names them."""
    names = ", ".join(escape(name) for name, _ in words)
    return (
        f'<details class="words"><summary>Words used here: {names}</summary>'
        f"<dl>{''.join(_facts(words))}</dl></details>"
    )


def _symbols(explanation: Explanation) -> str:
    """Return what each letter of a formula means, line by line; the letters are MathML."""
    return "\n".join(
        f"<dt>{letter}</dt><dd>{escape(meaning)}</dd>" for letter, meaning in explanation.symbols
    )


def _compact(picture: str) -> str:
    """Return a picture that looks the same in fewer bytes: neighbours share their colour."""
    joined = _RECTS.sub(lambda match: "".join(_joined_rects(match[0])), picture)
    return _CIRCLES.sub(_grouped_circles, joined)


def _joined_rects(run: str) -> Iterable[str]:
    """Yield the paths that stand for rectangles in a row, of which none lies over another."""
    stop = -math.inf
    paths: dict[str, str] = {}
    for x, y, width, height, fill in _RECT.findall(run):
        if float(x) < stop:
            yield from _paths(paths)
            paths = {}
        stop = float(x) + float(width)
        paths[fill] = paths.get(fill, "") + f"M{x} {y}h{width}v{height}h-{width}z"
    yield from _paths(paths)


def _paths(paths: Mapping[str, str]) -> Iterable[str]:
    return (f'<path fill="{fill}" d="{shape}"/>\n' for fill, shape in paths.items())


def _grouped_circles(match: re.Match[str]) -> str:
    """Return circles that look alike as a group that says once how they look."""
    look = match["look"]
    return f"<g {look}>{match[0].replace(f' {look}', '')}</g>"


def _checked(picture: str) -> str:
    """Return an SVG picture that is well-formed and draws only."""
    for node in ElementTree.fromstring(picture).iter():
        tag = str(node.tag).rpartition("}")[2]
        assert tag not in {"script", "foreignObject", "style"}, f"<{tag}> in a picture"
        for attribute in node.attrib:
            is_inert = not attribute.startswith("on") and attribute != "style"
            assert is_inert, f"{attribute}= in a picture"
    return picture


def _table(model: str, report: Any) -> str:
    """Return a report's table as HTML, cut after MAX_ROWS."""
    columns, found = report.table()
    rows = [row for row in found if _says_more(row)]
    head = "".join(f'<th scope="col">{xml_text(str(column))}</th>' for column in columns)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>"
        for row in rows[:MAX_ROWS]
    )
    more = f" (the first {MAX_ROWS} of {len(rows):,} rows; --csv writes all)"
    caption = f'<p class="fine">{xml_text(model)}{more if len(rows) > MAX_ROWS else ""}</p>'
    table = f'<table class="rows"><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>'
    return f'{caption}\n<div class="table" tabindex="0" role="group">{table}</div>'


def _says_more(row: Sequence[object]) -> bool:
    """Return whether a row holds a figure, and not only what the figures would be of.

    >>> _says_more(["distance", 0, float("nan")]), _says_more(["place", 3]), _says_more([None, 0.5])
    (False, True, True)
    """
    shown = [as_json(each) for each in row]
    return None not in shown or any(isinstance(each, float) for each in shown)


def _cell(value: object) -> str:
    shown = as_json(value)
    if shown is None:
        return "–"
    return xml_text(f"{shown:.6g}" if isinstance(shown, float) else str(shown))


def _about(
    subjects: Sequence[Subject],
    command: str,
    weights: Sequence[PackedWeights],
    has_weights: bool,
) -> str:
    """Return where the page comes from, and what runs in it."""
    facts: list[tuple[str, str]] = []
    for subject in subjects:
        step = subject.file.summary.get("step")
        trained = "" if step is None else f", step {step:,}"
        facts.append(("Model", f"{subject.name}{trained}"))
        facts.append(("SHA-256", model_digest(subject.file).hex()))
    first = subjects[0]
    unit = "characters" if all(len(symbol) == 1 for symbol in first.symbols) else "tokens"
    facts.append(("Text", f"{len(first.ids):,} {unit}"))
    facts.append(("Figures measured on", f"up to {first.chars:,} held-out {unit}"))
    facts.append(("Seed", f"{first.seed}, from which random choices start"))
    facts.append(("Made by", f"{command} (charrnn {__version__})"))
    facts.append(("Network in this file", _running(weights, has_weights)))
    return f"<dl>{''.join(_facts(facts))}</dl>"


def _running(weights: Sequence[PackedWeights], has_weights: bool) -> str:
    if not has_weights:
        return "none: the page was made without weights"
    if not weights:
        return "none: its weights take more than 16 MiB, so the page shows recorded figures alone"
    digits = {"float32": "", "float16": ", in half precision (float16)"}
    has_8_bits = any("scales" in entry for entry in weights[0].index)
    table = ", the embeddings of n-grams in 8 bits (int8)" if has_8_bits else ""
    return f"runs in this page{digits[weights[0].dtype]}{table}"


def _facts(facts: Iterable[tuple[str, str]]) -> Iterable[str]:
    return (f"<dt>{escape(name)}</dt><dd>{xml_text(value)}</dd>\n" for name, value in facts)
