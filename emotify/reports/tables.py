"""Tables for the terminal: readable at 80 columns, and without colour."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from emotify.data.types import Int64Array
from emotify.emotions import EMOTIONS
from emotify.ensembling.diversity import Diversity
from emotify.ensembling.members import Combination
from emotify.evaluation.bootstrap import RESAMPLES, Interval
from emotify.evaluation.evaluate import Leaderboard, Result
from emotify.evaluation.metrics import Scores
from emotify.files import printable
from emotify.reports.names import short_name

if TYPE_CHECKING:
    from emotify.models import NetworkSize  # imports torch

# Scores that a temperature changes.
_TEMPERED = {"nll": "NLL", "brier": "Brier score", "ece": "ECE, equal-width", "ece_adaptive": "ECE, adaptive"}


def models_table(networks: Sequence[NetworkSize]) -> Table:
    """Show name, parameters, multiply-accumulates and description of each network."""
    table = _table("Models", ("model", "parameters", "MACs"), ("what it is",))
    for network in networks:
        sizes = (f"{network.parameters / 1e6:.2f} M", f"{network.macs / 1e6:.1f} M")
        table.add_row(network.name, *sizes, network.description)
    return table


def leaderboard_table(leaderboard: Leaderboard) -> Table:
    """Show each classifier's headline scores, the most accurate first."""
    results = leaderboard.results
    split, n, clean = results[0].split, results[0].scores.n, results[0].clean
    numbers = ("accuracy", "95 % interval", "macro F1", "NLL", "ECE")
    title = f"Leaderboard: {split} split, {n:,} images"
    table = _table(title, ("model", *numbers) if clean is None else ("model", *numbers, "clean"))
    for number, result in enumerate(results, 1):
        cells = [] if result.clean is None else [f"{result.clean.scores.accuracy:.2%}"]
        table.add_row(Text(f"#{number} ").append(_name(result.model)), *_headline(result.scores), *cells)
    if clean is not None:
        table.caption = f"clean: accuracy on the {clean.scores.n:,} images whose pixels are not in train"
    return table


def pairs_table(leaderboard: Leaderboard) -> Table:
    """Show for each pair of classifiers the difference in accuracy and whether it could be chance."""
    pairs = leaderboard.pairs
    table = _table("Differences in accuracy", ("pair", "points", "95 % interval", "p"), ("verdict",))
    # Names may repeat, places do not; the pairs are in the order of the results.
    places = itertools.combinations(range(1, len(leaderboard.results) + 1), 2)
    for (a, b), pair in zip(places, pairs, strict=True):
        better = Text(f"#{a} is better", style="green")
        verdict = Text("not told apart", style="dim") if pair.better is None else better
        low, high = (100 * end for end in pair.difference_ci95)
        numbers = (f"{100 * pair.difference:+.2f}", f"{low:+.2f} to {high:+.2f}", _p_value(pair.mcnemar_p_holm))
        table.add_row(f"#{a} - #{b}", *numbers, verdict)
    many = f", corrected for {len(pairs)} pairs (Holm)" if len(pairs) > 1 else ""
    table.caption = f"95 % interval: paired bootstrap over images; p: McNemar's exact test{many}"
    return table


def scores_table(result: Result) -> Table:
    """Show all of a classifier's scores: the interval where there is one, and what a temperature would change."""
    scores, intervals, after = result.scores, result.intervals, result.calibration
    title = f"{printable(result.model)}: {result.split} split, {scores.n:,} images"
    columns = ("score", "value", "95 % interval")
    table = _table(Text(title, style="bold"), columns if after is None else (*columns, "with temperature"))
    table.add_row("accuracy", Text(f"{scores.accuracy:.2%}", style="bold green"), _range(scores.accuracy_ci95))
    table.add_row("  by bootstrap", "", _range(intervals.accuracy))
    table.add_row("balanced accuracy", f"{scores.balanced_accuracy:.2%}", _range(intervals.balanced_accuracy))
    table.add_row("macro F1", f"{scores.macro_f1:.3f}", " - ".join(f"{end:.3f}" for end in intervals.macro_f1))
    table.add_row("top-2 accuracy", f"{scores.top2_accuracy:.2%}")
    for name, heading in _TEMPERED.items():
        changed = [] if after is None else [f"{getattr(after, name):.3f}"]
        table.add_row(heading, f"{getattr(scores, name):.3f}", "", *changed)
    if (clean := result.clean) is not None:
        table.add_section()
        table.add_row("accuracy, clean", f"{clean.scores.accuracy:.2%}", _range(clean.scores.accuracy_ci95))
        if clean.near_duplicates and clean.accuracy_without_near is not None:
            table.add_row("  without near ones", f"{clean.accuracy_without_near:.2%}")
    if result.crowd is not None:
        table.add_section()
        table.add_row("accuracy, FER+", f"{result.crowd.accuracy:.2%}")
        table.add_row("cross-entropy, FER+", f"{result.crowd.cross_entropy:.3f}")
    table.caption = "\n".join(_scores_notes(result))
    return table


def _scores_notes(result: Result) -> list[str]:
    notes = [f"interval: Wilson's for accuracy, of {RESAMPLES:,} resamples of the images for the others"]
    if (after := result.calibration) is not None:
        folds = "; as it is valid that is scored, each fifth has that of the others"
        fitted = f"temperature: {after.temperature:.3f}, fitted on valid"
        notes.append(fitted + folds if after.cross_fitted else fitted)
    if (clean := result.clean) is not None:
        near = f"; {clean.near_duplicates:,} of these look nearly the same as one" if clean.near_duplicates else ""
        notes.append(f"clean: the {clean.scores.n:,} images whose pixels are not in train{near}")
    if (crowd := result.crowd) is not None:
        notes.append(
            f"FER+: the {crowd.n:,} images with a majority of annotators; no cross-entropy is below {crowd.entropy:.3f}"
        )
    return notes


def class_table(scores: Scores, *, title: str) -> Table:
    """Show precision, recall, F1 and support of each expression."""
    table = _table(title, ("expression", "precision", "recall", "F1", "images"), ("recall",))
    for name, row in scores.per_class.items():
        bar = Text(_bar(row.recall, width=20), style="blue")
        table.add_row(name, f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", f"{row.support:,}", bar)
    return table


def confusion_table(confusion: Int64Array, *, title: str) -> Table:
    """Show a confusion matrix (7, 7) as per cent of each true class, shaded by it, with the row's count."""
    table = _table(title, ("truth", *EMOTIONS, "images"))
    table.columns[0].min_width = None
    totals = confusion.sum(1)
    for row, name in enumerate(EMOTIONS):
        shares = confusion[row] / max(totals[row], 1)
        cells = [
            _share_cell(float(share), width=max(len(EMOTIONS[column]), 4), diagonal=row == column)
            for column, share in enumerate(shares)
        ]
        table.add_row(name, *cells, f"{totals[row]:,}")
    table.caption = Text("rows: truth; columns: predicted, per cent of the row; [right]")
    return table


def members_table(names: Sequence[str], combination: Combination) -> Table:
    """Show each member's scores on `valid` and, last, the ensemble's."""
    table = _table("Ensemble, on valid", ("member", "accuracy", "95 % interval", "macro F1", "NLL", "ECE"))
    for number, (name, scores) in enumerate(zip(names, combination.member_scores, strict=True), 1):
        table.add_row(Text(f"#{number} ").append(_name(name)), *_headline(scores))
    table.add_section()
    table.add_row(Text("ensemble", style="bold"), *_headline(combination.scores))
    diversity = combination.diversity
    table.caption = (
        f"temperature {combination.temperature:.3f}, fitted on valid; before it: NLL {diversity.pooled_nll:.3f} = "
        f"members' mean {diversity.member_nll:.3f} - their spread {diversity.gain:.3f}. "
        f"Every member is wrong on {diversity.all_wrong:.1%} of images; at least one is right on "
        f"{diversity.oracle_accuracy:.1%}."
    )
    return table


def diversity_table(names: Sequence[str], diversity: Diversity) -> Table:
    """Show on how many images each pair of members differs, and how many both get wrong."""
    table = _table(
        "Pairs, on valid: % answered differently / both wrong",
        ("member", *(f"#{number}" for number in range(1, len(names) + 1))),
    )
    table.columns[0].justify = "left"
    for row, name in enumerate(names):
        cells = [
            Text("-", style="dim")
            if column == row
            else Text(
                f"{100 * diversity.disagreement[row, column]:.0f}/{100 * diversity.double_fault[row, column]:.0f}"
            )
            for column in range(len(names))
        ]
        table.add_row(Text(f"#{row + 1} ").append(_name(name)), *cells)
    return table


def _table(title: str | Text, numbers: Sequence[str], texts: Sequence[str] = ()) -> Table:
    """Return an empty table: the first column is a name, the other `numbers` are flush right, `texts` left."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left", caption_justify="left")
    table.collapse_padding = True  # seven classes fit 80 columns
    table.add_column(numbers[0], justify="left", overflow="fold", min_width=12)
    for heading in numbers[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in texts:
        table.add_column(heading, justify="left", overflow="fold")
    return table


def _share_cell(share: float, *, width: int, diagonal: bool) -> Text:
    per_cent = f"{100 * share:.0f}"
    text = f"[{per_cent}]" if diagonal else f"{per_cent} "
    # More saturated, not darker: that reads the same on light and dark terminals, and the number needs no colour.
    shade = ("", "#66717f", "#58789c", "#4377b5", "#2c70cd", "#0b62e6")[round(share * 5)]
    return Text(text.rjust(width), style=f"white on {shade}" if shade else "")


def _bar(share: float, *, width: int) -> str:
    return "━" * round(share * width)


def _headline(scores: Scores) -> list[str]:
    numbers = (f"{scores.macro_f1:.3f}", f"{scores.nll:.3f}", f"{scores.ece:.3f}")
    return [f"{scores.accuracy:.2%}", _range(scores.accuracy_ci95), *numbers]


def _p_value(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _range(interval: Interval) -> str:
    low, high = interval
    return f"{low:.1%} - {high:.1%}"


def _name(text: str) -> Text:
    return Text(short_name(text))
