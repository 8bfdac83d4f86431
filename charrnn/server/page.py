"""The page on which a person and a model write together, as one HTML document.

Nothing else is loaded: the policy allows its own script and style by their hashes, the icon in its
markup, and requests to the server that it came from. The form of settings is made from
SampleConfig, so that every setting and its help stand there as `charrnn sample --help` has them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from functools import cache
from html import escape
from typing import Any

from charrnn.config import SampleConfig
from charrnn.config.sample import PRESETS
from charrnn.web.assets import read_asset
from charrnn.web.inline import as_island, csp_hash, join_scripts

_PARTS = (
    *("words", "client", "history", "mirror", "readout", "settings"),
    *("versions", "choices", "dialogs", "page"),
)
SCRIPTS = ("signs.js", *(f"write/{name}.js" for name in _PARTS), "start.js")
"""Files of charrnn/web that make the page's script, in this order."""

STYLES = ("palette.css", "write/write.css")

_PART = re.compile(r"@@([a-z-]+)@@")
_KINDS = {"int": "whole", "float": "number", "bool": "flag", "str": "text"}
_EXAMPLE = re.compile(r": --\S+ \S+(?: --\S+ \S+)*$")  # of a command line
_OPTION = re.compile(r"--([a-z][a-z-]*)")
_LONG_NAMES = {"temp": "temperature"}


@dataclass(frozen=True)
class PageModel:
    """A model that the page can write with; labels: the values of each column, if it has any."""

    name: str
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


def make_page(models: Sequence[PageModel]) -> str:
    """Return the page; without models it asks the server for them, which may want a key.

    >>> "<textarea" in make_page([PageModel("shakes")])
    True
    """
    names = ", ".join(model.name for model in models) or "charrnn"
    data = {
        "models": [
            {"name": each.name, "labels": {k: list(v) for k, v in each.labels.items()}}
            for each in models
        ],
        "fields": describe_settings(),
        "presets": PRESETS,
    }
    parts = {
        "policy": policy(),
        "names": _as_text(names),
        "style": _style(),
        "data": as_island(data),
        "script": _script(),
    }
    # In one pass, so that no name of a model can name a part.
    return _PART.sub(lambda match: parts[match[1]], read_asset("write/write.html"))


def policy(*, is_header: bool = False) -> str:
    """Return the content security policy of the page; frame-ancestors works in a header alone."""
    rules = (
        f"default-src 'none'; script-src {csp_hash(_script())}; style-src {csp_hash(_style())}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'"
    )
    return f"{rules}; frame-ancestors 'none'" if is_header else rules


def describe_settings() -> list[dict[str, Any]]:
    """Return every setting of SampleConfig as the page's form needs it.

    >>> describe_settings()[0]["name"]
    'repetition_penalty'
    """
    return [_describe_setting(item) for item in fields(SampleConfig)]


def _describe_setting(item: Field[Any]) -> dict[str, Any]:
    kind, _, optional = str(item.type).partition(" | ")
    is_list = kind.startswith("tuple")
    default: Any = item.default
    return {
        "name": item.name,
        "kind": "texts" if is_list else _KINDS[kind],
        "isOptional": bool(optional),
        "help": _help(item.metadata["help"]),
        "default": list(default) if is_list else default,
        "choices": list(item.metadata["choices"]),
        "unset": _help(item.metadata["unset"]),
        "section": item.metadata["section"],
        **{bound: item.metadata[bound] for bound in ("ge", "gt", "le")},
    }


def _help(text: str) -> str:
    """Return the help of an option in the words of a form.

    >>> _help("length from which --dry-penalty applies; can be repeated")
    'length from which “dry penalty” applies; one a line'
    """
    text = _EXAMPLE.sub("", text).replace("can be repeated", "one a line")
    return _OPTION.sub(lambda match: f"“{_shown_name(match[1])}”", text)


def _shown_name(option: str) -> str:
    return _LONG_NAMES.get(option, option).replace("-", " ")


@cache
def _script() -> str:
    return join_scripts(SCRIPTS)


@cache
def _style() -> str:
    return "".join(map(read_asset, STYLES))


def _as_text(text: str) -> str:
    """Return a text as markup that any encoder of UTF-8 takes."""
    return escape(text.encode("utf-8", "replace").decode("utf-8"))
