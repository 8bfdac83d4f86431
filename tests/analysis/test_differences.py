"""Files that are unlike the others are named, and those that are alike are not."""

from charrnn.analysis.differences import find_unlike

ENGLISH = "the night was still, and the river shone below the old stone house. " * 20
MORE = "she said nothing of the letter that had come for her in the morning rain. " * 20
GERMAN = "der Weg führte über die Brücke, während der Schnee auf den Dächern lag. " * 20
RUSSIAN = "все счастливые семьи похожи друг на друга, каждая по-своему. " * 20


def names(*texts: str) -> list[str]:
    return [each.name for each in find_unlike([(str(i), [text]) for i, text in enumerate(texts)])]


def test_a_file_in_another_script_is_named_with_what_is_unknown_in_it() -> None:
    (found,) = find_unlike([("a", [ENGLISH]), ("b", [ENGLISH + MORE]), ("c", [RUSSIAN])])

    assert found.name == "c"
    assert found.bits > 3
    assert 0.7 < found.unknown_share < 0.9


def test_files_of_one_language_are_alike() -> None:
    assert names(ENGLISH + MORE, MORE + ENGLISH, ENGLISH + MORE * 2) == []


def test_the_worst_comes_first_and_short_files_are_left_out() -> None:
    assert names(ENGLISH, RUSSIAN, MORE, GERMAN, ENGLISH, "#?!")[0] == "1"
    assert names(ENGLISH, "#?!" * 300) == []
    assert names(ENGLISH) == []
