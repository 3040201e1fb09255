"""Atomic writes, locks, and escaped text."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from emotify.errors import UsageError, WriteError
from emotify.files import (
    atomic_write,
    check_folder,
    check_output,
    explain_write_errors,
    locked,
    output_status,
    printable,
    read_json,
    safe_stem,
    take_lock,
    write_bytes,
    write_folder,
)
from tests.faults import printed_by_nobody


def test_a_failed_write_keeps_the_old_file_and_leaves_no_partial_file(tmp_path):
    """The old file does not change."""
    path = tmp_path / "a.json"
    write_bytes(path, b"old")
    with pytest.raises(ZeroDivisionError), atomic_write(path) as file:
        file.writelines(b"half" if share else bytes(1 // share) for share in (1, 0))
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == [b"old"]


@pytest.mark.parametrize("content", ["", "{", "[" * 200_000, '{"a":' * 200_000])
def test_invalid_json_is_a_value_error(content, tmp_path):
    """Very deeply nested JSON is a ValueError, too."""
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"nested|Expecting"):
        read_json(path)


def test_a_broken_link_is_not_written_through(tmp_path):
    """With permission to overwrite, the target of the link is created, and the link stays."""
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    with pytest.raises(WriteError, match="already exists"):
        write_bytes(link, b"new", overwrite=False)
    assert not target.exists()
    write_bytes(link, b"new")
    assert (link.is_symlink(), target.read_bytes()) == (True, b"new")


def test_the_longest_possible_name_can_be_written(tmp_path):
    """A name of 255 bytes and far fewer characters can be written."""
    path = tmp_path / ("\U0001f600" * 63 + ".md")
    write_bytes(path, b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_unwritable_paths_are_write_errors(tmp_path):
    """The error names the path that cannot be written."""
    with pytest.raises(WriteError, match=r"a\.json"):
        write_bytes(tmp_path / "missing" / "a.json", b"")


def test_a_missing_drive_is_a_write_error(monkeypatch, tmp_path):
    """For example, a missing drive Z: on Windows has no existing parent folder."""
    monkeypatch.setattr(Path, "is_dir", lambda _: False)
    with pytest.raises(WriteError, match="cannot write"):
        output_status(tmp_path / "a.csv")


def test_permissions_are_checked_on_the_output_folder():
    """An existing folder needs no writable parent. Runs as user nobody when the tests run as root."""
    imports = """
from pathlib import Path
from emotify.errors import WriteError
from emotify.files import check_folder, check_output
"""
    statements = """
shut, ours = Path("shut"), Path("shut", "ours")
for check, path in ((check_folder, ours), (check_output, ours / "a"), (check_folder, ours / "new" / "newer"),
                    (check_folder, shut), (check_output, shut / "a"), (check_folder, shut / "new")):
    try:
        check(path, overwrite=True)
        print("fine", end=" ")
    except WriteError as error:
        print("shut" if str(path) in str(error) else error, end=" ")
"""
    with tempfile.TemporaryDirectory() as folder:
        ours = Path(folder, "shut", "ours")
        ours.mkdir(parents=True)
        for path, mode in ((ours, 0o777), (ours.parent, 0o555), (Path(folder), 0o755)):
            path.chmod(mode)
        shown = printed_by_nobody(imports, statements, Path(folder))
        ours.parent.chmod(0o755)
    assert shown.split() == ["fine"] * 3 + ["shut"] * 3


EXISTS, LINK, FILE, FOLDER = "already exists", "is a link", "is a file", "is a folder or a device"


@pytest.mark.parametrize(
    ("name", "file", "file_forced", "folder", "folder_extended", "folder_forced"),
    [
        ("nothing", "", "", "", "", ""),
        ("file", EXISTS, "", FILE, FILE, FILE),
        ("folder", FOLDER, FOLDER, EXISTS, "", ""),
        ("link to file", EXISTS, "", LINK, LINK, FILE),
        ("link to folder", FOLDER, FOLDER, LINK, LINK, ""),
        ("link to nothing", EXISTS, "", LINK, LINK, ""),
    ],
)
def test_existing_output_paths_are_accepted_or_refused(
    name, file, file_forced, folder, folder_extended, folder_forced, tmp_path
):
    """The columns are errors for a file, a file with --force, a folder, a folder to extend, a folder with --force."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for target in ("file", "folder", "nothing"):
        (tmp_path / f"link to {target}").symlink_to(tmp_path / target)

    def answer(check, **options) -> str:
        try:
            check(tmp_path / name, **options)
        except WriteError as error:
            return str(error)
        return ""

    for expected, message in (
        (file, answer(check_output, overwrite=False)),
        (file_forced, answer(check_output, overwrite=True)),
        (folder, answer(check_folder, overwrite=False)),
        (folder_extended, answer(check_folder, overwrite=False, extend=True)),
        (folder_forced, answer(check_folder, overwrite=True)),
    ):
        assert expected in message
        assert bool(expected) == bool(message)
    for check in (check_output, check_folder):
        with pytest.raises(UsageError, match="standard output"):
            check(Path("-"), overwrite=True)


def test_a_folder_is_written_completely_or_not_at_all(tmp_path):
    """If one file cannot be written, none are. `overwrite` replaces files of the same name, and others stay."""
    page = tmp_path / "new" / "page"
    with pytest.raises(WriteError):
        write_folder(page, {"a": b"1", "no/b": b"2"})
    assert list(page.parent.iterdir()) == []
    write_folder(page, {"a": b"1", "b": b"2"})
    with pytest.raises(WriteError, match=EXISTS):
        write_folder(page, {"a": b"3"})
    write_folder(page, {"a": b"3"}, overwrite=True)
    assert {path.name: path.read_bytes() for path in page.iterdir()} == {"a": b"3", "b": b"2"}
    assert [path.name for path in page.parent.iterdir()] == ["page"]


@pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be locked on Windows")
def test_a_folder_being_written_is_not_removed_as_a_leftover(tmp_path):
    """Another process removes only the temporary files and folders of killed processes."""
    write = "import sys; from pathlib import Path; from emotify.files import write_bytes; "
    write += "write_bytes(Path(sys.argv[1]), b'')"

    class Meanwhile(dict[str, bytes]):
        def items(self):
            subprocess.run([sys.executable, "-c", write, tmp_path / "other"], check=True)
            return super().items()

    (tmp_path / ".emotify.00000000.tmp").mkdir()
    write_folder(tmp_path / "page", Meanwhile(a=b"1"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "page"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other locks")
@pytest.mark.parametrize(
    ("removes", "error"), [(True, BlockingIOError()), (True, None), (False, OSError(errno.ENOLCK, "No locks"))]
)
def test_a_file_is_written_even_if_its_temporary_file_cannot_be_locked(removes, error, tmp_path, monkeypatch):
    """Another process may lock or remove the new file before this one locks it; some file systems have no locks."""
    import fcntl

    lock, calls = fcntl.flock, []

    def disturbed(descriptor: int, operation: int) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            if removes:
                next(tmp_path.glob("*.tmp")).unlink()
            if error:
                raise error
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", disturbed)
    write_bytes(tmp_path / "a", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a", b"new")]
    assert len(calls) == (2 if removes else 1)


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="open files are counted in /dev/fd")
def test_written_files_and_locks_are_closed(tmp_path):
    """No file descriptor stays open for files, folders, locks and removed temporary files."""
    before = len(list(Path("/dev/fd").iterdir()))
    (tmp_path / ".emotify.00000000.tmp").mkdir()
    write_folder(tmp_path / "page", {"a": b"1"})
    (tmp_path / "page" / ".emotify.00000000.tmp").touch()
    write_bytes(tmp_path / "page" / "b", b"2")
    with locked(tmp_path / "lock"):
        pass
    assert len(list(Path("/dev/fd").iterdir())) == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "lock", "page"]


def test_a_held_lock_is_reported_for_any_content_of_its_file(tmp_path):
    """The content of a lock file is not always a process id."""
    path = tmp_path / ".lock"
    path.write_bytes(b"\xff")
    with path.open("rb") as file:
        take_lock(file.fileno())
        with pytest.raises(WriteError, match="is in use by process"), locked(path):
            pass


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EACCES, "no permission"), (errno.EPERM, "no permission"), (errno.EROFS, "no permission"),
        (errno.ENOSPC, "the disk is full"), (errno.EDQUOT, "quota"), (errno.EIO, os.strerror(errno.EIO)),
    ],
)  # fmt: skip
def test_write_errors_name_the_cause(code, words, tmp_path):
    """The message also names the path."""
    with pytest.raises(WriteError) as caught, explain_write_errors(tmp_path / "a"):
        raise OSError(code, os.strerror(code))
    assert str(caught.value).startswith(f"cannot write {tmp_path / 'a'}: ")
    assert words in str(caught.value)


def test_safe_file_names_work_on_any_system():
    """Letters of any script stay. A name cannot be hidden, look like an option, or be too long."""
    assert safe_stem("Zoë 表情/a_b-c.1?") == "Zoë_表情_a_b-c.1_"
    assert (safe_stem(".-x"), safe_stem(""), safe_stem("x" * 80)) == ("x", "_", "x" * 50)


@pytest.mark.skipif(os.getuid() != 0 or sys.platform != "linux", reason="mounting a small disk needs root on Linux")
@pytest.mark.parametrize(("other", "size"), [(0, 2_000_000), (2_000_000, 10)])
def test_a_full_disk_is_reported_and_leaves_no_partial_file(other, size, tmp_path):
    """The error names the path and the full disk, and the old file stays. Buffered writes are checked, too."""
    program = (
        "import sys; from pathlib import Path; from emotify.files import write_bytes\n"
        "path = Path(sys.argv[1], 'a'); write_bytes(path, b'old')\n"
        f"with open(path.with_name('b'), 'wb', buffering=0) as file: file.write(bytes({other}))\n"
        f"try: write_bytes(path, bytes({size}))\n"
        "except Exception as error: print(error)\n"
        "print(path.read_bytes(), sorted(p.name for p in path.parent.iterdir()))"
    )
    shell = 'mount -t tmpfs -o size=1m none "$0" && exec "$1" -c "$2" "$0"'
    command = ["unshare", "-rm", "sh", "-c", shell, str(tmp_path), sys.executable, program]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in result.stderr or "mount" in result.stderr:
        pytest.skip(f"no private mounts here: {result.stderr.strip()}")
    message, files = result.stdout.splitlines()
    assert "disk is full" in message
    assert str(tmp_path / "a") in message
    assert files == "b'old' ['a', 'b']"


def test_a_lock_ends_with_its_process(tmp_path):
    """The error for a second process names the id of the first. After kill -9, the lock is free."""
    path = tmp_path / ".lock"
    program = (
        "import sys, time; from pathlib import Path; from emotify.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(WriteError, match=str(holder.pid)), locked(path):
            pass
        holder.kill()
    with locked(path):
        pass


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain.png", "plain.png"),
        ("käse 表情 😀.png", "käse 表情 😀.png"),
        ("a\x1b[31m.png", r"a\x1b[31m.png"),
        ("a\u202eb", r"a\u202eb"),
        ("a\u2028b", r"a\u2028b"),
        ("a\x9bb\r\n", r"a\x9bb\x0d\x0a"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_unprintable_text_is_escaped(text, shown):
    """Control characters, bidirectional characters and undecodable bytes are escaped."""
    assert printable(text) == shown
