"""charrnn completion: what a shell needs to complete commands, options and run names."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from charrnn.cli.options import Command

_EXAMPLES = """
charrnn completion bash >> ~/.bashrc
charrnn completion zsh >> ~/.zshrc
charrnn completion fish > ~/.config/fish/completions/charrnn.fish
"""


@click.command("completion", cls=Command, examples=_EXAMPLES)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL."""
    completion = get_completion_class(shell)
    assert completion is not None, "click completes these shells"
    click.echo(completion(ctx.find_root().command, {}, "charrnn", "_CHARRNN_COMPLETE").source())
