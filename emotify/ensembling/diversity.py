"""How much members differ, and what an ensemble gains from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotify.data.types import Float32Array, Int64Array
from emotify.evaluation.classifier import pool_probabilities
from emotify.evaluation.metrics import negative_log_likelihood
from emotify.evaluation.significance import compare


@dataclass(frozen=True)
class Diversity:
    """What members share and do not share, on one split. M members, N images."""

    disagreement: NDArray[np.float64]  # (M, M), share of images on which two members' predictions differ
    double_fault: NDArray[np.float64]  # (M, M), share of images that two members both get wrong
    all_wrong: float  # share of images that every member gets wrong
    oracle_accuracy: float  # share of images that at least one member gets right
    member_nll: float  # mean over members
    pooled_nll: float  # of the pooled members, before the temperature
    gain: float  # member_nll - pooled_nll, which is mean KL(pooled || member), exactly
    pooled_accuracy: float
    best_member: int
    best_accuracy: float
    mcnemar_p: float  # pooled against the best member

    @property
    def mean_disagreement(self) -> float:
        return _mean_of_pairs(self.disagreement)

    @property
    def mean_double_fault(self) -> float:
        return _mean_of_pairs(self.double_fault)

    def document(self) -> dict[str, Any]:
        """Return the numbers as JSON has them."""
        values = {
            **vars(self),
            "mean_disagreement": self.mean_disagreement,
            "mean_double_fault": self.mean_double_fault,
        }
        return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in values.items()}

    def conclusion(self) -> str:
        """Say in one plain sentence whether pooling helped, and why."""
        points = 100 * (self.pooled_accuracy - self.best_accuracy)
        shared = self.mean_double_fault / max(1 - self.best_accuracy, 1e-9)
        why = (
            f"members disagree on {self.mean_disagreement:.1%} of images and share "
            f"{min(shared, 1):.0%} of a member's mistakes"
        )
        if len(self.disagreement) == 1:
            return "An ensemble of one is its member; add runs that differ to gain anything."
        if points > 0 and self.mcnemar_p < 0.05:
            return f"The ensemble beats its best member by {points:.2f} points (p = {self.mcnemar_p:.2g}): {why}."
        if points >= 0:
            return (
                f"The ensemble is {points:.2f} points above its best member, which could be chance "
                f"(p = {self.mcnemar_p:.2g}): {why}."
            )
        how = "which could be chance" if self.mcnemar_p >= 0.05 else "which alone is the better choice"
        return f"The ensemble is {-points:.2f} points below its best member, {how} (p = {self.mcnemar_p:.2g}): {why}."


def measure_diversity(probabilities: Float32Array, labels: Int64Array) -> Diversity:
    """Measure members' probabilities (M, N, 7) against labels (N,).

    Disagreement and double fault: Kuncheva & Whitaker 2003. The decomposition of the NLL holds for the mean of
    log-probabilities: Krogh & Vedelsby 1995, Heskes 1998.
    """
    predictions = probabilities.argmax(2)
    right = predictions == labels
    wrong = (~right).astype(np.float64)
    pooled = pool_probabilities(probabilities)
    pooled_right = pooled.argmax(1) == labels
    best = int(right.mean(1).argmax())
    member_nll = float(np.mean([negative_log_likelihood(member, labels) for member in probabilities]))
    pooled_nll = negative_log_likelihood(pooled, labels)
    return Diversity(
        disagreement=(predictions[:, None] != predictions[None]).mean(2),
        double_fault=wrong @ wrong.T / len(labels),
        all_wrong=float((~right).all(0).mean()),
        oracle_accuracy=float(right.any(0).mean()),
        member_nll=member_nll,
        pooled_nll=pooled_nll,
        gain=member_nll - pooled_nll,
        pooled_accuracy=float(pooled_right.mean()),
        best_member=best,
        best_accuracy=float(right[best].mean()),
        mcnemar_p=compare("pooled", pooled_right, "best", right[best]).mcnemar_p,
    )


def _mean_of_pairs(matrix: NDArray[np.float64]) -> float:
    if len(matrix) < 2:
        return 0.0
    return float(matrix[np.triu_indices(len(matrix), k=1)].mean())
