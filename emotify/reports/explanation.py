"""Draw an explanation: a face, and a heat map of how covering each part changes the probability."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from emotify.palette import PALETTE
from emotify.reports.figures import figure_bytes, new_figure, style
from emotify.reports.names import cut

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

    from emotify.prediction.explanation import Explanation

SIDE: Final = 480  # pixels of the enlarged face
_FAINTEST: Final = 0.05  # probability; if all changes are smaller, the map stays pale


def draw_explanation(picture: npt.NDArray[np.uint8], explanation: Explanation, *, name: str) -> bytes:
    """Return a PNG file with the enlarged face (SIDE, SIDE, 3), the face under its heat map, and a legend.

    picture: the enlarged face, uint8 RGB. name: the title of the heat map.
    """
    reach = max(float(np.abs(explanation.drops).max()), _FAINTEST)
    with style():
        figure = new_figure(width=6.6, height=4.15)
        panels = figure.subplot_mosaic([["face", "heat"], ["bar", "bar"]], height_ratios=(1, 0.035))
        for key in ("face", "heat"):
            panels[key].set_axis_off()
        panels["face"].imshow(picture)
        grey = np.asarray(Image.fromarray(picture).convert("L").convert("RGB"))
        panels["heat"].imshow(_overlay(grey, explanation.drops / reach))
        _legend(panels["bar"], explanation, reach=reach)
        title = f"{explanation.label} {explanation.probability:.0%}"
        panels["face"].set_title(title, loc="left", fontsize=15)
        panels["heat"].set_title(cut(name, 48), loc="right", fontsize=9, weight="normal", color=PALETTE["quiet"])
    return figure_bytes(figure, "png")


def _overlay(grey: npt.NDArray[np.uint8], shares: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Colour a picture (S, S, 3) by shares (P, P) in -1..1. The P places reach from edge to edge."""
    places, side = len(shares), len(grey)
    # The first and last places are on the picture's edges, so half a cell of the map is outside on each side.
    box = (0.5, 0.5, places - 0.5, places - 0.5)
    small = Image.fromarray(shares.astype(np.float32))
    smooth = np.asarray(small.resize((side, side), Image.Resampling.BICUBIC, box=box)).clip(-1, 1)
    return _blend(grey, smooth)


def _blend(grey: npt.NDArray[np.uint8], shares: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Blend the colours of shares (H, W) in -1..1 into a picture (H, W, 3). Larger shares are more opaque."""
    size = np.abs(shares)[..., None]
    # The slope is 0 at both ends, so no edge is visible where a share changes its sign.
    weight = 0.85 * size**2 * (3 - 2 * size)
    colours = _heat()((shares + 1) / 2)[..., :3] * 255
    return np.asarray(grey * (1 - weight) + colours * weight).round().astype(np.uint8)


def _legend(axes: Axes, explanation: Explanation, *, reach: float) -> None:
    """Draw the colour scale from evidence against the label to evidence for it, with percentage points."""
    shares = np.linspace(-1, 1, 400)[None]
    axes.imshow(_blend(np.full((1, 400, 3), 200, np.uint8), shares), aspect="auto", extent=(-reach, reach, 0, 1))
    axes.set_yticks([])
    against = f"against {explanation.label}: +{100 * reach:.0f} points when covered"
    supporting = f"for {explanation.label}: −{100 * reach:.0f} points when covered"
    axes.set_xticks((-reach, reach), [against, supporting])
    left, right = axes.get_xticklabels()
    left.set_horizontalalignment("left")
    right.set_horizontalalignment("right")
    axes.tick_params(length=0, pad=5)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)


def _heat() -> Colormap:
    """Return the colour map: blue for evidence against an answer, yellow to dark red for evidence for it."""
    from emotify.reports.drawing import LinearSegmentedColormap

    blue, red = ("#0f2f86", "#2560d8", "#5fa0f5"), ("#ffc94d", "#f58a26", "#e0401a", "#a30d14")
    places = (*np.linspace(0, 0.5, len(blue)), *np.linspace(0.5, 1, len(red)))
    return LinearSegmentedColormap.from_list("emotify", list(zip(places, (*blue, *red), strict=True)))
