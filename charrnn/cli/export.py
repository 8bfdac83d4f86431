"""charrnn export: a model in another format, run and compared before it is kept."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from charrnn.cli.console import make_stdout, print_line, print_note
from charrnn.cli.inputs import (
    checkpoints_option,
    complete_run,
    label_option,
)
from charrnn.cli.options import Choice, Command, settings_from_options, settings_options
from charrnn.cli.signals import catch_signals
from charrnn.config.export import ALIASES, FORMATS, ExportConfig
from charrnn.errors import counted
from charrnn.storage import format_bytes
from charrnn.tasks.export import ExportReport, export

_EXAMPLES = """
charrnn export book --to html              a page that writes in any browser
charrnn export book --to onnx -o a.onnx    a graph for onnxruntime
charrnn export book --to html --dtype int8
charrnn export play --to onnx --label speaker=ROMEO
"""


_SLOW_TO_COMPILE_BYTES = 6_000_000  # of C, for which gcc takes about 3 s
_COMMON = ("to", "out", "overwrite", "dtype", "verify", "labels", "as_json")


@click.command("export", cls=Command, examples=_EXAMPLES, common=_COMMON)
@click.argument("model", required=False, shell_complete=complete_run)
@click.option(
    "--to",
    type=Choice((*FORMATS, *ALIASES), case_sensitive=False),
    required=True,
    help="format to write",
)
@click.option(
    *("-o", "--out"),
    type=click.Path(),
    metavar="PATH",
    show_default="the model's name",
    help="file, or for some formats the folder, to write",
)
@click.option("--overwrite", is_flag=True, help="replace what is there")
@settings_options(ExportConfig)
@label_option(help="label to fix, of a model trained with labels: speaker=ROMEO; can be repeated")
@click.option("--json", "as_json", is_flag=True, help="print the report as one JSON object")
@checkpoints_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str | None,
    to: str,
    out: str | None,
    overwrite: bool,
    labels: tuple[str, ...],
    as_json: bool,
    checkpoints: str,
    **_: object,
) -> None:
    """Write a model in another format, and check it.

    MODEL, a run's name, a run's folder or a model file, becomes a file or folder that other
    programs run: onnx is a graph for onnxruntime, html a page that writes in any browser, c a
    source file of C99 and its header, without dependencies, huggingface (hf) a folder for the Hub,
    tensorboard the curves of the run. Without MODEL the newest model is used.

    What was written is run and compared with the model, character by character. If it does not
    write the same text, that is an error (exit code 10) and nothing is left behind; --no-verify
    leaves the check out.

    The JSON object has to, path, files (bytes by path), bytes, is_verified, verified_chars,
    max_logit_error, notes and seconds.
    """
    config = settings_from_options(ctx, ExportConfig)
    with _ended_by_signals():
        report = export(
            model,
            to,
            out,
            config,
            labels=labels,
            overwrite=overwrite,
            checkpoints=checkpoints,
            on_made=_say_if_slow,
        )
    if as_json:
        click.echo(json.dumps(report.to_json(), allow_nan=False))
    else:
        show_report(report)


def _say_if_slow(sizes: Mapping[Path, int]) -> None:
    """Print a note where a large file of C is about to be compiled."""
    for path, size in sizes.items():
        if path.suffix == ".c" and size > _SLOW_TO_COMPILE_BYTES:
            print_note(
                f"{path} has {format_bytes(size)}: compiling it, to check it, takes a while; "
                "--no-verify leaves that out"
            )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End the program at a signal by an exception, so that what was begun is removed."""
    caught: list[int] = []

    def end() -> NoReturn:
        if caught[0] == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + caught[0])

    def stop(number: int, _: FrameType | None) -> None:
        caught.append(number)
        end()

    with catch_signals(stop):
        try:
            yield
        except Exception:
            if caught:  # a package that was being imported took it for an error of its own
                end()
            raise


def show_report(report: ExportReport) -> None:
    """Print each file with its size, and on stderr how it was checked."""
    console = make_stdout()
    for path, size in report.files.items():
        print_line(console, f"{path}  {format_bytes(size)}")
    print_note(f"{_describe_check(report)}; {report.seconds:.1f} s")
    for note in report.verified.notes if report.verified else ():
        print_note(note)


def _describe_check(report: ExportReport) -> str:
    """Return how an export was verified, in words."""
    verified = report.verified
    if verified is None:
        return "not verified, as --no-verify asks: it may not write what the model writes"
    if not verified.chars:  # a format without text, or a page without node
        return "verified" if report.to == "tensorboard" else "verified in part: it was not run"
    error = verified.max_logit_error
    logits = "" if error is None else f", logits within {error:.1g}"
    chars = f": {counted(verified.chars, 'character')} as the model has them"
    return f"verified{chars}{logits}"
