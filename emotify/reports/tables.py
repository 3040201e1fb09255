"""Tables for the terminal: readable at 80 columns, and without colour."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from emotify.data.types import Int64Array
from emotify.emotions import EMOTIONS
from emotify.ensembling.combination import Combination
from emotify.ensembling.diversity import Diversity
from emotify.evaluation.evaluate import Leaderboard, Result
from emotify.evaluation.metrics import Scores
from emotify.evaluation.significance import Comparison
from emotify.files import printable
from emotify.reports.names import short_name

if TYPE_CHECKING:
    from emotify.models import NetworkSize  # imports torch

SIGNIFICANT = 0.05
_GAINS = ("points", "p", "NLL")
_PAIR = ("differ", "both wrong", "same", "Q", "r")
_ENDS = 5  # of a long list, shown at its beginning and at its end


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
    table.caption = f"temperature {combination.pooling.temperature:.3f}, fitted on valid"
    if len(names) > 1:
        what = "what pooling gains" if combination.pooling.linear else "their mean KL from the pool"
        table.caption += (
            f"; before it: NLL {diversity.pooled_nll:.3f} = members' mean {diversity.member_nll:.3f} - "
            f"{what} {diversity.gain:.3f}. Every member is wrong on {diversity.all_wrong:.1%} of images; at least one "
            f"is right on {diversity.oracle_accuracy:.1%}"
        )
    return table


def methods_table(combination: Combination) -> Table:
    """Show what each way of combining came to, on the images it was fitted to and on others."""
    table = _table("Methods, on valid", ("method", "members", "accuracy", "NLL", "cross-fitted", "NLL"), ("",))
    for method, trial in combination.trials.items():
        fitted, crossed = trial.fitted, trial.cross_fitted
        taken = method is combination.taken
        numbers = (f"{fitted.accuracy:.2%}", f"{fitted.nll:.4f}", f"{crossed.accuracy:.2%}", f"{crossed.nll:.4f}")
        mark = "taken" if taken else ""
        table.add_row(Text(method, style="bold" if taken else ""), str(trial.members), *numbers, mark)
    table.caption = "cross-fitted: each fifth of the images answered by what was fitted to the other four"
    return table


def gains_table(names: Sequence[str], diversity: Diversity) -> Table:
    """Show each member's weight, and what the ensemble would lose without it."""
    table = _table("What each member adds", ("member", "weight", *_GAINS))
    for number, (name, weight, gain) in enumerate(zip(names, diversity.weights, diversity.marginal, strict=True), 1):
        numbers = ["-"] * len(_GAINS)
        if gain is not None:
            numbers = [f"{100 * gain.accuracy:+.2f}", f"{gain.mcnemar_p:.2g}", f"{gain.nll:+.4f}"]
        share = f"{100 * weight:.1f} %" if weight else "dropped"
        table.add_row(Text(f"#{number} ").append(_name(name)), share, *numbers)
    table.caption = "points of accuracy and NLL of the ensemble, less those without the member; p: McNemar's"
    return table


def diversity_table(diversity: Diversity) -> Table:
    """Show how much the members of each pair differ, the most alike first; of many pairs the ends."""
    correlation = diversity.error_correlation
    pairs = list(itertools.combinations(range(len(correlation)), 2))
    pairs.sort(key=lambda pair: -np.nan_to_num(correlation[pair], nan=-2))
    table = _table("Pairs, on valid, the most alike first", ("pair", *_PAIR))
    few = len(pairs) <= 2 * _ENDS
    for row, column in pairs if few else pairs[:_ENDS]:
        table.add_row(f"#{row + 1} #{column + 1}", *_pair_cells(diversity, (row, column)))
    if not few:
        table.add_row("...")
        for row, column in pairs[-_ENDS:]:
            table.add_row(f"#{row + 1} #{column + 1}", *_pair_cells(diversity, (row, column)))
    table.caption = (
        "differ: % of images answered differently; both wrong: % of images; same: of those, % with the same wrong "
        "answer; Q: Yule's; r: correlation of errors"
        + ("" if few else f"; all {len(pairs)} pairs are in ensemble.json")
    )
    return table


def _pair_cells(diversity: Diversity, pair: tuple[int, int]) -> list[str]:
    shares = (diversity.disagreement, diversity.double_fault, diversity.same_mistake)
    measures = (diversity.q_statistic, diversity.error_correlation)
    return [*(_number(100 * share[pair], 1) for share in shares), *(_number(measure[pair], 2) for measure in measures)]


def _number(value: float, digits: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


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
    return Text(short_name(text))
