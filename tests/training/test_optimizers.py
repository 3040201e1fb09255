"""Every trained parameter is updated once, and Muon's changes have the size that they should."""

from __future__ import annotations

import pytest
import torch

from emotify.choices import Optimizer, names_of
from emotify.errors import ModelError, UsageError
from emotify.networks import NETWORKS, build_network
from emotify.training.config import TrainConfig
from emotify.training.loop import Step, Training
from emotify.training.optimizers import Muon, make_optimizers, orthogonal
from emotify.training.prepare import prepare


@pytest.mark.parametrize("shape", [(8, 90), (90, 8), (32, 32)])
def test_orthogonal_keeps_directions_and_evens_their_size(shape):
    """Singular vectors stay, and singular values of 0.01 to 1 come to about 1."""
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    sizes = torch.logspace(0, -2, min(shape))
    result = orthogonal((left * sizes @ right)[None])[0]
    across = left.T @ result @ right.T
    assert torch.allclose(across, torch.diag(across.diagonal()), atol=1e-3)
    assert float(across.diagonal().min()) > 0.3
    assert float(across.diagonal().max()) < 1.3


@pytest.mark.parametrize("rank", [6, 40])
def test_orthogonal_is_the_iteration_of_the_page(rank):
    """Newton and Schulz's, as it is written there, also for a matrix with hardly anything in most directions."""
    matrix = torch.randn(40, rank) @ torch.randn(rank, 300) + 1e-4 * torch.randn(40, 300)
    expected = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = expected @ expected.T
        expected = 3.4445 * expected + (-4.7750 * square + 2.0315 * square @ square) @ expected
    assert torch.allclose(orthogonal(matrix[None])[0].double(), expected, atol=2e-4)
    assert torch.allclose(orthogonal(matrix.T[None])[0].double(), expected.T, atol=2e-4)


@pytest.mark.parametrize(("shape", "larger"), [((4, 3, 2, 2), 1), ((16, 1, 2, 2), 2)])
def test_two_steps_by_hand(shape, larger):
    """A change is gradient and momentum made orthogonal, at a fifth of the rate, and larger for tall matrices; the
    weight shrinks by its decay."""
    weight = torch.nn.Parameter(torch.randn(shape))
    muon = Muon([weight], lr=0.5, weight_decay=0.1)
    expected, momentum = weight.detach().clone(), torch.zeros(shape)
    for gradient in torch.randn(2, *shape):
        weight.grad = gradient
        muon.step()
        momentum = 0.95 * momentum + 0.05 * gradient
        change = orthogonal((0.05 * gradient + 0.95 * momentum).flatten(1)[None]).view(shape)
        expected = expected * (1 - 0.1 * 0.1) - 0.1 * larger * change
    assert torch.allclose(weight, expected, atol=1e-3)


def test_convolutions_of_one_shape_are_updated_together_as_each_alone():
    """Whatever their layout in memory, and whatever order they come in."""
    shapes = [(8, 3, 3, 3), (4, 8, 3, 3), (8, 3, 3, 3), (40, 2, 3, 3), (4, 8, 3, 3)]
    together = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    together[2] = torch.nn.Parameter(together[2].detach().to(memory_format=torch.channels_last))
    alone = [torch.nn.Parameter(weight.detach().clone()) for weight in together]
    muons = [Muon(together, lr=0.5, weight_decay=0.1), *(Muon([weight], lr=0.5, weight_decay=0.1) for weight in alone)]
    for _ in range(2):
        for one, other in zip(together, alone, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        for muon in muons:
            muon.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_muon_without_a_convolution_is_told():
    with pytest.raises(UsageError, match="fnn has none"):
        prepare(TrainConfig(model="fnn", optimizer="muon"))


@pytest.mark.parametrize("optimizer", names_of(Optimizer))
@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_one_optimizer(name, optimizer):
    """Convolutions have Muon where it is asked for; what is fixed has none, and only weights decay."""
    network = build_network(name)
    optimizers = make_optimizers(network, TrainConfig(model=name, optimizer=optimizer))
    groups = [(one, group) for one in optimizers for group in one.param_groups]
    updated = [parameter for _, group in groups for parameter in group["params"]]
    assert len(updated) == len(set(updated))
    assert set(updated) == {parameter for parameter in network.parameters() if parameter.requires_grad}
    for one, group in groups:
        for parameter in group["params"]:
            assert isinstance(one, Muon) == (optimizer == "muon" and parameter.ndim == 4)
            assert bool(group["weight_decay"]) == (parameter.ndim > 1)


def with_adam(dataset, folder):
    """A training with an optimizer that emotify does not have; its state is two moments and a count of steps."""
    config = TrainConfig(
        model="cnn", epochs=2, batch_size=16, grow=False, learning_rate=1e-3, device="cpu", precision="fp32", threads=1,
        layout="channels_last", compile="off",
    )  # fmt: skip
    training = Training(config, dataset.splits, folder, prepared=prepare(config))
    training.optimizers = [torch.optim.AdamW(training.network.parameters(), lr=1e-3, fused=True)]
    return training


def test_any_optimizer_resumes_exactly(few, tmp_path):
    """All that the optimizer keeps is saved and restored, whatever its names are."""
    whole, folder = with_adam(few, tmp_path / "whole"), tmp_path / "stopped"
    for part in ("whole", "stopped"):
        (tmp_path / part).mkdir()
    stopped = with_adam(few, folder)
    for step in stopped.run():
        if isinstance(step, Step) and step.number == 3:
            stopped.save_state()
            break
    resumed = with_adam(few, folder)
    resumed.load_state()
    for training in (whole, resumed):
        list(training.run())
    assert all(map(torch.equal, whole.network.state_dict().values(), resumed.network.state_dict().values()))


def test_the_state_of_another_optimizer_is_refused(few, tmp_path):
    """By name, or by the parameters that it has a state for."""
    training = with_adam(few, tmp_path)
    next(training.run())
    training.save_state()
    for other in (torch.optim.RAdam(training.network.parameters()), torch.optim.AdamW([torch.zeros(1)])):
        training.optimizers = [other]
        with pytest.raises(
            ModelError, match=r"state\.safetensors holds the state of (the optimizer AdamW|other param)"
        ):
            training.load_state()
