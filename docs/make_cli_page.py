"""Write docs/cli.md from the program's own help: python docs/make_cli_page.py"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from charrnn.cli.main import cli
from charrnn.cli.options import Command

PAGE = Path(__file__).with_name("cli.md")
WIDTH = 100

OPENING = """# Every command and option

`make docs` writes this page from the program's own help, and a test compares the two. Where a
command has a `--help-all`, this is what it shows; `--help` shows the options that people use.

- Every setting of `train`, such as `--hidden-size`, can also be set by an environment variable,
  `CHARRNN_HIDDEN_SIZE`, or in a configuration file, `hidden_size = 256` (`--config FILE.toml`;
  `--print-config` writes one). The option overrides the environment, that the file, and that the
  default. The environment also sets `--config`, `--quiet` and `--json` of `train`, the settings of
  `sample`, `write` and `fill` (but not those that can be repeated), `--dynamic-rate` of `eval`,
  what `bench` and `corpus stats` share with `train`, and `--checkpoints` everywhere.
- MODEL is a run's name, a run's folder or a model file; without it, the newest run's best model is
  used, except by `eval`, `compress` and `decompress`.
- Texts that were read are kept as ids in `$CHARRNN_CACHE`, else `$XDG_CACHE_HOME/charrnn`, else
  `~/.cache/charrnn`; nothing is ever removed from there. Named texts are kept in `corpora/`.
- A text of 200 MB or more is encoded by as many processes as there are processors, up to 8;
  `CHARRNN_WORKERS` sets another number ([scale.md](scale.md)).
- Results go to stdout, progress and messages to stderr. `NO_COLOR` is respected.
- Exit codes: 0 done; 2 a setting is wrong; 3 the text is missing, undecodable, too short, or has
  characters that the model does not know; 4 not a model file, or damaged; 5 the loss diverged;
  6 out of memory; 7 a file or stdout could not be written; 8 another process trains the run;
  9 another process of the same training has ended; 130 Ctrl-C, 141 a closed pipe, 143 SIGTERM.
"""


def make_page() -> str:
    """Return the page's text."""
    pages = (f"## {path}\n\n```text\n{text}```\n" for path, text in _iter_help(cli, None))
    return "\n".join([OPENING, *pages])


def _iter_help(command: click.Command, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    """Yield the path and help text of a command and of those below it."""
    name = "charrnn" if parent is None else command.name
    settings = command.context_settings | {"terminal_width": WIDTH, "max_content_width": WIDTH}
    context = click.Context(command, info_name=name, parent=parent, **settings)
    has_all = isinstance(command, Command)  # groups have one page
    page = command.get_full_help(context) if has_all else command.get_help(context)
    yield context.command_path, "".join(f"{line.rstrip()}\n" for line in page.splitlines())
    if isinstance(command, click.Group):
        for below in command.list_commands(context):  # imports each command
            found = command.get_command(context, below)
            assert found is not None
            yield from _iter_help(found, context)


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
