"""Sources of a tile, by photutils: threshold on the smoothed image, deblending, positions."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from astropy.stats import sigma_clipped_stats
from astropy.table import Table, vstack
from scipy.ndimage import binary_dilation, gaussian_filter
from scipy.spatial import cKDTree

from lenspipe.core.survey import FWHM_PER_SIGMA, NJY_ZERO_POINT
from lenspipe.core.types import BandImage
from lenspipe.imaging.blocks import cut_image, split_length
from lenspipe.imaging.sky import map_background

#: Own width of the blocks that are searched at once [px].
BLOCK = 2048
_SEAM, _SAME = 2.0, 3.0  # px
_TOUCH = 3  # px, of smoothing and bleeding


def detect_sources(
    image: BandImage,
    detect_sigma: float = 3.0,
    detect_pixels: int = 8,
    deblend: bool = True,
) -> Table:
    """Return the sources of an image, in order of their position.

    The image is smoothed with a Gaussian of the PSF's width, the matched filter for point sources;
    the threshold is in units of the smoothed image's noise.

    Parameters
    ----------
    image : BandImage
    detect_sigma : float
        Threshold [sigma of the smoothed image].
    detect_pixels : int
        Least number of connected pixels.
    deblend : bool
        Separate touching sources.

    Returns
    -------
    Table
        ``x``, ``y`` (pixel, 0-based), ``flux`` [nJy], ``snr``, ``mag``, ``saturated`` (it holds or touches
        saturated pixels), ``n_pixels``.
    """
    from photutils.background import MedianBackground
    from photutils.segmentation import SourceCatalog, deblend_sources
    from photutils.segmentation import detect_sources as segment

    bad = ~np.isfinite(image.flux)
    if bad.all():
        return _empty()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # photutils warns where nothing is found: an empty table says so
        background = map_background(
            image.flux, bad, filter_size=3, bkg_estimator=MedianBackground(), exclude_percentile=90.0
        )
        flux = np.where(bad, np.float32(0), image.flux - background)
        width = image.psf_fwhm / image.pixel_scale / FWHM_PER_SIGMA
        smooth = gaussian_filter(flux, width, mode="constant")
        noise = _smoothed_noise(image, smooth, bad, width)
        segments = segment(smooth, detect_sigma * noise, detect_pixels, mask=bad)
        if segments is None:
            return _empty()
        if deblend:
            segments = deblend_sources(
                smooth, segments, detect_pixels, n_levels=16, contrast=0.005, progress_bar=False
            )
        error = np.where(bad, 0.0, image.sigma)
        catalog = SourceCatalog(flux, segments, convolved_data=smooth, error=error, mask=bad)
        x, y = np.asarray(catalog.x_centroid), np.asarray(catalog.y_centroid)
        total, sigma = np.asarray(catalog.segment_flux), np.asarray(catalog.segment_flux_err)
        area = np.asarray(catalog.segment_area)
        # saturated pixels are often masked: what touches them is what they left of a star
        touched = (
            binary_dilation(image.saturated, iterations=_TOUCH) if image.saturated.any() else image.saturated
        )
        spoilt = np.isin(segments.labels, np.unique(segments.data[touched]))
    good = np.isfinite(x) & np.isfinite(y) & (total > 0)
    table = Table(
        {
            "x": x[good],
            "y": y[good],
            "flux": total[good],
            "snr": total[good] / np.where(sigma[good] > 0, sigma[good], np.inf),
            "mag": NJY_ZERO_POINT - 2.5 * np.log10(total[good]),
            "saturated": spoilt[good],
            "n_pixels": np.asarray(area[good].value if hasattr(area, "value") else area[good], int),
        }
    )
    table.sort(["y", "x"])
    return table


def _smoothed_noise(image: BandImage, smooth: np.ndarray, bad: np.ndarray, width: float) -> np.ndarray:
    """Return the noise of an image smoothed with a Gaussian of `width` pixels.

    White noise would shrink by the root of the kernel's sum of squares; resampled coadds have
    correlated noise, so the measured scatter of the smoothed sky is taken where it is larger.
    """
    kernel = gaussian_filter(np.eye(1, 1 + 2 * int(5 * width + 2), int(5 * width + 2))[0], width)
    shrunk = float((kernel**2).sum())  # along one axis, so the root of its square
    white = np.where(bad, np.float32(np.inf), image.sigma * np.float32(shrunk))
    sparse = np.s_[::3, ::3]  # neighbours tell the same
    measured = float(sigma_clipped_stats(smooth[sparse], sigma=3.0, maxiters=10, mask=bad[sparse])[2])
    typical = float(np.median(white[sparse][~bad[sparse]])) if not bad[sparse].all() else np.inf
    return white * np.float32(max(1.0, measured / typical))


def _empty() -> Table:
    kinds = {
        "x": float,
        "y": float,
        "flux": float,
        "snr": float,
        "mag": float,
        "saturated": bool,
        "n_pixels": int,
    }
    return Table({name: np.zeros(0, kind) for name, kind in kinds.items()})


def detect_in_blocks(image: BandImage, rows: slice, margin: int, **options: Any) -> Table:
    """Return the sources of a strip whose centres lie in its `rows`, found in overlapping blocks.

    What `detect_sources` needs of memory and time is that of a block; its background and noise are local.

    Parameters
    ----------
    image : BandImage
        The strip, with `margin` rows more than `rows` on both sides where the tile has them.
    rows : slice
        The strip's own rows; centres up to two pixels beyond are returned, too, since the next strip may see
        them there: `drop_known` leaves them out there.
    margin : int
        Overlap of the blocks [px].
    **options
        Of `detect_sources`.
    """
    found = _empty()
    for block in split_length(image.flux.shape[1], BLOCK, margin):
        part = cut_image(image, slice(None), slice(block.low, block.high))
        sources = detect_sources(part, **options)
        sources["x"] += block.low
        x, y = np.asarray(sources["x"]), np.asarray(sources["y"])
        own = (x >= block.start - _SEAM) & (x < block.stop + _SEAM)
        own &= (y >= rows.start - _SEAM) & (y < rows.stop + _SEAM)
        found = vstack([found, drop_known(sources[own], found)], metadata_conflicts="silent")
    found.sort(["y", "x"])
    return found


def drop_known(sources: Table, known: Table) -> Table:
    """Return the sources that are not among those known from a neighbouring block."""
    if not len(sources) or not len(known):
        return sources
    tree = cKDTree(np.stack([known["x"], known["y"]], axis=-1))
    distance, _ = tree.query(np.stack([sources["x"], sources["y"]], axis=-1))
    return sources[distance > _SAME]
