"""The networks: what goes in and out, and how large they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from emotify.errors import UsageError
from emotify.models import NETWORKS, build_network, count_macs, count_parameters, describe_networks
from emotify.models.network import Network, centre_crop


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_pixels_in_logits_out(name, dtype):
    """Every network takes (N, 1, 48, 48) of either type and gives (N, 7), the same for both."""
    network = build_network(name).eval()
    images = torch.randint(0, 256, (3, 1, 48, 48), dtype=torch.uint8)
    logits = network(images.to(dtype))
    assert logits.shape == (3, 7)
    assert torch.equal(logits, network(images))


def test_the_cnn_takes_smaller_images():
    """Growing sizes train on 32 pixels what is used on 44."""
    assert build_network("cnn").eval()(torch.zeros(2, 1, 32, 32)).shape == (2, 7)


def test_larger_images_are_cropped_to_their_centre():
    ramp = torch.arange(48.0).expand(1, 1, 48, 48)
    assert centre_crop(ramp, 44)[0, 0, 0].tolist() == list(range(2, 46))
    assert centre_crop(ramp, 48)[0, 0, 0].tolist() == list(range(48))
    assert centre_crop(ramp[..., :32, :32], 44).shape[-1] == 32


def test_sizes_are_counted_as_by_hand():
    """A 3x3 convolution to 4 channels at 48x48 and a linear layer to 7, by hand."""

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


def test_the_table_has_what_recipes_promise():
    """`cnn` is the CPU net of about 126 MMACs and 1.9 M parameters."""
    sizes = {network.name: network for network in describe_networks()}
    assert sizes["cnn"].macs == pytest.approx(126e6, rel=0.01)
    assert sizes["cnn"].parameters == pytest.approx(1.95e6, rel=0.01)
    assert all(network.description for network in sizes.values())


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UsageError, match="fnn, cnn"):
        build_network("resnet")
