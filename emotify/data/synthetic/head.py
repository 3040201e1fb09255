"""Draw all parts except the features: hair, neck and shoulders, the head with its folds and lines."""

from __future__ import annotations

import numpy as np

from emotify.data.synthetic.brush import Layers, bump, step, stripe
from emotify.data.synthetic.face import Array, Face, Number
from emotify.data.synthetic.paint import Paint
from emotify.data.synthetic.view import View

HEAD_WIDTH = 7.2  # cm from the midline to the cheek
CROWN = 11.0  # cm from the eyes up
CHIN = 11.0  # cm from the eyes down
JAW_DROP = 2.0  # cm that a fully dropped jaw lowers the chin


def chin_height(face: Face) -> Number:
    """Return the distance of the chin below the eyes, cm."""
    return CHIN * face.face_length + JAW_DROP * face.jaw_drop


def head_edge(view: View, face: Face, hair: Number = 0.0) -> Array:
    """Return the distance of each pixel inside the edge of the head, cm. `hair` is the thickness of hair to add, cm."""
    up = np.maximum(-view.y, 0) / (CROWN + hair)
    down = np.maximum(view.y, 0) / (chin_height(face) + hair)
    across = view.x / (HEAD_WIDTH * face.face_width + hair)
    across = across * (1 + face.jaw * down * (1 - down))
    inside: Array = 1 - np.sqrt(across * across + up * up * np.sqrt(up) + down * down * np.sqrt(down))
    return inside * HEAD_WIDTH


def draw_back_hair(layers: Layers, view: View, face: Face, paint: Paint) -> None:
    """Draw the hair behind head and neck."""
    across = view.x / (HEAD_WIDTH * face.face_width + 1.5 + 0.03 * face.hair_length)
    up = np.maximum(-view.y, 0) / (CROWN + 1.2)
    ends = face.hair_length - view.y + 0.3 * np.sin(4 * view.x + 50 * face.texture)
    cover = step((1 - across * across - up * up * np.sqrt(up)) * 4, view.pixel + 0.3) * step(ends, 1.5)
    cover = cover * step(face.hair_length - 2, 1.0)
    layers.put(paint.hair * strands(view, face), cover, across, -up)
    layers.shade(0.55 * cover * step(8.2 - np.abs(view.x), 3.0) * step(view.y, 5.0))


def draw_body(layers: Layers, view: View, face: Face, paint: Paint) -> None:
    """Draw neck and shoulders, with the shadow of the chin."""
    chin = chin_height(face)
    across = np.abs(view.x)
    waist = np.maximum((view.y - chin - 0.8) / 3.2, -1)
    neck = step((4.5 + 0.35 * waist * waist) * face.face_width - across, view.pixel) * step(view.y - 5, 1.0)
    layers.put(paint.skin, neck, view.x / 5, 0.0)
    layers.shade(0.55 * bump(view.x, view.y - chin, 7.0, 3.2))
    shoulder, neckline = np.maximum(across - 4, 0), np.maximum(1 - across * across / 30, 0)
    collar = view.y - chin - 3.2 - 0.2 * shoulder - 0.02 * shoulder * shoulder - 1.3 * neckline
    layers.put(paint.clothes, step(collar, view.pixel + 0.05), view.x / 16, -0.3)
    layers.shade(0.25 * stripe(collar - 0.8, 0.06, view.pixel + 0.1))


def draw_head(layers: Layers, view: View, face: Face, paint: Paint) -> None:
    """Draw the ears, then the bare head with its blemishes and blush."""
    across = np.abs(view.x) - (HEAD_WIDTH + 0.1) * face.face_width
    ear = step(1 - np.hypot(across / 0.9, (view.y - 1.6) / 2.9), view.pixel + 0.1) * step(3 - face.hair_length, 1.0)
    layers.put(paint.skin, ear, 0.7 * np.sign(view.x), 0.0)
    layers.shade(0.35 * bump(across - 0.1, view.y - 1.6, 0.5, 1.6))

    cover = step(head_edge(view, face), view.pixel)
    across = view.x / (HEAD_WIDTH * face.face_width)
    down = np.clip((view.y - 0.5) / (CHIN * face.face_length), -1, 1)
    square, fall = across * across, down * down
    layers.put(paint.skin, cover, across * (0.4 + 1.1 * square * square), down * (0.25 + 0.55 * fall * fall))
    layers.shade(cover * 0.25 * np.clip(square - 0.45, 0, 1))

    phase = 40 * face.texture
    blotches = np.sin(1.9 * view.u + phase + np.sin(1.6 * view.v + 2 * phase)) * np.sin(1.3 * view.v + 3 * phase)
    layers.paint(paint.skin * 0.88, 0.15 * cover * blotches)
    layers.paint(paint.blush, 0.35 * cover * bump(view.fold - 4.3, view.v - 3.4, 2.2, 1.8))


def draw_form(layers: Layers, view: View, face: Face) -> None:
    """Shape brow ridge, eye sockets, cheeks, muzzle and chin, and the fold between cheek and muzzle."""
    fold, side, v = view.fold, view.side, view.v
    smile = face.lip_corner_pull
    cheek = 0.5 * face.cheek_raise + 0.5 * smile
    chin = chin_height(face) - 1.6
    layers.swell(0.45, fold - 2.9, v + 2.4 - 0.4 * face.brow_lower, 2.2, 1.0, side)
    layers.swell(-0.5, fold - 2.3, v + 0.2, 1.6, 1.3, side)
    layers.swell(0.40 + 0.45 * cheek, fold - 4.3, v - 3.2 + 0.9 * cheek, 2.0, 1.7, side)
    layers.swell(0.35, fold, v - 6.6, 2.8, 2.2, side)
    layers.swell(0.50 + 0.2 * face.chin_raise, fold, v - chin, 1.9, 1.3, side)
    layers.swell(-0.20, fold, v - chin + 1.8, 1.6, 0.6, side)
    layers.swell(-0.12 * face.chin_raise, fold, v - chin + 0.6, 1.2, 0.5, side)

    # The fold from the wing of the nose to the corner of the mouth. A smile rounds it; a raised nose or lip deepens it.
    along = np.clip((v - 3.9) / 4.0, 0, 1)
    line = 1.9 + along * (1.6 + 0.85 * smile + 0.5 * face.lip_stretch) + 0.7 * smile * along * (1 - along)
    depth = 0.10 + 0.25 * face.age + 0.5 * smile + 0.6 * face.nose_wrinkle + 0.4 * face.upper_lip_raise
    depth = np.minimum(depth + 0.25 * face.lip_stretch + 0.2 * face.lip_corner_depress, 1)
    layers.shade(0.36 * depth * bump(fold - line, v - 5.5, 0.42, 2.0))
    layers.slope_x[...] -= side * (0.5 * depth) * bump(fold - line - 0.6, v - 5.4, 0.7, 1.9)


def draw_lines(layers: Layers, view: View, face: Face) -> None:
    """Draw lines on the forehead of raised brows, between lowered brows, and beside smiling eyes."""
    fold, v, soft = view.fold, view.v, view.pixel + 0.25
    raised = 0.5 * face.inner_brow_raise + 0.5 * face.outer_brow_raise
    for height in (3.8, 4.8, 5.7):
        arc = v + height + 0.5 * raised - 0.03 * fold * fold
        layers.shade((0.08 + 0.32 * face.age) * raised * stripe(arc, 0.12, soft) * bump(fold, arc, 3.6, 9.0))
    layers.shade(0.55 * face.brow_lower * bump(fold - 0.55 - 0.08 * v, v + 2.0, 0.26, 0.95))
    layers.shade(0.32 * face.brow_lower * bump(fold - 0.8, v + 0.9, 1.6, 0.8))
    x = fold - face.eye_spacing - 2.2
    for rise in (-0.5, 0.1, 0.7):
        line = v - 0.1 - rise * x
        layers.shade(0.22 * face.cheek_raise * stripe(line, 0.1, soft) * bump(x - 0.5, v, 0.7, 1.0))


def draw_beard(layers: Layers, view: View, face: Face, paint: Paint) -> None:
    """Draw beard and moustache, or stubble."""
    jaw = step(view.v - 5.2 - 2.2 * bump(view.fold - 3.4, 0.0, 1.6, 1.0) + 0.9 * step(view.fold - 5, 2.0), 2.2)
    lips = bump(view.fold, view.v - 6.9 - 0.9 * face.jaw_drop, 2.2, 0.8 + 1.0 * face.jaw_drop)
    fine = (
        0.25 * np.exp(-((5.0 * view.pixel) ** 2)) * np.sin(17 * view.u + 5 * view.v) * np.sin(13 * view.v - 7 * view.u)
    )
    cover = (0.72 + fine) * face.beard * jaw * (1 - lips)
    layers.paint(paint.hair, cover * step(head_edge(view, face), view.pixel))


def draw_front_hair(layers: Layers, view: View, face: Face, paint: Paint) -> None:
    """Draw the hair above the forehead, along the temples and around the crown."""
    phase = 40 * face.texture
    ragged = np.sin(1.7 * view.u + phase) + np.sin(4.1 * view.u + 2 * phase) + 0.6 * np.sin(9.7 * view.u + 3 * phase)
    arch = 0.085 * view.u * view.u * np.sqrt(np.abs(view.u / 6.6))
    hairline = 0.1 * ragged + arch + 0.18 * face.parting * view.u - face.hairline
    long = np.clip(face.hair_length / 6, 0, 1)
    forehead = hairline - view.v
    around = np.minimum(0.5 - 0.5 * long - head_edge(view, face), np.abs(view.x) - 0.8 * np.clip(view.y, -9, 7))
    lowest = 0.6 - view.y + 12 * long
    edge = np.minimum(np.maximum(forehead, around), lowest)
    inside = step(head_edge(view, face, 0.5 + 0.7 * long), view.pixel + 0.3)
    hairy = step(9.2 - face.hairline, 1.0)
    cover = step(edge, view.pixel + 0.8) * inside * hairy
    layers.shade(0.3 * hairy * np.maximum(step(forehead + 0.9, 2.4) - cover, 0))
    layers.put(paint.hair * strands(view, face), cover, view.x / 8, view.y / 14)


def strands(view: View, face: Face) -> Array:
    """Return the lightness of the hair, about 1, with streaks along the strands and a shine at the crown."""
    phase = 60 * face.texture
    fine = np.exp(-((4.0 * view.pixel) ** 2))  # too thin to see at a low resolution
    across = 14 * view.u / (np.abs(view.v + 14) + 4) + 0.15 * np.sin(0.9 * view.v + phase)
    thick = np.sin(2.9 * across + phase) * np.sin(1.3 * across + 2 * phase)
    thin = np.sin(11.3 * across + 2 * np.sin(4.7 * across + phase)) + np.sin(23.9 * across + phase)
    shine = bump(view.x - 2 * face.light_side, view.y + 8.5, 5.0, 1.6)
    lightness: Array = 1 + 0.25 * thick + 0.10 * fine * thin + 0.45 * shine
    return lightness
