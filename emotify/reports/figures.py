"""The figures of an evaluation, as PNG and SVG files, and as SVG in the colours of the page it is set in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup

from emotify.arrays import Int64Array
from emotify.evaluation.evaluate import Result
from emotify.evaluation.metrics import ClassScores
from emotify.evaluation.reliability import ReliabilityBin
from emotify.reports.names import cut
from emotify.reports.palette import PALETTE
from emotify.reports.plots import new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES: Final = {colour: name for name, colour in PALETTE.items()}


def draw_reliability(bins: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin] = ()) -> Figure:
    """Draw accuracy over confidence, bin by bin with its interval; on the diagonal a classifier keeps its word.

    `after` are the bins after a temperature.
    """
    with style():
        figure = new_figure(width=4.2, height=3.9)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=PALETTE["quiet"], linewidth=1, linestyle=(0, (4, 3)))
        low, high = zip(*(part.interval for part in bins), strict=True)
        axes.vlines([part.confidence for part in bins], low, high, color=PALETTE["soft"], linewidth=2.5)
        _dots(axes, bins, label="as it answers", color=PALETTE["accent"], linewidth=0)
        if after:
            _dots(axes, after, label="after temperature", facecolor="none", edgecolor=PALETTE["warm"], linewidth=1.4)
            axes.legend(frameon=False, loc="upper left", handletextpad=0.2, markerscale=0.8)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="Reliability")
        _per_cent(axes, x=True, y=True)
    return figure


def draw_confidence(right: Int64Array, wrong: Int64Array) -> Figure:
    """Draw how many right and wrong answers (B,) have a confidence in each of B equal parts of 0..1."""
    with style():
        figure = new_figure(width=4.2, height=3.9)
        axes = figure.subplots()
        width = 1 / len(right)
        left = np.arange(len(right)) * width + width / 2
        axes.bar(left, right, 0.86 * width, color=PALETTE["accent"], label="right")
        axes.bar(left, wrong, 0.86 * width, bottom=right, color=PALETTE["warm"], label="wrong")
        axes.legend(frameon=False, loc="upper left", reverse=True)
        axes.set(xlabel="confidence", ylabel="images", xlim=(0, 1), title="Confidence")
        _per_cent(axes, x=True)
    return figure


def draw_classes(per_class: dict[str, ClassScores]) -> Figure:
    """Draw precision, recall and F1 of each expression."""
    with style():
        figure = new_figure(width=6.4, height=3.9)
        axes = figure.subplots()
        rows = np.arange(len(per_class))
        scores = list(per_class.values())
        axes.barh(rows - 0.18, [s.precision for s in scores], 0.32, color=PALETTE["soft"], label="precision")
        axes.barh(rows + 0.18, [s.recall for s in scores], 0.32, color=PALETTE["accent"], label="recall")
        axes.scatter([s.f1 for s in scores], rows, s=34, marker="D", color=PALETTE["warm"], label="F1", zorder=3)
        names = [f"{name} ({s.support:,})" for name, s in per_class.items()]
        axes.set_yticks(rows, names)
        axes.invert_yaxis()
        axes.set(xlim=(0, 1), title="By expression (images)")
        figure.legend(frameon=False, loc="outside lower center", ncols=3)
        _per_cent(axes, x=True)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    return figure


def draw_leaderboard(results: Sequence[Result], names: Sequence[str]) -> Figure:
    """Draw each classifier's accuracy with its 95 % interval, in the order given."""
    with style():
        figure = new_figure(width=6.4, height=0.9 + 0.34 * len(results))
        axes = figure.subplots()
        rows = np.arange(len(results))
        low, high = zip(*(result.scores.accuracy_ci95 for result in results), strict=True)
        accuracies = [result.scores.accuracy for result in results]
        axes.hlines(rows, low, high, color=PALETTE["soft"], linewidth=4, capstyle="round")
        axes.scatter(accuracies, rows, s=40, color=PALETTE["accent"], zorder=3)
        axes.set_yticks(rows, [cut(name) for name in names])
        axes.set_ylim(len(results) - 0.4, -0.6)
        axes.set(title="Accuracy, with 95 % interval")
        _per_cent(axes, x=True, decimals=None)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    return figure


def inline_svg(name: str, content: bytes, *, label: str) -> Markup:
    """Return a figure's SVG file as an svg element whose colours and font are the page's, and whose ids are its own."""
    text = content.decode()
    width, height = re.findall(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)[0]
    body = text[text.index('<g id="figure_1">') : text.rindex("</svg>")]
    body = re.sub(r"(?<=: )#[0-9a-f]{6}(?=[;\"])", _variable, body)
    body = re.sub(r"font-family: [^;\"]+;? ?", "", body)
    body = re.sub(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)', f"{name}-", body)
    head = Markup('<svg class="figure" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(width, height, label)
    return head + Markup(body) + Markup("</svg>")  # noqa: S704 - matplotlib's own XML, its texts escaped by it


def _variable(colour: re.Match[str]) -> str:
    name = _NAMES.get(colour[0])
    return f"var(--{name})" if name else colour[0]


@contextmanager
def style() -> Iterator[None]:
    """Give figures made in the block the house's fonts and colours, and take their texts as they are."""
    from emotify.reports.drawing import rc_context

    quiet, ink, line = PALETTE["quiet"], PALETTE["ink"], PALETTE["line"]
    with rc_context({
        "text.parse_math": False,  # a model may be called $x$
        "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial"],
        "text.color": ink, "axes.titlecolor": ink, "axes.labelcolor": quiet, "axes.edgecolor": line,
        "xtick.color": line, "ytick.color": line, "xtick.labelcolor": quiet, "ytick.labelcolor": quiet,
        "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlepad": 10, "axes.labelsize": 9,
        "xtick.labelsize": 9, "ytick.labelsize": 9, "legend.fontsize": 9, "legend.labelcolor": quiet,
        "axes.grid": True, "axes.axisbelow": True, "grid.color": line, "grid.linewidth": 0.8,
        "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
    }):  # fmt: skip
        yield


def _per_cent(axes: Axes, *, x: bool = False, y: bool = False, decimals: int | None = 0) -> None:
    from emotify.reports.drawing import PercentFormatter

    for axis, wanted in ((axes.xaxis, x), (axes.yaxis, y)):
        if wanted:
            axis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))


def _dots(axes: Axes, bins: Sequence[ReliabilityBin], **style: Any) -> None:  # noqa: ANN401 - matplotlib's options
    largest = max(part.count for part in bins)
    sizes = [12 + 68 * part.count / largest for part in bins]
    place = [part.confidence for part in bins], [part.accuracy for part in bins]
    axes.scatter(*place, s=sizes, zorder=3, clip_on=False, **style)
