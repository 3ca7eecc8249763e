"""Do the bands of a tile show the same sky? Shifts, flips and wrong scales that no header tells.

A WCS that is right for one band and copied to another, or a file of a neighbouring tile under a wrong name,
would put the arcs of one galaxy beside another: such bands are refused.
"""

from __future__ import annotations

import numpy as np

_WINDOW = 2.5  # px, of the Gaussian in which centres are measured
_ITERATIONS = 4
_MIN_SNR = 15.0  # of a source in the window, in both bands
_LEAST = 5  # sources from which a shift is judged
_LEAST_BRIGHT = 10  # from which it is judged that too many are lost
_MAX_SHIFT = 1.0  # px
_MAX_LOST = 0.7  # of the reference's bright sources may be dark in the other band


def compare_bands(
    reference: np.ndarray, noise: np.ndarray, other: np.ndarray, other_noise: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int]:
    """Return how far sources lie from where the reference band has them.

    Parameters
    ----------
    reference, other : ndarray (n, y, x)
        Stamps of the same objects in both bands; NaN = unusable.
    noise, other_noise : ndarray (n,)
        Per pixel, same units.

    Returns
    -------
    dx, dy : ndarray (m,)
        Of those seen well in both bands [px].
    bright : int
        How many are seen well in the reference.
    """
    here, there = _measure_centres(reference, noise), _measure_centres(other, other_noise)
    bright = here[2] > _MIN_SNR
    both = bright & (there[2] > _MIN_SNR)
    return (there[0] - here[0])[both], (there[1] - here[1])[both], int(bright.sum())


def judge_alignment(dx: np.ndarray, dy: np.ndarray, bright: int) -> tuple[str, bool]:
    """Return why two bands do not fit (or an empty string), and whether that needs another look.

    Too many bright sources with nothing at their place: flipped, rotated, of another scale or another part
    of the sky, if the band has sources of its own; otherwise it is just shallow.
    """
    if bright >= _LEAST_BRIGHT and len(dx) < (1.0 - _MAX_LOST) * bright:
        return (
            f"{bright - len(dx)} of the {bright} brightest sources of the first band are not there, others are: "
            "flipped, rotated, of another scale, or another part of the sky"
        ), True
    if len(dx) < _LEAST:
        return "", False
    x, y = float(np.median(dx)), float(np.median(dy))
    # the places of few sources may scatter as far by themselves, each its own way: they must agree
    apart = np.hypot(x, y) if len(dx) < _LEAST_BRIGHT else np.median(np.hypot(dx, dy))
    if apart > _MAX_SHIFT:
        return (
            f"its sources lie {x:+.1f}, {y:+.1f} px beside those of the first band ({len(dx)} sources)",
            False,
        )
    return "", False


def _measure_centres(stamps: np.ndarray, noise: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return offsets from the middle [px] and signal-to-noise under a Gaussian window, each (n,)."""
    half = stamps.shape[1] // 2
    low, high = max(0, half - 8), half + 9
    flux = np.nan_to_num(stamps[:, low:high, low:high]).astype(float)
    middle = (stamps.shape[1] - 1) / 2 - low
    axis = np.arange(flux.shape[1]) - middle
    x, y = np.zeros(len(flux)), np.zeros(len(flux))
    for _ in range(_ITERATIONS):
        dx, dy = axis[None, None, :] - x[:, None, None], axis[None, :, None] - y[:, None, None]
        window = np.exp(-0.5 * (dx**2 + dy**2) / _WINDOW**2)
        light = (flux * window).sum(axis=(1, 2))
        with np.errstate(divide="ignore", invalid="ignore"):
            snr = light / (noise * np.sqrt((window**2).sum(axis=(1, 2))))
            # under a window of about its own width a source shows half of its offset
            steps = [2.0 * (flux * window * d).sum(axis=(1, 2)) / light for d in (dx, dy)]
        steps = [np.where(snr > 3.0, np.clip(step, -2.0, 2.0), 0.0) for step in steps]
        x, y = np.clip(x + steps[0], -6.0, 6.0), np.clip(y + steps[1], -6.0, 6.0)
    return x, y, np.nan_to_num(snr)
