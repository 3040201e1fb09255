"""Run real commands with real faults: full disks, reads that hang, failing system calls and signals."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

EMOTIFY = [sys.executable, "-m", "emotify"]
_ACCESS = ctypes.c_uint64(0x20000)  # FAN_ACCESS_PERM: a read waits for permission


class Ended(NamedTuple):
    """The exit code and output of a command."""

    code: int
    stdout: str
    stderr: str
    seconds: float  # since the last signal


def command(*words: object, program: Sequence[str] = EMOTIFY, **options: Any) -> Ended:
    """Run a command until it ends."""
    with started(*words, program=program, **options) as process:
        return ending(process)


@contextlib.contextmanager
def started(*words: object, program: Sequence[str] = EMOTIFY, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Start a command. Kill it at the end of the block if it still runs."""
    process = subprocess.Popen(
        [*program, *map(str, words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores Ctrl-C, and its child processes inherit this.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        **options,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def printed_by_nobody(imports: str, statements: str, folder: Path) -> str:
    """Run Python statements in a folder and return what they print. As root, run them as the user nobody.

    The imports come first, because this user may not be allowed to read Python's packages.
    """
    program = f"import os\n{imports}\nif os.geteuid() == 0:\n    os.setuid(65534)\n{statements}"
    words = [sys.executable, "-c", program]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def ending(process: subprocess.Popen[str], *signals: int, apart: float = 0.0) -> Ended:
    """Send signals to a command, `apart` seconds apart, wait for its end, and return its result."""
    for number, sent in enumerate(signals):
        if number:
            time.sleep(apart)
        process.send_signal(sent)
    begun = time.monotonic()
    stdout, stderr = process.communicate(timeout=120)
    return Ended(process.returncode, stdout, stderr, time.monotonic() - begun)


def wait_for_message(process: subprocess.Popen[str], words: str) -> str:
    """Wait until a command prints these words on standard error; return all that it has printed there."""
    assert process.stderr is not None
    printed = ""
    while words not in printed:
        line = process.stderr.readline()
        assert line, printed
        printed += line
    return printed


@contextlib.contextmanager
def stuck_file(path: Path) -> Iterator[None]:
    """Let every read of this file hang until the block ends, like a disk that no longer responds."""
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.fanotify_init(0x4, os.O_RDONLY)  # FAN_CLASS_CONTENT
    if watch < 0 or libc.fanotify_mark(watch, 1, _ACCESS, -100, bytes(path)):  # FAN_MARK_ADD, AT_FDCWD
        pytest.skip(f"cannot block a file here: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        os.close(watch)


@contextlib.contextmanager
def stuck_folder(path: Path) -> Iterator[None]:
    """Mount a file system at `path` that never responds, like an unreachable server."""
    libc = ctypes.CDLL(None, use_errno=True)
    path.mkdir()
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR)
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")
    options = f"fd={fuse},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}".encode()
    if libc.mount(b"stuck", bytes(path), b"fuse", 0, options):
        os.close(fuse)
        pytest.skip(f"nothing can be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        os.close(fuse)
        libc.umount2(bytes(path), 2)  # MNT_DETACH


def under_strace(*words: object, program: Sequence[str] = EMOTIFY) -> list[str]:
    """Return the command that runs a program under strace. strace logs its system calls or makes them fail."""
    strace = ["strace", "-f", "-qq", *map(str, words)]
    if not shutil.which("strace") or subprocess.run([*strace, "true"], capture_output=True).returncode:
        pytest.skip("strace is missing or not permitted here")
    return [*strace, *program]


@contextlib.contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """Mount a disk at `path` with a size such as `1m`."""
    path.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", bytes(path), b"tmpfs", 0, f"size={size}".encode()):
        pytest.skip(f"nothing can be mounted here: {os.strerror(ctypes.get_errno())}")
    try:
        yield path
    finally:
        libc.umount2(bytes(path), 2)
