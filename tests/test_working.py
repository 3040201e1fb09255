"""Progress messages of slow work."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import sys
import time

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from emotify.cli import app, progress, working
from emotify.cli.console import Messages
from emotify.cli.predict import screen
from emotify.cli.predict.inputs import Inputs
from emotify.cli.predict.screen import with_progress
from emotify.cli.working import CountingClassifier, Work, clock, progress_bar, update_bar
from emotify.onnx_runtime.classifier import open_session
from emotify.pictures.finding import Tally
from emotify.prediction.sharding import Shard


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Print the first line after 0.05 seconds."""
    monkeypatch.setattr(working, "_FIRST_LINE", 0.05)


def test_slow_work_is_reported_in_lines(capsys):
    """Without a terminal, the time between lines doubles. Each line shows the remaining time."""
    with working.working(Messages(), "answering", total=400) as work:
        for _ in range(4):
            time.sleep(0.1)
            work.advance(100)
    lines = capsys.readouterr().err.splitlines()
    assert 2 <= len(lines) <= 3
    assert lines[0].startswith("answering: 0 of 400 images, 0 s")
    assert "about 0 s left" in lines[-1]


def test_a_training_without_a_terminal_reports_its_steps(toy_csv, tmp_path, monkeypatch):
    """In lines with the loss, the speed and the remaining time, if an epoch takes long."""
    monkeypatch.setattr(progress, "_LINE", 0.0)
    words = ["train", "--data", toy_csv, "--model", "fnn", "--epochs", "1", "--batch-size", "7", "--out", tmp_path]
    shown = CliRunner().invoke(app, list(map(str, words)))
    assert shown.exit_code == 0, shown.output
    line = r"^step (\d) of 2: loss \d\.\d{3}, [\d,]+ images/s, about 0 s left$"
    assert re.findall(line, shown.stderr, re.MULTILINE) == ["1", "2"]


def test_quick_work_and_quiet_commands_print_no_progress(capsys):
    with working.working(Messages(), "reading"):
        pass
    with working.working(Messages(quiet=True), "reading"):
        time.sleep(0.15)
    assert capsys.readouterr() == ("", "")


def test_a_progress_line_shows_counts_and_times():
    """The line works with a total, without a total, and without a count."""
    begun = time.monotonic() - 30
    assert (
        Work("answering", 400, done=100, _begun=begun).line() == "answering: 100 of 400 images, 30 s, about 90 s left"
    )
    assert Work("answering", 1, done=1, _begun=begun).line() == "answering: 1 of 1 image, 30 s"
    assert Work("predicting", None, "picture", 1234, begun).line() == "predicting: 1,234 pictures, 30 s"
    assert Work("exporting", _begun=begun).line() == "exporting: 30 s"
    assert [clock(seconds) for seconds in (3.4, 99, 200, 7300)] == ["3 s", "99 s", "3 min", "2 h 2 min"]


def test_counting_progress_does_not_change_the_answers(small_model):
    """Images are classified in batches, and each image is counted once. No images also works."""
    session = open_session(small_model, threads=1)
    images = np.random.default_rng(0).integers(0, 256, (1100, 1, 48, 48), dtype=np.uint8)
    counted: list[int] = []
    answers = CountingClassifier(session, counted.append).answers(images)
    assert counted == [256, 256, 256, 256, 76]
    assert np.array_equal(answers.labels, session.answers(images).labels)
    assert answers.crowd is None
    assert CountingClassifier(session, counted.append).answers(images[:0]).labels.shape == (0, 7)


def test_predicting_into_a_pipe_reports_progress(small_model, class_folder, monkeypatch):
    """Progress goes to standard error. The rows on standard output do not change."""
    monkeypatch.setattr(working, "_FIRST_LINE", 0.0001)
    shown = CliRunner().invoke(app, ["predict", str(class_folder), "--model", str(small_model), "--jsonl"])
    assert len(shown.stdout.splitlines()) == 14
    assert "predicting: " in shown.stderr


def test_the_total_is_shown_when_the_pictures_are_counted(capsys, monkeypatch):
    """An error of the counting changes nothing."""
    monkeypatch.setattr(screen, "_PATIENCE", 0)

    def results():
        for number in range(5):
            yield number
            time.sleep(0.1)

    def fail():
        raise PermissionError

    assert list(with_progress(results(), Messages(), count=lambda: 5)) == [0, 1, 2, 3, 4]
    lines = capsys.readouterr().err.splitlines()
    assert "of 5 pictures" in lines[-1]
    assert list(with_progress(results(), Messages(), count=fail)) == [0, 1, 2, 3, 4]
    assert " of " not in capsys.readouterr().err


def test_a_progress_bar_shows_a_total_that_becomes_known():
    console = Console(file=(shown := io.StringIO()), width=80)
    work = Work("predicting", None, "picture", 3)
    progress = progress_bar(work, console)
    work.total = 12
    update_bar(progress, work)
    console.print(progress.get_renderable())
    assert "3/12" in shown.getvalue()


def test_pictures_are_counted_as_they_are_found(class_folder, tmp_path):
    listed = tmp_path / "list.txt"
    listed.write_text(f"{class_folder / 'happy'}\n{tmp_path / 'missing.png'}\n")
    for inputs in (Inputs([str(class_folder)]), Inputs([str(class_folder / "sad")], files_from=str(listed))):
        assert inputs.are_countable
        assert inputs.count_all([]) == len(list(inputs.pictures(Tally(), done=set(), without=[])))


def test_part_of_the_pictures_and_pipes_are_not_counted(class_folder, tmp_path):
    """A second reader of a pipe would take names from the first one."""
    os.mkfifo(tmp_path / "names")
    assert not Inputs([], files_from=str(tmp_path / "names")).are_countable
    assert not Inputs([], files_from="-").are_countable
    assert not Inputs([str(class_folder)], shard=Shard(1, 2)).are_countable


@pytest.mark.skipif(sys.platform == "win32", reason="no timers that interrupt")
def test_an_interrupt_while_reading_data_says_how_to_start_again(tmp_path):
    """Training has not started, so there is nothing to resume and no run folder."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    import torch  # noqa: F401 - imported before the timer starts, so the interrupt comes while data is read

    try:
        signal.setitimer(signal.ITIMER_REAL, 0.4)
        shown = CliRunner().invoke(app, ["train", "--data", "synthetic", "--out", str(tmp_path / "runs")])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert shown.exit_code == 130
    assert "interrupted; no step was trained yet; start again with the same command" in shown.stderr
    assert not (tmp_path / "runs").exists()


def test_a_progress_bar_does_not_enable_disabled_standard_output():
    """`export` disables standard output while torch prints its steps. Rich must not enable it again."""
    console = Console(file=io.StringIO(), force_terminal=True)
    with contextlib.redirect_stdout(None), progress_bar(Work("exporting", 3), console):
        assert sys.stdout is None
