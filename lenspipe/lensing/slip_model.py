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
from lenspipe.lensing.kinematics import blurs, is_physical, log_reach, log_shape, to_half_radius
from lenspipe.lensing.slip_table import judge

#: Nodes in anisotropy and in the light's slope where the least relative error of a sigma is more than `_SMALL`, and
#: where it is less; fewest and most in alpha, and how densely they lie, in that error (d ln sigma / d alpha is about
#: 1 at most).
_OTHER_NODES, _SMALL, _ALPHA_NODES, _ALPHA_DENSITY = (5, 9), 0.04, (17, 201), 0.6
#: Values of ln sigma that a lens's own are gathered to lie so densely, in the least relative error of a sigma; fewest
#: and most of them.
_DENSITY, _GATHERED = 0.2, (24, 400)
#: Galaxies rarer than this are left out, and what lies farther off than so many standard deviations is drawn in: sigma
#: diverges where light hardly falls off, and a grid must not reach there for a ten-thousandth of the galaxies.
_RARE, _FARTHEST = 1e-6, 6.0
_REACH = 4.0  # standard deviations


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
        factor, weight = _gather(data, model, reach, seeing, float(np.min(error / sigma)))
        alpha = _own(data, "alpha", model.alpha)[0]
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


def structures(
    model: SlipModel, data: dict[str, np.ndarray], least_error: float
) -> tuple[list[np.ndarray], np.ndarray]:
    """Return nodes of alpha, beta and delta, each (n, k) or (1, k), and their weights; the unphysical weigh nothing.

    `least_error` is the least relative error of a sigma.
    """
    values, weights = [], []
    for name in ("alpha", "beta", "delta"):
        mean, scatter = _own(data, name, getattr(model, name))
        count = _OTHER_NODES[int(least_error < _SMALL)]
        if name == "alpha":
            wide = 2 * _REACH * np.max(scatter) / (_ALPHA_DENSITY * least_error)
            count = int(np.clip(wide, *_ALPHA_NODES))
        if np.ptp(mean) == 0 and np.ptp(scatter) == 0:
            mean, scatter = mean[:1], scatter[:1]
        node, weight = _nodes(count, bool(np.any(scatter > 0)))
        values.append(mean[:, None] + scatter[:, None] * node)
        weights.append(weight)
    shape = tuple(v.shape[1] for v in values)
    spread = [
        np.broadcast_to(
            v.reshape(len(v), *(shape[k] if k == axis else 1 for k in range(3))), (len(v), *shape)
        )
        for axis, v in enumerate(values)
    ]
    nodes = [v.reshape(len(v), -1) for v in spread]
    weight = (weights[0][:, None, None] * weights[1][:, None] * weights[2]).ravel()
    return nodes, np.where(is_physical(*nodes) & (weight > _RARE * weight.max()), weight, 0.0)


def _gather(
    data: dict[str, np.ndarray], model: SlipModel, reach: np.ndarray, seeing: np.ndarray, least_error: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return ln sigma over the SIS's on an even grid of each lens, and the weight of each value.

    What lies between two values is shared by them, which keeps the mean (cloud in cell).
    """
    (alpha, beta, delta), weight = structures(model, data, least_error)
    kept = slice(None) if len(weight) > 1 else np.flatnonzero(weight[0] > 0)
    parts = [values[:, kept] for values in (alpha, beta, delta, weight)]
    values, weights = np.empty((len(reach), parts[0].shape[1])), np.empty((len(reach), parts[0].shape[1]))
    for with_seeing in (False, True):
        rows = np.flatnonzero(seeing == with_seeing)
        if len(rows):
            own = [v if len(v) == 1 else v[rows] for v in parts]
            shape = np.nan_to_num(log_shape(*own[:3], with_seeing))
            values[rows] = 0.5 * (shape + (1 - 0.5 * own[0]) * reach[rows, None])
            weights[rows] = own[3]
    return _share(values, weights, least_error)


def _share(values: np.ndarray, weight: np.ndarray, least_error: float) -> tuple[np.ndarray, np.ndarray]:
    total = weight.sum(axis=1)
    mean = np.sum(weight * values, axis=1) / total
    reach = _FARTHEST * np.sqrt(np.sum(weight * (values - mean[:, None]) ** 2, axis=1) / total)
    low = np.maximum(np.where(weight > 0, values, np.inf).min(axis=1), mean - reach)
    high = np.minimum(np.where(weight > 0, values, -np.inf).max(axis=1), mean + reach)
    count = int(np.clip(np.max(high - low) / (_DENSITY * least_error), *_GATHERED))
    step = np.maximum(high - low, 1e-9) / (count - 1)
    place = np.clip((values - low[:, None]) / step[:, None], 0, count - 1)
    left = np.minimum(place.astype(np.int64), count - 2)
    right, first = place - left, np.arange(len(values))[:, None] * count
    size = len(values) * count
    out = np.bincount((first + left).ravel(), (weight * (1 - right)).ravel(), size)
    out += np.bincount((first + left + 1).ravel(), (weight * right).ravel(), size)
    out = out.reshape(len(values), count)
    return low[:, None] + step[:, None] * np.arange(count), out / out.sum(axis=1, keepdims=True)


def _nodes(count: int, scattered: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return nodes in standard deviations and their weights (sum 1) of a Gaussian; one if it has no width."""
    if not scattered:
        return np.zeros(1), np.ones(1)
    if count > max(_OTHER_NODES):  # even: errors may be much smaller than the scatter
        node = np.linspace(-_REACH, _REACH, count)
        weight = np.exp(-0.5 * node**2)
    else:
        node, weight = np.polynomial.hermite_e.hermegauss(count)
    return node, weight / weight.sum()


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
