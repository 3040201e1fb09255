"""Face detectors from the user: recognised by their outputs, and decoded by the formulas of their authors.

The tests write the model files. Each network has constant outputs, which encode known boxes by the published formulas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from emotify.cli import app
from emotify.detection.detector import load_detector
from emotify.errors import ModelError

Shape = Sequence[int | str]
Arrays = dict[str, np.ndarray]
BOX = (96.0, 48.0, 176.0, 152.0)  # of a face in the network's input: left, top, right, bottom
LANDMARKS = (
    (112.0, 80.0),
    (152.0, 96.0),
    (134.0, 104.0),
    (108.0, 122.0),
    (140.0, 134.0),
)  # eyes, nose, corners of the mouth
POINTS = (112.0, 80.0, 152.0, 96.0, 124.0, 128.0)  # eyes and mouth


def write(path: Path, outputs: Arrays, shape: Shape, *, declared: Mapping[str, Shape] | None = None) -> Path:
    """Write a network with constant outputs. Zero times the mean pixel is added, so that the input is used."""
    nodes = [
        helper.make_node("ReduceMean", ["input"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["zero_mean"]),
    ]
    nodes += [helper.make_node("Add", [f"{name}_value", "zero_mean"], [name]) for name in outputs]
    constants = [numpy_helper.from_array(value.astype(np.float32), f"{name}_value") for name, value in outputs.items()]
    constants.append(numpy_helper.from_array(np.zeros((), np.float32), "zero"))
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, (declared or {}).get(name, value.shape))
        for name, value in outputs.items()
    ]
    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "faces", [image], values, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def yunet(width: int, height: int, score: float = 0.81) -> Arrays:
    """Return outputs with BOX in the cell of stride 16 that contains its centre. The score is sqrt(cls * obj)."""
    outputs: Arrays = {}
    for kind, size in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            outputs[f"{kind}_{stride}"] = np.zeros((1, width // stride * (height // stride), size))
    x, y = (BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2
    cell = int(y // 16) * (width // 16) + int(x // 16)
    outputs["cls_16"][0, cell], outputs["obj_16"][0, cell] = score, score
    outputs["bbox_16"][0, cell] = [
        x / 16 - x // 16, y / 16 - y // 16, math.log((BOX[2] - BOX[0]) / 16), math.log((BOX[3] - BOX[1]) / 16),
    ]  # fmt: skip
    outputs["kps_16"][0, cell] = [edge for x_, y_ in LANDMARKS for edge in (x_ / 16 - x // 16, y_ / 16 - y // 16)]
    return outputs


def center_face(width: int, height: int) -> Arrays:
    """Return outputs with BOX in the cell of stride 4 that contains its centre. y and height precede x and width."""
    heat, sizes = np.zeros((1, 1, height // 4, width // 4)), np.zeros((1, 2, height // 4, width // 4))
    offsets = np.zeros_like(sizes)
    x, y = (BOX[0] + BOX[2]) / 2 / 4, (BOX[1] + BOX[3]) / 2 / 4
    row, column = int(y), int(x)
    heat[0, 0, row, column] = 0.9
    sizes[0, :, row, column] = math.log((BOX[3] - BOX[1]) / 4), math.log((BOX[2] - BOX[0]) / 4)
    offsets[0, :, row, column] = y - row - 0.5, x - column - 0.5
    landmarks = np.zeros((1, 10, height // 4, width // 4))
    parts = [((y - BOX[1]) / (BOX[3] - BOX[1]), (x - BOX[0]) / (BOX[2] - BOX[0])) for x, y in LANDMARKS]
    landmarks[0, :, row, column] = np.ravel(parts)
    return {"537": heat, "538": sizes, "539": offsets, "540": landmarks}


def ultra_light(*, relative: bool) -> Arrays:
    """Return outputs with BOX in an input of 320x240, as fractions of its sides.

    relative: encode BOX relative to a prior of stride 64 near its centre instead.
    """
    boxes, scores = np.tile([0.1, 0.1, 0.2, 0.2], (1, 4420, 1)), np.tile([1.0, 0.0], (1, 4420, 1))
    scores[0, 4000] = 0.1, 0.9
    boxes[0, 4000] = BOX[0] / 320, BOX[1] / 240, BOX[2] / 320, BOX[3] / 240
    if relative:
        # 40*30*3 + 20*15*2 + 10*8*2 priors precede those of stride 64: 5x4 cells with 3 priors of 128, 192, 256 pixels.
        row, column, prior = 1, 2, 1
        place = 40 * 30 * 3 + 20 * 15 * 2 + 10 * 8 * 2 + (row * 5 + column) * 3 + prior
        x, y = (BOX[0] + BOX[2]) / 2, (BOX[1] + BOX[3]) / 2
        boxes[:] = 0.3
        boxes[0, place] = [
            (x - (column + 0.5) * 64) / 192 / 0.1, (y - (row + 0.5) * 64) / 192 / 0.1,
            math.log((BOX[2] - BOX[0]) / 192) / 0.2, math.log((BOX[3] - BOX[1]) / 192) / 0.2,
        ]  # fmt: skip
        scores[0, 4000], scores[0, place] = (1, 0), (0.1, 0.9)
    return {"scores": scores, "boxes": boxes}


def detect_boxes(path: Path, width: int, height: int) -> np.ndarray:
    """Return the boxes and scores (N, 5) that a detector gives for a black picture."""
    return np.array([box[:5] for box in load_detector(path, threads=1)(np.zeros((height, width, 3), np.uint8))])


def detect_points(path: Path, width: int, height: int) -> tuple[float, ...]:
    """Return the points of the only face that a detector gives for a black picture."""
    (face,) = load_detector(path, threads=1)(np.zeros((height, width, 3), np.uint8))
    return face.points


def test_yunet_and_centerface_give_eye_and_mouth_points(tmp_path):
    """Of five points, the eyes and the mean of the mouth's corners are kept. Files without points give none."""
    path = write(tmp_path / "yunet.onnx", yunet(640, 640), [1, 3, 640, 640])
    assert detect_points(path, 1280, 960) == pytest.approx([2 * edge for edge in POINTS])
    bare = {name: value for name, value in yunet(640, 640).items() if not name.startswith("kps")}
    assert detect_points(write(tmp_path / "bare.onnx", bare, [1, 3, 640, 640]), 640, 640) == ()
    outputs = center_face(416, 320)
    assert detect_points(write(tmp_path / "c.onnx", outputs, ["n", 3, "h", "w"]), 400, 300) == pytest.approx(POINTS)
    del outputs["540"]
    assert detect_points(write(tmp_path / "c3.onnx", outputs, ["n", 3, "h", "w"]), 400, 300) == ()
    assert detect_points(write(tmp_path / "u.onnx", ultra_light(relative=False), [1, 3, 240, 320]), 320, 240) == ()


def test_yunet_with_a_fixed_input_size_is_decoded(tmp_path):
    """A picture of 1280x960 is halved to fit into 640x640, so its box is twice as large as in the input."""
    path = write(tmp_path / "yunet.onnx", yunet(640, 640), [1, 3, 640, 640])
    (face,) = detect_boxes(path, 1280, 960)
    assert face == pytest.approx([*(2 * edge for edge in BOX), 0.81])
    (small,) = detect_boxes(path, 320, 240)
    assert small[:4] == pytest.approx(BOX)  # a small picture is not enlarged


def test_yunet_with_a_variable_input_size_is_decoded(tmp_path):
    """The size of the input is rounded up to multiples of 32: 600x400 becomes 608x416."""
    path = write(tmp_path / "yunet.onnx", yunet(608, 416), [1, 3, "height", "width"])
    assert detect_boxes(path, 600, 400)[0] == pytest.approx([*BOX, 0.81])


def test_faces_with_low_scores_are_dropped(tmp_path):
    assert len(detect_boxes(write(tmp_path / "y.onnx", yunet(640, 640, score=0.6), [1, 3, 640, 640]), 640, 640)) == 0


def test_centerface_is_decoded(tmp_path):
    """The authors' file declares an input of 10x3x32x32, but accepts pictures of any size."""
    outputs = center_face(416, 320)
    declared = {name: (10, value.shape[1], 8, 8) for name, value in outputs.items()}
    path = write(tmp_path / "centerface.onnx", outputs, [10, 3, 32, 32], declared=declared)
    assert detect_boxes(path, 400, 300)[0] == pytest.approx([*BOX, 0.9])
    dynamic = write(tmp_path / "dynamic.onnx", outputs, ["n", 3, "h", "w"])
    assert detect_boxes(dynamic, 400, 300)[0] == pytest.approx([*BOX, 0.9])
    without_landmarks = {name: outputs[name] for name in ("537", "538", "539")}
    assert len(detect_boxes(write(tmp_path / "bare.onnx", without_landmarks, ["n", 3, "h", "w"]), 400, 300)) == 1


@pytest.mark.parametrize("relative", [False, True])
def test_ultralight_is_decoded(tmp_path, relative):
    """The picture is stretched to 320x240. Boxes are either fractions of the sides or relative to priors."""
    path = write(tmp_path / "ultra.onnx", ultra_light(relative=relative), [1, 3, 240, 320])
    (face,) = detect_boxes(path, 640, 960)
    assert face == pytest.approx([BOX[0] * 2, BOX[1] * 4, BOX[2] * 2, BOX[3] * 4, 0.9], rel=1e-4)
    reordered = dict(reversed(ultra_light(relative=relative).items()))
    assert len(detect_boxes(write(tmp_path / "boxes_first.onnx", reordered, [1, 3, 240, 320]), 320, 240)) == 1


def test_the_second_search_adds_a_black_border(tmp_path):
    """The network finds a face only if the corner of its input is black. The picture is white, and the border black."""
    outputs = yunet(640, 640)
    path = write(tmp_path / "yunet.onnx", outputs, [1, 3, 640, 640])
    model = onnx.load(path)
    # The score becomes the difference of the input's centre and corner. Without a border both are white, so it is 0.
    corner = [
        ("starts", [0, 0, 0, 0]),
        ("ends", [1, 1, 1, 1]),
        ("middle", [0, 0, 320, 320]),
        ("after", [1, 1, 321, 321]),
    ]
    model.graph.initializer.extend(numpy_helper.from_array(np.array(value), name) for name, value in corner)
    model.graph.initializer.append(numpy_helper.from_array(np.array(255, np.float32), "white"))
    for name in ("cls_8", "cls_16", "cls_32"):
        (node,) = (node for node in model.graph.node if node.output[0] == name)
        node.op_type, node.input[1] = "Mul", "difference"
    nodes = [
        helper.make_node("Slice", ["input", "starts", "ends"], ["corner"]),
        helper.make_node("Slice", ["input", "middle", "after"], ["centre"]),
        helper.make_node("Sub", ["centre", "corner"], ["contrast"]),
        helper.make_node("Div", ["contrast", "white"], ["fraction"]),
        helper.make_node("ReduceMax", ["fraction"], ["difference"], keepdims=0),
    ]
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(nodes + kept)
    onnx.save(model, path)
    (face,) = load_detector(path, threads=1)(np.full((640, 640, 3), 255, np.uint8))
    border, shrink = 512, 640 / (640 + 2 * 512)
    assert face[:4] == pytest.approx([edge / shrink - border for edge in BOX])


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({"logits": np.zeros((1, 1000))}, "logits 1x1000"),
        ({"boxes": np.zeros((1, 100, 4)), "scores": np.zeros((1, 100, 91))}, "scores 1x100x91"),
        ({f"layer{number}": np.zeros(1) for number in range(30)}, "18 more"),
    ],
)
def test_unknown_networks_are_refused_before_a_picture_is_read(tmp_path, outputs, words):
    """predict ends with exit 5. The message names the outputs of the file and the supported detectors."""
    path = write(tmp_path / "other.onnx", outputs, [1, 3, 64, 64])
    result = CliRunner().invoke(app, ["predict", str(tmp_path / "none.png"), "--face-model", str(path)])
    assert result.exit_code == 5
    message = " ".join(result.stderr.split())
    for part in ("other.onnx", words, "BlazeFace", "YuNet", "CenterFace", "Ultra-Light"):
        assert part in message


def test_out_of_memory_is_not_blamed_on_the_face_model(tmp_path, monkeypatch):
    """The caller knows what option to lower."""
    detect = load_detector(write(tmp_path / "u.onnx", ultra_light(relative=False), [1, 3, 240, 320]), threads=1)

    def fill(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(onnxruntime.InferenceSession, "run", fill)
    with pytest.raises(MemoryError):
        detect(np.zeros((240, 320, 3), np.uint8))


@pytest.mark.parametrize("kind", ["ultra-light", "yunet"])
def test_outputs_for_another_input_size_raise_a_model_error(tmp_path, kind):
    """The number of boxes fits another input size, or no input size at all."""
    unfit = {**yunet(640, 640), "bbox_16": np.zeros((1, 100, 4))}
    outputs = unfit if kind == "yunet" else ultra_light(relative=True)
    path = write(tmp_path / "other_size.onnx", outputs, [1, 3, 480, 640])
    with pytest.raises(ModelError, match="fails on 640x480"):
        detect_boxes(path, 640, 480)
