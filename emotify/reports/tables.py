"""Tables for the terminal. They fit 80 columns, and are readable without colour."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from emotify.arrays import Int64Array
from emotify.choices import Head
from emotify.emotions import EMOTIONS
from emotify.ensembling.combine import Combination, CrowdCombination
from emotify.ensembling.diversity import Diversity
from emotify.evaluation.bootstrap import RESAMPLES, Interval
from emotify.evaluation.crowd import Crowd
from emotify.evaluation.evaluate import Leaderboard, Result
from emotify.evaluation.metrics import Scores
from emotify.evaluation.significance import Comparison
from emotify.files import printable
from emotify.reports.names import short_name

if TYPE_CHECKING:
    from emotify.networks import NetworkSize  # imports torch

# Scores that a temperature changes.
_TEMPERED = {"nll": "NLL", "brier": "Brier score", "ece": "ECE, equal-width", "ece_adaptive": "ECE, adaptive"}
_GAINS = ("points", "p", "NLL")
_PAIR = ("differ", "both wrong", "same", "Q", "r")
_RECALL_BAR = 20  # columns
_MOST_PAIRS = 45  # largest number of pairs to show
_ENDS = 5  # rows to show at the start and at the end of a long list


def models_table(networks: Sequence[NetworkSize]) -> Table:
    """Return a table of each network's name, parameters, multiply-accumulates and input size."""
    table = _table("Models", ("model", "parameters", "MACs"), ("input",))
    for network in networks:
        sizes = (f"{network.parameters / 1e6:.2f} M", f"{network.macs / 1e6:.1f} M")
        pixels = f"{network.input_size}x{network.input_size}{', equalised' if network.equalise else ''}"
        table.add_row(network.name, *sizes, pixels)
    return table


def models_text(networks: Sequence[NetworkSize]) -> Text:
    """Return the descriptions of networks, one per line; networks with the same description share a line."""
    names: dict[str, list[str]] = {}
    for network in networks:
        names.setdefault(network.description, []).append(network.name)
    lines = [Text(", ".join(some), style="bold").append(f": {what}", style="not bold") for what, some in names.items()]
    return Text("\n").join(lines)


def leaderboard_table(leaderboard: Leaderboard) -> Table:
    """Return a table of each classifier's main scores, the most accurate first."""
    results = leaderboard.results
    split, n, clean = results[0].split, results[0].scores.n, results[0].clean
    numbers = ("accuracy", "95 % interval", "macro F1", "NLL", "ECE")
    start = _title_start(results, [result.head for result in results])
    title = f"{start} the data's labels: {split} split, {n:,} images"
    table = _table(title, ("model", *numbers) if clean is None else ("model", *numbers, "clean"))
    for number, result in enumerate(results, 1):
        cells = [] if result.clean is None else [f"{result.clean.scores.accuracy:.2%}"]
        table.add_row(Text(f"#{number} ").append(_name(result.model)), *_headline(result.scores), *cells)
    if clean is not None:
        table.caption = f"clean: accuracy on the {clean.scores.n:,} images that are not in train"
    return table


def crowd_table(leaderboard: Leaderboard) -> Table:
    """Return a table of the scores against FER+'s votes, the most accurate first. At least one result needs votes."""
    results = leaderboard.by_crowd()
    crowds = [result.crowd for result in results if result.crowd is not None]
    first = crowds[0]
    start = _title_start(results, [one.head for one in crowds])
    title = f"{start} FER+'s votes: {results[0].split} split, {first.scores.n:,} images"
    several = len({one.head for one in crowds}) > 1  # else the title names the head
    table = _table(
        title,
        ("model", *(["head"] if several else []), "majority", "95 % interval", "balanced", "8 classes", "CE", "gap"),
    )
    for number, (result, one) in enumerate(zip(results, crowds, strict=True), 1):
        accuracies = (f"{one.scores.balanced_accuracy:.2%}", f"{one.accuracy_with_contempt:.2%}")
        numbers = (f"{one.scores.accuracy:.2%}", _range(one.scores.accuracy_ci95), *accuracies)
        name = Text(f"#{number} ").append(_name(result.model))
        head = [one.head] if several else []
        table.add_row(name, *head, *numbers, f"{one.cross_entropy:.3f}", f"{one.agreement.error:.3f}")
    table.caption = (
        "majority: accuracy against the expression that most annotators named, on the images that FER+'s authors "
        f"keep; 8 classes: the same with contempt, which no model predicts, {first.n_with_contempt:,} images; CE: "
        f"cross-entropy to the vote shares, at least {first.entropy:.3f}; gap: mean difference between the "
        "confidence and the share of people who agree"
    )
    return table


def _title_start(results: Sequence[Result], heads: Sequence[Head]) -> str:
    """Return the start of a title. It names the head when all models use the same head."""
    one = f"head {heads[0]}, against" if len(set(heads)) == 1 else "against"
    return f"Leaderboard, {one}" if len(results) > 1 else one[0].upper() + one[1:]


def pairs_table(leaderboard: Leaderboard) -> Table:
    """Return a table of the difference in accuracy of each pair of classifiers, with a significance test."""
    return _pairs("Differences in accuracy", leaderboard.results, leaderboard.pairs)


def crowd_pairs_table(leaderboard: Leaderboard) -> Table:
    """Return a table of the difference in accuracy against FER+'s majority of each pair of classifiers."""
    return _pairs("Differences in accuracy against FER+'s majority", leaderboard.by_crowd(), leaderboard.crowd_pairs)


def _pairs(title: str, results: Sequence[Result], pairs: Sequence[Comparison]) -> Table:
    rows = [(pair.difference, pair.difference_ci95, pair.mcnemar_p_holm, pair.better) for pair in pairs]
    table = _differences(title, len(results), rows)
    table.caption = f"95 % interval: paired bootstrap over images; p: McNemar's exact test{_pairs_note(len(rows))}"
    return table


def recipes_table(leaderboard: Leaderboard) -> Table:
    """Return a table of each recipe's accuracy over its seeds, the most accurate first."""
    table = _table("Over seeds", ("recipe", "runs", "accuracy", "deviation"), ("each",))
    for number, one in enumerate(leaderboard.recipes, 1):
        each = " ".join(f"{100 * accuracy:.2f}" for accuracy in one.accuracies)
        numbers = (str(len(one.accuracies)), f"{one.mean:.2%}", f"{100 * one.deviation:.2f}")
        table.add_row(Text(f"#{number} {printable(one.recipe)}"), *numbers, each)
    table.caption = (
        "recipe: runs that differ only in seed and machine; its name leaves out the options that all runs share"
    )
    return table


def recipe_pairs_table(leaderboard: Leaderboard) -> Table:
    """Return a table of the difference in accuracy of each pair of recipes, with a significance test."""
    rows = [(pair.difference, pair.difference_ci95, pair.p_holm, pair.better) for pair in leaderboard.recipe_pairs]
    table = _differences("Differences between recipes", len(leaderboard.recipes), rows)
    table.caption = f"interval and p: t-test over images and seeds{_pairs_note(len(rows))}"
    return table


def _differences(title: str, count: int, rows: Sequence[tuple[float, Interval, float, str | None]]) -> Table:
    """Return a table of (difference, interval, p, better) for all pairs of `count` things, the best thing first.

    With too many pairs, show only the pairs with the first thing.
    """
    table = _table(title, ("pair", "points", "95 % interval", "p"), ("verdict",))
    # Places and not names, because names may repeat. The pairs have the order of the results.
    places = itertools.combinations(range(1, count + 1), 2)
    for (a, b), (difference, interval, p, better) in zip(places, rows, strict=True):
        if a > 1 and len(rows) > _MOST_PAIRS:
            break
        verdict = Text("could be chance", style="dim") if better is None else Text(f"#{a} is better", style="green")
        low, high = (100 * end for end in interval)
        table.add_row(f"#{a} - #{b}", f"{100 * difference:+.2f}", f"{low:+.2f} to {high:+.2f}", _p_value(p), verdict)
    return table


def _pairs_note(pairs: int) -> str:
    corrected = f", corrected for {pairs} pairs (Holm)" if pairs > 1 else ""
    return corrected + ("; --json has the pairs without #1" if pairs > _MOST_PAIRS else "")


def scores_table(result: Result) -> Table:
    """Return a table of all scores of a classifier, with intervals and the scores after temperature scaling."""
    scores, intervals, after = result.scores, result.intervals, result.calibration
    title = (
        f"{printable(result.model)}, head {result.head}, against the data's labels: {scores.n:,} {result.split} images"
    )
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
    table.caption = "\n".join(_scores_notes(result))
    return table


def _scores_notes(result: Result) -> list[str]:
    notes = [f"interval: Wilson's for accuracy, else a bootstrap with {RESAMPLES:,} resamples of the images"]
    if (after := result.calibration) is not None:
        folds = "; on valid itself, each of 5 folds uses the temperature of the others"
        fitted = f"temperature: {after.temperature:.3f}, fitted on valid"
        notes.append(fitted + folds if after.cross_fitted else fitted)
    if (clean := result.clean) is not None:
        near = ""
        if clean.near_duplicates:
            are = "is" if clean.near_duplicates == 1 else "are"
            near = f"; {clean.near_duplicates:,} of them {are} nearly the same as an image of train"
        notes.append(f"clean: the {clean.scores.n:,} images that are not in train{near}")
    return notes


def class_table(scores: Scores, *, title: str, plain: bool = False) -> Table:
    """Return a table of precision, recall, F1 and support of each expression. plain: use only ASCII characters."""
    table = _table(title, ("expression", "precision", "recall", "F1", "images"), ("recall",))
    for name, row in scores.per_class.items():
        bar = Text(("#" if plain else "━") * round(row.recall * _RECALL_BAR), style="blue")
        table.add_row(name, f"{row.precision:.3f}", f"{row.recall:.3f}", f"{row.f1:.3f}", f"{row.support:,}", bar)
    return table


def confusion_table(confusion: Int64Array, *, title: str) -> Table:
    """Return a table of a confusion matrix (7, 7) in per cent of each true class, with the row's number of images."""
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
    table.caption = Text("rows: truth; columns: prediction, in per cent of the row; [right]")
    return table


def members_table(names: Sequence[str], combination: Combination) -> Table:
    """Return a table of each member's scores on `valid` and, last, the ensemble's."""
    table = _table("Ensemble, on valid", ("member", "accuracy", "95 % interval", "macro F1", "NLL", "ECE"))
    for number, (name, scores) in enumerate(zip(names, combination.member_scores, strict=True), 1):
        table.add_row(Text(f"#{number} ").append(_name(name)), *_headline(scores))
    table.add_section()
    table.add_row(Text("ensemble", style="bold"), *_headline(combination.scores))
    diversity = combination.diversity
    table.caption = f"temperature {combination.pooling.temperature:.3f}, fitted on valid"
    if len(names) > 1:
        what = "gain of pooling" if combination.pooling.linear else "their mean KL from the pool"
        table.caption += (
            f"; before temperature: NLL {diversity.pooled_nll:.3f} = mean of members {diversity.member_nll:.3f} - "
            f"{what} {diversity.gain:.3f}. All members are wrong on {diversity.all_wrong:.1%} of images; at least one "
            f"is right on {diversity.oracle_accuracy:.1%}"
        )
    return table


def crowd_members_table(names: Sequence[str], crowd: CrowdCombination) -> Table:
    """Return a table of the crowd scores of each member and, last, of the ensemble on `valid`."""
    columns = ("member", "weight", "majority", "95 % interval", "balanced", "CE")
    table = _table("Crowd heads, on valid", columns)
    members = zip(names, crowd.pooling.weights, crowd.member_scores, strict=True)
    for number, (name, weight, one) in enumerate(members, 1):
        label = Text(f"#{number} ").append(_name(name))
        if one is None:
            table.add_row(label, *["-"] * (len(columns) - 1))
        else:
            table.add_row(label, f"{100 * weight:.1f} %", *_crowd_numbers(one))
    table.add_section()
    table.add_row(Text("ensemble", style="bold"), "", *_crowd_numbers(crowd.scores))
    table.caption = (
        f"against FER+'s majority, {crowd.scores.scores.n:,} images; CE: cross-entropy to the vote shares; "
        f"temperature {crowd.pooling.temperature:.3f}, fitted to the vote shares"
    )
    return table


def _crowd_numbers(crowd: Crowd) -> tuple[str, ...]:
    scores = crowd.scores
    accuracy, balanced = f"{scores.accuracy:.2%}", f"{scores.balanced_accuracy:.2%}"
    return accuracy, _range(scores.accuracy_ci95), balanced, f"{crowd.cross_entropy:.3f}"


def methods_table(combination: Combination) -> Table:
    """Return a table of the scores of each method, on the images that it was fitted to and cross-fitted."""
    table = _table("Methods, on valid", ("method", "members", "accuracy", "NLL", "cross-fitted", "NLL"), ("",))
    for method, trial in combination.trials.items():
        fitted, crossed = trial.fitted, trial.cross_fitted
        taken = method is combination.taken
        numbers = (f"{fitted.accuracy:.2%}", f"{fitted.nll:.4f}", f"{crossed.accuracy:.2%}", f"{crossed.nll:.4f}")
        mark = "used" if taken else ""
        table.add_row(Text(method, style="bold" if taken else ""), str(trial.members), *numbers, mark)
    table.caption = "cross-fitted: each of 5 folds of the images is scored with a fit to the other folds"
    return table


def gains_table(names: Sequence[str], diversity: Diversity) -> Table:
    """Return a table of each member's weight, and of the ensemble's loss without this member."""
    table = _table("What each member adds", ("member", "weight", *_GAINS))
    for number, (name, weight, gain) in enumerate(zip(names, diversity.weights, diversity.marginal, strict=True), 1):
        numbers = ["-"] * len(_GAINS)
        if gain is not None:
            numbers = [f"{100 * gain.accuracy:+.2f}", f"{gain.mcnemar_p:.2g}", f"{gain.nll:+.4f}"]
        share = f"{100 * weight:.1f} %" if weight else "none"
        table.add_row(Text(f"#{number} ").append(_name(name)), share, *numbers)
    table.caption = "points (of accuracy) and NLL: the ensemble minus the ensemble without the member; p: McNemar's"
    return table


def diversity_table(diversity: Diversity) -> Table:
    """Return a table of the differences of each pair, the most similar first. Of many pairs, show both ends."""
    correlation = diversity.error_correlation
    pairs = list(itertools.combinations(range(len(correlation)), 2))
    pairs.sort(key=lambda pair: -np.nan_to_num(correlation[pair], nan=-2))
    table = _table("Pairs, on valid, the most similar first", ("pair", *_PAIR))
    few = len(pairs) <= 2 * _ENDS
    for row, column in pairs if few else pairs[:_ENDS]:
        table.add_row(f"#{row + 1} #{column + 1}", *_pair_cells(diversity, (row, column)))
    if not few:
        table.add_row("...")
        for row, column in pairs[-_ENDS:]:
            table.add_row(f"#{row + 1} #{column + 1}", *_pair_cells(diversity, (row, column)))
    table.caption = (
        "differ: % of images with different predictions; both wrong: % of images; same: % of these with the same "
        "wrong prediction; Q: Yule's; r: correlation of errors"
        + ("" if few else f"; all {len(pairs)} pairs are in ensemble.json")
    )
    return table


def _pair_cells(diversity: Diversity, pair: tuple[int, int]) -> list[str]:
    shares = (diversity.disagreement, diversity.double_fault, diversity.same_mistake)
    measures = (diversity.q_statistic, diversity.error_correlation)
    return [*(_number(100 * share[pair], 1) for share in shares), *(_number(measure[pair], 2) for measure in measures)]


def _number(value: float, digits: int) -> str:
    return "-" if np.isnan(value) else f"{value:.{digits}f}"


def _table(title: str | Text, numbers: Sequence[str], texts: Sequence[str] = ()) -> Table:
    """Return an empty table. The first of `numbers` is the name's column; the others align right, and `texts` left."""
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
    # More saturated rather than darker, which works on light and dark terminals. The number needs no colour.
    shade = ("", "#66717f", "#58789c", "#4377b5", "#2c70cd", "#0b62e6")[round(share * 5)]
    return Text(text.rjust(width), style=f"white on {shade}" if shade else "")


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
