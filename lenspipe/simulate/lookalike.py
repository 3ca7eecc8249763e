"""The light beside and around the hosts of non-lenses: arms, rings, tails, companions, spikes, trails.

What the truth table says of it stands in the source's columns (`nonlens`); the rest is drawn from streams
keyed by sample id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from astropy.table import Table

from lenspipe.core.rng import uniforms
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.morphology import (
    CLUMP_UNIFORMS,
    RING_UNIFORMS,
    SPIRAL_UNIFORMS,
    TAIL_UNIFORMS,
    clumpy_disc,
    join,
    place,
    ring,
    sersic,
    spikes,
    spiral,
    tails,
    trail,
)
from lenspipe.simulate.parts import stack_columns
from lenspipe.simulate.render import Light

_SETTLED = 0.12  # lumpiness of discs of the lens galaxies' redshift
TAIL_SHARE = 0.35  # of a merging galaxy's light
_TRAIL_SIGMA = (1.0, 8.0)  # brightness of a satellite's trail [sky noise per pixel]


def surround(seed: int, truth: Table, bands: Sequence[str], pixel_scale: float, clumpy: bool) -> Light:
    """Return the light beside and around the hosts of non-lenses, from the source's columns.

    Parameters
    ----------
    pixel_scale : float
        [arcsec]
    clumpy : bool
        Whether discs and companions have star-forming knots and bulges. What makes a kind what it is (arms,
        rings, tails, spikes, trails) is there in any case.
    """
    kinds = np.asarray(truth["kind"], str)
    flux = stack_columns(truth, "mag_src", bands, flux_njy)
    # where there is nothing any number will do that is none of the forbidden ones
    get = {name: np.nan_to_num(np.asarray(truth[name], float), nan=1.0) for name in _READ}
    get["z_src"] = np.where(np.isfinite(truth["z_src"]), get["z_src"], get["z_lens"])
    here = get | {
        "star": stack_columns(truth, "mag_lens", bands, flux_njy),
        "sky": stack_columns(truth, "sky_sigma", bands) / pixel_scale**2,
        "psf_fwhm": stack_columns(truth, "psf_fwhm", bands),
    }
    here["struck"] = are_struck(seed, truth)
    here["clumpy"] = np.full(len(truth), clumpy)
    here["u"] = uniforms(seed, "shape", np.asarray(truth["sample_id"]), _UNIFORMS)
    parts = []
    for names, shape in _SHAPES:
        rows = np.flatnonzero(np.isin(kinds, names))
        some = {name: values[rows] for name, values in here.items()}
        parts.append(place(shape(some, flux[rows], bands, some["u"]), rows, len(truth)))
    return join(parts)


def are_struck(seed: int, truth: Table) -> np.ndarray:
    """Return which rows (n,) show cosmic rays: every other artifact, the rest of which show a trail."""
    chance = uniforms(seed, "artifact", np.asarray(truth["sample_id"]), 1)[:, 0] < 0.5
    return chance & (np.asarray(truth["kind"], str) == "artifact")


def _shape_disc(
    here: Mapping[str, np.ndarray], flux: np.ndarray, bands: Sequence[str], u: np.ndarray
) -> Light:
    return _disc(here, flux, bands, u[:, :CLUMP_UNIFORMS], _SETTLED)


def _disc(
    here: Mapping[str, np.ndarray],
    flux: np.ndarray,
    bands: Sequence[str],
    u: np.ndarray,
    lumpiness: float = 1.0,
) -> Light:
    # small numbers are those of a smooth disc without a bulge
    u = np.where(here["clumpy"][:, None], u, 0.0)
    return clumpy_disc(*(here[name] for name in _DISC), flux, bands, u, lumpiness)


def _shape_companions(
    here: Mapping[str, np.ndarray], flux: np.ndarray, bands: Sequence[str], u: np.ndarray
) -> Light:
    """One to three companions that share the light, each where an image may be."""
    count = 1 + (u[:, 0] > 0.35) + (u[:, 0] > 0.75)
    shares = np.where(np.arange(3) < count[:, None], 0.25 + u[:, 1:4], 0.0)
    shares = shares / shares.sum(axis=1, keepdims=True)
    dx, dy = here["x_src"] - here["x_lens"], here["y_src"] - here["y_lens"]
    parts = []
    for k in range(3):
        turn = 2.0 * np.pi * k * (0.2 + 0.6 * u[:, 4])
        stretch = 1.0 if k == 0 else 0.8 + 0.5 * u[:, 4 + k]
        cos, sin = stretch * np.cos(turn), stretch * np.sin(turn)
        one = {**here, "z_lens": here["z_src"]}
        one["x_src"] = here["x_lens"] + cos * dx - sin * dy
        one["y_src"] = here["y_lens"] + sin * dx + cos * dy
        one["r_src"] = np.maximum(here["r_src"] * np.sqrt(shares[:, k]), 0.05)
        one["phi_src"] = here["phi_src"] + 137.0 * k
        start = 10 + k * CLUMP_UNIFORMS
        parts.append(_disc(one, flux * shares[:, k : k + 1], bands, u[:, start : start + CLUMP_UNIFORMS]))
    return join(parts)


def _shape_spiral(
    here: Mapping[str, np.ndarray], flux: np.ndarray, bands: Sequence[str], u: np.ndarray
) -> Light:
    return spiral(*(here[name] for name in _DISC), flux, bands, u[:, :SPIRAL_UNIFORMS])


def _shape_ring(
    here: Mapping[str, np.ndarray], flux: np.ndarray, bands: Sequence[str], u: np.ndarray
) -> Light:
    return ring(*(here[name] for name in _ELLIPSE), flux, u[:, :RING_UNIFORMS])


def _shape_merger(
    here: Mapping[str, np.ndarray], flux: np.ndarray, bands: Sequence[str], u: np.ndarray
) -> Light:
    ends = (here[name] for name in ("x_lens", "y_lens", "x_src", "y_src"))
    second = _shape_disc(here, flux * (1.0 - TAIL_SHARE), bands, u)
    return join(
        [second, tails(*ends, flux * TAIL_SHARE, u[:, CLUMP_UNIFORMS : CLUMP_UNIFORMS + TAIL_UNIFORMS])]
    )


def _shape_star(
    here: Mapping[str, np.ndarray], flux: np.ndarray, bands: Sequence[str], u: np.ndarray
) -> Light:
    return sersic(*(here[name] for name in ("x_src", "y_src", "r_src", "n_src", "q_src", "phi_src")), flux)


def _shape_spikes(
    here: Mapping[str, np.ndarray], flux: np.ndarray, bands: Sequence[str], u: np.ndarray
) -> Light:
    return spikes(here["x_lens"], here["y_lens"], here["star"], u[:, :6])


def _shape_trail(
    here: Mapping[str, np.ndarray], flux: np.ndarray, bands: Sequence[str], u: np.ndarray
) -> Light:
    band = np.arange(len(bands)) == (u[:, :1] * len(bands)).astype(int)
    low, high = _TRAIL_SIGMA
    level = np.where(here["struck"], 0.0, low + (high - low) * u[:, 2])[:, None]
    return trail(here["x_lens"], here["y_lens"], here["sky"] * band * level, here["psf_fwhm"], u[:, 3:5])


_ELLIPSE = ("x_src", "y_src", "r_src", "q_src", "phi_src")
_DISC = (*_ELLIPSE, "z_lens")
_READ = (*_DISC, "n_src", "z_src", "x_lens", "y_lens")
_UNIFORMS = max(10 + 3 * CLUMP_UNIFORMS, SPIRAL_UNIFORMS)  # what the neediest of them takes
_SHAPES: tuple[tuple[tuple[str, ...], Callable[..., Light]], ...] = (
    (("disc", "edge_on", "field"), _shape_disc), (("companion", "group"), _shape_companions),
    (("spiral",), _shape_spiral), (("ring",), _shape_ring), (("merger",), _shape_merger), (("double",), _shape_star),
    (("spike",), _shape_spikes), (("artifact",), _shape_trail),
)  # fmt: skip
