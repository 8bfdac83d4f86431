"""View `neuron` on a terminal: the card of one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.text import Text

from charrnn.cli.console import make_table, print_line
from charrnn.cli.formatting import format_character, one_line
from charrnn.cli.inspect.braille import sparkline
from charrnn.cli.inspect.text import has_colors, print_beside
from charrnn.interpret.clamp import ClampReport, closing_name
from charrnn.interpret.colors import letter_color, signed_color
from charrnn.interpret.neuron import Histogram, Link, NeuronReport, Snippet
from charrnn.interpret.units import meaning_of

_LABEL = 13  # columns left of the text
_PER_KIND = 3  # snippets; without colours each takes three lines
_PER_KIND_PLAIN = 1


def show_neuron(reports: Mapping[str, NeuronReport], console: Console) -> None:
    """Print the card of a unit of each model, one below the other."""
    for name, report in reports.items():
        heading = Text(f"{one_line(name)}  {report.unit}", "bold")
        heading.append(f"  {report.finding.verdict}; {meaning_of(report.unit[0])}", "not bold")
        print_line(console, heading)
        print_line(console, report.finding.sentence)
        if report.best_of_feature != report.unit:
            feature = report.finding.feature
            print_line(console, f"The best unit for {feature} is {report.best_of_feature}.")
        print_line(console, "")
        _show_snippets(report, console)
        _show_histogram(report.histogram, report.finding.feature, console)
        _show_links(report, console)
        _show_clamp(report.clamp, console)


def _show_snippets(report: NeuronReport, console: Console) -> None:
    """Print the snippets, a few of each kind; the value at their place stands left of them."""
    is_colored = has_colors(console)
    seen: dict[str, int] = {}
    count = _PER_KIND if is_colored else _PER_KIND_PLAIN
    note = "" if is_colored else "; below each character its value in tenths, − for negative"
    print_line(console, f"value of {report.unit} before ‸ and around it{note}", "dim")
    for snippet in report.snippets:
        seen[snippet.kind] = seen.get(snippet.kind, 0) + 1
        if seen[snippet.kind] <= count:
            label = f"{snippet.kind.removesuffix(' quantile')} {snippet.values[snippet.at]:.2f}"
            lines = _lines(snippet, report, console.width - _LABEL, is_colored)
            print_beside(console, label.replace("-", "−"), lines, _LABEL)
    print_line(console, "")


def _lines(snippet: Snippet, report: NeuronReport, width: int, is_colored: bool) -> list[Text]:
    """Return a snippet on the colours of its values, or above their tenths and their signs."""
    cells = [Text(format_character(symbol)) for symbol in snippet.symbols]
    start, stop = _room([cell.cell_len for cell in cells], snippet.at, max(width - 1, 8))
    text, digits, signs = Text(), "", ""
    for at in range(start, stop):
        shown = cells[at]
        value = float(snippet.values[at]) / report.high
        if is_colored:
            background = signed_color(value)
            shown.stylize(f"{letter_color(background)} on {background}")
        tenths = min(int(abs(value) * 10 + 1e-5), 9)
        digits += str(tenths or " ").ljust(shown.cell_len)
        signs += ("−" if value < 0 and tenths else " ").ljust(shown.cell_len)
        text.append_text(shown)
        if at == snippet.at:
            text.append("‸")
            digits += " "
            signs += " "
    rows = [] if is_colored else [digits.rstrip(), signs.rstrip()]
    return [text, *(Text(row) for row in rows if row)]


def _room(columns: Sequence[int], at: int, width: int) -> tuple[int, int]:
    """Return which characters fit, two thirds of the width for what comes before the place."""
    start = at
    while start > 0 and sum(columns[start - 1 : at + 1]) <= width * 2 // 3:
        start -= 1
    stop = at + 1
    while stop < len(columns) and sum(columns[start : stop + 1]) <= width:
        stop += 1
    return start, stop


def _show_histogram(histogram: Histogram, feature: str, console: Console) -> None:
    """Print the values of both sides as two rows of bars with one scale."""
    top = max(float(histogram.inside.max()), float(histogram.outside.max()), 1e-6)
    low, high = float(histogram.edges[0]), float(histogram.edges[-1])
    print_line(console, f"how often each value from {low:g} to {high:.3g}: {feature}", "dim")
    for name, shares in zip(histogram.names, (histogram.inside, histogram.outside), strict=True):
        bars = "".join(
            " " if share == 0 else sparkline([share], 0, top) for share in shares.tolist()
        )
        print_line(console, f"▕{bars}▏ {one_line(name)}")
    print_line(console, "")


def _show_links(report: NeuronReport, console: Console) -> None:
    """Print what moves the unit, and what it moves."""
    rows: list[tuple[str, Sequence[Link]]] = [
        ("rises after", report.rises),
        ("falls after", report.falls),
        ("makes likelier", report.pushes),
        ("less likely", report.holds_back),
        ("reads from", report.reads_from),
        ("writes to", report.writes_to),
    ]
    table = make_table("", "")
    table.show_header = False
    for label, links in rows:
        if links:
            table.add_row(Text(label, "dim"), Text("   ".join(map(_shown, links))))
    if report.tau is not None:
        table.add_row(Text("keeps for", "dim"), Text(f"{report.tau:,.1f} characters by its gate"))
    console.print(table, crop=False)
    print_line(console, f"likelier: the logit where {report.pushes_note}", "dim")
    print_line(console, "")


def _shown(link: Link) -> str:
    """Return a link: a unit with the length of its weights, or a character with a change."""
    if link.more and link.value > 0 and link.name[1:].replace(".", "").isdigit():
        return f"{link.name} {link.value:.2f} ({link.more})".replace("-", "−")
    name = format_character(link.name) if len(link.name) == 1 else one_line(link.name)
    return f"{'␣' if name == ' ' else name} " + f"{link.value:+.2f}".replace("-", "−")


def _show_clamp(clamp: ClampReport, console: Console) -> None:
    """Print what happens where the unit is held."""
    inside, outside = clamp.short_names
    sign = closing_name(clamp.closing) if clamp.closing else ""
    head = ["", f">loss {inside}", f">loss {outside}"]
    head += [f">{sign} {inside}", f">{sign} {outside}"] if sign else []
    table = make_table(*map(one_line, head), padding=0)
    for label, effect in (
        ("as it is", clamp.free),
        (f"held at {clamp.outside:.2f} ({outside})", clamp.held_outside),
        (f"held at {clamp.inside:.2f} ({inside})", clamp.held_inside),
    ):
        figures = [effect.nats_inside, effect.nats_outside]
        figures += [effect.closing_inside, effect.closing_outside] if sign else []
        table.add_row(
            Text(one_line(label.replace("-", "−"))), *(Text(f"{figure:.3f}") for figure in figures)
        )
    console.print(table, crop=False)
    print_line(console, clamp.conclusion)
