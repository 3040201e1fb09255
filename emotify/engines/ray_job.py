"""Run a job on Ray Data: one process lists the pictures, and a pool of workers predicts them in parts.

Ray's own checkpoints are not used. They hang with fewer than four CPUs, and finished parts are checkpoints already.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import secrets
import signal
import tempfile
import warnings
from collections.abc import Iterator
from typing import Any, Final

from emotify.engines.output import Output
from emotify.engines.ray_worker import Job, Outcome, Worker, list_pictures
from emotify.errors import ExitCode, UnavailableError
from emotify.files import printable
from emotify.machine import available_cpus
from emotify.stderr import without_lines
from emotify.stopping import Interrupted

_MEMORY: Final = 256 * 2**20  # bytes of Ray's object store, in which processes exchange lists of names
_SLICES: Final = 10_000  # the smallest share of a GPU in Ray is 1 / _SLICES


def require_ray() -> None:
    """Import Ray Data without telemetry, without output and without files in the home folder.

    Raises UnavailableError if Ray Data is not installed.
    """
    # Ray reads these variables during its import, and its processes inherit them.
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    if not (os.environ.get("RAY_ADDRESS") or os.environ.get("RAY_AUTH_MODE")):
        # Ray's ports are open to everyone. With a token nobody else can join; in a variable it needs no file.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    try:
        import pyarrow.parquet  # noqa: F401
        import ray.data  # noqa: F401
    except ImportError:
        msg = '--engine ray needs Ray Data: pip install "ray[data]"'
        raise UnavailableError(msg) from None
    warnings.filterwarnings("ignore", module=r"ray\.")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def run(job: Job, output: Output, *, actors: int = 0, device: str = "auto") -> Iterator[Outcome]:
    """Yield the outcome of each part after its file was moved to the output folder.

    actors: number of workers; 0 for one per CPU. The cluster is the one of $RAY_ADDRESS. Without it, Ray is started on
    this machine and stopped at the end. Raises the EmotifyError that ended the job, or UnavailableError for an error of
    Ray.
    """
    from ray.exceptions import RayError, RayTaskError

    with _cluster():
        try:
            for table in _dataset(job, actors, device).iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                for value in table["pickled"]:
                    outcome: Outcome = pickle.loads(value.as_py())  # noqa: S301 - from our own process
                    if outcome.error is not None:
                        raise outcome.error
                    if outcome.part is not None:
                        output.finish_part(outcome.part)
                    yield outcome
        except RayTaskError:  # a bug; keep its traceback
            raise
        except RayError as error:
            msg = f"Ray ended the job: {printable(str(error).strip().splitlines()[0][:200])}; resume with --append"
            raise UnavailableError(msg) from error


def _dataset(job: Job, actors: int, device: str) -> Any:  # noqa: ANN401 - a type of Ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # Each row is a part and goes to the next free worker. By default Ray merges small rows into few large blocks.
    context.target_max_block_size, context.target_min_block_size = 1, 0
    resources = ray.cluster_resources()
    cpus = max(int(resources.get("CPU", 1)), 1)
    most = actors or cpus
    pool = ray.data.ActorPoolStrategy(min_size=min(most, cpus), max_size=most)
    gpus = int(resources.get("GPU", 0)) if _may_use_gpus(device) else 0
    start = ray.data.from_items([{"start": 0}])
    # The listing reserves no CPU, since workers may reserve all of them.
    listed = start.map_batches(list_pictures, fn_kwargs={"job": job}, batch_format="pyarrow", num_cpus=0)
    return listed.map_batches(
        Worker,
        fn_constructor_kwargs={"job": job},
        batch_size=1,
        batch_format="pyarrow",
        compute=pool,
        num_cpus=1,
        num_gpus=share_of_gpu(gpus, most) or None,
    )


def _may_use_gpus(device: str) -> bool:
    from emotify.onnx_runtime.importing import import_onnxruntime

    has_cuda = "CUDAExecutionProvider" in import_onnxruntime().get_available_providers()
    return device == "cuda" or (device == "auto" and has_cuda)


def share_of_gpu(gpus: int, workers: int) -> float:
    """Return the share of a GPU per worker with which all workers fit on the GPUs; 0 if there are none."""
    if not gpus:
        return 0.0
    per_gpu = -(-workers // gpus)
    return (_SLICES // per_gpu) / _SLICES


@contextlib.contextmanager
def _cluster() -> Iterator[None]:
    """Connect to the cluster of $RAY_ADDRESS, or start Ray here and stop it after the block."""
    require_ray()
    import ray

    terminate = signal.getsignal(signal.SIGTERM)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.CRITICAL}
    with contextlib.ExitStack() as stack:
        if not os.environ.get("RAY_ADDRESS"):
            # Not in $TMPDIR, which may be too long for the path of a socket.
            folder = tempfile.TemporaryDirectory(prefix="emotify-ray-", dir="/tmp", ignore_cleanup_errors=True)
            options |= {"address": "local", "num_cpus": available_cpus(), "object_store_memory": _MEMORY}
            options |= {"include_dashboard": False}
            options["_temp_dir"] = stack.enter_context(folder)
        try:
            with without_lines(b"RAY_BACKEND_LOG_LEVEL"):  # Ray prints a line about this variable
                ray.init(**options)
        except SystemExit as ended:  # Ray's handler of SIGTERM
            raise Interrupted("terminated", ExitCode.TERMINATED) from ended
        except (ConnectionError, RuntimeError, ValueError) as error:
            reason = printable(str(error).strip().splitlines()[0][:200]).rstrip(".")
            msg = f"cannot use Ray: {reason}; check $RAY_ADDRESS"
            raise UnavailableError(msg) from error
        stack.callback(ray.shutdown)
        signal.signal(signal.SIGTERM, terminate)  # undo Ray's handler, which would change the exit code
        yield
