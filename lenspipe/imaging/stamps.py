"""All stamps of an image, band by band, and which of them can be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from lenspipe.core.schema import Flag
from lenspipe.core.survey import same_scale
from lenspipe.core.types import BandImage, Calibration, RawBand, StampFormat
from lenspipe.imaging import cutout
from lenspipe.imaging.astrometry import pixels_of, sky_of
from lenspipe.imaging.calibrate import noise_sigma, usable_pixels

_ELSEWHERE = -1e9  # px: far from any image
#: Bits of a stamp's mask: pixels that could not be used and were filled; those beyond the image, zero.
FILLED, BEYOND = 1, 2
#: Stamps worked on at once: what a core's cache holds.
_IN_CACHE = 48


@dataclass(frozen=True)
class Stamps:
    """Stamps of one band (n, y, x) or of several (n, y, x, band).

    `flux` [nJy per pixel], `noise_sigma` [nJy per pixel] (n,) or (n, band), `flags` (n,); `rows` and `columns`
    (n, size): which of them lie on the images; `bad` (n,): the share of the stamp that does, but cannot be used.
    `mask`, of the shape of `flux`, uint8: 0, `FILLED` or `BEYOND`; only where bands have been stacked.
    """

    flux: np.ndarray
    noise_sigma: np.ndarray
    flags: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    bad: np.ndarray
    mask: np.ndarray | None = None

    @property
    def within(self) -> np.ndarray:
        """The share (n,) of each stamp that lies on the images."""
        return self.rows.mean(axis=1) * self.columns.mean(axis=1)


def cut_pixels(raw: RawBand, cal: Calibration, x: np.ndarray, y: np.ndarray, size: int) -> Stamps:
    """Return the stamps of a part of a band around positions in its pixels, as they are: the fast way.

    Pixels that cannot be used, and those beyond the part, are NaN.
    """
    count = len(x)
    flux, saturated = np.empty((count, size, size), np.float32), np.zeros(count, bool)
    noise, usable = np.empty(count, np.float32), np.empty(count)
    for start in range(0, count, _IN_CACHE):
        some = slice(start, start + _IN_CACHE)
        stamps = RawBand(
            **{
                name: cutout.cut_many(getattr(raw, name), x[some], y[some], size, fill)
                for name, fill in _FILLS.items()
                if getattr(raw, name) is not None
            }
        )
        noise[some], usable[some] = _calibrate_stamps(stamps, cal, flux[some])
        if np.isfinite(cal.saturation):
            saturated[some] = (stamps.data >= cal.saturation).any(axis=(1, 2))
    rows, columns = cutout.stamps_inside(raw.data.shape, x, y, size)
    flags = np.full(count, cal.flags | (Flag.NO_WCS if cal.wcs is None else 0), int)
    flags[saturated] |= int(Flag.SATURATED)
    within = rows.mean(axis=1) * columns.mean(axis=1)
    return Stamps(flux, noise, flags, rows, columns, np.where(usable < within - 1e-9, within - usable, 0.0))


#: What lies beyond an image's edge.
_FILLS = {"data": np.nan, "noise": np.nan, "mask": 0, "sky": np.nan}


def _calibrate_stamps(stamps: RawBand, cal: Calibration, out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Write the flux of stamps to `out` (n, y, x) and return their median noise (n,), nJy, and usable share (n,)."""
    good = usable_pixels(stamps, cal)
    with np.errstate(over="ignore", invalid="ignore"):
        np.subtract(stamps.data, np.float32(cal.sky or 0) if stamps.sky is None else stamps.sky, out=out)
        out *= np.float32(cal.njy_per_count)
    usable = np.count_nonzero(good.reshape(len(good), -1), axis=1) / good[0].size
    spoilt = usable < 1.0
    out[spoilt] = np.where(good[spoilt], out[spoilt], np.float32(np.nan))
    if stamps.noise is None:
        return np.where(usable > 0, np.float32(cal.noise), np.float32(np.nan)), usable
    # noise maps are smooth: the median of some hundred pixels is that of all
    step = max(1, out.shape[1] // 16)
    sparse = stamps.noise[:, ::step, ::step].reshape(len(out), -1)
    known = good[:, ::step, ::step].reshape(len(out), -1)
    ordered = np.sort(np.where(known, sparse, np.float32(np.inf)), axis=1)
    middle = ordered[np.arange(len(out)), np.minimum(known.sum(axis=1) // 2, known.shape[1] - 1)]
    for k in np.flatnonzero(~np.isfinite(middle)):
        middle[k] = np.median(stamps.noise[k][good[k]]) if good[k].any() else np.nan
    with np.errstate(invalid="ignore", divide="ignore"):
        return (noise_sigma(middle, cal.noise_kind) * cal.njy_per_count).astype(np.float32), usable


def cut_stamps(
    image: BandImage, x: np.ndarray, y: np.ndarray, form: StampFormat, grid: tuple[WCS, float] | None = None
) -> Stamps:
    """Return the stamps of one band around positions, on other pixels than the band's: the slow way.

    Where `grid`, WCS and pixel scale [arcsec] of the first band, is given, positions are pixels of it and the
    band is reprojected onto it; otherwise positions are the band's own pixels, and it is resampled to the
    format's pixel scale. Both conserve flux and are flagged. Pixels that cannot be used, and those beyond
    the image, are NaN.
    """
    cuts = [_cut(image, xi, yi, form, grid) for xi, yi in zip(x, y, strict=True)]
    flux = np.array([cut[0] for cut in cuts], np.float32).reshape(-1, form.size, form.size)
    rows, columns = (np.array([cut[k] for cut in cuts], bool).reshape(-1, form.size) for k in (3, 4))
    usable = np.isfinite(flux) | ~(rows[:, :, None] & columns[:, None, :])
    return Stamps(
        flux,
        noise_sigma=np.array([cut[1] for cut in cuts], np.float32),
        flags=np.array([cut[2] for cut in cuts], int),
        rows=rows,
        columns=columns,
        bad=(~usable).mean(axis=(1, 2)),
    )


def pixel_ratio(pixel_scale: float, form: StampFormat) -> float:
    """Return the side of the stamps' pixels in those of an image [arcsec], 1 where they hardly differ."""
    ratio = form.pixel_scale / pixel_scale
    return 1.0 if same_scale(ratio, 1.0) else ratio


def _cut(
    image: BandImage, x: float, y: float, form: StampFormat, grid: tuple[WCS, float] | None
) -> tuple[np.ndarray, float, int, np.ndarray, np.ndarray]:
    flags = image.flags | (Flag.NO_WCS if image.wcs is None else 0)
    ratio = pixel_ratio(image.pixel_scale, form)
    if ratio != 1.0:
        flags |= Flag.RESAMPLED
    if grid is not None:
        target = cutout.local_wcs(grid[0], x, y, form.size, pixel_ratio(grid[1], form))
        part = cutout.window(image, target, form.size, ratio)
        nothing = np.full((form.size, form.size), np.nan, np.float32)
        flux = nothing if part is None else cutout.reproject_stamp(*part, target, form.size)
        place = pixels_of(image.wcs, *sky_of(grid[0], x, y))
        x, y = (float(v) for v in np.nan_to_num(place, nan=_ELSEWHERE))
        flags |= Flag.REPROJECTED
    else:
        flux = cutout.resample_stamp(image.flux, x, y, form.size, ratio)
    native = max(1, round(form.size * ratio))
    sigma = cutout.cut_stamp(image.sigma, x, y, native)  # NaN beyond the image, infinite where bad
    good = sigma[np.isfinite(sigma)]
    if np.nan_to_num(cutout.cut_stamp(image.saturated, x, y, native)).any():
        flags |= Flag.SATURATED
    # independent pixels add in quadrature when `ratio`^2 of them are summed into one
    noise = float(np.median(good)) * ratio if good.size else np.nan
    rows, columns = cutout.stamps_inside(image.flux.shape, np.array([x]), np.array([y]), form.size, ratio)
    return flux, noise, int(flags), rows[0], columns[0]


def judge_stamps(bands: Sequence[Stamps], form: StampFormat, max_bad: float, edges: bool) -> list[str]:
    """Return for each object why it cannot be scored (``code: sentence``), or an empty string.

    Parameters
    ----------
    bands : sequence of Stamps
        One a band, as cut: unusable pixels are NaN.
    max_bad : float
        Largest fraction of unusable pixels in any band.
    edges : bool
        Whether too large a part beyond the image counts too (a tile's neighbour has the object whole;
        a cutout has no neighbour).
    """
    reasons = np.full(len(bands[0].flux), "", object)
    outside = np.array([1.0 - stamps.within for stamps in bands])
    for band, stamps, beyond in zip(form.bands, bands, outside, strict=True):
        lost, cut = ~np.isfinite(stamps.noise_sigma), (beyond > max_bad) & edges
        short = beyond - outside.min(axis=0) > max_bad  # the other bands go on where this one ends
        for i in np.flatnonzero((lost | cut | short | (stamps.bad > max_bad)) & (reasons == "")):
            if lost[i]:
                reasons[i] = f"no_good_pixels:{band}: no usable pixel in the stamp"
            elif cut[i]:
                reasons[i] = f"edge: {beyond[i]:.0%} of the stamp lies beyond the tile"
            elif short[i]:
                reasons[i] = (
                    f"missing_band:{band}: {beyond[i]:.0%} of the stamp lies beyond this band's image"
                )
            else:
                reasons[i] = (
                    f"bad_pixels:{band}: {stamps.bad[i]:.0%} of the stamp cannot be used, "
                    f"at most {max_bad:.0%} may"
                )
    return [str(reason) for reason in reasons]


def stack_bands(bands: Sequence[Stamps]) -> Stamps:
    """Return one set of stamps (n, y, x, band) without NaN.

    Bad pixels are filled from their neighbours and flagged; what lies beyond the image is zero (sky) and
    flagged.
    """
    count, *shape = bands[0].flux.shape
    flux = np.empty((count, *shape, len(bands)), np.float32)
    mask = np.zeros(flux.shape, np.uint8)
    flags = np.bitwise_or.reduce([stamps.flags for stamps in bands])
    rows, columns = (np.logical_and.reduce([getattr(s, name) for s in bands]) for name in ("rows", "columns"))
    for b, stamps in enumerate(bands):
        masked, padded = stamps.bad > 0, stamps.within < 1.0
        for start in range(0, count, _IN_CACHE):
            some = slice(start, start + _IN_CACHE)
            flux[some, ..., b] = stamps.flux[some]
            spoilt = start + np.flatnonzero((masked | padded)[some])
            if len(spoilt):
                mended = cutout.fill_bad_pixels(stamps.flux[spoilt])
                inside = stamps.rows[spoilt, :, None] & stamps.columns[spoilt, None, :]
                unusable = np.where(np.isnan(stamps.flux[spoilt]), np.uint8(FILLED), np.uint8(0))
                mask[spoilt, ..., b] = np.where(inside, unusable, np.uint8(BEYOND))
                flux[spoilt, ..., b] = np.where(inside & ~np.isnan(mended), mended, np.float32(0))
        flags[masked] |= int(Flag.MASKED)
        flags[padded] |= int(Flag.PADDED)
    noise = np.stack([stamps.noise_sigma for stamps in bands], axis=-1)
    return Stamps(flux, noise, flags, rows, columns, np.max([stamps.bad for stamps in bands], axis=0), mask)


def mend_stamps(flux: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return stamps (n, y, x, band), float32, as `stack_bands` leaves them where pixels cannot be used.

    Parameters
    ----------
    flux : ndarray (n, y, x, band)
        Also of what nobody sees.
    mask : ndarray (n, y, x, band), uint8
        0, `FILLED` or `BEYOND`.
    """
    out = np.array(flux, np.float32)
    for b in range(out.shape[-1]):
        spoilt = np.flatnonzero(mask[..., b].any(axis=(1, 2)))
        if len(spoilt):
            holes = mask[spoilt, ..., b]
            mended = cutout.fill_bad_pixels(np.where(holes == 0, out[spoilt, ..., b], np.float32(np.nan)))
            out[spoilt, ..., b] = np.where((holes == BEYOND) | np.isnan(mended), np.float32(0), mended)
    return out
