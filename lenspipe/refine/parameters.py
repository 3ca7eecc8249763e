"""What is fitted: one vector a lens, its priors, and the scene that it stands for.

Shapes are ellipticities (1 - q) / (1 + q) of spin 2 and shears are components, t from +x, so that no parameter has an
edge or jumps at a half turn; radii are logarithms. Fluxes are no parameters: they are linear, see `projection`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lenspipe.simulate.packing import Light, Scene

#: Names in the order of the vector: lengths in arcsec, the others without unit.
NAMES = (
    "theta_e", "e1", "e2", "gamma1", "gamma2", "x_lens", "y_lens",
    "log_r_lens", "n_lens", "light_e1", "light_e2",
    "x_src", "y_src", "log_r_src", "src_e1", "src_e2",
)  # fmt: skip
PLACE = {name: k for k, name in enumerate(NAMES)}
#: Those of the lens galaxy's light, which can be fitted where no arcs are.
LIGHT = ("x_lens", "y_lens", "log_r_lens", "n_lens", "light_e1", "light_e2")
#: Steps of finite differences: some hundredths of what data of S/N 50 tell.
STEPS = np.array(
    [2e-3, 4e-3, 4e-3, 2e-3, 2e-3, 2e-3, 2e-3, 1e-2, 5e-2, 4e-3, 4e-3, 2e-3, 2e-3, 2e-2, 1e-2, 1e-2]
)
#: Largest |ellipticity|, which is q = 0.11, and shear.
_MOST = {"e": 0.8, "light_e": 0.8, "src_e": 0.8, "gamma": 0.4}
_RANGE = {"theta_e": (0.05, 15.0), "log_r_lens": (-3.5, 2.5), "n_lens": (0.6, 5.9), "log_r_src": (-4.5, 1.5)}


@dataclass(frozen=True)
class Prior:
    """Gaussian priors (n, parameters): `mean` and `sigma`; inf = none."""

    mean: np.ndarray
    sigma: np.ndarray

    def misfit(self, vector: np.ndarray) -> np.ndarray:
        """Return (vector - mean) / sigma (n, parameters)."""
        return (vector - self.mean) / self.sigma

    def take(self, rows: np.ndarray) -> Prior:
        """Return the priors of some rows."""
        return Prior(self.mean[rows], self.sigma[rows])


def default_prior(theta_e: np.ndarray, theta_e_sigma: np.ndarray) -> Prior:
    """Return what is known before the pixels: the network's theta_e (n,), three times as wide, and galaxies at large.

    The rest is wide: ellipticities 0.2 (Koopmans et al. 2006 have mass follow light to 0.1), shears 0.06 (twice those
    of field lenses), radii a factor of 2.5 and 3, indices 4 +- 1.
    """
    mean = np.zeros((len(theta_e), len(NAMES)))
    sigma = np.full(mean.shape, np.inf)
    for name, (middle, width) in {
        "e1": (0.0, 0.2), "e2": (0.0, 0.2), "gamma1": (0.0, 0.06), "gamma2": (0.0, 0.06),
        "x_lens": (0.0, 0.3), "y_lens": (0.0, 0.3), "log_r_lens": (-0.2, 0.9), "n_lens": (4.0, 1.0),
        "light_e1": (0.0, 0.2), "light_e2": (0.0, 0.2), "log_r_src": (-1.4, 1.1),
        "src_e1": (0.0, 0.25), "src_e2": (0.0, 0.25),
    }.items():  # fmt: skip
        mean[:, PLACE[name]], sigma[:, PLACE[name]] = middle, width
    mean[:, PLACE["theta_e"]] = theta_e
    sigma[:, PLACE["theta_e"]] = np.maximum(3.0 * theta_e_sigma, 0.1 * theta_e)
    for axis in "xy":
        sigma[:, PLACE[f"{axis}_src"]] = np.maximum(theta_e, 0.3)
    return Prior(mean, sigma)


def first_vector(theta_e: np.ndarray) -> np.ndarray:
    """Return where fits begin (n, parameters): a round lens in the middle, the source behind it."""
    vector = np.zeros((len(theta_e), len(NAMES)))
    vector[:, PLACE["theta_e"]] = theta_e
    vector[:, PLACE["log_r_lens"]], vector[:, PLACE["n_lens"]] = np.log(0.8), 4.0
    vector[:, PLACE["log_r_src"]] = np.log(0.25)
    return vector


def hold_in_range(vector: np.ndarray) -> np.ndarray:
    """Return vectors whose numbers can be drawn: ellipticities, shears, radii and indices within their limits."""
    out = vector.copy()
    for name, (low, high) in _RANGE.items():
        out[:, PLACE[name]] = np.clip(out[:, PLACE[name]], low, high)
    for name, most in _MOST.items():
        pair = [PLACE[f"{name}1"], PLACE[f"{name}2"]]
        size = np.hypot(*out[:, pair].T)
        out[:, pair] *= np.minimum(1.0, most / np.maximum(size, 1e-12))[:, None]
    return out


def shape_of(e1: np.ndarray, e2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the axis ratio and the position angle [deg, counter-clockwise from +y, in (-90, 90]]."""
    size = np.hypot(e1, e2)
    return (1 - size) / (1 + size), _angle(e1, e2)


def shear_of(gamma1: np.ndarray, gamma2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the external shear and its direction [deg, counter-clockwise from +y]."""
    return np.hypot(gamma1, gamma2), _angle(gamma1, gamma2)


def _angle(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    from_x = 0.5 * np.degrees(np.arctan2(two, one))
    return 90.0 - (180.0 - from_x) % 180.0


def make_scene(vector: np.ndarray, psf: dict[str, np.ndarray]) -> Scene:
    """Return scenes of flux 1 in each band, of vectors (n, parameters) and the PSF's arguments of `Scene`.

    A lens and a source of flux 1 are drawn in images of their own, which `projection` then weighs.
    """
    get = {name: vector[:, k] for name, k in PLACE.items()}
    q, phi = shape_of(get["e1"], get["e2"])
    gamma, phi_ext = shear_of(get["gamma1"], get["gamma2"])
    light_q, light_phi = shape_of(get["light_e1"], get["light_e2"])
    src_q, src_phi = shape_of(get["src_e1"], get["src_e2"])
    one = np.ones((len(vector), 1, psf["psf_fwhm"].shape[1]))
    return Scene(
        get["theta_e"], q, phi, get["x_lens"], get["y_lens"], gamma, phi_ext,
        Light(*(np.asarray(v)[:, None] for v in (
            get["x_lens"], get["y_lens"], np.exp(get["log_r_lens"]), get["n_lens"], light_q, light_phi)), one),
        # the source's place counts from the lens, so that both move together
        Light(*(np.asarray(v)[:, None] for v in (
            get["x_lens"] + get["x_src"], get["y_lens"] + get["y_src"], np.exp(get["log_r_src"]),
            np.ones(len(vector)), src_q, src_phi)), one),
        **psf,
    )  # fmt: skip
