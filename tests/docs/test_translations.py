"""The pages in Chinese have the same commands, code, figures and links as the English ones."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAIRS = [("README.md", "README.zh-CN.md"), ("docs/tutorial.md", "docs/zh/tutorial.md")]


@pytest.fixture(params=PAIRS, ids=lambda pair: pair[1])
def pages(request: pytest.FixtureRequest) -> tuple[str, str]:
    """Return a page in English and in Chinese."""
    english, chinese = ((ROOT / name).read_text("utf-8") for name in request.param)
    return english, chinese


def commands(page: str) -> list[str]:
    """Return the lines that are typed, without their comments."""
    lines = re.findall(r"^(?:    |\$ )((?:charrnn|git|make|pip|python3) .*)$", page, re.MULTILINE)
    return [re.sub(r" {3,}.*| +# .*", "", line) for line in lines]


def test_both_pages_type_the_same_commands(pages: tuple[str, str]) -> None:
    english, chinese = map(commands, pages)

    assert english == chinese
    assert len(english) > 40


def test_both_pages_show_the_same_screens_and_code(pages: tuple[str, str]) -> None:
    english, chinese = (re.findall(r"```\w+\n.*?```", page, re.DOTALL) for page in pages)

    assert english == chinese


def test_every_option_and_name_of_one_page_is_in_the_other(pages: tuple[str, str]) -> None:
    english, chinese = (
        set(re.findall(r"`[^`\n]+`", re.sub(r"```.*?```", "", page, flags=re.DOTALL)))
        for page in pages
    )
    # A name that one page breaks over two lines is not found there.
    joined = [re.sub(r"\s+", " ", page) for page in pages]

    assert [name for name in english if name not in joined[1]] == []
    assert [name for name in chinese if name not in joined[0]] == []


def test_every_figure_of_the_translation_is_in_the_page(pages: tuple[str, str]) -> None:
    english, chinese = (set(re.findall(r"\d[\d,.]*\d|\d", page)) for page in pages)

    assert chinese - english == set()


def test_both_pages_have_the_same_sections(pages: tuple[str, str]) -> None:
    levels = [
        re.findall(r"^(#+) ", re.sub(r"```.*?```", "", p, flags=re.DOTALL), re.M) for p in pages
    ]

    assert levels[0] == levels[1]


def test_both_pages_lead_to_the_same_pages(pages: tuple[str, str]) -> None:
    english, chinese = (
        Counter(Path(link).name for link in re.findall(r"\]\(([^)#]+)", page)) for page in pages
    )
    own = {"README.md", "README.zh-CN.md", "tutorial.md"}

    assert set(english) - own == set(chinese) - own
