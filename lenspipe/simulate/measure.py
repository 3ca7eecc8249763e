"""Magnification and signal-to-noise of lensed sources: foretold from the truth, or measured on images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from lenspipe.core.survey import Survey
from lenspipe.imaging.observe import noise_sigma
from lenspipe.lensing.light import sersic_constants
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.polar import lens_disc, signal_to_noise


def expect_arcs(survey: Survey, truth: Table, bands: Sequence[str]) -> dict[str, np.ndarray]:
    """Return mu, snr (best band) and snr_<band> of lenses in the whole coadd, without an image.

    Computed on the host in float64, so that they are the same bits whatever renders the images.

    Parameters
    ----------
    survey : Survey
    truth : Table
        Lens, source and condition columns of contract.md.
    bands : sequence of str
    """
    get = {name: np.asarray(truth[name], float) for name in truth.colnames if truth[name].dtype.kind == "f"}
    ring = lens_disc(
        *(get[name] for name in ("theta_e", "q", "phi", "gamma_ext", "phi_ext")),
        get["x_src"] - get["x_lens"], get["y_src"] - get["y_lens"],
        *(get[name] for name in ("r_src", "q_src", "phi_src")),
    )  # fmt: skip
    out: dict[str, np.ndarray] = {"mu": ring.mu}
    b_n, norm = sersic_constants(get["n_lens"])
    for band in bands:
        fwhm = get[f"psf_fwhm_{band}"]
        r_lens = np.hypot(get["r_lens"], 0.5 * fwhm)
        light = norm * np.exp(-b_n * (ring.radius / r_lens) ** (1.0 / get["n_lens"])) / r_lens**2
        variance = (get[f"sky_sigma_{band}"] / survey.pixel_scale) ** 2
        variance = (
            variance + flux_njy(truth[f"mag_lens_{band}"]) * light / survey.bands[band].electrons_per_njy()
        )
        out[f"snr_{band}"] = signal_to_noise(ring, flux_njy(truth[f"mag_src_{band}"]), fwhm, variance)
    return out | {"snr": np.max([out[f"snr_{band}"] for band in bands], axis=0)}


def measure_arcs(
    survey: Survey, truth: Table, bands: Sequence[str], light: np.ndarray, arcs: np.ndarray, gain: np.ndarray
) -> dict[str, np.ndarray]:
    """Return mu, snr and snr_<band> of rendered lenses; NaN where there is no source.

    mu is the lensed over the unlensed flux in the detection band. The signal-to-noise is the maximum
    over k of the sum of the k brightest source pixels over their noise, in which sky and the lens
    galaxy's Poisson noise count (Collett 2015).
    """
    sky = np.stack([truth[f"sky_sigma_{band}"] for band in bands], axis=-1)
    variance = noise_sigma(light, gain, sky[:, None, None, :]) ** 2
    flat = (len(truth), -1, len(bands))
    signal, variance = arcs.reshape(flat), variance.reshape(flat)
    order = np.argsort(-signal, axis=1)
    signal = np.cumsum(np.take_along_axis(signal, order, axis=1), axis=1, dtype=np.float64)
    noise = np.sqrt(np.cumsum(np.take_along_axis(variance, order, axis=1), axis=1))
    no_source = ~np.isfinite(truth["x_src"])
    snr = np.max(signal / noise, axis=1)
    snr[no_source] = np.nan
    reference = bands.index(survey.detection_band) if survey.detection_band in bands else len(bands) - 1
    unlensed = np.where(no_source, np.nan, flux_njy(truth[f"mag_src_{bands[reference]}"]))
    out = {"mu": arcs[..., reference].sum(axis=(1, 2), dtype=np.float64) / unlensed, "snr": snr.max(axis=1)}
    return out | {f"snr_{band}": snr[:, b] for b, band in enumerate(bands)}
