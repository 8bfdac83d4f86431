"""What mkdocs needs to make a site of all pages: those outside docs/, and the code that they show.

mkdocs calls the two functions `on_…` (mkdocs.yml names this file). A link to a page leads to the
page, a link to a file of code to a page that shows the file.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "README.zh-CN.md": "zh/index.md",
    **{
        name: name
        for name in ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/LOG.md", "benchmarks/peers.md")
    },
}
"""Pages outside docs/: where they are in the repository, and where they come in the site."""
LANGUAGES = {
    ".py": "python",
    ".js": "javascript",
    ".toml": "toml",
    ".csv": "text",
    ".md": "markdown",
}

_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand outside docs/, and a page for each file that a page leads to."""
    for source, target in PAGES.items():
        files.append(File.generated(config, target, content=_read(source)))
    shown = {place for page in _pages(files) for place in _linked_code(*page)}
    for place in sorted(shown):
        language = LANGUAGES.get(Path(place).suffix, "text")
        content = f'# {place}\n\n````{language} linenums="1"\n{_read(place)}\n````\n'
        file = File.generated(config, f"source/{place}.md", content=content)
        file.inclusion = file.inclusion.NOT_IN_NAV
        files.append(file)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Let every link lead to where its file is in the site."""
    target = page.file.src_uri
    if target.startswith("source/"):
        return markdown
    source = _source_of(target)

    def moved(match: re.Match[str]) -> str:
        link = match[2]
        if "://" in link or link.startswith("mailto:"):
            return match[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
        there = posixpath.relpath(_target_of(place), posixpath.dirname(target) or ".")
        return f"{match[1]}{there}{match[3] or ''}{match[4]}"

    return _LINK.sub(moved, markdown)


def _read(place: str) -> str:
    return (ROOT / place).read_text(encoding="utf-8")


def _source_of(target: str) -> str:
    """Return where a page of the site is in the repository."""
    return {value: key for key, value in PAGES.items()}.get(target, f"docs/{target}")


def _target_of(place: str) -> str:
    """Return where a file of the repository comes in the site."""
    if place in PAGES:
        return PAGES[place]
    is_doc = place.startswith("docs/") and not place.endswith(".py")
    return place.removeprefix("docs/") if is_doc else f"source/{place}.md"


def _pages(files: Files) -> list[tuple[str, str]]:
    """Return each page's place in the repository, and its text."""
    places = [_source_of(file.src_uri) for file in files if file.src_uri.endswith(".md")]
    return [(place, _read(place)) for place in places]


def _linked_code(source: str, markdown: str) -> list[str]:
    """Return the files outside the site's pages that a page leads to."""
    links = [match[2] for match in _LINK.finditer(markdown) if "://" not in match[2]]
    places = [posixpath.normpath(posixpath.join(posixpath.dirname(source), link)) for link in links]
    return [
        each
        for each in places
        if _target_of(each).startswith("source/") and (ROOT / each).is_file()
    ]
