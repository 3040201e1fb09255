"""The training loop: batch, logits, loss, backward, step, weight average."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotify.arrays import Float32Array
from emotify.choices import Split
from emotify.data.ferplus import vote_shares
from emotify.data.types import LabelledImages
from emotify.emotions import EMOTIONS
from emotify.errors import GateError, ModelError
from emotify.evaluation.crowd import crowd_prior, score_crowd
from emotify.files import printable, write_bytes
from emotify.networks import Network, build_network
from emotify.networks.heads import CROWD, CROWD_EXPRESSIONS, LABELS
from emotify.networks.inference import autocast, memory_format, predict_logits, set_memory_layout
from emotify.networks.layers import set_drop_path
from emotify.networks.network import centre_crop
from emotify.networks.normalisation import batch_norm_images, estimate_batch_norm
from emotify.runs import CHECKPOINT, STATE
from emotify.settings import LARGEST_FLOAT
from emotify.training.augmentation import NO_AUGMENTATION, Augmentation, augment, mix, shrink
from emotify.training.checkpoint import load_tensors, save_checkpoint, save_tensors
from emotify.training.config import TrainConfig
from emotify.training.distributed import ALONE, World, device_of_process, wrap
from emotify.training.initial_weights import initial_network
from emotify.training.optimizers import make_optimizers, optimizer_state, restore_optimizer
from emotify.training.prepare import Prepared
from emotify.training.random_draws import Draws, derive_seed, make_generator
from emotify.training.teacher import distillation_loss

STATE_SCHEMA = 2
STATE_INTERVAL = 60.0  # shortest time between two saved states, in seconds
MIXED_UNTIL = 0.85  # share of all epochs after which mixup ends
# (share of all epochs, share of the network's input size): the image size until that epoch.
GROWTH = ((0.35, 0.73), (0.65, 0.86), (1.0, 1.0))


@dataclass(frozen=True)
class Step:
    """The report of one optimizer step."""

    number: int  # from 1
    loss: Tensor  # mean of this epoch's steps so far, on the device
    images: int  # in this batch


@dataclass(frozen=True)
class Epoch:
    """The report of one epoch, and one line of metrics.jsonl."""

    epoch: int  # from 1
    step: int
    learning_rate: float
    train_loss: float
    valid_loss: float  # with a crowd head, the mean of both heads' losses with the weights of the training
    valid_accuracy: float  # of the labels head
    valid_crowd_accuracy: float | None = None  # of the crowd head, against the majority of the votes


@dataclass(frozen=True)
class ValidScores:
    """Loss and accuracy of a network on `valid`."""

    loss: float
    accuracy: float
    crowd_accuracy: float | None = None


class Training:
    """One training in one run folder, with its configuration, state and steps.

    `config` is resolved (`emotify.training.device.resolve`). Every random draw is a function of seed and step. So a
    training that resumes from any saved step ends with the same weights, bit for bit.
    """

    def __init__(
        self,
        config: TrainConfig,
        splits: Mapping[Split, LabelledImages],
        folder: Path,
        world: World = ALONE,
        *,
        prepared: Prepared,
    ) -> None:
        torch.set_num_threads(config.threads)
        torch.backends.cudnn.deterministic = True
        self.config, self.folder, self.world = config, folder, world
        self.device = torch.device(device_of_process(config.device, world))
        train, self.valid = splits[Split.TRAIN], splits[Split.VALID]
        self.images = torch.from_numpy(train.images).to(self.device)
        self.targets = torch.from_numpy(_targets(train, crowd=config.crowd_weight > 0)).to(self.device)
        self._class_weights = class_weights(self.targets, config.class_weights)
        self._valid_images = torch.from_numpy(self.valid.images).to(self.device)
        self.data_sha256 = {split.value: images.sha256() for split, images in splits.items() if split != Split.TEST}
        if config.crowd_weight:
            self.data_sha256 |= {
                f"{split.value} votes": splits[split].votes_sha256() for split in (Split.TRAIN, Split.VALID)
            }

        # A saved state replaces the first weights. The run that they came from may be gone, so it is not opened.
        crowd = config.crowd_weight > 0
        if (folder / STATE).exists():
            network = build_network(config.model, crowd=crowd)
        else:
            network = initial_network(config, train, sources=prepared.sources, published=prepared.published)
        network.crowd_prior = None if not crowd or train.votes is None else tuple(crowd_prior(train.votes).tolist())
        self.network = set_memory_layout(network, config.layout).to(self.device)
        self.average = copy.deepcopy(self.network).eval().requires_grad_(requires_grad=False)
        self.teacher = prepared.teacher
        if isinstance(self.teacher, nn.Module):
            self.teacher = self.teacher.to(self.device)
        self.optimizers = make_optimizers(self.network, config)
        set_drop_path(self.network, config.drop_path)
        self._forward: nn.Module = wrap(self.network, world, self.device)
        if config.compile == "on":
            # Without "deterministic", a GPU sums in the order that was fastest in a trial, which varies.
            for module in (self._forward, self.teacher):
                if isinstance(module, nn.Module):  # a FileTeacher is run by onnxruntime and cannot be compiled
                    module.compile(dynamic=False, options={"deterministic": True})
        self.step = 0
        self.loss_sum = torch.zeros((), device=self.device)  # of this epoch's steps
        self.history: list[Epoch] = []
        self.measured = False  # whether the final batch-norm statistics are the re-estimated ones
        self._saved_at = time.monotonic()

    @property
    def steps_per_epoch(self) -> int:
        """The number of whole batches of an epoch. Fixed shapes are faster, and each epoch has another order."""
        return max(len(self.targets) // self.config.batch_size, 1)

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps_per_epoch

    def run(self) -> Iterator[Step | Epoch]:
        """Train to the end, and yield a report of each step and each epoch.

        The caller may save the state and stop after any report. At the end, the batch-norm statistics are re-estimated
        on train images without augmentation. The new statistics are kept if they lower the loss on `valid`, or if
        there were no epochs. Raises GateError if the loss is not finite.
        """
        if not self.config.epochs:
            self.average, self.measured = self._measured_anew(), True
        while (epoch := len(self.history)) < self.config.epochs:
            first = epoch * self.steps_per_epoch
            for batch in self._order(epoch)[self.step - first :]:
                self.loss_sum += self._update(batch, size=self._size(epoch))
                self.step += 1
                if time.monotonic() - self._saved_at > STATE_INTERVAL:
                    self.save_state()
                yield Step(self.step, self.loss_sum / (self.step - first), len(batch))
            yield self._end_epoch(epoch)

    def _update(self, batch: Tensor, *, size: int) -> Tensor:
        """Make one step on the images with the indices `batch`. Return the loss, averaged over all processes."""
        config = self.config
        chance = make_generator(config.seed, "augmentation", self.step, device=self.device)
        draws = Draws(chance, len(batch), own := self.world.share(len(batch)))
        pixels, targets = self._view(batch[own], draws, size=size)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self._learning_rate(self.step)

        torch.manual_seed(derive_seed(config.seed, "dropout", self.step) + self.world.rank)
        with autocast(self.device, config.precision):
            seen = shrink(centre_crop(pixels, self.network.input_size), size)
            logits = self._forward(seen.contiguous(memory_format=memory_format(config.layout)))
        answers = None
        if self.teacher is not None:
            with autocast(self.device, config.precision):
                answers = self.teacher(pixels.contiguous(memory_format=torch.channels_last))
        loss = two_headed_loss(logits.float(), targets, answers, config, self._class_weights)
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()
        update_average(self.average, self.network, decay=min(config.ema_decay, (1 + self.step) / (10 + self.step)))
        return self.world.mean(loss.detach())

    def _view(self, batch: Tensor, draws: Draws, *, size: int) -> tuple[Tensor, Tensor]:
        """Return augmented pixels (N, 1, S, S) in 0..255 and their targets (N, 7) or (N, 17).

        With a teacher, the pixels are the whole image at full size; without one, they are sampled at `size` at once.
        """
        config, images = self.config, self.images[batch]
        amounts = augmentation_of(config)
        field, size = (images.shape[-1],) * 2 if self.teacher else (self.network.input_size, size)
        pixels = augment(images, draws, amounts, field=field, size=size)
        targets = self.targets[batch]
        if config.mixup and len(self.history) < MIXED_UNTIL * config.epochs:
            pixels, targets = mix(pixels, targets, draws, most=config.mixup)
        return pixels, targets

    def _measured_anew(self) -> Network:
        measured = copy.deepcopy(self.average)
        estimate_batch_norm(measured, batch_norm_images(self.images), precision=self.config.precision)
        return measured

    def _end_epoch(self, epoch: int) -> Epoch:
        train_loss = float(self.loss_sum) / self.steps_per_epoch
        valid = self._score_valid(self.average)
        if self.step == self.total_steps:
            measured = self._measured_anew()
            scored = self._score_valid(measured)
            if scored.loss < valid.loss:
                self.average, self.measured, valid = measured, True, scored
        if not (math.isfinite(train_loss) and math.isfinite(valid.loss)):
            loss = valid.loss if math.isfinite(train_loss) else train_loss
            msg = f"the loss is {loss} in epoch {epoch + 1}; lower --learning-rate and train again"
            raise GateError(msg)
        self.loss_sum.zero_()
        learning_rate = self._learning_rate(self.step - 1)
        report = Epoch(
            epoch + 1, self.step, learning_rate, train_loss, valid.loss, valid.accuracy, valid.crowd_accuracy
        )
        self.history.append(report)
        self._write_metrics()
        return report

    def _score_valid(self, network: Network) -> ValidScores:
        logits = predict_logits(network, self._valid_images, device=self.device, precision=self.config.precision)
        labels, weight = torch.from_numpy(self.valid.labels), self.config.crowd_weight
        loss = float(F.cross_entropy(logits[:, LABELS], labels))
        accuracy = float((logits[:, LABELS].argmax(1) == labels).float().mean())
        if not network.crowd or self.valid.votes is None:
            return ValidScores(loss, accuracy)
        votes = torch.from_numpy(vote_shares(self.valid.votes))
        crowd = score_crowd(logits[:, CROWD_EXPRESSIONS].softmax(1).numpy(), self.valid.votes)
        loss += weight * (float(F.cross_entropy(logits[:, CROWD], votes)) - loss)
        return ValidScores(loss, accuracy, None if crowd is None else crowd.scores.accuracy)

    def _order(self, epoch: int) -> list[Tensor]:
        """Return the batches of an epoch as tensors of image indices."""
        chance = make_generator(self.config.seed, "order", epoch, device=torch.device("cpu"))
        order = torch.randperm(len(self.targets), generator=chance).to(self.device)
        return list(order.split(self.config.batch_size))[: self.steps_per_epoch]

    def _size(self, epoch: int) -> int:
        """Return the side of an epoch's images in pixels."""
        full = self.network.input_size
        last = self.config.epochs - 1  # always at full size, the size at which the network is used
        if not self.config.grow or not self.network.any_size or epoch == last:
            return full
        share = next(share for until, share in GROWTH if epoch < until * self.config.epochs)
        return min(round(full * share / 2) * 2, full)

    def _learning_rate(self, step: int) -> float:
        """Return a step's learning rate: linear warmup, then a fall to 0 (Smith & Topin 2018, arXiv:1708.07120)."""
        warmup = self.config.warmup * self.total_steps
        if step < warmup:
            return self.config.learning_rate * (step + 1) / (warmup + 1)
        progress = (step - warmup) / max(self.total_steps - warmup, 1)
        left = 1 - progress if self.config.schedule == "linear" else (1 + math.cos(math.pi * progress)) / 2
        return self.config.learning_rate * left

    def leave_world(self) -> None:
        """Release the wrapper for distributed training. No step with the other processes is possible afterwards."""
        self._forward = self.network

    def save_checkpoint(self, scores: Mapping[str, Any]) -> None:
        """Write the weight average as the checkpoint of the run."""
        save_checkpoint(self.folder / CHECKPOINT, self.average, self.config.model, {"valid": dict(scores)})

    def save_state(self) -> None:
        """Write everything that `load_state` needs to resume from this step."""
        self._saved_at = time.monotonic()
        if not self.world.is_main:
            return
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}
        states = [optimizer_state(optimizer) for optimizer in self.optimizers]
        for place, (held, _) in enumerate(states):
            tensors |= {f"optimizer.{place}.{name}": tensor for name, tensor in held.items()}
        document = {
            "schema": STATE_SCHEMA,
            "optimizers": [described for _, described in states],
            "step": self.step,
            "config": self.config.document(),
            "data_sha256": self.data_sha256,
            "teacher_sha256": self.teacher.sha256 if self.teacher else None,
            "history": [dataclasses.asdict(epoch) for epoch in self.history],
            "measured": self.measured,
        }
        save_tensors(self.folder / STATE, {**tensors, "loss_sum": self.loss_sum}, document)

    def load_state(self) -> None:
        """Resume from the state in the run folder. Raises ModelError if it is damaged or of another training."""
        path = self.folder / STATE
        tensors, document = load_tensors(path)
        if "config" not in document:
            msg = f"{printable(path)} is not the state of a training; delete it to train from the first step"
            raise ModelError(msg)
        if document["schema"] != STATE_SCHEMA:
            msg = f"{printable(path)} was written by another version of emotify; delete it to train from the first step"
            raise ModelError(msg)
        began_with = TrainConfig.from_document(document["config"], source=printable(path))
        if dataclasses.replace(began_with, device=self.config.device, threads=self.config.threads) != self.config:
            msg = f"{printable(self.folder)}: config.json has changed since the run began; restore it to resume"
            raise ModelError(msg)
        if document["data_sha256"] != self.data_sha256:
            msg = f"{printable(self.folder)} was trained on other data; resume it with the original --data"
            raise ModelError(msg)
        if self.teacher and document["teacher_sha256"] != self.teacher.sha256:
            teacher = printable(self.config.distill)
            msg = f"the teacher {teacher} has changed since {printable(self.folder)} began; restore it to resume"
            raise ModelError(msg)
        try:
            self.network.load_state_dict(_below("network.", tensors))
            self.average.load_state_dict(_below("average.", tensors))
        except RuntimeError as error:
            msg = f"{printable(path)} does not fit this version's {self.config.model}; train it again"
            raise ModelError(msg) from error
        if len(document["optimizers"]) != len(self.optimizers):
            count = len(document["optimizers"])
            msg = f"{printable(path)} holds the state of {count} optimizers, but this run has {len(self.optimizers)}"
            raise ModelError(msg)
        for place, (optimizer, described) in enumerate(zip(self.optimizers, document["optimizers"], strict=True)):
            restore_optimizer(optimizer, _below(f"optimizer.{place}.", tensors), described, source=printable(path))
        if tensors["loss_sum"].shape != () or tensors["loss_sum"].dtype != torch.float32:
            msg = "the sum of the losses is not one float32 number"
            raise TypeError(msg)
        self.loss_sum = tensors["loss_sum"].to(self.device, copy=True)  # without a copy the file would stay open
        self._saved_at = time.monotonic()
        self.step, self.history = _reached(document)
        self.measured = document.get("measured", False)  # missing in states of older versions
        self._write_metrics()

    def _write_metrics(self) -> None:
        if not self.world.is_main:
            return
        lines = [json.dumps(dataclasses.asdict(epoch)) + "\n" for epoch in self.history]
        write_bytes(self.folder / "metrics.jsonl", "".join(lines).encode())


def _reached(document: Mapping[str, Any]) -> tuple[int, list[Epoch]]:
    """Return the step and the epochs of a state. Raises TypeError or ValueError if they are not such numbers."""
    step, history = document["step"], [Epoch(**epoch) for epoch in document["history"]]
    numbers = [value for epoch in history for value in vars(epoch).values() if value is not None]
    if type(step) is not int or not all(type(value) in {int, float} for value in numbers):
        msg = "the step or the metrics are not numbers"
        raise TypeError(msg)
    if any(isinstance(number, int) and abs(number) > LARGEST_FLOAT for number in (step, *numbers)):
        msg = "the step or the metrics are too large"
        raise ValueError(msg)
    return step, history


def augmentation_of(config: TrainConfig) -> Augmentation:
    """Return the augmentation of a configuration."""
    if not config.augment:
        return NO_AUGMENTATION
    amounts = Augmentation(
        rotation=config.rotation, low_resolution=config.low_resolution, blur=config.blur, jpeg=config.jpeg
    )
    return amounts.at(config.strength)


def class_weights(targets: Tensor, power: float) -> Tensor | None:
    """Return a weight for each class of targets (N, 7) or (N, 17): its inverse frequency to a power; None for power 0.

    In each head the mean weight over the targets is 1, so the learning rate needs no change. Votes for what is no
    expression (contempt, unknown, no face) have weight 1: inverse frequencies of these rare votes would be very large.
    """
    if not power:
        return None
    weights = []
    for head in (LABELS, CROWD)[: 1 if targets.shape[1] == LABELS.stop else 2]:
        frequencies = targets[:, head].double().mean(0)[: len(EMOTIONS)]
        inverse = torch.where(frequencies > 0, frequencies.clamp_min(1e-12) ** -power, 0.0)
        others = torch.ones(head.stop - head.start - len(EMOTIONS), dtype=torch.double, device=targets.device)
        weights += [inverse * frequencies.sum() / (inverse * frequencies).sum(), others]
    return torch.cat(weights).float()


def two_headed_loss(
    logits: Tensor, targets: Tensor, teacher: Tensor | None, config: TrainConfig, weights: Tensor | None = None
) -> Tensor:
    """Return the mean loss of logits (N, 7) against targets (N, 7), or of both heads with (N, 17).

    The labels head has a cross-entropy with smoothed labels, the crowd head one with the shares of the votes. teacher:
    logits (N, 7) or (N, 17); each head that the teacher has also gets a distillation loss. weights: one for each class
    of the targets; an image counts by the mean weight of its targets. The distillation loss does not use them.
    """
    losses = [_cross_entropy(logits, targets, LABELS, weights, label_smoothing=config.label_smoothing)]
    if config.crowd_weight:
        losses.append(_cross_entropy(logits, targets, CROWD, weights))
    if teacher is not None:
        for place, head in enumerate((LABELS, CROWD)[: len(losses)]):
            if teacher.shape[1] >= head.stop:
                taught = distillation_loss(logits[:, head], teacher[:, head], temperature=config.distill_temperature)
                losses[place] = torch.lerp(losses[place], taught, config.distill_weight)
    return losses[0] if len(losses) == 1 else torch.lerp(losses[0], losses[1], config.crowd_weight)


def _cross_entropy(
    logits: Tensor, targets: Tensor, head: slice, weights: Tensor | None, *, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy of one head, with the images weighted by the classes of their targets.

    Torch's own class weights would also apply to the smoothed part of every target. One image of happiness would then
    pull towards a rare class: with power 1, a `cnn` named disgust almost everywhere.
    """
    if weights is None:
        return F.cross_entropy(logits[:, head], targets[:, head], label_smoothing=label_smoothing)
    losses = F.cross_entropy(logits[:, head], targets[:, head], label_smoothing=label_smoothing, reduction="none")
    return (losses * (targets[:, head] @ weights[head])).mean()


def _targets(images: LabelledImages, *, crowd: bool) -> Float32Array:
    """Return one-hot labels as float32 (N, 7), or (N, 17) with the shares of the votes appended."""
    labels = np.eye(len(EMOTIONS), dtype=np.float32)[images.labels]
    if not crowd:
        return labels
    assert images.votes is not None
    return np.concatenate([labels, vote_shares(images.votes)], axis=1)


def update_average(average: Network, network: Network, *, decay: float) -> None:
    """Update the exponential moving average of weights and batch-norm statistics in place."""
    targets, sources = average.state_dict().values(), network.state_dict().values()
    pairs = [(target, source) for target, source in zip(targets, sources, strict=True)]
    floats = [pair for pair in pairs if pair[0].is_floating_point()]
    torch._foreach_lerp_([target for target, _ in floats], [source for _, source in floats], 1 - decay)
    counts = [pair for pair in pairs if not pair[0].is_floating_point()]
    if counts:
        torch._foreach_copy_([target for target, _ in counts], [source for _, source in counts])


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
