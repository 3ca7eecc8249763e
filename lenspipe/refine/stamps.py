"""From stored stamps and network posteriors to what is fitted, and from fits to columns and flags."""

from __future__ import annotations

import numpy as np
from astropy.table import Table

from lenspipe.core.schema import Flag
from lenspipe.core.survey import Survey
from lenspipe.io.shards import Shard
from lenspipe.refine.fit import Refined
from lenspipe.refine.projection import Pixels

#: Fit and network disagree beyond so many sigma of both.
DISAGREE = 3.0
#: A model is no model beyond this chi squared per degree of freedom: something else is in the stamp.
WORST_CHI2 = 2.0
#: Nor is one whose source is fainter: a galaxy alone explains the pixels as well.
LEAST_SNR = 5.0


def weigh_stamps(shard: Shard, survey: Survey) -> Pixels:
    """Return the pixels of stamps that were cut from images, with sky and Poisson noise.

    Poisson noise is that of the flux found, where the gain is known. Masked pixels (`shard.mask`, if it was read) do
    not count. The PSF is the stamps' own image where each band has one, else its FWHM with the survey's Moffat index.
    """
    image = np.asarray(shard.image, np.float64)
    variance = np.asarray(shard.noise_sigma, np.float64)[:, None, None] ** 2
    if shard.electrons_per_njy is not None:
        gain = np.asarray(shard.electrons_per_njy, np.float64)[:, None, None]
        variance = variance + np.where(gain > 0, np.maximum(image, 0.0) / np.where(gain > 0, gain, 1.0), 0.0)
    weight = np.broadcast_to(1.0 / np.sqrt(variance), image.shape).copy()
    if shard.mask is not None:
        weight[np.asarray(shard.mask) != 0] = 0.0
    bands = [survey.bands[band] for band in shard.bands]
    fwhm = (
        np.broadcast_to([band.psf_fwhm for band in bands], (len(image), len(bands)))
        if shard.psf_fwhm is None
        else np.asarray(shard.psf_fwhm, np.float64)
    )
    beta = np.broadcast_to([band.psf_beta for band in bands], fwhm.shape)
    psf = {"psf_fwhm": np.array(fwhm, np.float64), "psf_beta": np.array(beta, np.float64)}
    if shard.psf_image is not None and np.isfinite(shard.psf_image).all():
        psf["psf_image"] = np.asarray(shard.psf_image, np.float64)[np.asarray(shard.psf_index)]
    return Pixels(image, weight, psf, shard.pixel_scale)


def find_failed(refined: Refined) -> np.ndarray:
    """Tell whose model is none (n,): not converged, beyond `WORST_CHI2`, or with a source below `LEAST_SNR`."""
    return ~refined.converged | ~(refined.chi2 < WORST_CHI2) | ~(refined.snr_src > LEAST_SNR)


def tell_refined(refined: Refined, posteriors: Table) -> Table:
    """Return the columns of models, ``fit_flags`` among them: whether a fit failed, or disagrees with the network."""
    table = Table(refined.columns())
    found, error = np.asarray(table["fit_theta_e"]), np.asarray(table["fit_theta_e_err"])
    median = np.asarray(posteriors["theta_e"], np.float64)
    side = np.where(found > median, posteriors["theta_e_err_hi"], posteriors["theta_e_err_lo"])
    failed = find_failed(refined)
    apart = np.abs(found - median) > DISAGREE * np.hypot(side, error)
    flags = failed * int(Flag.FIT_FAILED) + (apart & ~failed) * int(Flag.FIT_DISAGREES)
    table["fit_flags"] = flags.astype(np.int32)
    return table
