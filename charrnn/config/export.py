"""How a model is written in another format, and how that is checked."""

from __future__ import annotations

from dataclasses import dataclass

from charrnn.config.fields import setting, validate
from charrnn.errors import ConfigError

FORMATS = ("onnx", "html", "c", "huggingface", "tensorboard")
ALIASES = {"hf": "huggingface"}
"""Other names of formats."""
DTYPES = ("fp32", "fp16", "int8")

_OF_FORMATS = {
    "main": ("c",),
    "language": ("huggingface",),
    "card_samples": ("huggingface",),
    "licence": ("onnx", "html", "c", "huggingface"),
}  # settings of some formats alone


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """How a model is exported."""

    dtype: str | None = setting(
        None,
        "numbers that the weights are stored as: fp32 as they are, fp16 in half of the space, int8 "
        "in a quarter, with a scale for each row",
        choices=DTYPES,
        unset="fp32; of html by the model's size",
    )
    verify: bool = setting(True, "run what was written, and compare its text with the model's")
    verify_chars: int = setting(
        1000,
        "how many characters are compared; html reads at most 10,000, and html and onnx write at "
        "most 1,000",
        ge=10,
        le=1_000_000,
    )
    licence: str | None = setting(
        None, "licence of the model, such as MIT, for formats that name one", unset="not named"
    )
    main: bool = setting(False, "with --to c: also write a program, NAME_main.c")
    language: str | None = setting(
        None,
        "language of the text, such as en or zh, for the card of a model (huggingface)",
        unset="not named",
    )
    card_samples: int = setting(
        0, "how many texts that the model writes its card shows (huggingface)", ge=0, le=20
    )

    def __post_init__(self) -> None:
        validate(self)

    def check_format(self, to: str) -> None:
        """Refuse a setting that is of other formats than `to`.

        Raises:
            ConfigError: names the setting and its formats.
        """
        for name, own in _OF_FORMATS.items():
            option = name.replace("_", "-")
            if getattr(self, name) and to not in own:
                spelled = [f"--to {each}" for each in own]
                formats = " or ".join(filter(None, (", ".join(spelled[:-1]), spelled[-1])))
                raise ConfigError(
                    f"--{option} goes with {formats} only; leave it out, or export to {own[0]}"
                )
