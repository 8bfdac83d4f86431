"""charrnn push and charrnn pull: share a model on the Hugging Face hub, and get one from it."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

import click

from charrnn.checkpoint.hub import Pushed, describe_origin
from charrnn.cli.console import make_stdout, print_line, print_note
from charrnn.cli.inputs import checkpoints_option, complete_run, name_for_shell
from charrnn.cli.options import Command, settings_from_options, settings_options
from charrnn.config.export import ExportConfig
from charrnn.tasks.hub import pull as pull_model
from charrnn.tasks.hub import push as push_model

_PUSH_EXAMPLES = """
charrnn push book ada/book                 private: only you can read it
charrnn push book ada/book --public --licence mit --language en
charrnn push book ada/book --branch v2      others name it ada/book@v2
"""
_PULL_EXAMPLES = """
charrnn pull ada/book                      checkpoints/book
charrnn pull ada/book@v2 --name book-v2
charrnn sample hf://ada/book                from the hub, without a run
"""
_OF_CARD = ("licence", "language", "card_samples")
_OTHERS = tuple(item.name for item in fields(ExportConfig) if item.name not in _OF_CARD)


@click.command("push", cls=Command, examples=_PUSH_EXAMPLES)
@click.argument("model", shell_complete=complete_run)
@click.argument("name", metavar="USER/NAME")
@click.option("--public", is_flag=True, help="let everybody read it; a new one is private else")
@click.option("--branch", metavar="NAME", help="branch to push to, made if it is not there")
@settings_options(ExportConfig, skipped=_OTHERS)
@click.option("--json", "as_json", is_flag=True, help="print what was pushed as one JSON object")
@checkpoints_option
@click.pass_context
def push(
    ctx: click.Context,
    /,
    model: str,
    name: str,
    public: bool,
    branch: str | None,
    as_json: bool,
    checkpoints: str,
    **_: object,
) -> None:
    """Share a model on the Hugging Face hub.

    MODEL goes into the repository USER/NAME as the folder that charrnn export --to huggingface
    writes: weights, vocabulary, figures and a card. The text that it learned from does not, nor any
    path of this machine. A card that somebody edited on the hub stays as it is.

    The token is that of hf auth login, or HF_TOKEN.
    """
    config = settings_from_options(ctx, ExportConfig)
    pushed = push_model(
        model, name, config, is_public=public, branch=branch, checkpoints=checkpoints
    )
    if as_json:
        click.echo(json.dumps(asdict(pushed)))
        return
    print_line(make_stdout(), pushed.url)
    for line in _describe_push(pushed, is_public=public):
        print_note(line)


def _describe_push(pushed: Pushed, *, is_public: bool) -> list[str]:
    """Return what a person wants to know of a push."""
    who = "private" if pushed.is_private else "public"
    lines = [f"{pushed.repo} is {who}; branch {pushed.branch}, commit {pushed.commit[:12]}"]
    if is_public and pushed.is_private:
        lines.append("it was private before and stays so; its page on the hub can make it public")
    if pushed.has_kept_card:
        lines.append("README.md was edited on the hub, so it was left as it is there")
    return lines


@click.command("pull", cls=Command, examples=_PULL_EXAMPLES)
@click.argument("name", metavar="USER/NAME[@REVISION]")
@click.option("--name", "run_name", metavar="RUN", help="name of the run; NAME if none is given")
@click.option("--overwrite", is_flag=True, help="replace the run of that name")
@click.option("--json", "as_json", is_flag=True, help="print the run and its origin as JSON")
@checkpoints_option
def pull(name: str, run_name: str | None, overwrite: bool, as_json: bool, checkpoints: str) -> None:
    """Get a model from the Hugging Face hub as a run.

    REVISION is a branch, a tag or a commit, by default the main branch. The model file is verified
    as any other, and charrnn info shows the commit that it came from. Nothing else of the
    repository is read. A run that was pulled before is brought up to date, unless it was trained
    since.
    """
    pulled = pull_model(name, run_name, overwrite=overwrite, checkpoints=checkpoints)
    if as_json:
        click.echo(
            json.dumps(
                {"run": pulled.run.name, "path": str(pulled.run.path)} | asdict(pulled.origin)
            )
        )
        return
    print_line(make_stdout(), str(pulled.run.path))
    done = "brought up to date" if pulled.is_update else "pulled"
    print_note(f"{done} from {describe_origin(pulled.origin)}")
    print_note(f"charrnn sample {name_for_shell(pulled.run)} writes with it")
