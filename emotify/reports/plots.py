"""Pictures of a training and of a classifier, as PNG or SVG by the name's ending."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from emotify.data.types import Int64Array
from emotify.emotions import EMOTIONS
from emotify.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TRAIN_COLOUR, VALID_COLOUR = "#8b8fa3", "#2457c5"


def plot_history(epochs: Sequence[Mapping[str, float]], path: Path, *, title: str) -> None:
    """Draw loss, accuracy and learning rate over the epochs of a metrics.jsonl."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

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


def new_figure(*, width: float, height: float) -> Figure:
    """Return an empty figure of so many inches."""
    # Figure and not pyplot: no global state, no window system.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained", dpi=150)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, atomically, as what the path's ending says."""
    write_bytes(path, figure_bytes(figure, path.suffix.removeprefix(".")))


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as a `png` or `svg` file, the same bytes for the same picture."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    names = ("Software",) if kind == "png" else ("Date", "Creator")
    with rc_context({"svg.hashsalt": "emotify", "svg.fonttype": "none"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # of a name in another script, which is drawn as boxes
        figure.savefig(buffer, format=kind, metadata=dict.fromkeys(names))
    return buffer.getvalue()
