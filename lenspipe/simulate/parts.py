"""Scenes of one kind of light each: galaxies and stars alone, or lensed sources alone, from truth rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from astropy.table import Table

from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.morphology import clumpy_disc, sersic
from lenspipe.simulate.render import Light, Scene

_LEAST_BULGE_Q = 0.6  # bulges are rounder than their discs


def galaxy_scene(truth: Table, bands: Sequence[str]) -> Scene:
    """Return the rows' galaxies (disc and bulge where there are two) and stars, without any lensing.

    Parameters
    ----------
    truth : Table
        ``x_lens``, ``y_lens``, ``r_lens``, ``r_bulge`` [arcsec], ``n_lens``, ``q_light``, ``phi_light`` [deg],
        ``mag_lens_<band>``, ``bulge_<band>`` (its share of the light; NaN = one component), ``psf_fwhm_<band>``,
        ``psf_beta`` or ``psf_beta_<band>``.
    bands : sequence of str
    """
    light = galaxy_light(truth, bands)
    return _scene(truth, bands, light, no_light(len(truth), len(bands)))


def galaxy_light(truth: Table | Mapping[str, np.ndarray], bands: Sequence[str]) -> Light:
    """Return the disc and the bulge of galaxies, two components each, from the columns of `galaxy_scene`."""
    get = {name: np.nan_to_num(np.asarray(truth[name], float)) for name in _GALAXY}
    flux = stack_columns(truth, "mag_lens", bands, flux_njy)
    divided = (get["n_lens"] == 1.0)[:, None]
    bulge = np.where(divided, np.nan_to_num(stack_columns(truth, "bulge", bands)), 0.0)
    return Light(
        x=_pair(get["x_lens"]), y=_pair(get["y_lens"]), phi=_pair(get["phi_light"]),
        r_eff=_pair(get["r_lens"], get["r_bulge"]),
        n=_pair(get["n_lens"], np.full(len(flux), 4.0)),
        q=_pair(get["q_light"], np.maximum(get["q_light"], _LEAST_BULGE_Q)),
        flux=np.stack([flux * (1.0 - bulge), flux * bulge], axis=1),
    )  # fmt: skip


def source_scene(truth: Table, bands: Sequence[str], u: np.ndarray | None = None) -> Scene:
    """Return the rows' lensed sources; theta_e = 0 or NaN leaves them unlensed.

    Parameters
    ----------
    truth : Table
        Lens and source columns of contract.md, ``psf_fwhm_<band>``, ``psf_beta`` or ``psf_beta_<band>``.
    bands : sequence of str
    u : ndarray (n, CLUMP_UNIFORMS), optional
        Uniform numbers of clumpy discs with a bulge (`morphology.clumpy_disc`), which then stand in for single
        components of index ``n_src``.
    """
    flux = stack_columns(truth, "mag_src", bands, flux_njy)
    get = {name: np.asarray(truth[column], float) for name, column in _SOURCE.items()}
    if u is None:
        source = sersic(**get, n=np.asarray(truth["n_src"], float), flux=flux)
    else:
        source = clumpy_disc(**get, z=np.asarray(truth["z_src"], float), flux=flux, bands=bands, u=u)
    return _scene(truth, bands, no_light(len(truth), len(bands)), source)


def move_lenses(truth: Table, dx: np.ndarray, dy: np.ndarray) -> Table:
    """Return truth rows whose images are moved by (dx, dy) [arcsec], each as a whole.

    The shear acts about the stamp's centre (`sie.shear`): the unlensed source moves by that much less.
    """
    moved, turn = truth.copy(), 2.0 * np.radians(np.nan_to_num(np.asarray(truth["phi_ext"], float)))
    gamma = np.nan_to_num(np.asarray(truth["gamma_ext"], float))
    gamma_1, gamma_2 = -gamma * np.cos(turn), -gamma * np.sin(turn)
    moved["x_lens"] += dx
    moved["y_lens"] += dy
    moved["x_src"] += dx - gamma_1 * dx - gamma_2 * dy
    moved["y_src"] += dy - gamma_2 * dx + gamma_1 * dy
    return moved


_GALAXY = ("x_lens", "y_lens", "r_lens", "r_bulge", "n_lens", "q_light", "phi_light")
_SOURCE = {"x": "x_src", "y": "y_src", "r_eff": "r_src", "q": "q_src", "phi": "phi_src"}


def _scene(truth: Table, bands: Sequence[str], light: Light, source: Light) -> Scene:
    names = ("theta_e", "phi", "x_lens", "y_lens", "gamma_ext", "phi_ext")
    lens = {
        name: np.nan_to_num(np.asarray(truth[name], float))
        if name in truth.colnames
        else np.zeros(len(truth))
        for name in names
    }
    q = np.asarray(truth["q"], float) if "q" in truth.colnames else np.ones(len(truth))
    return Scene(
        **lens, q=np.where(np.isfinite(q), q, 1.0), light=light, source=source,
        psf_fwhm=stack_columns(truth, "psf_fwhm", bands), psf_beta=stack_betas(truth, bands),
    )  # fmt: skip


def no_light(count: int, n_bands: int) -> Light:
    """Return a light of no components."""
    none = np.zeros((count, 0))
    return Light(none, none, none, none, none, none, np.zeros((count, 0, n_bands)))


def _pair(first: np.ndarray, second: np.ndarray | None = None) -> np.ndarray:
    return np.stack([first, first if second is None else second], axis=1)


def stack_columns(
    truth: Table | Mapping[str, np.ndarray], prefix: str, bands: Sequence[str], convert=np.asarray
) -> np.ndarray:
    """Return the columns `prefix`_<band> as one array (n, b), each put through `convert`."""
    return np.stack([convert(truth[f"{prefix}_{band}"]) for band in bands], axis=-1).astype(float)


def stack_betas(truth: Table | Mapping[str, np.ndarray], bands: Sequence[str]) -> np.ndarray:
    """Return the PSF's Moffat index (n, b): ``psf_beta_<band>``, or ``psf_beta`` where the bands have one."""
    names = getattr(truth, "colnames", truth)
    columns = [f"psf_beta_{band}" if f"psf_beta_{band}" in names else "psf_beta" for band in bands]
    return np.stack([np.asarray(truth[name], float) for name in columns], axis=-1)
