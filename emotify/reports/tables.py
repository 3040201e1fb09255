"""Tables for the terminal: readable at 80 columns, and without colour."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from emotify.data.types import Int64Array
from emotify.emotions import EMOTIONS
from emotify.ensembling.diversity import Diversity
from emotify.ensembling.members import Combination
from emotify.evaluation.evaluate import Leaderboard, Result
from emotify.evaluation.metrics import Scores
from emotify.evaluation.significance import Comparison
from emotify.files import printable

if TYPE_CHECKING:
    from emotify.models import NetworkSize  # imports torch

SIGNIFICANT = 0.05


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
    split, n = results[0].split, results[0].scores.n
    has_clean = results[0].clean_n is not None
    numbers = ("accuracy", "95 % interval", "macro F1", "NLL", "ECE")
    title = f"Leaderboard: {split} split, {n:,} images"
    table = _table(title, ("model", *numbers, "clean") if has_clean else ("model", *numbers))
    for result in results:
        clean = [f"{result.clean_accuracy:.2%}"] if has_clean else []
        table.add_row(_name(result.model), *_headline(result.scores), *clean)
    if has_clean:
        table.caption = f"clean: accuracy on the {results[0].clean_n:,} images whose pixels are not in train"
    return table


def pairs_table(pairs: Sequence[Comparison]) -> Table:
    """Show for each pair of classifiers the difference in accuracy and whether it could be chance."""
    table = _table("Paired differences (McNemar's exact test)", ("model", "points", "p"), ("verdict", "than"))
    table.columns[0].justify = "left"
    for pair in pairs:
        better = pair.mcnemar_p < SIGNIFICANT
        verdict = Text("better", style="green") if better else Text("not told apart", style="dim")
        table.add_row(_name(pair.a), f"{100 * pair.difference:+.2f}", f"{pair.mcnemar_p:.2g}", verdict, _name(pair.b))
    return table


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
    totals = confusion.sum(1)
    for row, name in enumerate(EMOTIONS):
        shares = confusion[row] / max(totals[row], 1)
        cells = [_share_cell(float(share), diagonal=row == column) for column, share in enumerate(shares)]
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


def scores_text(result: Result) -> Text:
    """Return one line with a classifier's headline scores."""
    scores = result.scores
    low, high = scores.accuracy_ci95
    line = Text.assemble(
        (printable(result.model), "bold"),
        f" on {result.split} ({scores.n:,} images): accuracy ",
        (f"{scores.accuracy:.2%}", "bold green"),
        f" (95 % interval {low:.1%} to {high:.1%}), balanced {scores.balanced_accuracy:.2%}, "
        f"macro F1 {scores.macro_f1:.3f}, NLL {scores.nll:.3f}, Brier {scores.brier:.3f}, ECE {scores.ece:.3f}",
    )
    if result.clean_n is not None:
        line.append(f"; clean {result.clean_accuracy:.2%} of the {result.clean_n:,} images not also in train")
    if result.crowd_n is not None:
        line.append(f"; against FER+'s majority {result.crowd_accuracy:.2%} of {result.crowd_n:,}")
    return line


def _table(title: str, numbers: Sequence[str], texts: Sequence[str] = ()) -> Table:
    """Return an empty table: the first column is a name, the other `numbers` are flush right, `texts` left."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_style="bold", title_justify="left", caption_justify="left")
    table.add_column(numbers[0], justify="left", overflow="fold", min_width=12)
    for heading in numbers[1:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in texts:
        table.add_column(heading, justify="left", overflow="fold")
    return table


def _share_cell(share: float, *, diagonal: bool) -> Text:
    per_cent = f"{100 * share:.0f}"
    text = f"[{per_cent}]" if diagonal else per_cent
    # More saturated, not darker: that reads the same on light and dark terminals, and the number needs no colour.
    shade = ("", "#66717f", "#58789c", "#4377b5", "#2c70cd", "#0b62e6")[round(share * 5)]
    return Text(text, style=f"white on {shade}" if shade else "")


def _bar(share: float, *, width: int) -> str:
    return "━" * round(share * width)


def _headline(scores: Scores) -> list[str]:
    low, high = scores.accuracy_ci95
    numbers = (f"{scores.macro_f1:.3f}", f"{scores.nll:.3f}", f"{scores.ece:.3f}")
    return [f"{scores.accuracy:.2%}", f"{low:.1%} - {high:.1%}", *numbers]


def _name(text: str) -> Text:
    """Return a model's name without the time that run folders begin with, which says little and takes much room."""
    return Text(re.sub(r"^\d{8}-\d{6}-", "", printable(text)))
