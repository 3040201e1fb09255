"""What predict prints: a table on a terminal, one line per picture in a pipe, or JSON."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from emotify.cli.console import Messages, print_json, print_json_line
from emotify.cli.working import Work, progress_bar, update_bar, working
from emotify.emotions import describe_order
from emotify.errors import EmotifyError
from emotify.files import printable
from emotify.words import amount

if TYPE_CHECKING:
    from emotify.choices import Head
    from emotify.evaluation.metrics import Scores
    from emotify.prediction.faces import FaceResult
    from emotify.prediction.results import PictureResult
    from emotify.prediction.summary import Summary
    from emotify.reports.prediction_table import FaceRows

_PICTURES_SHOWN: Final = 200
_FAILURES_SHOWN: Final = 10
_PATIENCE: Final = 1.0  # seconds before the pictures are counted


@dataclass(frozen=True)
class FinalSummary:
    """The totals after all pictures are done."""

    summary: Summary
    scores: Scores | None
    seconds: float
    model: str
    head: Head  # the head that answered
    passed_over: dict[str, int]  # skipped files by kind


class Screen(Protocol):
    """Prints each result at once, and the totals at the end."""

    def show(self, result: PictureResult) -> None: ...
    def finish(self, ending: FinalSummary) -> None: ...


def open_screen(messages: Messages, *, json: bool, jsonl: bool, top: int, used: bool) -> Screen:
    """Return the screen for the wanted format. used: an output file is written to standard output."""
    if used:
        return NoScreen(messages)
    if json:
        return DocumentScreen(top)
    if jsonl:
        return JsonLinesScreen(messages, top)
    return TableScreen(messages, top) if sys.stdout.isatty() else LinesScreen(messages, top)


@dataclass
class NoScreen:
    """Prints no results, as an output file is written to stdout."""

    messages: Messages

    def show(self, result: PictureResult) -> None:
        """Print nothing."""

    def finish(self, ending: FinalSummary) -> None:
        if ending.scores is not None:
            self.messages.notice(truth_line(ending.scores))
        _print_counts(ending, self.messages)


@dataclass
class JsonLinesScreen:
    """Prints one line of JSON per picture."""

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
    """Keeps all results, about 1 kB per picture, and prints one JSON document at the end."""

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
    """Prints one tab-separated line per picture: its path, then label, probability and box of each face."""

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
        labels = [face.label, *(name for name, _ in best[1:])]  # may be "uncertain"
        shares = (f"{share:.3f}" for _, share in best)
        return ",".join(labels), ",".join(shares), ",".join(f"{edge:.0f}" for edge in face.box)

    def finish(self, ending: FinalSummary) -> None:
        _show_truth(ending.scores, self.messages, aside=True)
        _print_counts(ending, self.messages)


@dataclass
class TableScreen:
    """Prints one row per face for the first pictures, and a summary of all pictures at the end."""

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
                f"{amount(self.left_out, 'more picture')} not shown; --jsonl, --csv FILE or --report FILE has all"
            )
        self.messages.out.print()
        if ending.summary.faces:
            self.messages.show(summary_table(ending.summary, caption=ending.head.meaning, plain=self.rows.plain))
        _show_truth(ending.scores, self.messages)
        _print_counts(ending, self.messages, expressions=False)


def order_sentence(summary: Summary) -> str:
    """Return a sentence with the class that each numbered folder was read as."""
    return f"numbered folders were read as classes: {describe_order(summary.order, summary.numbers)}"


def truth_line(scores: Scores) -> str:
    """Return a line with the accuracy against the folders' names and its 95% interval."""
    low, high = scores.accuracy_ci95
    return f"accuracy against the folders' names: {scores.accuracy:.2%} of {scores.n} ({low:.1%} to {high:.1%})"


def _show_truth(scores: Scores | None, messages: Messages, *, aside: bool = False) -> None:
    """Print accuracy and confusion matrix on stdout, or with `aside` on stderr, where they do not mix with rows."""
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
    """Print the numbers of pictures and faces, the time, and the expressions unless a table shows them."""
    summary, seconds = ending.summary, ending.seconds
    if summary.with_frames:
        messages.notice(f"{amount(summary.with_frames, 'picture')} with several frames; only the first frame was read")
    counts = ", ".join(f"{count:,} {name}" for name, count in summary.expressions.most_common() if expressions)
    without = f"; {summary.without_face:,} without a face" if summary.without_face else ""
    pictures = summary.pictures - summary.frames
    kinds = [amount(pictures, "picture")] if pictures or not summary.frames else []
    kinds += [amount(summary.frames, "frame")] if summary.frames else []
    many = ", ".join([*kinds, amount(summary.faces, "face")])
    if summary.expressions["uncertain"]:
        from emotify.prediction.small_faces import CERTAIN_FROM as SMALLEST

        messages.notice(f"an uncertain face is smaller than {SMALLEST}x{SMALLEST} pixels, or below --min-confidence")
    speed = f"{seconds:.1f} s, {summary.pictures / max(seconds, 1e-3):,.1f} a second"
    messages.notice(f"{many}{': ' if counts else ''}{counts}{without}; {speed}")


Result = TypeVar("Result")


def with_progress(
    results: Iterator[Result],
    messages: Messages,
    pictures: Callable[[Result], int] = lambda _: 1,
    *,
    total: int | None = None,
    count: Callable[[], int] | None = None,
) -> Iterator[Result]:
    """Show the number of finished pictures: below the rows on a terminal, else on stderr from time to time.

    pictures: the number of pictures of a result. total: the number of all pictures, if known. count: counts them
    otherwise, in a thread of its own, if the work takes more than a second.
    """
    if messages.quiet or not (sys.stderr.isatty() and sys.stdout.isatty()):
        with working(messages, "predicting", total=total, noun="picture") as work:
            for result in _counted(results, work, pictures, count):
                yield result
        return
    # On stdout, like the rows: two consoles on one terminal would overwrite each other.
    work = Work("predicting", total, "picture")
    with progress_bar(work, messages.out) as progress:
        for result in _counted(results, work, pictures, count):
            yield result
            update_bar(progress, work)


def _counted(
    results: Iterator[Result], work: Work, pictures: Callable[[Result], int], count: Callable[[], int] | None
) -> Iterator[Result]:
    """Yield the results, counting their pictures, and set the total when `count` has ended."""
    found: list[int] = []

    def find_total(count: Callable[[], int]) -> None:
        with contextlib.suppress(OSError, EmotifyError):  # the walk of the pictures themselves reports the error
            found.append(count())

    for result in results:
        yield result
        work.advance(pictures(result))
        if count is not None and work.total is None and work.seconds > _PATIENCE:
            threading.Thread(target=find_total, args=(count,), daemon=True).start()
            count = None
        if found:
            work.total = found.pop()
