"""The regressor's targets: units, and the transformation in which errors are nearly Gaussian."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lenspipe.core.errors import ConfigError

#: Target -> unit, and its transformation: "log" (natural) or "log1p".
TRANSFORMS: dict[str, tuple[str, str]] = {
    "theta_e": ("arcsec", "log"),
    "sigma_v": ("km / s", "log"),
    "z_lens": ("", "log1p"),
    "z_src": ("", "log1p"),
}


def outputs_of(targets: int, covariance: bool) -> tuple[int, int]:
    """Return the shape of a regressor's output for one stamp, see `networks.regressor.build_regressor`."""
    return targets, 1 + targets if covariance else 2


def _transform(target: str) -> str:
    try:
        return TRANSFORMS[target][1]
    except KeyError:
        raise ConfigError(f"unknown target {target!r}; known ones are {', '.join(TRANSFORMS)}") from None


def to_network(values: np.ndarray, targets: Sequence[str]) -> np.ndarray:
    """Return the transformed targets of physical `values` (n, targets)."""
    values = np.asarray(values, np.float64)
    columns = [
        np.log(values[:, k]) if _transform(t) == "log" else np.log1p(values[:, k])
        for k, t in enumerate(targets)
    ]
    return np.stack(columns, axis=1)


def from_network(values: np.ndarray, target: str) -> np.ndarray:
    """Return the physical values of one transformed target (any shape)."""
    return np.exp(values) if _transform(target) == "log" else np.expm1(values)


def slope(values: np.ndarray, target: str) -> np.ndarray:
    """Return d(physical)/d(transformed) at transformed `values`, to carry errors over."""
    _transform(target)
    return np.exp(values)  # the same for exp and expm1
