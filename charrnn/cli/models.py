"""The MODEL argument and the --checkpoints option, shared by the commands that read models."""

from __future__ import annotations

import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from charrnn.config import RunConfig

_CHECKPOINTS = RunConfig().checkpoints
_PLAIN = r"[\w.,+=@%-]+"


def complete_run(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """Offer the names of the runs, then files.

    Shells put a name on the command line as it is, so one that they would expand is left out.
    """
    folder = Path(ctx.params.get("checkpoints") or _CHECKPOINTS)
    names = sorted({path.parent.name for path in folder.glob("*/*.safetensors")})
    runs: list[CompletionItem | str] = [
        name for name in names if name.startswith(incomplete) and re.fullmatch(_PLAIN, name)
    ]
    return runs or [CompletionItem(incomplete, type="file")]


optional_model = click.argument(
    "model", required=False, shell_complete=complete_run, metavar="[MODEL]"
)
some_models = click.argument(
    "models", nargs=-1, required=True, shell_complete=complete_run, metavar="MODEL..."
)

checkpoints_option = click.option(
    "--checkpoints",
    default=_CHECKPOINTS,
    show_default=True,
    envvar="CHARRNN_CHECKPOINTS",
    help="folder of all runs",
)
