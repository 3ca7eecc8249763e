"""What the page shows of a regressor: its metrics, and figures of its posteriors against the truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lenspipe.config import TURNING
from lenspipe.report.figures import SYMBOLS, Picture, Theme, finite, make_axes, picture
from lenspipe.report.views import TARGETS, count, number

_TARGET_METRICS = {
    "bias": "bias",
    "scatter68": "68 % scatter",
    "mean_abs_frac": "mean |Δ|/true",
    "outlier_frac": "outliers",
    "n_test": "tested",
}
_BASELINES = {
    "mean": "one value for all",
    "profile": "perceptron on radial profiles",
    "sie": "SIE relation",
    "sie_true": "SIE relation of the truth",
}


def regressor_view(regressor: Mapping[str, Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """Return the metrics and pictures of the regressor."""
    if regressor is None:
        return None
    pictures, rows = [], []
    published = any(values.get("published") for values in regressor.values())
    for target, values in regressor.items():
        symbol, words, *_ = TARGETS.get(target, (target, target))
        metrics = values.get("metrics") or {}
        coverage = metrics.get("coverage") or {}
        cells = [
            count(metrics.get(key)) if key == "n_test" else number(metrics.get(key))
            for key in _TARGET_METRICS
        ]
        cells.append(
            ", ".join(f"{float(level):.0%}: {number(part, 2)}" for level, part in coverage.items()) or "–"
        )
        others = metrics.get("baselines") or {}
        cells.append(
            ", ".join(f"{_BASELINES[name]} {number(part['scatter68'])}" for name, part in others.items())
            or "–"
        )
        if published:
            cells.append(values.get("published") or "–")
        rows.append((symbol, words, cells))
        pictures.append(
            picture(
                draw_one_to_one,
                target,
                values,
                alt=f"predicted against true {words}",
                caption=f"{words.capitalize()}: posterior median against truth, held-out folds.",
            )
        )
        pictures += _closer(target, words, metrics)
    return {
        "pictures": pictures,
        "rows": rows,
        "header": [
            *_TARGET_METRICS.values(),
            "coverage of intervals",
            "68 % scatter without a network",
            *(["published 68 % scatter"] if published else []),
        ],
    }


def _closer(target: str, words: str, metrics: Mapping[str, Any]) -> list[Picture]:
    """Return the pictures of what makes a target hard, and of whether its intervals hold what they say."""
    pictures = [
        picture(
            draw_against,
            name,
            part,
            alt=f"bias and scatter of the {words} against {name}",
            caption=f"{words.capitalize()}: bias (line), 68 % of the errors (band) and the error bars told (dashed)"
            f"{'' if target in TURNING else ', as fractions of the truth'}.",
        )
        for name, part in (metrics.get("against") or {}).items()
        if name in (target, "snr")
    ]
    if metrics.get("pit"):
        caption = (
            f"{words.capitalize()}: where the truths lie in their posteriors. Even = honest, a hill = too wide errors, "
            "a valley = too narrow ones."
        )
        pictures.append(picture(draw_pit, metrics, alt=f"calibration of the {words}", caption=caption))
    return pictures


def draw_one_to_one(target: str, values: Mapping[str, Any], theme: Theme) -> Figure:
    """Draw the posterior median against the truth, with errors and the running 16-84 % band.

    The bars are those of at most 100 objects: more of them hide the points.
    """
    figure, ax = make_axes(3.7, 3.5)
    columns = [np.asarray(values[key], dtype=float) for key in ("true", "median", "err_lo", "err_hi")]
    true, median, lo, hi = np.compress(np.isfinite(columns[0] + columns[1]), columns, axis=1)
    some = slice(None, None, max(1, math.ceil(len(true) / 100)))
    errors = np.clip(np.nan_to_num([lo[some], hi[some]]), 0, None)
    ax.errorbar(
        true[some],
        median[some],
        errors,
        fmt="none",
        ecolor=theme.first,
        elinewidth=0.6,
        alpha=0.5,
        rasterized=True,
    )
    ax.plot(true, median, ".", color=theme.first, ms=2.5, alpha=0.6, mew=0, rasterized=True)
    limits = _limits(true, median)
    ax.plot(limits, limits, color=theme.ink, lw=1)
    if len(true) >= 40:
        edges = np.unique(np.quantile(true, np.linspace(0, 1, min(13, len(true) // 15 + 2))))
        bins = np.clip(np.digitize(true, edges) - 1, 0, len(edges) - 2)
        used = [k for k in range(len(edges) - 1) if np.sum(bins == k) >= 5]
        center = [np.median(true[bins == k]) for k in used]
        low, middle, high = (
            np.array([np.percentile(median[bins == k], (16, 50, 84)) for k in used]).reshape(-1, 3).T
        )
        ax.plot(center, middle, color=theme.second, lw=1.6, label="median, 16–84 %", zorder=4)
        ax.fill_between(center, low, high, color=theme.second, alpha=0.35, lw=0, zorder=3)
        ax.legend(loc="upper left")
    unit = f" [{values['unit']}]" if values.get("unit") else ""
    symbol = SYMBOLS.get(target, target.replace("$", r"\$"))
    ax.set(xlim=limits, ylim=limits, xlabel=f"true {symbol}{unit}", ylabel=f"predicted {symbol}{unit}")
    ax.set_box_aspect(1)
    return figure


def _limits(*arrays: np.ndarray) -> tuple[float, float]:
    values = finite(np.concatenate(arrays))
    if not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, (0.2, 99.8))
    margin = 0.05 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def draw_against(name: str, values: Mapping[str, Any], theme: Theme) -> Figure:
    """Draw bias, scatter and the error bars told, as fractions, against `name`; see `regression.measure_against`."""
    figure, ax = make_axes(4.0, 3.3)
    part = {key: np.asarray(column, float) for key, column in values.items()}
    edges, bias, scatter, told = (part[key] for key in ("edges", "bias", "scatter68", "error"))
    ax.axhline(0, color=theme.ink, lw=0.8)
    ax.stairs(bias + scatter, edges, baseline=bias - scatter, fill=True, color=theme.first, alpha=0.25, lw=0)
    ax.stairs(bias, edges, color=theme.first, lw=1.8, baseline=None, label="bias, 68 % scatter")
    for sign, label in ((1, "error bars told"), (-1, None)):
        ax.stairs(sign * told, edges, color=theme.second, lw=1.2, ls="--", baseline=None, label=label)
    if edges[0] > 0 and edges[-1] > 8 * edges[0]:
        ax.set_xscale("log")
    ax.set(
        xlabel="S/N of the arcs" if name == "snr" else f"true {SYMBOLS.get(name, name)}",
        ylabel="error (fraction of the truth, where it has no sign)",
    )
    ax.legend(loc="upper right")
    return figure


def draw_pit(metrics: Mapping[str, Any], theme: Theme) -> Figure:
    """Draw the probability integral transform with what chance alone scatters about an even one."""
    figure, ax = make_axes(3.7, 2.6)
    share = np.asarray(metrics["pit"], float)
    chance = math.sqrt(len(share) / max(1, int(metrics["n_test"])))
    ax.axhspan(1 - chance, 1 + chance, color=theme.faint, alpha=0.35, lw=0)
    ax.stairs(share, np.linspace(0, 1, len(share) + 1), color=theme.first, lw=1.6)
    ax.set(xlim=(0, 1), ylim=(0, None), xlabel="probability below the truth", ylabel="relative frequency")
    return figure
