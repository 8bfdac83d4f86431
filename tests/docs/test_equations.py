"""docs/equations.md against the code: each "In code:" line must still be true.

Such a line has a file, a definition in it, and a line of that definition's source. Whitespace does
not count:

    In code: [`path`](../path), `name`: `the line`
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")
CITATIONS = [line for line in PAGE.splitlines() if line.startswith("In code:")]
PATTERN = re.compile(r"In code: \[`([^`]+)`\]\(\.\./([^)]+)\), `([\w.]+)`: `([^`]+)`")


def source_of(path: Path, qualified_name: str) -> str:
    """Return the source of a function, class, method or module constant; "" if there is none."""
    source = path.read_text(encoding="utf-8")
    node: ast.AST | None = ast.parse(source)
    for name in qualified_name.split("."):
        members = node.body if isinstance(node, ast.Module | ast.ClassDef) else []
        node = next((member for member in members if name in names_bound(member)), None)
    return (node and ast.get_source_segment(source, node)) or ""


def names_bound(statement: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.AnnAssign):
        return [ast.unparse(statement.target)]
    return [ast.unparse(t) for t in statement.targets] if isinstance(statement, ast.Assign) else []


def squeeze(line: str) -> str:
    """Return a line without its whitespace."""
    return "".join(line.split())


@pytest.mark.parametrize("citation", CITATIONS)
def test_a_cited_line_is_in_the_definition_that_is_named(citation):
    match = PATTERN.fullmatch(citation)
    assert match, "write: In code: [`path`](../path), `name`: `the line`"
    path, link, name, quote = match.groups()
    assert link == path
    assert (ROOT / path).is_file()
    source = source_of(ROOT / path, name)
    assert source, f"{path} has no {name}"
    assert squeeze(quote) in [squeeze(line) for line in source.splitlines()]


def test_every_equation_is_followed_by_its_code():
    after_blocks = re.findall(r"^```math\n.*?^```\n\n([^\n]*)", PAGE, re.DOTALL | re.MULTILINE)
    assert len(after_blocks) == PAGE.count("```math") > 0
    assert [line for line in after_blocks if not line.startswith("In code:")] == []


def test_a_citation_stands_at_the_start_of_its_line():
    assert PAGE.count("In code:") == len(CITATIONS)
