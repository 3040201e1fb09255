"""Draw the pictures in samples/: run `python tests/make_samples.py [FOLDER]` in the repository."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from emotify.data.synthetic import Face, draw_faces, draw_scene, prototype

PORTRAITS = {
    "angry": replace(
        prototype("angry", way=1), skin=0.35, hair=0.95, beard=0.5, jaw=0.0, brow_weight=0.9, hairline=7.4,
        light_side=-0.4, turn=-5.0, nod=3.0, backdrop=0.25, texture=0.1,
    ),
    "disgust": replace(
        prototype("disgust", way=1), skin=0.05, hair=0.7, hair_length=11.0, lip_colour=0.2, brow_weight=0.8, jaw=0.15,
        lower_lip_depress=0.5, lip_pucker=0.35, asymmetry=0.15, light_height=0.2, contrast=0.45, tilt=-2.0, age=0.5,
        backdrop=0.6, texture=0.35,
    ),
    "fear": replace(
        prototype("fear"), skin=0.75, hair=1.0, hair_length=7.0, lip_colour=0.3, lip_fullness=0.8, hairline=6.2,
        nose_width=1.15, light_side=0.2, turn=7.0, exposure=1.15, backdrop=0.3, texture=0.62,
    ),
    "happy": replace(
        prototype("happy"), skin=0.2, hair=0.6, hair_length=14.0, lip_colour=0.7, jaw=0.3, brow_weight=0.4,
        light_side=0.4, turn=-6.0, tilt=4.0, backdrop=0.75, texture=0.8,
    ),
    "sad": replace(
        prototype("sad"), skin=0.15, hair=0.15, hairline=7.8, age=0.9, brow_weight=0.4, face_width=1.04,
        light_side=-0.5, tilt=5.0, contrast=0.6, backdrop=0.4, texture=0.5,
    ),
    "surprise": replace(
        prototype("surprise"), skin=0.5, hair=0.9, brow_weight=0.8, jaw=0.05, hairline=7.0, nose_width=1.1,
        light_side=0.4, turn=5.0, backdrop=0.65, texture=0.25,
    ),
    "neutral": replace(
        prototype("neutral"), skin=0.9, hair=1.0, brow_weight=0.7, lip_fullness=0.9, nose_width=1.2, jaw=0.05,
        hairline=7.2, light_side=-0.3, turn=4.0, exposure=1.2, beard=0.25, backdrop=0.8, texture=0.42,
    ),
}  # fmt: skip
GROUP = ("happy", "surprise", "neutral")  # left to right


def main(folder: Path) -> None:
    """Write one portrait of each expression and a group of three."""
    folder.mkdir(parents=True, exist_ok=True)
    for emotion, face in PORTRAITS.items():
        pixels = draw_faces(replace(face, zoom=0.78), size=320, colour=True, generator=np.random.default_rng(0))
        save(np.moveaxis(pixels[0], 0, -1), folder / f"{emotion}.jpg")
    group = Face.stack([PORTRAITS[emotion] for emotion in GROUP])
    save(draw_scene(group, generator=np.random.default_rng(0)), folder / "group.jpg")


def save(pixels: np.ndarray, path: Path) -> None:
    """Write a picture as JPEG."""
    Image.fromarray(pixels).save(path, quality=88, optimize=True)


if __name__ == "__main__":
    main(Path(*sys.argv[1:]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "samples")
