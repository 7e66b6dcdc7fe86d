"""Colours: texts can be read, and curves be told apart, also by eyes without red, green or blue."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from rich.style import Style
from textual.theme import Theme

from runstore.monitor_settings import THEMES
from tui.themes import DARK_THEME, LIGHT_THEME, THEME_NAMES, styles_for

Rgb = tuple[float, float, float]
TEXTS = "dim head title tab name value best key good done warn bad".split()
# Machado, Oliveira and Fernandes (2009): what dichromats see, from linear RGB.
EYES = {
    "all cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no green": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "no blue": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.303900),
    ),
}


def linear(color: str) -> Rgb:
    red, green, blue = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    one, two, three = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in (red, green, blue)
    )
    return one, two, three


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, 1 to 21: WCAG 2.2."""
    light = sorted(
        0.2126 * red + 0.7152 * green + 0.0722 * blue
        for red, green, blue in (linear(one), linear(other))
    )
    return (light[1] + 0.05) / (light[0] + 0.05)


def seen_by(eyes: str, color: Rgb) -> Rgb:
    red, green, blue = (sum(a * b for a, b in zip(row, color, strict=True)) for row in EYES[eyes])
    return red, green, blue


def lab(color: Rgb) -> Rgb:
    red, green, blue = color
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089
    fx, fy, fz = (
        value ** (1 / 3) if value > 0.008856 else 7.787 * max(0.0, value) + 16 / 116
        for value in (x, y, z)
    )
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def hex_of(style: Style, *, background: bool = False) -> str:
    color = style.bgcolor if background else style.color
    assert color is not None and color.triplet is not None
    return color.triplet.hex


def test_names_of_themes_are_those_of_the_settings() -> None:
    assert tuple(THEME_NAMES) == THEMES


@pytest.mark.parametrize("theme", [DARK_THEME, LIGHT_THEME], ids=lambda theme: theme.name)
def test_texts_can_be_read_on_every_background(theme: Theme) -> None:
    styles = styles_for(theme)
    backgrounds = [str(theme.background), str(theme.surface)]
    backgrounds += [hex_of(styles["cursor"], background=True)]
    for role in TEXTS:
        for background in backgrounds:
            assert contrast(hex_of(styles[role]), background) >= 4.5, (role, background)


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", [DARK_THEME, LIGHT_THEME], ids=lambda theme: theme.name)
def test_curves_can_be_told_apart(theme: Theme, eyes: str) -> None:
    colors = [hex_of(styles_for(theme)[f"curve{number}"]) for number in range(8)]
    assert all(contrast(color, str(theme.background)) >= 3 for color in colors)
    seen = [lab(seen_by(eyes, linear(color))) for color in colors]
    nearest = min(
        sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5
        for one, other in combinations(seen, 2)
    )
    assert nearest > 12, nearest


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("theme", [DARK_THEME, LIGHT_THEME], ids=lambda theme: theme.name)
def test_shades_of_the_matrix_grow_lighter_or_darker_throughout(theme: Theme, eyes: str) -> None:
    """By lightness alone, so that no eye needs the hue for the order."""
    styles = styles_for(theme)
    for role in ("heat", "hit"):
        shades = [hex_of(styles[f"{role}{level}"], background=True) for level in range(1, 7)]
        lightness = [
            lab(seen_by(eyes, linear(color)))[0] for color in (str(theme.background), *shades)
        ]
        steps = [after - before for before, after in pairwise(lightness)]
        assert min(steps) > 3 or max(steps) < -3, (role, steps)
