"""A text on a grid: which characters share a cell, and where rows break."""

from __future__ import annotations

from charrnn.text.columns import TextCell, iter_rows, make_cells


def shown(rows: list[list[TextCell]]) -> list[str]:
    return ["".join(cell.shown for cell in row) for row in rows]


def test_a_mark_stands_on_the_character_before_it() -> None:
    assert make_cells("e\u0301中") == [TextCell("e\u0301", 1, 0, 2), TextCell("中", 2, 2, 3)]


def test_a_mark_with_nothing_before_it_stands_on_a_circle() -> None:
    assert make_cells("\u0301a")[0] == TextCell("\u25cc\u0301", 1, 0, 1)


def test_marks_can_have_cells_of_their_own() -> None:
    cells = make_cells("e\u0301", joins_marks=False)

    assert [(cell.shown, cell.start) for cell in cells] == [("e", 0), ("\u25cc\u0301", 1)]


def test_a_row_is_no_wider_than_the_width() -> None:
    assert shown([*iter_rows(make_cells("a中中b"), 4)]) == ["a中", "中b"]


def test_a_character_wider_than_the_width_has_a_row_of_its_own() -> None:
    assert shown([*iter_rows(make_cells("中a中"), 1)]) == ["中", "a", "中"]


def test_a_row_ends_where_a_line_does() -> None:
    ends = [False, True, False, False]

    assert shown([*iter_rows(make_cells("abcd"), 3, ends)]) == ["ab", "cd"]
    assert shown([*iter_rows(make_cells("abcd"), 2, ends)]) == ["ab", "cd"]
