"""The page of `predict --report` in a real browser."""

from __future__ import annotations

import io
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.opening import packaged_models
from emotify.prediction.faces import FaceResult
from emotify.prediction.results import PictureResult
from emotify.reports.prediction_page import new_gallery, thumbnail

SHOWN = "[...document.querySelectorAll('.card')].filter(card => card.checkVisibility()).length"
HARM = [
    '<img src=x onerror="document.title=1">',
    '"><script>document.title=1<&script>',
    "<&style>",
    "javascript:alert(1)",
    "{{ 7*7 }}",
    "<!-- cards -->",
    "\u202egnp",
]


def face(label: int, probability: float, *, left: float = 10.0) -> FaceResult:
    rest = (1 - probability) / 6
    shares = tuple(probability if index == label else rest for index in range(7))
    return FaceResult((left, 20.0, left + 30, 50.0), 0.9, shares, uncertain=probability < 0.4)


def results() -> list[PictureResult]:
    """Five readable pictures and two unreadable ones."""
    faces = [(face(3, 0.95),), (face(3, 0.6),), (face(4, 0.8), face(3, 0.45, left=60)), (face(0, 0.3),), ()]
    read = [
        PictureResult(Path(f"f/{number}.jpg"), "ok", width=200, height=100, faces=some, frames=1 + (number == 4))
        for number, some in enumerate(faces)
    ]
    bad = [PictureResult(Path(name), "not_an_image", message=name) for name in ("bad.png", HARM[0])]
    return read + bad


def page(path: Path, pictures: list[PictureResult], small: bytes | None = None) -> Path:
    with path.open("wb") as file, new_gallery(path.parent) as gallery:
        for result in pictures:
            gallery.add(result, str(result.path), small)
        gallery.write(file, model="model.onnx", meaning="70 % means: seven of ten.")
    return path


def choose(shown: Any, *names: str) -> int:
    for name in names:
        shown.run(f"document.querySelector('label[for={name}]').click()")
    return int(shown.run(SHOWN))


def test_the_page_filters_without_a_script(chromium, tmp_path):
    """The filters are expression and confidence. With both, a single face of the picture must match both."""
    path = page(tmp_path / "page.html", results())
    assert "<script" not in path.read_text()
    chromium.open(path)
    assert choose(chromium) == 5
    assert choose(chromium, "e-happy") == 3
    assert choose(chromium, "p-c50") == 2
    assert choose(chromium, "p-c90") == 1
    assert choose(chromium, "p-low") == 1
    assert choose(chromium, "e-any") == 2
    assert choose(chromium, "e-sad") == 0
    assert choose(chromium, "e-none") == 1
    assert choose(chromium, "e-uncertain", "p-any") == 1
    assert chromium.requests() == chromium.complaints() == []


def test_every_clip_has_a_card_between_the_pictures(tmp_path):
    """A clip ends with the first frame of the next clip, or with the next picture."""
    frames = [
        PictureResult(Path(name), "ok", width=200, height=100, faces=(face(3, 0.9),), time=time)
        for name, time in (("one.mp4", 0.0), ("one.mp4", 0.5), ("two.mp4", 0.0), ("three.mp4", 0.0))
    ]
    text = page(tmp_path / "page.html", [*frames[:3], results()[0], frames[3]]).read_text()
    assert re.findall(r'<h3 title="(.*?)"', text) == ["one.mp4", "two.mp4", "0.jpg", "three.mp4"]
    assert re.findall(r"(\d) frames? classified", text) == ["2", "1", "1"]


def test_many_unreadable_pictures_are_counted_and_the_first_are_listed(tmp_path):
    bad = [PictureResult(Path(f"{number}.png"), "empty", message="the file is empty") for number in range(501)]
    text = page(tmp_path / "page.html", bad).read_text()
    assert "501 could not be read; the first 500" in text
    assert text.count("<td>empty</td>") == 500


@pytest.mark.parametrize("width", [360, 800, 1600])
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_fits_the_window_and_is_readable(chromium, width, dark, tmp_path):
    """There is no horizontal scrolling, boxes are on the faces, and contrast is enough in light and dark mode."""
    chromium.open(page(tmp_path / "page.html", results()), width=width, dark=dark)
    assert chromium.run("document.documentElement.scrollWidth") <= width
    place = """(() => { const frame = document.querySelector('.frame').getBoundingClientRect(),
        box = document.querySelector('.box').getBoundingClientRect();
        return [(box.left - frame.left) / frame.width, (box.top - frame.top) / frame.height,
                box.width / frame.width, box.height / frame.height, frame.width / frame.height] })()"""
    assert chromium.run(place) == pytest.approx([0.05, 0.2, 0.15, 0.3, 2.0], abs=0.01)
    for part in ("h1", "header p", ".where", "summary span"):
        assert chromium.contrast(part) > 4.5, part


def test_names_are_escaped(chromium, tmp_path):
    """Names and messages are shown as text. They run nothing and are in no link."""
    names = [name.replace("&", "/") for name in HARM]
    pictures = [
        PictureResult(Path(name), "ok", note=name, width=200, height=100, faces=(face(3, 0.9),)) for name in names
    ]
    path = page(tmp_path / "page.html", pictures + [PictureResult(Path(n), "corrupt", message=n) for n in names])
    chromium.open(path)
    assert choose(chromium) == len(HARM)
    assert chromium.run("document.title") == f"emotify: {2 * len(HARM)} pictures, {len(HARM)} faces"
    assert chromium.run("document.querySelectorAll('script, a, img, style + style').length") == 0
    assert HARM[0] in chromium.run("document.querySelector('.note').textContent")
    assert chromium.run("document.querySelectorAll('.failed tr').length") == len(HARM)
    assert "\u202e" not in path.read_text()
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in path.read_text()
    assert chromium.requests() == chromium.complaints() == []


def test_paths_are_split_only_at_real_slashes(tmp_path):
    """Escaped characters in a name do not split it."""
    names = ["f/caf\udce9.png", "f/a\tb.png", "f\\g/c.png"]
    text = page(tmp_path / "page.html", [PictureResult(Path(name), "ok", width=9, height=9) for name in names])
    for name in (r"caf\udce9.png", r"a\x09b.png", "c.png"):
        assert f">{name}<" in text.read_text()


def test_thumbnails_are_in_the_page_only_with_the_option(chromium, class_folder, tmp_path):
    """Without --thumbnails, the page has no pixels. With it, the page has small copies, but no path."""
    shutil.copytree(class_folder / "happy", tmp_path / "in")
    options = ["--model", str(packaged_models()["default"]), "--faces", "whole", "--threads", "1"]
    for name, more in (("bare", []), ("full", ["--thumbnails"])):
        words = ["predict", str(tmp_path / "in"), "--report", str(tmp_path / f"{name}.html"), *more, *options]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, result.output
    bare, full = ((tmp_path / f"{name}.html").read_text() for name in ("bare", "full"))
    assert "data:image" not in bare
    assert full.count("data:image/jpeg;base64,") == 2
    chromium.open(tmp_path / "full.html")
    assert chromium.run("[...document.images].every(image => image.complete && image.naturalWidth == 48)")
    assert chromium.requests() == chromium.complaints() == []
    for text in (bare, full):
        assert str(tmp_path) not in text
        assert str(Path.home()) not in text


def test_thumbnails_are_small_and_without_metadata():
    """A thumbnail has at most 320 pixels per side, and no EXIF data."""
    picture = Image.new("RGB", (4000, 3000), "red")
    picture.info["exif"] = b"Exif\0\0secret"
    with Image.open(io.BytesIO(thumbnail(picture))) as small:
        assert small.size == (320, 240)
        assert not small.getexif()


def test_the_page_names_its_input_and_model(class_folder, tmp_path, monkeypatch):
    """The page has the names of the inputs and the model, without their folders. Every picture is counted."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "none.png").touch()
    Image.new("L", (200, 200), 90).save(tmp_path / "grey.png")
    words = [
        class_folder,
        tmp_path / "none.png",
        tmp_path / "grey.png",
        "--model",
        "fast",
        "--report",
        tmp_path / "a.html",
    ]
    result = CliRunner().invoke(app, ["predict", *map(str, words)])
    assert result.exit_code == 3
    text = (tmp_path / "a.html").read_text()
    assert f"in “{class_folder.name}, none.png, grey.png”, named by the model “fast”:" in text
    assert "Of 16 pictures 14 had a face, 1 had none and 1 could not be read." in text
    assert str(tmp_path) not in text


def test_the_page_counts_every_picture_and_explains_uncertain(tmp_path):
    text = page(tmp_path / "page.html", results()).read_text()
    assert 'content:counter(shown) " of 5"' in text
    assert "pictures shown; 2 could not be read" in text
    assert "An uncertain face is smaller than 24 × 24 pixels, or below the limit of --min-confidence." in text
    certain = page(tmp_path / "certain.html", results()[:1]).read_text()
    assert "> picture shown<" in certain
    assert "An uncertain face" not in certain


def test_the_printed_page_shows_all_faces_of_a_group(chromium, tmp_path):
    """On a screen, a long list of faces scrolls. In print, the whole list is visible."""
    many = tuple(face(3, 0.9, left=10.0 * number) for number in range(20))
    picture = PictureResult(Path("group.jpg"), "ok", width=400, height=100, faces=many)
    chromium.open(page(tmp_path / "page.html", [picture]), width=800)
    scrolls = "document.querySelector('ol.many').scrollHeight > document.querySelector('ol.many').clientHeight + 1"
    assert chromium.run(scrolls) is True
    chromium.send("Emulation.setEmulatedMedia", media="print")
    assert chromium.run(scrolls) is False
