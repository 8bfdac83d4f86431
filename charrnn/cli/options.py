"""Command-line options made from settings: names, defaults, ranges and help have one home.

A field `hidden_size` of a settings class becomes `--hidden-size`, CHARRNN_HIDDEN_SIZE and the key
hidden_size of a configuration file.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, get_type_hints

import click

from charrnn.cli.formatting import sanitize
from charrnn.cli.inputs import complete_run, read_little
from charrnn.config import RENAMED
from charrnn.errors import ConfigError

_ENV_PREFIX = "CHARRNN"
_MOST_CONFIG_BYTES = 1 << 20
_LARGEST = 1 << 1023  # whole numbers from here on are no float
_SPELLINGS = {
    "temperature": ("--temp", "--temperature"),
    "top_k": ("--top-k",),
    "count": ("-n", "--count"),
    "beam_width": ("--beam",),
}
_RENAMED = {
    **{"--" + old.replace("_", "-"): "--" + new.replace("_", "-") for old, new in RENAMED.items()},
    "--style": "--preset",
    "--guide": "--negative-model",
    "--copied": "--mark-copies",
    "--copied-from": "--min-copy",
    "--new-only": "--skip-known-lines",
    "--on": "--file",
}
_COMPLETIONS = {"resume": complete_run, "init_from": complete_run}


class Command(click.Command):
    """A command that shows its examples first and its options by section.

    Its page is safe to look at, though it may quote a configuration file.
    """

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments, of which none can hold a NUL: no shell passes it on, no path has it.

        Raises:
            ConfigError: one does.
        """
        for argument in args:
            _refuse_nul("an argument", argument)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            new_name = _RENAMED.get(error.option_name.replace("--no-", "--"))
            if any(new_name in param.opts for param in self.params):
                name = error.option_name
                raise click.NoSuchOption(name, possibilities=[str(new_name)], ctx=ctx) from error
            raise

    def get_help(self, ctx: click.Context) -> str:
        """Give the page of help."""
        return sanitize(super().get_help(ctx))

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does, then its examples."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line.strip()}\n")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under its section's heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx)
            if record is not None and isinstance(option, click.Option):
                sections.setdefault(getattr(option, "section", ""), []).append(record)
        for section, records in sections.items():
            with formatter.section(section or "Options"):
                formatter.write_dl(records)


class Option(click.Option):
    """An option that belongs to a section of the help page."""

    def __init__(self, *args: Any, section: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section


class Choice(click.Choice[str]):
    """A choice that suggests the nearest value for a mistyped one."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Add what was probably meant."""
        message = super().get_invalid_choice_message(value, ctx)
        near = difflib.get_close_matches(str(value), [str(each) for each in self.choices], n=1)
        return f"{message} Did you mean {near[0]!r}?" if near else message


def settings_options(
    *classes: type[Any], section: str = "", skipped: tuple[str, ...] = ()
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate a command with an option for every field of the settings classes."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for cls in reversed(classes):
            hints = get_type_hints(cls)
            for item in reversed([each for each in fields(cls) if each.name not in skipped]):
                function = _make_option(item, hints[item.name], section)(function)
        return function

    return decorate


def _make_option(
    item: Field[Any], hint: Any, section: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    rule = item.metadata
    dashed = "--" + item.name.replace("_", "-")
    is_flag = hint in (bool, bool | None)
    names = (f"{dashed}/--no-{dashed[2:]}",) if is_flag else _SPELLINGS.get(item.name, (dashed,))
    return click.option(
        *names,
        item.name,
        cls=Option,
        section=rule["section"] or section,
        default=item.default,
        type=None if is_flag else _type_of(hint, rule),
        multiple=item.default == (),
        help=rule["help"],
        show_default=rule["unset"] or item.default not in (None, ()),
        envvar=None if item.default == () else f"{_ENV_PREFIX}_{item.name.upper()}",
        show_envvar=False,
        shell_complete=_COMPLETIONS.get(item.name),
    )


def _type_of(hint: Any, rule: Any) -> click.ParamType[Any]:
    """Give click's type for a field: a choice, a range, or text."""
    if rule["choices"]:
        return Choice(rule["choices"])
    low, above, high = rule["minimum"], rule["above"], rule["maximum"]
    edges = {"min": low if above is None else above, "max": high, "min_open": above is not None}
    if hint in (int, int | None):
        return click.IntRange(**edges)
    if hint in (float, float | None):
        return click.FloatRange(**edges)
    return click.STRING


_Source = click.core.ParameterSource
_STRONGEST_FIRST = (_Source.COMMANDLINE, _Source.ENVIRONMENT, _Source.DEFAULT_MAP)


def given_settings(ctx: click.Context, rivals: Sequence[str] = ()) -> dict[str, Any]:
    """Give the parameters set by flag, environment or file: those not left at their default.

    rivals: say the same in different words, so that only the strongest source of theirs counts.
    """
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    used = [sources[name] for name in rivals if name in sources]
    strongest = next((source for source in _STRONGEST_FIRST if source in used), None)
    return {
        name: value
        for name, value in ctx.params.items()
        if sources[name] in ((strongest,) if name in rivals else _STRONGEST_FIRST)
    }


def read_config(ctx: click.Context, own: click.Parameter, path: str | None) -> str | None:
    """Let a TOML file's keys, spelled as the long options are, stand in for those not given.

    Raises:
        ConfigError: it cannot be read, is too long or no TOML, or has a key that is no option.
    """
    if path is None:
        return None
    try:
        with Path(path).open("rb") as file:
            raw = read_little(file, path, _MOST_CONFIG_BYTES)
        values = tomllib.loads(raw.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"cannot use the configuration {path}: {error}") from error
    known = {_key(param): param for param in ctx.command.params if param is not own}
    found: dict[str, Any] = {}
    for spelled, value in values.items():
        key = spelled.replace("-", "_")
        if key not in known:
            near = [RENAMED[key]] if key in RENAMED else difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ConfigError(f"{path}: {key!r} is no setting of {ctx.info_name}{hint}")
        name = str(known[key].name)
        if name in found:
            raise ConfigError(f"{path}: {key} is there twice, with - and with _; keep one")
        if not _fits(known[key], value):
            raise ConfigError(f"{path}: {key} is {value!r}; see --help")
        for each in value if isinstance(value, list) else [value]:
            _refuse_nul(f"{path}: {key}", str(each))
        found[name] = value
    ctx.default_map = {**(ctx.default_map or {}), **found}
    return path


def _refuse_nul(what: str, value: str) -> None:
    if "\0" in value:
        raise ConfigError(f"{what} holds a NUL character: {value!r}; leave it out")


def _key(param: click.Parameter) -> str:
    """Give the key of a file that sets `param`: --batch-size is batch_size."""
    return max(param.opts, key=len).removeprefix("--").replace("-", "_")


def _fits(param: click.Parameter, value: Any) -> bool:
    """Tell whether a TOML value is of an option's kind; click itself would make 8 of 8.7."""
    if isinstance(value, list):
        is_many = param.nargs == -1 or getattr(param, "multiple", False)
        return is_many and all(isinstance(each, str) for each in value)
    if isinstance(param.type, click.types.BoolParamType):
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if isinstance(param.type, click.FloatRange):
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < _LARGEST)
    if isinstance(param.type, click.IntRange):
        return isinstance(value, int)
    return isinstance(value, str | int | float)  # a budget of 60, a run named 2031
