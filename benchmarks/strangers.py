"""How good is a regressor on lenses that other people's code drew, of a population that is not ours?

    python -m benchmarks.strangers REGRESSOR [--count 600] [--seed 5]

REGRESSOR is made for DES' g, r, i. lenstronomy lenses the sources, GalSim draws the galaxies and the PSF, astropy has
the distances. The population shares nothing with lenspipe's but the sky: another distribution of velocity dispersions
and redshifts, another luminosity at given dispersion, red galaxies' colours of another survey's filters (SDSS: the
passive galaxies of Eisenstein et al. 2001, from memory), sources of other counts, sizes, indices and colours, and the
cores of galaxies 2 % off a Sersic profile's. What is kept: S/N > 20 as it is defined there, theta_e > 0.6 arcsec, more
than the seeing's half width.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import galsim
import numpy as np
from astropy.cosmology import FlatLambdaCDM
from astropy.table import Table
from rich.console import Console
from rich.table import Table as Printed
from scipy.signal import fftconvolve

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from oracles.lenstronomy_scene import direction, lensed_brightness, psf_image

from lenspipe.core.survey import NJY_ZERO_POINT, Survey, load_survey
from lenspipe.training.bundle import load_bundle
from lenspipe.training.posterior import WITH_MOMENTS, sample_posteriors
from lenspipe.training.recalibrate import LEVELS
from lenspipe.training.regression import look_closer, regressor_metrics
from lenspipe.training.targets import to_network

COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3)
#: Redshift, g - r and r - i of passive galaxies in SDSS' filters, from memory.
PASSIVE = np.array(
    [
        (0.10, 0.95, 0.40),
        (0.20, 1.30, 0.48),
        (0.30, 1.57, 0.55),
        (0.40, 1.70, 0.66),
        (0.50, 1.73, 0.84),
        (0.60, 1.77, 1.02),
        (0.70, 1.80, 1.15),
        (0.80, 1.84, 1.24),
    ]
)
OVERSAMPLE, MARGIN = 5, 16
CORE = 0.02
LIGHT_SPEED = 299_792.458


def draw(survey: Survey, rng: np.random.Generator) -> dict[str, float] | None:
    """Return a lens, or None if it is too small or nothing stands behind it."""
    sigma_v, z_lens = 10 ** rng.normal(2.41, 0.07), 0.1 + 0.25 * rng.gamma(2.5) / 1.6
    z_src = z_lens + 0.15 + 0.75 * rng.gamma(1.8) / 1.2
    if not (160 < sigma_v < 380 and z_lens < 0.8 and z_src < 4.0):
        return None
    distance, behind = COSMOLOGY.angular_diameter_distance(z_src), COSMOLOGY.angular_diameter_distance
    ratio = float(behind(z_lens, z_src) / distance)
    theta_e = 206_265 * 4 * np.pi * (sigma_v / LIGHT_SPEED) ** 2 * ratio
    if not 0.6 < theta_e < 3.5:
        return None
    absolute = -22.4 - 5.0 * (np.log10(sigma_v) - 2.4) + rng.normal(0, 0.5)
    # k-correction and fading of an old galaxy in r
    mag_r = absolute + COSMOLOGY.distmod(z_lens).value + (1.05 - 0.8) * z_lens + 1.2 * z_lens**2
    g_r, r_i = (np.interp(z_lens, PASSIVE[:, 0], PASSIVE[:, k]) + rng.normal(0, 0.05) for k in (1, 2))
    kpc = 10 ** (0.75 - 0.25 * (absolute + 22.4) + rng.normal(0, 0.12))
    r_lens = kpc / float(COSMOLOGY.kpc_proper_per_arcmin(z_lens).value) * 60
    angle, radius = rng.uniform(0, 2 * np.pi), theta_e * np.sqrt(rng.uniform(0, 0.6))
    q = np.clip(rng.normal(0.78, 0.12), 0.4, 0.98)
    mag_src = 25.6 + np.log10(rng.uniform(1e-3, 1)) / 0.45
    return {
        "theta_e": theta_e, "sigma_v": sigma_v, "z_lens": z_lens, "z_src": z_src,
        "q": q, "phi": rng.uniform(-90, 90), "x_lens": rng.uniform(-0.13, 0.13), "y_lens": rng.uniform(-0.13, 0.13),
        "gamma_ext": abs(rng.normal(0, 0.04)), "phi_ext": rng.uniform(-90, 90),
        "r_lens": np.clip(r_lens, 0.25, 4.0), "n_lens": rng.uniform(3, 5), "q_light": np.clip(q + 0.08, 0.4, 1.0),
        "mag_lens_g": mag_r + g_r, "mag_lens_r": mag_r, "mag_lens_i": mag_r - r_i,
        "x": radius * np.cos(angle), "y": radius * np.sin(angle), "r_src": np.exp(rng.normal(np.log(0.22), 0.4)),
        "n_src": rng.uniform(0.7, 1.6), "q_src": rng.uniform(0.35, 1), "phi_src": rng.uniform(-90, 90),
        "mag_src_g": mag_src, "mag_src_r": mag_src - rng.normal(0.15 + 0.1 * (z_src < 1.2), 0.15),
        "mag_src_i": mag_src - rng.normal(0.25 + 0.25 * (z_src < 1.2), 0.2),
    }  # fmt: skip


def observe(
    lens: dict[str, float], survey: Survey, size: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return a stamp (size, size, b) with noise, its noise levels (b,) and the best band's S/N."""
    scale, frame = survey.pixel_scale, size + 2 * MARGIN
    deflector = {
        name: lens[name] for name in ("theta_e", "q", "phi", "x_lens", "y_lens", "gamma_ext", "phi_ext")
    }
    source = {"flux": 1.0, "r_eff": lens["r_src"], "n": lens["n_src"], "q": lens["q_src"], "phi": lens["phi_src"],
              "x": lens["x_lens"] + lens["x"], "y": lens["y_lens"] + lens["y"]}  # fmt: skip
    unit = lensed_brightness(deflector, source, frame * OVERSAMPLE, scale / OVERSAMPLE)
    stamp, noise, best = [], [], 0.0
    for name in survey.model_bands:
        band = survey.bands[name]
        fwhm = band.psf_fwhm * np.exp(rng.normal(0, 0.06))
        kernel = psf_image(fwhm, 3.0, MARGIN * OVERSAMPLE // 2, scale / OVERSAMPLE)
        blurred = fftconvolve(unit, kernel, mode="same").reshape(frame, OVERSAMPLE, frame, OVERSAMPLE)
        arcs = blurred.sum(axis=(1, 3))[MARGIN:-MARGIN, MARGIN:-MARGIN] * _flux(lens[f"mag_src_{name}"])
        light = _galaxy(lens, _flux(lens[f"mag_lens_{name}"]), size, scale, fwhm)
        offset = (np.arange(size) - (size - 1) / 2) * scale
        core = np.hypot(offset[:, None] - lens["y_lens"], offset - lens["x_lens"]) < 0.5 * fwhm
        light[core] *= 1 + CORE * rng.choice((-1, 1))
        sky = band.sky_sigma(scale) * np.exp(rng.normal(0, 0.08))
        variance = sky**2 + (light + arcs).clip(0) / band.electrons_per_njy()
        pixels = np.argsort(arcs.ravel() / np.sqrt(variance.ravel()))[::-1]
        total = np.cumsum(arcs.ravel()[pixels]) / np.sqrt(np.cumsum(variance.ravel()[pixels]))
        best = max(best, float(total.max()))
        stamp.append(light + arcs + rng.normal(size=light.shape) * np.sqrt(variance))
        noise.append(sky)
    return np.stack(stamp, axis=-1), np.array(noise), best


def _galaxy(lens: dict[str, float], flux: float, size: int, scale: float, fwhm: float) -> np.ndarray:
    light = galsim.Sersic(lens["n_lens"], half_light_radius=lens["r_lens"], flux=flux)
    light = light.shear(q=lens["q_light"], beta=direction(lens["phi"]) * galsim.radians)
    seen = galsim.Convolve([light.shift(lens["x_lens"], lens["y_lens"]), galsim.Moffat(beta=3.0, fwhm=fwhm)])
    return seen.drawImage(nx=size, ny=size, scale=scale, dtype=np.float64).array


def _flux(magnitude: float) -> float:
    return 10 ** (0.4 * (NJY_ZERO_POINT - magnitude))


def make(survey: Survey, count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, Table]:
    """Return stamps, noise levels and truth of so many lenses with S/N > 20."""
    rng = np.random.default_rng(seed)
    images, noises, rows = [], [], []
    while len(rows) < count:
        lens = draw(survey, rng)
        if lens is None:
            continue
        image, noise, snr = observe(lens, survey, size, rng)
        if snr > 20 and image.sum() > 0:
            images.append(image)
            noises.append(noise)
            rows.append({**lens, "snr": snr})
    return np.float32(images), np.float32(noises), Table(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("regressor")
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--seed", type=int, default=5)
    options = parser.parse_args()
    bundle, survey = load_bundle(options.regressor), load_survey("des")
    image, noise, truth = make(survey, options.count, bundle.card["stamp_size"], options.seed)
    got = sample_posteriors(bundle, image, noise, mc_samples=100, seed=1)
    table, names = Table(got.columns(WITH_MOMENTS)), list(bundle.targets)
    true = np.stack([np.asarray(truth[name]) for name in names], axis=1)
    for k, (name, values) in enumerate(zip(names, to_network(true, names).T, strict=True)):
        table[f"{name}_true"], table[f"{name}_truth"] = true[:, k], values
    conformal = bundle.calibration["conformal"]
    factors = {name: np.array([conformal[name][str(level)] for level in LEVELS]) for name in names}
    metrics, closer = regressor_metrics(table, names, factors), look_closer(table, names)
    printed = Printed(
        title=f"{len(truth)} lenses of lenstronomy and GalSim; novel: {np.mean(got.novelty > 1):.1%}"
    )
    for column in ("target", "bias", "68 % scatter", "outliers", "68 % coverage", "one value for all"):
        printed.add_column(column)
    for name in names:
        m = metrics[name]
        printed.add_row(
            name,
            f"{m['bias']:+.3f}",
            f"{m['scatter68']:.3f}",
            f"{m['outlier_frac']:.3f}",
            f"{m['coverage']['0.68']:.3f} +- {m['coverage_err']['0.68']:.3f}",
            f"{closer[name]['baselines']['mean']['scatter68']:.3f}",
        )
    Console(width=110).print(printed)


if __name__ == "__main__":
    main()
