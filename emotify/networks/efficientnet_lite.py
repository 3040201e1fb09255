"""`efficientnet-lite0`: a small network for photographs that can start with weights trained on ImageNet.

Tan & Le 2019, arXiv:1905.11946, in the variant without squeeze-and-excitation and with ReLU6:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite. The weights are Google's, Apache-2.0.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotify.networks.face_resnet import enlarge
from emotify.networks.network import classifier_head
from emotify.networks.pretrained import PretrainedNetwork

ENLARGED: Final = 112  # side in pixels of enlarged 48x48 images
_STEM: Final = 32  # channels
_LAST: Final = 1280  # channels
# For each stage: blocks, side of the depthwise filters, stride of the first block, expansion, channels.
_STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_MEAN: Final = 127  # the published network subtracts it from every colour
_SCALE: Final = 128  # and divides by it
_EPSILON: Final = 1e-3


class EfficientNetLite(PretrainedNetwork):
    """EfficientNet-Lite0 on images enlarged to 112x112; --pretrained loads weights trained on ImageNet."""

    any_size = True

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(SamePadding(3, 2), *_convolve(1, _STEM, 3, 2), nn.ReLU6(inplace=True))
        before = _STEM
        for blocks, size, stride, expansion, channels in _STAGES:
            for place in range(blocks):
                block = Bottleneck(before, channels, size, stride if place == 0 else 1, expansion)
                self.features.append(block)
                before = channels
        self.features.extend([*_convolve(before, _LAST), nn.ReLU6(inplace=True)])
        self.head = classifier_head(_LAST, dropout=0.3)

    def logits(self, pixels: Tensor) -> Tensor:
        return self.head(self.features(enlarge(pixels, ENLARGED)))

    def take_published(self, content: bytes, *, name: str) -> None:  # noqa: ARG002 - the digest of the content is checked before
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        _convert_to_grey(tensors)
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
        for layer, prefix in zip(layers, _names(), strict=True):
            layer.load_state_dict({key: tensors[f"{prefix}.{key}"] for key in layer.state_dict()})


class Bottleneck(nn.Module):
    """An inverted residual block, which expands the channels, filters each of them, and reduces them.

    The result is added to the input if both have the same shape. Sandler et al. 2018, arXiv:1801.04381.
    """

    def __init__(self, channels_in: int, channels_out: int, size: int, stride: int, expansion: int) -> None:
        super().__init__()
        many = channels_in * expansion
        self.layers = nn.Sequential()
        if expansion > 1:
            self.layers.extend([*_convolve(channels_in, many), nn.ReLU6(inplace=True)])
        if stride > 1:
            self.layers.append(SamePadding(size, stride))
        self.layers.extend([*_convolve(many, many, size, stride, groups=many), nn.ReLU6(inplace=True)])
        self.layers.extend(_convolve(many, channels_out))
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, features: Tensor) -> Tensor:
        change = self.layers(features)
        return features + change if self.adds else change


class SamePadding(nn.Module):
    """Zero padding like TensorFlow's `SAME`: an odd row or column of zeros is at the bottom or right."""

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride

    def forward(self, features: Tensor) -> Tensor:
        side = features.shape[-1]
        zeros = max((-(-side // self.stride) - 1) * self.stride + self.size - side, 0)
        before, after = zeros // 2, zeros - zeros // 2
        return F.pad(features, (before, after, before, after))


def _convolve(
    channels_in: int, channels_out: int, size: int = 1, stride: int = 1, groups: int = 1
) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    padding = size // 2 if stride == 1 else 0
    layer = nn.Conv2d(channels_in, channels_out, size, stride, padding, groups=groups, bias=False)
    return layer, nn.BatchNorm2d(channels_out, eps=_EPSILON)


def _names() -> Iterator[str]:
    """Yield the names of convolutions and batch norms in the file, in order."""
    yield from ("_conv_stem", "_bn0")
    expansions = [expansion for blocks, _, _, expansion, _ in _STAGES for _ in range(blocks)]
    for place, expansion in enumerate(expansions):
        layers = ["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
        if expansion > 1:
            layers = ["_expand_conv", "_bn0", *layers]
        yield from (f"_blocks.{place}.{layer}" for layer in layers)
    yield from ("_conv_head", "_bn1")


def _convert_to_grey(tensors: dict[str, Tensor]) -> None:
    """Change the first convolution from colours to normalised grey pixels, (grey - 128) / 64.

    The published network takes (colour - 127) / 128. The batch norm after the convolution absorbs the other mean.
    """
    filters = tensors["_conv_stem.weight"].sum(1, keepdim=True)
    tensors["_conv_stem.weight"] = filters * (64 / _SCALE)
    offset = (128 - _MEAN) / _SCALE * filters.sum((1, 2, 3))
    tensors["_bn0.running_mean"] = tensors["_bn0.running_mean"] - offset
