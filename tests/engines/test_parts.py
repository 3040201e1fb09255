"""Pictures are listed in parts. The rows of each part are one file, which is complete or missing."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emotify.emotions import EMOTIONS
from emotify.engines.filesystems import fetch, shown_address
from emotify.engines.listing import Chunk, Sources, add_skipped, list_chunks
from emotify.engines.output import Done, Output
from emotify.engines.ray_worker import Job, Outcome, Worker, list_pictures
from emotify.errors import InputError, UsageError, WriteError
from emotify.pictures.finding import Tally
from emotify.pictures.reading import Failure
from emotify.prediction.sharding import Shard
from tests.faults import printed_by_nobody

pytestmark = pytest.mark.versions


def job(words, output, *, model="default", **sources) -> Job:
    """Create a job with the default options of the command."""
    options = {"model": str(model)}
    return Job(Sources(tuple(map(str, words)), **sources), str(output), "run", options, 0, "auto", {})


def paths_in(chunks) -> list[str]:
    return [address for chunk in chunks for address in chunk.addresses or map(os.fsdecode, chunk.names)]


def predict_all(given: Job) -> list[Outcome]:
    """Do the work of Ray in this process: list the pictures and give each chunk to a worker."""
    output, worker = Output(given.output, given.run), Worker(given)
    outcomes = []
    with output.begin({}, append=True, overwrite=False):
        for row in list_pictures(pa.table({}), given):
            outcome = pickle.loads(worker(row)["pickled"][0].as_py())
            if outcome.error:
                raise outcome.error
            if outcome.part:
                output.finish_part(outcome.part)
            outcomes.append(outcome)
    return outcomes


def test_a_url_gives_the_same_rows_as_the_folder(class_folder, small_model, tmp_path):
    """A file:// URL, read through pyarrow's filesystem, gives the same rows and failures as the path."""
    folder = tmp_path / "some pictures"
    shutil.copytree(class_folder, folder)
    (folder / "happy" / "cut.png").write_bytes(next(folder.rglob("*.png")).read_bytes()[:60])
    (folder / "happy" / "empty.png").write_bytes(b"")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"")
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "happy.png").write_bytes(b"")
    rows, summaries = [], []
    for word, name in ((str(folder), "one"), (folder.as_uri(), "two")):
        outcomes = predict_all(job([word], tmp_path / name, model=small_model))
        rows.append(sorted(pq.read_table(tmp_path / name).to_pylist(), key=lambda row: row["path"]))
        summaries.append((sum((outcome.counts for outcome in outcomes), Counter()), len(outcomes)))
    for row in rows[1]:
        row["path"] = row["path"].removeprefix("file://")
    assert rows[0] == rows[1]
    assert {row["status"] for row in rows[0]} == {"ok", "truncated", "empty"}
    assert summaries[0] == summaries[1] == ({"found": 16, "ignored": 1, "folders/__MACOSX": 1}, 1)
    tally = Tally()
    add_skipped(tally, summaries[1][0])
    assert (tally.ignored, tally.folders) == (1, {"__MACOSX": 1})


def test_an_unreadable_url_has_a_row_with_a_status(small_model, tmp_path):
    predict_all(job([(tmp_path / "nowhere.png").as_uri()], tmp_path / "rows", model=small_model))
    (row,) = pq.read_table(tmp_path / "rows").to_pylist()
    assert (row["path"], row["status"]) == (f"file://{tmp_path}/nowhere.png", "not_found")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (MemoryError(), "memory"),
        (OSError("When reading a.png: AWS Error ACCESS_DENIED during HeadObject operation"), "permission"),
        (OSError("When reading a.png: AWS Error NETWORK_CONNECTION during HeadObject operation"), "corrupt"),
    ],
)
def test_errors_of_remote_files_become_a_status(error, status):
    """pyarrow's errors of S3 have no number, so their text is read."""

    class Remote:
        def open_input_stream(self, _: str) -> None:
            raise error

    failure = fetch(Remote(), "bucket/a.png")
    assert isinstance(failure, Failure)
    assert failure.status == status


def test_a_url_that_cannot_be_listed_is_an_input_error():
    """The message names the folder. As root, the user nobody lists it."""
    imports = """
import pyarrow.fs
from emotify.engines.listing import Sources, list_chunks
from emotify.engines.output import Done
from emotify.errors import InputError
"""
    statements = """
try:
    list(list_chunks(Sources(("file://" + os.getcwd(),)), Done()))
except InputError as error:
    print(error)
"""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "shut").mkdir(mode=0)
        Path(folder).chmod(0o755)
        shown = printed_by_nobody(imports, statements, Path(folder))
    assert shown.startswith(f"cannot list file://{folder}: ")
    assert "Permission denied" in shown


def test_a_folder_that_another_machine_lacks_ends_the_job(tmp_path):
    """Relative paths are read from the working folder of the command, which a machine of the cluster may not have."""
    given = job(["a.png"], tmp_path / "rows", folder=str(tmp_path / "home"))
    (row,) = list_pictures(pa.table({}), given)
    error = pickle.loads(row["pickled"][0].as_py())
    assert isinstance(error, InputError)
    assert str(error).startswith(
        f"{tmp_path / 'home'}: No such file or directory on {os.uname().nodename}; use a folder"
    )


def test_rows_can_be_written_to_another_filesystem():
    """Other filesystems have no locks. pyarrow's mock filesystem is in memory."""
    output = Output("mock:///rows", "run")
    with output.begin({"top": 0}, append=False, overwrite=False):
        with output.new_part("part-0.parquet") as file:
            pq.write_table(pa.table({"path": ["a.png"], "path_b64": pa.array([None], pa.string())}), file)
        output.finish_part("part-0.parquet")
    assert [output.done().holds(name) for name in ("a.png", "b.png")] == [True, False]
    with pytest.raises(WriteError, match="mock:///rows is not empty"), output.begin({}, append=False, overwrite=False):
        pass


def test_a_file_in_place_of_the_output_folder_is_refused(tmp_path):
    (tmp_path / "rows").write_bytes(b"mine")
    output = Output(str(tmp_path / "rows"), "run")
    with pytest.raises(WriteError, match=r"rows is a file; with --engine ray, give a folder"):
        output.begin({}, append=False, overwrite=True).__enter__()
    assert (tmp_path / "rows").read_bytes() == b"mine"


def test_an_error_within_a_part_leaves_no_part(class_folder, small_model, tmp_path):
    """--truth folders refuses the folder of the second picture."""
    (tmp_path / "other").mkdir()
    shutil.copy(next(class_folder.rglob("*.png")), tmp_path / "other" / "face.png")
    given = job([class_folder / "happy", tmp_path / "other"], tmp_path / "rows", model=small_model)
    with pytest.raises(InputError, match=r"other/face\.png is not named as an expression"):
        predict_all(dataclasses.replace(given, truth="folders"))
    assert not list((tmp_path / "rows").rglob("*.parquet"))


def test_urls_in_rows_contain_no_password():
    assert shown_address("s3://key:secret@bucket/a%20b/?region=eu") == "s3://bucket/a b"
    assert shown_address("abfss://box@account.dfs.core.windows.net/x") == "abfss://box@account.dfs.core.windows.net/x"


def test_parts_are_small_at_first_and_contain_every_picture_once(tmp_path):
    """A part has sixteen pictures. Later parts have 1 % of the number of earlier pictures, and at most 1000."""
    names = [str(tmp_path / f"{number}.png") for number in range(30_000)]
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(names))
    chunks = list(list_chunks(Sources((), str(listed)), Done()))
    sizes = [len(chunk.names) for chunk in chunks]
    assert (sizes[0], sizes[100], max(sizes)) == (16, 16, 298)
    assert paths_in(chunks) == names
    assert len({chunk.part for chunk in chunks}) == len(chunks)


def test_finished_pictures_and_other_shards_are_skipped(tmp_path):
    names = [f"{number}.png" for number in range(100)]
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(names))
    shards = [list(list_chunks(Sources((), str(listed), shard=Shard(index, 3)), Done())) for index in range(3)]
    assert sorted(path for chunks in shards for path in paths_in(chunks)) == sorted(names)
    chunks = list(list_chunks(Sources((), str(listed)), Done(os.fsencode(name) for name in names[:60])))
    assert paths_in(chunks) == names[60:]
    assert sum((chunk.counts for chunk in chunks), Counter()) == {"found": 100, "skipped": 60}


def test_a_resumed_job_recognises_names_that_are_not_utf8(class_folder, small_model, tmp_path):
    """A resumed job recognises a finished picture whose name is not UTF-8."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(next(class_folder.rglob("*.png")), os.fsencode(folder) + b"/caf\xe9.png")
    given = job([folder], tmp_path / "rows", model=small_model)
    assert [outcome.counts["skipped"] for outcome in predict_all(given)] == [0]
    assert [outcome.counts["skipped"] for outcome in predict_all(given)] == [1]
    assert len(pq.read_table(tmp_path / "rows")) == 1


def test_an_unfinished_part_is_not_used(tmp_path):
    """A worker of a killed command may leave or still write a file. It is not read or mixed with new parts."""
    first, second = Output(str(tmp_path / "rows"), "first"), Output(str(tmp_path / "rows"), "second")
    with first.begin({}, append=False, overwrite=False), first.new_part("part-0.parquet") as file:
        file.write(b"half")
        file.flush()
        (tmp_path / "rows" / "_lock").unlink()  # as if the first command had been killed
        with second.begin({}, append=True, overwrite=False):
            with second.new_part("part-0.parquet") as whole:
                whole.write(b"whole")
            second.finish_part("part-0.parquet")
    assert (tmp_path / "rows" / "part-0.parquet").read_bytes() == b"whole"


def test_two_commands_cannot_write_into_the_same_folder(tmp_path):
    with (
        Output(str(tmp_path / "rows"), "first").begin({}, append=True, overwrite=False),
        pytest.raises(WriteError, match="in use by process"),
        Output(str(tmp_path / "rows"), "second").begin({}, append=True, overwrite=False),
    ):
        pass


def test_a_folder_can_be_resumed_only_with_the_same_options(tmp_path):
    output = Output(str(tmp_path / "rows"), "run")
    with output.begin({"head": "crowd", "top": 0}, append=False, overwrite=False):
        pass
    with (
        pytest.raises(UsageError, match="begun with top 0, not 2"),
        output.begin({"head": "crowd", "top": 2}, append=True, overwrite=False),
    ):
        pass


def test_a_folder_with_files_is_not_written_into_without_force(tmp_path):
    """--force removes only the parts of an earlier job."""
    folder = tmp_path / "rows"
    folder.mkdir()
    for name in ("part-1.parquet", "part-1.csv", "mine.parquet"):
        (folder / name).write_bytes(b"x")
    output = Output(str(folder), "run")
    with pytest.raises(WriteError, match="not empty"), output.begin({}, append=False, overwrite=False):
        pass
    with output.begin({}, append=False, overwrite=True):
        pass
    assert sorted(path.name for path in folder.glob("*.*")) == ["_job.json", "mine.parquet", "part-1.csv"]


def test_a_full_disk_is_reported_by_the_worker(class_folder, small_model, tmp_path):
    given = job([class_folder], tmp_path / "rows", model=small_model)
    (tmp_path / "rows").mkdir()
    worker = Worker(given)
    (tmp_path / "rows" / "_unfinished" / "run").mkdir(parents=True)
    part = Chunk(0, names=[os.fsencode(next(class_folder.rglob("*.png")))])
    (tmp_path / "rows" / "_unfinished" / "run" / part.part).symlink_to("/dev/full")
    outcome = pickle.loads(worker(pa.table({"pickled": [pickle.dumps(part)]}))["pickled"][0].as_py())
    assert isinstance(outcome.error, WriteError)
    assert "the disk is full" in str(outcome.error)


def test_pictures_that_kill_their_worker_are_named(class_folder, small_model, tmp_path):
    """The job ends after three workers died at the same part. Ray itself would retry forever."""
    given, part = job([class_folder], tmp_path / "rows", model=small_model), Chunk(0, names=[b"a.png", b"z.png"])
    table, output = pa.table({"pickled": [pickle.dumps(part)]}), Output(given.output, given.run)
    with output.begin({}, append=False, overwrite=False):
        for number in (1, 2):
            assert output.count_try(part.part) == number
        outcomes = [pickle.loads(Worker(given)(table)["pickled"][0].as_py()) for _ in range(2)]
    assert outcomes[0].error is None
    assert "3 workers died at the 2 pictures from a.png to z.png" in str(outcomes[1].error)


def test_a_worker_that_cannot_start_returns_the_error(tmp_path):
    """The worker returns the error as a result, because Ray would restart a failed worker forever."""
    outcome = pickle.loads(
        Worker(job(["a"], tmp_path / "rows", model=tmp_path / "no.onnx"))(
            pa.table({"pickled": [pickle.dumps(Chunk(0, names=[b"a"]))]})
        )["pickled"][0].as_py()
    )
    assert "no.onnx" in str(outcome.error)


def test_a_missing_list_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot read the list"):
        list(list_chunks(Sources((), str(tmp_path / "none.txt")), Done()))


def test_merged_summaries_of_parts_equal_the_summary_of_all(class_folder, small_model, tmp_path):
    """Merging keeps the counts and the comparison with class folders."""
    from emotify import Predictor, find_pictures
    from emotify.prediction.summary import Summary

    results = list(Predictor(small_model).predict(find_pictures(class_folder)))
    whole, merged = Summary(), Summary()
    for number, result in enumerate(results):
        whole.add(result)
        if number % 4 == 0:
            part = Summary()
        part.add(result)
        if number % 4 == 3 or number == len(results) - 1:
            merged.merge(part)
    assert merged == whole
    assert merged.has_truth
    assert len(merged.truth()[1]) == 2 * len(EMOTIONS)
    assert Path(str(results[0].path)).exists()


@pytest.mark.parametrize(("path", "coded"), [(1, None), (None, None), (b"a", None), ("a", "abc")])
def test_a_parquet_file_of_another_program_is_refused(path, coded, tmp_path):
    """A Parquet file whose paths are not valid text was not written by emotify."""
    pq.write_table(pa.table({"path": [path], "path_b64": [coded]}), tmp_path / "part-0.parquet")
    with pytest.raises(InputError, match=r"part-0.parquet has rows that emotify did not write"):
        Output(str(tmp_path), "run").done()
