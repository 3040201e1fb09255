"""Bytes of a picture file -> an upright picture in RGB or grey, whatever Pillow does with them on the way."""

from __future__ import annotations

import importlib
import io
import warnings
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError, features

from emotify.files import printable
from emotify.pictures.formats import describe_foreign, fails_checksum, identify, is_cut_short, unsupported_format
from emotify.pictures.pixels import has_many_levels, on_grey, to_eight_bits

Status = Literal[
    "not_found", "permission", "empty", "not_an_image", "truncated", "corrupt", "unsupported", "too_large",
    "too_small", "bad_aspect", "not_regular", "nonfinite", "memory",
]  # fmt: skip

MAX_PIXELS: Final = 50_000_000
MIN_SIDE: Final = 16
MAX_ASPECT: Final = 20

_ORIENTATION: Final = 0x0112
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_READERS: Final = {"WEBP": "WebP"}  # Pillow's modules that are not named as the format in title case
_SIDEWAYS: Final = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An upright picture. `image` may be smaller than `width` x `height`, the size of the file's picture.

    It is RGB, or L where the file is grey: small grey faces are classified by the million, and need no colours.
    """

    image: Image.Image
    width: int
    height: int
    frames: int = 1
    note: str = ""  # what was wrong with the file and could be passed over


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a picture cannot be read, and what to do about it, in one line that does not repeat the path."""

    status: Status
    message: str


def decode(content: bytes, *, enough_side: int | None = None) -> Picture | Failure:
    """Decode the first frame of a picture file's content.

    enough_side: pixels of the longer side that will do. JPEG files can be decoded at a half, a quarter or an eighth of
    their size, which is faster and takes less memory. Raises nothing but MemoryError.
    """
    kind = identify(content)
    if kind is None:
        if name := unsupported_format(content):
            return Failure("unsupported", f"{name} files are not read; convert it to PNG or JPEG")
        return Failure("not_an_image", describe_foreign(content))
    if failure := _missing_reader(kind):
        return failure
    _silence_pillow()
    try:
        image = _open(content, kind)
        failure = _check_size(*image.size)
        if kind == "PNG" and not failure and fails_checksum(content):
            failure = Failure("corrupt", "damaged PNG file (wrong checksum); get the picture again")
        if failure:
            return failure
        if not (frames := _count_frames(image)):
            image, frames = _open(content, kind), 1  # a frame that cannot be opened has left it half changed
        return _load(image, frames, enough_side=enough_side)
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        return _too_large("far too many pixels")
    except Exception as error:  # noqa: BLE001 - on hostile bytes Pillow's readers raise nearly everything there is
        return _explain(kind, content, error)


def from_image(image: Image.Image) -> Picture | Failure:
    """Take an image of Pillow's, opened or drawn. Raises nothing but MemoryError."""
    _silence_pillow()
    try:
        # It is the caller's, and stays as it is.
        return _check_size(*image.size) or _load(image, _count_frames(image) or 1)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - it may be read from a hostile file only now
        return Failure("corrupt", f"cannot be read ({printable(str(error)[:100])}); get the picture again")


def from_array(pixels: npt.NDArray[np.uint8]) -> Picture | Failure:
    """Take grey (H, W) or RGB (H, W, 3) pixels, uint8."""
    if pixels.dtype != np.uint8 or pixels.ndim not in {2, 3} or pixels.shape[2:] not in {(), (3,)}:
        shape = "x".join(map(str, pixels.shape))
        return Failure("unsupported", f"an array of {pixels.dtype}, {shape}; give uint8 grey HxW or RGB HxWx3")
    height, width = pixels.shape[:2]
    return _check_size(width, height) or Picture(Image.fromarray(np.ascontiguousarray(pixels)), width, height)


@cache
def _missing_reader(kind: str) -> Failure | None:
    """Load Pillow's reader of one format; the others stay unloaded."""
    if kind == "HEIF":
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            return Failure("unsupported", 'HEIC needs an extra: pip install "emotify[heic]"; or convert it to JPEG')
        register_heif_opener(decode_threads=1)  # pictures, not the parts of one, are worked on side by side
        return None
    if kind in {"AVIF", "WEBP"} and not features.check(kind.lower()):
        return Failure("unsupported", f"this Pillow was built without {kind}; convert it to PNG or JPEG")
    reader = importlib.import_module(f"PIL.{_READERS.get(kind, kind.title())}ImagePlugin")
    if kind == "AVIF":
        vars(reader)["DEFAULT_MAX_THREADS"] = 1
    return None


def _silence_pillow() -> None:
    # What Pillow warns of is either passed over or becomes a status. `catch_warnings` would be neater, but it swaps
    # the process's filters and threads read pictures at the same time; adding one filter, once, does no harm.
    if not any(
        action == "ignore" and module and module.pattern == "PIL" for action, _, _, module, _ in warnings.filters
    ):
        warnings.filterwarnings("ignore", module="PIL")


def _check_size(width: int, height: int) -> Failure | None:
    if min(width, height) < 1:
        return Failure("corrupt", f"its header says {width}x{height} pixels; get the picture again")
    if width * height > MAX_PIXELS:
        return _too_large(f"{width}x{height}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        return Failure(
            "bad_aspect", f"{width}x{height} is more than {MAX_ASPECT} times longer than wide; cut out a part"
        )
    if min(width, height) < MIN_SIDE:
        return Failure("too_small", f"{width}x{height}, fewer than {MIN_SIDE} pixels a side; get a larger picture")
    return None


def _too_large(what: str) -> Failure:
    return Failure("too_large", f"{what}, more than {MAX_PIXELS // 10**6} megapixels; make the picture smaller")


def _open(content: bytes, kind: str) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=(kind,))  # in memory: there is nothing to close


def _load(image: Image.Image, frames: int, *, enough_side: int | None = None) -> Picture | Failure:
    size = image.size
    scale = 1.0 if enough_side is None else enough_side / max(size)
    enough = (max(1, int(size[0] * scale)), max(1, int(size[1] * scale)))
    drafted = image.draft("RGB", enough) if scale < 1 else None
    image.load()
    width, height = size if drafted else image.size
    turn, note = _turn(image)
    shown = image if image.mode == "L" and "transparency" not in image.info else _to_rgb(image)
    if isinstance(shown, Failure):
        return shown
    if turn is not None:
        shown = shown.transpose(turn)
    if turn in _SIDEWAYS:
        width, height = height, width
    return Picture(shown, width, height, frames, note)


def _count_frames(image: Image.Image) -> int:
    """Return how many frames there are, or 0 where that cannot be told; the first, all that is used, may be fine."""
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # noqa: BLE001 - a file may be damaged further on
        return 0


def _turn(image: Image.Image) -> tuple[Image.Transpose | None, str]:
    """Return what makes a picture upright. After load(): some of Pillow's readers turn it themselves, and say so."""
    broken = "its EXIF data are broken and were passed over"
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - broken EXIF data must not cost the picture
        return None, broken
    return _UPRIGHT.get(orientation), broken if image.info.get("exif") and not exif else ""


def _to_rgb(image: Image.Image) -> Image.Image | Failure:
    if has_many_levels(image):
        try:
            return Image.fromarray(to_eight_bits(np.asarray(image))).convert("RGB")
        except ValueError as error:
            return Failure("nonfinite", str(error))
    if image.mode == "LAB":
        return Failure("unsupported", "colours in CIE Lab are not read; convert it to an RGB PNG or JPEG")
    if image.has_transparency_data:
        return on_grey(image)
    return image.convert("RGB")


def _explain(kind: str, content: bytes, error: Exception) -> Failure:
    text = str(error).lower()
    if is_cut_short(kind, content) or any(words in text for words in ("truncat", "eof", "not enough image data")):
        return Failure("truncated", f"the {kind} file ends too early; get the picture again")
    # Pillow's words for a header that it makes no sense of hold an address in memory.
    reason = "its header makes no sense" if isinstance(error, UnidentifiedImageError) else printable(text[:100])
    return Failure("corrupt", f"damaged {kind} file ({reason}); get the picture again")
