"""The fit: the lens galaxy first, then the arcs from several starts, then all of it from the best of them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from lenspipe.refine.parameters import (
    LIGHT,
    NAMES,
    PLACE,
    Prior,
    default_prior,
    first_vector,
    shape_of,
    shear_of,
)
from lenspipe.refine.projection import Pixels, project
from lenspipe.refine.solve import Solution, solve

#: Einstein radii that are tried, in the network's sigma from its median, and places of the source in theta_e.
_RADII = (-2.0, -1.0, 0.0, 1.0, 2.0)
_PLACES = tuple(itertools.product((-0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75), repeat=2))
#: Of each radius and lens galaxy the best place counts, and of these so many are followed.
_FOLLOWED = 8
#: First with these alone, as ellipticity and shear would make up for a source in the wrong place; the best go on.
_SOURCE = ("theta_e", "x_src", "y_src", "log_r_src", "src_e1", "src_e2")
_FINISHED = 3
#: The fit counts pixels within so many theta_e of the centre, and at least so many arcsec.
_REACH, _LEAST_REACH = 2.2, 3.0
#: Where arcs may be, in theta_e: left out while the lens galaxy is fitted alone.
_ARCS = (0.6, 1.7)
#: Lenses that are fitted together: what their derivatives need of memory.
_TOGETHER = 8


@dataclass(frozen=True)
class Refined:
    """Models of n lenses.

    Parameters
    ----------
    vector, sigma : ndarray (n, parameters)
        Best values and Laplace errors, as `parameters.NAMES`; in the vector's own terms (radii: logarithms).
    chi2 : ndarray (n,)
        Per degree of freedom, of the pixels that count.
    snr_src : ndarray (n,)
        Root of the chi squared that the source gains over the best lens galaxy alone: its signal-to-noise.
    flux : ndarray (n, b, 2)
        Of the lens galaxy and of the source, unlensed [nJy].
    residual : ndarray (n, s, s, b), float32
        Image less model [nJy per pixel], all over the stamp.
    converged : ndarray (n,)
    """

    vector: np.ndarray
    sigma: np.ndarray
    chi2: np.ndarray
    snr_src: np.ndarray
    flux: np.ndarray
    residual: np.ndarray
    converged: np.ndarray

    def columns(self) -> dict[str, np.ndarray]:
        """Return the model as columns ``fit_<name>`` with ``_err``, in the units of truth tables."""
        get = {name: self.vector[:, k] for name, k in PLACE.items()}
        err = {name: self.sigma[:, k] for name, k in PLACE.items()}
        q, phi = shape_of(get["e1"], get["e2"])
        gamma, phi_ext = shear_of(get["gamma1"], get["gamma2"])
        told = {name: get[name] for name in ("theta_e", "x_lens", "y_lens")}
        told |= {f"{name}_err": err[name] for name in ("theta_e", "x_lens", "y_lens")}
        e_err = np.hypot(err["e1"], err["e2"]) / np.sqrt(2)
        size = np.hypot(get["e1"], get["e2"])
        told |= {"q": q, "q_err": 2 * e_err / (1 + size) ** 2, "phi": phi}
        told["phi_err"] = np.minimum(np.degrees(0.5 * e_err / np.maximum(size, 1e-6)), 52.0)  # 52: any angle
        told |= {"gamma_ext": gamma, "gamma_ext_err": np.hypot(err["gamma1"], err["gamma2"]) / np.sqrt(2)}
        told |= {"phi_ext": phi_ext, "r_lens": np.exp(get["log_r_lens"]), "n_lens": get["n_lens"]}
        told |= {"x_src": get["x_lens"] + get["x_src"], "y_src": get["y_lens"] + get["y_src"]}
        told |= {"r_src": np.exp(get["log_r_src"]), "snr_src": self.snr_src, "chi2": self.chi2}
        return {f"fit_{name}": values for name, values in told.items()}


def refine_lenses(pixels: Pixels, theta_e: np.ndarray, theta_e_sigma: np.ndarray) -> Refined:
    """Fit an SIE with shear, a Sersic lens galaxy and an exponential source to each stamp.

    Parameters
    ----------
    pixels : Pixels
        Of n lenses.
    theta_e, theta_e_sigma : ndarray (n,)
        The network's posterior [arcsec], which says where to begin; as a prior it is three times as wide.

    Returns
    -------
    Refined
    """
    parts = [
        _refine_some(pixels.take(rows), theta_e[rows], theta_e_sigma[rows])
        for rows in np.array_split(np.arange(len(theta_e)), max(1, -(-len(theta_e) // _TOGETHER)))
    ]
    return Refined(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in Refined.__annotations__)
    )


def _refine_some(pixels: Pixels, theta_e: np.ndarray, theta_e_sigma: np.ndarray) -> Refined:
    count, radius = len(theta_e), _radius(pixels)
    prior = default_prior(theta_e, theta_e_sigma)
    widest = np.maximum(_REACH * (theta_e + theta_e_sigma), _LEAST_REACH)[:, None, None]
    rows = np.arange(count)
    counted = pixels.take(rows, radius < widest)
    free_of_arcs = (radius < _ARCS[0] * theta_e[:, None, None]) | (radius > _ARCS[1] * theta_e[:, None, None])
    alone = counted.take(rows, free_of_arcs)
    galaxy = solve(
        lambda vector, owner: project(vector, alone.take(owner), lensed=False)[0],
        first_vector(theta_e), prior, LIGHT, iterations=12,
    ).vector  # fmt: skip

    def residuals(vector: np.ndarray, owner: np.ndarray) -> np.ndarray:
        return project(vector, counted.take(owner))[0]

    starts, owner = _best_starts(residuals, [galaxy, first_vector(theta_e)], theta_e, theta_e_sigma)
    rough = solve(
        lambda vector, which: residuals(vector, owner[which]),
        starts,
        prior.take(owner),
        _SOURCE,
        iterations=10,
    )
    chosen = np.argsort(rough.cost.reshape(count, -1), axis=1, kind="stable")[:, :_FINISHED]
    chosen = (chosen + _FOLLOWED * rows[:, None]).ravel()
    starts, owner = rough.vector[chosen], owner[chosen]
    found = solve(lambda vector, which: residuals(vector, owner[which]), starts, prior.take(owner), NAMES)
    best = np.array(
        [rows_of[np.argmin(found.cost[rows_of])] for rows_of in (np.flatnonzero(owner == k) for k in rows)]
    )
    without = solve(
        lambda vector, which: project(vector, counted.take(which % count), lensed=False)[0],
        np.concatenate([found.vector[best], galaxy]), Prior(*(np.tile(v, (2, 1)) for v in (prior.mean, prior.sigma))),
        LIGHT, iterations=15,
    ).chi2.reshape(2, count).min(axis=0)  # fmt: skip
    return _describe(found, best, without, counted, pixels)


def _best_starts(residuals, galaxies: list[np.ndarray], theta_e: np.ndarray, theta_e_sigma: np.ndarray):
    """Return the starts that fit best (m, parameters) and whose they are (m,).

    They begin with each of some guesses at the lens galaxy, radius and place of the source.
    """
    count, tried = len(theta_e), []
    for galaxy, step in itertools.product(galaxies, _RADII):
        radius = np.maximum(theta_e + step * theta_e_sigma, 0.3 * theta_e)
        for x, y in _PLACES:
            vector = galaxy.copy()
            for name in ("e1", "e2"):  # mass follows light, at first
                vector[:, PLACE[name]] = 0.8 * vector[:, PLACE[f"light_{name}"]]
            vector[:, PLACE["theta_e"]] = radius
            vector[:, PLACE["x_src"]], vector[:, PLACE["y_src"]] = x * radius, y * radius
            tried.append(vector)
    vectors, whose = np.concatenate(tried), np.tile(np.arange(count), len(tried))
    chi2 = np.concatenate(
        [np.square(residuals(vectors[part], whose[part])).sum(axis=1) for part in _portions(len(whose))]
    )
    table = chi2.reshape(-1, len(_PLACES), count)  # places tell starts apart less than the others do
    place, best = table.argmin(axis=1), table.min(axis=1)
    first = np.argsort(best, axis=0, kind="stable")[:_FOLLOWED]
    rows = (first * len(_PLACES) + np.take_along_axis(place, first, axis=0)) * count + np.arange(count)
    return vectors[rows.T.ravel()], whose[rows.T.ravel()]


def _portions(count: int, size: int = 128) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]


def _describe(
    found: Solution, best: np.ndarray, without: np.ndarray, counted: Pixels, pixels: Pixels
) -> Refined:
    vector = found.vector[best]
    _, flux, light, arcs = project(vector, counted)
    covariance = np.linalg.inv(found.curvature[best])
    model = flux[:, None, None, :, 0] * light + flux[:, None, None, :, 1] * arcs
    degrees = np.maximum((counted.inverse_sigma > 0).sum(axis=(1, 2, 3)) - len(NAMES) - 2 * flux.shape[1], 1)
    return Refined(
        vector,
        np.sqrt(np.einsum("nkk->nk", covariance)),
        found.chi2[best] / degrees,
        np.sqrt(np.maximum(without - found.chi2[best], 0.0)),
        flux,
        np.asarray(pixels.image - model, np.float32),
        found.converged[best],
    )


def _radius(pixels: Pixels) -> np.ndarray:
    """Return the distance of each pixel from the stamp's centre [arcsec] (1, s, s)."""
    side = pixels.image.shape[1]
    y, x = (np.mgrid[:side, :side] - 0.5 * (side - 1)) * pixels.pixel_scale
    return np.hypot(x, y)[None]
