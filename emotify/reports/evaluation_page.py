"""The report of an evaluation: one page that needs nothing else, and its figures as files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from markupsafe import Markup
from PIL import Image

from emotify import __version__
from emotify.arrays import Float32Array, Int64Array, UInt8Array
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS
from emotify.ensembling.diversity import Diversity, measure_diversity
from emotify.evaluation.bootstrap import RESAMPLES
from emotify.evaluation.evaluate import Leaderboard
from emotify.evaluation.examples import confident_mistakes, most_ambiguous
from emotify.evaluation.reliability import confidence_counts, reliability
from emotify.files import write_folder
from emotify.reports import figures
from emotify.reports.names import short_name
from emotify.reports.palette import PALETTE
from emotify.reports.plots import draw_confusion, draw_disagreement, figure_bytes
from emotify.reports.templates import template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE: Final = "index.html"
_GALLERY: Final = 24  # faces of each kind


@dataclass(frozen=True)
class Example:
    """One image of the gallery."""

    row: int  # in the split, from 0
    label: str
    shares: tuple[tuple[str, float], ...]  # the three likeliest expressions, and the label's where it is none of them
    picture: str  # data URI


def write_report(
    folder: Path, leaderboard: Leaderboard, images: LabelledImages, *, with_images: bool, overwrite: bool
) -> Path:
    """Write index.html and the figures, as PNG and SVG, into `folder`, all or nothing, and return the page's path.

    `images` are those that were evaluated. Without `with_images` no face is in the report. Raises WriteError.
    """
    write_folder(folder, report_files(leaderboard, images, with_images=with_images), overwrite=overwrite)
    return folder / PAGE


def report_files(leaderboard: Leaderboard, images: LabelledImages, *, with_images: bool) -> dict[str, bytes]:
    """Return the report's files by name, the page last; the same evaluation gives the same bytes."""
    names = [short_name(result.model) for result in leaderboard.results]
    answers = np.stack([result.probabilities for result in leaderboard.results])
    diversity = measure_diversity(answers, images.labels) if leaderboard.pairs else None
    drawn = _draw(leaderboard, names, images.labels, diversity)
    files = {f"{name}.{kind}": figure_bytes(figure, kind) for name, figure in drawn.items() for kind in ("png", "svg")}
    shown = {name: figures.inline_svg(name, files[f"{name}.svg"], label=label) for name, label in _INLINE.items()}
    gallery = _gallery(answers[0], images) if with_images else {}
    return {**files, PAGE: _page(leaderboard, names, shown, diversity, gallery).encode()}


def _draw(
    leaderboard: Leaderboard, names: Sequence[str], labels: Int64Array, diversity: Diversity | None
) -> dict[str, Figure]:
    best = leaderboard.results[0]
    drawn = {
        "reliability": figures.draw_reliability(
            reliability(best.probabilities, labels),
            reliability(best.calibration.probabilities, labels) if best.calibration else (),
        ),
        "confidence": figures.draw_confidence(*confidence_counts(best.probabilities, labels)),
        "classes": figures.draw_classes(best.scores.per_class),
        "confusion": draw_confusion(best.scores.confusion, title=f"{names[0]} on {best.split}"),
    }
    if diversity is not None:
        drawn["leaderboard"] = figures.draw_leaderboard(leaderboard.results, names)
        drawn["disagreement"] = draw_disagreement(names, diversity, split=best.split)
    return drawn


_INLINE: Final = {
    "reliability": "Accuracy over confidence, in bins",
    "confidence": "How many right and wrong answers have which confidence",
}


def _page(
    leaderboard: Leaderboard,
    names: Sequence[str],
    shown: dict[str, Markup],
    diversity: Diversity | None,
    gallery: dict[str, list[Example]],
) -> str:
    return template("evaluation.html").render(
        version=__version__,
        resamples=RESAMPLES,
        emotions=EMOTIONS,
        light=PALETTE,
        results=leaderboard.results,
        by_crowd=leaderboard.by_crowd(),
        crowd_pairs=leaderboard.crowd_pairs,
        pairs=leaderboard.pairs,
        recipes=leaderboard.recipes,
        recipe_pairs=leaderboard.recipe_pairs,
        names=names,
        figures=shown,
        diversity=diversity,
        gallery=gallery,
    )


def _gallery(probabilities: Float32Array, images: LabelledImages) -> dict[str, list[Example]]:
    rows = {
        "mistakes": confident_mistakes(probabilities, images.labels, _GALLERY),
        "ambiguous": most_ambiguous(probabilities, _GALLERY),
    }
    return {name: [_example(int(row), probabilities, images) for row in found] for name, found in rows.items()}


def _example(row: int, probabilities: Float32Array, images: LabelledImages) -> Example:
    label = int(images.labels[row])
    first = np.argsort(-probabilities[row], kind="stable")[:3].tolist()
    shown = first if label in first else [*first, label]
    shares = tuple((EMOTIONS[index], float(probabilities[row, index])) for index in shown)
    return Example(row, EMOTIONS[label], shares, _data_uri(images.images[row, 0]))


def _data_uri(face: UInt8Array) -> str:
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
