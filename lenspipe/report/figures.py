"""Figures as data URIs, each drawn twice: for light and for dark pages.

Only matplotlib's object interface is used (no pyplot, no global state). Colours are from Okabe & Ito
(2008), told apart by colour-blind readers; meaning never rests on colour alone.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter


@dataclass(frozen=True)
class Theme:
    """Colours of a figure: text and axes, faint lines, and three series."""

    ink: str
    faint: str
    first: str
    second: str
    third: str


LIGHT = Theme(ink="#33373d", faint="#9aa0a8", first="#0072b2", second="#d55e00", third="#009e73")
DARK = Theme(ink="#c9ced6", faint="#6d747e", first="#56b4e9", second="#e69f00", third="#2fc49a")

SYMBOLS = {
    "theta_e": r"$\theta_\mathrm{E}$",
    "sigma_v": r"$\sigma_v$",
    "z_lens": r"$z_\mathrm{lens}$",
    "z_src": r"$z_\mathrm{src}$",
    "q": r"$q$",
    "phi": r"$\varphi$",
}


@dataclass(frozen=True)
class Picture:
    """One figure: data URIs for both themes, words for those who cannot see it, a caption."""

    light: str
    dark: str
    alt: str
    caption: str


def picture(draw: Callable[..., Figure], *data: Any, alt: str, caption: str) -> Picture:
    """Return `draw(*data, theme)` for both themes as SVG data URIs."""
    light, dark = (data_uri(draw_svg(draw, *data, theme=theme), "image/svg+xml") for theme in (LIGHT, DARK))
    return Picture(light, dark, alt, caption)


def draw_svg(draw: Callable[..., Figure], *data: Any, theme: Theme = LIGHT) -> bytes:
    """Return a figure as SVG, for a page or a file of its own."""
    settings = {
        "svg.hashsalt": "lenspipe",
        "font.size": 10.5,
        "mathtext.fontset": "stix",
        "savefig.transparent": True,
        "text.color": theme.ink,
        "axes.labelcolor": theme.ink,
        "axes.edgecolor": theme.faint,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.labelcolor": theme.ink,
        "ytick.labelcolor": theme.ink,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.8,
        "legend.frameon": False,
        "legend.fontsize": 9.5,
    }
    buffer = io.BytesIO()
    with matplotlib.rc_context(settings):
        draw(*data, theme).savefig(buffer, format="svg", dpi=160, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Return bytes as a base64 data URI of the media type `kind`."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def make_axes(width: float = 4.8, height: float = 3.7) -> tuple[Figure, Axes]:
    """Return a figure [inches] with one set of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


# -- figures -----------------------------------------------------------------------------------------


def draw_roc(roc: Mapping[str, Any], theme: Theme) -> Figure:
    """Draw true against false positive rate, log abscissa: a line a fold, their mean and its std."""
    figure, ax = make_axes()
    fpr = np.asarray(roc["fpr"], dtype=float)
    mean, std = np.asarray(roc["tpr_mean"], dtype=float), np.asarray(roc["tpr_std"], dtype=float)
    on_axis = fpr > 0
    for i, (x, y) in enumerate(roc["folds"]):
        x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
        label = f"{len(roc['folds'])} folds" if i == 0 else None
        ax.plot(x[x > 0], y[x > 0], color=theme.faint, lw=0.7, label=label, drawstyle="steps-post")
    ax.fill_between(
        fpr[on_axis],
        np.clip(mean - std, 0, 1)[on_axis],
        np.clip(mean + std, 0, 1)[on_axis],
        color=theme.first,
        alpha=0.2,
        lw=0,
        label="± 1 std",
    )
    ax.plot(fpr[on_axis], mean[on_axis], color=theme.first, lw=2, label="mean")
    chance = np.geomspace(max(fpr[on_axis].min(initial=1.0), 1e-6), 1, 100)
    ax.plot(chance, chance, color=theme.faint, lw=0.9, ls=":", label="chance")
    ax.set(xscale="log", xlim=(chance[0], 1), ylim=(0, 1.02))
    ax.set(xlabel="false positive rate", ylabel="true positive rate")
    ax.legend(loc="lower right")
    return figure


def draw_scores(lens: np.ndarray, nonlens: np.ndarray, theme: Theme) -> Figure:
    """Draw histograms of the score of both classes, log counts."""
    figure, ax = make_axes()
    bins = np.linspace(0, 1, 41).tolist()
    ax.hist(finite(nonlens), bins, color=theme.second, alpha=0.3, label="not a lens", histtype="stepfilled")
    ax.hist(finite(nonlens), bins, color=theme.second, histtype="step", lw=1.2, ls="--")
    ax.hist(finite(lens), bins, color=theme.first, histtype="step", lw=1.8, label="lens")
    ax.set_ylim(0.7, 2 * max(5.0, ax.dataLim.y1))  # before the scale: log axes warn of empty data
    ax.set(yscale="log", xlim=(0, 1), xlabel="score", ylabel="objects")
    ax.legend(loc="upper center")
    return figure


def draw_history(history: Sequence[Mapping[str, Any]], theme: Theme) -> Figure:
    """Draw the loss against the epoch: training dashed, validation solid, a line a fold."""
    figure, ax = make_axes()
    for fold in dict.fromkeys(row.get("fold", 0) for row in history):
        rows = [row for row in history if row.get("fold", 0) == fold]
        for key, style, color in (("loss", "--", theme.faint), ("val_loss", "-", theme.first)):
            points = [(_number(row["epoch"]), _number(row.get(key))) for row in rows]
            ax.plot(
                *np.array(points).T, ls=style, color=color, lw=1.2, marker="." if len(points) < 3 else None
            )
    ax.plot([], [], ls="--", color=theme.faint, label="training")
    ax.plot([], [], ls="-", color=theme.first, label="validation")
    low, high = ax.dataLim.intervaly
    if low > 0 and high / low > 10:
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set(xlabel="epoch", ylabel="loss")
    ax.legend(loc="upper right")
    return figure


def finite(values: Any) -> np.ndarray:
    """Return those of some values that are finite (n,)."""
    values = np.asarray(values, dtype=float).ravel()
    return values[np.isfinite(values)]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
