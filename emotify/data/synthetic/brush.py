"""The few shapes everything is drawn with, antialiased by formula, and the layers they are painted into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotify.data.synthetic.face import Array, Number


def step(distance: Number, softness: Number) -> Array:
    """Return 1 where distance > 0 and 0 where it is < 0, with a smooth ramp `softness` wide between."""
    ramp: Array = np.clip(distance / softness + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def stripe(distance: Array, half_width: Number, softness: Number) -> Array:
    """Return the cover of a line around distance 0; one thinner than `softness` grows faint, not thick."""
    return step(distance + half_width, softness) - step(distance - half_width, softness)


def bump(x: Number, y: Number, width: Number, height: Number) -> Array:
    """Return a round hill, 1 at (0, 0) and 0.37 at `width` or `height` from there."""
    across, along = x / width, y / height
    hill: Array = np.exp(-(across * across + along * along))
    return hill


def mix(start: Array, end: Array, share: Number) -> Array:
    """Return the blend of two arrays, `end` where `share` is 1."""
    blend: Array = start + share * (end - start)
    return blend


@dataclass(frozen=True)
class Layers:
    """A picture before the light falls on it; arrays are (N, H, W) and are painted in place."""

    albedo: Array  # (C, N, H, W), colours, 0..1
    alpha: Array  # what is not background, 0..1
    slope_x: Array  # how much the surface faces right, tangent
    slope_y: Array  # how much the surface faces down, tangent
    light: Array  # the part of it that reaches the surface, 0..1

    @classmethod
    def blank(cls, channels: int, shape: tuple[int, ...]) -> Layers:
        """Return layers with nothing in them yet."""
        empty = np.zeros((channels + 3, *shape), dtype=np.float32)
        alpha, slope_x, slope_y = empty[channels:]
        return cls(empty[:channels], alpha, slope_x, slope_y, light=np.ones(shape, dtype=np.float32))

    def rows(self, rows: slice) -> Layers:
        """Return a window on these layers: what is painted there is painted here."""
        window = (..., rows, slice(None))
        return Layers(
            self.albedo[window], self.alpha[window], self.slope_x[window], self.slope_y[window], self.light[window]
        )

    def put(self, colour: Array, cover: Array, slope_x: Number, slope_y: Number) -> None:
        """Put a new surface in front of what is there, with its own form and not yet in shadow."""
        self.paint(colour, cover)
        for layer, value in zip(
            (self.alpha, self.slope_x, self.slope_y, self.light), (1.0, slope_x, slope_y, 1.0), strict=True
        ):
            layer += cover * (value - layer)

    def paint(self, colour: Array, cover: Array) -> None:
        """Lay `colour` (C, N, 1, 1) or (C, N, H, W) over what is there, leaving the surface's form."""
        self.albedo[...] += cover * (colour - self.albedo)

    def shade(self, cover: Array) -> None:
        """Take the part `cover` of the light away."""
        self.light[...] *= 1 - cover

    def swell(self, size: Number, x: Array, y: Array, width: Number, height: Number, side: Number = 1.0) -> None:
        """Let a round hill of `size` centimetres stand out of the surface (a hollow when negative)."""
        hill = (2 * size) * bump(x, y, width, height)
        self.slope_x[...] += hill * x * (side / width**2)
        self.slope_y[...] += hill * y * (1 / height**2)
