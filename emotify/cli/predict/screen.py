"""What predict shows: rows on a terminal, a line a picture in a pipe, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from emotify.cli.console import Messages, print_json, print_json_line
from emotify.cli.working import Work, progress_bar, working
from emotify.emotions import describe_order
from emotify.files import printable
from emotify.words import amount

if TYPE_CHECKING:
    from emotify.choices import Head
    from emotify.evaluation.metrics import Scores
    from emotify.prediction.results import FaceResult, PictureResult
    from emotify.prediction.summary import Summary
    from emotify.reports.prediction_table import FaceRows

_PICTURES_SHOWN: Final = 200
_FAILURES_SHOWN: Final = 10


@dataclass(frozen=True)
class FinalSummary:
    """What is known when all pictures are done."""

    summary: Summary
    scores: Scores | None
    seconds: float
    model: str
    head: Head  # that answered
    passed_over: dict[str, int]  # what walks through folders left, by kind


class Screen(Protocol):
    """Shows each result as it comes, and the rest at the end."""

    def show(self, result: PictureResult) -> None: ...
    def finish(self, ending: FinalSummary) -> None: ...


def open_screen(messages: Messages, *, json: bool, jsonl: bool, top: int, used: bool) -> Screen:
    """Return what shows results where and how they are wanted; `used`: a file goes to standard output."""
    if used:
        return NoScreen(messages)
    if json:
        return DocumentScreen(top)
    if jsonl:
        return JsonLinesScreen(messages, top)
    return TableScreen(messages, top) if sys.stdout.isatty() else LinesScreen(messages, top)


@dataclass
class NoScreen:
    """Prints nothing on stdout, where a file goes."""

    messages: Messages

    def show(self, result: PictureResult) -> None:
        """Leave it to the file."""

    def finish(self, ending: FinalSummary) -> None:
        if ending.scores is not None:
            self.messages.notice(truth_line(ending.scores))
        _print_counts(ending, self.messages)


@dataclass
class JsonLinesScreen:
    """Prints one line of JSON a picture."""

    messages: Messages
    top: int

    def show(self, result: PictureResult) -> None:
        print_json_line(result.to_dict(self.top))

    def finish(self, ending: FinalSummary) -> None:
        if ending.scores is not None:
            self.messages.notice(truth_line(ending.scores))
        _print_counts(ending, self.messages)


@dataclass
class DocumentScreen:
    """Keeps all results, about a kilobyte a picture, and prints one JSON document."""

    top: int
    kept: list[PictureResult] = field(default_factory=list)

    def show(self, result: PictureResult) -> None:
        self.kept.append(result)

    def finish(self, ending: FinalSummary) -> None:
        summary = ending.summary
        print_json(
            {
                "schema": 1,
                "model": ending.model,
                "head": ending.head,
                "pictures": [result.to_dict(self.top) for result in self.kept],
                "summary": {
                    "pictures": summary.pictures - summary.frames,
                    "frames": summary.frames,
                    "failed": summary.failed,
                    "without_face": summary.without_face,
                    "faces": summary.faces,
                    "expressions": dict(summary.expressions),
                    "passed_over": ending.passed_over,
                    "seconds": round(ending.seconds, 3),
                },
                "truth": None if ending.scores is None else ending.scores.document(),
                "class_order": order_sentence(summary) if ending.scores is not None and summary.numbers else None,
            }
        )


@dataclass
class LinesScreen:
    """Prints one line a picture, tab-separated: its path, then label, probability and box of each face."""

    messages: Messages
    top: int
    failures: int = 0

    def show(self, result: PictureResult) -> None:
        path = printable(result.path) + ("" if result.time is None else f" at {result.time:.2f} s")
        cells = [cell for face in result.faces for cell in self._cells(face)]
        if not result.ok:
            cells = [result.status, "", printable(result.message)]
            self.failures += 1
            if self.failures <= _FAILURES_SHOWN:
                self.messages.error(f"{path}: {result.status}: {result.message}")
        print(path, *(cells or ["no face"]), sep="\t")

    def _cells(self, face: FaceResult) -> tuple[str, str, str]:
        best = face.ranked(max(self.top, 1))
        labels = [face.label, *(name for name, _ in best[1:])]  # which is "uncertain" at times
        shares = (f"{share:.3f}" for _, share in best)
        return ",".join(labels), ",".join(shares), ",".join(f"{edge:.0f}" for edge in face.box)

    def finish(self, ending: FinalSummary) -> None:
        _show_truth(ending.scores, self.messages, aside=True)
        _print_counts(ending, self.messages)


@dataclass
class TableScreen:
    """Shows a row a face as they come, of the first pictures, and what all of them come to."""

    messages: Messages
    top: int
    pictures: int = 0
    failures: int = 0
    left_out: int = 0

    def __post_init__(self) -> None:
        from emotify.reports.prediction_table import FaceRows

        self.rows: FaceRows = FaceRows(self.messages.out.width, self.top, plain=self.messages.plain)

    def show(self, result: PictureResult) -> None:
        self.pictures += 1
        self.failures += not result.ok
        if self.pictures > _PICTURES_SHOWN or (not result.ok and self.failures > _FAILURES_SHOWN):
            self.left_out += 1
            return
        for row in self.rows.rows(result):
            self.messages.out.print(row)

    def finish(self, ending: FinalSummary) -> None:
        from emotify.reports.prediction_table import summary_table

        if self.left_out:
            self.messages.notice(
                f"{amount(self.left_out, 'more picture')}; --jsonl, --csv FILE or --report FILE has all of them"
            )
        self.messages.out.print()
        if ending.summary.faces:
            self.messages.show(summary_table(ending.summary, caption=ending.head.meaning, plain=self.rows.plain))
        _show_truth(ending.scores, self.messages)
        _print_counts(ending, self.messages, expressions=False)


def order_sentence(summary: Summary) -> str:
    """Say what the numbers that folders are named by were taken for."""
    return f"folders that are numbers were taken for classes: {describe_order(summary.order, summary.numbers)}"


def truth_line(scores: Scores) -> str:
    """Say how often the model agrees with the folders' names."""
    low, high = scores.accuracy_ci95
    return f"accuracy against the folders' names: {scores.accuracy:.2%} of {scores.n} ({low:.1%} to {high:.1%})"


def _show_truth(scores: Scores | None, messages: Messages, *, aside: bool = False) -> None:
    """Show accuracy and confusion matrix, `aside` on stderr, where no row of a pipe ends up."""
    if scores is None or (aside and messages.quiet):
        return
    from emotify.reports.tables import class_table, confusion_table

    if aside:
        messages.notice(truth_line(scores))
    else:
        print(f"{truth_line(scores)}\n")
    messages.show(class_table(scores, title="By folder", plain=messages.plain), aside=aside)
    messages.show(confusion_table(scores.confusion, title="Confusion matrix"), aside=aside)


def _print_counts(ending: FinalSummary, messages: Messages, *, expressions: bool = True) -> None:
    """Say how many pictures, faces and, unless a table has them, expressions there were, and how long it took."""
    summary, seconds = ending.summary, ending.seconds
    if summary.with_frames:
        messages.notice(f"{summary.with_frames:,} with several frames: only the first of each was read")
    counts = ", ".join(f"{count:,} {name}" for name, count in summary.expressions.most_common() if expressions)
    without = f"; {summary.without_face:,} without a face" if summary.without_face else ""
    pictures = summary.pictures - summary.frames
    kinds = [amount(pictures, "picture")] if pictures or not summary.frames else []
    kinds += [amount(summary.frames, "frame")] if summary.frames else []
    many = ", ".join([*kinds, amount(summary.faces, "face")])
    speed = f"{seconds:.1f} s, {summary.pictures / max(seconds, 1e-3):,.1f} a second"
    messages.notice(f"{many}{': ' if counts else ''}{counts}{without}; {speed}")


Result = TypeVar("Result")


def with_progress(
    results: Iterator[Result],
    messages: Messages,
    pictures: Callable[[Result], int] = lambda _: 1,
    *,
    total: int | None = None,
) -> Iterator[Result]:
    """Show how many pictures and frames are done: below the rows on a terminal, else on stderr every so often.

    pictures: how many a result is about. total: how many there are, where that is known.
    """
    if messages.quiet or not (sys.stderr.isatty() and sys.stdout.isatty()):
        with working(messages, "predicting", total=total, noun="picture") as work:
            for result in results:
                yield result
                work.advance(pictures(result))
        return
    # On stdout, where the rows go: two consoles on one terminal would write over each other.
    work = Work("predicting", total, "picture")
    with progress_bar(work, messages.out) as progress:
        task = progress.add_task(work.what, total=total)
        for result in results:
            yield result
            progress.advance(task, pictures(result))
