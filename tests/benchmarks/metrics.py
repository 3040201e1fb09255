"""Time the scoring of many models, and compare it with the time of the models themselves.

    python tests/benchmarks/metrics.py

Answers and images are random, as only their number matters.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from emotify.arrays import Float32Array, UInt8Array
from emotify.data import LabelledImages, Split, duplicates_in, near_duplicates_in
from emotify.evaluation.bootstrap import RESAMPLES
from emotify.evaluation.classifier import Answers
from emotify.evaluation.evaluate import evaluate
from emotify.networks import NETWORKS, build_network
from emotify.training.classifier import NetworkClassifier


@dataclass(frozen=True)
class Answered:
    """A classifier with ready answers, so that only the scoring takes time."""

    name: str
    answer: Float32Array

    def answers(self, images: UInt8Array) -> Answers:
        return Answers(self.answer)


def answered(models: int, images: LabelledImages) -> list[Answered]:
    """Return classifiers that are right on about half of the images, each on different ones."""
    chance = np.random.default_rng(0)
    hint = 2 * np.eye(7)[images.labels]
    answers = [
        chance.dirichlet(np.ones(7), len(images)) + hint * chance.random((len(images), 1)) for _ in range(models)
    ]
    return [
        Answered(f"model {number}", (answer / answer.sum(1, keepdims=True)).astype(np.float32))
        for number, answer in enumerate(answers)
    ]


def drawn(n: int) -> LabelledImages:
    """Return n images of noise with random labels."""
    chance = np.random.default_rng(n)
    return LabelledImages(chance.integers(0, 256, (n, 1, 48, 48), dtype=np.uint8), chance.integers(0, 7, n))


def seconds(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the duration of `work` by `clock`."""
    begun = clock()
    work()
    return clock() - begun


def main() -> None:
    """Print both times."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=10)
    parser.add_argument("--images", type=int, default=3_589)
    parser.add_argument("--train", type=int, default=28_709)
    options = parser.parse_args()
    images, train = drawn(options.images), drawn(options.train).images
    models = answered(options.models, images)

    evaluate(answered(2, drawn(70)), drawn(70), Split.VALID)  # imports are not what is measured
    names = f"{options.models} models x {options.images:,} images, {RESAMPLES:,} resamples"
    cpu = time.process_time
    begun = cpu()
    waited = seconds(lambda: evaluate(models, images, Split.VALID))
    print(f"scores of {names}: {waited:.2f} s, {cpu() - begun:.2f} s of CPU")

    def look_for_duplicates() -> tuple[object, object]:
        return duplicates_in(images.images, train), near_duplicates_in(images.images, train)

    scoring = seconds(lambda: evaluate(models[:1], images, Split.VALID), cpu)
    duplicates = seconds(look_for_duplicates, cpu)
    print(f"one model's scores {scoring:.2f} s of CPU; once for all models, duplicates of train {duplicates:.2f} s")
    for name in NETWORKS:
        model = NetworkClassifier(name, build_network(name), device=torch.device("cpu"))
        answering = seconds(lambda: model.answers(images.images), cpu)  # noqa: B023 - called at once
        share = (scoring + duplicates) / answering
        print(f"{name}: answers in {answering:.2f} s of CPU; scores add {scoring / answering:.1%}, all {share:.1%}")


if __name__ == "__main__":
    main()
