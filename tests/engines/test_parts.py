"""Pictures are listed in parts, and each part is a file of rows that is there whole or not at all."""

from __future__ import annotations

import os
import pickle
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emotify.emotions import EMOTIONS
from emotify.engines.filesystems import shown_address
from emotify.engines.listing import Chunk, Sources, list_chunks
from emotify.engines.output import Done, Output
from emotify.engines.ray_worker import Job, Outcome, Worker, list_pictures
from emotify.errors import InputError, UsageError, WriteError
from emotify.prediction.sharding import Shard

pytestmark = pytest.mark.versions


def job(words, output, *, model="default", **sources) -> Job:
    """A job with the options that the command has by default."""
    options = {"model": str(model)}
    return Job(Sources(tuple(map(str, words)), **sources), str(output), "run", options, 0, "auto", {})


def paths_in(chunks) -> list[str]:
    return [address for chunk in chunks for address in chunk.addresses or map(os.fsdecode, chunk.names)]


def predict_all(given: Job) -> list[Outcome]:
    """Do what Ray does, in this process: list the pictures, and hand each chunk to a worker."""
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


def test_the_pictures_of_an_address_are_those_of_the_folder(class_folder, small_model, tmp_path):
    """The same files, rows and failures, by pyarrow's filesystem instead of by path."""
    folder = tmp_path / "some pictures"
    shutil.copytree(class_folder, folder)
    (folder / "happy" / "cut.png").write_bytes(next(folder.rglob("*.png")).read_bytes()[:60])
    (folder / "happy" / "empty.png").write_bytes(b"")
    (folder / ".hidden.png").write_bytes(b"")
    (folder / "notes.txt").write_bytes(b"")
    rows, summaries = [], []
    for word, name in ((str(folder), "one"), (folder.as_uri(), "two")):
        outcomes = predict_all(job([word], tmp_path / name, model=small_model))
        rows.append(sorted(pq.read_table(tmp_path / name).to_pylist(), key=lambda row: row["path"]))
        summaries.append((sum((outcome.counts for outcome in outcomes), Counter()), len(outcomes)))
    for row in rows[1]:
        row["path"] = row["path"].removeprefix("file://")
    assert rows[0] == rows[1]
    assert {row["status"] for row in rows[0]} == {"ok", "truncated", "empty"}
    assert summaries[0] == summaries[1] == ({"found": 16, "ignored": 1}, 1)


def test_what_lies_at_an_address_and_cannot_be_read_has_a_row(small_model, tmp_path):
    predict_all(job([(tmp_path / "nowhere.png").as_uri()], tmp_path / "rows", model=small_model))
    (row,) = pq.read_table(tmp_path / "rows").to_pylist()
    assert (row["path"], row["status"]) == (f"file://{tmp_path}/nowhere.png", "not_found")


def test_addresses_in_rows_hold_no_password():
    assert shown_address("s3://key:secret@bucket/a%20b/?region=eu") == "s3://bucket/a b"
    assert shown_address("abfss://box@account.dfs.core.windows.net/x") == "abfss://box@account.dfs.core.windows.net/x"


def test_parts_are_small_at_first_and_every_picture_is_in_one(tmp_path):
    """Sixteen pictures, then a hundredth of those before, up to a thousand."""
    names = [str(tmp_path / f"{number}.png") for number in range(30_000)]
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(names))
    chunks = list(list_chunks(Sources((), str(listed)), Done()))
    sizes = [len(chunk.names) for chunk in chunks]
    assert (sizes[0], sizes[100], max(sizes)) == (16, 16, 298)
    assert paths_in(chunks) == names
    assert len({chunk.part for chunk in chunks}) == len(chunks)


def test_what_is_done_or_in_another_shard_is_counted_and_passed_over(tmp_path):
    names = [f"{number}.png" for number in range(100)]
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(names))
    shards = [list(list_chunks(Sources((), str(listed), shard=Shard(index, 3)), Done())) for index in range(3)]
    assert sorted(path for chunks in shards for path in paths_in(chunks)) == sorted(names)
    chunks = list(list_chunks(Sources((), str(listed)), Done(os.fsencode(name) for name in names[:60])))
    assert paths_in(chunks) == names[60:]
    assert sum((chunk.counts for chunk in chunks), Counter()) == {"found": 100, "skipped": 60}


def test_names_that_are_no_text_are_known_again(class_folder, small_model, tmp_path):
    """The rows of a name in other bytes than UTF-8 say that it is done."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(next(class_folder.rglob("*.png")), os.fsencode(folder) + b"/caf\xe9.png")
    given = job([folder], tmp_path / "rows", model=small_model)
    assert [outcome.counts["skipped"] for outcome in predict_all(given)] == [0]
    assert [outcome.counts["skipped"] for outcome in predict_all(given)] == [1]
    assert len(pq.read_table(tmp_path / "rows")) == 1


def test_a_part_that_was_not_finished_is_no_part(tmp_path):
    """What a worker of a command that was killed leaves, or writes later, is not read and not mixed with new parts."""
    first, second = Output(str(tmp_path / "rows"), "first"), Output(str(tmp_path / "rows"), "second")
    with first.begin({}, append=False, overwrite=False), first.new_part("part-0.parquet") as file:
        file.write(b"half")
        file.flush()
        (tmp_path / "rows" / "_lock").unlink()  # as if the first command were gone
        with second.begin({}, append=True, overwrite=False):
            with second.new_part("part-0.parquet") as whole:
                whole.write(b"whole")
            second.finish_part("part-0.parquet")
    assert (tmp_path / "rows" / "part-0.parquet").read_bytes() == b"whole"


def test_two_commands_do_not_write_into_one_folder(tmp_path):
    with (
        Output(str(tmp_path / "rows"), "first").begin({}, append=True, overwrite=False),
        pytest.raises(WriteError, match="in use by process"),
        Output(str(tmp_path / "rows"), "second").begin({}, append=True, overwrite=False),
    ):
        pass


def test_a_folder_goes_on_with_the_same_options_only(tmp_path):
    output = Output(str(tmp_path / "rows"), "run")
    with output.begin({"head": "crowd", "top": 0}, append=False, overwrite=False):
        pass
    with (
        pytest.raises(UsageError, match="begun with top 0, not 2"),
        output.begin({"head": "crowd", "top": 2}, append=True, overwrite=False),
    ):
        pass


def test_a_folder_with_files_is_not_written_into_unless_told_so(tmp_path):
    """--force removes the parts of an earlier job, and nothing else."""
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


def test_a_full_disk_ends_the_job_in_one_line(class_folder, small_model, tmp_path):
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
    """A part whose worker died three times ends the job; Ray alone would try for ever."""
    given, part = job([class_folder], tmp_path / "rows", model=small_model), Chunk(0, names=[b"a.png", b"z.png"])
    table, output = pa.table({"pickled": [pickle.dumps(part)]}), Output(given.output, given.run)
    with output.begin({}, append=False, overwrite=False):
        for number in (1, 2):
            assert output.count_try(part.part) == number
        outcomes = [pickle.loads(Worker(given)(table)["pickled"][0].as_py()) for _ in range(2)]
    assert outcomes[0].error is None
    assert "3 workers died at the 2 pictures from a.png to z.png" in str(outcomes[1].error)


def test_a_worker_that_cannot_start_says_why(tmp_path):
    """Ray would start it again for ever."""
    outcome = pickle.loads(
        Worker(job(["a"], tmp_path / "rows", model=tmp_path / "no.onnx"))(
            pa.table({"pickled": [pickle.dumps(Chunk(0, names=[b"a"]))]})
        )["pickled"][0].as_py()
    )
    assert "no.onnx" in str(outcome.error)


def test_a_list_that_is_not_there_is_an_error_of_the_input(tmp_path):
    with pytest.raises(InputError, match="cannot read the list"):
        list(list_chunks(Sources((), str(tmp_path / "none.txt")), Done()))


def test_a_summary_of_parts_is_that_of_all(class_folder, small_model, tmp_path):
    """Counts, and the comparison with class folders, survive being merged."""
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
def test_a_part_with_rows_of_others_is_told(path, coded, tmp_path):
    """A Parquet file whose paths are no texts is none that emotify wrote."""
    pq.write_table(pa.table({"path": [path], "path_b64": [coded]}), tmp_path / "part-0.parquet")
    with pytest.raises(InputError, match=r"part-0.parquet has rows that emotify did not write"):
        Output(str(tmp_path), "run").done()
