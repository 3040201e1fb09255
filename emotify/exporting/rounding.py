"""Weights of 7 bits: integers from -64 to 63 times one scale for each output channel, chosen for small errors.

On x86 CPUs without VNNI, onnxruntime multiplies activations of 0..255 by weights of 8 bits and adds the products in
pairs in 16 bits. 255 * 64 * 2 fits there; larger weights can saturate without an error, and labels then change.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotify.arrays import Float32Array, UInt8Array

LOWEST, HIGHEST = -64, 63  # of the whole numbers that weights become
_BATCH = 64  # images
_ROWS = 256  # patches at least that are kept of each batch
_DAMPING = 0.01  # share of the mean variance that is added to every feature's
_BLOCK = 128  # columns between two updates of all that follow
_SHARES = torch.linspace(0.5, 1.0, 26)  # of the largest weight of a channel, that the highest level may stand for


@torch.no_grad()
def round_weights(classifier: nn.Module, images: UInt8Array) -> dict[str, Float32Array]:
    """Round every convolution's weights in place to multiples of scales (C,); return the scales by the weights' names.

    classifier: in evaluation mode, its batch normalisation folded. images: uint8 (N, 1, 48, 48), of the train split.
    A layer's weights are rounded one after the other; those that are left make up for the error as well as they can, so
    that the layer's answers to the images change least (GPTQ, Frantar et al. 2022, arXiv:2210.17323). A change in the
    mean answer of a channel is then taken out by its bias, where there is one.
    """
    layers = {name: module for name, module in classifier.named_modules() if isinstance(module, nn.Conv2d)}
    inputs = _measure(classifier, layers, images)
    scales = {}
    for name, layer in layers.items():
        before = layer.weight.flatten(1).double()
        rounded, scale = _round(before, inputs[name].covariance())
        layer.weight.copy_(rounded.view_as(layer.weight))
        if layer.bias is not None:
            layer.bias.add_((before - rounded) @ inputs[name].mean())
        scales[f"{name}.weight"] = np.asarray(scale.float().numpy())
    return scales


@dataclass
class _Inputs:
    """Moments of the patches that a convolution sees, each flattened to F numbers."""

    features: int
    count: int = 0
    total: Tensor = field(init=False)  # (F,)
    products: Tensor = field(init=False)  # (F, F)

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.features, dtype=torch.float64)
        self.products = torch.zeros(self.features, self.features, dtype=torch.float64)

    def add(self, patches: Tensor) -> None:
        self.count += len(patches)
        self.total += patches.sum(0).double()
        self.products += (patches.T @ patches).double()

    def mean(self) -> Tensor:
        return self.total / self.count

    def covariance(self) -> Tensor:
        return self.products / self.count - self.mean().outer(self.mean())


def _measure(classifier: nn.Module, layers: dict[str, nn.Conv2d], images: UInt8Array) -> dict[str, _Inputs]:
    """Return what each layer sees of the images."""
    inputs = {name: _Inputs(layer.weight[0].numel()) for name, layer in layers.items()}
    generator = torch.Generator().manual_seed(0)

    def keep(layer: nn.Conv2d, arguments: tuple[Tensor, ...], name: str) -> None:
        kept = -(-max(inputs[name].features, _ROWS) // len(arguments[0]))
        inputs[name].add(_some_patches(layer, arguments[0], kept, generator))

    hooks = [
        layer.register_forward_pre_hook(lambda layer, arguments, name=name: keep(layer, arguments, name))
        for name, layer in layers.items()
    ]
    for batch in torch.from_numpy(images).split(_BATCH):
        classifier(batch)
    for hook in hooks:
        hook.remove()
    return inputs


def _some_patches(layer: nn.Conv2d, images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Return what the layer sees at `count` places, chance ones, of each image (N, C, H, W), as (N * count, F)."""
    assert layer.groups == 1
    assert not isinstance(layer.padding, str)
    (top, left), (high, wide) = layer.padding, layer.kernel_size
    padded = F.pad(images, (left, left, top, top))
    reach = [(size - 1) * step for size, step in zip(layer.kernel_size, layer.dilation, strict=True)]
    rows, columns = (
        stride * torch.randint((side - span - 1) // stride + 1, (count,), generator=generator)
        for side, span, stride in zip(padded.shape[2:], reach, layer.stride, strict=True)
    )
    offsets = [(down * layer.dilation[0], right * layer.dilation[1]) for down in range(high) for right in range(wide)]
    seen = torch.stack(
        [padded[:, :, rows + down, columns + right] for down, right in offsets], 2
    )  # (N, C, offsets, count)
    return seen.permute(0, 3, 1, 2).reshape(len(images) * count, -1)


def _round(weights: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return weights (C, F), rounded to multiples of scales, and these (C,), for features of that covariance (F, F)."""
    variances = covariance.diagonal()
    scale = _best_scales(weights, variances)
    damped = covariance + torch.diag(torch.full_like(variances, max(_DAMPING * float(variances.mean()), 1e-12)))
    order = variances.argsort(descending=True)  # what counts most first, while all others can still make up for it
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped[order][:, order]))
    factor = torch.linalg.cholesky(inverse, upper=True)
    left, rounded = weights[:, order].clone(), torch.empty_like(weights)
    for start in range(0, len(order), _BLOCK):
        end = min(start + _BLOCK, len(order))
        errors = torch.empty(len(weights), end - start, dtype=weights.dtype)
        for place in range(start, end):
            rounded[:, order[place]] = _to_levels(left[:, place], scale)
            error = (left[:, place] - rounded[:, order[place]]) / factor[place, place]
            left[:, place:end] -= error.outer(factor[place, place:end])
            errors[:, place - start] = error
        left[:, end:] -= errors @ factor[start:end, end:]
    return rounded, scale


def _best_scales(weights: Tensor, variances: Tensor) -> Tensor:
    """Return the scales (C,) with the least squared error of weights (C, F), weighted by features' variances (F,)."""
    largest = weights.abs().amax(1).clamp_min(1e-12)
    scales = largest * _SHARES.to(weights.dtype)[:, None] / HIGHEST  # (shares, C)
    errors = torch.stack([(_to_levels(weights, each[:, None]) - weights).square() @ variances for each in scales])
    return scales.gather(0, errors.argmin(0, keepdim=True))[0]


def _to_levels(weights: Tensor, scale: Tensor) -> Tensor:
    return (weights / scale).round().clamp(LOWEST, HIGHEST) * scale
