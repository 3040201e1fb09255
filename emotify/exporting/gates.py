"""Squeeze-and-excitation that does the same to every image, made part of the convolution before it.

Weight decay often ends there: the weights that look at the image are as good as zero, and what is left is one factor
for each channel. In 8 bits such a gate is costly, for it is computed in float32, with a conversion before and after it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emotify.arrays import UInt8Array
from emotify.networks.layers import ResidualBlock, SqueezeExcitation

CONSTANT = 0.01  # largest relative deviation over images; about what 8 bits do to a weight of ordinary size


@torch.no_grad()
def fold_constant_gates(classifier: nn.Module, images: UInt8Array) -> int:
    """Fold the gates that hardly differ between images into the convolutions before them; return how many.

    classifier: in evaluation mode, its batch normalisation folded; changed in place. images: uint8 (N, 1, 48, 48) to
    measure on, N >= 2. A gate is folded where the standard deviation of each of its factors is at most 1 % of the mean.
    """
    blocks = {
        module.excitation.excite: module
        for module in classifier.modules()
        if isinstance(module, ResidualBlock) and isinstance(module.excitation, SqueezeExcitation)
    }
    seen: dict[nn.Linear, list[Tensor]] = {layer: [] for layer in blocks}

    def keep(layer: nn.Linear, _: object, logits: Tensor) -> None:
        seen[layer].append(logits.sigmoid())

    hooks = [layer.register_forward_hook(keep) for layer in blocks]
    for batch in torch.from_numpy(images).split(256):
        classifier(batch)
    for hook in hooks:
        hook.remove()
    constant = 0
    for layer, batches in seen.items():
        factors = torch.cat(batches)
        if (factors.std(0) <= CONSTANT * factors.mean(0)).all():
            blocks[layer].fold_excitation(factors.mean(0))
            constant += 1
    return constant
