"""Write the report of an evaluation: one self-contained HTML page, and its figures as files."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from markupsafe import Markup
from PIL import Image

from emotify import __version__
from emotify.arrays import UInt8Array
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS
from emotify.ensembling.diversity import Diversity
from emotify.evaluation.bootstrap import RESAMPLES
from emotify.evaluation.evaluate import Leaderboard
from emotify.evaluation.examples import Examples
from emotify.files import write_folder
from emotify.palette import PALETTE
from emotify.reports import figures
from emotify.reports.names import short_name
from emotify.reports.templates import template

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE: Final = "index.html"


def write_report(
    folder: Path,
    leaderboard: Leaderboard,
    images: LabelledImages,
    diversity: Diversity | None,
    *,
    data: str = "",
    with_images: bool,
    overwrite: bool,
) -> Path:
    """Write index.html and the figures, as PNG and SVG, into `folder`. Return the path of the page.

    Either all files are written or none. Raises WriteError.

    images: the evaluated images.
    diversity: the diversity of the results, in their order; None for a single result.
    data: the name of the data, without a path.
    with_images: show example faces in the report.
    """
    files = report_files(leaderboard, images, diversity, data=data, with_images=with_images)
    write_folder(folder, files, overwrite=overwrite)
    return folder / PAGE


def report_files(
    leaderboard: Leaderboard,
    images: LabelledImages,
    diversity: Diversity | None,
    *,
    data: str = "",
    with_images: bool,
) -> dict[str, bytes]:
    """Return the files of the report as name -> content, the page last. The same evaluation gives the same bytes."""
    names = [short_name(result.model) for result in leaderboard.results]
    drawn = _draw(leaderboard, names, diversity)
    files = {
        f"{name}.{kind}": figures.figure_bytes(figure, kind)
        for name, figure in drawn.items()
        for kind in ("png", "svg")
    }
    shown = {name: figures.inline_svg(name, files[f"{name}.svg"], label=label) for name, label in _INLINE.items()}
    gallery = _gallery(leaderboard.results[0].examples, images) if with_images else {}
    return {**files, PAGE: _page(leaderboard, names, shown, diversity, gallery, data).encode()}


def _draw(leaderboard: Leaderboard, names: Sequence[str], diversity: Diversity | None) -> dict[str, Figure]:
    best = leaderboard.results[0]
    reliability = best.reliability
    drawn = {
        "reliability": figures.draw_reliability(reliability.bins, reliability.calibrated_bins),
        "confidence": figures.draw_confidence(reliability.right, reliability.wrong),
        "classes": figures.draw_classes(best.scores.per_class),
        "confusion": figures.draw_confusion(best.scores.confusion, title=f"{names[0]} on {best.split}"),
    }
    if diversity is not None:
        drawn["leaderboard"] = figures.draw_leaderboard(leaderboard.results, names)
        drawn["disagreement"] = figures.draw_disagreement(names, diversity, split=best.split)
    return drawn


_INLINE: Final = {
    "reliability": "Accuracy over confidence, in bins",
    "confidence": "Number of right and wrong predictions by confidence",
}


def _page(
    leaderboard: Leaderboard,
    names: Sequence[str],
    shown: dict[str, Markup],
    diversity: Diversity | None,
    gallery: dict[str, list[dict[str, object]]],
    data: str,
) -> str:
    return template("evaluation.html").render(
        version=__version__,
        data=data,
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


def _gallery(examples: Examples, images: LabelledImages) -> dict[str, list[dict[str, object]]]:
    return {
        kind: [{**vars(example), "picture": _data_uri(images.images[example.row, 0])} for example in of_kind]
        for kind, of_kind in vars(examples).items()
    }


def _data_uri(face: UInt8Array) -> str:
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
