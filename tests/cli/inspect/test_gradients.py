"""The view `gradients` on a terminal, in a pipe and without colours."""

from __future__ import annotations

import io
import math

from rich.console import Console

from charrnn.cli.inspect.gradients import dashed, show_gradients
from charrnn.config.inspect import InspectConfig
from charrnn.interpret.gradients import inspect_gradients
from tests.interpret.networks import V, make_ids, make_network, make_subject


def shown(width: int, **shape: str) -> str:
    subject = make_subject(make_network(**shape), make_ids(200))
    report = inspect_gradients(subject, InspectConfig(jacobian=True))
    console = Console(file=io.StringIO(), width=width, color_system=None)
    show_gradients({"book[1]": report, "other": report}, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_half_lives_exponents_and_notes_are_printed() -> None:
    text = shown(80, cell="rnn")

    assert "book[1] h1" in text
    assert "half-life" in text
    assert "bound" in text
    assert "Lyapunov" in text
    assert "book[1]: the held-out text has only 200 tokens" in text
    assert max(map(len, text.splitlines()[:14])) <= 80


def test_a_pipe_gets_a_chart_of_common_width() -> None:
    assert max(map(len, shown(10_000, cell="lstm").splitlines())) <= 120


def test_curves_differ_without_colours() -> None:
    points = [(float(k), 1.0) for k in range(20)]

    kept = [[i for i, (_, y) in enumerate(dashed(points, n)) if not math.isnan(y)] for n in (0, 1)]

    assert kept[0] == list(range(20))
    assert kept[1] == [*range(8), *range(14, 20)]


def test_no_figure_is_cut_on_a_narrow_terminal() -> None:
    assert "…" not in shown(40, cell="gru")


def test_a_gradient_that_no_record_is_long_enough_for_is_a_dash() -> None:
    ids = make_ids(520, size=V - 1)
    ids[15::40] = V - 1
    subject = make_subject(make_network(cell="gru", has_end=True), ids)
    console = Console(file=io.StringIO(), width=80, color_system=None)

    show_gradients({"records": inspect_gradients(subject, InspectConfig())}, console)

    text = console.file.getvalue()  # type: ignore[attr-defined]
    row = next(line for line in text.splitlines() if line.startswith("records h1"))
    assert "–" in row
    assert "nan" not in text
