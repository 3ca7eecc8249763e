"""From pixels as they stand in a file to calibrated flux and noise in nJy per pixel."""

from __future__ import annotations

import warnings

import numpy as np
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from scipy.ndimage import zoom

from lenspipe.core.schema import Flag
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.core.types import BandImage, Calibration, RawBand

_ZERO_POINT_KEYS = ("MAGZERO", "MAGZP", "MAGZPT", "MAG_ZERO", "ZEROPT", "PHOTZP", "ZP")
_FWHM_KEYS = ("PSF_FWHM", "FWHM", "SEEING")
#: Beyond this a zero point [mag] is a fault of the header; its scale may not even be a number.
_MAX_ZERO_POINT = 100
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


def read_calibration(
    band: str,
    header,
    survey: Survey,
    path: str = "",
    noise_kind: str = "",
    mask_header=None,
    psf: np.ndarray | None = None,
) -> Calibration:
    """Return what a band's headers and PSF image tell of its calibration.

    The zero point is the header's, else the survey's (flagged); the PSF's width likewise.
    """
    flags = Flag(0)
    zero_point = read_zero_point(header)
    if zero_point is None:
        zero_point = survey.bands[band].zero_point
        flags |= Flag.ZERO_POINT_ASSUMED
    scale = 10 ** (0.4 * (NJY_ZERO_POINT - zero_point))
    wcs, pixel_scale = read_wcs(header)
    pixel_scale = pixel_scale or _number(header.get("PIXSCALE")) or survey.pixel_scale
    psf_fwhm = _read_fwhm(header, psf, pixel_scale)
    if psf_fwhm is None:
        psf_fwhm = survey.bands[band].psf_fwhm
        flags |= Flag.PSF_ASSUMED
    gain = read_gain(header, scale, survey.bands[band].electrons_per_njy())
    return Calibration(
        band, path, scale, noise_kind, _bad_bits(mask_header, survey), _number(header.get("SATURATE")) or np.inf,
        wcs, pixel_scale, psf_fwhm, gain, int(flags | (0 if noise_kind else Flag.NOISE_ESTIMATED)),
    )  # fmt: skip


def calibrate_pixels(raw: RawBand, cal: Calibration) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return flux and noise [nJy per pixel] and which pixels are saturated, all of the shape of `raw.data`.

    A pixel is unusable where it is not finite, where its weight is not positive, or where a bad bit of the
    mask is set: its flux is NaN, its noise infinite.
    """
    good = usable_pixels(raw, cal)
    scale = np.float32(cal.njy_per_count)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        flux = raw.data - (np.float32(cal.sky or 0) if raw.sky is None else raw.sky)
        flux *= scale
        if raw.noise is None:
            sigma = np.full(flux.shape, cal.noise, np.float32)
        else:
            sigma = scale * noise_sigma(raw.noise, cal.noise_kind)
        saturated = raw.data >= cal.saturation
    flux[~good], sigma[~good] = np.nan, np.inf
    return flux, sigma, saturated


def usable_pixels(raw: RawBand, cal: Calibration) -> np.ndarray:
    """Return which pixels can be used."""
    with np.errstate(invalid="ignore"):
        good = np.abs(raw.data) < np.float32(min(MAX_FLUX / cal.njy_per_count, 3e38))  # False for NaN
        if raw.noise is not None:
            good &= raw.noise > 0
            good &= raw.noise < np.inf
    if raw.mask is not None:
        good &= (raw.mask if cal.bad_bits is None else _masked(raw.mask, cal.bad_bits)) == 0
    return good


def _masked(mask: np.ndarray, bits: int) -> np.ndarray:
    """Return the mask's bits that are among `bits`; those its type has no room for are set nowhere."""
    unsigned = mask.view(mask.dtype.str.replace("i", "u"))
    return unsigned & unsigned.dtype.type(bits & int(np.iinfo(unsigned.dtype).max))


def noise_sigma(noise: np.ndarray, kind: str) -> np.ndarray:
    """Return the noise's sigma that a map of `kind` holds; where the map is not positive, nonsense."""
    if kind == "weight":
        return 1.0 / np.sqrt(noise)
    return np.sqrt(noise) if kind == "variance" else np.asarray(noise)


def calibrate_image(raw: RawBand, cal: Calibration, x: int = 0, y: int = 0) -> BandImage:
    """Return a part of a band in nJy per pixel; (x, y) is its first pixel in the band."""
    flux, sigma, saturated = calibrate_pixels(raw, cal)
    rows, columns = flux.shape
    wcs = cal.wcs[y : y + rows, x : x + columns] if cal.wcs is not None and (x or y) else cal.wcs
    return BandImage(
        cal.band, flux, sigma, wcs, cal.pixel_scale, cal.psf_fwhm, saturated, cal.flags, cal.electrons_per_njy
    )


def _number(value) -> float:
    """Return a header's value as a positive number, 0 where it is none."""
    usable = isinstance(value, (int, float)) and np.isfinite(value) and value > 0
    return float(value) if usable else 0.0


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


#: PSF images are interpolated so much finer to measure their width.
_PSF_ZOOM = 5


def read_zero_point(header) -> float | None:
    """Return the AB zero point that a header gives (a keyword, or a unit in BUNIT), or None."""
    for key in _ZERO_POINT_KEYS:
        value = header.get(key)
        if isinstance(value, (int, float)) and abs(value) < _MAX_ZERO_POINT:
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


def _read_fwhm(header, psf: np.ndarray | None, pixel_scale: float) -> float | None:
    for key in _FWHM_KEYS:
        value = header.get(key)
        if isinstance(value, (int, float)) and 0 < value < 100:
            return float(value)
    if psf is not None and np.nanmax(psf) > 0:
        # FWHM of the circle whose area is that above half of the peak: no normalisation needed
        fine = zoom(np.nan_to_num(psf), _PSF_ZOOM, order=3, grid_mode=True, mode="nearest")
        area = np.count_nonzero(fine >= 0.5 * fine.max()) / _PSF_ZOOM**2
        return 2.0 * float(np.sqrt(area / np.pi)) * pixel_scale
    return None
