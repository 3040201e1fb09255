"""Draw brows, eyes, nose and mouth, as the muscles move them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotify.data.synthetic.brush import Layers, bump, mix, step, stripe
from emotify.data.synthetic.face import Array, Face
from emotify.data.synthetic.head import JAW_DROP
from emotify.data.synthetic.paint import Paint
from emotify.data.synthetic.view import View

MOUTH = 6.55  # cm below the eyes


def draw_brows(layers: Layers, view: View, face: Face, paint: Paint) -> None:
    """Draw each brow as a stroke through its inner end, arch and outer end. Muscles move these points."""
    stronger = 1 + face.asymmetry * view.side
    up_inner = face.inner_brow_raise * stronger
    up_outer = face.outer_brow_raise * stronger
    lower = face.brow_lower * (1 - 0.55 * face.inner_brow_raise)
    inner = 1.95 + 1.25 * up_inner - 1.45 * lower
    arch = 2.45 + 1.00 * up_outer + 0.20 * up_inner - 1.05 * lower
    outer = 1.75 + 0.95 * up_outer - 0.45 * up_inner - 0.15 * lower

    start = 1.2 - 0.5 * face.brow_lower
    t = (view.fold - start) / (face.eye_spacing + 1.9 - start)
    bend = (arch - inner - 0.6 * (outer - inner)) / 0.24  # the parabola through (0, inner), (0.6, arch), (1, outer)
    height = inner + (outer - inner) * t + bend * t * (1 - t)
    thickness = (0.20 + 0.26 * face.brow_weight) * (1.05 - 0.75 * np.clip(t, 0, 1) ** 2)
    hairs = 1 + 0.12 * np.exp(-((5 * view.pixel) ** 2)) * np.sin(21 * view.fold + 13 * view.v)
    cover = stripe(view.v + height, thickness, view.pixel + 0.3) * step(t, 0.18) * step(1 - t, 0.25) * hairs
    layers.paint(paint.hair * 0.8, np.minimum(cover * (0.5 + 0.45 * face.brow_weight), 1))


def draw_eyes(layers: Layers, view: View, face: Face, paint: Paint) -> None:
    """Draw eyeball, iris and highlight between two lids, with lashes, crease and bag."""
    tight = np.minimum(face.lid_tighten + 0.6 * face.nose_wrinkle + 0.15 * face.brow_lower, 1)
    upper = 0.56 + 0.40 * face.lid_raise - 0.22 * tight - 0.42 * face.lid_droop - 0.1 * face.cheek_raise
    lower = 0.46 + 0.10 * face.lid_raise - 0.24 * tight - 0.22 * face.cheek_raise
    x = view.fold - face.eye_spacing
    t = x / (1.5 * face.eye_size)
    square = t * t
    slant = (0.18 * face.inner_brow_raise - 0.10) * t
    top = view.v - slant + face.eye_size * np.maximum(upper, 0.02) * (1 - square * np.sqrt(np.abs(t)))
    bottom = slant + face.eye_size * lower * (1 - square) - view.v
    opening = step(top, view.pixel) * step(bottom, view.pixel)

    layers.shade(0.22 * bump(x, view.v + 0.35, 1.9, 1.1))
    crease = stripe(top + 0.36 + 0.15 * face.lid_raise, 0.08, view.pixel + 0.1) * step(1.15 - np.abs(t), 0.5)
    layers.shade(0.3 * crease * (1 - 0.6 * face.brow_lower))
    bag = 0.25 + 0.35 * face.age + 0.6 * np.maximum(face.cheek_raise, face.lid_tighten)
    layers.shade(0.28 * bag * bump(x, view.v - 0.75 - lower + 0.3 * square, 1.4, 0.3))

    layers.put(paint.white, opening, 0.25 * x * view.side, 0.25 * view.v)
    across = x - 0.45 * face.gaze_x * view.side
    down = view.v - 0.3 * face.gaze_y + 0.05
    radius = np.sqrt(across * across + down * down)
    iris = opening * step(0.63 - radius, view.pixel)
    dark = 0.6 * step(radius - 0.53, 0.12) + step(0.28 - radius, view.pixel + 0.06)
    layers.paint(paint.iris * (0.75 + 0.5 * bump(across, down - 0.3, 0.5, 0.4)), iris)
    layers.paint(paint.black, iris * np.minimum(dark, 1))
    layers.shade(opening * (0.5 * step(0.28 - top, 0.5) + 0.2 * step(np.abs(t) - 0.75, 0.4)))

    lashes = stripe(top, 0.10, view.pixel) * step(1.06 - np.abs(t), 0.15)
    layers.paint(paint.black, 0.8 * lashes + 0.2 * stripe(bottom, 0.05, view.pixel) * step(1 - np.abs(t), 0.15))
    lamp = np.where(face.light_side < 0, -0.22, 0.22).astype(np.float32)
    gleam = opening * bump(across - lamp * view.side, down + 0.2, 0.17, 0.17)
    layers.paint(paint.white * 1.15, gleam / (1 + (2 * view.pixel) ** 2))


def draw_nose(layers: Layers, view: View, face: Face, paint: Paint) -> None:
    """Draw bridge, tip, wings, nostrils and wrinkles of the nose."""
    fold, side, width = view.fold, view.side, face.nose_width
    v = view.v + 0.35 * face.nose_wrinkle
    layers.swell(0.65, fold, v - 1.4, 1.0 * width, 2.5, side)
    layers.swell(0.70, fold, v - 3.7, 1.0 * width, 0.85, side)
    layers.swell(0.35, fold - 1.3 * width, v - 3.9, 0.6, 0.6, side)
    layers.shade(0.15 * bump(fold - 1.05 * width, v - 2.4, 0.45, 1.8))
    layers.shade(0.42 * bump(fold, v - 4.75, 1.5 * width, 0.36))
    layers.shade(0.26 * bump(fold - 1.85 * width, v - 4.1, 0.36, 0.5))
    nostril = 1 - np.hypot((fold - 0.75 * width) / 0.44, (v - 4.45 - 0.1 * fold) / (0.19 + 0.08 * face.nose_wrinkle))
    layers.paint(paint.black, 0.7 * step(nostril * 0.3, view.pixel + 0.06))
    for height in (-0.5, 0.2, 0.9):
        line = v - height - 0.35 * fold
        wrinkle = stripe(line, 0.13, view.pixel + 0.3) * bump(fold - 0.5, line, 0.85, 3.0)
        layers.shade(0.5 * face.nose_wrinkle * wrinkle)


@dataclass(frozen=True)
class Lips:
    """The curves of a mouth, as distances below the eyes in cm, (N, H, W)."""

    t: Array  # 0 at the midline, 1 at the corners
    bow: Array  # relative height of the opening, 1 at the midline to 0 at the corners
    corners: Array  # horizontal distance from the nearer corner, cm
    upper: Array  # the upper lip's upper edge
    top: Array  # its lower edge
    line: Array  # where closed lips meet
    low: Array  # the lower lip's upper edge
    lower: Array  # its lower edge
    bite: Array  # the upper teeth's lower edge
    row: Array  # the lower teeth's upper edge


def shape_lips(view: View, face: Face) -> Lips:
    """Compute the curves of the lips from the muscles of the mouth."""
    stronger = 1 + face.asymmetry * view.side
    pull, depress = face.lip_corner_pull * stronger, face.lip_corner_depress * stronger
    jaw, part = face.jaw_drop, face.lips_part
    half = 2.5 + 0.7 * face.lip_corner_pull + 0.6 * face.lip_stretch - 0.8 * face.lip_pucker
    half = half - 0.5 * jaw * (1 - face.lip_corner_pull)
    t = np.abs(view.u) / half
    # Outline of the opening: a lens. A dropped jaw makes it rounder, and stretched lips make it squarer.
    arc = np.maximum(1 - t * t, 0)
    bow = mix(arc, np.sqrt(arc), np.minimum(jaw, 1))
    bow = mix(bow, arc * (2 - arc), np.clip(face.lip_stretch + face.upper_lip_raise - pull, 0, 1))

    middle = MOUTH * (0.4 + 0.6 * face.face_length) + 0.2 * pull - 0.3 * face.chin_raise - 0.12 * face.nose_wrinkle
    corner = -0.85 * pull + 0.75 * depress + 0.15 * face.lip_stretch + jaw
    line = middle + corner * (1 - bow)
    raised = 0.5 * face.upper_lip_raise * stronger + 0.2 * pull
    top = line - (0.1 + raised) * part * bow
    low = line + ((0.5 + 0.4 * face.lower_lip_depress) * part + (JAW_DROP + 0.5) * jaw) * bow

    full = (0.5 + 0.5 * face.lip_fullness) * (1 - 0.65 * face.lip_press) * (1 - 0.25 * face.lip_corner_pull)
    full = full * (1 - 0.2 * face.lip_stretch + 0.3 * face.lip_pucker)
    cupid = 1 - 0.3 * bump(view.u, 0.0, 0.35, 1.0)
    bite = middle + 0.28 + 0.25 * pull + 0.6 * corner * (1 - bow)
    return Lips(
        t=t,
        bow=bow,
        corners=np.abs(view.u) - half,
        upper=top - (0.72 * full * cupid + 0.4 * raised * (1 - part)) * bow,
        top=top,
        line=line,
        low=low,
        lower=low + 0.95 * full * bow * (1.25 - 0.25 * bow),
        bite=bite,
        row=np.maximum(low - 0.75 * face.lower_lip_depress * bow, bite + 0.08),
    )


def draw_mouth(layers: Layers, view: View, face: Face, paint: Paint) -> None:
    """Draw lips around a dark opening with teeth and tongue."""
    lips = shape_lips(view, face)
    sides = step(1.02 - lips.t, 0.08)
    below_top, above_low = step(view.v - lips.top, view.pixel), step(lips.low - view.v, view.pixel)
    soft = view.pixel + 0.12
    cover = step(view.v - lips.upper, soft) * step(lips.lower - view.v, soft) * sides

    layers.shade(0.32 * bump(view.u, view.v - lips.lower - 0.35, 1.7, 0.35))
    layers.paint(paint.lips, cover * (0.85 - 0.25 * face.beard))
    layers.slope_y[...] += cover * (1 - below_top) * 0.45
    layers.slope_y[...] += cover * (1 - above_low) * 1.4 * (view.v - 0.5 * (lips.low + lips.lower))
    closed = np.maximum(1 - 3 * face.lips_part - 3 * face.jaw_drop, 0)
    layers.shade(0.6 * closed * cover * stripe(view.v - lips.line, 0.1, view.pixel + 0.1))
    layers.shade(0.45 * bump(lips.corners, view.v - lips.line, 0.35, 0.3))
    draw_teeth(layers, view, face, paint, lips=lips, inside=below_top * above_low * sides)


def draw_teeth(layers: Layers, view: View, face: Face, paint: Paint, *, lips: Lips, inside: Array) -> None:
    """Draw the inside of an open mouth: throat, tongue and two rows of teeth."""
    layers.put(paint.throat, inside, 0.0, 0.0)
    tongue = bump(lips.t, (view.v - lips.low + 0.1) / (0.25 + 0.7 * face.jaw_drop), 0.6, 1.0)
    layers.paint(paint.tongue, inside * 0.65 * tongue)
    shown = step(face.lower_lip_depress - 0.15, 0.2)
    teeth = np.maximum(step(lips.bite - view.v, view.pixel), shown * step(view.v - lips.row, view.pixel))
    gaps = 1 - 0.25 * np.exp(-((3 * view.pixel) ** 2)) * bump(np.sin(1.8 * view.u), 0.0, 0.18, 1.0)
    layers.paint(paint.teeth * gaps, inside * teeth * step(0.93 - lips.t, 0.2))
    layers.shade(inside * (0.35 * lips.t * lips.t + 0.3 * step(0.2 - (view.v - lips.top), 0.4)))
