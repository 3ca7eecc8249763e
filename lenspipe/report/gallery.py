"""A gallery of stamps in colour, a row for each kind: what a set looks like at a glance."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from lenspipe.report.stamps import colour_image


def draw_gallery(
    image: np.ndarray,
    noise_sigma: np.ndarray,
    kinds: Sequence[str] | np.ndarray,
    rgb_indices: Sequence[int],
    each: int = 10,
    side: float = 0.9,
) -> Figure:
    """Return a figure of the first `each` stamps of every kind, lenses in the first rows.

    Parameters
    ----------
    image : ndarray (n, y, x, b)
        nJy per pixel.
    noise_sigma : ndarray (n, b)
        Noise of an empty pixel [nJy].
    kinds : sequence of n str
    rgb_indices : sequence of 3 int
        Bands shown as red, green, blue.
    side : float
        Side of a stamp in the figure [inch].
    """
    kinds = np.asarray(kinds, str)
    names = sorted(set(kinds), key=lambda kind: (kind != "lens", kind))
    figure = Figure(figsize=(side * (each + 1.0), side * len(names)), facecolor="white")
    axes = figure.subplots(len(names), each, squeeze=False)
    figure.subplots_adjust(left=1.0 / (each + 1.0), right=1.0, bottom=0.0, top=1.0, wspace=0.02, hspace=0.02)
    for row, name in zip(axes, names, strict=True):
        rows = np.flatnonzero(kinds == name)[:each]
        for ax in row:
            ax.set_axis_off()
        row[0].text(-0.1, 0.5, name.replace("_", " "), transform=row[0].transAxes, ha="right", va="center")
        for ax, k in zip(row, rows, strict=False):
            ax.imshow(
                colour_image(image[k], noise_sigma[k], rgb_indices), origin="lower", interpolation="nearest"
            )
    return figure


def encode_gallery(figure: Figure) -> bytes:
    """Return the figure as JPEG: noise has no smaller PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=90, pil_kwargs={"quality": 85})
    return buffer.getvalue()
