"""Commands and their options, made from settings: names, defaults, ranges and help have one home.

A field `hidden_size` of a settings class becomes `--hidden-size`, CHARRNN_HIDDEN_SIZE and the key
hidden_size of a configuration file. A command with many options has two help pages: --help shows
the common ones, --help-all shows every one.
"""

import copy
import inspect
import shlex
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import Field, fields
from typing import Any, TypeVar, get_type_hints

import click

from charrnn.cli.formatting import sanitize
from charrnn.cli.inputs import complete_run, read_bytes
from charrnn.config import COST, PRESETS, RENAMED, UNKNOWN, TextConfig, did_you_mean
from charrnn.config.text import ERRORS
from charrnn.errors import ConfigError
from charrnn.wording import nearest

_Config = TypeVar("_Config")
_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]
_Source = click.core.ParameterSource

_STRONGEST_FIRST = (_Source.COMMANDLINE, _Source.ENVIRONMENT, _Source.DEFAULT_MAP)
_MAX_CONFIG_BYTES = 1 << 20
_FLOAT_LIMIT = 1 << 1023  # an int from here on overflows a float
_MAX_SHOWN = 100_000  # no reader of a help page needs a larger upper bound

# Options whose names differ from their field's; any other field gets --its-name.
_SPELLINGS = {
    "temperature": ("--temp", "--temperature"),
    "count": ("-n", "--count"),
    "beam_width": ("--beam",),
    "top": ("--top", "--n-best"),
    "neurons": ("--neuron",),
    "features": ("--feature",),
    "cache_size": ("--cache",),
}
_RUNS = ("resume", "init_from", "distill_from")  # settings that name one
_METAVARS: dict[str | type, str] = {
    click.IntRange: "N",
    click.FloatRange: "X",  # not INTEGER RANGE
    "checkpoints": "FOLDER",
    "tensorboard": "FOLDER",
    "resume": "RUN",
    "init_from": "MODEL",
    "distill_from": "MODEL",
    "val_file": "FILE",
    "budget": "TIME",
    "parameters": "COUNT",
    "name": "RUN",
    "encoding": "NAME",
    "neurons": "UNIT",
    "features": "NAME=REGEX",
    "labels_file": "FILE",
    "host": "ADDRESS",
    "uds": "PATH",
    "root_path": "PATH",
    "api_key": "KEY",
    "api_key_file": "FILE",
    "allow_host": "NAME",
    "allow_origin": "URL",
    "max_body": "SIZE",
    "cache_size": "SIZE",
    "over": "NAME=VALUES",
    "sample_prompt": "TEXT",
    "then_train": "TIME",
}
RENAMED_OPTIONS = {
    **{"--" + old.replace("_", "-"): "--" + new.replace("_", "-") for old, new in RENAMED.items()},
    "--style": "--preset",
    "--guide": "--negative-model",
    "--copied": "--mark-copies",
    "--copied-from": "--min-copy",
    "--new-only": "--skip-known-lines",
    "--on": "--file",
}
"""Options by the names that they had before the first release."""


class Command(click.Command):
    """A command that shows its examples first, then its options by section.

    common: names of the parameters that --help shows, in this order, with the first three examples
    and the first two paragraphs of the docstring; --help-all then shows everything. Empty: --help
    shows everything.
    """

    def __init__(
        self, *args: Any, examples: str = "", common: tuple[str, ...] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = [line.strip() for line in examples.strip().splitlines()]
        self.common = common
        # Eager: shown before a missing argument is refused, as --help is.
        how = {"is_flag": True, "is_eager": True, "expose_value": False, "hidden": not common}
        words = "Show every option and exit."
        option = click.Option(["--help-all"], callback=_show_help_all, help=words, **how)
        self.params.append(option)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; an option that was renamed is answered with its new name."""
        for argument in args:
            _refuse_nul("an argument", argument)  # no shell passes one on, no path can have one
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = error.option_name
            new_name = RENAMED_OPTIONS.get(name.replace("--no-", "--"), "")
            if any(new_name in param.opts for param in self.params):
                if name.startswith("--no-"):
                    new_name = new_name.replace("--", "--no-", 1)
                message = f"No such option {name!r}; it is now {new_name!r}."
                raise click.NoSuchOption(name, message, ctx=ctx) from error
            raise

    def get_help(self, ctx: click.Context) -> str:
        """Return the page of --help."""
        short = copy.copy(self)
        if self.common:
            short.help = "\n\n".join(inspect.cleandoc(self.help or "").split("\n\n")[:2])
            short.examples = self.examples[:3]
        return short._get_page(ctx)

    def get_full_help(self, ctx: click.Context) -> str:
        """Return the page of --help-all: that of the same command without common options."""
        whole = copy.copy(self)
        whole.common = ()
        return whole._get_page(ctx)

    def _get_page(self, ctx: click.Context) -> str:
        # Defaults may come from a configuration file that somebody else wrote.
        return sanitize(super().get_help(ctx))

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does, then its examples, which click would wrap."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                indent = " " * formatter.current_indent
                formatter.write("".join(f"{indent}{line}\n" for line in self.examples))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the common options and how many there are, or all, each under its section."""
        options = {o.name: o for o in self.get_params(ctx) if isinstance(o, click.Option)}
        shown = [options[name] for name in self.common] + list(options.values())[-2:]  # the helps
        sections: dict[str, list[tuple[str, str]]] = {}
        for option in shown if self.common else options.values():
            section = "" if self.common else getattr(option, "section", "")
            if record := option.get_help_record(ctx):
                sections.setdefault(section or "Options", []).append(record)
        for section, records in sections.items():
            with formatter.section(section):
                formatter.write_dl(records)
        if self.common:
            formatter.write_paragraph()
            formatter.write(f"{ctx.command_path} --help-all shows all {len(options)} options.\n")


def _show_help_all(ctx: click.Context, _: click.Parameter, is_asked: bool) -> None:
    if is_asked and not ctx.resilient_parsing:  # resilient: a shell completes the line
        assert isinstance(ctx.command, Command)
        click.echo(ctx.command.get_full_help(ctx))
        ctx.exit()


class Option(click.Option):
    """An option that belongs to a section of the help page."""

    def __init__(self, *args: Any, section: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.section = section

    def get_help_extra(self, ctx: click.Context) -> Any:
        """Return the default and the range, without an upper bound that nobody reaches."""
        extra = super().get_help_extra(ctx)
        kind = self.type
        if isinstance(kind, click.IntRange | click.FloatRange) and (kind.max or 0) > _MAX_SHOWN:
            extra["range"] = f"x{'>' if kind.min_open else '>='}{kind.min}"
        return extra


class Choice(click.Choice[str]):
    """A choice that suggests the nearest value for a mistyped one."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Add what was probably meant."""
        message = super().get_invalid_choice_message(value, ctx)
        near = nearest(str(value), map(str, self.choices))
        return f"{message} Did you mean {near!r}?" if near else message


errors_option = click.option(
    "--errors",
    type=Choice(ERRORS),
    show_default=TextConfig().errors,
    help="bytes of FILE that are not in the encoding: an error, replaced by U+FFFD, or skipped",
)

unknown_option = click.option(
    "--unknown",
    type=Choice((COST, *UNKNOWN)),
    default=COST,
    show_default=True,
    help="characters that the model never saw: count what they cost apart, refuse them, leave them "
    "out, or put the nearest that it knows in their place",
)
"""Of commands that score a text; SampleConfig and FillConfig have their own."""


def settings_options(
    cls: type[Any], *, section: str = "", skipped: tuple[str, ...] = ()
) -> _Decorator:
    """Decorate a command with an option for every field of a settings class."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        hints = get_type_hints(cls)
        for item in reversed(fields(cls)):  # click lists decorators from the bottom up
            if item.name not in skipped:
                function = _make_option(item, hints[item.name], section)(function)
        return function

    return decorate


def _make_option(item: Field[Any], hint: Any, section: str) -> _Decorator:
    rule = item.metadata
    dashed = "--" + item.name.replace("_", "-")
    is_flag = hint in (bool, bool | None)
    is_list = item.default == ()  # an environment variable could hold only one value
    kind = None if is_flag else _make_type(hint, rule)
    names = (f"{dashed}/--no-{dashed[2:]}",) if is_flag else _SPELLINGS.get(item.name, (dashed,))
    return click.option(
        *names,
        item.name,
        cls=Option,
        section=rule["section"] or section,
        default=item.default,
        type=kind,
        metavar=_METAVARS.get(item.name) or _METAVARS.get(type(kind)),
        multiple=is_list,
        help=rule["help"],
        # The meaning of a default of None, in words; else the value itself.
        show_default=rule["unset"] or item.default not in (None, ()),
        envvar=None if is_list else f"CHARRNN_{item.name.upper()}",
        show_envvar=False,
        shell_complete=complete_run if item.name in _RUNS else None,
    )


def _make_type(hint: Any, rule: Any) -> click.ParamType[Any]:
    """Return click's type for a field: a choice, a range, or text."""
    if rule["choices"]:
        return Choice(rule["choices"])
    is_open = rule["gt"] is not None  # click shows it as low<x
    edges = {"min": rule["gt"] if is_open else rule["ge"], "max": rule["le"], "min_open": is_open}
    if hint in (int, int | None):
        return click.IntRange(**edges)
    if hint in (float, float | None):
        return click.FloatRange(**edges)
    return click.STRING


def given_settings(ctx: click.Context, rivals: Sequence[str] = ()) -> dict[str, Any]:
    """Return the parameters set by flag, environment or file: those not left at their default.

    rivals: parameters that exclude each other; only those of the strongest source count.
    """
    # So --steps on the command line overrides CHARRNN_BUDGET instead of clashing with it.
    sources = {name: ctx.get_parameter_source(name) for name in ctx.params}
    used = [sources[name] for name in rivals if name in sources]
    strongest = next((source for source in _STRONGEST_FIRST if source in used), None)
    return {
        name: value
        for name, value in ctx.params.items()
        if sources[name] in ((strongest,) if name in rivals else _STRONGEST_FIRST)
    }


def typed_command(ctx: click.Context, skipped: Sequence[str] = ()) -> str:
    """Return the command as it was typed, options last; skipped: parameters to leave out."""
    arguments: list[str] = []
    options: list[str] = []
    for param in ctx.command.params:
        name = str(param.name)
        if name in skipped or ctx.get_parameter_source(name) is not _Source.COMMANDLINE:
            continue
        value = ctx.params.get(name)
        values = value if isinstance(value, tuple) else (value,)
        if isinstance(param, click.Argument):
            arguments += map(str, values)
        elif isinstance(value, bool):
            options.append(max(param.opts if value else param.secondary_opts, key=len))
        else:
            for each in values:
                options += [max(param.opts, key=len), str(each)]
    return shlex.join(["charrnn", str(ctx.info_name), *arguments, *options])


def settings_from_options(ctx: click.Context, cls: type[_Config], **overrides: Any) -> _Config:
    """Make a settings object of a command's parameters; --preset, if it has one, applies.

    What was given overrides the preset, and the preset the defaults; `overrides` override all.

    Raises:
        ConfigError: a setting is out of range, or two clash.
    """
    # ctx.params holds the defaults and all that is given, which therefore comes once more.
    preset = PRESETS.get(ctx.params.get("preset") or "", {})
    values = {**ctx.params, **preset, **given_settings(ctx), **overrides}
    return cls(**{item.name: values[item.name] for item in fields(cls) if item.name in values})  # type: ignore[arg-type]


def read_config(ctx: click.Context, _: click.Parameter, path: str | None) -> str | None:
    """Take from a TOML file the values of options that are not given; its keys are their names.

    Raises:
        ConfigError: it cannot be read, is too long or not TOML, or has a key that is not an option.
    """
    if path is None:
        return None
    try:
        raw = read_bytes(path, f"the configuration {path}", _MAX_CONFIG_BYTES)
        values = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"cannot use the configuration {path}: {error}") from error
    # All but --config and --help-all, which act at once instead of giving a value.
    known = {_key(param): param for param in ctx.command.params if param.expose_value}
    found: dict[str, Any] = {}
    for spelled, value in values.items():
        key = spelled.replace("-", "_")
        if key not in known:
            hint = did_you_mean(key, known)
            raise ConfigError(f"{path}: {ctx.info_name} has no setting {key!r}{hint}")
        name = str(known[key].name)
        if name in found:
            raise ConfigError(f"{path}: {key} is set twice, with - and with _; keep one")
        if not _fits(known[key], value):
            raise ConfigError(f"{path}: {key} cannot be {value!r}; see {ctx.command_path} --help")
        for each in value if isinstance(value, list) else [value]:
            _refuse_nul(f"{path}: {key}", str(each))  # TOML can spell it
        found[name] = value
    # click looks here after the command line and the environment, before the defaults.
    ctx.default_map = {**(ctx.default_map or {}), **found}
    return path


def _refuse_nul(what: str, value: str) -> None:
    """Refuse a NUL, at which the system would end a file's name."""
    if "\0" in value:
        raise ConfigError(f"{what} holds a NUL character: {value!r}; remove it")


def _key(param: click.Parameter) -> str:
    """Return the key of a file that sets `param`: --batch-size is batch_size."""
    return max(param.opts, key=len).removeprefix("--").replace("-", "_")


def _fits(param: click.Parameter, value: Any) -> bool:
    """Return whether a TOML value is of an option's kind; click itself would make 8 of 8.7."""
    if isinstance(value, list):
        is_many = param.nargs == -1 or getattr(param, "multiple", False)
        return is_many and all(isinstance(each, str) for each in value)
    if isinstance(param.type, click.types.BoolParamType):
        return isinstance(value, bool)
    if isinstance(value, bool):
        return False
    if isinstance(param.type, click.FloatRange):
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < _FLOAT_LIMIT)
    if isinstance(param.type, click.IntRange):
        return isinstance(value, int)
    return isinstance(value, str | int | float)  # a budget of 60, a run named 2031
