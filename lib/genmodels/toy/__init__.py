"""Worlds where the truth is known: densities on the plane, mixtures with exact scores, languages one can enumerate."""

from .language import MarkovText, TinyLanguage, all_sequences, parallel_cost
from .latin import LatinSquares
from .mixture import EmpiricalDenoiser, GaussianMixture, face
from .shapes import (
    SHAPES,
    Blobs,
    Checkerboard,
    Polar,
    Shape,
    checkerboard,
    eight_gaussians,
    gaussian_grid,
    grid,
    pinwheel,
    rings,
    shape,
    spiral,
    two_moons,
)

__all__ = [
    "SHAPES",
    "Blobs",
    "Checkerboard",
    "EmpiricalDenoiser",
    "GaussianMixture",
    "LatinSquares",
    "MarkovText",
    "Polar",
    "Shape",
    "TinyLanguage",
    "all_sequences",
    "checkerboard",
    "eight_gaussians",
    "face",
    "gaussian_grid",
    "grid",
    "parallel_cost",
    "pinwheel",
    "rings",
    "shape",
    "spiral",
    "two_moons",
]
