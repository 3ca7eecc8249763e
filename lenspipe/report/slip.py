"""What the page shows of the gravitational slip, and the figures of its posterior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lenspipe.report.figures import Theme, finite, make_axes, picture
from lenspipe.report.views import count, number

_PARAMETERS = {"gamma": "slip γ", "alpha": "mean slope of the mass", "scatter": "scatter of the slope"}
_GREEK = {"alpha": "α", "beta": "β", "delta": "δ"}
_SYMBOLS = {
    "gamma": r"slip $\gamma$",
    "alpha": r"mean slope $\langle\alpha\rangle$",
    "scatter": r"scatter $\sigma_\alpha$",
}


def slip_view(slip: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the numbers and the picture of the slip."""
    if slip is None:
        return None
    here = slip.get("gamma") or 0.0
    drawable = slip.get("posterior") is not None or len(slip.get("gamma_realizations", ())) > 0
    drawn = (
        picture(
            draw_slip,
            slip,
            alt="posterior of the slip",
            caption="Posterior of the slip; the histogram holds the estimates of repeated realizations.",
        )
        if drawable
        else None
    )
    return {
        "gamma": number(slip.get("gamma")),
        "hi": number(slip.get("gamma_err_hi")),
        "lo": number(slip.get("gamma_err_lo")),
        "picture": drawn,
        "warnings": list(slip.get("warnings") or ()),
        "facts": [
            ("model", str(slip.get("model", "–"))),
            ("lenses used", f"{count(slip.get('n_used'))} of {count(slip.get('n_lenses'))}"),
            ("realizations", _realizations(slip)),
            ("χ² per lens", number(slip.get("chi2_per_n"), 2)),
            ("mean", number(slip.get("gamma_mean"))),
            ("error by leaving lenses out", number(slip.get("jackknife_err"))),
        ],
        "splits": [
            (name, _with_errors(part), count(part["n"])) for name, part in (slip.get("splits") or {}).items()
        ],
        "systematics": [
            (name, number(value), "–" if value is None else f"{value - here:+.3f}".replace("-", "−"))
            for name, value in (slip.get("systematics") or {}).items()
        ],
        "sensitivity": ", ".join(
            f"dγ/d{_GREEK[name]} {number(value, 2)}"
            for name, value in (slip.get("sensitivity") or {}).items()
        ),
        "population": [
            (_PARAMETERS[name], f"{number(value)} ± {number(error)}")
            for name, (value, error) in (slip.get("population") or {}).items()
        ],
        "circular": bool(slip.get("circular")),
    }


def _realizations(slip: Mapping[str, Any]) -> str:
    if slip.get("realization_mean") is None:
        return count(slip.get("realizations"))
    spread = f"{number(slip['realization_mean'])} ± {number(slip['realization_std'])}"
    return f"{count(slip.get('realizations'))}: {spread}"


def _with_errors(part: Mapping[str, Any]) -> str:
    return f"{number(part['gamma'])} +{number(part['gamma_err_hi'])} −{number(part['gamma_err_lo'])}"


def draw_slip(slip: Mapping[str, Any], theme: Theme) -> Figure:
    """Draw the posterior of the slip and the histogram of the realizations' estimates."""
    figure, ax = make_axes()
    realizations = finite(slip.get("gamma_realizations", ()))
    if len(realizations):
        n_bins = int(np.clip(np.sqrt(len(realizations)) * 1.5, 8, 40))
        rounding = 1e-6  # lenses that are all alike have realizations that are
        ax.hist(
            realizations,
            n_bins,
            range=(realizations.min() - rounding, realizations.max() + rounding),
            density=True,
            color=theme.second,
            alpha=0.3,
            histtype="stepfilled",
            label=f"{len(realizations)} realizations",
        )
    if slip.get("posterior") is not None:
        gamma, density = (np.asarray(part, dtype=float) for part in slip["posterior"])
        area = np.trapezoid(density, gamma)
        ax.plot(gamma, density / area if area > 0 else density, color=theme.first, lw=2, label="posterior")
        kept = gamma[density > 1e-4 * density.max(initial=0)]
        if len(kept) > 1:
            ax.set_xlim(min(kept.min(), *realizations, 1), max(kept.max(), *realizations, 1))
    ax.axvline(1, color=theme.ink, lw=1, ls=":", label="general relativity")
    ax.set(xlabel=r"slip $\gamma = \Phi/\Psi$", ylabel="probability density", ylim=(0, None))
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def draw_corner(axes: Mapping[str, np.ndarray], posterior: np.ndarray, theme: Theme) -> Figure:
    """Draw a posterior on a grid, (n, m, ...) as `axes` are: each parameter alone, each pair with 68 and 95 %."""
    names = list(axes)
    figure = Figure(figsize=(6.0, 6.0), layout="constrained")
    grid = figure.subplots(len(names), len(names), sharex="col")
    for row, name in enumerate(names):
        for column, other in enumerate(names):
            ax = grid[row, column]
            if column > row:
                ax.set_axis_off()
                continue
            kept = {row, column}
            part = posterior.sum(axis=tuple(k for k in range(len(names)) if k not in kept))
            if row == column:
                ax.plot(axes[name], part / part.max(), color=theme.first, lw=1.8)
                ax.set(yticks=[], ylim=(0, None))
            else:
                levels = sorted({_level(part, share) for share in (0.95, 0.68)})
                # the later parameter is the row's: contours want (y, x)
                ax.contourf(axes[other], axes[name], part.T, [*levels, part.max() * 1.001],
                            colors=[theme.first], alpha=0.35)  # fmt: skip
                ax.contour(axes[other], axes[name], part.T, levels, colors=[theme.first], linewidths=1.2)
            if row == len(names) - 1:
                ax.set_xlabel(_SYMBOLS.get(other, other))
            if column == 0 and row > 0:
                ax.set_ylabel(_SYMBOLS.get(name, name))
    return figure


def _level(part: np.ndarray, share: float) -> float:
    """Return the density above which a share of the posterior lies."""
    ordered = np.sort(part.ravel())[::-1]
    return float(ordered[np.searchsorted(np.cumsum(ordered), share * ordered.sum())])


def draw_closure(table: Mapping[str, Any], responses: Mapping[str, float], theme: Theme) -> Figure:
    """Draw the slip that came out of simulated lenses against what was put in, for each way of measuring sigma_v."""
    figure, ax = make_axes(4.2, 3.8)
    looks = {"spectra": (theme.first, "o", "spectroscopic"), "images": (theme.second, "s", "from images")}
    way, given, found = (np.asarray(table[name]) for name in ("way", "gamma_in", "gamma"))
    errors = np.stack([np.asarray(table[f"gamma_err_{end}"]) for end in ("lo", "hi")])
    for name, response in responses.items():
        colour, marker, words = looks[name]
        rows = way == name
        ax.errorbar(given[rows], found[rows], errors[:, rows], fmt=marker, color=colour, ms=5, capsize=2,
                    label=f"{words} $\\sigma_v$: response {response:.2f}")  # fmt: skip
    limits = (given.min() - 0.05, given.max() + 0.05)
    ax.plot(limits, limits, color=theme.ink, lw=1, ls=":")
    ax.set(xlim=limits, xlabel=r"slip $\gamma$ put in", ylabel=r"slip $\gamma$ found")
    ax.legend(loc="upper left")
    return figure
