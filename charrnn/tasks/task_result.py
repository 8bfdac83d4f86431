"""What `charrnn eval` reports of a model for another task than text."""

from __future__ import annotations

from dataclasses import dataclass, field

from charrnn.analysis.bootstrap import Interval


@dataclass(frozen=True)
class ClassFigures:
    """One class: how many records have it, and how well it is found."""

    name: str
    records: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class LengthFigures:
    """Records of a length in characters, from least to most: how many there are, how many right."""

    least: int
    most: int
    records: int
    accuracy: float


@dataclass(frozen=True)
class TaskEvalResult:
    """How well a model decides on records of `texts`, or tags them, or turns them into others.

    figures: by name, such as "accuracy", each with its 95 % interval. classes: of those that occur,
    the most frequent first. confused: (right, found, records) of all classes that are taken for
    others, the most frequent first. unlabelled: records left out because they have no label that
    the model knows. wrong: (source, what was found, what is right) of some that are wrong. changes:
    characters that the model never saw, and what they became.
    """

    model: str
    records: int
    figures: dict[str, Interval]
    texts: tuple[str, ...] = ()
    split: str = ""
    classes: tuple[ClassFigures, ...] = ()
    lengths: tuple[LengthFigures, ...] = ()
    confused: tuple[tuple[str, str, int], ...] = ()
    wrong: tuple[tuple[str, str, str], ...] = ()
    unlabelled: int = 0
    changes: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
