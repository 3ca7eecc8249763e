"""Figures of what a detector's scores are worth: reliability, completeness, false positives by kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from lenspipe.report.figures import Theme, make_axes

#: Words and units of what completeness is shown against.
_AGAINST = {
    "theta_e": r"$\theta_\mathrm{E}$ [arcsec]",
    "snr": "S/N of the arcs",
    "psf_fwhm": "seeing FWHM [arcsec]",
}
#: Kinds shown, those most often taken for lenses.
_MOST_KINDS = 14


def draw_reliability(reliability: Mapping[str, Any], theme: Theme) -> Figure:
    """Draw the rate of lenses against the probability told, before and after calibration, with 68 % intervals."""
    figure, ax = make_axes(4.2, 3.9)
    ax.plot([0, 1], [0, 1], color=theme.faint, lw=0.9, ls=":", label="honest")
    for name, color, mark in (("before", theme.second, "s"), ("after", theme.first, "o")):
        part = {key: np.asarray(values, float) for key, values in reliability[name].items()}
        use = part["n"] > 0
        x, y = part["probability"][use], part["rate"][use]
        errors = np.clip([y - part["low"][use], part["high"][use] - y], 0, None)
        ax.errorbar(
            x,
            y,
            errors,
            fmt=f"{mark}-",
            ms=4,
            color=color,
            lw=1.0 if name == "before" else 1.6,
            elinewidth=0.9,
            mfc="none" if name == "before" else color,
            label=f"{name} calibration",
        )
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="probability told", ylabel="rate of lenses")
    ax.set_box_aspect(1)
    ax.legend(loc="upper left")
    return figure


def draw_completeness(name: str, completeness: Mapping[str, Any], theme: Theme) -> Figure:
    """Draw the share of lenses found against `name` (theta_e, snr or psf_fwhm), with 68 % intervals."""
    figure, ax = make_axes(4.0, 3.5)
    part = {key: np.asarray(values, float) for key, values in completeness.items()}
    edges, rate = part["edges"], part["rate"]
    ax.stairs(part["high"], edges, baseline=part["low"], fill=True, color=theme.first, alpha=0.25, lw=0)
    ax.stairs(rate, edges, color=theme.first, lw=1.8, baseline=None)
    if name == "snr" and edges[0] > 0 and edges[-1] > 4 * edges[0]:
        ax.set_xscale("log")
        ticks = [t for t in (5, 10, 20, 50, 100, 200, 500, 1000) if edges[0] <= t <= edges[-1]]
        ax.set_xticks(ticks, [str(t) for t in ticks])
        ax.set_xticks([], minor=True)
    ax.set(xlabel=_AGAINST.get(name, name), ylabel="completeness", ylim=(0, 1.03))
    return figure


def draw_kinds(kinds: Mapping[str, Any], theme: Theme) -> Figure:
    """Draw the false positive rate of each kind of non-lens, the highest on top, with 68 % intervals.

    A kind without any false positive is an arrow to the left from its upper limit.
    """
    shown = list(kinds.items())[:_MOST_KINDS]
    figure, ax = make_axes(4.8, max(1.9, 0.27 * len(shown) + 1.1))
    ceiling = [float(part["high"]) for _, part in shown]
    least = min([*(float(part["low"]) for _, part in shown if part["low"]), *ceiling], default=1e-3)
    floor = min(0.5 * least, 0.03 * max(ceiling, default=1.0))  # more than a decade: less has no labels
    for row, (_, part) in enumerate(shown):
        rate, low, high = (float(part[key]) for key in ("rate", "low", "high"))
        if part["false_positives"]:
            ax.plot([low, high], [row, row], color=theme.second, lw=1.2)
            ax.plot(rate, row, "o", color=theme.second, ms=5)
        else:
            ax.plot([floor, high], [row, row], color=theme.faint, lw=1.2)
            ax.plot(floor, row, "<", color=theme.faint, ms=5, clip_on=False)
    ax.set_yticks(range(len(shown)), [f"{name.replace('_', ' ')} ({part['n']:,})" for name, part in shown])
    ax.set(xscale="log", xlim=(floor, min(1.0, 2 * max(ceiling, default=1.0))), ylim=(len(shown) - 0.5, -0.5))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("false positive rate")
    ax.tick_params(axis="y", length=0)
    return figure
