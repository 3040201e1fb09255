"""Optimizers update each trained parameter once, and Muon's updates have the right size."""

from __future__ import annotations

import pytest
import torch

from emotify.choices import Optimizer, names_of
from emotify.errors import ModelError, UsageError
from emotify.networks import NETWORKS, build_network
from emotify.training.config import TrainConfig
from emotify.training.loop import Step, Training
from emotify.training.optimizers import Muon, make_optimizers, optimizer_state, orthogonal, restore_optimizer
from emotify.training.prepare import prepare


@pytest.mark.parametrize("shape", [(8, 90), (90, 8), (32, 32)])
def test_orthogonal_keeps_singular_vectors(shape):
    """Singular values from 0.01 to 1 become about 1."""
    left, _, right = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    sizes = torch.logspace(0, -2, min(shape))
    result = orthogonal((left * sizes @ right)[None])[0]
    across = left.T @ result @ right.T
    assert torch.allclose(across, torch.diag(across.diagonal()), atol=1e-3)
    assert float(across.diagonal().min()) > 0.3
    assert float(across.diagonal().max()) < 1.3


@pytest.mark.parametrize("rank", [6, 40])
def test_orthogonal_equals_the_published_iteration(rank):
    """It equals the published Newton-Schulz iteration, also for a matrix that is almost zero in most directions."""
    matrix = torch.randn(40, rank) @ torch.randn(rank, 300) + 1e-4 * torch.randn(40, 300)
    expected = matrix.double() / matrix.double().norm()
    for _ in range(5):
        square = expected @ expected.T
        expected = 3.4445 * expected + (-4.7750 * square + 2.0315 * square @ square) @ expected
    assert torch.allclose(orthogonal(matrix[None])[0].double(), expected, atol=2e-4)
    assert torch.allclose(orthogonal(matrix.T[None])[0].double(), expected.T, atol=2e-4)


@pytest.mark.parametrize(("shape", "larger"), [((4, 3, 2, 2), 1), ((16, 1, 2, 2), 2)])
def test_two_steps_of_muon_equal_a_computation_by_hand(shape, larger):
    """An update is the orthogonalised mean of gradient and momentum.

    Its rate is 0.2 of SGD's, larger for tall matrices, and the weight shrinks by its decay.
    """
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


def test_batched_muon_updates_equal_single_ones():
    """This holds for any memory layout and any order of the convolutions."""
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


def test_muon_without_a_convolution_is_an_error():
    with pytest.raises(UsageError, match="fnn has none"):
        prepare(TrainConfig(model="fnn", optimizer="muon"))


@pytest.mark.parametrize("optimizer", names_of(Optimizer))
@pytest.mark.parametrize("name", NETWORKS)
def test_every_parameter_has_one_optimizer(name, optimizer):
    """With muon, convolutions use Muon; fixed parameters have no optimizer, and only weights decay."""
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
    """A training with AdamW, which emotify does not offer; its state has two moments and a step count."""
    config = TrainConfig(
        model="cnn", epochs=2, batch_size=16, grow=False, learning_rate=1e-3, device="cpu", precision="fp32", threads=1,
        layout="channels_last", compile="off",
    )  # fmt: skip
    training = Training(config, dataset.splits, folder, prepared=prepare(config))
    training.optimizers = [torch.optim.AdamW(training.network.parameters(), lr=1e-3, fused=True)]
    return training


def test_any_optimizer_resumes_exactly(few, tmp_path):
    """The whole state of an optimizer is saved and restored, whatever its keys are."""
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


def test_values_of_an_optimizer_that_are_not_tensors_are_restored():
    """SparseAdam counts its steps in an integer."""

    def begin() -> tuple[torch.nn.Embedding, torch.optim.Optimizer]:
        torch.manual_seed(0)
        table = torch.nn.Embedding(3, 2, sparse=True)
        return table, torch.optim.SparseAdam(table.parameters(), lr=0.1)

    def step(table: torch.nn.Embedding, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        table(torch.tensor([0, 2])).square().sum().backward()
        optimizer.step()

    (whole, first), (resumed, second) = begin(), begin()
    step(whole, first)
    resumed.load_state_dict(whole.state_dict())
    restore_optimizer(second, *optimizer_state(first), source="x")
    step(whole, first)
    step(resumed, second)
    assert torch.equal(resumed.weight, whole.weight)


def test_the_state_of_another_optimizer_is_refused(few, tmp_path):
    """The kind of optimizer and its parameters are checked."""
    training = with_adam(few, tmp_path)
    next(training.run())
    training.save_state()
    for other in (torch.optim.RAdam(training.network.parameters()), torch.optim.AdamW([torch.zeros(1)])):
        training.optimizers = [other]
        with pytest.raises(
            ModelError, match=r"state\.safetensors holds the state of (the optimizer AdamW|other param)"
        ):
            training.load_state()
