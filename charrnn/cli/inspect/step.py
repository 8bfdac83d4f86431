"""One step in a terminal: an equation a line, its numbers under its symbols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from charrnn.cli.console import print_line
from charrnn.cli.formatting import one_line
from charrnn.interpret.digits import decimals_for, shown
from charrnn.interpret.equations import Line
from charrnn.interpret.pictures.diagram import value
from charrnn.interpret.step import StepReport
from charrnn.interpret.trace import Array
from charrnn.interpret.update import WeightUpdate

_WIDEST = 150  # an eye does not follow longer lines
_ACROSS = 8  # columns of a matrix
Block = Sequence[Text]
"""Lines of one width, to be put beside others."""


def show_step(reports: Mapping[str, StepReport], console: Console) -> None:
    """Print the step of each model."""
    width = min(console.width, _WIDEST)
    for number, (name, report) in enumerate(reports.items()):
        if number:
            print_line(console, "")
        for line in _lines(name, report, width):
            print_line(console, line)


def _lines(name: str, report: StepReport, width: int) -> list[Text]:
    """Return the whole step."""
    target = f"{report.target!r}"
    after = f"the text ends there, and the likeliest is {target}" if report.is_guess else target
    lines = [
        Text(
            one_line(f"{name}: place {report.at} reads {report.symbol!r}, then comes {after}"),
            "bold",
        ),
        Text(f"{report.cell}, layer {report.layer}, unit {report.unit} of {report.hidden_size}"),
        Text("h′ and c′ are the state before. The printed terms of a sum add up to it.", "dim"),
        Text(""),
        Text("Forward", "bold underline"),
    ]
    lines += _equations(report.forward, width)
    lines += [Text(""), _guesses(report), Text(""), Text("Backward", "bold underline")]
    lines.append(Text("measured: (ℓ(v + ε) − ℓ(v − ε)) / 2ε, with ε = 0.00001", "dim"))
    lines += _equations(report.backward, width)
    if report.matrices:
        lines += [Text(""), Text("The whole layer", "bold underline")]
        lines += _matrices(report, width)
    if report.update:
        lines += [Text(""), Text("Training", "bold underline"), *_update(report.update)]
    return lines


def _equations(equations: Sequence[Line], width: int) -> list[Text]:
    """Return equations, each with its line of code unless the next one has the same."""
    lines = []
    for number, line in enumerate(equations):
        lines += _equation(line, width)
        following = equations[number + 1].code if number + 1 < len(equations) else ""
        if line.code != following:
            lines.append(Text(f"  {line.code}", "dim italic"))
    return lines


def _equation(line: Line, width: int) -> list[Text]:
    """Return an equation: what it means, its symbols and its numbers."""
    blocks: list[Block] = []
    has_details = any(piece.detail for piece in line.pieces)
    for number, piece in enumerate(line.pieces):
        words = [one_line(piece.symbol), piece.number]
        if has_details:
            words.append(piece.detail)
        styles = ["bold" if number == 0 else "", "", "dim"]
        blocks.append(_block(words, styles))
    if line.measured is not None:
        said = shown(line.measured, decimals_for([line.value]))
        words = ["measured", said] + [""] * has_details
        blocks.append(_block(words, ["cyan", "cyan", ""]))
    return [
        Text(""),
        Text(one_line(f"{line.name} = {line.formula}: {line.meaning}"), "dim"),
        *_pack(blocks, width),
    ]


def _guesses(report: StepReport) -> Text:
    """Return the likeliest next characters; their digits add up to 1."""
    text = Text("p = softmax(logit): ")
    for guess in report.guesses:
        name = guess.symbol if guess.logit is None else one_line(repr(guess.symbol))
        text.append(f"{name} {guess.shown}", "reverse" if guess.is_target else "")
        text.append("   ")
    return text


def _matrices(report: StepReport, width: int) -> list[Text]:
    """Return all numbers of a small layer; a sign marks the unit's row."""
    lines = [Text(f"▸ marks the row of unit {report.unit}", "dim")]
    blocks: list[Block] = []
    for name, matrix in report.matrices.items():
        if name.startswith("U"):  # a new gate
            lines += _pack(blocks, width)
            blocks = []
        blocks.append(_matrix(name, matrix, report.unit))
    return lines + _pack(blocks, width)


def _matrix(name: str, matrix: Array, unit: int) -> Block:
    """Return a matrix or a vector as a block of numbers."""
    rows = matrix.tolist() if matrix.ndim == 2 else [[number] for number in matrix.tolist()]
    words = [f"  {name}"]
    for place, row in enumerate(rows):
        mark = "▸" if place == unit and name != "x" else " "
        numbers = [
            shown(number, 4).rjust(9) if "∂" in name else value(number).rjust(6)
            for number in row[:_ACROSS]
        ]
        words.append(mark + "".join(numbers) + " …" * (len(row) > _ACROSS))
    return _block(words, ["bold"], left=True)


def _update(update: WeightUpdate) -> list[Text]:
    """Return clipping and the update of a weight."""
    lines = [
        Text(
            f"window of {update.tokens} characters that ends here; this run reads "
            f"{update.seq_len}, of many lanes at once",
            "dim",
        )
    ]
    if update.optimizer == "muon":
        lines.append(
            Text("Muon turns the matrices of the layers as a whole; this weight is AdamW's", "dim")
        )
    if update.update == 1:
        lines.append(Text("as at the first update: the moments begin at 0", "dim"))
    for name, formula, numbers, meaning in update.lines:
        lines += [
            Text(f"{name} = {formula}: {meaning}", "dim"),
            Text(f"  {name} = {numbers}"),
        ]
    return lines


def _block(words: Sequence[str], styles: Sequence[str], *, left: bool = False) -> Block:
    """Return words as lines of one width, each in the middle of it."""
    width = max(map(cell_len, words))
    lines = []
    for number, word in enumerate(words):
        before = 0 if left else (width - cell_len(word)) // 2
        line = Text(" " * before)
        line.append(word, styles[number] if number < len(styles) else "")
        line.append(" " * (width - before - cell_len(word)))
        lines.append(line)
    return lines


def _pack(blocks: Sequence[Block], width: int) -> list[Text]:
    """Return blocks side by side, as many in a row as fit."""
    rows: list[list[Block]] = [[]]
    used = 2
    for block in blocks:
        size = cell_len(block[0].plain) + 1
        if used + size > width and rows[-1]:
            rows.append([])
            used = 4
        rows[-1].append(block)
        used += size
    lines = []
    for number, row in enumerate(rows):
        height = max(map(len, row))
        for place in range(height):
            line = Text("  " if not number else "    ")
            for block in row:
                blank = Text(" " * cell_len(block[0].plain))
                line.append_text(block[place] if place < len(block) else blank).append(" ")
            line.rstrip()
            if line.plain.strip():
                lines.append(line)
    return lines
