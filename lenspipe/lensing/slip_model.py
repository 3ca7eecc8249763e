"""What velocity dispersions a sample of lenses should have at a given slip, and how likely the measured ones are.

The likelihood is Gaussian in the measured sigma, never in a per-lens gamma: gamma goes as 1/sigma^2, so that the
average of per-lens values is biased high (+0.06 at 10 % errors). That galaxies differ in slope, anisotropy and light
is the population's intrinsic scatter: it is integrated out lens by lens (Schwab, Bolton & Rappaport 2010, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lenspipe.lensing.cosmology import OMEGA_M, distance_ratio, sis_sigma_v
from lenspipe.lensing.kinematics import blurs, is_physical, log_reach, to_half_radius
from lenspipe.lensing.slip_galaxies import gather_factors
from lenspipe.lensing.slip_table import judge


@dataclass(frozen=True)
class SlipModel:
    """What is assumed of all lenses of a sample whose table does not tell.

    Parameters
    ----------
    name : str
        ``sis``: singular isothermal spheres, whatever the aperture. ``powerlaw``: see `lensing.kinematics`.
    alpha, beta, delta : (float, float)
        Mean and scatter of the mass's slope, of the anisotropy and of the light's slope (Schwab et al. 2010).
    aperture_radius, seeing_fwhm : float
        Of the spectra [arcsec] (SDSS); a seeing of 0 is an aperture with an edge. A lens whose own aperture is known
        has its own seeing, or none.
    sigma_floor : float
        Fraction of the predicted sigma that is added to the errors in quadrature.
    half_radius : bool
        Whether dispersions are corrected to half the effective radius, where that is known (Cappellari et al. 2006).
    omega_m : float
        Of a flat universe.
    """

    name: str = "sis"
    alpha: tuple[float, float] = (2.00, 0.08)
    beta: tuple[float, float] = (0.18, 0.13)
    delta: tuple[float, float] = (2.40, 0.11)
    aperture_radius: float = 1.5
    seeing_fwhm: float = 1.4
    sigma_floor: float = 0.0
    half_radius: bool = False
    omega_m: float = OMEGA_M


@dataclass(frozen=True)
class Predictions:
    """Of each lens what is needed to say how likely its sigma is at any slip.

    Parameters
    ----------
    sigma, sigma_err : ndarray (n,)
        Measured [km/s], corrected to another aperture where the model says so.
    isothermal : ndarray (n,)
        sigma of an SIS at gamma = 1 [km/s].
    log_factor, weight : ndarray (n, k)
        ln of sigma over that of the SIS of the galaxies that it could be, and how likely each is (sum 1).
    model_error : ndarray (n,)
        Relative error of the predicted sigma, of theta_e and the redshifts, and the floor.
    """

    sigma: np.ndarray
    sigma_err: np.ndarray
    isothermal: np.ndarray
    log_factor: np.ndarray
    weight: np.ndarray
    model_error: np.ndarray

    def __len__(self) -> int:
        return len(self.sigma)

    def __getitem__(self, rows: slice | np.ndarray) -> Predictions:
        return Predictions(**{name: values[rows] for name, values in vars(self).items()})

    @property
    def expected(self) -> np.ndarray:
        """Mean sigma at gamma = 1 (n,) [km/s]."""
        return self.isothermal * np.sum(self.weight * np.exp(self.log_factor), axis=1)

    @property
    def scatter(self) -> np.ndarray:
        """Relative scatter of sigma at a given slip (n,): of galaxies, theta_e and redshifts."""
        mean = np.sum(self.weight * self.log_factor, axis=1)
        variance = np.sum(self.weight * (self.log_factor - mean[:, None]) ** 2, axis=1)
        return np.sqrt(variance + self.model_error**2)

    def pulls(self, gamma: float) -> np.ndarray:
        """Return (measured - predicted) / error of sigma (n,), with the scatter of galaxies in the error."""
        expected = self.expected * np.sqrt(2.0 / (1.0 + gamma))
        return (self.sigma - expected) / np.hypot(self.sigma_err, expected * self.scatter)


def predict(data: dict[str, np.ndarray], model: SlipModel) -> Predictions:
    """Return the predictions of usable rows (`slip_table.read_columns`, `unphysical`)."""
    sigma, error = data["sigma_v"], data["sigma_v_err"]
    reach, seeing = _apertures(data, model)
    if model.half_radius:
        known = np.isfinite(data["r_eff"])
        corrected, added = to_half_radius(sigma, _radius(data, model), data["r_eff"])
        error = np.where(known, np.hypot(error * corrected / sigma, added * corrected), error)
        sigma = np.where(known, corrected, sigma)
        reach = np.where(known, log_reach(data["theta_e"], 0.5 * data["r_eff"]), reach)
        seeing = seeing & ~known
    if model.name == "sis":
        factor, weight = np.zeros((len(sigma), 1)), np.ones((len(sigma), 1))
        alpha = np.full(len(sigma), 2.0)
    else:
        structure = {name: _own(data, name, getattr(model, name)) for name in ("alpha", "beta", "delta")}
        factor, weight = gather_factors(structure, reach, seeing, error / sigma)
        alpha = structure["alpha"][0]
    isothermal = sis_sigma_v(data["theta_e"], data["z_lens"], data["z_src"], model.omega_m)
    model_error = np.hypot(relative_error(data, alpha, model.omega_m), model.sigma_floor)
    return Predictions(sigma, error, isothermal, factor, weight, model_error)


def unphysical(data: dict[str, np.ndarray], model: SlipModel) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows have galaxies that can be, and why the others have not."""
    count = len(data["theta_e"])
    if model.name == "sis" or not count:
        return np.ones(count, bool), np.full(count, "")
    alpha, beta, delta = (_own(data, name, getattr(model, name))[0] for name in ("alpha", "beta", "delta"))
    xi = alpha + delta - 2
    told = [
        (xi <= 2 * beta, "unphysical: xi = alpha + delta - 2 <= 2 beta"),
        (
            ~is_physical(alpha, beta, delta),
            "unphysical slopes: alpha, delta and xi must lie in 1 to 3, beta < 1",
        ),
    ]
    return judge(told, count)


def log_likelihood(predictions: Predictions, gamma: ArrayLike) -> np.ndarray:
    """Return ln p(sigma_v | gamma) of each lens (n, g)."""
    slip = np.sqrt(2.0 / (1.0 + np.asarray(gamma, np.float64)))[None, :, None]
    p = predictions
    sigma = (p.isothermal[:, None] * np.exp(p.log_factor))[:, None, :] * slip
    variance = np.square(sigma)
    variance *= np.square(p.model_error)[:, None, None]
    variance += np.square(p.sigma_err)[:, None, None]
    sigma -= p.sigma[:, None, None]
    exponent = np.square(sigma, out=sigma)
    exponent /= variance
    exponent += np.log(variance, out=variance)
    exponent *= -0.5
    highest = exponent.max(axis=-1, keepdims=True)  # or far outliers would have no likelihood at all
    exponent -= highest
    summed = np.einsum("ngk,nk->ng", np.exp(exponent, out=exponent), p.weight)
    # nothing but the farthest values may have weight 0
    return np.log(np.maximum(summed, 1e-300)) + highest[..., 0] - 0.5 * np.log(2 * np.pi)


def _own(data: dict[str, np.ndarray], name: str, usual: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and scatter of a structure parameter of each lens: measured where its table tells, else usual.

    What was measured without an error scatters as usual.
    """
    measured, error = np.isfinite(data[name]), data[f"{name}_err"]
    scatter = np.where(measured & np.isfinite(error), error, usual[1])
    return np.where(measured, data[name], usual[0]), scatter


def _radius(data: dict[str, np.ndarray], model: SlipModel) -> np.ndarray:
    return np.where(np.isfinite(data["aperture_radius"]), data["aperture_radius"], model.aperture_radius)


def _apertures(data: dict[str, np.ndarray], model: SlipModel) -> tuple[np.ndarray, np.ndarray]:
    """Return `kinematics.log_reach` of each lens, and whether it has a seeing."""
    own = np.isfinite(data["aperture_radius"])
    usual = np.where(own, 0.0, model.seeing_fwhm)
    fwhm = np.where(np.isfinite(data["seeing_fwhm"]), data["seeing_fwhm"], usual)
    radius = _radius(data, model)
    seeing = blurs(radius, fwhm)
    sharp = log_reach(data["theta_e"], radius)
    return np.where(seeing, log_reach(data["theta_e"], radius, np.where(seeing, fwhm, 1.0)), sharp), seeing


def relative_error(data: dict[str, np.ndarray], alpha: ArrayLike, omega_m: float = OMEGA_M) -> np.ndarray:
    """Return the relative error of the predicted sigma from theta_e and the redshifts.

    sigma^2 goes as theta_e^(alpha - 1) in a given aperture, and inversely as D_ls/D_s.
    """
    z_lens, z_src, step = data["z_lens"], data["z_src"], 1e-4
    ratio = distance_ratio(z_lens, z_src, omega_m)
    slope_lens = (distance_ratio(z_lens + step, z_src, omega_m) - ratio) / step / ratio
    slope_src = (ratio - distance_ratio(z_lens, z_src - step, omega_m)) / step / ratio
    parts = (
        (alpha - 1) * data["theta_e_err"] / data["theta_e"],
        slope_lens * data["z_lens_err"],
        slope_src * data["z_src_err"],
    )
    return 0.5 * np.sqrt(sum(part**2 for part in parts))
