"""`face-resnet`: the residual network of dlib's face recognition, which can start with dlib's weights.

King 2017, http://dlib.net/dnn_face_recognition_ex.cpp.html, after He et al. 2016, arXiv:1512.03385. dlib's author put
the weights in the public domain (CC0, https://github.com/davisking/dlib-models).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emotify.errors import ModelError
from emotify.files import printable
from emotify.networks.dlib_file import ADD, AFFINE, LINEAR, RELU, TAG, Layer, Weights, convolution, pooling, read_dlib
from emotify.networks.network import classifier_head
from emotify.networks.pretrained import PretrainedNetwork, renormalise

ENLARGED: Final = 112  # side in pixels of enlarged 48x48 images
_STEM: Final = 32  # channels
# For each residual block: output channels and stride.
_BLOCKS: Final = (
    *[(32, 1)] * 3,
    *[(64, 2), (64, 1), (64, 1), (64, 1)],
    *[(128, 2), (128, 1), (128, 1)],
    *[(256, 2), (256, 1), (256, 1)],
    (256, 2),
)
_MEANS: Final = (122.782, 117.001, 104.298)  # dlib subtracts them from red, green and blue
_SCALE: Final = 256  # and divides by it


class FaceResNet(PretrainedNetwork):
    """The residual network of dlib's face recognition on images enlarged to 112x112; --pretrained loads dlib's weights.

    A 7x7 stem of 32 channels, then 14 residual blocks of 32, 64, 128 and 256 channels.
    """

    any_size = True

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*_convolve(1, _STEM, 7, stride=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2))
        self.blocks = nn.Sequential()
        before = _STEM
        for channels, stride in _BLOCKS:
            self.blocks.append(FaceBlock(before, channels, stride))
            before = channels
        self.head = classifier_head(before, dropout=0.3)
        self._published = False

    def logits(self, pixels: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(enlarge(pixels, ENLARGED))))

    def take_published(self, content: bytes, *, name: str) -> None:
        *weights, _ = read_dlib(content, dlib_layers(), name=name)
        weights[0] = _convert_to_grey(weights[0])
        layers = list(zip(self._normalised(), weights[::2], weights[1::2], strict=True))
        for (convolve, normalise), filters, affine in layers:
            sizes = (affine[0].size, affine[1].size, filters[1].size)
            if filters[0].shape != convolve.weight.shape or sizes != (normalise.num_features,) * 3:
                msg = f"{printable(name)} has layers of other shapes than dlib's face network"
                raise ModelError(msg)
        for (convolve, normalise), filters, affine in layers:
            _take(convolve, normalise, filters, affine)
        self._published = True

    def learn_statistics(self, images: Tensor) -> None:
        if self._published:
            renormalise(self, images)

    def _normalised(self) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
        """Yield each convolution with the batch norm that follows it."""
        layers = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d)]
        for convolve, normalise in zip(layers[::2], layers[1::2], strict=True):
            assert isinstance(convolve, nn.Conv2d)
            assert isinstance(normalise, nn.BatchNorm2d)
            yield convolve, normalise


class FaceBlock(nn.Module):
    """Two 3x3 convolutions whose result is added to the input, or with a stride to the 2x2 average of the input.

    Missing channels of the input are zero. As in dlib, strided convolutions have no padding. So their result can have
    one row and one column less than the averages. There dlib adds zeros; here the last window reaches over the edge.
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.stride, self.more_channels = stride, channels_out - channels_in
        self.first = nn.Sequential(*_convolve(channels_in, channels_out, 3, stride), nn.ReLU(inplace=True))
        self.second = nn.Sequential(*_convolve(channels_out, channels_out, 3))

    def forward(self, features: Tensor) -> Tensor:
        shortcut = features
        if self.stride > 1:
            shortcut = F.pad(F.avg_pool2d(features, 2), (0, 0, 0, 0, 0, self.more_channels))
            beyond = 1 - features.shape[-1] % 2
            features = F.pad(features, (0, beyond, 0, beyond))
        return F.relu(shortcut + self.second(self.first(features)))


def enlarge(pixels: Tensor, side: int) -> Tensor:
    """Enlarge pixels (N, 1, 48, 48) to the given side, and smaller images by the same factor."""
    side = round(pixels.shape[-1] * side / 48)
    return F.interpolate(pixels, size=(side, side), mode="bilinear")


def dlib_layers() -> list[Layer]:
    """Return the layers of dlib's network in the order of the file."""
    layers = [convolution(7, 2), AFFINE, RELU, pooling("max_pool_2", 3, 2)]
    for _, stride in _BLOCKS:
        shortcut = [TAG, TAG, pooling("avg_pool_2", 2, 2)] if stride > 1 else []
        layers += [TAG, convolution(3, stride), AFFINE, RELU, convolution(3, 1), AFFINE, *shortcut, ADD, RELU]
    return [*layers, pooling("avg_pool_2", 0, 1), LINEAR]


def _convolve(channels_in: int, channels_out: int, size: int, stride: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    padding = size // 2 if stride == 1 else 0
    layer = nn.Conv2d(channels_in, channels_out, size, stride=stride, padding=padding, bias=False)
    return layer, nn.BatchNorm2d(channels_out)


def _convert_to_grey(weights: Weights) -> Weights:
    """Change the weights of the first convolution from colours to normalised grey pixels, (grey - 128) / 64."""
    filters, biases = weights
    means = torch.tensor(_MEANS).view(1, -1, 1, 1)
    offsets = ((128 - means) / _SCALE * torch.from_numpy(filters)).sum((1, 2, 3))
    return filters.sum(1, keepdims=True) * (64 / _SCALE), biases + offsets.numpy()


@torch.no_grad()
def _take(convolve: nn.Conv2d, normalise: nn.BatchNorm2d, published: Weights, affine: Weights) -> None:
    """Load a convolution of dlib and the affine layer after it into a convolution and a batch norm.

    dlib's filters are up to fifty times smaller than newly initialised ones, for which the learning rates are made.
    So the filters are scaled up, and the batch norm undoes the scale: only the speed of learning changes.
    """
    assert normalise.running_mean is not None
    assert normalise.running_var is not None
    filters, biases = (torch.from_numpy(array) for array in published)
    factors, summands = (torch.from_numpy(array.reshape(-1)) for array in affine)
    scale = convolve.weight.std() / filters.std()
    convolve.weight.copy_(filters * scale)
    normalise.running_mean.copy_(-biases * scale)
    normalise.running_var.copy_(scale.square() - normalise.eps)
    normalise.weight.copy_(factors)
    normalise.bias.copy_(summands)
