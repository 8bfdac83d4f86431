"""Every example in a docstring runs, and shows what it says."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import warnings

import pytest

import charrnn

_FOUND = pkgutil.walk_packages(charrnn.__path__, "charrnn.")
MODULES = ["charrnn", *(module.name for module in _FOUND if not module.name.endswith("__main__"))]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_show_what_they_say(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        failed, _ = doctest.testmod(importlib.import_module(name))

    assert failed == 0


def test_most_rooms_have_examples() -> None:
    finder = doctest.DocTestFinder()
    tests = (test for name in MODULES for test in finder.find(importlib.import_module(name)))

    assert sum(bool(test.examples) for test in tests) > 80
