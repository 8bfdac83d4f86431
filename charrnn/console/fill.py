"""Completions on stdout: a row for each, what fills the blanks underlined, and what it costs.

Nothing of a text reaches the terminal but as visible characters; one text is one line.
"""

from __future__ import annotations

from rich.text import Text

from charrnn.console.streams import Output, make_stdout
from charrnn.console.visible import one_line
from charrnn.inference.search.fill import Completion, Filling

_LEAST_COLUMNS = 40
_FILLED = "bold underline"


def show_filling(filling: Filling, is_sample: bool) -> None:
    """Write the completions to stdout, and to stderr what is known of them."""
    console = make_stdout(_LEAST_COLUMNS)
    heading = Text(f"{'share':>7} {'bits':>9} {'bpc':>7}  text", style="bold")
    console.print(heading, soft_wrap=True)
    for each in filling.completions:
        row = Text(f"{100 * each.share:>6.2f}% {each.bits:>9.3f} {each.bpc:>7.3f}  ")
        console.print(row + _mark_filled(each), soft_wrap=True)
    notes = Output(stderr=True)
    notes.print(describe_filling(filling, is_sample), style="dim", soft_wrap=True, highlight=False)


def describe_filling(filling: Filling, is_sample: bool) -> str:
    """Say whether these are surely the likeliest, or drawn from all that there are."""
    if is_sample:
        if filling.is_exact:
            return f"drawn from all {filling.found:,} completions that there are"
        return (
            f"drawn from {filling.found:,} completions that stand for all there are; "
            "a wider --beam comes closer"
        )
    shares = f"shares are of {filling.found:,} completions found"
    if filling.is_exact:
        return f"proven: no other completion is likelier; {shares}"
    return f"not proven: a likelier one may be among those dropped, try a wider --beam; {shares}"


def _mark_filled(completion: Completion) -> Text:
    """Give the text on one line, what was filled in underlined."""
    marked, shown = Text(), 0
    for start, end in completion.filled:
        marked.append(one_line(completion.text[shown:start]))
        marked.append(one_line(completion.text[start:end]), style=_FILLED)
        shown = end
    return marked.append(one_line(completion.text[shown:]))
