"""Which settings a sweep tries: hidden_size=128,256 or learning_rate=0.001..0.01:log, as trials.

Values are of the types of their settings; tasks/sweep.py has the settings of each trial checked.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

from charrnn.config.fields import did_you_mean, setting, validate
from charrnn.config.text import TextConfig
from charrnn.config.train import LENGTHS, RunConfig, TrainConfig, parse_duration
from charrnn.errors import ConfigError

DEFAULT_SWEEP_BUDGET = "1h"
STRATEGIES = ("halving", "random", "grid")
_DEFAULT_TRIALS = 9  # where a range has values without end
_MOST_TRIALS = 1000
_DIGITS = 3  # of a value drawn from a range
_COMPARABLE = ("min_count", "source_unit")  # of TextConfig: the held-out text stays the same
_UNLIKE = {
    **dict.fromkeys(LENGTHS, "all trials have the same length"),
    "length_history": "all trials have the same length",
    **dict.fromkeys(("samples", "sample_prompt"), "it changes no model"),
    "eval_every": "the sweep chooses when trials are compared",
    "eval_chars": "trials compare on the same held-out text alone",
    "task": "losses of different tasks do not compare",
}
_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})((?::[a-z0-9]+)*)", re.IGNORECASE)
_SWITCHES = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}


@dataclass(frozen=True, kw_only=True)
class SweepConfig:
    """What a sweep tries, for how long, and which trials go on."""

    over: tuple[str, ...] = setting(
        (),
        "a setting and its values: hidden_size=128,256, or a range: learning_rate=1e-3..1e-2:log",
    )
    strategy: str = setting(
        "halving",
        "halving: trials that do badly early are not trained on; grid: every combination to its "
        "end; random: some combinations to their ends",
        choices=STRATEGIES,
    )
    budget: str | None = setting(
        None, "time of the whole sweep, such as 10m or 1h30m", unset=DEFAULT_SWEEP_BUDGET
    )
    trials: int | None = setting(
        None,
        "how many combinations to try, drawn by --seed so that each setting is covered evenly",
        unset=f"every combination; {_DEFAULT_TRIALS} of a range",
        ge=2,
        le=_MOST_TRIALS,
    )
    eta: int = setting(3, "with halving: one of so many trials goes on", ge=2, le=10)
    rungs: int | None = setting(
        None,
        "with halving: how often trials are compared, the end included",
        unset="as the number of trials allows, at most 3",
        ge=1,
        le=8,
    )
    then_train: str | None = setting(
        None, "after the sweep, train a run with the best settings for this time"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "budget", _as_duration(self.budget))
        object.__setattr__(self, "then_train", _as_duration(self.then_train))
        validate(self)
        if self.strategy != "halving" and self.rungs is not None:
            raise ConfigError(
                f"strategy {self.strategy} trains every trial to its end; leave --rungs out"
            )
        for time in (self.budget, self.then_train):
            if time is not None:
                parse_duration(time)
        names = [axis.name for axis in self.axes]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"--over has {name} twice; give all its values at once")

    @property
    def axes(self) -> list[Axis]:
        """The settings that are tried."""
        return [parse_axis(text) for text in self.over]


def _as_duration(value: Any) -> Any:
    """Return a number of seconds as the text of a duration."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{value}s" if is_number else value


@dataclass(frozen=True)
class Axis:
    """A setting and what it may be: one of these values or, without any, from low to high."""

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False
    is_whole: bool = False

    def at(self, place: float) -> Any:
        """Return the value at a place from 0, the first, to 1, the last.

        >>> Axis("learning_rate", (), 0.001, 0.1, is_log=True).at(0.5)
        0.01
        """
        if self.values:
            return self.values[min(int(place * len(self.values)), len(self.values) - 1)]
        if self.is_log:
            value = math.exp(_between(math.log(self.low), math.log(self.high), place))
        else:
            value = _between(self.low, self.high, place)
        if self.is_whole:
            return min(max(round(value), math.ceil(self.low)), math.floor(self.high))
        return min(max(float(f"{value:.{_DIGITS}g}"), self.low), self.high)


def _between(low: float, high: float, place: float) -> float:
    return low + (high - low) * place


def parse_axis(text: str) -> Axis:
    """Return what "NAME=VALUE,VALUE" or "NAME=LOW..HIGH[:log][:int][:COUNT]" stands for.

    COUNT makes a list of so many values from LOW to HIGH.

    >>> parse_axis("hidden-size=128,256").values
    (128, 256)
    >>> parse_axis("learning_rate=0.001..0.004:log:3").values
    (0.001, 0.002, 0.004)

    Raises:
        ConfigError: there is no such setting, trials that differ in it cannot be compared, or a
            value is not of its type.
    """
    spelled, equals, values = text.partition("=")
    name = spelled.strip().removeprefix("--").replace("-", "_")
    if not equals or not values.strip():
        raise ConfigError(f"--over {text!r} has no values; write it as hidden_size=128,256")
    kind = _kind_of(name)
    if match := _RANGE.fullmatch(values.strip()):
        return _parse_range(name, kind, match)
    if ".." in values and kind in ("int", "float"):
        raise ConfigError(f"{values!r} is no range; write it as 0.001..0.01, or 0.001..0.01:log")
    found = [_parse_value(name, kind, value.strip()) for value in values.split(",")]
    for value in found:
        if found.count(value) > 1:
            raise ConfigError(f"--over {name} has {value} twice; give each value once")
    return Axis(name, tuple(found))


def format_axis(name: str, values: Any) -> str:
    """Return an axis as `parse_axis` reads it; values: one, several, or a range as a text.

    >>> format_axis("dropout", [0.1, 0.2])
    'dropout=0.1,0.2'
    """
    listed = [values] if isinstance(values, str) or not isinstance(values, Sequence) else values
    return f"{name}={','.join(map(str, listed))}"


def _kind_of(name: str) -> str:
    """Return the type of a setting that trials may differ in: int, float, bool or str."""
    known = {item.name: item for item in fields(TrainConfig)}
    known |= {item.name: item for item in fields(TextConfig) if item.name in _COMPARABLE}
    if name in _UNLIKE:
        raise ConfigError(f"--over {name} cannot be tried: {_UNLIKE[name]}; leave it out")
    if name in {item.name for item in fields(TextConfig)} - set(_COMPARABLE):
        raise ConfigError(
            f"--over {name} cannot be tried: it changes the held-out text, so the trials would not "
            "compare; leave it out"
        )
    if name in {item.name for item in fields(RunConfig)}:
        raise ConfigError(f"--over {name} cannot be tried: it is the same for all; leave it out")
    if name not in known:
        raise ConfigError(f"there is no setting {name!r}{did_you_mean(name, known)}")
    return str(known[name].type).partition(" ")[0]


def _parse_value(name: str, kind: str, text: str) -> Any:
    """Return a value of a setting of this type."""
    try:
        if kind == "bool":
            return _SWITCHES[text.lower()]
        if kind == "int":
            return int(text)
        return float(text) if kind == "float" else text
    except (KeyError, ValueError) as error:
        expected = {"bool": "true or false", "int": "a whole number", "float": "a number"}[kind]
        raise ConfigError(f"--over {name} has {text!r}; each value must be {expected}") from error


def _parse_range(name: str, kind: str, match: re.Match[str]) -> Axis:
    if kind not in ("int", "float"):
        raise ConfigError(f"{name} is no number, so it has no range; list its values: {name}=A,B")
    text = match.group()
    low = float(match[1])
    high = float(match[2])
    is_log = False
    is_whole = kind == "int"
    count = 0
    for word in match[3].lower().split(":")[1:]:
        if word == "log":
            is_log = True
        elif word == "int":
            is_whole = True
        elif word.isdecimal() and 2 <= int(word) <= _MOST_TRIALS:
            count = int(word)
        else:
            raise ConfigError(
                f"the range {text!r} ends with {word!r}; it may end with :log, :int, or with how "
                "many values it has, such as :5"
            )
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"the range {text!r} does not rise; write it as LOW..HIGH")
    if is_log and low <= 0:
        raise ConfigError(f"the range {text!r} begins at {low:g}; with :log it must be above 0")
    if is_whole and math.ceil(low) > math.floor(high):
        raise ConfigError(f"the range {text!r} has no whole number in it; widen it")
    axis = Axis(name, (), low, high, is_log, is_whole)
    if not count:
        return axis
    return Axis(name, tuple(dict.fromkeys(axis.at(i / (count - 1)) for i in range(count))))


def draw_trials(config: SweepConfig, seed: int) -> list[dict[str, Any]]:
    """Return the settings of each trial, all different, in the order in which they are trained.

    >>> draw_trials(SweepConfig(over=("cell=gru,lstm", "num_layers=1,2")), seed=1)[1]
    {'cell': 'gru', 'num_layers': 2}

    Raises:
        ConfigError: there is nothing to try, or more than can be.
    """
    axes = config.axes
    if not axes:
        raise ConfigError("there is nothing to try; say what, as in: --over hidden_size=128,256")
    has_range = any(not axis.values for axis in axes)
    total = math.prod(len(axis.values) for axis in axes)
    if config.strategy == "grid":
        if config.trials is not None:
            raise ConfigError("strategy grid tries every combination; leave --trials out")
        if has_range:
            name = next(axis.name for axis in axes if not axis.values)
            raise ConfigError(
                f"strategy grid needs a list of values of {name}; end its range with how many, "
                "such as :5, or choose strategy random"
            )
    count = config.trials
    if count is None and (has_range or config.strategy == "random"):
        count = _DEFAULT_TRIALS
    if not has_range and (count is None or count >= total):
        if not 2 <= total <= _MOST_TRIALS:
            many = (
                f"more than {_MOST_TRIALS:,}; give --trials" if total > 1 else "too few; add some"
            )
            raise ConfigError(f"these values make {total:,} combinations, {many}")
        points = product(*(axis.values for axis in axes))
        return [_named(axes, point) for point in points]
    assert count is not None
    drawn = _draw_evenly(axes, count, random.Random(seed))
    if len(drawn) < 2:
        raise ConfigError("these ranges make a single combination; widen one")
    return drawn


def _draw_evenly(axes: Sequence[Axis], count: int, draw: random.Random) -> list[dict[str, Any]]:
    """Return up to `count` different combinations; each axis is cut into as many parts, all used.

    A Latin hypercube: McKay, Beckman and Conover 1979.
    """
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for _ in range(count):  # lists repeat themselves: draw again until there are enough
        places = [[(part + draw.random()) / count for part in range(count)] for _ in axes]
        for each in places:
            draw.shuffle(each)
        for point in zip(*places, strict=True):
            values = tuple(axis.at(place) for axis, place in zip(axes, point, strict=True))
            if len(found) < count:
                found.setdefault(values, _named(axes, values))
        if len(found) >= count:
            break
    return list(found.values())


def _named(axes: Sequence[Axis], values: Sequence[Any]) -> dict[str, Any]:
    return {axis.name: value for axis, value in zip(axes, values, strict=True)}


def as_over(over: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """Return what to try as texts; over: values by name, or texts already."""
    if isinstance(over, Mapping):
        return tuple(format_axis(name, values) for name, values in over.items())
    return (over,) if isinstance(over, str) else tuple(over)
