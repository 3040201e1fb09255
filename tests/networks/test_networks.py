"""The networks: their inputs, outputs and sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from emotify.ensembling.pooling import Pooling
from emotify.errors import UnavailableError, UsageError
from emotify.networks import NETWORKS, build_network, count_macs, count_parameters, describe_networks
from emotify.networks.inference import pool_logits, predict_logits
from emotify.networks.layers import ResidualBlock, SqueezeExcitation, set_drop_path
from emotify.networks.network import Network, centre_crop, equalise, normalise
from emotify.networks.whitened import PATCH, Whitened


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_every_network_gives_the_same_logits_for_both_pixel_types(name, dtype):
    """Every network takes uint8 or float (N, 1, 48, 48) and gives the same logits (N, 7) for both."""
    network = build_network(name).eval()
    images = torch.randint(0, 256, (3, 1, 48, 48), dtype=torch.uint8)
    logits = network(images.to(dtype))
    assert logits.shape == (3, 7)
    assert torch.equal(logits, network(images))


@pytest.mark.parametrize("error", [torch.OutOfMemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory")])
def test_out_of_memory_in_inference_is_reported(error):
    """It is exit 8, and the message does not blame the batch size of a training."""

    def fill(*_):
        raise error

    network = build_network("fnn")
    network.register_forward_hook(fill)
    with pytest.raises(UnavailableError, match="take another --device"):
        predict_logits(network, torch.zeros(1, 1, 48, 48), device=torch.device("cpu"))


def test_other_errors_in_inference_are_not_blamed_on_memory():
    """For example, the pixels are of the wrong shape, which is a bug."""
    with pytest.raises(RuntimeError, match=r"shape|size"):
        predict_logits(build_network("fnn"), torch.zeros(1, 1, 48, 7), device=torch.device("cpu"))


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 5.0])
def test_very_sure_members_pool_alike_in_torch_and_numpy(linear, temperature):
    """One member is almost certain where the others are not."""
    logits = torch.tensor([[[0.0, -40, -40, -40, -40, -40, -40]], [[-9.0, 0, 0, -9, -9, -60, -60]]])
    pooling = Pooling((0.1, 0.9), temperature, linear)
    weights = torch.tensor(pooling.weights).view(-1, 1, 1)
    pooled = (pool_logits(logits, weights, linear=linear) / temperature).softmax(1)
    assert np.abs(pooling(logits.softmax(2).numpy()) - pooled.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))],
)
def test_a_gate_keeps_the_memory_layout_of_the_gradient(device):
    """Autocast on a GPU would average in float32, and the gradient would get another layout."""
    gate = SqueezeExcitation(16).to(device)
    given = torch.randn(4, 16, 5, 5, device=device, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    averages: list[torch.Tensor] = []
    gate.squeeze.register_forward_pre_hook(lambda _, args: averages.append(args[0]))
    with torch.autocast(device, torch.bfloat16):
        gate(given.requires_grad_())
    (gradient,) = torch.autograd.grad(averages[0].sum(), given)
    assert averages[0].dtype == torch.bfloat16
    assert gradient.stride()[1:] == (1, 0, 0)


def test_the_cnn_takes_smaller_images():
    """Training begins with images of 32 pixels; the network is used at 44."""
    assert build_network("cnn").eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_larger_images_are_cropped_to_their_centre():
    ramp = torch.arange(48.0).expand(1, 1, 48, 48)
    assert centre_crop(ramp, 44)[0, 0, 0].tolist() == list(range(2, 46))
    assert centre_crop(ramp, 48)[0, 0, 0].tolist() == list(range(48))
    assert centre_crop(ramp[..., :32, :32], 44).shape[-1] == 32


@pytest.mark.parametrize("name", ["cnn", "cnn-eq", "small-eq", "resnet18-44"])
def test_pixels_outside_the_crop_change_nothing(name):
    """Training shows only the middle, so pixels around it must not change a result, not even by their brightness."""
    network = build_network(name).eval()
    images = torch.randint(0, 256, (2, 1, 48, 48), dtype=torch.uint8)
    framed = torch.full_like(images, 255)
    framed[..., 2:-2, 2:-2] = images[..., 2:-2, 2:-2]
    assert torch.equal(network(framed), network(images))


def test_sizes_equal_a_count_by_hand():
    """The network has a 3x3 convolution to 4 channels at 48x48, and a linear layer to 7 logits."""

    class Tiny(Network):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(
                nn.Conv2d(1, 4, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 7)
            )

        def logits(self, pixels):
            return self.layers(pixels)

    assert count_macs(Tiny()) == 48 * 48 * 4 * 9 + 4 * 7
    assert count_parameters(Tiny()) == 4 * 9 + 4 + 4 * 7 + 7


def test_cnn_has_its_documented_size():
    """`cnn` is the network for CPUs, with about 126 MMACs and 1.9 M parameters."""
    sizes = {network.name: network for network in describe_networks()}
    assert sizes["cnn"].macs == pytest.approx(126e6, rel=0.01)
    assert sizes["cnn"].parameters == pytest.approx(1.95e6, rel=0.01)
    assert sizes["small"].macs <= 35e6
    assert sizes["resnet18"].macs == pytest.approx(1.15e9, rel=0.01)
    assert all(network.description for network in sizes.values())


def test_equalised_pixels_do_not_depend_on_light():
    """Any increasing curve of the grey levels gives the same pixels, spread evenly over 0..255."""
    images = torch.randint(0, 128, (3, 1, 48, 48), dtype=torch.uint8)
    brighter = (images + images % 2 + images).to(torch.uint8)  # strictly rising in the grey level
    curve = torch.arange(128).mul(3).div(2, rounding_mode="floor").to(torch.uint8)
    assert torch.equal(equalise(images), equalise(curve[images.long()]))
    assert torch.equal(equalise(images), equalise(images.float()))
    assert float(equalise(brighter).max()) == 255
    histogram = equalise(torch.arange(256, dtype=torch.uint8).repeat(9).view(1, 1, 48, 48)).flatten().unique()
    assert torch.allclose(histogram, (torch.arange(256.0) + 1) * 255 / 256)


def test_whitened_patches_are_uncorrelated():
    """The covariance of the stem's outputs for train images is close to the identity."""
    network = Whitened()
    images = torch.rand(200, 1, 12, 12).mul(255).repeat_interleave(4, 2).repeat_interleave(4, 3).to(torch.uint8)
    network.learn_statistics(images)
    answers = network.whiten(normalise(images.float()))[:, : PATCH**2, 1:-1, 1:-1]
    covariance = torch.cov(answers.transpose(0, 1).flatten(1))
    assert float((covariance.diagonal() - 1).abs().max()) < 0.3
    assert float((covariance - torch.diag(covariance.diagonal())).abs().max()) < 0.15
    assert not network.whiten.weight.requires_grad


def test_blocks_are_skipped_only_in_training():
    """Stochastic depth never skips the first block, and skips the last one for its share of images."""
    network = build_network("resnet18")
    set_drop_path(network, 0.5)
    rates = [module.drop_path for module in network.modules() if isinstance(module, ResidualBlock)]
    assert rates[0] == 0
    assert rates[-1] == 0.5
    assert rates == sorted(rates)
    block = ResidualBlock(8)
    block.drop_path = 0.5
    torch.nn.init.ones_(block.second[1].weight)  # type: ignore[arg-type]
    features = torch.rand(400, 8, 3, 3)
    unchanged = (block.train()(features) == features).flatten(1).all(1)
    assert 120 < int(unchanged.sum()) < 280
    assert not bool((block.eval()(features) == features).flatten(1).all(1).any())


def test_a_deeper_network_starts_equal_to_a_shallower_one():
    """The additional blocks change nothing at first. A shallower network cannot take the weights of a deeper one."""
    shallow, deep = build_network("cnn"), build_network("deep")
    for parameter in shallow.parameters():
        nn.init.normal_(parameter, std=0.1)
    deep.take_weights(shallow)
    images = torch.randint(0, 256, (4, 1, 48, 48), dtype=torch.uint8)
    answers = shallow.eval()(images)
    assert float(answers.detach().std()) > 0.01
    assert torch.equal(deep.eval()(images), answers)
    for fewer, more in (("cnn", "deep"), ("cnn", "small"), ("deep", "vgg")):
        with pytest.raises(RuntimeError):
            build_network(fewer).take_weights(build_network(more))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(UsageError, match=", ".join(NETWORKS)):
        build_network("resnet")
