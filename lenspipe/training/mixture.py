"""Mixtures of Gaussians, one for each stamp and target: moments, quantiles and correlations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr, ndtri

#: Components by which the shape of a mixture is known well enough; its moments are taken of all.
_SHAPED_BY = 125


@dataclass(frozen=True)
class Mixture:
    """Gaussian components of stamps (n) and targets (k), the components (c) on the last axis.

    Parameters
    ----------
    means, variances : ndarray (n, k, c), float64
    weights : ndarray (k, c)
        The share of each component, the same for all stamps; they add up to 1.
    """

    means: np.ndarray
    variances: np.ndarray
    weights: np.ndarray

    @cached_property
    def mean(self) -> np.ndarray:
        """The mean (n, k)."""
        return np.einsum("kc,nkc->nk", self.weights, self.means)

    @cached_property
    def aleatoric(self) -> np.ndarray:
        """The root of the mean variance (n, k), the first part of the law of total variance."""
        return np.sqrt(np.einsum("kc,nkc->nk", self.weights, self.variances))

    @cached_property
    def epistemic(self) -> np.ndarray:
        """The standard deviation of the means (n, k), the other part."""
        off = self.means - self.mean[..., None]
        return np.sqrt(np.einsum("kc,nkc,nkc->nk", self.weights, off, off))

    @property
    def sigma(self) -> np.ndarray:
        """The standard deviation (n, k)."""
        return np.hypot(self.aleatoric, self.epistemic)

    def quantile(self, probability: float) -> np.ndarray:
        """Return a quantile (n, k), to 1e-5 of a standard deviation; of more than 125 components to some 1e-3.

        Of many components some tell how far the quantile lies from the mean, in standard deviations; both of these are
        those of all.
        """
        step = -(-self.means.shape[-1] // _SHAPED_BY)
        if step == 1:
            return find_quantile(self.means, self.variances, self.weights, probability)
        weights = self.weights[:, ::step]
        some = Mixture(
            self.means[..., ::step],
            self.variances[..., ::step],
            weights / weights.sum(axis=-1, keepdims=True),
        )
        unit = (some.quantile(probability) - some.mean) / some.sigma
        return self.mean + unit * self.sigma

    def correlate(self, within: np.ndarray | None = None) -> np.ndarray:
        """Return the correlations of the targets (n, k, k); `within` (n, k, k, c) are the components' covariances."""
        root = np.sqrt(self.weights)
        off = root * (self.means - self.mean[..., None])
        covariance = off @ np.swapaxes(off, -1, -2)
        if within is None:
            covariance += np.eye(len(root)) * (self.aleatoric**2)[..., None]
        else:
            covariance += ((root[:, None] * root) * within).sum(axis=-1)
        sigma = np.sqrt(np.einsum("nkk->nk", covariance))
        return covariance / (sigma[:, :, None] * sigma[:, None, :])


def find_quantile(
    means: np.ndarray, variances: np.ndarray, weights: np.ndarray, probability: float
) -> np.ndarray:
    """Return a quantile of Gaussian mixtures, components (..., c) on the last axis.

    A quantile lies within sqrt((1 - p) / p) or its inverse standard deviations of the mean (Cantelli). Newton's
    steps begin at the Gaussian's own; those that would leave that bracket halve it.
    """
    widths = np.sqrt(variances)
    mean = (weights * means).sum(axis=-1)
    total = np.sqrt((weights * (variances + (means - mean[..., None]) ** 2)).sum(axis=-1))
    odds = probability / (1 - probability)
    low, high = mean - total * odds**-0.5, mean + total * odds**0.5
    at, found = mean + total * ndtri(probability), np.zeros(mean.shape, bool)
    for _ in range(40):
        z = (at[..., None] - means) / widths
        excess = (weights * ndtr(z)).sum(axis=-1) - probability
        density = (weights * np.exp(-0.5 * z**2) / widths).sum(axis=-1) / np.sqrt(2 * np.pi)
        low, high = np.where(excess < 0, at, low), np.where(excess < 0, high, at)
        with np.errstate(divide="ignore", invalid="ignore"):
            there = at - excess / density
        there = np.where((there > low) & (there < high), there, 0.5 * (low + high))
        # what is found stays: a stamp's answer must not depend on how long others take
        at, found = np.where(found, at, there), found | (np.abs(there - at) <= 1e-6 * total)
        if found.all():
            break
    return at
