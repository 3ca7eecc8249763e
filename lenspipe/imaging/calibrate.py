"""From pixels as they stand in a file to calibrated flux and noise in nJy per pixel."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
from astropy.stats import mad_std, sigma_clipped_stats
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from lenspipe.core.errors import Rejected
from lenspipe.core.schema import Flag
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.core.types import BandImage, RawBand
from lenspipe.imaging.psf import centre_psf, psf_width

_ZERO_POINT_KEYS = ("MAGZERO", "MAGZP", "MAGZPT", "MAG_ZERO", "ZEROPT", "PHOTZP", "ZP")
_FWHM_KEYS = ("PSF_FWHM", "FWHM", "SEEING")
#: Brighter pixels [nJy] (magnitude -6) are sentinels such as 1e30, not sky.
MAX_FLUX = 1e15
#: Zero points of flux units that headers name in BUNIT.
_UNIT_ZERO_POINTS = {
    "njy": 31.4,
    "nanojansky": 31.4,
    "ujy": 23.9,
    "jy": 8.9,
    "nanomaggy": 22.5,
    "nanomaggie": 22.5,
    "maggy": 0.0,
    "maggie": 0.0,
}


def calibrate_band(raw: RawBand, survey: Survey) -> BandImage:
    """Return a band in nJy per pixel with its noise; unusable pixels are NaN with infinite noise.

    The zero point is the header's, else the survey's (flagged). Without a noise map the noise is the
    clipped scatter of the pixels (flagged). A pixel is unusable where it is not finite, where its
    weight is not positive, or where a bad bit of the mask is set.

    Raises
    ------
    Rejected
        ``no_good_pixels:<band>`` if nothing is left.
    """
    flags = Flag(0)
    zero_point = read_zero_point(raw.header)
    if zero_point is None:
        zero_point = survey.bands[raw.band].zero_point
        flags |= Flag.ZERO_POINT_ASSUMED
    scale = 10 ** (0.4 * (NJY_ZERO_POINT - zero_point))
    good = np.isfinite(raw.data)
    if raw.mask is not None:
        bits = _bad_bits(raw.mask_header, survey)
        good &= (raw.mask == 0) if bits is None else ((raw.mask & bits) == 0)
    with np.errstate(over="ignore", invalid="ignore"):
        flux = raw.data * np.float32(scale)
        good &= np.abs(flux) < MAX_FLUX
    sigma = _noise_map(raw)
    if sigma is not None:
        good &= np.isfinite(sigma) & (sigma > 0)
        sigma = sigma * np.float32(scale)
    if not good.any():
        raise Rejected(f"no_good_pixels:{raw.band}", "every pixel is masked or not finite", raw.path)
    if sigma is None:
        sigma = np.full(flux.shape, estimate_noise(np.where(good, flux, np.nan)), np.float32)
        flags |= Flag.NOISE_ESTIMATED
    if not np.any(flux[good] != flux[good][0]):
        raise Rejected(f"no_signal:{raw.band}", f"every pixel is {flux[good][0]:g}", raw.path)
    wcs, pixel_scale = read_wcs(raw.header)
    pixel_scale = pixel_scale or float(raw.header.get("PIXSCALE", survey.pixel_scale))
    psf_image = None if raw.psf is None else centre_psf(raw.psf)
    psf_fwhm = _read_fwhm(raw.header, psf_image, pixel_scale)
    if psf_fwhm is None:
        psf_fwhm = survey.bands[raw.band].psf_fwhm
        flags |= Flag.PSF_ASSUMED
    saturation = float(raw.header.get("SATURATE", 0) or 0)
    saturated = (raw.data >= saturation) if saturation > 0 else np.zeros(raw.data.shape, bool)
    return BandImage(
        raw.band,
        np.where(good, flux, np.float32(np.nan)),
        np.where(good, sigma, np.float32(np.inf)).astype(np.float32),
        wcs,
        pixel_scale,
        psf_fwhm,
        saturated,
        int(flags),
        read_gain(raw.header, scale, survey.bands[raw.band].electrons_per_njy()),
        psf_image,
    )


def _bad_bits(header, survey: Survey) -> int | None:
    """Return the mask bits that make a pixel unusable: by the mask's own names of its planes, else by number."""
    planes = (
        {str(key)[3:]: header[key] for key in header if str(key).startswith("MP_")}
        if header is not None
        else {}
    )
    if not planes:
        return survey.layout.bad_bits
    return sum(1 << int(planes[name]) for name in survey.layout.bad_planes if name in planes)


def read_zero_point(header) -> float | None:
    """Return the AB zero point that a header gives (a keyword, or a unit in BUNIT), or None."""
    for key in _ZERO_POINT_KEYS:
        value = header.get(key)
        if isinstance(value, (int, float)) and np.isfinite(value):
            return float(value)
    return _UNIT_ZERO_POINTS.get(str(header.get("BUNIT", "")).strip().lower().removesuffix("s"))


def read_gain(header, njy_per_count: float, usual: float) -> float:
    """Return a header's gain in electrons per nJy, or the survey's where it gives none.

    A coadd's header may keep the gain of one exposure or of the detector: one that is more than ten times off
    the survey's is not believed.
    """
    value = header.get("GAIN")
    if not isinstance(value, (int, float)) or not np.isfinite(value) or value <= 0:
        return usual
    gain = float(value) / njy_per_count
    return gain if 0.1 < gain / usual < 10.0 else usual


def read_wcs(header) -> tuple[WCS | None, float | None]:
    """Return the celestial WCS of a header and its pixel scale [arcsec], or (None, None)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # astropy's remarks on old keywords (RADECSYS) help nobody here
        try:
            wcs = WCS(header).celestial
        except Exception:
            return None, None  # a header whose WCS cannot be read is a stamp without coordinates
        if not wcs.has_celestial:
            return None, None
        scales = proj_plane_pixel_scales(wcs) * 3600.0
    if not np.all(np.isfinite(scales)) or scales.min() <= 0:
        return None, None
    return wcs, float(np.sqrt(scales[0] * scales[1]))


def estimate_noise(image: np.ndarray) -> float:
    """Return the noise of the sky pixels of an image (y, x); NaN pixels are ignored.

    Two estimates, of which the lower one is taken, because both err upwards where objects fill the
    image: the scatter after clipping at 3 sigma, and the scatter of each fainter-than-median pixel
    against its neighbours two pixels away (beyond most of the correlation that resampling leaves).
    On real DES, HSC and KiDS images with known noise this is right to -15 % .. +30 %.
    """
    clipped = float(sigma_clipped_stats(image, sigma=3.0, maxiters=10, mask=~np.isfinite(image))[2])
    noise = clipped
    if min(image.shape) > 8:
        centre = image[2:-2, 2:-2]
        neighbours = 0.25 * (image[:-4, 2:-2] + image[4:, 2:-2] + image[2:-2, :-4] + image[2:-2, 4:])
        difference = centre - neighbours
        faint = np.isfinite(difference) & (centre <= np.nanmedian(image))
        if faint.sum() > 50:
            noise = min(clipped, float(mad_std(difference[faint])) / _FAINT_SCATTER)
    return max(noise, float(np.finfo(np.float32).tiny))


#: Scatter of (pixel - mean of four others) over sigma, in white noise, for pixels below the median.
_FAINT_SCATTER = 0.763


def _noise_map(raw: RawBand) -> np.ndarray | None:
    if raw.noise is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        if raw.noise_kind == "weight":
            return 1.0 / np.sqrt(np.where(raw.noise > 0, raw.noise, np.nan))
        return np.sqrt(raw.noise) if raw.noise_kind == "variance" else raw.noise


def _read_fwhm(header, psf_image: np.ndarray | None, pixel_scale: float) -> float | None:
    """Return the PSF's FWHM [arcsec] by the header, else by its image, or None."""
    for key in _FWHM_KEYS:
        value = header.get(key)
        if isinstance(value, (int, float)) and 0 < value < 100:
            return float(value)
    return None if psf_image is None else psf_width(psf_image) * pixel_scale


def subtract_sky(image: BandImage, small: bool) -> BandImage:
    """Return the image without its sky, if it still has one; coadds are left alone.

    A sky is there when even the faintest pixels (5th percentile) stand more than a sigma above zero,
    which no sky-subtracted image shows. `small` images lose one number, larger ones a smooth map.
    """
    good = np.isfinite(image.flux)
    pixels = image.flux[good]
    if np.percentile(pixels, 5) <= estimate_noise(image.flux):
        return image
    if small:
        sky = np.float32(sigma_clipped_stats(pixels, sigma=3.0)[1])
    else:
        from photutils.background import Background2D

        box = min(128, *image.flux.shape)
        sky = Background2D(image.flux, box, mask=~good, exclude_percentile=60.0).background
    flux = (image.flux - sky).astype(np.float32)
    return replace(image, flux=flux, flags=int(image.flags | Flag.SKY_SUBTRACTED))
