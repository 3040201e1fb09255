"""The colours of the terminal, the HTML pages and the annotated pictures."""

from __future__ import annotations

from typing import Final

from emotify.emotions import EMOTIONS

# Okabe and Ito 2008: distinct with any kind of colour vision, on light and dark backgrounds.
EXPRESSION_COLOURS: Final = dict(
    zip(EMOTIONS, ("#d55e00", "#009e73", "#cc79a7", "#f0c419", "#0072b2", "#56b4e9", "#8c96a3"), strict=True)
)
UNCERTAIN_COLOUR: Final = "#dfe3ea"

# The page's light colours. A figure refers to them by name, so that the page can replace them in dark mode.
PALETTE: Final = {
    "paper": "#ffffff",
    "ink": "#1c2230",
    "quiet": "#5d6678",
    "line": "#dde2ea",
    "accent": "#2457c5",
    "soft": "#a8bdec",
    "warm": "#c8502f",
}


def colour_of(label: str) -> str:
    """Return the colour of an expression, or of `uncertain`."""
    return EXPRESSION_COLOURS.get(label, UNCERTAIN_COLOUR)


def ink_on(colour: str) -> str:
    """Return black or white, whichever is easier to read on a colour #rrggbb (WCAG 2: relative luminance)."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (((value + 0.055) / 1.055) ** 2.4 if value > 0.04 else value / 12.92 for value in channels)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return "#000000" if luminance > 0.18 else "#ffffff"
