"""Video clips: rows with times and tracks, pages, annotated copies, and statuses of damaged clips."""

from __future__ import annotations

import csv
import json
import os
import runpy
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from emotify import Predictor
from emotify.cli import app
from emotify.errors import UnavailableError
from emotify.pictures.reading import Failure
from emotify.prediction.faces import FaceResult
from emotify.prediction.outputs.clips import faces_between
from emotify.prediction.results import PictureResult
from emotify.prediction.video import all_frames, clip_frames, frames_at
from emotify.reports.names import clock
from tests.faults import command, under_strace

pytest.importorskip("av", reason="clips need PyAV")

CLIPS = runpy.run_path(str(Path(__file__).parents[1] / "clips.py"))
draw_frames: Callable[..., Iterator[np.ndarray]] = CLIPS["draw_frames"]
write_clip: Callable[..., Path] = CLIPS["write_clip"]


def predict(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["predict", *map(str, words), "--model", "fast", "--threads", "1"])
    assert result.exit_code == code, result.output
    return result


def pixels_of(path: Path, *, every: float = 0) -> list[np.ndarray]:
    """Return the frames of an undamaged clip."""
    contents = [frame.content for frame in clip_frames(path, every=every)]
    pixels = [content for content in contents if isinstance(content, np.ndarray)]
    assert len(pixels) == len(contents), contents[-1]
    return pixels


def status_of(path: Path) -> str:
    """Return the status of a clip that has no readable frame."""
    (only,) = clip_frames(path)
    assert isinstance(only.content, Failure)
    return only.content.status


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Write a clip of four seconds with two people.

    The first is happy, then sad. The second is surprised, and absent in the last second.
    """
    frames = draw_frames(["happy", "happy", "sad", "sad"], ["surprise", "surprise", "surprise", ""], side=160)
    return write_clip(Path(tmp_path_factory.mktemp("clips")) / "two.mp4", frames)


def test_rows_of_a_clip_have_times_and_tracks(clip, tmp_path):
    """There is one row per face and frame. JSON lines, CSV and Parquet have the same times, tracks and labels."""
    outputs = ("--csv", tmp_path / "a.csv", "--parquet", tmp_path / "a.parquet")
    lines = [json.loads(line) for line in predict(clip, "--jsonl", "--every", "1", *outputs).stdout.splitlines()]
    assert [line["time"] for line in lines] == [0, 1, 2, 3]
    assert {(line["path"], line["status"], line["width"], line["height"]) for line in lines} == {
        (str(clip), "ok", 320, 160)
    }
    seen = [(line["time"], face["track"], face["label"]) for line in lines for face in line["faces"]]
    assert sorted(seen) == [
        (0, 1, "happy"), (0, 2, "surprise"), (1, 1, "happy"), (1, 2, "surprise"), (2, 1, "sad"), (2, 2, "surprise"),
        (3, 1, "sad"),
    ]  # fmt: skip
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = [(float(row["time"]), int(row["track"]), row["label"]) for row in csv.DictReader(file)]
    assert rows == seen
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(tmp_path / "a.parquet").to_pylist()
    assert [(row["time"], row["track"], row["label"]) for row in table] == seen


def test_every_sets_the_time_between_frames(clip):
    """`--every 0` reads all frames. If no frame has the exact time, the next frame is read."""
    times = [frame.time for frame in clip_frames(clip, every=0)]
    assert times == pytest.approx([number / 10 for number in range(40)])
    assert [frame.time for frame in clip_frames(clip, every=0.75)] == pytest.approx([0, 0.8, 1.5, 2.3, 3.0, 3.8])
    assert [frame.time for frame in clip_frames(clip)] == pytest.approx([number / 2 for number in range(8)])
    assert len(list(Predictor("fast", threads=1).predict_video(clip, every=2))) == 2


def test_a_clip_between_pictures_keeps_its_position(clip, class_folder, tmp_path):
    """The output has the order of the input. Pictures and frames are counted separately."""
    picture = next(class_folder.rglob("*.png"))
    shown = predict(picture, clip, picture, "--every", "2", "--jsonl")
    assert [json.loads(line).get("time") for line in shown.stdout.splitlines()] == [None, 0, 2, None]
    assert "2 pictures, 2 frames, " in shown.stderr
    assert predict(clip, "--every", "4").stdout.startswith(f"{clip} at 0.00 s\thappy\t")


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mov", "mpeg4"), ("a.mkv", "libx264"), ("a.webm", "vp9"), ("a.avi", "mpeg4"), ("a.mpg", "mpeg1video")],
)
def test_common_container_formats_are_read(name, codec, tmp_path):
    path = write_clip(tmp_path / name, draw_frames(["happy"], side=160, each=25), rate=25, codec=codec)
    assert [frame.time for frame in clip_frames(path)] == pytest.approx([0, 0.5], abs=0.05)
    assert [frame.shape for frame in pixels_of(path)] == [(160, 160, 3)] * 25


def test_rotation_and_pixel_aspect_ratio_are_applied(tmp_path):
    """The rotation matrix of an MP4 file turns its frames upright. Non-square pixels become square."""
    frames = [np.full((64, 96, 3), 40, np.uint8)] * 5
    for pixels in frames:
        pixels[:, :48] = 220  # bright on the left
    path = write_clip(tmp_path / "a.mp4", frames)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 44
    turned = [0, 1 << 16, 0, -1 << 16, 0, 0, 0, 0, 1 << 30]  # a quarter turn, clockwise
    content[matrix : matrix + 36] = b"".join(number.to_bytes(4, "big", signed=True) for number in turned)
    path.write_bytes(content)
    upright = pixels_of(path)[0]
    assert upright.shape == (96, 64, 3)
    assert upright[:40].mean() > 200 > 60 > upright[-40:].mean()  # the left side is now the top
    for codec in ("libx264", "libvpx-vp9"):  # VP9 has no aspect ratio of its own, only the container has
        stretched = write_clip(tmp_path / "b.mp4", frames, aspect=Fraction(3, 2), codec=codec)
        assert pixels_of(stretched)[0].shape == (64, 144, 3)


@pytest.mark.parametrize(
    ("aspect", "status"), [((60_000, 1), "too_large"), ((100, 1), "bad_aspect"), ((1, 60_000), "corrupt")]
)
def test_an_absurd_pixel_aspect_ratio_is_a_status(aspect, status, tmp_path):
    """No frame is stretched to gigabytes."""
    path = write_clip(tmp_path / "a.mp4", [np.full((64, 96, 3), 40, np.uint8)] * 5, aspect=Fraction(2))
    content = bytearray(path.read_bytes())
    place = content.index(b"pasp") + 4
    content[place : place + 8] = struct.pack(">II", *aspect)
    path.write_bytes(content)
    assert status_of(path) == status
    assert not list(all_frames(path))
    assert not list(frames_at(path, [0.0]))


def damaged(clip: Path, folder: Path) -> dict[str, tuple[bytes, str]]:
    """Return the contents of damaged clips by file name, each with its expected status."""
    content = clip.read_bytes()
    streamable = write_clip(
        folder / "x.mp4", draw_frames(["happy", "sad"] * 4, side=160), options={"movflags": "faststart"}
    )
    index_first = streamable.read_bytes()
    holed = bytearray(index_first)
    holed[len(holed) // 2 : len(holed) // 2 + 600] = b"\xa5" * 600
    media = index_first.index(b"mdat") + 4
    (picture,) = list(CLIPS["SAMPLES"].glob("happy.jpg"))
    playlist = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n"
    return {
        "none.mp4": (b"", "empty"),
        "cut.mp4": (content[:-400], "truncated"),  # without the index at its end
        "short.mp4": (index_first[: len(index_first) // 2], "truncated"),
        "holed.mp4": (bytes(holed), "corrupt"),
        "blank.mp4": (index_first[:media].ljust(len(index_first), b"\xa5"), "corrupt"),
        "codec.mp4": (content.replace(b"avc1", b"?vc1"), "unsupported"),
        "text.mkv": (b"no clip\n" * 99, "not_an_image"),
        "picture.mov": (picture.read_bytes(), "not_an_image"),
        "playlist.ts": (playlist, "not_an_image"),
        "list.mp4": (b"ffconcat version 1.0\nfile two.mp4\n", "not_an_image"),
        "zeros.avi": (bytes(5000), "not_an_image"),
    }


def test_damaged_clips_get_a_status_and_do_not_stop_others(clip, tmp_path):
    """The decodable frames come first, then the status. Files named in a playlist are not opened."""
    cases = damaged(clip, tmp_path)
    for name, (content, _) in cases.items():
        (tmp_path / name).write_bytes(content)
    names = [tmp_path / name for name in cases]
    shown = predict(*names, tmp_path / "gone.mp4", clip, "--jsonl", code=3)
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    last = {Path(line["path"]).name: line for line in lines}
    assert {name: line["status"] for name, line in last.items()} == {
        **{name: status for name, (_, status) in cases.items()}, "gone.mp4": "not_found", "two.mp4": "ok"
    }  # fmt: skip
    assert all(line["message"] for line in lines if line["status"] != "ok")
    read = [line for line in lines if line["path"].endswith("short.mp4")]
    assert 3 <= len(read) < 15
    assert all(line["status"] == "ok" for line in read[:-1])
    assert read[-1]["time"] >= read[-2]["time"]
    assert "of 7.9 s" in read[-1]["message"] or "of 8.0 s" in read[-1]["message"]
    assert last["blank.mp4"]["message"].startswith("no frame can be decoded")
    assert last["codec.mp4"]["message"].startswith("its codec is unknown to FFmpeg")


def broadcast(path: Path, *, streams: int, frames: int, side: int) -> bytes:
    """Return an MPEG transport stream of noise, with one video stream or more."""
    import av
    from av.video.stream import VideoStream

    with av.open(str(path), "w") as clip:
        videos = [clip.add_stream("mpeg2video", rate=25, options={"q": "1"}) for _ in range(streams)]
        for video in videos:
            assert isinstance(video, VideoStream)
            video.width = video.height = side
            video.pix_fmt, video.bit_rate = "yuv420p", 10**8
        for noise in np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), np.uint8):
            for video in videos:
                clip.mux(video.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        for video in videos:
            clip.mux(video.encode())
    return path.read_bytes()


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """Write a clip of 5 MB, whose second stream begins after four seconds. It is not found when the clip is opened."""
    path = Path(tmp_path_factory.mktemp("recordings")) / "late.ts"
    sizes = ((1, 100, 192), (2, 3, 64), (1, 100, 64))
    parts = [broadcast(path, streams=streams, frames=frames, side=side) for streams, frames, side in sizes]
    path.write_bytes(b"".join(parts))
    return path


def test_a_stream_that_begins_later_does_not_end_the_command(recording):
    """A recording of a broadcast may have such a stream. All frames of the first one are read."""
    assert len(pixels_of(recording)) >= 200


@pytest.mark.parametrize("reads", [60, 140])
def test_a_disk_that_fails_within_a_clip_is_named_as_the_reason(reads, recording, tmp_path):
    """The message does not say that the clip is damaged. It is exit 4 if no frame could be read before, else 3."""
    faults = ("-o", tmp_path / "calls", "-P", recording, "-e", "trace=read,lseek", "-e")
    program = under_strace(*faults, f"inject=read:error=EIO:when={reads}+")
    shown = command("predict", recording, "--model", "fast", "--jsonl", program=program)
    last = json.loads(shown.stdout.splitlines()[-1])
    assert (shown.code, last["status"]) == (3 if "time" in last else 4, "corrupt")
    assert last["message"].startswith("cannot be read from the disk")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that cannot be read, on Linux")
def test_a_clip_on_a_failing_disk_is_corrupt(clip, tmp_path):
    """The first bytes of /proc/self/mem give an input/output error, like a broken disk. Other clips are still read."""
    (tmp_path / "broken.mp4").symlink_to("/proc/self/mem")
    shown = predict(tmp_path / "broken.mp4", clip, "--jsonl", code=3)
    rows = [json.loads(line) for line in shown.stdout.splitlines()]
    assert (rows[0]["status"], rows[-1]["status"]) == ("corrupt", "ok")
    assert "cannot be read from the disk" in rows[0]["message"]


def test_a_damaged_clip_without_packets_gives_no_frames(tmp_path):
    """FFmpeg refuses to seek in it."""
    path = write_clip(tmp_path / "a.avi", draw_frames(["happy"], side=64), codec="mpeg4")
    path.write_bytes(path.read_bytes().replace(b"00dc", b"zzzz"))
    assert list(frames_at(path, [0.5])) == []


def test_audio_files_and_tiny_frames_get_a_status(tmp_path):
    import av

    with av.open(str(tmp_path / "sound.mp4"), "w") as file:
        stream = file.add_stream("aac", rate=8000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.rate = 8000
        file.mux(stream.encode(silence))
        file.mux(stream.encode())
    assert status_of(tmp_path / "sound.mp4") == "not_an_image"
    tiny = write_clip(tmp_path / "tiny.mkv", [np.zeros((10, 10, 3), np.uint8)] * 9, codec="ffv1")
    assert status_of(tiny) == "too_small"


def test_a_missing_pyav_is_reported_with_the_install_command(clip, class_folder):
    """Exit 8 before any work. Pictures do not need PyAV."""
    code = (
        "import sys\nsys.modules['av'] = None\nfrom emotify.cli import app\n"
        "try: app(['predict', *sys.argv[1:], '--model', 'fast'])\nexcept SystemExit as end: sys.exit(end.code)"
    )
    picture = next(class_folder.rglob("*.png"))

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", code, *map(str, words)], capture_output=True, text=True)

    shown = run(picture, clip)
    assert (shown.returncode, shown.stdout) == (8, "")
    assert "pip install av" in shown.stderr
    assert run(picture).returncode == 0


def test_a_missing_pyav_is_reported_in_python_too(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(UnavailableError, match="pip install av"):
        Predictor("fast", threads=1).predict_video(clip)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("0", "record a clip"),
        ("/dev/video0", "record a clip"),
        ("rtsp://camera/stream", "ffmpeg -i rtsp://camera/stream -t 60 clip.mp4"),
        ("https://example.org/a.mp4", "download the clip"),
        ("https://example.org/live.m3u8", "download the clip"),
    ],
)
def test_cameras_and_urls_are_refused(word, expected, tmp_path, monkeypatch):
    """One line says what to do instead. An existing file with such a name is read as a file."""
    monkeypatch.chdir(tmp_path)
    shown = predict(word, code=2)
    assert expected in shown.stderr
    assert len(shown.stderr.splitlines()) == 1
    Path("0").write_bytes(b"")
    assert "empty" in predict("0", code=4).stdout


def test_clips_in_folders_are_skipped_with_a_warning(clip, class_folder, tmp_path):
    """A folder of pictures with clips in it does not need PyAV. The warning explains how to read the clips."""
    (tmp_path / "a.png").write_bytes(next(class_folder.rglob("*.png")).read_bytes())
    os.link(clip, tmp_path / "a.mp4")
    shown = predict(tmp_path, "--jsonl")
    assert len(shown.stdout.splitlines()) == 1
    assert "1 video clip inside folders was skipped; name clips to read them" in shown.stderr


@pytest.mark.parametrize("options", [["--append", "--jsonl-file", "a.jsonl"], ["--explain", "why"]])
def test_options_for_pictures_refuse_clips(options, clip, tmp_path, monkeypatch):
    """This holds for clips on the command line and in a list. Nothing is written."""
    monkeypatch.chdir(tmp_path)
    assert "works on pictures" in predict(clip, *options, code=2).stderr
    Path("list.txt").write_text(f"{clip}\n")
    assert "works on pictures" in predict("--files-from", "list.txt", *options, code=2).stderr


def test_the_annotated_copy_of_a_clip_has_moving_boxes(clip, tmp_path):
    """The copy has the same frames and times. Boxes move with the faces. Only --force replaces a copy."""
    predict(clip, "--annotate", tmp_path, "--every", "1")
    copy = tmp_path / "two.mp4"
    times = [[frame.time for frame in clip_frames(path, every=0)] for path in (clip, copy)]
    assert times[0] == pytest.approx(times[1], abs=1e-3)
    for before, after in zip(pixels_of(clip), pixels_of(copy), strict=True):
        changed = np.abs(before.astype(int) - after).max(axis=-1) > 60
        assert before.shape == after.shape
        assert changed[20:140, 15:140].mean() > 0.03  # the box of the face that is in every frame
    assert "already exists" in predict(clip, "--annotate", tmp_path, code=6).stderr
    predict(clip, "--annotate", tmp_path, "--every", "2", "--force")
    assert "--annotate" in predict(copy, "--annotate", tmp_path, "--force", code=2).stderr


def test_the_annotated_copy_of_a_small_clip_is_enlarged(tmp_path):
    """Labels would not be readable otherwise."""
    frames = [np.full((40, 60, 3), 128, np.uint8)] * 8
    predict(write_clip(tmp_path / "small.mp4", iter(frames)), "--annotate", tmp_path / "out")
    sizes = {frame.shape for frame in pixels_of(tmp_path / "out" / "small.mp4")}
    assert sizes == {(40 * 4, 60 * 4, 3)}


@pytest.mark.parametrize("between", [[], ["0.png"]], ids=["at once", "later"])
def test_a_clip_that_is_named_twice_has_one_copy(between, clip, class_folder, tmp_path):
    """Each frame has two rows, and the copy looks like that of the clip named once."""
    predict(clip, "--annotate", tmp_path / "once")
    named = [clip, *(class_folder / "happy" / name for name in between), clip]
    result = predict(*named, "--annotate", tmp_path / "twice", "--jsonl")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    times = [row["time"] for row in rows if row["path"] == str(clip)]
    assert times == sorted(set(times)) * 2
    assert "1 annotated clip to" in result.stderr
    (copy,) = (tmp_path / "twice").rglob("*.mp4")
    for first, second in zip(pixels_of(tmp_path / "once" / "two.mp4"), pixels_of(copy), strict=True):
        assert np.abs(first.astype(int) - second).mean() < 1  # the encoder's threads make small differences


def test_boxes_are_interpolated_between_classified_frames():
    sure = (0.1, 0.1, 0.1, 0.4, 0.1, 0.1, 0.1)
    here, there = (FaceResult((edge, 0, edge + 10, 10), 0.9, sure, track=1) for edge in (0, 20))
    other = FaceResult((90, 0, 99, 10), 0.9, sure, track=2)
    before = PictureResult(Path("a.mp4"), "ok", faces=(here, other), time=1.0)
    after = PictureResult(Path("a.mp4"), "ok", faces=(there,), time=3.0)
    assert [face.box for face in faces_between(before, after, 1.5)] == [(5, 0, 15, 10), other.box]
    assert faces_between(None, after, 0.5) == ()


def test_the_page_has_a_timeline_for_each_face(clip, tmp_path):
    """It shows the expressions in order. Only --thumbnails adds pictures of faces."""
    page = tmp_path / "a.html"
    predict(clip, "--report", page)
    text = page.read_text()
    assert "<h1>1 clip (8 frames, 2 followed faces), 14 faces in all</h1>" in text
    assert text.count("<svg") == 2
    first = text.partition("<b>face 1</b>")[2].partition("</li>")[0]
    assert "0:00 to 0:04" in first
    assert first.index("happy 50%") < first.index("sad 50%")
    titles = [title.partition("</title>")[0] for title in first.split("<title>")[1:]]
    assert [title.split()[1] for title in titles] == sorted(title.split()[1] for title in titles)
    assert "data:image" not in text
    predict(clip, "--report", page, "--thumbnails", "--force")
    assert page.read_text().count("data:image/jpeg") == 2


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0:00"), (3.5, "0:03.5"), (59.98, "1:00"), (61.2, "1:01"), (3600, "1:00:00"), (7325, "2:02:05")],
)
def test_times_are_shown_as_clock_times(seconds, shown):
    assert clock(seconds) == shown


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length_of_a_clip(small_model, tmp_path):
    """With all outputs at once, eight times as many frames take at most 16 MB more memory."""
    frames = list(draw_frames(["happy"], ["sad"], side=160, each=100))
    code = (
        "import resource, sys\nfrom emotify.cli import app\ntry: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\nprint(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for times in (2, 16):
        clip = write_clip(tmp_path / f"{times}.mp4", frames * times)
        files = [f"{option}={tmp_path / str(times)}{option}" for option in ("--csv", "--report", "--annotate")]
        words = ["predict", clip, "--model", small_model, "--every", "0", "--threads", "1", "--jsonl", *files]
        options = {**os.environ, "OMP_NUM_THREADS": "1"}
        shown = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=options)
        lines = shown.stdout.splitlines()
        assert len(lines) == 100 * times + 1, shown.stderr
        peaks.append(int(lines[-1]))
    assert peaks[1] - peaks[0] < 16 * 1024, peaks  # kilobytes; keeping all frames in memory would take 200 MB more
