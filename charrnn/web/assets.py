"""The scripts, styles and templates of pages, which are files of the package."""

from __future__ import annotations

from importlib.resources import files


def read_asset(name: str) -> str:
    """Return the text of a file of this folder, such as "network.js" or "views/text.js".

    >>> read_asset("network.js").startswith("// The network in plain JavaScript")
    True
    """
    return files(__package__).joinpath(*name.split("/")).read_text(encoding="utf-8")
