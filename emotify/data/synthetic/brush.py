"""Antialiased shapes, and the layers to paint them into. All drawings use only these shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from emotify.data.synthetic.face import Array, Number


def step(distance: Number, softness: Number) -> Array:
    """Return 0 for negative and 1 for positive distances, with a smooth ramp of width `softness` around 0."""
    ramp: Array = np.clip(distance / softness + 0.5, 0, 1)
    return ramp * ramp * (3 - 2 * ramp)


def stripe(distance: Array, half_width: Number, softness: Number) -> Array:
    """Return the cover (0..1) of a line around distance 0. A line thinner than `softness` becomes faint."""
    return step(distance + half_width, softness) - step(distance - half_width, softness)


def bump(x: Number, y: Number, width: Number, height: Number) -> Array:
    """Return a Gaussian hill: 1 at (0, 0), and 0.37 at a distance of `width` or `height`."""
    across, along = x / width, y / height
    hill: Array = np.exp(-(across * across + along * along))
    return hill


def mix(start: Array, end: Array, share: Number) -> Array:
    """Return the linear blend of two arrays: `start` where `share` is 0, `end` where it is 1."""
    blend: Array = start + share * (end - start)
    return blend


@dataclass(frozen=True)
class Layers:
    """A picture before lighting. Arrays are (N, H, W), and methods paint in place."""

    albedo: Array  # (C, N, H, W), colours, 0..1
    alpha: Array  # 0 for background, 1 for a surface
    slope_x: Array  # tangent of the surface's angle to the right
    slope_y: Array  # tangent of the surface's angle down
    light: Array  # share of the light that reaches the surface, 0..1

    @classmethod
    def blank(cls, channels: int, shape: tuple[int, ...]) -> Layers:
        """Return empty layers."""
        empty = np.zeros((channels + 3, *shape), dtype=np.float32)
        alpha, slope_x, slope_y = empty[channels:]
        return cls(empty[:channels], alpha, slope_x, slope_y, light=np.ones(shape, dtype=np.float32))

    def rows(self, rows: slice) -> Layers:
        """Return some rows as a view of these layers: painting it paints these layers."""
        window = (..., rows, slice(None))
        return Layers(
            self.albedo[window], self.alpha[window], self.slope_x[window], self.slope_y[window], self.light[window]
        )

    def put(self, colour: Array, cover: Array, slope_x: Number, slope_y: Number) -> None:
        """Put a new surface in front, with its own slopes and without shadow."""
        self.paint(colour, cover)
        for layer, value in zip(
            (self.alpha, self.slope_x, self.slope_y, self.light), (1.0, slope_x, slope_y, 1.0), strict=True
        ):
            layer += cover * (value - layer)

    def paint(self, colour: Array, cover: Array) -> None:
        """Paint `colour` (C, N, 1, 1) or (C, N, H, W) over the surface, and keep its slopes."""
        self.albedo[...] += cover * (colour - self.albedo)

    def shade(self, cover: Array) -> None:
        """Remove the share `cover` of the light."""
        self.light[...] *= 1 - cover

    def swell(self, size: Number, x: Array, y: Array, width: Number, height: Number, side: Number = 1.0) -> None:
        """Add a round hill of `size` centimetres to the surface, or a hollow when negative."""
        hill = (2 * size) * bump(x, y, width, height)
        self.slope_x[...] += hill * x * (side / width**2)
        self.slope_y[...] += hill * y * (1 / height**2)
