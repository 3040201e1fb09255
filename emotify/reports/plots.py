"""Pictures of a training and of a classifier, as PNG or SVG by the name's ending."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotify.arrays import Int64Array
from emotify.emotions import EMOTIONS
from emotify.ensembling.diversity import Diversity
from emotify.files import write_bytes
from emotify.reports.names import cut, short_name
from emotify.reports.palette import PALETTE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

TRAIN_COLOUR, VALID_COLOUR = "#8b8fa3", PALETTE["accent"]
_INK, _QUIET = PALETTE["ink"], PALETTE["quiet"]
_LARGEST_WITH_NUMBERS, _LARGEST_WITH_DECIMALS = 16, 8  # members in a heat map
_PALE_BELOW = 0.3  # the deepest blue stands for no less disagreement than this, so that alike members look it


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
    """Draw a confusion matrix (7, 7), rows the truth, coloured by the share of its row."""
    save_figure(draw_confusion(confusion, title=title), path)


def draw_confusion(confusion: Int64Array, *, title: str) -> Figure:
    """Return a confusion matrix (7, 7), rows the truth, coloured by the share of its row."""
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
    """Draw on which share of images each two members differ; see `draw_disagreement`."""
    save_figure(draw_disagreement(names, diversity), path)


def draw_disagreement(names: Sequence[str], diversity: Diversity, *, split: str = "valid") -> Figure:
    """Return a heat map (M, M) of how often members answer differently; each one's own accuracy on the diagonal."""
    count = len(names)
    side = count * float(np.interp(count, (2, 8, 16, 40), (1.0, 0.66, 0.5, 0.24)))  # inches
    size = float(np.interp(count, (2, 12, 40), (10, 9, 6.5)))  # points
    labels = [f"{cut(short_name(name))}  #{number}" for number, name in enumerate(names, 1)]
    left = 0.2 + max(map(len, labels)) * size * 0.62 / 72
    width, height = max(left + side + 0.95, 3.6), side + 1.05
    figure = new_figure(width=width, height=height)
    # Placed by hand: the constrained layout cuts the names beside an image of fixed aspect.
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
    figure.text(edge, 1 - 0.3 / height, "Images answered differently, %", fontsize=11, fontweight="bold", color=_INK)
    note = f"on {split}; in grey a member's own accuracy" if count <= _LARGEST_WITH_NUMBERS else f"on {split}"
    figure.text(edge, 1 - 0.52 / height, note, fontsize=8.5, color=_QUIET)
    bar = figure.add_axes(((left + side + 0.18) / width, 0.35 / height, 0.13 / width, side / height))
    figure.colorbar(image, cax=bar, format=lambda share, _: f"{100 * share:.0f}").outline.set_visible(False)
    bar.tick_params(length=0, labelsize=8, labelcolor=_QUIET)
    return figure


def _write_cells(axes: Axes, diversity: Diversity, *, top: float, size: float) -> None:
    digits = 1 if len(diversity.weights) <= _LARGEST_WITH_DECIMALS else 0
    for (row, column), share in np.ndenumerate(diversity.disagreement):
        own = row == column
        colour = _QUIET if own else "white" if share > 0.72 * top else _INK
        text = f"{100 * (diversity.accuracies[row] if own else share):.{digits}f}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=size)


def _heat() -> Colormap:
    """Return pale to deep blue, and a light grey where there is nothing to show."""
    from emotify.reports.drawing import LinearSegmentedColormap

    heat = LinearSegmentedColormap.from_list("emotify", ("#eef3fd", "#bccdf1", "#7f9fe3", VALID_COLOUR))
    return heat.with_extremes(bad="#eceef2")


def new_figure(*, width: float, height: float) -> Figure:
    """Return an empty figure of so many inches."""
    # Figure and not pyplot: no global state, no window system.
    from emotify.reports.drawing import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, atomically, as what the path's ending says."""
    write_bytes(path, figure_bytes(figure, path.suffix.removeprefix(".")))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as a `png` or `svg` file, the same bytes for the same picture."""
    from emotify.reports.drawing import rc_context

    buffer = io.BytesIO()
    names = ("Software",) if kind == "png" else ("Date", "Creator")
    with rc_context({"svg.hashsalt": "emotify", "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in another script, which is drawn as boxes
        figure.savefig(buffer, format=kind, metadata=dict.fromkeys(names))
    return buffer.getvalue()
