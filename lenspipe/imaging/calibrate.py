"""From pixels as they stand in a file to calibrated flux and noise in nJy per pixel."""

from __future__ import annotations

import re
import warnings

import numpy as np

from lenspipe.core.schema import Flag
from lenspipe.core.survey import NJY_ZERO_POINT, Survey
from lenspipe.core.types import BandImage, Calibration, RawBand
from lenspipe.imaging.astrometry import read_wcs
from lenspipe.imaging.psf import centre_psf, psf_width

_ZERO_POINT_KEYS = ("MAGZERO", "MAGZP", "MAGZPT", "MAG_ZERO", "ZEROPT", "PHOTZP", "MZP_AB", "ZP")
#: Zero points beyond are placeholders (-99, 1e30), not magnitudes; those of the usual units lie within.
_ZERO_POINTS = (-5.0, 40.0)
_FWHM_KEYS = ("PSF_FWHM", "FWHM", "SEEING")
#: Brighter pixels [nJy] (magnitude -6) are sentinels such as 1e30, not sky.
MAX_FLUX = 1e15
#: Noise of a pixel [nJy] that an image may have.
LEAST_SIGMA, _MOST_SIGMA = 1e-6, 1e10
#: Widths that a PSF may have [arcsec].
_FWHMS = (0.02, 30.0)
#: Zero points of flux units in BUNIT that astropy.units does not know, or not in this spelling.
_UNIT_ZERO_POINTS = {
    "njy": 31.4,
    "nanojansky": 31.4,
    "ujy": 23.9,
    "jy": 8.9,
    "nmgy": 22.5,
    "nanomaggy": 22.5,
    "nanomaggie": 22.5,
    "mgy": 0.0,
    "maggy": 0.0,
    "maggie": 0.0,
}
_PER_PIXEL = re.compile(r"( */ *| per )(pix|pixel)s?$")


def read_calibration(
    band: str,
    header,
    survey: Survey,
    path: str = "",
    noise_kind: str = "",
    mask_header=None,
    psf: np.ndarray | None = None,
    psf_fwhm: float | None = None,
    shape: tuple[int, int] | None = None,
) -> Calibration:
    """Return what a band's headers and PSF image tell of its calibration.

    The zero point is the header's, else the survey's (flagged); the PSF's width [arcsec] is `psf_fwhm`, else that
    of the PSF image, else the header's, else the survey's (flagged). `shape` is the image's (rows, columns), by
    default what the header says.

    Raises
    ------
    Rejected
        If the header's sky coordinates cannot be used; see `imaging.astrometry`.
    """
    flags = Flag(0)
    zero_point = read_zero_point(header, survey.layout.zero_point_per_second)
    if zero_point is None:
        zero_point = survey.bands[band].zero_point
        flags |= Flag.ZERO_POINT_ASSUMED
    scale = 10 ** (0.4 * (NJY_ZERO_POINT - zero_point))
    wcs, pixel_scale = read_wcs(header, shape, band, path)
    pixel_scale = pixel_scale or _number(header.get("PIXSCALE")) or survey.pixel_scale
    psf_image = None if psf is None else centre_psf(psf)
    psf_fwhm = psf_fwhm or _read_fwhm(header, psf_image, pixel_scale)
    if psf_fwhm is None or not _FWHMS[0] <= psf_fwhm <= _FWHMS[1]:
        psf_fwhm = survey.bands[band].psf_fwhm
        flags |= Flag.PSF_ASSUMED
    gain = read_gain(header, scale, survey.bands[band].electrons_per_njy())
    return Calibration(
        band, path, scale, noise_kind, _bad_bits(mask_header, survey, band), _number(header.get("SATURATE")) or np.inf,
        wcs, pixel_scale, psf_fwhm, gain, int(flags | (0 if noise_kind else Flag.NOISE_ESTIMATED)), psf_image=psf_image,
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
            least, most = _noise_range(cal)
            good &= raw.noise > least
            good &= raw.noise < most
    if raw.mask is not None:
        good &= (raw.mask if cal.bad_bits is None else _masked(raw.mask, cal.bad_bits)) == 0
    empty = find_flat(raw.data)
    if empty is not None:
        good &= ~empty
    return good


def _noise_range(cal: Calibration) -> tuple[float, float]:
    """Return what a noise map may hold: no image has a sigma out of bounds."""
    low, high = (sigma / cal.njy_per_count for sigma in (LEAST_SIGMA, _MOST_SIGMA))
    if cal.noise_kind == "weight":
        return max(high**-2.0, 1e-38), min(low**-2.0, 3e38)
    power = 2.0 if cal.noise_kind == "variance" else 1.0
    return max(low**power, 1e-38), min(high**power, 3e38)


def find_flat(data: np.ndarray) -> np.ndarray | None:
    """Return the pixels (..., y, x) in blocks of 3 x 3 or more of one and the same value; None if there are none.

    Noise makes no such blocks: there is no data, whatever weight and mask say of zeros that were filled in.
    """
    same = data[..., :, 1:] == data[..., :, :-1]
    if min(data.shape[-2:]) < 3 or np.count_nonzero(same) < 6:
        return None
    below = data[..., 1:, :] == data[..., :-1, :]
    rows = same[..., :, 1:] & same[..., :, :-1]  # three alike side by side, at their middle
    block = rows[..., 2:, :] & rows[..., 1:-1, :] & rows[..., :-2, :]
    block &= below[..., 1:, 1:-1] & below[..., :-1, 1:-1]
    if not block.any():
        return None
    flat = np.zeros(data.shape, bool)
    for dy in range(3):
        for dx in range(3):
            flat[..., dy : dy + block.shape[-2], dx : dx + block.shape[-1]] |= block
    return flat


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
        cal.band,
        flux,
        sigma,
        wcs,
        cal.pixel_scale,
        cal.psf_fwhm,
        saturated,
        cal.flags,
        cal.electrons_per_njy,
        cal.psf_image,
    )


def _number(value) -> float:
    """Return a header's value as a positive number, 0 where it is none."""
    number = _any_number(value)
    return number if number > 0 else 0.0


def _any_number(value) -> float:
    """Return a header's value, which may be a number in quotes, as a finite float, else NaN."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError):
        return np.nan
    return number if np.isfinite(number) else np.nan


def _bad_bits(header, survey: Survey, band: str) -> int | None:
    """Return the mask bits that make a pixel unusable: by the mask's own names of its planes, else by number."""
    bits = {}
    for key, value in header.items() if header is not None else ():
        if key.startswith("MP_"):  # LSST, HSC: MP_SAT = 1
            bits[key[3:]] = value
        elif key.startswith("MBIT_"):  # Legacy Surveys: MBIT_2 = 'SATUR_G'
            bits[str(value).strip()] = key[5:]
    if not bits:
        numbers = survey.layout.bad_bits
        return numbers.get(band) if isinstance(numbers, dict) else numbers
    names = [name.replace("{band}", band.upper()) for name in survey.layout.bad_planes]
    planes = [_any_number(bits[name]) for name in dict.fromkeys(names) if name in bits]
    return sum(1 << int(plane) for plane in planes if 0 <= plane < 64)


def read_zero_point(header, per_second: bool = False) -> float | None:
    """Return the AB zero point that a header gives, or None.

    A flux unit in BUNIT says what the pixels are; a keyword beside it may be left over from the counts they came
    from. Otherwise the first believable keyword counts, or FLUXMAG0, the counts of a source of magnitude 0. With
    `per_second` (see `core.survey.Layout`) 2.5 log10(EXPTIME) is added.
    """
    unit = _unit_zero_point(str(header.get("BUNIT", "")))
    if unit is not None:
        return unit
    counts = _number(header.get("FLUXMAG0"))
    values = [_any_number(header.get(key)) for key in _ZERO_POINT_KEYS]
    values.append(2.5 * np.log10(counts) if counts else np.nan)
    exposure = _number(header.get("EXPTIME")) if per_second else 1.0
    if not exposure:
        return None
    believable = [float(v) for v in values if _ZERO_POINTS[0] <= v <= _ZERO_POINTS[1]]
    return believable[0] + 2.5 * float(np.log10(exposure)) if believable else None


def _unit_zero_point(text: str) -> float | None:
    """Return the AB zero point of a flux unit, or None where it is no flux (counts, electrons per second, ...)."""
    name = _PER_PIXEL.sub("", text.strip().lower())
    if name.removesuffix("s") in _UNIT_ZERO_POINTS:
        return _UNIT_ZERO_POINTS[name.removesuffix("s")]
    if not any(part in text.lower() for part in ("jy", "hz")):
        return None
    from astropy import units

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            njy = units.Unit(_PER_PIXEL.sub("", text.strip())).to(units.nJy)
        except (ValueError, TypeError, units.UnitsError):
            return None  # also a surface brightness (MJy / sr), which is no flux of a pixel
    return NJY_ZERO_POINT - 2.5 * float(np.log10(njy))


def read_gain(header, njy_per_count: float, usual: float) -> float:
    """Return a header's gain in electrons per nJy, or the survey's where it gives none.

    A coadd's header may keep the gain of one exposure or of the detector: one that is more than ten times off
    the survey's is not believed.
    """
    gain = _number(header.get("GAIN")) / njy_per_count
    return gain if 0.1 < gain / usual < 10.0 else usual


def _read_fwhm(header, psf_image: np.ndarray | None, pixel_scale: float) -> float | None:
    """Return the PSF's FWHM [arcsec] by its image, else by the header, or None."""
    if psf_image is not None:
        return psf_width(psf_image) * pixel_scale
    for key in _FWHM_KEYS:
        value = _number(header.get(key))
        if 0 < value < 100:
            # DECam and DES give FWHM in pixels, and say so
            return value * pixel_scale if "pix" in header.comments[key].lower() else value
    return None
