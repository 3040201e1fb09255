"""Fold constant squeeze-and-excitation gates into the convolutions before them.

Weight decay often makes a gate constant: its weights for the image become almost zero, and one factor per channel
remains. In an int8 file such a gate is slow, as it is computed in float32 with a conversion before and after it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from emotify.arrays import UInt8Array
from emotify.networks.layers import ResidualBlock, SqueezeExcitation

CONSTANT = 0.01  # largest relative deviation over images; about the rounding error of an ordinary weight in int8


@torch.no_grad()
def fold_constant_gates(classifier: nn.Module, images: UInt8Array) -> int:
    """Fold the gates that are almost constant over images into the convolutions before them. Return their number.

    classifier: in evaluation mode, with folded batch normalisation; changed in place. images: uint8 (N, 1, 48, 48),
    N >= 2, to measure the gates on. A gate is folded if the standard deviation of each factor is at most 1 % of its
    mean.
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
