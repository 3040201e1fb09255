"""Train with SGD, Muon and sharpness-aware minimisation (SAM) over seeds, and compare their accuracies on `valid`.

    python tests/benchmarks/optimizers.py --data fer2013.csv [--model small] [--epochs 8] [--seeds 3] [--runs FOLDER]

All else is as in `emotify train --augment`. SAM is not in emotify; to be added, it would have to win this comparison.
It computes two gradients per step, so it gets half the epochs. A run that is already in FOLDER is not trained again.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from emotify.choices import Optimizer, choose
from emotify.data import Dataset, Split, read_dataset
from emotify.evaluation.seeds import compare_recipes
from emotify.networks.inference import predict_answers
from emotify.training.config import TrainConfig
from emotify.training.device import resolve
from emotify.training.loop import Training
from emotify.training.prepare import prepare

OPTIMIZERS = ("sgd", "muon", "sam")
RADIUS = 0.05  # of SAM's ascent, the norm of all weights' change


class SamTraining(Training):
    """Sharpness-aware minimisation (Foret et al. 2021, arXiv:2010.01412): the gradient at a point of higher loss."""

    def __init__(self, config: TrainConfig, dataset: Dataset, folder: Path) -> None:
        super().__init__(config, dataset.splits, folder, prepared=prepare(config))
        (self._optimizer,) = self.optimizers
        self._descend, self._aside = self._optimizer.step, copy.deepcopy(self.average)

    def _update(self, batch: Tensor, *, size: int) -> Tensor:
        weights: list[Tensor] = [weight for weight in self.network.parameters() if weight.requires_grad]
        before = [weight.detach().clone() for weight in weights]

        def ascend() -> None:
            gradients = [weight.grad for weight in weights if weight.grad is not None]
            norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
            with torch.no_grad():
                torch._foreach_add_(weights, gradients, alpha=RADIUS / (float(norm) + 1e-12))

        def descend() -> None:
            with torch.no_grad():
                torch._foreach_copy_(weights, before)
            self._descend()

        self.average, self._aside = self._aside, self.average
        self._optimizer.step = ascend  # type: ignore[method-assign, assignment]
        super()._update(batch, size=size)
        self.average, self._aside = self._aside, self.average
        self._optimizer.step = descend  # type: ignore[method-assign, assignment]
        return super()._update(batch, size=size)


def train(name: str, config: TrainConfig, dataset: Dataset, path: Path) -> None:
    """Train, and write to `path` which images of `valid` are right, and the CPU time."""
    begun = time.process_time()
    if name == "sam":
        training: Training = SamTraining(dataclasses.replace(config, epochs=config.epochs // 2), dataset, path.parent)
    else:
        config = dataclasses.replace(config, optimizer=choose(Optimizer, name, option="--optimizers"))
        training = Training(config, dataset.splits, path.parent, prepared=prepare(config))
    for _ in training.run():
        pass
    seconds = time.process_time() - begun
    valid = dataset.splits[Split.VALID]
    answers = predict_answers(training.average, valid.images, device=training.device).labels.argmax(1)
    right = (answers == valid.labels).tolist()
    path.write_text(json.dumps({"right": right, "seconds": seconds}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--model", default="small")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--compile", default="auto")
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("--seeds must be 2 or more, to tell what the seed alone does")
    folder = options.runs or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    dataset = read_dataset(options.data)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in options.optimizers}
    for seed in range(options.seeds):
        for name, runs in found.items():
            path = folder / f"{name}-{options.model}-{options.epochs}-s{seed}.json"
            if not path.exists():
                given = {field: getattr(options, field) for field in ("model", "epochs", "threads", "compile")}
                train(name, resolve(TrainConfig(augment=True, seed=seed, **given)), dataset, path)
            runs.append(json.loads(path.read_text()))
    recipes, pairs = compare_recipes({name: np.array([run["right"] for run in runs]) for name, runs in found.items()})
    for recipe in recipes:
        each = " ".join(f"{100 * accuracy:.2f}" for accuracy in recipe.accuracies)
        seconds = sum(run["seconds"] for run in found[recipe.recipe]) / options.seeds
        print(f"{recipe.recipe}: {recipe.mean:.2%} ± {100 * recipe.deviation:.2f} ({each}), {seconds:.0f} CPU seconds")
    for pair in pairs:
        low, high = (100 * end for end in pair.difference_ci95)
        print(f"{pair.a} over {pair.b}: {100 * pair.difference:+.2f} ({low:+.2f} to {high:+.2f}), p {pair.p_holm:.2g}")


if __name__ == "__main__":
    main()
