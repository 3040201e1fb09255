"""Figures of trainings, ensembles and evaluations as PNG or SVG files, and as inline SVG for a page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from markupsafe import Markup

from emotify.arrays import Int64Array
from emotify.emotions import EMOTIONS
from emotify.ensembling.diversity import Diversity
from emotify.evaluation.evaluate import Result
from emotify.evaluation.metrics import ClassScores
from emotify.evaluation.reliability import ReliabilityBin
from emotify.files import write_bytes
from emotify.palette import PALETTE
from emotify.reports.names import cut, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

TRAIN_COLOUR, VALID_COLOUR = "#8b8fa3", PALETTE["accent"]
_INK, _QUIET = PALETTE["ink"], PALETTE["quiet"]
_LARGEST_WITH_NUMBERS, _LARGEST_WITH_DECIMALS = 16, 8  # largest number of members in a heat map
_PALE_BELOW = 0.3  # least disagreement of the deepest blue, so that similar members look similar
_NAMES: Final = {colour: name for name, colour in PALETTE.items()}


def plot_history(epochs: Sequence[Mapping[str, float]], path: Path, *, title: str) -> None:
    """Draw loss, accuracy and learning rate over the epochs of a metrics.jsonl."""
    from emotify.reports.drawing import MaxNLocator, PercentFormatter

    figure = new_figure(width=8.0, height=3.2)
    losses, accuracies = figure.subplots(1, 2)
    numbers = [epoch["epoch"] for epoch in epochs]
    marker = "o" if len(epochs) == 1 else ""
    losses.plot(numbers, [e["train_loss"] for e in epochs], color=TRAIN_COLOUR, marker=marker, label="train")
    losses.plot(numbers, [e["valid_loss"] for e in epochs], color=VALID_COLOUR, marker=marker, label="valid")
    losses.set(title="Loss (train: smoothed labels)", xlabel="epoch")
    losses.legend(frameon=False)

    accuracies.plot(numbers, [e["valid_accuracy"] for e in epochs], color=VALID_COLOUR, marker=marker)
    accuracies.set(title="Accuracy on valid", xlabel="epoch")
    accuracies.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    last = epochs[-1]["valid_accuracy"]
    accuracies.annotate(
        f"{last:.1%}", (numbers[-1], last), xytext=(-4, -14), textcoords="offset points", ha="right", color=VALID_COLOUR
    )
    for axes in (losses, accuracies):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    save_figure(figure, path)


def plot_confusion(confusion: Int64Array, path: Path, *, title: str) -> None:
    """Draw a confusion matrix (7, 7), coloured by the share of the row, into a file. Rows are the truth."""
    save_figure(draw_confusion(confusion, title=title), path)


def draw_confusion(confusion: Int64Array, *, title: str) -> Figure:
    """Return a figure of a confusion matrix (7, 7), coloured by the share of the row. Rows are the truth."""
    figure = new_figure(width=5.6, height=5.0)
    axes = figure.subplots()
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set(xlabel="predicted", ylabel="truth")
    axes.set_title(title, parse_math=False)
    axes.set_xticks(range(len(EMOTIONS)), EMOTIONS, rotation=35, ha="right")
    axes.set_yticks(range(len(EMOTIONS)), EMOTIONS)
    for (row, column), share in np.ndenumerate(shares):
        colour = "white" if share > 0.55 else "#222222"
        text = f"{share:.0%}\n{confusion[row, column]}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7.5)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, format=lambda share, _: f"{share:.0%}")
    bar.set_label("share of the true class")
    return figure


def plot_disagreement(names: Sequence[str], diversity: Diversity, path: Path) -> None:
    """Draw the disagreement of each pair of members into a file; see `draw_disagreement`."""
    save_figure(draw_disagreement(names, diversity), path)


def draw_disagreement(names: Sequence[str], diversity: Diversity, *, split: str = "valid") -> Figure:
    """Return a heat map (M, M) of the share of images on which members differ, with their accuracy on the diagonal."""
    count = len(names)
    side = count * float(np.interp(count, (2, 8, 16, 40), (1.0, 0.66, 0.5, 0.24)))  # inches
    size = float(np.interp(count, (2, 12, 40), (10, 9, 6.5)))  # points
    labels = [f"{cut(short_name(name))}  #{number}" for number, name in enumerate(names, 1)]
    left = 0.2 + max(map(len, labels)) * size * 0.62 / 72
    width, height = max(left + side + 0.95, 3.6), side + 1.05
    figure = new_figure(width=width, height=height)
    # Manual layout, because the constrained layout cuts the names beside an image of fixed aspect.
    figure.set_layout_engine("none")
    axes = figure.add_axes((left / width, 0.35 / height, side / width, side / height))
    off_diagonal = np.ma.masked_array(diversity.disagreement, np.eye(count, dtype=bool))
    top = max(1.1 * float(off_diagonal.max()), _PALE_BELOW)
    image = axes.imshow(off_diagonal, cmap=_heat(), vmin=0, vmax=top)
    if count <= _LARGEST_WITH_NUMBERS:
        _write_cells(axes, diversity, top=top, size=size)
    axes.set_xticks(range(count), [f"#{number}" for number in range(1, count + 1)], fontsize=size)
    axes.set_yticks(range(count), labels, fontsize=size, parse_math=False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(np.arange(count - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2 if count <= _LARGEST_WITH_NUMBERS else 0.6)
    axes.tick_params(which="both", length=0, labelcolor=_INK)
    axes.spines[:].set_visible(False)
    edge = 0.2 / width
    figure.text(
        edge, 1 - 0.3 / height, "Images with different predictions, %", fontsize=11, fontweight="bold", color=_INK
    )
    note = f"on {split}; grey: a member's accuracy" if count <= _LARGEST_WITH_NUMBERS else f"on {split}"
    figure.text(edge, 1 - 0.52 / height, note, fontsize=8.5, color=_QUIET)
    bar = figure.add_axes(((left + side + 0.18) / width, 0.35 / height, 0.13 / width, side / height))
    figure.colorbar(image, cax=bar, format=lambda share, _: f"{100 * share:.0f}").outline.set_visible(False)
    bar.tick_params(length=0, labelsize=8, labelcolor=_QUIET)
    return figure


def draw_reliability(bins: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin] = ()) -> Figure:
    """Draw accuracy over confidence for each bin, with its interval. A calibrated classifier is on the diagonal.

    after: the bins after temperature scaling.
    """
    with style():
        figure = new_figure(width=4.2, height=3.9)
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color=PALETTE["quiet"], linewidth=1, linestyle=(0, (4, 3)))
        low, high = zip(*(part.interval for part in bins), strict=True)
        axes.vlines([part.confidence for part in bins], low, high, color=PALETTE["soft"], linewidth=2.5)
        _dots(axes, bins, label="without temperature", color=PALETTE["accent"], linewidth=0)
        if after:
            _dots(axes, after, label="with temperature", facecolor="none", edgecolor=PALETTE["warm"], linewidth=1.4)
            axes.legend(frameon=False, loc="upper left", handletextpad=0.2, markerscale=0.8)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1), title="Reliability")
        _per_cent(axes, x=True, y=True)
    return figure


def draw_confidence(right: Int64Array, wrong: Int64Array) -> Figure:
    """Draw the number of right and wrong predictions (B,) in B equal intervals of confidence."""
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
    """Draw each classifier's accuracy with its 95 % interval, in the given order."""
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


def new_figure(*, width: float, height: float) -> Figure:
    """Return an empty figure; width and height are in inches."""
    # Figure rather than pyplot, to have no global state and no window system.
    from emotify.reports.drawing import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


@contextmanager
def style() -> Iterator[None]:
    """Apply emotify's fonts and colours to figures made in the block, without mathematics in their texts."""
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


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure atomically, in the format of the path's extension."""
    write_bytes(path, figure_bytes(figure, path.suffix.removeprefix(".")))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as a `png` or `svg` file. The same picture gives the same bytes."""
    from emotify.reports.drawing import rc_context

    buffer = io.BytesIO()
    names = ("Software",) if kind == "png" else ("Date", "Creator")
    with rc_context({"svg.hashsalt": "emotify", "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in another script is drawn as boxes
        figure.savefig(buffer, format=kind, metadata=dict.fromkeys(names))
    return buffer.getvalue()


def inline_svg(name: str, content: bytes, *, label: str) -> Markup:
    """Return a figure's SVG file as an svg element with the page's colours and font. Its ids start with `name`."""
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


def _write_cells(axes: Axes, diversity: Diversity, *, top: float, size: float) -> None:
    digits = 1 if len(diversity.weights) <= _LARGEST_WITH_DECIMALS else 0
    for (row, column), share in np.ndenumerate(diversity.disagreement):
        own = row == column
        colour = _QUIET if own else "white" if share > 0.72 * top else _INK
        text = f"{100 * (diversity.accuracies[row] if own else share):.{digits}f}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def _heat() -> Colormap:
    """Return a colour map from pale to deep blue, with light grey for masked cells."""
    from emotify.reports.drawing import LinearSegmentedColormap

    heat = LinearSegmentedColormap.from_list("emotify", ("#eef3fd", "#bccdf1", "#7f9fe3", VALID_COLOUR))
    return heat.with_extremes(bad="#eceef2")


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
