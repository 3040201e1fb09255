"""`Predictor` in Python: every kind of input, and results in order while inputs still arrive."""

from __future__ import annotations

import inspect
import io
import itertools
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify import Predictor, find_pictures
from emotify.cli import app
from emotify.data import Split
from emotify.emotions import EMOTIONS
from emotify.errors import InputError, ModelError, UsageError
from emotify.machine import available_cpus
from emotify.onnx_runtime import session
from emotify.onnx_runtime.classifier import open_session
from emotify.opening import ASSETS, packaged_models, resolve
from emotify.prediction.reading_ahead import map_in_order
from emotify.prediction.results import columns

pytestmark = pytest.mark.versions


@pytest.fixture(scope="module")
def predictor(small_model) -> Predictor:
    return Predictor(small_model, threads=2)


@pytest.fixture(scope="module")
def pixels(faces) -> np.ndarray:
    """Return one drawn face, grey, uint8 (48, 48)."""
    return np.asarray(faces[Split.VALID].images[33, 0])


@pytest.fixture(scope="module")
def png(pixels, tmp_path_factory) -> Path:
    path = Path(tmp_path_factory.mktemp("face")) / "face.png"
    Image.fromarray(pixels).save(path)
    return path


def test_every_kind_of_picture_gets_the_same_answer(predictor, png, pixels):
    """A path, string, bytes, open file, array or Pillow image, alone and among others."""
    with png.open("rb") as file, Image.open(png) as image:
        sources = [png, str(png), png.read_bytes(), io.BytesIO(png.read_bytes()), file, pixels, image,
                   np.stack([pixels] * 3, axis=-1), Image.fromarray(pixels).convert("RGBA")]  # fmt: skip
        results = list(predictor.predict(sources))
        single = [predictor.predict(source) for source in (png, str(png), png.read_bytes(), pixels, image)]
    assert [str(result.path) for result in results] == [
        str(png), str(png), "<bytes>", "<BytesIO>", str(png), "<ndarray>", str(png), "<ndarray>", "<Image>"
    ]  # fmt: skip
    for result in (*results, *single):
        assert (result.status, result.width, result.height) == ("ok", 48, 48)
        (face,) = result.faces
        assert (face.box, face.detection) == ((0, 0, 48, 48), None)
        assert face.probabilities == pytest.approx(results[0].faces[0].probabilities, abs=1e-6)
        assert face.label == EMOTIONS[int(np.argmax(face.probabilities))]
        assert face.probability == max(face.probabilities)


def test_photographs_in_memory_and_on_disk_get_the_same_answer(shared, small_model):
    predictor = Predictor(small_model, threads=1)
    path = shared / "photos/sk_astronaut.jpg"
    image = Image.open(path)
    on_disk, pixels, opened = predictor.predict([path, np.asarray(image), image])
    assert on_disk.faces[0].detection
    assert on_disk.faces == pixels.faces == opened.faces


@pytest.mark.parametrize(
    ("source", "status"),
    [
        (np.zeros((48, 48), np.float32), "unsupported"),
        (np.zeros((48, 48, 4), np.uint8), "unsupported"),
        (np.zeros((0, 48), np.uint8), "corrupt"),
        (np.zeros((8, 8), np.uint8), "too_small"),
        (np.zeros((20, 900), np.uint8), "bad_aspect"),
        (Image.new("L", (8, 8)), "too_small"),
        (b"", "empty"),
        (b"no picture", "not_an_image"),
        ("none.png", "not_found"),
        (os.devnull, "not_regular"),
    ],
)
def test_an_unreadable_picture_does_not_stop_the_others(predictor, png, source, status):
    bad, good = predictor.predict([source, png])
    assert (bad.status, good.status) == (status, "ok")
    assert bad.message
    assert not bad.faces


def test_an_opened_image_that_cannot_be_decoded_is_corrupt(predictor, png):
    """Pillow decodes an image lazily, so damage can appear late. The caller's image is not downscaled either."""
    assert predictor.predict(Image.open(io.BytesIO(png.read_bytes()[:-200]))).status == "corrupt"
    buffer = io.BytesIO()
    Image.new("L", (6000, 4000)).save(buffer, "JPEG")
    image = Image.open(buffer)
    predictor.predict(image)
    assert image.size == (6000, 4000)


@pytest.mark.parametrize("wrong", [None, 7, io.StringIO("text")])
def test_an_unsupported_input_type_is_a_type_error(predictor, wrong):
    """A programming error is not a status. The message names the accepted types."""
    with pytest.raises(TypeError, match="give a path"):
        list(predictor.predict([wrong]))


def test_a_folder_gives_the_results_of_its_pictures(predictor, png, pixels, tmp_path):
    """A folder works alone and in a list, as a string or a Path. A folder without pictures gives no results."""
    folder = png.parent
    for given in (folder, str(folder), [folder], find_pictures([folder])):
        assert [result.path for result in predictor.predict(given)] == [png]
    assert [str(result.path) for result in predictor.predict([pixels, folder])] == ["<ndarray>", str(png)]
    assert list(predictor.predict(tmp_path)) == []


def test_a_single_result_can_be_iterated(predictor, png):
    """Code written for a folder also works for a single file."""
    result = predictor.predict(png)
    assert list(result) == [result]


def test_a_result_is_available_as_text_rows_and_json(predictor, png, shared):
    """`str`, `rows` and `to_dict` agree for a picture with a face, without a face, and for an unreadable file."""
    face, none, failed = predictor.predict([png, np.full((200, 200), 90, np.uint8), "none.png"])
    (found,) = face.faces
    assert str(face) == f"{png}: 1 face: {found.label} {found.probability:.0%}"
    assert str(none) == "<ndarray>: no face"
    assert str(failed) == "none.png: not_found: no such file: check the path"
    rows = [row for result in (face, none, failed) for row in result.rows()]
    assert len(rows) == 3
    assert {tuple(row) for row in rows} == {columns()}
    first, second, third = rows
    assert [first[name] for name in ("path", "status", "face", "x0", "y1", "label")] == [
        str(png), "ok", 1, 0, 48, found.label
    ]  # fmt: skip
    assert [first[name] for name in EMOTIONS] == list(found.probabilities)
    assert (second["label"], second["width"]) == (None, 200)
    assert (third["status"], third["message"], third["width"]) == ("not_found", failed.message, None)
    assert face.to_dict()["faces"][0]["probability"] == round(first["probability"], 4)
    assert json.loads(json.dumps(failed.to_dict()))["status"] == "not_found"
    assert face.rows(top=2)[0]["label_2"] == found.ranked()[1][0]


def test_a_result_draws_its_picture(predictor, png, pixels):
    """The result of a file reads the file again. Any other result needs the picture, and the error says so."""
    result = predictor.predict(png)
    drawn = result.draw()
    assert (drawn.mode, drawn.size) == ("RGB", (240, 240))
    assert drawn.tobytes() == predictor.predict(pixels).draw(pixels).tobytes()
    with pytest.raises(InputError, match=r"result\.draw\(picture\)"):
        predictor.predict(pixels).draw()
    with pytest.raises(InputError, match="no such file"):
        predictor.predict("none.png").draw()


def test_a_pickled_predictor_opens_its_model_again(small_model, png, tmp_path, monkeypatch):
    """Another process in another working folder can load it, although the model has a relative path."""
    monkeypatch.chdir(small_model.parent)
    predictor = Predictor(small_model.name, threads=2, min_confidence=0.9)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).predict(sys.argv[1]))"
    given = pickle.dumps(predictor)
    shown = subprocess.run(
        [sys.executable, "-c", code, png], input=given, capture_output=True, check=True, cwd=tmp_path
    )
    assert shown.stdout.decode() == f"{predictor.predict(png)}\n"
    monkeypatch.chdir(tmp_path)
    packaged = Predictor("fast", threads=1)
    assert pickle.loads(pickle.dumps(packaged)).predict(png) == packaged.predict(png)


def test_leaving_the_context_closes_the_model(small_model, png):
    """A prediction after the context opens the model again."""
    with Predictor(small_model, threads=1) as predictor:
        session = predictor.session
        before = predictor.predict(png)
    assert predictor.predict(png) == before
    assert predictor.session is not session


def test_a_predictor_uses_the_threads_it_is_given(small_model, monkeypatch):
    """An argument overrides OMP_NUM_THREADS."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1,2")
    assert (Predictor(small_model).threads, Predictor(small_model, threads=3).threads) == (1, 3)
    for nonsense in ("many", "0", ""):
        monkeypatch.setenv("OMP_NUM_THREADS", nonsense)
        assert Predictor(small_model).threads == available_cpus() >= 1


def test_frames_have_a_time_and_their_faces_a_track(predictor, pixels):
    """`predict_frames` takes an array of frames. A face that overlaps the previous one keeps its track."""
    results = list(predictor.predict_frames(np.stack([pixels] * 3), seconds=0.04))
    assert [result.time for result in results] == [0, 0.04, 0.08]
    assert [[face.track for face in result.faces] for result in results] == [[1]] * 3
    assert results[2].to_dict()["time"] == 0.08
    assert results[2].to_dict()["faces"][0]["track"] == 1
    assert results[2].rows()[0]["track"] == 1
    assert str(results[2]).startswith("<frame> at 0.08 s: 1 face: ")


def test_help_documents_every_argument():
    """`help(Predictor)` documents every argument."""
    documented = str(inspect.getdoc(Predictor))  # Python 3.13 removes the indent of docstrings itself
    for name in list(inspect.signature(Predictor).parameters):
        assert f"\n{name}: " in documented, name
    assert Predictor.classes == EMOTIONS


def test_threads_and_other_pictures_do_not_change_an_answer(small_model, faces):
    """1 or 4 threads, alone or among 70 pictures: the same order and labels, and probabilities within 1e-5."""
    images = list(faces[Split.VALID].images[:, 0])
    answers = [
        [result.faces[0] for result in Predictor(small_model, threads=threads).predict(images)] for threads in (1, 4)
    ]
    alone = Predictor(small_model, threads=1)
    answers.append([alone.predict(image).faces[0] for image in images])
    for other in answers[1:]:
        assert [face.label for face in other] == [face.label for face in answers[0]]
        scores, others = (np.array([face.probabilities for face in some]) for some in (answers[0], other))
        assert np.abs(scores - others).max() < 1e-5


def test_pictures_from_a_camera_get_results_while_it_runs(predictor, pixels):
    """When pictures arrive slowly, only a few have no result yet, however fast the first ones arrived."""
    answered = behind = 0

    def camera() -> Iterator[np.ndarray]:
        nonlocal behind
        for number in itertools.count():
            if number >= 200:
                time.sleep(0.01)
            if number >= 220:  # the earlier pictures have their results by now
                behind = max(behind, number - answered)
            yield pixels

    for result in predictor.predict(camera()):
        assert result.ok
        answered += 1
        if answered == 260:
            break
    assert behind <= 4 * 2


def test_waiting_is_called_between_results(predictor, pixels):
    """A writer can flush in `waiting`, and not after every result."""
    calls: list[int] = []
    results = list(predictor.predict([pixels] * 300, waiting=lambda: calls.append(1)))
    assert len(results) == 300
    assert 1 <= len(calls) < 300


@pytest.mark.parametrize("threads", [1, 3])
def test_reading_ahead_is_bounded_and_keeps_the_order(threads):
    """The input may be endless, and items may finish in any order."""
    taken = itertools.count()

    def items() -> Iterator[int]:
        while True:
            yield next(taken)

    stream = map_in_order(lambda item: item, items(), threads=threads, ahead=4)
    seen = list(itertools.chain.from_iterable(itertools.islice(stream, 200)))
    stream.close()
    assert seen == list(range(len(seen)))
    assert next(taken) - len(seen) <= 4 * 32


@pytest.fixture
def forever() -> Iterator[threading.Event]:
    """Return an event that threads can wait for. It is set at the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def test_an_item_that_hangs_is_answered_and_the_others_follow(forever):
    """The items of its task that come after it go to another thread."""
    stream = map_in_order(
        lambda item: forever.wait() if item == 150 else item,
        range(300), threads=2, ahead=4, timeout=0.1, late=lambda item: -item,
    )  # fmt: skip
    assert list(itertools.chain.from_iterable(stream)) == [-item if item == 150 else item for item in range(300)]


def test_too_many_items_that_hang_are_an_input_error(forever):
    """Each keeps a thread and perhaps a large picture, so their number is limited."""
    late: list[int] = []
    with pytest.raises(InputError, match="more than 32 pictures could not be read in time; check the disk"):
        list(map_in_order(lambda _: forever.wait(), range(40), threads=1, ahead=2, timeout=0.01, late=late.append))
    assert late == list(range(33))


def test_too_little_memory_to_find_faces_is_a_status(small_model, png, pixels, monkeypatch):
    """The other pictures are still predicted."""

    def fill(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image.Image, "reduce", fill)
    large = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    results = list(Predictor(small_model, threads=1).predict([large, png]))
    assert [result.status for result in results] == ["memory", "ok"]
    assert "make it smaller" in results[0].message


def test_errors_in_worker_threads_reach_the_caller():
    with pytest.raises(ZeroDivisionError):
        list(map_in_order(lambda item: 1 // item, [1, 0, 1], threads=1, ahead=2))


def test_packaged_models_are_found_by_name(tmp_path, monkeypatch):
    """`--model default` works. The error for an unknown name lists the choices."""
    monkeypatch.chdir(tmp_path)
    assert packaged_models()["default"] == resolve("default").path == ASSETS / "model.onnx"
    message = "best does not exist; name an .onnx file, default or fast"
    with pytest.raises(ModelError, match=message):
        Predictor("best")
    shown = CliRunner().invoke(app, ["predict", ".", "--model", "best"])
    assert shown.exit_code == 5
    assert message in shown.stderr


def test_a_gpu_computes_in_float32(monkeypatch):
    """onnxruntime would prefer TF32, which is less exact than the 1e-4 that export checks."""
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr("onnxruntime.preload_dlls", lambda: None, raising=False)
    cuda = ("CUDAExecutionProvider", {"device_id": "1", "use_tf32": "0"})
    assert session._providers("cuda:1") == [cuda, "CPUExecutionProvider"]


def test_output_of_onnxruntime_goes_to_stderr(monkeypatch, capsys):
    """onnxruntime-gpu prints to standard output if CUDA does not start. The text goes to standard error."""
    from onnxruntime import InferenceSession

    def start(*given: object, **named: object) -> InferenceSession:
        print("*** EP Error ***")  # noqa: T201 - as onnxruntime does
        return InferenceSession(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr("onnxruntime.InferenceSession", start)
        patch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
        patch.setattr(session, "_providers", lambda _: ["CPUExecutionProvider"])
        open_session(packaged_models()["fast"], device="auto")
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", "*** EP Error ***\n")


def test_out_of_memory_is_not_blamed_on_the_model():
    """Python's MemoryError reaches the caller, which knows what option to lower."""

    class Full:
        def run(self, *_: object) -> None:
            raise MemoryError

    with pytest.raises(MemoryError):
        session.run_model(Full(), ["probabilities"], {}, name="model.onnx")


def test_a_missing_gpu_is_reported():
    """Exit 8 names the package to install. An unknown device is exit 2."""
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("onnxruntime-gpu is installed")
    shown = CliRunner().invoke(app, ["predict", str(ASSETS), "--device", "cuda"])
    assert shown.exit_code == 8
    assert "onnxruntime-gpu" in shown.stderr
    assert CliRunner().invoke(app, ["predict", str(ASSETS), "--device", "tpu"]).exit_code == 2
    with pytest.raises(UsageError, match="choose from"):
        Predictor(device="tpu")
    with pytest.raises(UsageError, match="choose from"):
        Predictor(faces="hole")  # type: ignore[arg-type]
