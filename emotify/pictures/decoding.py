"""Decode the bytes of a picture file to an upright picture in RGB or grey, or to a failure with a status."""

from __future__ import annotations

import importlib
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, features

from emotify.files import printable
from emotify.pictures import libtiff, sixteen_bits, tiff, webp
from emotify.pictures.bounds import MOST_FRAMES, TooManyPartsError, bound, count_many_frames
from emotify.pictures.formats import CAMERA_RAW, describe_foreign, identify, is_cut_short, unsupported_format
from emotify.pictures.jpeg import Coding, read_coding
from emotify.pictures.memory import Share
from emotify.pictures.pixels import composite_on_grey, has_many_levels, to_eight_bits
from emotify.pictures.png import DamagedPixelsError, is_apple_png
from emotify.pictures.png import versions as png_versions

Status = Literal[
    "not_found", "permission", "empty", "not_an_image", "truncated", "corrupt", "unsupported", "too_large",
    "too_small", "bad_aspect", "not_regular", "nonfinite", "memory", "timeout",
]  # fmt: skip

MAX_PIXELS: Final = 50_000_000
_MAX_STREAMED_PIXELS: Final = 250_000_000  # for JPEG files that can be decoded at a smaller size, row by row
MIN_SIDE: Final = 16
MAX_ASPECT: Final = 20

_SKIPPED_METADATA: Final = "damaged metadata were skipped"
_CUT_SHORT: Final = ("truncat", "eof", "not enough image data")  # words in Pillow's errors for truncated files
# The type of the item with the EXIF data, in its ItemInfoEntry box of version 2 (ISO 14496-12).
_EXIF_ITEM: Final = re.compile(rb"(infe\x02.{7})Exif", re.DOTALL)
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
_READERS: Final = {"WEBP": "WebP"}  # Pillow modules whose name is not the format in title case
_SIDEWAYS: Final = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """An upright picture. `image` may be smaller than `width` x `height`, the size of the picture in the file.

    The mode of `image` is RGB, or L if the file is grey, which saves time on millions of small grey faces.
    """

    image: Image.Image
    width: int
    height: int
    frames: int = 1
    note: str = ""  # faults of the file that did not prevent reading it


@dataclass(frozen=True, slots=True)
class _File:
    """The content of a picture file, and Pillow's name of its format."""

    content: bytes
    kind: str

    def open(self) -> Image.Image:
        """Open the content with Pillow's reader of this format.

        Image.open would use the same reader, but its limit on pixels is lower than ours for JPEG files.
        """
        return Image.OPEN[self.kind][0](io.BytesIO(self.content), "")  # in memory, so there is no file to close


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why a picture cannot be read and what to do about it, in one line without the path."""

    status: Status
    message: str


def decode(
    content: bytes, *, enough_side: int | None = None, named_raw: bool = False, share: Share | None = None
) -> Picture | Failure:
    """Decode the first frame of a picture file's content. The format is identified by content.

    enough_side: a JPEG file may be decoded at 1/2, 1/4 or 1/8 of its size, which is faster and takes less memory, if
        its longer side then still has this many pixels.
    named_raw: the file's name has an extension of camera raw.
    share: the picture's share of the memory for all pictures in progress, taken here and kept for the pixels.

    Raises MemoryError, and no other exception.
    """
    kind = identify(content)
    if kind is None:
        if name := unsupported_format(content, named_raw=named_raw):
            return Failure("unsupported", _not_read(name))
        return Failure("not_an_image", describe_foreign(content))
    try:
        content, bound_note = bound(kind, content)
    except TooManyPartsError as error:
        return Failure("corrupt", f"damaged {kind} file ({error}); save it again")
    coding = read_coding(content) if kind == "JPEG" else None
    if name := _unsupported_variant(kind, content, coding, named_raw=named_raw):
        return Failure("unsupported", _not_read(name))
    if failure := _missing_reader(kind):
        return failure
    _silence_pillow()
    most = _MAX_STREAMED_PIXELS if coding and coding.streams else MAX_PIXELS
    failures: list[Failure] = []
    try:
        for version, note in _versions(kind, content):
            result = _decode_version(_File(version, kind), enough_side=enough_side, most_pixels=most, share=share)
            if isinstance(result, Picture):
                return replace(result, note="; ".join(filter(None, [result.note, note, bound_note])))
            failures.append(result)
            if result.status not in {"truncated", "corrupt", "unsupported"}:
                break
    except DamagedPixelsError:
        return Failure("corrupt", "damaged PNG file (wrong checksum); get the picture again")
    return failures[0]


def _not_read(name: str) -> str:
    if name == CAMERA_RAW:
        return f"{name}, of which only the thumbnail could be read; convert it to JPEG or PNG"
    return f"{name} files are not read; convert it to PNG or JPEG"


def _unsupported_variant(kind: str, content: bytes, coding: Coding | None, *, named_raw: bool) -> str:
    """Return the name of an unsupported variant of a supported format, or an empty string."""
    if coding is not None:
        return coding.unsupported
    if kind == "TIFF" and (named_raw or tiff.is_camera_raw(content)):
        return CAMERA_RAW
    if kind == "PNG" and is_apple_png(content):
        return "iPhone app's PNG (CgBI)"
    return ""


def _versions(kind: str, content: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield versions of a file to try one after the other, each with a note: first complete, then without metadata.

    Raises DamagedPixelsError for a PNG file whose pixels do not match their checksums.
    """
    if kind == "PNG":
        yield from ((version, _SKIPPED_METADATA if damaged else "") for version, damaged in png_versions(content))
        return
    yield content, ""
    if kind == "TIFF":
        yield tiff.without_descriptions(content), _SKIPPED_METADATA
    elif kind == "WEBP":
        if version := webp.without_descriptions(content):
            yield version, _SKIPPED_METADATA
    elif kind == "AVIF":
        yield _EXIF_ITEM.sub(rb"\1skip", content), _SKIPPED_METADATA


def _decode_version(
    file: _File, *, enough_side: int | None, most_pixels: int, share: Share | None
) -> Picture | Failure:
    libtiff.pop_message()  # discard a message about the previous picture
    try:
        image = file.open()
        if failure := check_size(*image.size, most_pixels):
            return failure
        if not (frames := count_many_frames(file.kind, file.content) or _count_frames(image)):
            image, frames = file.open(), 1  # opening a damaged frame may have changed the image
        return _load(image, min(frames, MOST_FRAMES), file=file, enough_side=enough_side, share=share)
    except MemoryError:
        raise
    except Image.DecompressionBombError:
        return _too_large("far too many pixels", most_pixels)
    except Exception as error:  # noqa: BLE001 - on hostile bytes Pillow's readers raise nearly every kind of exception
        return _explain(file, error)


def from_image(image: Image.Image) -> Picture | Failure:
    """Convert a Pillow image to a Picture or a Failure. Raises MemoryError, and no other exception."""
    _silence_pillow()
    try:
        # The image belongs to the caller and must not be changed.
        return check_size(*image.size) or _load(image, _count_frames(image) or 1)
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - a hostile file may be read only now
        return Failure("corrupt", f"cannot be read ({printable(str(error)[:100])}); get the picture again")


def from_array(pixels: npt.NDArray[np.uint8]) -> Picture | Failure:
    """Convert uint8 pixels, grey (H, W) or RGB (H, W, 3), to a Picture or a Failure."""
    if pixels.dtype != np.uint8 or pixels.ndim not in {2, 3} or pixels.shape[2:] not in {(), (3,)}:
        shape = "x".join(map(str, pixels.shape))
        return Failure("unsupported", f"an array of {pixels.dtype}, {shape}; give uint8 pixels, grey HxW or RGB HxWx3")
    height, width = pixels.shape[:2]
    return check_size(width, height) or Picture(Image.fromarray(np.ascontiguousarray(pixels)), width, height)


@cache
def _missing_reader(kind: str) -> Failure | None:
    """Load Pillow's reader of one format only. Return a Failure if the reader is not installed."""
    if kind == "HEIF":
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            return Failure("unsupported", "HEIC needs another package: pip install pillow-heif; or convert it to JPEG")
        register_heif_opener(decode_threads=1)  # several pictures are decoded in parallel already
        return None
    if kind in {"AVIF", "WEBP"} and not features.check(kind.lower()):
        return Failure("unsupported", f"this Pillow was built without {kind}; convert it to PNG or JPEG")
    reader = importlib.import_module(f"PIL.{_READERS.get(kind, kind.title())}ImagePlugin")
    if kind == "TIFF":
        libtiff.capture_messages()
    if kind == "AVIF":
        vars(reader)["DEFAULT_MAX_THREADS"] = 1
    return None


def _silence_pillow() -> None:
    # Pillow's warnings are ignored or become a status. `catch_warnings` is not safe here, since it changes the filters
    # of the whole process while other threads read pictures. Adding one filter once is safe.
    if not any(
        action == "ignore" and module and module.pattern == "PIL" for action, _, _, module, _ in warnings.filters
    ):
        warnings.filterwarnings("ignore", module="PIL")


def check_size(width: int, height: int, most_pixels: int = MAX_PIXELS) -> Failure | None:
    """Return a failure if the size, in pixels, is not allowed for a picture."""
    if min(width, height) < 1:
        return Failure("corrupt", f"its header says {width}x{height} pixels; get the picture again")
    if width * height > most_pixels:
        return _too_large(f"{width}x{height}", most_pixels)
    if max(width, height) > MAX_ASPECT * min(width, height):
        return Failure(
            "bad_aspect", f"{width}x{height} has a side more than {MAX_ASPECT} times the other; crop the picture"
        )
    if min(width, height) < MIN_SIDE:
        return Failure("too_small", f"{width}x{height}, a side has fewer than {MIN_SIDE} pixels; get a larger picture")
    return None


def _too_large(what: str, most_pixels: int) -> Failure:
    return Failure("too_large", f"{what}, more than {most_pixels // 10**6} megapixels; make the picture smaller")


def _load(
    image: Image.Image,
    frames: int,
    *,
    file: _File | None = None,
    enough_side: int | None = None,
    share: Share | None = None,
) -> Picture | Failure:
    size = image.size
    enough = _enough(size, enough_side)
    drafted = image.draft("RGB", enough) if enough != size else None
    stored = sixteen_bits.layout(image)
    if share is not None:
        share.take(image, size)
    image.load()
    if hasattr(image, "_decoder"):  # the decoders of WebP and AVIF keep another copy or two of the picture
        image._decoder = None  # noqa: SLF001
    width, height = size if drafted else image.size
    turn, note = _turn(image)
    if file and stored and sixteen_bits.leaves_bits_unused(image):
        shown: Image.Image | Failure = composite_on_grey(_brighten(image, file, stored))
    elif image.mode == "L" and "transparency" not in image.info:
        shown = image
    else:
        shown = _to_rgb(image, white_is_zero=bool(file and file.kind == "TIFF" and tiff.white_is_zero(file.content)))
    if isinstance(shown, Failure):
        return shown
    if turn is not None:
        shown = shown.transpose(turn)
    if share is not None:
        share.keep(shown)
    if turn in _SIDEWAYS:
        width, height = height, width
    return Picture(shown, width, height, frames, note)


def _enough(size: tuple[int, int], enough_side: int | None) -> tuple[int, int]:
    """Return the smallest size at which to decode a JPEG file, which has at most MAX_PIXELS."""
    scale = 1.0 if enough_side is None else min(1.0, enough_side / max(size))
    while size[0] * size[1] * scale**2 > MAX_PIXELS:
        scale /= 2
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def _brighten(upper: Image.Image, file: _File, stored: str) -> Image.Image:
    lower = file.open()
    sixteen_bits.show_lower_bytes(lower, stored)
    lower.load()
    return sixteen_bits.scale_to_bits_in_use(upper, lower, stored)


def _count_frames(image: Image.Image) -> int:
    """Return the number of frames, or 0 if they cannot be counted. The first frame may still be readable."""
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # noqa: BLE001 - a later part of the file may be damaged
        return 0


def _turn(image: Image.Image) -> tuple[Image.Transpose | None, str]:
    """Return the operation that makes a picture upright, and a note.

    Call it after load(): some of Pillow's readers rotate the picture themselves and then reset the EXIF orientation.
    """
    broken = "damaged EXIF data were skipped"
    try:
        exif = image.getexif()
        orientation = exif.get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 - damaged EXIF data must not prevent reading the picture
        return None, broken
    return _UPRIGHT.get(orientation), broken if image.info.get("exif") and not exif else ""


def _to_rgb(image: Image.Image, *, white_is_zero: bool) -> Image.Image | Failure:
    if has_many_levels(image):
        try:
            grey = to_eight_bits(np.asarray(image))
        except ValueError as error:
            return Failure("nonfinite", str(error))
        return Image.fromarray(~grey if white_is_zero else grey).convert("RGB")
    if image.mode == "LAB":
        return Failure("unsupported", "colours in CIE Lab are not read; convert it to an RGB PNG or JPEG")
    if image.has_transparency_data:
        return composite_on_grey(image)
    return image.convert("RGB")


def _explain(file: _File, error: Exception) -> Failure:
    text = str(error).lower()
    if is_cut_short(file.kind, file.content) or any(words in text for words in _CUT_SHORT):
        return Failure("truncated", f"the {file.kind} file ends too early; get the picture again")
    # libtiff's own message is more precise than Pillow's "decoder error -2".
    reason = printable(((libtiff.pop_message() if file.kind == "TIFF" else "") or text)[:100].lower())
    if "unknown pixel mode" in text and file.kind == "TIFF" and (layout := tiff.pixel_layout(file.content)):
        return Failure("unsupported", _not_read(f"TIFF ({layout})"))
    if "unsupported" in text:
        return Failure("unsupported", f"unsupported kind of {file.kind} ({reason}); convert it to PNG or JPEG")
    return Failure("corrupt", f"damaged {file.kind} file ({reason}); get the picture again")
