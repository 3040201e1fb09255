"""Draw faces as pixels: framing, order of the layers, light and grain."""

from __future__ import annotations

import numpy as np

from emotify.arrays import UInt8Array
from emotify.data.synthetic import features, head
from emotify.data.synthetic.brush import Layers
from emotify.data.synthetic.face import Array, Face
from emotify.data.synthetic.paint import Paint
from emotify.data.synthetic.view import View, look
from emotify.pictures.pixels import IMAGE_SIZE

# FER-2013's framing: of 48 pixels, the eyes are at 18.7 and the mouth at 36.0.
FRAME = 18.1  # cm
EYE_LINE = 18.7 / 48 * FRAME
BATCH_PIXELS = 1 << 15  # pixels of an array that fit into the cache of a CPU core


def draw_faces(
    faces: Face, *, size: int = IMAGE_SIZE, colour: bool = False, generator: np.random.Generator | None = None
) -> UInt8Array:
    """Draw faces (N,) in FER-2013's framing: uint8 (N, 1, size, size), or (N, 3, size, size) in colour.

    generator: draws the grain of the pictures; without it, they have no grain.
    """
    count, batch = len(faces), max(1, BATCH_PIXELS // size**2)
    pictures = np.empty((count, 3 if colour else 1, size, size), dtype=np.uint8)
    along = (np.arange(size, dtype=np.float32) + 0.5) * np.float32(FRAME / size)
    x, y = (along - FRAME / 2)[None, None, :], (along - EYE_LINE)[None, :, None]
    for start in range(0, count, batch):
        rows = slice(start, start + batch)
        face = faces.take(rows).spread()
        picture, alpha = _draw_heads(face, x, y, FRAME / size, grey=not colour)
        picture += (1 - alpha) * _backdrop(face, x, y, grey=not colour)
        if generator is not None:
            picture += face.grain * generator.standard_normal(picture.shape[1:], dtype=np.float32)
        pictures[rows] = _to_uint8(picture).swapaxes(0, 1)
    return pictures


def draw_scene(
    faces: Face, *, width: int = 800, height: int = 450, generator: np.random.Generator | None = None
) -> UInt8Array:
    """Draw faces side by side on one soft background, as a colour picture, uint8 (height, width, 3)."""
    count, pixel = len(faces), 34.0 / height
    x = ((np.arange(width, dtype=np.float32) + 0.5 - width / 2) * np.float32(pixel))[None, None, :]
    y = ((np.arange(height, dtype=np.float32) + 0.5 - 0.42 * height) * np.float32(pixel))[None, :, None]
    first = faces.take(slice(0, 1)).spread()
    scene = _backdrop(first, x, y, grey=False)
    for index in range(count):
        face = faces.take(slice(index, index + 1)).spread()
        centre = ((index + 0.5) / count - 0.5) * width * pixel
        picture, alpha = _draw_heads(face, x - np.float32(centre), y, pixel, grey=False)
        scene = picture + (1 - alpha) * scene
    if generator is not None:
        scene += first.grain * generator.standard_normal(scene.shape[1:], dtype=np.float32)
    return np.moveaxis(_to_uint8(scene)[:, 0], 0, -1)


def _to_uint8(picture: Array) -> UInt8Array:
    return (picture * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _draw_heads(face: Face, x: Array, y: Array, pixel: float, *, grey: bool) -> tuple[Array, Array]:
    """Return lit heads (C, N, H, W), with black background, and their cover (N, H, W) in 0..1."""
    view, paint = look(face, x, y, pixel), Paint(face, grey=grey)
    layers = Layers.blank(len(paint.skin), view.x.shape)

    def between(top: float, bottom: float) -> tuple[Layers, View]:
        rows = view.between(top, bottom)
        return layers.rows(rows), view.rows(rows)

    head.draw_back_hair(layers, view, face, paint)
    head.draw_body(*between(2, np.inf), face, paint)
    head.draw_head(layers, view, face, paint)
    head.draw_form(layers, view, face)
    head.draw_lines(*between(-8, 2.5), face)
    head.draw_beard(*between(2, np.inf), face, paint)
    features.draw_nose(*between(-5, 6), face, paint)
    features.draw_mouth(*between(4, 14), face, paint)
    features.draw_eyes(*between(-3, 2.5), face, paint)
    features.draw_brows(*between(-5, 1), face, paint)
    head.draw_front_hair(layers, view, face, paint)
    return layers.albedo * _light(layers, face), layers.alpha


def _light(layers: Layers, face: Face) -> Array:
    """Return the brightness from ambient light, a lamp and shadows: about 1 for a face lit from the front."""
    side, height = 1.1 * face.light_side, 0.9 * face.light_height
    upright = 1 / np.sqrt(1 + layers.slope_x**2 + layers.slope_y**2)
    towards = (layers.slope_x * side - layers.slope_y * height + 1) * upright / np.sqrt(1 + side**2 + height**2)
    lamp = np.maximum(towards, 0)
    ambient = 0.75 - 0.45 * face.contrast
    bright = ambient * (0.75 + 0.25 * upright) + (1.12 - ambient) * lamp
    polished = lamp * lamp * lamp * lamp
    gloss = 0.22 * polished * polished * polished * (0.4 + face.contrast)
    lit: Array = face.exposure * layers.light * (bright + gloss)
    return lit


def _backdrop(face: Face, x: Array, y: Array, *, grey: bool) -> Array:
    """Return a blurred room as background: two broad gradients."""
    phase = 30 * face.texture
    room = 0.18 * np.sin(0.11 * x + phase) * np.cos(0.13 * y + 2 * phase)
    window: Array = 1 + room + 0.10 * np.sin(0.31 * x + 0.2 * y + phase)
    return Paint(face, grey=grey).backdrop * window
