"""The view `links` on a terminal, with and without colours."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from charrnn.cli.inspect.links import show_links
from charrnn.config.inspect import InspectConfig
from charrnn.interpret.links import inspect_links
from tests.interpret.networks import make_ids, make_network, make_subject


def shown(method: str, *, colors: bool, width: int = 80) -> str:
    subject = make_subject(make_network(cell="gru"), make_ids(90))
    report = inspect_links(subject, InspectConfig(at=70, method=method))
    file = io.StringIO()
    color_system = "truecolor" if colors else None
    console = Console(
        file=file,
        width=width,
        color_system=color_system,
        force_terminal=colors,  # type: ignore[arg-type]
    )
    show_links({"book[1]": report}, console)
    return file.getvalue()


@pytest.mark.parametrize("method", ["gradient", "ablate", "ig"])
def test_without_colours_digits_stand_below_the_text(method: str) -> None:
    text = shown(method, colors=False)

    assert "book[1] after place 70 the next character is" in text
    assert "the likeliest is" in text
    assert any(line.strip().isdigit() for line in text.splitlines())
    assert "\x1b" not in text


def test_colours_stand_on_the_text() -> None:
    text = shown("gradient", colors=True)

    assert "48;2;" in text
    assert not any(line.strip().isdigit() for line in text.splitlines())


def test_the_gap_of_integrated_gradients_is_printed() -> None:
    assert "the parts miss the difference of logits by" in shown("ig", colors=False)
