"""A mosaic of candidates, for a paper: stamps in colour with name, score and Einstein radius."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from astropy.table import Row, Table
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenspipe.report.stamps import bar_length, colour_image

#: Side of a stamp [inch], and of the gap that holds its label, below.
_SIDE, _LABEL = 1.15, 0.36


def draw_mosaic(
    candidates: Table,
    stamps: np.ndarray,
    noise_sigma: np.ndarray,
    rgb_indices: Sequence[int],
    pixel_scale: float = math.nan,
    columns: int = 6,
    rings: bool = False,
    stretch: float = 12.0,
    softening: float = 8.0,
) -> Figure:
    """Return the figure, row by row in the table's order.

    Parameters
    ----------
    candidates : Table
        ``name`` or ``object_id``, and, where known, ``score`` and ``theta_e`` [arcsec] with ``theta_e_err_lo`` and
        ``theta_e_err_hi``.
    stamps : ndarray (n, y, x, b)
        nJy per pixel.
    noise_sigma : ndarray (n, b)
        nJy per pixel.
    rgb_indices : sequence of 3 int
        Bands shown as red, green, blue.
    pixel_scale : float
        [arcsec]; NaN: no scale bar and no rings.
    columns : int
        Stamps in a row, at most.
    rings : bool
        Draw circles of radius theta_e, where it is known.
    stretch, softening : float
        As in `colour_image`.
    """
    columns = max(min(columns, len(candidates)), 1)
    rows = -(-len(candidates) // columns)
    height = _SIDE + _LABEL
    figure = Figure(figsize=(_SIDE * columns, height * rows), facecolor="white")
    for number, candidate in enumerate(candidates):
        row, column = divmod(number, columns)
        bottom = 1.0 - (row + _SIDE / height) / rows
        ax = figure.add_axes((column / columns, bottom, 0.98 / columns, 0.98 * _SIDE / height / rows))
        ax.set_axis_off()
        rgb = colour_image(stamps[number], noise_sigma[number], rgb_indices, stretch, softening)
        ax.imshow(rgb, origin="lower", interpolation="nearest")
        ax.set_autoscale_on(False)
        for line, text in enumerate(_label(candidate)):
            ax.annotate(
                text, (0.5, 0.0), xycoords="axes fraction", xytext=(0, -2.0 - 8.0 * line),
                textcoords="offset points", ha="center", va="top", fontsize=6.0,
            )  # fmt: skip
        if rings:
            _draw_ring(ax, _value(candidate, "theta_e") / pixel_scale)
        if number == 0:
            _draw_scale(ax, pixel_scale)
    return figure


def write_mosaic(figure: Figure, path: Path) -> None:
    """Write the figure as its suffix says; in PDF and SVG letters stay letters. The bytes depend on nothing else."""
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(path.suffix.lstrip(".").lower(), {})
    with matplotlib.rc_context({"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "lenspipe"}):
        figure.savefig(os.fspath(path), dpi=300, metadata=metadata)


def _label(candidate: Row) -> tuple[str, str]:
    name = next(
        (
            str(candidate[key])
            for key in ("name", "object_id")
            if key in candidate.colnames and candidate[key]
        ),
        "",
    )
    score, theta = _value(candidate, "score"), _value(candidate, "theta_e")
    parts = [f"{score:.3f}"] if math.isfinite(score) else []
    if math.isfinite(theta):
        low, high = (_value(candidate, f"theta_e_err_{end}") for end in ("lo", "hi"))
        errors = rf"^{{+{high:.2f}}}_{{-{low:.2f}}}" if math.isfinite(low + high) else ""
        parts.append(rf"$\theta_\mathrm{{E}} = {theta:.2f}{errors}$″")
    return name.replace("$", r"\$"), ",  ".join(parts)


def _value(candidate: Row, name: str) -> float:
    if name not in candidate.colnames or candidate[name] is np.ma.masked:
        return math.nan
    return float(candidate[name])


def _draw_ring(ax: Axes, radius: float) -> None:
    if math.isfinite(radius):
        middle = np.mean(ax.get_xlim()), np.mean(ax.get_ylim())
        t = np.linspace(0.0, 2.0 * np.pi, 100)
        ax.plot(middle[0] + radius * np.cos(t), middle[1] + radius * np.sin(t), color="white", lw=0.6, ls=":")


def _draw_scale(ax: Axes, pixel_scale: float) -> None:
    low, high = ax.get_xlim()
    length = bar_length((high - low) * pixel_scale)
    if length is None:
        return
    start, level = low + 0.06 * (high - low), ax.get_ylim()[0] + 0.07 * (high - low)
    ax.plot([start, start + length / pixel_scale], [level, level], color="white", lw=1.2)
    ax.text(start, level + 0.03 * (high - low), f"{length:g}″", color="white", fontsize=6.0, va="bottom")
