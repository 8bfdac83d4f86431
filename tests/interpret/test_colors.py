"""The palettes: letters can be read on them, and colour-blind readers tell their ends apart."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from charrnn.interpret.colors import (
    CURVES,
    DASHES,
    MAGNITUDE,
    NEGATIVE,
    POSITIVE,
    contrast,
    letter_color,
    mix,
    signed_color,
)

SHARES = np.linspace(0, 1, 101).tolist()
# Of linear sRGB: what is left to a reader who lacks one kind of cone (Machado et al. 2009).
VISIONS = {
    "all cones": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
# From linear sRGB to CIE XYZ, white at D65.
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)


def linear(color: str) -> NDArray[np.float64]:
    """Return a colour as linear sRGB (3,)."""
    parts = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear sRGB (3,) as CIE L*a*b*, where a step of 2 is just seen."""
    xyz = TO_XYZ @ rgb.clip(0, 1) / TO_XYZ.sum(1)
    x, y, z = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("ramp", [NEGATIVE, POSITIVE, MAGNITUDE])
def test_letters_can_be_read_on_every_background(ramp: tuple[str, ...]) -> None:
    for share in SHARES:
        background = mix(ramp, share)
        assert contrast(letter_color(background), background) >= 4.5


@pytest.mark.parametrize("ramp", [NEGATIVE, POSITIVE, MAGNITUDE])
def test_a_larger_value_is_darker(ramp: tuple[str, ...]) -> None:
    lightness = [lab(linear(mix(ramp, share)))[0] for share in SHARES]

    assert all(np.diff(lightness) < 0)


def test_a_value_and_its_negative_are_equally_dark() -> None:
    for share in SHARES:
        negative, positive = (lab(linear(signed_color(sign * share)))[0] for sign in (-1, 1))
        assert abs(negative - positive) < 1.5


@pytest.mark.parametrize("vision", VISIONS)
def test_a_value_and_its_negative_are_told_apart(vision: str) -> None:
    for share in (0.25, 0.5, 0.75, 1):
        negative, positive = (
            lab(VISIONS[vision] @ linear(signed_color(sign * share))) for sign in (-1, 1)
        )
        assert np.linalg.norm(negative - positive) >= 25


def test_the_first_curves_are_seen_on_white_and_each_has_its_dash() -> None:
    assert min(contrast(color, "#ffffff") for color in CURVES[:5]) >= 3
    assert len(set(zip(CURVES, DASHES, strict=True))) == len(set(DASHES)) == len(CURVES)
