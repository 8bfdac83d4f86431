"""View `text`: values of named and of chosen units, and the picture of them."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from charrnn.config.inspect import InspectConfig
from charrnn.errors import ConfigError
from charrnn.interpret.colors import NEGATIVE, POSITIVE
from charrnn.interpret.pictures.text import draw_text
from charrnn.interpret.report import as_json
from charrnn.interpret.text import TextReport, inspect_text, line_ends
from tests.interpret.networks import V, make_ids, make_network, make_subject

T = 9


def make_report(text: str, *rows: list[float], **more: object) -> TextReport:
    """Return a report of units h1.0, h1.1, … with these values."""
    given: dict[str, object] = {
        "symbols": [*text],
        "units": [f"h1.{number}" for number in range(len(rows))],
        "meanings": ["state h"] * len(rows),
        "values": np.array(rows, np.float32),
        "scales": [1.0] * len(rows),
        "lows": [-1.0] * len(rows),
        "is_diff": False,
        "rule": "",
    }
    return TextReport(**(given | more))  # type: ignore[arg-type]


def test_values_are_the_states_to_the_last_bit() -> None:
    subject = make_subject(make_network(cell="lstm", num_layers=2), make_ids(T))

    report = inspect_text(subject, InspectConfig(neurons=("h2.3", "c1.4", "f1.0")))

    assert report.units == ["h2.3", "c1.4", "f1.0"]
    assert report.values.shape == (3, T)
    state = subject.network.initial_state()
    for t, token in enumerate(subject.ids.tolist()):
        state = subject.network.advance(token, state)
        assert report.values[0, t] == state[1][0][3]
        assert report.values[1, t] == np.tanh(state[0][1][4])
    assert report.scales == [1, 1, 1]
    assert report.lows == [-1, -1, 0]


def test_changes_add_up_to_the_values() -> None:
    subject = make_subject(make_network(cell="lstm", initial_state="learned"), make_ids(T))
    names = ("h1.3", "c1.4", "f1.0")

    values = inspect_text(subject, InspectConfig(neurons=names)).values
    changes = inspect_text(subject, InspectConfig(neurons=names, diff=True)).values

    start = subject.network.initial_state()[0]
    assert changes[0].cumsum() + start[0][3] == pytest.approx(values[0], abs=1e-6)
    assert changes[1].cumsum() + np.tanh(start[1][4]) == pytest.approx(values[1], abs=1e-6)
    assert np.isnan(changes[2, 0])  # before the first token a gate has no value
    assert changes[2, 1:] == pytest.approx(np.diff(values[2]))


def test_a_unit_that_changes_slowly_is_chosen_where_none_is_named() -> None:
    network = make_network(cell="lstm", hidden_size=5)
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        network.weights[f"layers.0.{name}"][:] = 0
    # All units write what the token says; unit 3 keeps nine tenths of it, unit 1 nothing.
    network.weights["layers.0.weight_ih"][10:15] = 3 * make_network().weights["embedding.weight"][2]
    forget = network.weights["layers.0.bias_ih"][5:10]
    forget[:] = [-1, -9, 0, 2.2, -2]

    report = inspect_text(make_subject(network, make_ids(300)), InspectConfig())

    assert report.units[0] == "c1.3"
    assert "slowest" in report.rule


def test_a_layer_can_be_named_instead_of_units() -> None:
    subject = make_subject(make_network(cell="gru", num_layers=3), make_ids(T))

    assert all(unit[:3] == "h2." for unit in inspect_text(subject, InspectConfig(layer=2)).units)
    assert all(unit[:3] == "h3." for unit in inspect_text(subject, InspectConfig()).units)
    with pytest.raises(ConfigError, match="no layer 4"):
        inspect_text(subject, InspectConfig(layer=4))


def test_a_unit_that_is_not_there_is_refused() -> None:
    subject = make_subject(make_network(cell="gru"), make_ids(T))

    with pytest.raises(ConfigError, match="a GRU has no c"):
        inspect_text(subject, InspectConfig(neurons=("c1.0",)))


def test_the_scale_of_relus_is_what_the_text_reaches() -> None:
    subject = make_subject(make_network(cell="rnn", nonlinearity="relu"), make_ids(200))

    report = inspect_text(subject, InspectConfig(neurons=("h1.2",)))

    assert report.scales[0] == pytest.approx(np.percentile(subject.measured.hidden(0)[1:], 99))
    assert report.lows == [0]


def test_gates_are_blank_where_a_record_ends() -> None:
    subject = make_subject(make_network(cell="gru", has_end=True), np.array([1, V - 1, 2]))

    report = inspect_text(subject, InspectConfig(neurons=("z1.0",)))

    assert np.isnan(report.values).tolist() == [[False, True, False]]
    assert as_json(report)["values"][0][1] is None


def test_a_table_has_a_row_for_each_token() -> None:
    columns, rows = make_report("ab", [0.5, -1], [0, 0.25]).table()

    assert columns == ["place", "symbol", "h1.0", "h1.1"]
    assert rows == [[0, "a", 0.5, 0.0], [1, "b", -1.0, 0.25]]
    assert make_report("a", [1], units=["c1.7"], is_diff=True).table()[0][2] == "tanh_c1.7_change"


def test_a_row_ends_after_the_last_of_several_newlines() -> None:
    assert line_ends([*"a\n\nb\n"]) == [False, False, True, False, True]
    assert line_ends(["<end>", "a"]) == [True, False]


def test_a_picture_has_each_strong_value_in_its_color_and_with_a_line() -> None:
    svg = draw_text({"book": make_report("abc", [1, -1, 0.04])})

    body = svg[svg.index("h1.0</text>") - 900 :]
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert body.count(f'height="18" fill="{POSITIVE[-1]}"') == 1
    assert body.count(f'height="18" fill="{NEGATIVE[-1]}"') == 1
    assert "nan" not in svg.lower()


def test_a_picture_holds_texts_that_bite() -> None:
    symbols = ["</script>", "&lt;", "\x00", "\x1b", "e", "\u0301", "\u202e", "😀", "𠀀", "\t", "\n"]
    symbols += ["<E4>", "<end>", "\u2028", " ", "a b"]
    values = [float("nan"), *np.linspace(-1, 1, len(symbols) - 1)]

    svg = draw_text({'"<&>': make_report("", values, symbols=symbols)})

    root = ElementTree.fromstring(svg)
    written = "".join(text for text in root.itertext())
    assert "</script>" in written
    assert "e\u0301" in written
    assert "\u202e" not in written
    assert not re.search("nan|style=|<script", svg, re.IGNORECASE)
    assert svg == draw_text({'"<&>': make_report("", values, symbols=symbols)})


def test_every_letter_of_a_picture_has_its_place_and_no_space_is_one() -> None:
    svg = draw_text({"book": make_report("", [0.1, 0.2, 0.3], symbols=["a b", " ", "c"])})

    letters = re.findall('<text x="([^"]*)"[^>]*monospace[^>]*>([^<]*)<', svg)
    assert [(len(places.split()), words) for places, words in letters] == [(3, "abc")]


def test_models_share_the_scale_of_relus() -> None:
    low = make_report("a", [2.0], scales=[2.0], lows=[0.0])
    high = make_report("a", [4.0], scales=[4.0], lows=[0.0])

    svg = draw_text({"low": low, "high": high})

    assert f'height="18" fill="{POSITIVE[2]}"' in svg  # 2 of 4
    assert "1 of a ReLU stands for 4" in svg
