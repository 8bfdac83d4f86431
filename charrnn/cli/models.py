"""The MODEL argument and the --checkpoints option, shared by the commands that read models."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from charrnn.config import RunConfig

_CHECKPOINTS = RunConfig().checkpoints


def complete_run(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem | str]:
    """Offer the names of the runs, then files."""
    folder = Path(ctx.params.get("checkpoints") or _CHECKPOINTS)
    names = sorted(path.name for path in folder.glob("*") if (path / "last.safetensors").exists())
    runs: list[CompletionItem | str] = [n for n in names if n.startswith(incomplete)]
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
