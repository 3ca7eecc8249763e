"""The search for detectable lenses among candidates (Collett 2015, LensPop).

Every sample has its own stream of candidates and takes the first one that is detectable, so that it is the
same whatever the batch. Candidates have the lensing cross section already in their density. It goes as
sigma_v^4 (D_ls / D_s)^2, which with x = chi_l / chi_s of a flat universe is sigma_v^4 (1 - x)^2, and lenses of
constant comoving density have x^2 dx chi_s^3: so sigma_v is drawn from phi(s) s^4, x from x^2 (1 - x)^2, the
source from counts p(z | m) chi^3, its position from the disc of radius theta_e, and nothing but the
survey's limits is left to rejection. The cheap limits come first, numbers are drawn only when needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from scipy.special import ndtri

from lenspipe.core.errors import ConfigError
from lenspipe.core.rng import uniform_at
from lenspipe.core.survey import Survey
from lenspipe.lensing.cosmology import ARCSEC, SPEED_OF_LIGHT
from lenspipe.simulate import early_types
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.polar import image_reach, lens_disc, magnification_range
from lenspipe.simulate.selection import (
    MIN_MAGNIFICATION,
    best_seeing,
    magnification_limit,
    may_resolve,
    resolution_limit,
    snr_limit,
    stacked_snr,
)
from lenspipe.simulate.sources import (
    axis_ratio,
    brightest_colour,
    distance_to,
    draw_behind,
    interpolate,
    position_angle,
    quantiles,
    rayleigh,
    redshift_of,
    source_colours,
    source_size,
)

SIGMA_STAR, CHOI_A, CHOI_B = 161.0, 2.32, 2.67  # Choi, Park & Vogeley 2007, early types
SIGMA_RANGE, Z_LENS_MAX = (100.0, 400.0), 2.0
Z_GROUP_MAX = 0.9  # a choice: of groups farther off surveys see little but the arc
SHEAR, SHEAR_MAX = 0.03, 0.2  # Rayleigh scale, and where it ends
#: What `snr_limit` is multiplied by, from the rough and from the closer magnification: 7,000 lenses of DES, LSST
#: and Euclid had at most 0.38 and 0.49 of it.
_SNR_SHARE = (0.4, 0.5)
_TRIALS = 2**15  # candidates at a time
_HOPELESS, _LEAST_ACCEPTANCE = 3_000_000, 1e-6  # after so many trials, fewer than this are too few
_PLACES = 32  # in a sample's stream, that one candidate may use
_CUTS = {"seeing": "blurred by the seeing", "mu": "magnified too little", "snr": "too faint",
         "stamp": "wider than the survey's stamps"}  # fmt: skip
#: Parameters of `polar.lens_disc`, and columns that are not truth.
_LENSING = ("theta_e", "q", "phi", "gamma_ext", "phi_ext", "x_src", "y_src", "r_src", "q_src", "phi_src")
_INTERNAL = ("owner", "key", "place", "ratio", "mag_i", "radius", "most_mu", "snr")


def first_detectable(
    survey: Survey,
    bands: Sequence[str],
    keys: np.ndarray,
    conditions: dict[str, np.ndarray],
    min_snr: float,
    halo: np.ndarray,
    varied: bool = False,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return each sample's first detectable candidate, and how many it tried, that one included.

    Parameters
    ----------
    survey : Survey
    bands : sequence of str
    keys : ndarray (n,), uint64
        The samples' streams (`rng.stream_keys`).
    conditions : dict of ndarray (n,)
        From `population.draw_conditions`.
    min_snr : float
    halo : ndarray (n,)
        What theta_e is multiplied by, for what stands around the lens galaxy.
    varied : bool
        Whether lens galaxies are as `early_types.varied` has them, or as published.

    Returns
    -------
    columns : dict of ndarray (n,)
        Of the truth, positions relative to the lens.
    tried : ndarray (n,), int64
        As many in any batch.

    Raises
    ------
    ConfigError
        If fewer than one in a million are detectable.
    """
    found: dict[str, np.ndarray] = {}
    pending, tried = np.arange(len(keys)), np.zeros(len(keys), dtype=np.int64)
    needed = np.zeros_like(tried)
    lost, hits, count = dict.fromkeys(_CUTS, 0), 0, 8
    trials = 0
    while len(pending):
        # twice as many each time, so that few are looked at beyond a sample's first
        count = min(2 * count, max(_TRIALS // len(pending), 16))
        owner = np.repeat(pending, count)
        trial = (tried[pending, None] + np.arange(count)).ravel()
        candidates = _Candidates(keys[owner], trial, owner)
        _propose(survey, bands, candidates, min_snr, halo)
        _screen(survey, bands, candidates, conditions, min_snr)
        _observe(survey, bands, candidates, conditions, min_snr, varied)
        rows, first = np.unique(candidates["owner"], return_index=True)
        for name, values in candidates.columns.items():
            found.setdefault(name, np.full(len(keys), np.nan))[rows] = values[first]
        needed[rows] = candidates["place"][first] // _PLACES + 1
        tried[pending] += count
        lost = {cut: lost[cut] + candidates.lost[cut] for cut in lost}
        pending = np.setdiff1d(pending, rows)
        trials, hits = int(tried.sum()), hits + len(candidates["owner"])
        if trials > _HOPELESS and hits < _LEAST_ACCEPTANCE * trials:
            raise ConfigError(_hopeless(survey, min_snr, trials, hits, lost))
    return {name: found[name] for name in found if name not in _INTERNAL}, needed


class _Candidates:
    """Columns of the candidates not yet rejected, the numbers of their streams, and what rejected the rest."""

    def __init__(self, keys: np.ndarray, trial: np.ndarray, owner: np.ndarray) -> None:
        self.columns: dict[str, np.ndarray] = {"owner": owner, "key": keys, "place": trial * _PLACES}
        self.lost: dict[str, int] = dict.fromkeys(_CUTS, 0)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.columns[name]

    def uniform(self, place: int) -> np.ndarray:
        return uniform_at(self["key"], self["place"] + place)

    def normal(self, place: int) -> np.ndarray:
        return ndtri(self.uniform(place))

    def keep(self, good: np.ndarray, cut: str) -> None:
        kept = np.flatnonzero(good)
        self.lost[cut] += len(good) - len(kept)
        self.columns = {name: values[kept] for name, values in self.columns.items()}


def _hopeless(survey: Survey, min_snr: float, trials: int, hits: int, lost: dict[str, int]) -> str:
    """Say which cut is to blame: the first that lets hardly any pass."""
    left, shares = trials, {}
    for cut, count in lost.items():
        if left:  # what a cut has emptied no later one can judge
            shares[cut] = count / left
        left -= count
    worst = next((cut for cut, share in shares.items() if share > 0.95), "snr")
    told = ", of the rest ".join(f"{100 * share:.4g} % {_CUTS[cut]}" for cut, share in shares.items())
    return (
        f"survey {survey.name!r} has hardly any lens of S/N {min_snr:g}, {hits} in {trials} trials: most are "
        f"{_CUTS[worst]} ({told}). Lower simulate.min_snr, or mend the survey's PSF, sky, exposure and stamp_size"
    )


def _propose(survey: Survey, bands: Sequence[str], c: _Candidates, min_snr: float, halo: np.ndarray) -> None:
    """Draw lens, source and impact parameter; drop what no exposure or magnification can make a lens."""
    sharpest = best_seeing(survey, bands)
    ratios, dispersions = _proposals()
    heavy = c.uniform(3)
    heavy = np.where(
        halo[c["owner"]] > 1.0, 0.5 + 0.5 * heavy, heavy
    )  # a group's first galaxy is a large one
    ratio, sigma_v = interpolate(ratios, c.uniform(2)), interpolate(dispersions, heavy)
    theta_e = 4.0 * np.pi * (sigma_v / SPEED_OF_LIGHT) ** 2 * (1.0 - ratio) / ARCSEC * halo[c["owner"]]
    c.columns |= {"ratio": ratio, "sigma_v": sigma_v, "theta_e": theta_e}
    c.keep(resolution_limit(theta_e, 0.0) > sharpest, "seeing")
    mag_i, z_src = draw_behind(c.uniform(0), c.uniform(1))
    z_lens, r_src = redshift_of(c["ratio"] * distance_to(z_src)), source_size(c.normal(4), mag_i, z_src)
    c.columns |= {"mag_i": mag_i, "z_src": z_src, "z_lens": z_lens, "r_src": r_src}
    farthest = np.where(halo[c["owner"]] > 1.0, Z_GROUP_MAX, Z_LENS_MAX)
    c.keep((resolution_limit(c["theta_e"], r_src) > sharpest) & (z_lens < farthest), "seeing")
    c.columns["q"] = axis_ratio(c.uniform(5), 0.378 - 0.000572 * c["sigma_v"])
    c.columns["gamma_ext"] = np.minimum(rayleigh(c.uniform(6), SHEAR), SHEAR_MAX)
    c.columns["radius"] = c["theta_e"] * np.sqrt(c.uniform(7))
    most = magnification_limit(c["radius"], c["theta_e"], c["q"], c["gamma_ext"], c["r_src"])
    c.columns["most_mu"] = most
    c.keep((most > MIN_MAGNIFICATION) & (most * c["r_src"] > sharpest), "mu")
    brightest = {band: c["mag_i"] + brightest_colour(band) for band in bands}
    c.keep(_may_be_bright(survey, brightest, c, min_snr / _SNR_SHARE[0]), "snr")


def _screen(
    survey: Survey, bands: Sequence[str], c: _Candidates, conditions: dict[str, np.ndarray], min_snr: float
) -> None:
    """Draw colours and angles; drop what a quick look shows to be too faint, too large, too small or not resolved."""
    for band, colour in source_colours(c.uniform(8), c["z_src"], bands).items():
        c.columns[f"mag_src_{band}"] = c["mag_i"] + colour
    c.keep(_may_be_bright(survey, _source_magnitudes(c, bands), c, min_snr / _SNR_SHARE[0]), "snr")
    angle = 2.0 * np.pi * c.uniform(9)
    c.columns |= {"x_src": c["radius"] * np.cos(angle), "y_src": c["radius"] * np.sin(angle)}
    for place, name in enumerate(("phi", "phi_src", "phi_ext"), start=10):
        c.columns[name] = position_angle(c.uniform(place))
    c.columns["q_src"] = axis_ratio(c.uniform(13), 0.3)
    # one in 300 in HST and Euclid, none in DES: wider stamps for all would cost more than these few are worth
    reach = image_reach(c["theta_e"], c["q"], c["radius"], c["r_src"], c["q_src"])
    c.keep(reach < 0.5 * survey.stamp_size * survey.pixel_scale, "stamp")
    least, c.columns["most_mu"] = magnification_range(*(c[name] for name in _LENSING))
    resolved = np.zeros(len(least), dtype=bool)
    for band in bands:
        fwhm = conditions[f"psf_fwhm_{band}"][c["owner"]]
        resolved |= may_resolve(survey.bands[band], fwhm, c["theta_e"], c["r_src"], least)
    c.keep(resolved & (c["most_mu"] > MIN_MAGNIFICATION), "mu")
    c.keep(_may_be_bright(survey, _source_magnitudes(c, bands), c, min_snr / _SNR_SHARE[1]), "snr")


def _observe(
    survey: Survey,
    bands: Sequence[str],
    c: _Candidates,
    conditions: dict[str, np.ndarray],
    min_snr: float,
    varied: bool,
) -> None:
    """Draw the lens galaxy, lens the source, and keep what the survey detects."""
    drawn = (c["z_lens"], c["sigma_v"], c.normal(14), c.normal(15))
    if varied:
        c.columns |= early_types.varied(*drawn, c.normal(16), c.uniform(17), bands)
    else:
        c.columns |= early_types.published(*drawn, bands)
    c.columns |= {"q_light": c["q"], "phi_light": c["phi"]}
    c.columns |= {"n_lens": np.full(len(c["q"]), 4.0), "n_src": np.ones(len(c["q"]))}
    ring = lens_disc(*(c[name] for name in _LENSING))
    local = {name: values[c["owner"]] for name, values in conditions.items()}
    snr = np.max([stacked_snr(survey, band, ring, c.columns, local) for band in bands], axis=0)
    c.columns["snr"] = snr
    c.keep(ring.mu > MIN_MAGNIFICATION, "mu")
    c.keep(c["snr"] > min_snr, "snr")


def _source_magnitudes(c: _Candidates, bands: Sequence[str]) -> dict[str, np.ndarray]:
    return {band: c[f"mag_src_{band}"] for band in bands}


def _may_be_bright(
    survey: Survey, magnitudes: dict[str, np.ndarray], c: _Candidates, least: float
) -> np.ndarray:
    """Tell whose signal-to-noise may reach `least` in a band, given the source's magnitude in each."""
    good = np.zeros(len(c["r_src"]), dtype=bool)
    for band, magnitude in magnitudes.items():
        good |= snr_limit(survey, band, flux_njy(magnitude), c["most_mu"], c["r_src"]) > least
    return good


@cache
def _proposals() -> tuple[np.ndarray, np.ndarray]:
    """Return tables of x = chi_l / chi_s and of sigma_v [km/s], cross section included."""
    x, s = np.linspace(0.0, 1.0, 4001), np.linspace(*SIGMA_RANGE, 4001)
    density = (s / SIGMA_STAR) ** CHOI_A * np.exp(-((s / SIGMA_STAR) ** CHOI_B)) / s * s**4
    return quantiles(x**2 * (1.0 - x) ** 2, x), quantiles(density, s)
