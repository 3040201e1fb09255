"""Results as a Parquet file, by pyarrow, which is an extra."""

from __future__ import annotations

from typing import IO, Any, Final

from emotify.emotions import EMOTIONS
from emotify.errors import UnavailableError
from emotify.prediction.predictor import FaceResult, PictureResult

_ROWS_HELD: Final = 10_000  # before they are written as one group
_EDGES: Final = ("x0", "y0", "x1", "y1")


def require_pyarrow() -> None:
    """Raise UnavailableError where pyarrow is not installed."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        msg = "Parquet files need the package pyarrow: pip install pyarrow; --csv FILE works without it"
        raise UnavailableError(msg) from None


class ParquetWriter:
    """Writes one row a face, and one for a picture without any, to a binary file.

    `top` adds columns for the second to the `top`-th most probable expression.
    """

    def __init__(self, file: IO[bytes], *, top: int = 0) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        texts, counts = ("path", "path_b64", "status", "message"), ("width", "height", "frames", "face")
        columns = {name: pa.string() for name in texts} | {name: pa.int32() for name in counts}
        columns |= dict.fromkeys((*_EDGES, "detection"), pa.float32())
        columns |= {"label": pa.string(), "probability": pa.float32()} | dict.fromkeys(EMOTIONS, pa.float32())
        for rank in range(2, top + 1):
            columns |= {f"label_{rank}": pa.string(), f"probability_{rank}": pa.float32()}
        self._top = top
        self._schema = pa.schema(columns)
        self._writer = pq.ParquetWriter(file, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, result: PictureResult) -> None:
        """Take the rows of one picture; they are written some thousands at a time."""
        head: dict[str, Any] = {
            "path": str(result.path).encode(errors="backslashreplace").decode(),
            "path_b64": result.path_b64,
            "status": result.status,
            "message": result.message or result.note or None,
        }
        if result.ok:
            head |= {"width": result.width, "height": result.height, "frames": result.frames}
        self._rows += [{**head, "face": number, **self._face(face)} for number, face in enumerate(result.faces, 1)]
        if not result.faces:
            self._rows.append(head)
        if len(self._rows) >= _ROWS_HELD:
            self._flush()

    def _face(self, face: FaceResult) -> dict[str, Any]:
        row: dict[str, Any] = dict(zip(_EDGES, face.box, strict=True))
        row |= {"detection": face.detection, "label": face.label, "probability": face.probability}
        row |= dict(zip(EMOTIONS, face.probabilities, strict=True))
        for rank, (name, value) in enumerate(face.ranked(self._top)[1:], 2):
            row |= {f"label_{rank}": name, f"probability_{rank}": value}
        return row

    def _flush(self) -> None:
        import pyarrow as pa

        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
        self._rows.clear()

    def close(self) -> None:
        """Write what is left and the file's footer; the file stays open."""
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Leave the file as it is; without this pyarrow would end it, and complain, when the writer is forgotten."""
        self._writer.is_open = False
