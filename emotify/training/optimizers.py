"""The optimizers: SGD with Nesterov momentum, and Muon for convolutions beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from emotify.training.config import TrainConfig

_RATE = 0.2  # of Muon, as a share of SGD's: its changes have the same size whatever the gradient's
_MOMENTUM = 0.95
_STEPS = 5  # of the iteration that makes a matrix orthogonal


def make_optimizers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return what updates the trainable parameters, each by one of them; biases and normalisation do not decay."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    least = 4 if config.optimizer == "muon" else math.inf  # dimensions of what Muon updates
    convolutions = [parameter for parameter in trained if parameter.ndim >= least]
    rest = [parameter for parameter in trained if parameter.ndim < least]
    groups = [
        {"params": [parameter for parameter in rest if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in rest if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    sgd = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=True, fused=True)
    if not convolutions:
        return [sgd]
    # SGD's decay is carried on by its momentum; Muon's is not, so it is that much larger.
    decay = config.weight_decay / (_RATE * (1 - config.momentum))
    return [Muon(convolutions, lr=config.learning_rate, weight_decay=decay), sgd]


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum whose change of each convolution is made orthogonal.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/: every direction of the matrix (outputs, inputs x
    height x width) changes by as much, the rare ones too. `lr` is that of the SGD beside it.
    """

    def __init__(self, convolutions: Iterable[Tensor], *, lr: float, weight_decay: float) -> None:
        super().__init__(list(convolutions), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update every convolution by its gradient."""
        for group in self.param_groups:
            rate = _RATE * group["lr"]
            for weight in group["params"]:
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                momentum = state["momentum_buffer"].lerp_(weight.grad, 1 - _MOMENTUM)
                change = orthogonal(weight.grad.lerp(momentum, _MOMENTUM).flatten(1)).view(weight.shape)
                rows, columns = change.flatten(1).shape
                weight.mul_(1 - rate * group["weight_decay"]).sub_(change, alpha=rate * max(1, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix (R, C) with the directions of `matrix` and singular values near 1, about 0.7 to 1.2.

    Newton and Schulz's iteration with the coefficients of the same page, float32. Each step multiplies the matrix X by
    a polynomial of X X^T, which is small and square, and all of these commute: so only they are iterated, and their
    product multiplies X once.
    """
    tall = matrix.shape[0] > matrix.shape[1]
    wide = matrix.T if tall else matrix
    wide = wide / (wide.norm() + 1e-7)
    square = wide @ wide.T
    identity = torch.eye(len(square), device=matrix.device, dtype=matrix.dtype)
    product = identity
    for step in range(_STEPS):
        factor = 3.4445 * identity - 4.7750 * square + 2.0315 * square @ square
        product = factor @ product
        if step < _STEPS - 1:
            square = factor @ square @ factor
    result = product @ wide
    return result.T if tall else result
