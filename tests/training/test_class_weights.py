"""Class weights: rare expressions count more with --class-weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from emotify.data import Dataset, Split
from emotify.emotions import EMOTIONS
from emotify.training.classifier import open_run
from emotify.training.config import TrainConfig
from emotify.training.loop import class_weights, two_headed_loss
from tests.training.short_runs import train

CONFIG = TrainConfig(model="fnn", epochs=4, batch_size=32, device="cpu", precision="fp32", threads=2)


def one_hot(*counts: int) -> torch.Tensor:
    return torch.eye(7)[torch.repeat_interleave(torch.arange(7), torch.tensor(counts))]


def test_weights_are_inverse_frequencies_to_a_power():
    """With power 1 all classes have the same share of the loss. With 0 there are no weights. The mean weight is 1."""
    targets = one_hot(40, 10, 10, 10, 10, 10, 10)
    assert class_weights(targets, 0.0) is None
    even = class_weights(targets, 1.0)
    assert even is not None
    assert (even * targets.sum(0)).tolist() == pytest.approx([100 / 7] * 7)
    half = class_weights(targets, 0.5)
    assert half is not None
    assert float(half[1] / half[0]) == pytest.approx(2.0)  # 4 times as rare
    assert float((half * targets.sum(0)).sum()) == pytest.approx(100)


def test_each_head_has_its_own_weights():
    """Votes are weighted by their shares: an expression without votes has weight 0.

    Votes for contempt, unknown and not-a-face have weight 1.
    """
    shares = torch.tensor([[0.8, 0.2, *[0.0] * 8], [0.6, 0.4, *[0.0] * 8]]).repeat(7, 1)
    found = class_weights(torch.cat([one_hot(2, 2, 2, 2, 2, 2, 2), shares], dim=1), 1.0)
    assert found is not None
    assert found[:7].tolist() == pytest.approx([1.0] * 7)
    assert found[7:].tolist() == pytest.approx([0.5 / 0.7, 0.5 / 0.3, *[0.0] * 5, 1.0, 1.0, 1.0])


def test_the_loss_is_the_weighted_mean():
    """The loss of both heads equals a computation by hand."""
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 17), torch.rand(5, 17)
    weights = torch.arange(1.0, 18.0)
    config = dataclasses.replace(CONFIG, crowd_weight=0.25, label_smoothing=0.0)
    by_head = [
        (
            (targets[:, head] * weights[head]).sum(1) * -(targets[:, head] * F.log_softmax(logits[:, head], 1)).sum(1)
        ).mean()
        for head in (slice(0, 7), slice(7, 17))
    ]
    loss = two_headed_loss(logits, targets, None, config, weights)
    assert float(loss) == pytest.approx(float(0.75 * by_head[0] + 0.25 * by_head[1]), rel=1e-5)


def test_the_smoothed_part_of_a_label_is_not_weighted():
    """The loss of an image is smallest at its smoothed label, whatever the weights of the other classes."""
    weights = torch.tensor([1.0, 50.0, *[1.0] * 5])
    target = torch.eye(7)[:1]
    logits = (0.9 * target + 0.1 / 7).log().requires_grad_()
    two_headed_loss(logits, target, None, dataclasses.replace(CONFIG, label_smoothing=0.1), weights).backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().max()) < 1e-6


def test_rare_classes_are_named_more_often(faces, tmp_path):
    """With few images of disgust, class weights let the network name disgust more often on valid."""
    images = faces[Split.TRAIN]
    rare = EMOTIONS.index("disgust")
    kept = (images.labels != rare) | (np.cumsum(images.labels == rare) <= 5)
    dataset = Dataset("rare", {**faces, Split.TRAIN: images.take(kept)})
    named = []
    for power in (0.0, 1.0):
        folder = train(dataclasses.replace(CONFIG, class_weights=power), dataset, tmp_path / str(power))
        answers = open_run(folder, device="cpu").answers(faces[Split.VALID].images).labels
        named.append(int((answers.argmax(1) == rare).sum()))
    assert named[1] > named[0] + 2, named
