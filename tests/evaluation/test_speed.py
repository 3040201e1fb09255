"""The CPU time of evaluating, compared with the time of the model."""

from __future__ import annotations

import time

import numpy as np
import torch

from emotify.data import LabelledImages, Split, near_duplicates_in
from emotify.evaluation.classifier import Answers
from emotify.evaluation.evaluate import evaluate
from emotify.networks import build_network
from emotify.training.classifier import NetworkClassifier

IMAGES, SHARE = 3_589, 10  # FER-2013's valid; the model answers 10 % of it, and the search covers 10 % of train


class Answered:
    name = "answered"

    def answers(self, images):
        return Answers(np.random.default_rng(0).dirichlet(np.ones(7), len(images)).astype(np.float32))


def cpu_seconds(work, *arguments):
    begun = time.process_time()
    work(*arguments)
    return time.process_time() - begun


def test_evaluating_adds_at_most_20_percent_to_the_time_of_a_cnn():
    """All scores, intervals, and the search for near duplicates in a train split of 28,709 images."""
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (IMAGES, 1, 48, 48), np.uint8)
    train = chance.integers(0, 256, (28_709 // SHARE, 1, 48, 48), np.uint8)
    images = LabelledImages(pixels, chance.integers(0, 7, IMAGES))
    model = NetworkClassifier("cnn", build_network("cnn"), device=torch.device("cpu"))
    evaluate([Answered()], images.take(np.arange(9)), Split.VALID)  # imports
    answering = SHARE * cpu_seconds(model.answers, pixels[: IMAGES // SHARE])
    scoring = cpu_seconds(lambda: evaluate([Answered()], images, Split.VALID))
    searching = SHARE * cpu_seconds(near_duplicates_in, pixels, train)
    assert scoring + searching < 0.2 * answering, (scoring, searching, answering)
