"""The regressor's targets: units, how truth tables hold them, and in what transformation errors are nearly Gaussian."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from lenspipe.core.errors import ConfigError


class Target(NamedTuple):
    """Unit, transformation to the network's numbers ("log", natural; "log1p"; "identity"), columns of the truth."""

    unit: str
    transform: str
    columns: tuple[str, ...]


TARGETS: dict[str, Target] = {
    "theta_e": Target("arcsec", "log", ("theta_e",)),
    "sigma_v": Target("km / s", "log", ("sigma_v",)),
    "z_lens": Target("", "log1p", ("z_lens",)),
    "z_src": Target("", "log1p", ("z_src",)),
    # the mass: (1 - q) / (1 + q), of spin 2, so that a half turn changes nothing; t from +x to +y, as shears
    "e1": Target("", "identity", ("q", "phi")),
    "e2": Target("", "identity", ("q", "phi")),
    "x_lens": Target("arcsec", "identity", ("x_lens",)),
    "y_lens": Target("arcsec", "identity", ("y_lens",)),
}
_THERE: dict[str, Callable] = {"log": np.log, "log1p": np.log1p, "identity": np.asarray}
_BACK: dict[str, Callable] = {"log": np.exp, "log1p": np.expm1, "identity": np.asarray}
_SLOPE: dict[str, Callable] = {"log": np.exp, "log1p": np.exp, "identity": np.ones_like}


def outputs_of(targets: int, covariance: bool) -> tuple[int, int]:
    """Return the shape of a regressor's output for one stamp, see `networks.regressor.build_regressor`."""
    return targets, 1 + targets if covariance else 2


def is_signed(target: str) -> bool:
    """Tell whether a target may be 0 or less: its errors are told as they are, not as fractions."""
    return find_target(target).transform == "identity"


def find_target(name: str) -> Target:
    """Return a target by name; `ConfigError` if there is none."""
    try:
        return TARGETS[name]
    except KeyError:
        raise ConfigError(f"unknown target {name!r}; known ones are {', '.join(TARGETS)}") from None


def true_values(truth: Mapping[str, np.ndarray], target: str) -> np.ndarray:
    """Return the true values (n,) of a target, physical, by the columns of a truth table."""
    columns = [np.asarray(truth[name], np.float64) for name in find_target(target).columns]
    if target not in ("e1", "e2"):
        return columns[0]
    q, phi = columns
    twice = 2 * np.radians(phi + 90.0)  # phi is measured from +y
    return (1 - q) / (1 + q) * (np.cos(twice) if target == "e1" else np.sin(twice))


def to_network(values: np.ndarray, targets: Sequence[str]) -> np.ndarray:
    """Return the transformed targets of physical `values` (n, targets)."""
    values = np.asarray(values, np.float64)
    columns = [_THERE[find_target(t).transform](values[:, k]) for k, t in enumerate(targets)]
    return np.stack(columns, axis=1)


def from_network(values: np.ndarray, target: str) -> np.ndarray:
    """Return the physical values of one transformed target (any shape)."""
    return _BACK[find_target(target).transform](values)


def slope(values: np.ndarray, target: str) -> np.ndarray:
    """Return d(physical)/d(transformed) at transformed `values`, to carry errors over."""
    return _SLOPE[find_target(target).transform](values)
