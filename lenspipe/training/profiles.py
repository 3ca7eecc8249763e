"""What a regressor must beat: a small multilayer perceptron that sees radial profiles instead of pixels.

Brightness, size and colours of the lens galaxy are all in the profiles, the shapes of arcs are not. Where a network is
no better than this, its answer comes from the galaxy and not from the lensing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

#: Width of a ring [px] and units of the hidden layers.
RING, HIDDEN = 1.5, (128, 64)
#: Stamps that a perceptron of this size learns from.
MOST = 50_000
_AT_ONCE = 2048


def radial_profiles(image: np.ndarray, noise_sigma: np.ndarray) -> np.ndarray:
    """Return the mean surface brightness in rings about the middle of stamps.

    Parameters
    ----------
    image : ndarray (n, y, x, b)
    noise_sigma : ndarray (n, b)

    Returns
    -------
    ndarray (n, b * rings), float32
        asinh of the flux in units of the noise, rings up to half the stamp's side.
    """
    size = image.shape[1]
    offset = np.arange(size) - (size - 1) / 2
    ring = (np.hypot(offset[:, None], offset) / RING).astype(int)
    members = (ring == np.arange(int(size / 2 / RING))[:, None, None]).astype(np.float32)
    members /= members.sum(axis=(1, 2), keepdims=True)
    parts = [
        np.tensordot(image[start : start + _AT_ONCE], members, ((1, 2), (1, 2)))
        for start in range(0, len(image), _AT_ONCE)
    ]
    noise = np.where(noise_sigma > 0, noise_sigma, 1.0)[:, :, None]
    return np.arcsinh(np.concatenate(parts) / noise).reshape(len(image), -1).astype(np.float32)


def predict_from_profiles(
    train: Mapping[str, np.ndarray], truth: np.ndarray, test: Mapping[str, np.ndarray], seed: int
) -> np.ndarray:
    """Return what a perceptron trained on profiles of `train` says of `test` (m, targets), in the units of `truth`.

    Parameters
    ----------
    train, test : mapping
        ``image`` (n, y, x, b) and ``noise_sigma`` (n, b).
    truth : ndarray (n, targets)
        Transformed targets of `train`.
    seed : int
    """
    network = MLPRegressor(
        hidden_layer_sizes=HIDDEN, early_stopping=len(truth) >= 100, max_iter=300, random_state=seed % 2**32
    )
    model = TransformedTargetRegressor(make_pipeline(StandardScaler(), network), transformer=StandardScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        one = truth[:, 0] if truth.shape[1] == 1 else truth
        model.fit(radial_profiles(train["image"], train["noise_sigma"]), one)
    return model.predict(radial_profiles(test["image"], test["noise_sigma"])).reshape(-1, truth.shape[1])
