"""Magnification and signal-to-noise of lensed sources: foretold from the truth, or measured on images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from astropy.table import Table

from lenspipe.core.survey import Survey
from lenspipe.imaging.observe import noise_sigma
from lenspipe.simulate.colours import flux_njy
from lenspipe.simulate.packing import Light
from lenspipe.simulate.parts import stack_betas, stack_columns
from lenspipe.simulate.polar import DISC, GAUSSIAN, lens_disc, to_lens_frame
from lenspipe.simulate.preview import Seen, arcs_snr


def expect_arcs(survey: Survey, truth: Table, bands: Sequence[str], source: Light) -> dict[str, np.ndarray]:
    """Return mu, snr (best band) and snr_<band> of lenses in the whole coadd, without an image.

    Computed on the host, so that they are the same bits whatever renders the images, on which `measure_arcs`
    finds the same numbers to 1 % (tested). mu is the lensed over the unlensed flux in the detection band.

    Parameters
    ----------
    survey : Survey
    truth : Table
        Lens, light and condition columns of contract.md.
    bands : sequence of str
    source : Light
        The source, of components with n = 0.5 or 1 (`parts.source_light`).
    """
    components, magnified = [], np.zeros((len(truth), len(bands)))
    for c in range(source.flux.shape[1]):
        disc = _behind(truth, *(getattr(source, name)[:, c] for name in ("x", "y", "r_eff", "q", "phi")))
        is_disc = bool(np.all(source.n[:, c] == 1.0))
        flux = source.flux[:, c] * lens_disc(*disc, disc=DISC if is_disc else GAUSSIAN).mu[:, None]
        magnified += flux
        components.append(("exponential" if is_disc else "gaussian", to_lens_frame(*disc), flux))
    reference = bands.index(survey.reference_band(bands))
    mu = magnified[:, reference] / source.flux[:, :, reference].sum(axis=1)
    gain = np.array([survey.bands[band].electrons_per_njy() for band in bands])
    seen = Seen(
        fwhm=stack_columns(truth, "psf_fwhm", bands),
        beta=stack_betas(truth, bands),
        sky=(stack_columns(truth, "sky_sigma", bands) / survey.pixel_scale) ** 2,
        light=stack_columns(truth, "mag_lens", bands, flux_njy) / gain,
        **{name: np.asarray(truth[name], float) for name in ("r_lens", "n_lens", "q_light")},
        angle=np.asarray(truth["phi_light"], float) - np.asarray(truth["phi"], float),
    )
    snr = arcs_snr(components, seen, survey.pixel_scale)
    out = {"mu": mu, "snr": snr.max(axis=1)}
    return out | {f"snr_{band}": snr[:, b] for b, band in enumerate(bands)}


def magnify(truth: Table) -> np.ndarray:
    """Return the magnification (n,) of smooth discs, from the lens and source columns of contract.md."""
    return lens_disc(*_behind(truth, *(truth[f"{name}_src"] for name in ("x", "y", "r", "q", "phi")))).mu


def _behind(truth: Table, x, y, r_src, q_src, phi_src) -> tuple[np.ndarray, ...]:
    """Return the arguments of `lens_disc` for discs behind the table's lenses."""
    names = ("theta_e", "q", "phi", "gamma_ext", "phi_ext", "x_lens", "y_lens")
    *lens, gamma, phi_ext, x_lens, y_lens = (np.asarray(truth[name], float) for name in names)
    # the shear acts about the stamp's centre (`sie.shear`): it deflects the lens galaxy, too
    turn = 2.0 * np.radians(phi_ext)
    gamma_1, gamma_2 = -gamma * np.cos(turn), -gamma * np.sin(turn)
    x = x - x_lens + gamma_1 * x_lens + gamma_2 * y_lens
    y = y - y_lens + gamma_2 * x_lens - gamma_1 * y_lens
    return (*lens, gamma, phi_ext, *(np.asarray(value, float) for value in (x, y, r_src, q_src, phi_src)))


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
    reference = bands.index(survey.reference_band(bands))
    unlensed = np.where(no_source, np.nan, flux_njy(truth[f"mag_src_{bands[reference]}"]))
    out = {"mu": arcs[..., reference].sum(axis=(1, 2), dtype=np.float64) / unlensed, "snr": snr.max(axis=1)}
    return out | {f"snr_{band}": snr[:, b] for b, band in enumerate(bands)}
