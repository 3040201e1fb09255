"""Make video clips of the drawn people in samples/: `draw_frames` yields frames, `write_clip` writes them to a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLES = Path(__file__).parents[1] / "samples"


def draw_frames(*people: Sequence[str], each: int = 10, side: int = 320, moves: int = 4) -> Iterator[np.ndarray]:
    """Yield uint8 frames (side, side * people, 3), in which each person shows one expression after the other.

    people: for each person, names of samples or "" for absent; all of the same length. Each expression lasts `each`
    frames. A person sways by `moves` pixels.
    """
    drawn = {
        name: np.asarray(Image.open(SAMPLES / f"{name}.jpg").convert("RGB").resize((side, side)))
        for name in {name for person in people for name in person if name}
    }
    for number in range(each * len(people[0])):
        shown = [person[number // each] for person in people]
        shift = round(moves * np.sin(number / 3))
        yield np.hstack([
            np.roll(drawn[name], shift, axis=1) if name else np.full((side, side, 3), 90, np.uint8) for name in shown
        ])  # fmt: skip


def write_clip(
    path: Path,
    frames: Iterable[np.ndarray],
    *,
    rate: int = 10,
    codec: str = "libx264",
    aspect: Fraction = Fraction(1),
    options: dict[str, str] | None = None,
) -> Path:
    """Write RGB frames (H, W, 3) with even H and W as a clip. The suffix of the file name chooses the container."""
    import av
    from av.video.stream import VideoStream

    with av.open(str(path), "w", options=options or {}) as clip:
        stream = clip.add_stream(codec, rate=rate)
        assert isinstance(stream, VideoStream)
        stream.pix_fmt = "yuv420p"
        for number, pixels in enumerate(frames):
            if not number:
                stream.height, stream.width = pixels.shape[:2]
                stream.sample_aspect_ratio = aspect
            clip.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        clip.mux(stream.encode())
    return path
