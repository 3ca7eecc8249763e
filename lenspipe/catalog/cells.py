"""How deep each image is in each cell of the sky."""

from __future__ import annotations

import numpy as np
from astropy.table import Table


def image_noise(table: Table, tile: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Return the noise of each row's image around it: the median over the tile's objects in its cell.

    One object's signal-to-noise is itself noisy, and choosing by it would prefer what fluctuated upwards;
    the median is a property of the image. It is the logarithm of the flux error, relative to the table's
    median in the band and averaged over the bands measured.

    Parameters
    ----------
    table : Table
        With `mag_<band>` and `snr_<band>`; without any, the noise is 0 throughout.
    tile, cell : ndarray (n,), int
        Numbers of each row's tile and cell.

    Returns
    -------
    ndarray (n,)
        inf where no flux error is known.
    """
    bands = [
        name[4:] for name in table.colnames if name.startswith("mag_") and f"snr_{name[4:]}" in table.colnames
    ]
    if not bands:
        return np.zeros(len(table))
    total, known = np.zeros(len(table)), np.zeros(len(table), dtype=int)
    for band in bands:
        mag, snr = (np.asarray(table[f"{kind}_{band}"], dtype=float) for kind in ("mag", "snr"))
        use = np.isfinite(mag) & np.isfinite(snr) & (snr > 0)
        log_error = -0.4 * np.log(10.0) * mag[use] - np.log(snr[use])
        if use.any():
            total[use] += log_error - np.median(log_error)
            known[use] += 1
    noise = np.full(len(table), np.inf)
    np.divide(total, known, out=noise, where=known > 0)
    return _group_medians(noise, tile, cell)


def _group_medians(values: np.ndarray, *groups: np.ndarray) -> np.ndarray:
    """Return for each row the (lower) median of the finite values in its group; inf where there are none."""
    order = np.lexsort((values, *groups))
    ordered = np.stack([group[order] for group in groups])
    start = np.flatnonzero(np.r_[True, (np.diff(ordered) != 0).any(axis=0)])
    finite = (
        np.add.reduceat(np.isfinite(values[order]).astype(int), start) if len(order) else np.zeros(0, int)
    )
    middle = values[order][start + np.maximum(finite - 1, 0) // 2]
    out = np.empty(len(values))
    out[order] = np.repeat(middle, np.diff(np.r_[start, len(order)]))
    return out
