"""The code of Ray's processes: one process lists pictures, the others predict them."""

from __future__ import annotations

import os
import pickle
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from emotify.choices import Truth
from emotify.engines.filesystems import fetch, open_filesystem
from emotify.engines.listing import Chunk, Sources, list_chunks
from emotify.engines.output import Output
from emotify.errors import EmotifyError, UnavailableError
from emotify.files import printable
from emotify.pictures.finding import path_as_given
from emotify.pictures.reading import Failure
from emotify.prediction.content import Content
from emotify.prediction.outputs.parquet import ParquetWriter
from emotify.prediction.predictor import Predictor
from emotify.prediction.reading_ahead import map_in_order
from emotify.prediction.results import PictureResult
from emotify.prediction.summary import Summary

if TYPE_CHECKING:
    from pyarrow import Table

_TRIES: Final = 3  # tries for a part whose worker dies; Ray alone would retry forever
_FETCHING: Final = 8  # files that a worker downloads at a time; limited by the network, not by the CPU


@dataclass(frozen=True)
class Job:
    """The settings of a job, which every process gets."""

    sources: Sources
    output: str  # path or address of a folder
    run: str  # a unique name of this command
    predictor: Mapping[str, Any]  # keyword arguments of Predictor
    top: int
    truth: Truth
    class_order: Mapping[int, str]


@dataclass
class Outcome:
    """The result of a chunk: the name of its file and its summary, or the error that ends the job."""

    part: str | None = None
    summary: Summary = field(default_factory=Summary)
    counts: Counter[str] = field(default_factory=Counter)
    error: EmotifyError | None = None


def list_pictures(batch: Table, job: Job) -> Iterator[Table]:  # noqa: ARG001 - Ray passes a row to start the task
    """Yield tables of one row, each with a pickled chunk of pictures or a pickled error."""
    try:
        job.sources.enter()
        for chunk in list_chunks(job.sources, Output(job.output, job.run).done()):
            yield _row(chunk)
    except EmotifyError as error:
        yield _row(error)


class Worker:
    """Predicts chunks with one model and one thread."""

    def __init__(self, job: Job) -> None:
        self._job, self._predictor = job, None
        self._error: EmotifyError | None = None
        try:
            job.sources.enter()
            self._output = Output(job.output, job.run)
            self._predictor = Predictor(**job.predictor, threads=1)
        except EmotifyError as error:  # raised here, it would make Ray restart the worker forever
            self._error = error

    def __call__(self, batch: Table) -> Table:
        (given,) = (pickle.loads(value.as_py()) for value in batch["pickled"])  # noqa: S301 - from our own process
        error = given if isinstance(given, EmotifyError) else self._error
        if error is not None:
            return _row(Outcome(error=error))
        try:
            return _row(self._predict(given))
        except EmotifyError as error:
            return _row(Outcome(error=error))

    def _predict(self, chunk: Chunk) -> Outcome:
        summary = Summary(self._job.truth, self._job.class_order)
        if not chunk.names:
            return Outcome(None, summary, chunk.counts)
        if self._output.count_try(chunk.part) > _TRIES:
            first, last = (printable(os.fsdecode(name)) for name in (chunk.names[0], chunk.names[-1]))
            msg = (
                f"{_TRIES} workers died at the {len(chunk.names)} pictures from {first} to {last}; find the picture "
                "without --engine ray and remove it, or give each worker more memory"
            )
            raise UnavailableError(msg)
        with self._output.new_part(chunk.part) as file:
            writer = ParquetWriter(file, top=self._job.top)
            try:
                for result in self._results(chunk):
                    summary.add(result)
                    summary.check_truth(result.path)
                    writer.write(result)
                writer.close()
            except BaseException:
                writer.abandon()
                raise
        return Outcome(chunk.part, summary, chunk.counts)

    def _results(self, chunk: Chunk) -> Iterator[PictureResult]:
        assert self._predictor is not None
        names = [name.decode(errors="surrogateescape") for name in chunk.names]
        if not chunk.base:
            yield from self._predictor.predict(map(Path, names))
            return
        filesystem, _ = open_filesystem(chunk.base)
        failed: list[PictureResult] = []

        def contents() -> Iterator[Content]:
            several = map_in_order(partial(fetch, filesystem), names, threads=_FETCHING, ahead=2 * _FETCHING)
            fetched = (content for some in several for content in some)
            for address, content in zip(map(path_as_given, chunk.addresses), fetched, strict=True):
                if isinstance(content, Failure):
                    failed.append(PictureResult(address, content.status, content.message))
                else:
                    yield Content(address, content)

        yield from self._predictor.predict(contents())
        yield from failed


def _row(content: object) -> Table:
    import pyarrow as pa

    return pa.table({"pickled": pa.array([pickle.dumps(content)], pa.large_binary())})
