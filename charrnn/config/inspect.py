"""What `charrnn inspect` looks at, and on how much text it measures."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config.fields import setting, validate


@dataclass(frozen=True, kw_only=True)
class InspectConfig:
    """Settings of all views; each view reads those that it needs."""

    at: int | None = setting(
        None,
        "place in the text, counted in tokens (mostly characters) from 0",
        ge=0,
        unset="the last one",
    )
    layer: int | None = setting(None, "layer, from 1", ge=1, unset="the highest")
    neurons: tuple[str, ...] = setting(
        (), "units such as c1.203: of state h or c, or of a gate, in layer 1, number 203 from 0"
    )
    top: int = setting(5, "likeliest characters, or best units, to show", ge=1, le=100)
    diff: bool = setting(False, "text: show how much a unit changes at each character")
    method: str = setting(
        "gradient",
        "links: by the gradient of the logit, by replacing each character, or by integrated "
        "gradients",
        choices=("gradient", "ablate", "ig"),
    )
    features: tuple[str, ...] = setting(
        (), "neurons: further features to look for, each as NAME=REGEX (inside a match)"
    )
    labels_file: str | None = setting(
        None, "neurons: file of one label per character of the held-out text, 0 or 1 or a number"
    )
    chars: int = setting(
        50_000, "held-out characters that figures are measured on", ge=1_000, le=5_000_000
    )
    seed: int = setting(0, "seed of all that is random in a figure", ge=0, le=2**32 - 1)
    train: bool = setting(False, "step: also show clipping and the update of the weights")
    jacobian: bool = setting(
        False, "gradients: also the singular values of the Jacobian over 1, 10 and 100 characters"
    )
    exact: bool = setting(
        False, "memory: fit the decoder of past characters by logistic regression, not by ridge"
    )

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True)
class InspectText:
    """The text to look at models with: files, or a literal text; with neither, their held-out text.

    files, encoding, errors: as EvalTextRequest has them. unknown: as `Generator.fit` has it.
    measured: a literal text that figures are measured on, where `text` is given; None is what the
    models held out.
    """

    files: tuple[str, ...] = ()
    text: str | None = None
    measured: str | None = None
    encoding: str | None = None
    errors: str | None = None
    unknown: str = "map"
