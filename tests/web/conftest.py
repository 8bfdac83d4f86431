"""A browser for the tests of pages: one for all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.web.browser import NAMES, Browser, find_browser

# Before a test begins, which sees no variable of charrnn (tests/conftest.py).
_IS_NEEDED = os.environ.get("CHARRNN_BROWSER") == "1"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Return a browser; without one, skip the test, or fail it where CHARRNN_BROWSER is 1."""
    if find_browser() is None:
        message = f"no browser: none of {', '.join(NAMES)} is on the path (apt install chromium)"
        if _IS_NEEDED:
            pytest.fail(f"{message}, and CHARRNN_BROWSER=1 asks for one")
        pytest.skip(message)
    with Browser() as running:
        yield running
