"""Round weights to 7 bits: integers from -64 to 63 times one scale per output channel, chosen for small errors.

On x86 CPUs without VNNI, onnxruntime multiplies activations of 0..255 by 8-bit weights and adds pairs of products in
16 bits. 255 * 64 * 2 fits in 16 bits. Larger weights can saturate without an error, which changes labels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotify.arrays import Float32Array, UInt8Array

LOWEST, HIGHEST = -64, 63  # range of the rounded weights
_BATCH = 64  # images
_ROWS = 256  # fewest patches that are kept from each batch
_DAMPING = 0.01  # added to every feature's variance, as a share of the mean variance
_BLOCK = 128  # columns that are rounded between two updates of all later columns
_SHARES = torch.linspace(0.5, 1.0, 26)  # candidate values of the highest level, as shares of a channel's largest weight


@torch.no_grad()
def round_weights(classifier: nn.Module, images: UInt8Array) -> dict[str, Float32Array]:
    """Round the weights of all convolutions in place to multiples of scales (C,). Return the scales by weight name.

    classifier: in evaluation mode, with folded batch normalisation. images: uint8 (N, 1, 48, 48), from the train split.
    The weights of a layer are rounded one after another. The remaining weights compensate for the error, so that the
    layer's outputs for the images change least (GPTQ, Frantar et al. 2022, arXiv:2210.17323). The bias, if there is
    one, then corrects a change in the mean output of a channel.
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
    """Moments of the input patches of a convolution, each flattened to F numbers."""

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
    """Return the moments of each layer's input patches for the images."""
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
    """Return the layer's input patches at `count` random places of each image (N, C, H, W), as (N * count, F)."""
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
    """Return weights (C, F) rounded to multiples of scales, and the scales (C,).

    covariance: (F, F), of the features.
    """
    variances = covariance.diagonal()
    scale = _best_scales(weights, variances)
    damped = covariance + torch.diag(torch.full_like(variances, max(_DAMPING * float(variances.mean()), 1e-12)))
    order = variances.argsort(descending=True)  # most important first, while all others can compensate
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
    """Return the scales (C,) with the smallest squared error of weights (C, F), weighted by `variances` (F,)."""
    largest = weights.abs().amax(1).clamp_min(1e-12)
    scales = largest * _SHARES.to(weights.dtype)[:, None] / HIGHEST  # (shares, C)
    errors = torch.stack([(_to_levels(weights, each[:, None]) - weights).square() @ variances for each in scales])
    return scales.gather(0, errors.argmin(0, keepdim=True))[0]


def _to_levels(weights: Tensor, scale: Tensor) -> Tensor:
    return (weights / scale).round().clamp(LOWEST, HIGHEST) * scale
