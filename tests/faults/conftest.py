"""How much of the fault suite runs: a quick share with all tests, the whole by `make faults`.

What a test measures is printed at the end; docs/reliability.md keeps the figures of a whole run.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

FIGURE = "figure"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="as many faults as docs/reliability.md")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    lines = [line for report in reports for name, line in report.user_properties if name == FIGURE]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture
def is_whole(request: pytest.FixtureRequest) -> bool:
    """Return whether this is `make faults`."""
    return bool(request.config.getoption("--whole", default=False))


@pytest.fixture
def times(is_whole: bool) -> Callable[[int, int], int]:
    """Return a function that chooses between the quick number and the whole one."""
    return lambda quick, whole: whole if is_whole else quick


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Return a function that keeps a line of measured figures for the end."""
    node = request.node
    return lambda line: node.user_properties.append((FIGURE, f"{node.name}: {line}"))
