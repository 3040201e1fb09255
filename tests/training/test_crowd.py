"""The crowd head: its targets, its first weights, and exact resuming."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from emotify.data import Dataset, Split
from emotify.data.ferplus import VOTES, vote_shares
from emotify.emotions import EMOTIONS, emotion_index
from emotify.errors import InputError, ModelError
from emotify.networks import NETWORKS, build_network
from emotify.training.checkpoint import load_checkpoint
from emotify.training.classifier import open_run
from emotify.training.config import TrainConfig
from emotify.training.loop import two_headed_loss
from emotify.training.run_folder import close_run, finish_run, new_run, resumed_run
from emotify.training.teacher import distillation_loss, open_teacher
from tests.training.short_runs import train

CONFIG = TrainConfig(
    model="fnn", epochs=2, batch_size=32, device="cpu", precision="fp32", threads=1, compile="off", crowd_weight=0.5
)
COLUMNS = [next(c for c, name in enumerate(VOTES) if emotion_index(name) == index) for index in range(len(EMOTIONS))]


def with_votes(images):
    """Return images with votes: seven for the label, two for neutral, one for contempt."""
    votes = np.zeros((len(images), len(VOTES)), np.uint8)
    votes[:, VOTES.index("contempt")] = 1
    votes[:, VOTES.index("neutral")] = 2
    votes[np.arange(len(images)), np.array(COLUMNS)[images.labels]] += 7
    return dataclasses.replace(images, votes=votes)


@pytest.fixture(scope="module")
def dataset(few) -> Dataset:
    return Dataset("few", {split: with_votes(images) for split, images in few.splits.items()})


@pytest.fixture(scope="module")
def finished(dataset, tmp_path_factory):
    return train(dataclasses.replace(CONFIG, epochs=12), dataset, tmp_path_factory.mktemp("finished"))


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_have_a_crowd_head(name):
    """The crowd head adds ten logits and does not change the labels head."""
    torch.manual_seed(0)
    network = build_network(name).eval()
    images = torch.randint(0, 256, (2, 1, 48, 48), dtype=torch.uint8)
    before = network(images)
    network.set_crowd(crowd=True)
    both = network(images)
    assert both.shape == (2, 17)
    assert torch.allclose(both[:, :7], before, atol=1e-5)
    network.set_crowd(crowd=False)
    assert torch.allclose(network(images), before, atol=1e-5)


def test_a_run_with_votes_trains_both_heads(finished, dataset):
    """The heads differ where their targets differ, the prior is saved, and every epoch scores both heads."""
    valid = dataset.splits[Split.VALID]
    answers = open_run(finished, device="cpu").answers(valid.images)
    assert answers.crowd is not None
    assert answers.crowd.shape == answers.labels.shape == (len(valid), 7)
    assert np.allclose(answers.crowd.sum(1), 1, atol=1e-5)
    neutral = EMOTIONS.index("neutral")
    assert answers.crowd[:, neutral].mean() > answers.labels[:, neutral].mean()
    network, document = load_checkpoint(finished / "checkpoint.safetensors")
    assert document["heads"] == ["labels", "crowd"]
    images = dataset.splits[Split.TRAIN]
    prior = 7 / 9 * images.counts() / len(images)
    prior[neutral] += 2 / 9
    assert network.crowd_prior == pytest.approx(prior.tolist())
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert all(0 <= line["valid_crowd_accuracy"] <= 1 for line in lines)


def test_targets_have_the_expressions_in_the_order_of_emotions():
    """Shares cover all ten kinds of votes, with contempt, unknown and not-a-face last."""
    #                 neutral happy surprise sad anger disgust fear contempt unknown NF
    votes = np.array([[1, 2, 0, 0, 4, 0, 0, 1, 1, 1], [0] * 10], np.uint8)
    shares = vote_shares(votes)
    assert shares[0] == pytest.approx([0.4, 0, 0, 0.2, 0, 0, 0.1, 0.1, 0.1, 0.1])
    assert shares[1].sum() == 0


def test_the_loss_weighs_both_heads():
    """The loss is the weighted mean of the cross-entropies to labels and to votes."""
    torch.manual_seed(0)
    logits, targets = torch.randn(5, 17), torch.rand(5, 17)
    labels, crowd = F.cross_entropy(logits[:, :7], targets[:, :7]), F.cross_entropy(logits[:, 7:], targets[:, 7:])
    for weight in (0.25, 1.0):
        config = dataclasses.replace(CONFIG, crowd_weight=weight, label_smoothing=0.0)
        loss = two_headed_loss(logits, targets, None, config)
        assert float(loss) == pytest.approx(float(labels + weight * (crowd - labels)))
    alone = dataclasses.replace(CONFIG, crowd_weight=0.0, label_smoothing=0.0)
    assert float(two_headed_loss(logits[:, :7], targets[:, :7], None, alone)) == pytest.approx(float(labels))


def test_resuming_a_run_with_votes_is_exact(dataset, tmp_path):
    """After a stop within an epoch, the final weights are those of an uninterrupted run. Other votes are refused."""
    whole = train(CONFIG, dataset, tmp_path / "whole")
    stopped = train(CONFIG, dataset, tmp_path / "stopped", stop_at=3)
    changed = {split: dataclasses.replace(images, votes=images.votes[::-1]) for split, images in dataset.splits.items()}
    with pytest.raises(ModelError, match="other data"), resumed_run(stopped, Dataset("few", changed)):
        pass
    with resumed_run(stopped, dataset) as training:
        for _ in training.run():
            pass
        close_run(training.folder, finish_run(training))
    name = "checkpoint.safetensors"
    assert (whole / name).read_bytes() == (stopped / name).read_bytes()


def test_missing_votes_are_an_error(few, tmp_path):
    with (
        pytest.raises(InputError, match="--ferplus"),
        new_run(CONFIG, Dataset("few", few.splits), out=tmp_path),
    ):
        pass


def test_a_run_without_votes_can_start_one_with_them(few, dataset, tmp_path):
    """The weights are taken and the missing head is initialised; in the other direction the crowd head is dropped."""
    alone = train(dataclasses.replace(CONFIG, crowd_weight=0.0), Dataset("few", few.splits), tmp_path)
    both = train(dataclasses.replace(CONFIG, start_from=str(alone), epochs=0), dataset, tmp_path)
    images = dataset.splits[Split.VALID].images
    before, after = (open_run(run, device="cpu").answers(images) for run in (alone, both))
    assert before.crowd is None
    assert after.crowd is not None
    assert (before.labels.argmax(1) == after.labels.argmax(1)).mean() > 0.8  # normalisation was measured anew
    back = train(dataclasses.replace(CONFIG, crowd_weight=0.0, start_from=str(both), epochs=0), dataset, tmp_path)
    assert open_run(back, device="cpu").answers(images).crowd is None


def test_a_teacher_with_both_heads_teaches_both(finished, dataset):
    """The teacher's logits have the columns of both heads; a student with the same logits has the smallest loss."""
    teacher = open_teacher(finished, device=torch.device("cpu"))
    images = torch.from_numpy(dataset.splits[Split.VALID].images[:8])
    answers = teacher(images)
    assert answers.shape == (8, 17)
    config = dataclasses.replace(CONFIG, distill_weight=1.0)
    network, _ = load_checkpoint(finished / "checkpoint.safetensors")
    targets = torch.zeros(8, 17)
    same = two_headed_loss(network(images).detach(), targets, answers, config)
    assert float(same) == pytest.approx(0, abs=1e-5)
    assert float(two_headed_loss(torch.randn(8, 17), targets, answers, config)) > 0.1
    labels_only = two_headed_loss(torch.zeros(8, 17), targets, answers[:, :7], config)
    by_hand = distillation_loss(torch.zeros(8, 7), answers[:, :7], temperature=config.distill_temperature)
    assert float(labels_only) == pytest.approx(float(by_hand) * (1 - config.crowd_weight))  # without votes, no loss
