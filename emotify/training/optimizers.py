"""The optimizers: SGD with Nesterov momentum, and optionally Muon for convolutions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from emotify.errors import ModelError
from emotify.training.config import TrainConfig

_RATE = 0.2  # Muon's learning rate as a share of SGD's; the size of Muon's updates does not depend on the gradient's
_MOMENTUM = 0.95
_STEPS = 5  # iterations that make a matrix orthogonal


def make_optimizers(network: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return optimizers that together update each trainable parameter once, without decay of biases and batch norm."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    least = 4 if config.optimizer == "muon" else math.inf  # fewest dimensions of a parameter that Muon updates
    convolutions = [parameter for parameter in trained if parameter.ndim >= least]
    rest = [parameter for parameter in trained if parameter.ndim < least]
    groups = [
        {"params": [parameter for parameter in rest if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in rest if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    sgd = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=True, fused=True)
    if not convolutions:
        return [sgd]
    # SGD's momentum multiplies its weight decay by 1 / (1 - momentum). Muon's does not, so its decay is larger by that.
    decay = config.weight_decay / (_RATE * (1 - config.momentum))
    return [Muon(convolutions, lr=config.learning_rate, weight_decay=decay), sgd]


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the whole state of an optimizer: its tensors by name, and a dict of all other values for JSON.

    A tensor's name is `PLACE.KEY`: the index of the parameter in the optimizer, and the optimizer's key. Raises
    TypeError for a value that is neither a tensor nor JSON: such an optimizer cannot be resumed.
    """
    held = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    values: dict[str, Any] = {}
    for place, state in held["state"].items():
        for key, value in state.items():
            (tensors if isinstance(value, Tensor) else values)[f"{place}.{key}"] = value
    described = {"kind": type(optimizer).__name__, "groups": held["param_groups"], "values": values}
    json.dumps(described)
    return tensors, described


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], described: Mapping[str, Any], *, source: str
) -> None:
    """Load a state of `optimizer_state` into an optimizer.

    source: the name of the file, for messages. Raises ModelError if the state is of another optimizer or of other
    parameters.
    """
    kind = type(optimizer).__name__
    if described["kind"] != kind:
        msg = f"{source} holds the state of the optimizer {described['kind']}, but this run has {kind}"
        raise ModelError(msg)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    states: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **described["values"]}.items():
        place, _, key = name.partition(".")
        if not place.isdecimal() or int(place) >= len(parameters):
            msg = f"{source} holds the state of other parameters than the {kind} of this run"
            raise ModelError(msg)
        states.setdefault(int(place), {})[key] = _copy_in_layout(value, parameters[int(place)])
    try:
        optimizer.load_state_dict({"state": states, "param_groups": described["groups"]})
    except (ValueError, KeyError) as error:
        msg = f"{source} holds the state of other parameters than the {kind} of this run"
        raise ModelError(msg) from error


def _copy_in_layout(value: Any, parameter: Tensor) -> Any:  # noqa: ANN401 - whatever an optimizer keeps
    """Return a copy of an optimizer's value for a parameter.

    A tensor of the parameter's shape gets its memory layout: a fused step needs both in the same layout.
    """
    if not isinstance(value, Tensor):
        return value
    if value.shape == parameter.shape:
        return torch.empty_like(parameter, requires_grad=False).copy_(value)
    return value.clone()  # the file that the value maps may be replaced during the training


class Muon(torch.optim.Optimizer):
    """SGD with Nesterov momentum that makes the update of each convolution orthogonal.

    Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/. All directions of the matrix (outputs, inputs x
    height x width) change by the same amount, rare ones too. `lr` is the learning rate of the SGD used with it.
    """

    def __init__(self, convolutions: Iterable[Tensor], *, lr: float, weight_decay: float) -> None:
        super().__init__(list(convolutions), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Update every convolution from its gradient."""
        for group in self.param_groups:
            weights = group["params"]
            gradients = [weight.grad for weight in weights]
            momenta = [self._momentum(weight) for weight in weights]
            torch._foreach_lerp_(momenta, gradients, 1 - _MOMENTUM)
            changes = orthogonal_each(torch._foreach_lerp(gradients, momenta, _MOMENTUM))  # noqa: SLF001 - no other way
            rate = _RATE * group["lr"]
            torch._foreach_mul_(changes, [-rate * max(1, len(w) / w[0].numel()) ** 0.5 for w in weights])
            torch._foreach_mul_(weights, 1 - rate * group["weight_decay"])
            torch._foreach_add_(weights, changes)

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        momentum: Tensor = state["momentum_buffer"]
        return momentum


def orthogonal_each(weights: Sequence[Tensor]) -> list[Tensor]:
    """Apply `orthogonal` to each weight (R, ...), flattened to (R, C). Weights of one shape are computed together."""
    places: dict[torch.Size, list[int]] = {}
    for place, weight in enumerate(weights):
        places.setdefault(weight.shape, []).append(place)
    changes = list(weights)
    for shape, several in places.items():
        matrices = orthogonal(torch.stack([weights[place].flatten(1) for place in several]))
        for place, matrix in zip(several, matrices, strict=True):
            changes[place] = matrix.view(shape)
    return changes


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices (N, R, C) with the singular vectors of `matrices` and singular values of about 0.7 to 1.2.

    This is a Newton-Schulz iteration in float32 with the coefficients of the page that `Muon` cites. Each step
    multiplies the matrix X by a polynomial of X X^T. These polynomials are small and square, and they commute. So only
    they are iterated, and their product multiplies X once.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    wide = matrices.mT if tall else matrices
    wide = wide / (wide.norm(dim=(1, 2), keepdim=True) + 1e-7)
    square = wide @ wide.mT
    product = None
    for step in range(_STEPS):
        factor = torch.baddbmm(square, square, square, beta=-4.7750, alpha=2.0315)
        factor.diagonal(dim1=1, dim2=2).add_(3.4445)
        product = factor if product is None else factor @ product
        if step < _STEPS - 1:
            square = factor @ square @ factor
    assert product is not None
    result = product @ wide
    return result.mT if tall else result
