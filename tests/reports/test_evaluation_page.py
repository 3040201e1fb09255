"""The page of `evaluate --report`: its content, its privacy, and its layout in a browser."""

from __future__ import annotations

import base64
import getpass
import io
import re
import socket
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from emotify.cli import app
from emotify.data import Split
from emotify.ensembling.diversity import diversity_of
from emotify.evaluation.classifier import Answers
from emotify.evaluation.evaluate import evaluate
from emotify.files import printable
from emotify.reports.evaluation_page import report_files
from emotify.reports.names import cut

FIGURES = ("reliability", "confidence", "classes", "confusion", "leaderboard", "disagreement")
HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    '"><script>alert(1)</script>',
    "</style></title>--><svg onload=alert(1)>",
    "{{ 7 * 7 }} $\\frac$ javascript:alert(1)",
    "日本語 😀 \udce9\x1b[31m",
)


def files_of(board, images) -> dict[str, bytes]:
    """Return the report's files without faces."""
    diversity = diversity_of([result.probabilities for result in board.results], images.labels)
    return report_files(board, images, diversity, with_images=False)


class Parsed(HTMLParser):
    """The tags and attributes of a page, and the values of its data elements for each table row."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[tuple[str, list[float]]] = []
        self._model, self._in_row = "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "table":
            self._model = found.get("data-model", "")
        if tag == "tr":
            self.rows.append((found.get("data-model") or self._model, []))
            self._in_row = True
        if tag == "data" and self._in_row:
            self.rows[-1][1].extend(map(float, found["value"].split()))

    def handle_endtag(self, tag):
        self._in_row = self._in_row and tag != "tr"

    def attributes(self, name: str) -> list[str]:
        return [found[name] or "" for _, found in self.tags if name in found]


class Named:
    """A classifier with a given name and fixed answers."""

    def __init__(self, name, seed):
        self.name, self.seed = name, seed

    def answers(self, images):
        return Answers(np.random.default_rng(self.seed).dirichlet(np.ones(7), len(images)).astype(np.float32))


def command(*words: object, code: int = 0):
    result = CliRunner().invoke(app, ["evaluate", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def test_the_report_contains_one_page_and_its_figures(report):
    """The folder has only index.html and each figure as PNG and SVG, and all files are readable."""
    expected = {"index.html", *(f"{name}.{kind}" for name in FIGURES for kind in ("png", "svg"))}
    assert {path.name for path in report.folder.iterdir()} == expected
    for name in FIGURES:
        with Image.open(report.folder / f"{name}.png") as image:
            assert image.width > 500
        ET.parse(report.folder / f"{name}.svg")


def test_the_page_loads_nothing_and_runs_no_script(report):
    """The page has no script, no link and no external address, and its policy forbids them."""
    text = report.page.read_text()
    page = Parsed(text)
    policy = {found.get("content") for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy"}
    assert policy == {"default-src 'none'; style-src 'unsafe-inline'; img-src data:"}
    assert not {tag for tag, _ in page.tags} & {"script", "link", "a", "iframe", "object", "form", "base"}
    assert all(address.startswith("data:image/png;base64,") for address in page.attributes("src"))
    assert all(address.startswith("#") for address in page.attributes("xlink:href") + page.attributes("href"))
    assert not re.search(r"https?://|@import|url\((?!#)", text)


def test_tables_have_the_numbers_of_json(report):
    """The scores, classes and confusion matrix of every model, and every pair, equal those of --json."""
    rows = Parsed(report.page.read_text()).rows
    for result in report.document["results"]:
        mine = [values for model, values in rows if model == result["model"]]
        board = [result["accuracy"], *result["accuracy_ci95"], result["clean"]["accuracy"]]
        assert [*board, result["macro_f1"], result["nll"], result["ece"]] in mine
        for scores in result["per_class"].values():
            assert [scores[name] for name in ("precision", "recall", "f1", "support")] in mine
        for row in result["confusion"]:
            assert [*row, sum(row)] in mine
    values = [found for _, found in rows]
    for pair in report.document["pairs"]:
        assert [pair["difference"], *pair["difference_ci95"], pair["mcnemar_p_holm"]] in values
    for recipe in report.document["recipes"]:
        assert [recipe["mean"], recipe["deviation"], *recipe["accuracies"]] in values
    assert report.document["recipes"]


def test_the_page_compares_recipes(faces):
    """Two recipes have two seeds each. The page has their exact difference, and their names are escaped."""
    classifiers = [Named(f"run {seed}", seed) for seed in range(4)]
    board = evaluate(classifiers, faces[Split.VALID], Split.VALID, recipes=["cnn", "<b>fnn</b>"] * 2)
    page = files_of(board, faces[Split.VALID])["index.html"].decode()
    (pair,) = board.recipe_pairs
    assert [pair.difference, *pair.difference_ci95, pair.p_holm] in [values for _, values in Parsed(page).rows]
    assert "&lt;b&gt;fnn" in page
    assert "<b>fnn" not in page


def test_faces_are_shown_only_with_the_option(report, runs, tiny_csv, tmp_path, faces):
    """With `--with-images`, the page shows pixels of the split; without it, the page has no picture."""
    shown = [
        base64.b64decode(address.partition(",")[2]) for address in Parsed(report.page.read_text()).attributes("src")
    ]
    pixels = {np.asarray(Image.open(io.BytesIO(content))).tobytes() for content in shown}
    assert len(shown) == 48
    assert pixels <= {image.tobytes() for image in faces[Split.VALID].images}
    command(runs[0], "--data", tiny_csv, "--report", tmp_path / "r", "-q")
    text = (tmp_path / "r" / "index.html").read_text()
    assert "<img" not in text
    assert "data:image" not in text
    assert "leaderboard.png" not in {path.name for path in (tmp_path / "r").iterdir()}
    assert "--report" in command(runs[0], "--data", tiny_csv, "--with-images", code=2).stderr


def test_report_is_never_overwritten_without_force(report, runs, tiny_csv, tmp_path):
    """Exit 6 for an existing folder. --force replaces only the report's files. A failure leaves no partial files."""
    folder = tmp_path / "r"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    options = (runs[0], "--data", tiny_csv, "--report", folder, "-q")
    assert "--force" in command(*options, code=6).stderr
    assert [path.name for path in folder.iterdir()] == ["notes.txt"]
    command(*options, "--force")
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "index.html").exists()
    (folder / "index.html").unlink()
    (folder / "index.html" / "in the way").mkdir(parents=True)
    command(*options, "--force", code=6)
    assert [path.name for path in tmp_path.iterdir()] == ["r"]
    (tmp_path / "file").touch()
    assert "it is a file" in command(*options[:-2], tmp_path / "file", "--force", "-q", code=6).stderr


@pytest.fixture(scope="module")
def hostile_files(faces) -> dict[str, bytes]:
    classifiers = [Named(name, seed) for seed, name in enumerate(HOSTILE)]
    return files_of(evaluate(classifiers, faces[Split.VALID], Split.VALID), faces[Split.VALID])


def test_names_are_escaped(hostile_files, report):
    """Names with markup, quotes and template code add no tag, attribute or address."""
    page = Parsed(hostile_files["index.html"].decode())
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in Parsed(report.page.read_text()).tags}
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]
    assert set(page.attributes("data-model")) >= set(map(printable, HOSTILE))
    assert not page.attributes("src")
    assert all(address.startswith("#") for address in page.attributes("xlink:href") + page.attributes("href"))


def test_labels_in_figures_are_escaped(hostile_files):
    """Labels are escaped and not parsed as mathematics, and the same names give the same bytes."""
    root = ET.fromstring(hostile_files["leaderboard.svg"])
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {cut(printable(name)) for name in HOSTILE} <= set(texts)
    assert not [part for part in root.iter() if part.tag.endswith(("script", "}image", "}a"))]


def test_the_same_evaluation_gives_the_same_bytes(hostile_files, faces):
    """The report has no time and nothing random."""
    classifiers = [Named(name, seed) for seed, name in enumerate(HOSTILE)]
    board = evaluate(classifiers, faces[Split.VALID], Split.VALID)
    assert files_of(board, faces[Split.VALID]) == hostile_files


def test_the_report_contains_nothing_about_the_computer(report, tmp_path, onnx_file, tiny_csv, monkeypatch):
    """The report names no folder, user or host, even for a model in the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    monkeypatch.chdir(tmp_path)
    Path("somebody").mkdir()
    Path("somebody", "model.onnx").write_bytes(onnx_file.read_bytes())
    command("somebody/model.onnx", "--data", tiny_csv, "--report", "shared", "-q")
    secrets = (
        tmp_path,
        report.folder.parent,
        tiny_csv.parent,
        "somebody",
        socket.gethostname(),
        getpass.getuser() + "/",
    )
    for folder in (Path("shared"), report.folder):
        text = "".join(path.read_text() for path in folder.iterdir() if path.suffix != ".png")
        text = re.sub(r"data:image/png;base64,[^\"]+", "", text)
        for secret in secrets:
            assert not re.search(rf"(?<!\w){re.escape(str(secret))}", text), secret


LOOK = """(() => {
const outside = [...document.body.querySelectorAll('*')].filter(
  part => part.getBoundingClientRect().right > innerWidth + 0.5 && part.checkVisibility());
return {
  scroll: document.documentElement.scrollWidth, title: document.title,
  outside: outside.map(part => part.outerHTML.slice(0, 80)),
  svg: [...document.querySelectorAll('svg.figure')].map(part => part.getBoundingClientRect().height),
  pictures: [...document.images].every(part => part.complete && part.naturalWidth == 48),
  confusion: [...document.querySelectorAll('#confusion td data')].map(part => Number(part.value)),
} })()"""


@pytest.mark.parametrize("width", [360, 1000])
@pytest.mark.parametrize("dark", [False, True])
def test_chromium_shows_the_page(report, chromium, width, dark):
    """There are no errors, all figures are visible, nothing is wider than the window, and text has enough contrast."""
    chromium.open(report.page, width=width, dark=dark)
    view = chromium.run(LOOK)
    assert view["title"].endswith("emotify")
    assert view["scroll"] == width
    assert view["outside"] == []
    assert all(height > 200 for height in view["svg"])
    assert len(view["svg"]) == 2
    assert view["pictures"]
    confusion = report.document["results"][0]["confusion"]
    assert view["confusion"] == [cell for row in confusion for cell in (*row, sum(row))]
    assert chromium.contrast("section h2") > 7
    assert chromium.contrast("section .quiet") > 4.5
    assert chromium.is_dark("section h2") == dark
    assert chromium.requests() == chromium.complaints() == []


def test_the_page_runs_no_script(report, chromium, tmp_path):
    """The page's policy blocks an injected script, and the browser reports it."""
    injected = tmp_path / "injected.html"
    injected.write_text(report.page.read_text().replace("<main>", "<main><script>document.title = 1</script>"))
    chromium.open(injected)
    assert chromium.run("document.title").endswith("emotify")
    assert any("Content Security Policy" in complaint for complaint in chromium.complaints())


def test_the_page_names_its_data(report, tiny_csv):
    """The page has the name of the data without its path."""
    text = report.page.read_text()
    assert f'of <span class="name">{tiny_csv.name}</span>' in text
    assert str(tiny_csv.parent) not in text
