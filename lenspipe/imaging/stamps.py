"""All stamps of an image, band by band, and which of them can be scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lenspipe.core.errors import Rejected
from lenspipe.core.schema import Flag
from lenspipe.core.survey import same_scale
from lenspipe.core.types import BandImage, StampFormat
from lenspipe.imaging import cutout
from lenspipe.imaging.psf import resample_psf


@dataclass(frozen=True)
class Stamps:
    """Stamps of one band (n, y, x) or of several (n, y, x, band).

    `flux` [nJy per pixel], `noise_sigma` [nJy per pixel] (n,) or (n, band), `flags` (n,), and `inside`,
    which pixels lie on the image (same shape as `flux`).
    """

    flux: np.ndarray
    noise_sigma: np.ndarray
    flags: np.ndarray
    inside: np.ndarray


def cut_stamps(
    image: BandImage, reference: BandImage, x: Sequence[float], y: Sequence[float], form: StampFormat
) -> Stamps:
    """Return the stamps of one band around positions in the reference band's pixels.

    Where the band's grid is another than the reference's it is reprojected onto it, where only its
    pixel scale is another than the format's it is resampled; both conserve flux and are flagged.
    Pixels that cannot be used, and those beyond the image, are NaN.

    Raises
    ------
    Rejected
        ``grid_mismatch:<band>`` if the grids differ and there is no WCS to relate them.
    """
    moved = not cutout.same_grid(image, reference)
    if moved and (image.wcs is None or reference.wcs is None):
        raise Rejected(
            f"grid_mismatch:{image.band}",
            f"{image.flux.shape} pixels against {reference.flux.shape} in {reference.band}, and no WCS",
        )
    cuts = [_cut(image, reference if moved else None, xi, yi, form) for xi, yi in zip(x, y, strict=True)]
    size = form.size
    return Stamps(
        flux=np.array([cut[0] for cut in cuts], np.float32).reshape(-1, size, size),
        noise_sigma=np.array([cut[1] for cut in cuts], np.float32),
        flags=np.array([cut[2] for cut in cuts], int),
        inside=np.array([cut[3] for cut in cuts], bool).reshape(-1, size, size),
    )


def psf_of_stamps(image: BandImage, reference: BandImage, form: StampFormat) -> np.ndarray | None:
    """Return the band's PSF image (k, k) on the pixels of its stamps.

    None where there is none, and where the band is reprojected: that turns and blurs it from place to place.
    """
    if image.psf_image is None or not cutout.same_grid(image, reference):
        return None
    return resample_psf(image.psf_image, _ratio(image, form))


def _ratio(image: BandImage, form: StampFormat) -> float:
    """Return the side of the stamps' pixels in those of the image, 1 where they hardly differ."""
    ratio = form.pixel_scale / image.pixel_scale
    return 1.0 if same_scale(ratio, 1.0) else ratio


def _cut(
    image: BandImage, grid: BandImage | None, x: float, y: float, form: StampFormat
) -> tuple[np.ndarray, float, int, np.ndarray]:
    flags = image.flags | (Flag.NO_WCS if image.wcs is None else 0)
    ratio = _ratio(image, form)
    if ratio != 1.0:
        flags |= Flag.RESAMPLED
    if grid is not None:
        step = form.pixel_scale / grid.pixel_scale
        target = cutout.local_wcs(grid.wcs, x, y, form.size, 1.0 if same_scale(step, 1.0) else step)
        flux = cutout.reproject_stamp(*cutout.window(image, target, form.size, ratio), target, form.size)
        x, y = (float(v) for v in image.wcs.all_world2pix(*grid.wcs.all_pix2world(x, y, 0), 0))
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
    return flux, noise, int(flags), cutout.pixels_inside(image.flux.shape, x, y, form.size, ratio)


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
    reasons = []
    for i in range(len(bands[0].flux)):
        reason = ""
        for band, stamps in zip(form.bands, bands, strict=True):
            outside = 1.0 - float(stamps.inside[i].mean())
            bad = float((stamps.inside[i] & ~np.isfinite(stamps.flux[i])).mean())
            if not np.isfinite(stamps.noise_sigma[i]):
                reason = f"no_good_pixels:{band}: no usable pixel in the stamp"
            elif edges and outside > max_bad:
                reason = f"edge: {outside:.0%} of the stamp lies beyond the tile"
            elif bad > max_bad:
                reason = (
                    f"bad_pixels:{band}: {bad:.0%} of the stamp cannot be used, at most {max_bad:.0%} may"
                )
            if reason:
                break
        reasons.append(reason)
    return reasons


def stack_bands(bands: Sequence[Stamps]) -> Stamps:
    """Return one set of stamps (n, y, x, band) without NaN.

    Bad pixels are filled from their neighbours and flagged; what lies beyond the image is zero (sky) and
    flagged.
    """
    inside = np.stack([stamps.inside for stamps in bands], axis=-1)
    flux = np.stack([stamps.flux for stamps in bands], axis=-1)
    masked = (inside & ~np.isfinite(flux)).any(axis=(1, 2))
    for i, b in zip(*np.nonzero(masked), strict=True):
        flux[i, ..., b] = cutout.fill_bad_pixels(flux[i, ..., b])
    flux = np.where(inside & np.isfinite(flux), flux, np.float32(0))
    flags = np.bitwise_or.reduce([stamps.flags for stamps in bands])
    flags = flags | np.where(inside.all(axis=(1, 2, 3)), 0, int(Flag.PADDED))
    flags = flags | np.where(masked.any(axis=1), int(Flag.MASKED), 0)
    noise_sigma = np.stack([stamps.noise_sigma for stamps in bands], axis=-1)
    return Stamps(flux, noise_sigma, flags, inside)
