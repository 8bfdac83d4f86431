"""Write docs/cli.md from the help pages of the program: python docs/make_cli_page.py"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from charrnn.cli.main import cli

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100

OPENING = """# Every command and option

This page is made from the program's own help by `make docs`; a test holds it true.

- A setting such as `--hidden-size` of `train` has a twin in the environment,
  `CHARRNN_HIDDEN_SIZE`, and one in a configuration file, `hidden_size`
  (`charrnn train --config FILE.toml`; `--print-config` writes such a file). A flag goes before the
  environment, that before the file, that before the default.
- Twins in the environment have, too: the settings of `sample` and `fill` (but those that may be
  given again), `--dynamic-rate` of `eval`, what `bench` and `corpus stats` share with `train`, and
  `--checkpoints` wherever it stands. `train` also heeds `CHARRNN_CONFIG`, `CHARRNN_QUIET` and
  `CHARRNN_JSON`.
- MODEL is a run's name, a run's folder or a model file; left out, it is the newest run's best.
  `eval` wants it named.
- Texts that were read are kept as ids in `$CHARRNN_CACHE`, else `$XDG_CACHE_HOME/charrnn`, else
  `~/.cache/charrnn`; nothing is ever removed from there. Named texts are kept in `corpora/`.
- A text of 200 MB or more becomes ids in as many processes as there are processors, up to 8;
  `CHARRNN_WORKERS` names another number ([scale.md](scale.md)).
- What is asked for goes to stdout, progress and complaints to stderr. `NO_COLOR` is respected.
- Exit codes: 0 done; 2 a setting is wrong; 3 the text is missing, undecodable, too short, or has
  characters that the model does not know; 4 not a model file, or damaged; 5 the loss diverged;
  6 out of memory; 7 a file or stdout could not be written; 8 another process trains the run;
  9 another process of the same training has ended; 130 Ctrl-C, 141 a closed pipe, 143 SIGTERM.
"""


def make_page() -> str:
    """Give the page's text."""
    pages = (f"## {path}\n\n```text\n{text}```\n" for path, text in _iter_help(cli, None))
    return "\n".join([OPENING, *pages])


def _iter_help(command: click.Command, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    """Yield the path and help text of a command and of those below it."""
    name = "charrnn" if parent is None else command.name
    widths = {"terminal_width": WIDTH, "max_content_width": WIDTH}
    settings = command.context_settings | widths
    context = click.Context(command, info_name=name, parent=parent, **settings)
    lines = command.get_help(context).splitlines()
    yield context.command_path, "".join(f"{line.rstrip()}\n" for line in lines)
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            assert found is not None
            yield from _iter_help(found, context)


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
